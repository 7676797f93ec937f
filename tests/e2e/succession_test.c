// SPDX-License-Identifier: Apache-2.0
/*
 * What an application shares with a driver, when that dies: the next driver is given it, and the
 * application does nothing for that.
 */

#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <IOKit/IODataQueueClient.h>
#include <client/connection.h>
#include <wire/ring_layout.h>

#include "rig.h"
#include "victim.h"

enum { PAGE = 4096, OUT = kIOMemoryDirectionOut, IN = kIOMemoryDirectionIn };
enum { MAPS_PER_BUFFER = 2 }; // in the driver: one is read-only, for what goes out

static struct rig rig;
static io_connect_t victim, other;

static void begin(void)
{
	rig_start(&rig, NULL, NULL);
	victim = rig_open();
	other = rig_open();
}

static void end(void)
{
	ck_assert_int_eq(IOServiceClose(other), kIOReturnSuccess);
	ck_assert_int_eq(IOServiceClose(victim), kIOReturnSuccess);
	rig_stop(&rig);
}

static void assert_reason(const char *part)
{
	ck_assert_msg(strstr(dext_last_reason(), part) != NULL, "the reason is \"%s\"",
		      dext_last_reason());
}

static void kill_driver(void)
{
	ck_assert_int_eq(kill(rig_process(), SIGKILL), 0);
}

/* --- buffers --- */

static uint8_t *make(size_t size, uint8_t byte)
{
	void *bytes = NULL;
	kern_return_t ret = dext_buffer_create(victim, size, &bytes);
	ck_assert_msg(ret == kIOReturnSuccess, "%s", dext_last_reason());
	memset(bytes, byte, size);
	return bytes;
}

static kern_return_t lend(uint64_t direction, const uint8_t *address, uint64_t length)
{
	const uint64_t in[] = { direction, (uint64_t)(uintptr_t)address, length };
	return IOConnectCallScalarMethod(victim, VICTIM_LEND, in, 3, NULL, NULL);
}

static void assert_lent(uint64_t direction, const uint8_t *address, uint64_t length)
{
	ck_assert_msg(lend(direction, address, length) == kIOReturnSuccess, "%s",
		      dext_last_reason());
}

/* The driver reads there what the application wrote, and the other way round. */
static void check_shared(uint8_t *address, uint64_t length)
{
	uint64_t sum = 0, wanted = 0, byte = 9;
	uint32_t count = 1;
	for (uint64_t i = 0; i < length; i++)
		wanted += address[i];
	assert_lent(OUT, address, length);
	ck_assert_int_eq(IOConnectCallScalarMethod(victim, VICTIM_LENT_SUM, NULL, 0, &sum, &count),
			 kIOReturnSuccess);
	ck_assert_uint_eq(sum, wanted);
	assert_lent(IN, address, length);
	ck_assert_int_eq(IOConnectCallScalarMethod(victim, VICTIM_LENT_FILL, &byte, 1, NULL, NULL),
			 kIOReturnSuccess);
	for (uint64_t i = 0; i < length; i++)
		ck_assert_uint_eq(address[i], byte);
}

/* The driver's mappings of buffers. */
static int count_maps(void)
{
	char line[512];
	int n = 0;
	snprintf(line, sizeof(line), "/proc/%d/maps", (int)rig_process());
	FILE *f = fopen(line, "r");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f) != NULL)
		n += strstr(line, "/memfd:dext-region") != NULL;
	fclose(f);
	return n;
}

START_TEST(an_address_stays_good)
{
	uint8_t *a = make(3 * PAGE, 1), *b = make(100, 2);
	check_shared(a, 3 * PAGE);
	for (int i = 0; i < 2; i++) {
		kill_driver();
		check_shared(b + 10, 80);
		check_shared(a + PAGE - 5, PAGE);
	}
	ck_assert_int_eq(dext_buffer_free(victim, a), kIOReturnSuccess);
	ck_assert_int_eq(lend(OUT, a, PAGE), kIOReturnBadArgument);
	check_shared(b, 100);
}
END_TEST

