/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A card's interrupts on their way to an application: the virtual edu card, its driver, and this
 * test as the application that the driver sends events to.
 */

#include <check.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/clock.h>
#include <opendext/client.h>

#include "../../drivers/edu/edu.h"
#include "card.h"

enum { PATIENCE_MS = 10000, EVENTS_MAX = 8 };

static struct rig rig;
static char folder[64], sock[96];
static pid_t card; // 0: not ours

static void start_card(void)
{
	const char *const argv[] = { getenv("EDU_CARD"), "--socket", sock, NULL };
	int output;
	char byte;
	card = card_spawn(argv, &output);
	struct pollfd p = { .fd = output, .events = POLLIN };
	ck_assert_int_eq(poll(&p, 1, PATIENCE_MS), 1);
	ck_assert_msg(read(output, &byte, 1) == 1, "%s did not start", argv[0]);
	close(output);
}

static void end_card(int signal)
{
	int status;
	ck_assert_int_eq(kill(card, signal), 0);
	ck_assert_int_eq(waitpid(card, &status, 0), card);
}

static void start(void)
{
	char virtual[128];
	if (getenv("EDU_RUNS") != NULL)
		return;
	strcpy(folder, "/tmp/dext-edu.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(sock, sizeof(sock), "%s/card", folder);
	snprintf(virtual, sizeof(virtual), "vfio-user:%s", sock);
	start_card();
	const char *const options[] = { "--bundles", getenv("EXAMPLE_BUNDLES"), "--virtual",
					virtual, NULL };
	rig_start(&rig, NULL, options);
}

static void stop(void)
{
	if (card == 0)
		return;
	rig_stop(&rig);
	end_card(SIGTERM);
	ck_assert_int_eq(rmdir(folder), 0); // the socket is gone
}

/* --- an application --- */

struct event {
	IOReturn status;
	uint64_t values[kEduEventCount];
};

struct application {
	IONotificationPortRef port;
	io_connect_t connect;
	struct event events[EVENTS_MAX];
	int n_events;
};

static void on_event(void *refcon, IOReturn status, void **args, uint32_t n_args)
{
	struct application *a = refcon;
	ck_assert_int_lt(a->n_events, EVENTS_MAX);
	struct event *event = &a->events[a->n_events++];
	event->status = status;
	if (status != kIOReturnSuccess)
		return; // one that was aborted has no values: it is called as IOAsyncCallback0
	ck_assert_uint_eq(n_args, kEduEventCount);
	for (uint32_t i = 0; i < n_args; i++)
		event->values[i] = (uintptr_t)args[i];
}

static kern_return_t call(struct application *a, uint32_t selector, uint64_t first, uint64_t second)
{
	const uint64_t input[] = { first, second };
	return IOConnectCallScalarMethod(a->connect, selector, input,
					 selector == kEduMethodRaise ? 2 : 1, NULL, NULL);
}

static kern_return_t transfer(struct application *a, uint64_t to_buffer, uint64_t offset,
			      uint64_t length)
{
	const uint64_t input[] = { to_buffer, offset, length };
	return IOConnectCallScalarMethod(a->connect, kEduMethodTransfer, input, 3, NULL, NULL);
}

static void must_call(struct application *a, uint32_t selector, uint64_t first, uint64_t second)
{
	kern_return_t ret = call(a, selector, first, second);
	ck_assert_msg(ret == kIOReturnSuccess, "%s: %s", IOReturnString(ret), dext_last_reason());
}

static void application_open(struct application *a, uint64_t interrupt)
{
	uint64_t reference[kIOAsyncCalloutCount] = { 0 };
	*a = (struct application){ .port = IONotificationPortCreate(kIOMainPortDefault) };
	io_service_t service = rig_wait_service("Edu");
	ck_assert_int_eq(IOServiceOpen(service, mach_task_self(), 0, &a->connect),
			 kIOReturnSuccess);
	IOObjectRelease(service);
	reference[kIOAsyncCalloutFuncIndex] = (uint64_t)(uintptr_t)on_event;
	reference[kIOAsyncCalloutRefconIndex] = (uint64_t)(uintptr_t)a;
	ck_assert_int_eq(IOConnectCallAsyncScalarMethod(a->connect, kEduMethodNotify,
							IONotificationPortGetMachPort(a->port),
							reference, kIOAsyncCalloutCount, NULL, 0,
							NULL, NULL),
			 kIOReturnSuccess);
	must_call(a, kEduMethodSetInterrupt, interrupt, 0);
}

static void application_close(struct application *a)
{
	IOServiceClose(a->connect);
	IONotificationPortDestroy(a->port);
}

static void await_events(struct application *a, int n)
{
	struct pollfd p = { .fd = dext_notification_port_get_fd(a->port), .events = POLLIN };
	while (a->n_events < n) {
		ck_assert_int_eq(poll(&p, 1, PATIENCE_MS), 1);
		ck_assert_int_eq(dext_notification_port_dispatch(a->port), kIOReturnSuccess);
	}
	ck_assert_int_eq(a->n_events, n);
}

/* No event comes late: the next one is that of a factorial. */
static void expect_no_more(struct application *a)
{
	int n = a->n_events;
	must_call(a, kEduMethodCompute, 6, 0);
	await_events(a, n + 1);
	ck_assert_uint_eq(a->events[n].values[kEduEventReason], kEduReasonFactorial);
	ck_assert_uint_eq(a->events[n].values[kEduEventFactorial], 720);
	a->n_events = n;
}

/* --- the tests, each by wire and by message --- */

START_TEST(a_factorial_comes_as_an_event)
{
	struct application a;
	application_open(&a, (uint64_t)_i);
	uint64_t before = clock_now_ns();
	must_call(&a, kEduMethodCompute, 10, 0);
	await_events(&a, 1);
	const uint64_t *values = a.events[0].values;
	ck_assert_uint_eq(values[kEduEventReason], kEduReasonFactorial);
	ck_assert_uint_eq(values[kEduEventFactorial], 3628800);
	ck_assert_uint_eq(values[kEduEventInterrupts], 1);
	ck_assert(values[kEduEventTime] >= before && values[kEduEventTime] <= clock_now_ns());
	expect_no_more(&a);
	application_close(&a);
}
END_TEST

/* Raised while the driver is busy: a message is counted, the wire was masked after the first. On
 * its way a real message may meet the one before it, which the processor has not taken yet. */
START_TEST(interrupts_that_come_together_are_counted)
{
	struct application a;
	application_open(&a, (uint64_t)_i);
	must_call(&a, kEduMethodRaise, 0x10, 100);
	await_events(&a, 1);
	ck_assert_uint_eq(a.events[0].values[kEduEventReason], 0x10);
	uint64_t n = a.events[0].values[kEduEventInterrupts];
	if (_i == kEduInterruptWire)
		ck_assert_uint_eq(n, 1);
	else
		ck_assert(n == 100 || (card == 0 && n >= 1 && n < 100));
	expect_no_more(&a);
	application_close(&a);
}
END_TEST

/* Three reasons at once: the wire comes for each, after the handler of the one before; a message
 * came once. */
START_TEST(a_wire_comes_again_while_there_is_a_reason)
{
	struct application a;
	application_open(&a, (uint64_t)_i);
	must_call(&a, kEduMethodRaise, 0x0e, 1);
	await_events(&a, 3);
	for (int i = 0; i < 3; i++) {
		ck_assert_uint_eq(a.events[i].values[kEduEventReason], 2U << i);
		ck_assert_uint_eq(a.events[i].values[kEduEventInterrupts], 1);
	}
	for (int i = 1; i < 3; i++) {
		uint64_t earlier = a.events[i - 1].values[kEduEventTime];
		uint64_t later = a.events[i].values[kEduEventTime];
		ck_assert(_i == kEduInterruptWire ? later > earlier : later == earlier);
	}
	expect_no_more(&a);
	application_close(&a);
}
END_TEST

/* The card holds the eventfds of the driver that listens, and no others. */
START_TEST(a_killed_driver_is_forgotten_by_the_card)
{
	struct application a;
	application_open(&a, (uint64_t)_i);
	int n_fds = card != 0 ? rig_count_fds(card) : 0;
	io_service_t service = rig_wait_service("Edu");
	pid_t driver = (pid_t)rig_number(service, "OpenDextProcess");
	IOObjectRelease(service);
	ck_assert_int_eq(kill(driver, SIGKILL), 0);
	await_events(&a, 1);
	ck_assert_int_eq(a.events[0].status, kIOReturnAborted);
	application_close(&a);

	application_open(
		&a, (uint64_t)(1 - _i)); // in the other way: no eventfd takes the old one's place
	must_call(&a, kEduMethodCompute, 5, 0);
	await_events(&a, 1);
	ck_assert_uint_eq(a.events[0].values[kEduEventFactorial], 120);
	ck_assert_int_eq(card != 0 ? rig_count_fds(card) : 0, n_fds);
	application_close(&a);
}
END_TEST

START_TEST(a_card_that_dies_ends_the_driver_and_comes_back)
{
	struct application a;
	application_open(&a, (uint64_t)_i);
	end_card(SIGKILL);
	await_events(&a, 1);
	ck_assert_int_ne(a.events[0].status, kIOReturnSuccess);
	application_close(&a);
	start_card();
	application_open(&a, (uint64_t)_i);
	expect_no_more(&a);
	application_close(&a);
}
END_TEST

static void must_transfer(struct application *a, bool to_buffer, uint64_t offset, uint64_t length)
{
	kern_return_t ret = transfer(a, to_buffer, offset, length);
	ck_assert_msg(ret == kIOReturnSuccess, "%s: %s", IOReturnString(ret), dext_last_reason());
	await_events(a, 1);
	ck_assert_uint_eq(a->events[0].values[kEduEventReason], kEduReasonTransfer);
	a->n_events = 0;
}

/* Through the card's memory from one end of a buffer to the other; the rest stays as it was. */
START_TEST(the_card_copies_by_itself)
{
	enum { FROM = 5, TO = 2111, LENGTH = 1983 };
	struct application a;
	mach_vm_address_t address = 0;
	mach_vm_size_t size = 0;
	application_open(&a, (uint64_t)_i);
	ck_assert_int_eq(IOConnectMapMemory64(a.connect, kEduMemoryBuffer, mach_task_self(),
					      &address, &size, kIOMapAnywhere),
			 kIOReturnSuccess);
	ck_assert_uint_eq(size, kEduBufferSize);
	uint8_t *bytes = (uint8_t *)(uintptr_t)address;
	for (int round = 1; round <= 3; round++) {
		for (int i = 0; i < kEduBufferSize; i++)
			bytes[i] = (uint8_t)(i * 7 + round);
		must_transfer(&a, false, FROM, LENGTH);
		must_transfer(&a, true, TO, LENGTH);
		for (int i = 0; i < kEduBufferSize; i++) {
			bool copied = i >= TO && i < TO + LENGTH;
			int source = copied ? i - TO + FROM : i;
			ck_assert_int_eq(bytes[i], (uint8_t)(source * 7 + round));
		}
	}
	ck_assert_int_eq(transfer(&a, 2, 0, 1), kIOReturnBadArgument);
	ck_assert_int_eq(transfer(&a, 0, 0, 0), kIOReturnBadArgument);
	ck_assert_int_eq(transfer(&a, 0, 0, kEduTransferMax + 1), kIOReturnBadArgument);
	ck_assert_int_eq(transfer(&a, 0, kEduBufferSize, 1), kIOReturnBadArgument);
	ck_assert_int_eq(transfer(&a, 0, UINT64_MAX, 1), kIOReturnBadArgument);
	IOConnectUnmapMemory64(a.connect, kEduMemoryBuffer, mach_task_self(), address);
	application_close(&a);
}
END_TEST

START_TEST(what_the_card_cannot_do_is_refused)
{
	struct application a;
	application_open(&a, (uint64_t)_i);
	ck_assert_int_eq(call(&a, kEduMethodCompute, 13, 0), kIOReturnBadArgument);
	ck_assert_int_eq(call(&a, kEduMethodRaise, 1, 1), kIOReturnBadArgument);
	ck_assert_int_eq(call(&a, kEduMethodRaise, 2, UINT64_MAX), kIOReturnBadArgument);
	ck_assert_int_eq(call(&a, kEduMethodSetInterrupt, 2, 0), kIOReturnBadArgument);
	expect_no_more(&a);
	application_close(&a);
}
END_TEST

/* As a reader of the tutorial runs it. */
START_TEST(the_example_prints_factorials)
{
	char command[256], out[512];
	IOObjectRelease(rig_wait_service("Edu"));
	snprintf(command, sizeof(command), "%s %s 0 5 12 2>&1", getenv("FACTORIAL"),
		 _i == kEduInterruptWire ? "--wire" : "");
	FILE *f = popen(command, "r");
	ck_assert_ptr_nonnull(f);
	out[fread(out, 1, sizeof(out) - 1, f)] = '\0';
	ck_assert_msg(pclose(f) == 0, "%s", out);
	ck_assert_str_eq(out, "0! = 1\n5! = 120\n12! = 479001600\n");
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		a_factorial_comes_as_an_event,
		interrupts_that_come_together_are_counted,
		a_wire_comes_again_while_there_is_a_reason,
		a_killed_driver_is_forgotten_by_the_card,
		the_card_copies_by_itself,
		what_the_card_cannot_do_is_refused,
		the_example_prints_factorials,
	};
	Suite *suite = suite_create("pci-edu");
	TCase *tc = tcase_create("pci-edu");
	tcase_add_checked_fixture(tc, start, stop);
	tcase_set_timeout(tc, 60);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_loop_test(tc, tests[i], kEduInterruptWire, kEduInterruptMessage + 1);
	if (getenv("EDU_RUNS") == NULL) // only our own can be killed
		tcase_add_loop_test(tc, a_card_that_dies_ends_the_driver_and_comes_back,
				    kEduInterruptWire, kEduInterruptMessage + 1);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
