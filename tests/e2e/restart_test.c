// SPDX-License-Identifier: Apache-2.0
/*
 * A connection outlives its driver. In each test a driver dies in another situation, and the
 * application keeps its handle.
 */

#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <base/clock.h>
#include <opendext/client.h>

#include "rig.h"
#include "victim.h"

enum { PATIENCE_MS = 10000, LARGE = 100000 };

static struct rig rig;
static io_connect_t victim;
static IONotificationPortRef port;

static void begin(void)
{
	rig_start(&rig, NULL, NULL);
	victim = rig_open();
	port = IONotificationPortCreate(kIOMainPortDefault);
	ck_assert_ptr_nonnull(port);
}

static void end(void)
{
	ck_assert_int_eq(IOServiceClose(victim), kIOReturnSuccess);
	IONotificationPortDestroy(port);
	rig_stop(&rig);
}

/* --- processes --- */

/* The driver's, once it is another than `old`. */
static pid_t await_process(pid_t old)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	pid_t now = old;
	while (now == old || now == 0) {
		ck_assert_msg(clock_now_ns() < deadline, "no other driver than %d", (int)old);
		io_service_t service = rig_wait_service("Victim");
		now = (pid_t)rig_number(service, "OpenDextProcess");
		IOObjectRelease(service);
	}
	return now;
}

static pid_t process(void)
{
	return await_process(0);
}

/* Returns the process that was killed. */
static pid_t kill_driver(void)
{
	pid_t pid = process();
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	return pid;
}

static void restart_in_order(void)
{
	char id[32];
	uint64_t number;
	io_service_t service = rig_wait_service("Victim");
	ck_assert_int_eq(IORegistryEntryGetRegistryEntryID(service, &number), kIOReturnSuccess);
	IOObjectRelease(service);
	snprintf(id, sizeof(id), "%llu", (unsigned long long)number);
	rig_control("restart", id);
}

/* --- calls --- */

static void assert_echo(io_connect_t connect)
{
	uint64_t in = clock_now_ns(), out = 0;
	uint32_t count = 1;
	kern_return_t ret = IOConnectCallScalarMethod(connect, VICTIM_ECHO, &in, 1, &out, &count);
	ck_assert_msg(ret == kIOReturnSuccess, "%s: %s", IOReturnString(ret), dext_last_reason());
	ck_assert_uint_eq(out, in);
}

static void assert_large(io_connect_t connect)
{
	static uint8_t in[LARGE], out[LARGE];
	size_t size = sizeof(out);
	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i * 7 + i / 256);
	kern_return_t ret =
		IOConnectCallStructMethod(connect, VICTIM_INVERT, in, sizeof(in), out, &size);
	ck_assert_msg(ret == kIOReturnSuccess, "%s: %s", IOReturnString(ret), dext_last_reason());
	ck_assert_uint_eq(size, sizeof(in));
	for (size_t i = 0; i < sizeof(in); i++)
		ck_assert_uint_eq(out[i], (uint8_t)~in[i]);
}

static void assert_reason(const char *reason, const char *part)
{
	ck_assert_msg(strstr(reason, part) != NULL, "\"%s\" does not say \"%s\"", reason, part);
}

/* One call in a thread of its own. */
struct call {
	pthread_t thread;
	uint32_t selector, n_out;
	kern_return_t result;
	uint64_t out;
	char reason[256];
};

static void *run(void *context)
{
	struct call *call = context;
	uint32_t count = call->n_out;
	call->result =
		IOConnectCallScalarMethod(victim, call->selector, NULL, 0, &call->out, &count);
	snprintf(call->reason, sizeof(call->reason), "%s", dext_last_reason());
	return NULL;
}

static void start(struct call *call, uint32_t selector, uint32_t n_out)
{
	*call = (struct call){ .selector = selector, .n_out = n_out };
	ck_assert_int_eq(pthread_create(&call->thread, NULL, run, call), 0);
}

static void *run_large(void *context)
{
	assert_large(victim);
	return context;
}