START_TEST(what_was_freed_does_not_come_back)
{
	uint8_t *a = make(PAGE, 1), *b = make(PAGE, 2), *c = make(PAGE, 3);
	ck_assert_int_eq(dext_buffer_free(victim, a), kIOReturnSuccess);
	kill_driver();
	ck_assert_int_eq(dext_buffer_free(victim, c), kIOReturnSuccess); // the first it hears of
	ck_assert_int_eq(lend(OUT, a, PAGE), kIOReturnBadArgument);
	assert_reason("not inside one buffer");
	ck_assert_int_eq(lend(OUT, c, PAGE), kIOReturnBadArgument);
	check_shared(b, PAGE);
	ck_assert_int_eq(count_maps(), MAPS_PER_BUFFER);
	uint8_t *d = make(PAGE, 4); // of the second driver from the beginning
	check_shared(d, PAGE);
	kill_driver();
	d[0] = 7;
	check_shared(d, PAGE);
	check_shared(b, PAGE);
}
END_TEST

/* They lie in buffers, and are not copied. */
START_TEST(structures_stay_where_they_are)
{
	uint8_t *in = make(20000, 3), *out = make(20000, 0);
	for (int i = 0; i < 3; i++) {
		size_t size = 20000;
		memset(out, 0, size);
		kern_return_t ret =
			IOConnectCallStructMethod(victim, VICTIM_INVERT, in, 20000, out, &size);
		ck_assert_msg(ret == kIOReturnSuccess, "%s", dext_last_reason());
		for (size_t k = 0; k < size; k++)
			ck_assert_uint_eq(out[k], 0xfc);
		if (i < 2)
			kill_driver();
	}
}
END_TEST

START_TEST(a_driver_may_die_before_it_hears_of_a_buffer)
{
	uint8_t *a = make(PAGE, 1);
	kill_driver();
	uint8_t *b = make(PAGE, 2);
	check_shared(a, PAGE);
	check_shared(b, PAGE);
}
END_TEST

/* --- calls that were on their way --- */

struct call {
	pthread_t thread;
	const uint8_t *address; // NULL: VICTIM_WAIT
	kern_return_t status;
	char reason[256];
};

static void *run(void *context)
{
	struct call *call = context;
	call->status = call->address != NULL ? lend(OUT, call->address, PAGE)
					     : IOConnectCallScalarMethod(victim, VICTIM_WAIT, NULL,
									 0, NULL, NULL);
	snprintf(call->reason, sizeof(call->reason), "%s", dext_last_reason());
	return NULL;
}

static void start(struct call *call, const uint8_t *address)
{
	*call = (struct call){ .address = address };
	ck_assert_int_eq(pthread_create(&call->thread, NULL, run, call), 0);
}

static unsigned count_posted(const struct ring_view *view)
{
	unsigned n = 0;
	for (uint32_t i = 0; i < view->n_slots; i++) {
		uint32_t state = atomic_load(&view->slots[i].state);
		n += state == RING_POSTED || state == RING_AWAITED;
	}
	return n;
}

/* So many calls of `victim` are in its ring; the driver has the first, after one for a buffer. */
static void await_posted(unsigned n)
{
	struct connection *c = connection_get(victim);
	struct ring_view view;
	ck_assert_int_eq(ring_view_init(&view, c->memory_fd), 0);
	while (count_posted(&view) < n || atomic_load(&view.header->taken) < 2)
		sched_yield(); // a call is not posted yet
	ring_view_deinit(&view);
	connection_unref(c);
}

START_TEST(a_call_that_was_submitted_before_is_executed_after)
{
	uint8_t *a = make(PAGE, 1);
	struct call begun, queued[3];
	start(&begun, NULL);
	await_posted(1);
	for (int i = 0; i < 3; i++)
		start(&queued[i], a);
	await_posted(4);
	kill_driver();
	pthread_join(begun.thread, NULL);
	ck_assert_int_eq(begun.status, kIOReturnAborted);
	for (int i = 0; i < 3; i++) {
		pthread_join(queued[i].thread, NULL);
		ck_assert_msg(queued[i].status == kIOReturnSuccess, "%s", queued[i].reason);
	}
}
END_TEST

START_TEST(a_call_to_be_waited_for_later_is_aborted)
{
	uint8_t *a = make(PAGE, 1);
	const uint64_t in[] = { OUT, (uint64_t)(uintptr_t)a, PAGE };
	struct call begun;
	dext_call_t call;
	start(&begun, NULL);
	await_posted(1);
	ck_assert_int_eq(dext_call_submit(victim, VICTIM_LEND, in, 3, NULL, 0, 0, 0, 0, &call),
			 kIOReturnSuccess);
	kill_driver();
	ck_assert_int_eq(dext_call_wait(call, NULL, NULL, NULL, NULL), kIOReturnAborted);
	assert_reason("before it executed this call");
	pthread_join(begun.thread, NULL);
	ck_assert_int_eq(dext_call_submit(victim, VICTIM_LEND, in, 3, NULL, 0, 0, 0, 0, &call),
			 kIOReturnSuccess);
	ck_assert_int_eq(dext_call_wait(call, NULL, NULL, NULL, NULL), kIOReturnSuccess);
}
END_TEST

static _Atomic bool stop;

static void *lend_often(void *context)
{
	const uint8_t *address = context;
	while (!stop) {
		kern_return_t ret = lend(OUT, address, PAGE);
		if (ret != kIOReturnSuccess && ret != kIOReturnAborted)
			ck_abort_msg("%s: %s", IOReturnString(ret), dext_last_reason());
	}
	return NULL;
}

static void *make_often(void *context)
{
	while (!stop) {
		uint8_t *mine = make(PAGE, 1);
		kern_return_t ret = lend(OUT, mine, PAGE);
		ck_assert_msg(ret == kIOReturnSuccess || ret == kIOReturnAborted, "%s: %s",
			      IOReturnString(ret), dext_last_reason());
		ck_assert_int_eq(dext_buffer_free(victim, mine), kIOReturnSuccess);
	}
	return context;
}

/* What a driver had in its hands is aborted; nothing else is, and no address is unknown. */
START_TEST(threads_go_on)
{
	enum { THREADS = 6, KILLS = 2 };
	pthread_t threads[THREADS];
	uint8_t *a = make(PAGE, 1);
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(
			pthread_create(&threads[i], NULL, i < 4 ? lend_often : make_often, a), 0);
	for (int i = 0; i < KILLS; i++) {
		uint64_t in = 1, out;
		uint32_t count = 1;
		for (int n = 0; n < 50; n++)
			ck_assert_int_eq(IOConnectCallScalarMethod(other, VICTIM_ECHO_AGAIN, &in, 1,
								   &out, &count),
					 kIOReturnSuccess);
		kill_driver();
		ck_assert_int_eq(
			IOConnectCallScalarMethod(other, VICTIM_ECHO_AGAIN, &in, 1, &out, &count),
			kIOReturnSuccess);
	}
	stop = true;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	check_shared(a, PAGE);
	ck_assert_int_eq(count_maps(), MAPS_PER_BUFFER);
}
END_TEST

/* --- data queues --- */

static IODataQueueMemory *orders, *answers;

static void open_queues(void)
{
	ck_assert_int_eq(
		dext_data_queue_open(victim, VICTIM_TYPE_ORDERS, VICTIM_QUEUE_TELL, &orders),
		kIOReturnSuccess);
	ck_assert_int_eq(
		dext_data_queue_open(victim, VICTIM_TYPE_ANSWERS, VICTIM_QUEUE_TELL, &answers),
		kIOReturnSuccess);
}

static void close_queues(void)
{
	dext_data_queue_close(orders);
	dext_data_queue_close(answers);
}

/* When it returns, another driver is there. */
static void replace_driver(void)
{
	uint64_t in = 1, out;
	uint32_t count = 1;
	kill_driver();
	ck_assert_int_eq(IOConnectCallScalarMethod(victim, VICTIM_ECHO, &in, 1, &out, &count),
			 kIOReturnSuccess);
}

static void order(uint64_t number)
{
	kern_return_t ret = IODataQueueEnqueue(orders, &number, sizeof(number));
	ck_assert_msg(ret == kIOReturnSuccess, "%s", dext_last_reason());
}