/* --- the driver's memory --- */

static _Atomic uint8_t *map(io_connect_t connect)
{
	mach_vm_address_t address = 0;
	mach_vm_size_t size = 0;
	kern_return_t ret = IOConnectMapMemory64(connect, VICTIM_TYPE_SHARED, mach_task_self(),
						 &address, &size, kIOMapAnywhere);
	ck_assert_msg(ret == kIOReturnSuccess, "%s: %s", IOReturnString(ret), dext_last_reason());
	return (_Atomic uint8_t *)(uintptr_t)address;
}

/* The driver says there that it executes VICTIM_WAIT or VICTIM_WAIT_AGAIN. */
static void await_byte(const _Atomic uint8_t *byte)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	while (*byte == 0) {
		ck_assert_msg(clock_now_ns() < deadline, "the method did not begin");
		sched_yield();
	}
}

/* --- restarts that are told --- */

struct told {
	int n;
	uint32_t generation;
};

static void on_restart(void *refcon, io_connect_t connect, uint32_t generation)
{
	struct told *told = refcon;
	ck_assert_uint_ne(connect, IO_OBJECT_NULL);
	told->n++;
	told->generation = generation;
}

static void tell(io_connect_t connect, struct told *told)
{
	kern_return_t ret = dext_connect_set_restart_handler(connect, port, on_restart, told);
	ck_assert_msg(ret == kIOReturnSuccess, "%s", dext_last_reason());
}

static void await_restart(const struct told *told, uint32_t generation)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	struct pollfd p = { .fd = dext_notification_port_get_fd(port), .events = POLLIN };
	while (told->generation < generation) {
		ck_assert_msg(clock_now_ns() < deadline, "no restart was told");
		poll(&p, 1, PATIENCE_MS);
		dext_notification_port_dispatch(port);
	}
	ck_assert_uint_eq(told->generation, generation);
}

/* --- the tests --- */

START_TEST(an_idle_connection_goes_on)
{
	struct told told = { 0 };
	begin();
	tell(victim, &told);
	pid_t old = kill_driver();
	assert_echo(victim); // waits
	ck_assert_int_ne(process(), old);
	await_restart(&told, 2);
	ck_assert_int_eq(told.n, 1);

	old = kill_driver();
	assert_echo(victim);
	await_restart(&told, 3);
	ck_assert_int_eq(told.n, 2);
	end();
}
END_TEST

START_TEST(what_was_begun_is_aborted_and_what_was_not_is_done)
{
	struct call begun, queued[3];
	begin();
	io_connect_t other = rig_open();
	const _Atomic uint8_t *bytes = map(other);
	start(&begun, VICTIM_WAIT, 0);
	await_byte(bytes);
	for (int i = 0; i < 3; i++)
		start(&queued[i], VICTIM_ECHO, 0);
	assert_echo(other); // whoever comes later comes later
	kill_driver();
	pthread_join(begun.thread, NULL);
	ck_assert_msg(begun.result == kIOReturnAborted, "%s: %s", IOReturnString(begun.result),
		      begun.reason);
	assert_reason(begun.reason, "the driver died while it executed this call");
	for (int i = 0; i < 3; i++) {
		pthread_join(queued[i].thread, NULL);
		ck_assert_msg(queued[i].result == kIOReturnSuccess, "%s", queued[i].reason);
	}
	assert_echo(other);
	ck_assert_int_eq(IOServiceClose(other), kIOReturnSuccess);
	end();
}
END_TEST

START_TEST(an_idempotent_call_is_executed_anew_and_answered_once)
{
	struct call call;
	begin();
	io_connect_t other = rig_open();
	_Atomic uint8_t *bytes = map(other);
	start(&call, VICTIM_WAIT_AGAIN, 1);
	await_byte(bytes);
	pid_t old = kill_driver();
	pid_t new = await_process(old);
	assert_echo(other); // from here on it is the new one's
	bytes = map(other);
	await_byte(bytes);
	bytes[1] = 1;
	pthread_join(call.thread, NULL);
	ck_assert_msg(call.result == kIOReturnSuccess, "%s: %s", IOReturnString(call.result),
		      call.reason);
	ck_assert_int_eq((pid_t)call.out, new);
	assert_echo(victim);
	ck_assert_int_eq(IOServiceClose(other), kIOReturnSuccess);
	end();
}
END_TEST