/* The driver puts in 0, 1, … */
static void put_answers(uint64_t n)
{
	uint64_t fit = 0;
	uint32_t count = 1;
	ck_assert_int_eq(IOConnectCallScalarMethod(victim, VICTIM_QUEUE_BURST, &n, 1, &fit, &count),
			 kIOReturnSuccess);
	ck_assert_uint_eq(fit, n);
}

static void take_answer(uint64_t wanted)
{
	uint64_t number = 0;
	uint32_t size = sizeof(number);
	kern_return_t ret = IODataQueueDequeue(answers, &number, &size);
	ck_assert_msg(ret == kIOReturnSuccess, "%s", dext_last_reason());
	ck_assert_uint_eq(number, wanted);
}

START_TEST(a_queue_goes_on_with_the_next_driver)
{
	open_queues();
	for (uint64_t round = 0; round < 3; round++) {
		for (uint64_t i = 0; i < 10; i++)
			order(100 * round + i);
		for (uint64_t i = 0; i < 10; i++) {
			ck_assert_int_eq(dext_data_queue_wait(answers, 20000), kIOReturnSuccess);
			take_answer(100 * round + i);
		}
		ck_assert(!IODataQueueDataAvailable(answers));
		if (round < 2)
			replace_driver();
	}
	close_queues();
}
END_TEST

START_TEST(what_the_dead_driver_put_in_comes_first)
{
	open_queues();
	put_answers(5);
	replace_driver();
	take_answer(0);
	put_answers(2); // into the new one
	ck_assert(IODataQueueDataAvailable(answers));
	for (uint64_t i = 1; i < 5; i++)
		take_answer(i);
	ck_assert(IODataQueueDataAvailable(answers));
	ck_assert_ptr_nonnull(IODataQueuePeek(answers));
	take_answer(0);
	take_answer(1);
	ck_assert_int_eq(IODataQueueDequeue(answers, NULL, NULL), kIOReturnUnderrun);
	close_queues();
}
END_TEST

static void *sleep_for_answers(void *unused)
{
	ck_assert_int_eq(dext_data_queue_wait(answers, 20000), kIOReturnSuccess);
	take_answer(0);
	return unused;
}

START_TEST(a_sleeper_hears_the_next_driver)
{
	pthread_t sleeper;
	open_queues();
	ck_assert_int_eq(pthread_create(&sleeper, NULL, sleep_for_answers, NULL), 0);
	replace_driver();
	put_answers(1);
	pthread_join(sleeper, NULL);
	close_queues();
}
END_TEST

START_TEST(a_queue_of_which_no_driver_follows_ends)
{
	rig_start(&rig, NULL, NULL);
	victim = rig_open();
	open_queues();
	rig_upgrade(&rig, "refuse");
	kill_driver();
	ck_assert_int_eq(dext_data_queue_wait(answers, 20000), kIOReturnOffline);
	assert_reason("has ended");
	close_queues();
	ck_assert_int_eq(IOServiceClose(victim), kIOReturnSuccess);
	rig_stop(&rig);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("succession");
	TCase *tc = tcase_create("succession");
	tcase_add_checked_fixture(tc, begin, end);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, an_address_stays_good);
	tcase_add_test(tc, what_was_freed_does_not_come_back);
	tcase_add_test(tc, a_driver_may_die_before_it_hears_of_a_buffer);
	tcase_add_test(tc, a_call_that_was_submitted_before_is_executed_after);
	tcase_add_test(tc, a_call_to_be_waited_for_later_is_aborted);
	tcase_add_test(tc, structures_stay_where_they_are);
	tcase_add_test(tc, threads_go_on);
	tcase_add_test(tc, a_queue_goes_on_with_the_next_driver);
	tcase_add_test(tc, what_the_dead_driver_put_in_comes_first);
	tcase_add_test(tc, a_sleeper_hears_the_next_driver);
	suite_add_tcase(suite, tc);
	tc = tcase_create("end");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_queue_of_which_no_driver_follows_ends);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