START_TEST(an_idempotent_call_that_kills_every_driver_is_aborted)
{
	struct call call;
	begin();
	start(&call, VICTIM_DIE_AGAIN, 0);
	pthread_join(call.thread, NULL);
	ck_assert_msg(call.result == kIOReturnAborted, "%s", IOReturnString(call.result));
	assert_reason(call.reason, "each time");
	assert_echo(victim);
	end();
}
END_TEST

struct completion {
	int times;
	IOReturn result;
	char reason[256];
};

static void on_completion(void *refcon, IOReturn result)
{
	struct completion *c = refcon;
	c->times++;
	c->result = result;
	snprintf(c->reason, sizeof(c->reason), "%s", dext_last_reason());
}

static void keep(struct completion *c)
{
	uint64_t reference[kIOAsyncCalloutCount] = {
		[kIOAsyncCalloutFuncIndex] = (uint64_t)(uintptr_t)on_completion,
		[kIOAsyncCalloutRefconIndex] = (uint64_t)(uintptr_t)c,
	};
	kern_return_t ret = IOConnectCallAsyncScalarMethod(
		victim, VICTIM_KEEP, IONotificationPortGetMachPort(port), reference,
		kIOAsyncCalloutCount, NULL, 0, NULL, NULL);
	ck_assert_msg(ret == kIOReturnSuccess, "%s: %s", IOReturnString(ret), dext_last_reason());
}

static void let_go(void)
{
	const uint64_t complete = 1;
	ck_assert_int_eq(
		IOConnectCallScalarMethod(victim, VICTIM_RELEASE, &complete, 1, NULL, NULL),
		kIOReturnSuccess);
}

START_TEST(an_asynchronous_call_is_aborted_once)
{
	struct completion before = { 0 }, owed = { 0 }, after = { 0 };
	struct told told = { 0 };
	begin();
	tell(victim, &told);
	keep(&before);
	let_go();
	keep(&owed);
	kill_driver();
	rig_wait_flag(port, &owed.times);
	ck_assert_int_eq(before.times, 1);
	ck_assert_int_eq(before.result, kIOReturnSuccess);
	ck_assert_int_eq(owed.result, kIOReturnAborted);
	assert_reason(owed.reason, "the driver died");
	await_restart(&told, 2);
	keep(&after);
	let_go();
	rig_wait_flag(port, &after.times);
	ck_assert_int_eq(after.result, kIOReturnSuccess);
	ck_assert_int_eq(owed.times, 1);
	ck_assert_int_eq(told.n, 1);

	/* Without a look at the port in between. */
	keep(&owed);
	kill_driver();
	assert_echo(victim);
	keep(&after);
	let_go();
	while (owed.times < 2 || after.times < 2)
		dext_notification_port_dispatch(port);
	ck_assert_int_eq(owed.result, kIOReturnAborted);
	ck_assert_int_eq(after.result, kIOReturnSuccess);
	end();
}
END_TEST

START_TEST(shared_buffers_are_shared_anew)
{
	pthread_t large;
	struct call begun;
	begin();
	io_connect_t other = rig_open();
	assert_large(victim);
	kill_driver();
	assert_large(victim);

	/* And for a call that waits in the ring. */
	const _Atomic uint8_t *bytes = map(other);
	start(&begun, VICTIM_WAIT, 0);
	await_byte(bytes);
	ck_assert_int_eq(pthread_create(&large, NULL, run_large, NULL), 0);
	assert_echo(other);
	kill_driver();
	pthread_join(large, NULL);
	pthread_join(begun.thread, NULL);
	ck_assert_int_eq(begun.result, kIOReturnAborted);
	assert_large(victim);
	ck_assert_int_eq(IOServiceClose(other), kIOReturnSuccess);
	end();
}
END_TEST

START_TEST(mapped_memory_stays_and_is_mapped_anew)
{
	begin();
	_Atomic uint8_t *old = map(victim);
	old[5] = 55;
	kill_driver();
	assert_echo(victim);
	ck_assert_uint_eq(old[5], 55);
	_Atomic uint8_t *new = map(victim);
	ck_assert_ptr_ne((const void *)(uintptr_t) new, (const void *)(uintptr_t)old);
	ck_assert_uint_eq(new[5], 0);
	ck_assert(!dext_mapping_is_lost((const void *)(uintptr_t)old));
	const uint64_t poke[2] = { 5, 77 };
	ck_assert_int_eq(IOConnectCallScalarMethod(victim, VICTIM_POKE, poke, 2, NULL, NULL),
			 kIOReturnSuccess);
	ck_assert_uint_eq(new[5], 77);
	ck_assert_uint_eq(old[5], 55);
	/* Each is unmapped for itself. */
	ck_assert_int_eq(IOConnectUnmapMemory64(victim, VICTIM_TYPE_SHARED, mach_task_self(),
						(mach_vm_address_t)(uintptr_t)old),
			 kIOReturnSuccess);
	ck_assert_uint_eq(new[5], 77);
	ck_assert_int_eq(IOConnectUnmapMemory64(victim, VICTIM_TYPE_SHARED, mach_task_self(),
						(mach_vm_address_t)(uintptr_t) new),
			 kIOReturnSuccess);
	end();
}
END_TEST

START_TEST(a_restart_in_order_aborts_no_call)
{
	struct told told = { 0 };
	struct completion owed = { 0 };
	begin();
	tell(victim, &told);
	pid_t old = process();
	keep(&owed);
	restart_in_order();
	for (int i = 0; i < 100; i++)
		assert_echo(victim);
	ck_assert_int_ne(await_process(old), old);
	rig_wait_flag(port, &owed.times);
	ck_assert_int_eq(owed.result, kIOReturnAborted);
	await_restart(&told, 2);
	assert_large(victim);
	ck_assert_int_eq(owed.times, 1);
	end();
}
END_TEST

/* --- drivers that do not come back --- */

static void assert_ends(const char *part)
{
	struct told told = { 0 };
	struct completion owed = { 0 };
	tell(victim, &told);
	keep(&owed);
	kill_driver();
	rig_wait_flag(port, &owed.times);
	ck_assert_int_eq(owed.result, kIOReturnAborted);
	kern_return_t ret = IOConnectCallScalarMethod(victim, VICTIM_ECHO, NULL, 0, NULL, NULL);
	ck_assert_msg(ret == kIOReturnOffline, "%s", IOReturnString(ret));
	assert_reason(dext_last_reason(), part);
	ck_assert_int_eq(told.n, 0);
	ck_assert_int_eq(owed.times, 1);
}

START_TEST(a_driver_that_refuses_the_client_ends_its_connection)
{
	begin();
	rig_upgrade(&rig, "refuse-clients");
	assert_ends("the new one refuses: kIOReturnUnsupported");
	end();
}
END_TEST

START_TEST(a_driver_that_refuses_to_start_ends_its_connections)
{
	begin();
	rig_upgrade(&rig, "refuse");
	assert_ends("kIOReturnNotResponding");
	end();
}
END_TEST

START_TEST(a_call_that_waits_for_a_driver_ends_with_the_connection)
{
	begin();
	rig_upgrade(&rig, "refuse");
	kill_driver();
	kern_return_t ret = IOConnectCallScalarMethod(victim, VICTIM_ECHO, NULL, 0, NULL, NULL);
	ck_assert_msg(ret == kIOReturnAborted || ret == kIOReturnOffline, "%s",
		      IOReturnString(ret));
	assert_reason(dext_last_reason(), "kIOReturnNotResponding");
	end();
}
END_TEST

static void await_name(io_service_t service, const char *name)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	io_name_t now = "";
	while (strcmp(now, name) != 0) {
		ck_assert_msg(clock_now_ns() < deadline, "its name is %s, not %s", now, name);
		ck_assert_int_eq(IORegistryEntryGetName(service, now), kIOReturnSuccess);
	}
}

START_TEST(a_driver_that_dies_in_the_restart_is_followed_by_another)
{
	struct told told = { 0 };
	begin();
	io_service_t service = rig_wait_service("Victim");
	tell(victim, &told);
	rig_upgrade(&rig, "hang");
	kill_driver();
	await_name(service, VICTIM_HANGS);
	rig_upgrade(&rig, NULL);
	ck_assert_int_eq(kill((pid_t)rig_number(service, "OpenDextProcess"), SIGKILL), 0);
	IOObjectRelease(service);
	assert_echo(victim);
	await_restart(&told, 2); // the second one never had the connection
	ck_assert_int_eq(told.n, 1);
	end();
}
END_TEST

START_TEST(a_driver_that_dies_too_often_ends_its_connections)
{
	begin();
	kern_return_t ret = kIOReturnAborted;
	for (int i = 0; i < 5; i++) {
		ck_assert_int_eq(ret, kIOReturnAborted);
		ret = IOConnectCallScalarMethod(victim, VICTIM_DIE, NULL, 0, NULL, NULL);
	}
	ck_assert_msg(ret == kIOReturnAborted, "%s", IOReturnString(ret));
	ret = IOConnectCallScalarMethod(victim, VICTIM_ECHO, NULL, 0, NULL, NULL);
	ck_assert_msg(ret == kIOReturnOffline, "%s: %s", IOReturnString(ret), dext_last_reason());
	assert_reason(dext_last_reason(), "failed 5 times");
	end();
}
END_TEST

START_TEST(a_call_waits_no_longer_than_its_time_limit)
{
	begin();
	io_connect_t other = rig_open();
	pid_t driver = process();
	ck_assert_int_eq(kill(rig.dextd, SIGSTOP), 0); // so that no driver follows meanwhile
	ck_assert_int_eq(kill(driver, SIGKILL), 0);
	ck_assert_int_eq(dext_call_timeout_set(1), kIOReturnSuccess);
	kern_return_t ret = IOConnectCallScalarMethod(other, VICTIM_ECHO, NULL, 0, NULL, NULL);
	ck_assert_msg(ret == kIOReturnTimeout, "%s", IOReturnString(ret));
	dext_call_timeout_set(30000);
	ck_assert_int_eq(kill(rig.dextd, SIGCONT), 0);
	assert_echo(other);
	ck_assert_int_eq(IOServiceClose(other), kIOReturnSuccess);
	end();
}
END_TEST

START_TEST(dextd_dies_too)
{
	struct completion owed = { 0 };
	begin();
	keep(&owed);
	pid_t driver = process();
	ck_assert_int_eq(kill(rig.dextd, SIGSTOP), 0);
	ck_assert_int_eq(kill(driver, SIGKILL), 0);
	ck_assert_int_eq(kill(rig.dextd, SIGKILL), 0);
	rig_wait_flag(port, &owed.times);
	ck_assert_int_eq(owed.result, kIOReturnAborted);
	kern_return_t ret = IOConnectCallScalarMethod(victim, VICTIM_ECHO, NULL, 0, NULL, NULL);
	ck_assert_msg(ret == kIOReturnOffline, "%s", IOReturnString(ret));
	IOServiceClose(victim);
	IONotificationPortDestroy(port);
}
END_TEST

/* --- many --- */

enum { LINES = 4, THREADS = 8, KILLS = 3 }; // with one more, as many as dextd puts up with

struct caller {
	pthread_t thread;
	io_connect_t connect;
	uint64_t number, n_done, n_aborted;
	char problem[256]; // empty: none
};

static _Atomic bool stop;
static _Atomic int n_awaited; // of calls that succeed, then …
static sem_t enough;

static void *call_often(void *context)
{
	struct caller *c = context;
	for (uint64_t i = 0; !atomic_load(&stop) && c->problem[0] == '\0'; i++) {
		uint64_t in[2] = { c->number, i }, out[2] = { 0 };
		uint32_t count = 2;
		kern_return_t ret =
			IOConnectCallScalarMethod(c->connect, VICTIM_ECHO, in, 2, out, &count);
		if (ret == kIOReturnSuccess && out[0] == c->number && out[1] == i) {
			c->n_done++;
			if (atomic_fetch_sub(&n_awaited, 1) == 1)
				sem_post(&enough);
		} else if (ret == kIOReturnAborted) {
			c->n_aborted++;
		} else {
			snprintf(c->problem, sizeof(c->problem), "%s: %s", IOReturnString(ret),
				 dext_last_reason());
		}
	}
	return NULL;
}

static void await_calls(const struct caller *callers)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	struct timespec limit = { .tv_sec = (time_t)(deadline / 1000000000),
				  .tv_nsec = (long)(deadline % 1000000000) };
	atomic_store(&n_awaited, 500);
	ck_assert_msg(sem_clockwait(&enough, CLOCK_MONOTONIC, &limit) == 0,
		      "%d calls too few in %d ms; %s", atomic_load(&n_awaited), PATIENCE_MS,
		      callers[0].problem);
}

START_TEST(threads_and_connections_all_go_on)
{
	struct caller callers[THREADS];
	io_connect_t lines[LINES];
	struct told told[LINES] = { { 0 } };
	begin();
	ck_assert_int_eq(sem_init(&enough, 0, 0), 0);
	for (int i = 0; i < LINES; i++) {
		lines[i] = rig_open();
		tell(lines[i], &told[i]);
	}
	for (uint64_t i = 0; i < THREADS; i++) {
		callers[i] = (struct caller){ .connect = lines[i % LINES], .number = i };
		pthread_create(&callers[i].thread, NULL, call_often, &callers[i]);
	}
	for (int i = 0; i < KILLS; i++) {
		await_calls(callers);
		pid_t old = kill_driver();
		if (i == 1) // once more, while the connections are handed over
			old = await_process(old), kill(old, SIGKILL);
	}
	await_calls(callers);
	atomic_store(&stop, true);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(callers[i].thread, NULL);
		ck_assert_str_eq(callers[i].problem, "");
		ck_assert_uint_gt(callers[i].n_done, 0);
	}
	for (int i = 0; i < LINES; i++) {
		assert_echo(lines[i]);
		ck_assert_int_eq(IOServiceClose(lines[i]), kIOReturnSuccess);
	}
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("restart");
	TCase *tc = tcase_create("restart");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, an_idle_connection_goes_on);
	tcase_add_test(tc, what_was_begun_is_aborted_and_what_was_not_is_done);
	tcase_add_test(tc, an_idempotent_call_is_executed_anew_and_answered_once);
	tcase_add_test(tc, an_idempotent_call_that_kills_every_driver_is_aborted);
	tcase_add_test(tc, an_asynchronous_call_is_aborted_once);
	tcase_add_test(tc, shared_buffers_are_shared_anew);
	tcase_add_test(tc, mapped_memory_stays_and_is_mapped_anew);
	tcase_add_test(tc, a_restart_in_order_aborts_no_call);
	tcase_add_test(tc, a_driver_that_refuses_the_client_ends_its_connection);
	tcase_add_test(tc, a_driver_that_refuses_to_start_ends_its_connections);
	tcase_add_test(tc, a_call_that_waits_for_a_driver_ends_with_the_connection);
	tcase_add_test(tc, a_driver_that_dies_in_the_restart_is_followed_by_another);
	tcase_add_test(tc, a_driver_that_dies_too_often_ends_its_connections);
	tcase_add_test(tc, a_call_waits_no_longer_than_its_time_limit);
	tcase_add_test(tc, dextd_dies_too);
	tcase_add_test(tc, threads_and_connections_all_go_on);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
