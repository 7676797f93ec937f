// SPDX-License-Identifier: Apache-2.0
/*
 * Notifications of services, in a driver: Watcher is told of services of its own process, of
 * Herald's in another, and not of those that it is not to see. The test has them come and go.
 */

#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <base/clock.h>
#include <tests/e2e/rig.h>

#include "watcher.h"

enum { PATIENCE_MS = 10000 };

static struct rig rig;
static io_connect_t herald, watcher;

static io_connect_t open_service(const char *class_name)
{
	io_service_t service = rig_wait_service(class_name);
	io_connect_t connect = IO_OBJECT_NULL;
	kern_return_t ret = IOServiceOpen(service, mach_task_self(), 0, &connect);
	ck_assert_msg(ret == kIOReturnSuccess, "%s: %s", IOReturnString(ret), dext_last_reason());
	IOObjectRelease(service);
	return connect;
}

static void start(void)
{
	const char *const options[] = { "--bundles", getenv("NOTIFICATION_BUNDLES"), NULL };
	rig_start(&rig, NULL, options);
	herald = open_service("Herald");
	watcher = open_service("Watcher");
}

static void stop(void)
{
	IOServiceClose(watcher);
	IOServiceClose(herald);
	rig_stop(&rig);
}

static kern_return_t try(io_connect_t connect, uint32_t what, uint64_t argument, uint64_t *result)
{
	uint32_t n = 1;
	*result = 0;
	return IOConnectCallScalarMethod(connect, what, &argument, 1, result, &n);
}

static uint64_t must(io_connect_t connect, uint32_t what, uint64_t argument)
{
	uint64_t result;
	kern_return_t ret = try(connect, what, argument, &result);
	ck_assert_msg(ret == kIOReturnSuccess, "%u: %s: %s", what, IOReturnString(ret),
		      dext_last_reason());
	return result;
}

static void await(uint32_t what, uint64_t wanted)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS), value;
	while ((value = must(watcher, what, 0)) != wanted)
		ck_assert_msg(clock_now_ns() < deadline, "%u stays %llu, not %llu", what,
			      (unsigned long long)value, (unsigned long long)wanted);
}

static unsigned count_services(const char *class_name)
{
	unsigned n = 0;
	io_iterator_t iterator;
	io_service_t service;
	ck_assert_int_eq(IOServiceGetMatchingServices(kIOMainPortDefault,
						      IOServiceMatching(class_name), &iterator),
			 kIOReturnSuccess);
	while ((service = IOIteratorNext(iterator)) != IO_OBJECT_NULL) {
		IOObjectRelease(service);
		n++;
	}
	IOObjectRelease(iterator);
	return n;
}

static void await_services(const char *class_name, unsigned wanted)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	while (count_services(class_name) != wanted)
		ck_assert_msg(clock_now_ns() < deadline, "there are not %u services %s", wanted,
			      class_name);
}

/* Pages come and go, and are gone when this returns. */
static void flood(unsigned n)
{
	must(herald, HERALD_FLOOD, n);
	await_services("Page", 0);
}

/* --- telling --- */

START_TEST(what_is_there_is_told_first)
{
	start();
	must(herald, HERALD_ADD, 0);
	must(herald, HERALD_ADD, 0);
	must(watcher, WATCHER_WATCH, WATCH_PAGE);
	await(WATCHER_MATCHED, 2);
	must(herald, HERALD_ADD, 0);
	await(WATCHER_MATCHED, 3);
	ck_assert_uint_eq(must(watcher, WATCHER_TERMINATED, 0), 0);
	ck_assert_uint_eq(must(watcher, WATCHER_WRONG, 0), 0);
	stop();
}
END_TEST

START_TEST(a_service_of_another_process_is_a_proxy_that_works)
{
	uint64_t number, unused;
	start();
	must(watcher, WATCHER_WATCH, WATCH_PAGE);
	number = must(herald, HERALD_ADD, 0);
	await(WATCHER_MATCHED, 1);
	ck_assert_uint_eq(must(watcher, WATCHER_READ, 0), number);
	ck_assert_uint_eq(must(watcher, WATCHER_NAME, 0), 1);
	must(herald, HERALD_REMOVE, 0);
	await(WATCHER_TERMINATED, 1);
	ck_assert_uint_eq(must(watcher, WATCHER_WRONG, 0), 0);
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	while (try(watcher, WATCHER_READ_ENDED, 0, &unused) != kIOReturnOffline)
		ck_assert_msg(clock_now_ns() < deadline, "it goes on: %s", dext_last_reason());
	stop();
}
END_TEST

START_TEST(services_of_its_own_process_are_themselves)
{
	start();
	must(watcher, WATCHER_ADD, 0);
	must(watcher, WATCHER_WATCH, WATCH_SPOT);
	await(WATCHER_MATCHED, 1);
	must(watcher, WATCHER_ADD, 0);
	await(WATCHER_MATCHED, 2);
	must(watcher, WATCHER_REMOVE, 0);
	await(WATCHER_TERMINATED, 1);
	must(watcher, WATCHER_REMOVE, 0);
	await(WATCHER_TERMINATED, 2);
	ck_assert_uint_eq(must(watcher, WATCHER_WRONG, 0), 0);
	must(watcher, WATCHER_CANCEL, 0);
	await(WATCHER_CANCEL, 1);
	must(watcher, WATCHER_WATCH, WATCH_SELF); // it keeps itself, until it cancels
	await(WATCHER_MATCHED, 1);
	stop();
}
END_TEST

/* --- who sees what --- */

START_TEST(a_driver_sees_what_it_is_to_see)
{
	start();
	await_services("Recluse", 1);
	await_services("Twin", 1);
	must(watcher, WATCHER_WATCH, WATCH_RECLUSE);
	must(watcher, WATCHER_DELIVER, 0); // all there is to tell
	ck_assert_uint_eq(must(watcher, WATCHER_MATCHED, 0), 0);
	must(watcher, WATCHER_CANCEL, 0);
	must(watcher, WATCHER_WATCH, WATCH_TWIN); // of the same server
	await(WATCHER_MATCHED, 1);
	must(watcher, WATCHER_CANCEL, 0);
	must(watcher, WATCHER_WATCH, WATCH_HERALD); // which is published
	await(WATCHER_MATCHED, 1);
	ck_assert_uint_eq(must(watcher, WATCHER_WRONG, 0), 0);
	stop();
}
END_TEST

/* --- nothing lost, nothing piled up --- */

START_TEST(what_comes_while_disabled_is_told_later)
{
	start();
	must(watcher, WATCHER_WATCH, WATCH_PAGE);
	must(watcher, WATCHER_ENABLE, 0);
	must(herald, HERALD_ADD, 0);
	must(herald, HERALD_ADD, 0);
	ck_assert_uint_eq(must(watcher, WATCHER_READY, 0), 0);
	must(watcher, WATCHER_ENABLE, 1);
	await(WATCHER_MATCHED, 2);
	must(watcher, WATCHER_HANDLE, 0);
	must(herald, HERALD_ADD, 0);
	must(herald, HERALD_REMOVE, 0);
	await_services("Page", 2);
	ck_assert_uint_eq(must(watcher, WATCHER_MATCHED, 0), 2);
	must(watcher, WATCHER_HANDLE, 1);
	await(WATCHER_MATCHED, 3);
	await(WATCHER_TERMINATED, 1);
	must(herald, HERALD_REMOVE, 0); // and on
	await(WATCHER_TERMINATED, 2);
	ck_assert_uint_eq(must(watcher, WATCHER_WRONG, 0), 0);
	stop();
}
END_TEST

/* Nobody asks: two thousand services come and go. One that stayed, and one that came, is all. */
START_TEST(a_flood_that_nobody_reads_leaves_no_more_than_its_end)
{
	start();
	must(watcher, WATCHER_WATCH, WATCH_PAGE);
	must(herald, HERALD_ADD, 0);
	await(WATCHER_MATCHED, 1);
	uint64_t ready = must(watcher, WATCHER_READY, 0);
	must(watcher, WATCHER_ENABLE, 0);
	must(herald, HERALD_REMOVE, 0);
	await_services("Page", 0);
	for (int i = 0; i < 20; i++)
		flood(100);
	must(herald, HERALD_ADD, 0);
	must(watcher, WATCHER_ENABLE, 1);
	await(WATCHER_MATCHED, 2);
	ck_assert_uint_eq(must(watcher, WATCHER_TERMINATED, 0), 1);
	ck_assert_uint_le(must(watcher, WATCHER_READY, 0), ready + 2);
	ck_assert_uint_eq(must(watcher, WATCHER_WRONG, 0), 0);
	stop();
}
END_TEST

/* However fast they come: those told of as come have gone, or are there. */
START_TEST(a_flood_that_is_read_adds_up)
{
	start();
	must(watcher, WATCHER_WATCH, WATCH_PAGE);
	for (int i = 0; i < 5; i++)
		flood(100);
	for (int i = 0; i < 40; i++)
		must(herald, HERALD_ADD, 0);
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS), there;
	while ((there = must(watcher, WATCHER_MATCHED, 0) - must(watcher, WATCHER_TERMINATED, 0)) !=
	       40)
		ck_assert_msg(clock_now_ns() < deadline, "%llu are there",
			      (unsigned long long)there);
	ck_assert_uint_eq(must(watcher, WATCHER_WRONG, 0), 0);
	stop();
}
END_TEST

START_TEST(one_can_deliver_by_hand)
{
	start();
	must(watcher, WATCHER_WATCH, WATCH_PAGE);
	must(watcher, WATCHER_ENABLE, 0);
	must(herald, HERALD_ADD, 0);
	must(watcher, WATCHER_DELIVER, 0);
	ck_assert_uint_eq(must(watcher, WATCHER_MATCHED, 0), 1);
	must(watcher, WATCHER_ENABLE, 1); // what was delivered is not told of again
	must(watcher, WATCHER_CHECK, 0);
	ck_assert_uint_eq(must(watcher, WATCHER_READY, 0), 0);
	stop();
}
END_TEST

/* --- ends --- */

START_TEST(after_cancel_nothing_is_told)
{
	start();
	must(herald, HERALD_ADD, 0);
	must(watcher, WATCHER_WATCH, WATCH_PAGE);
	await(WATCHER_MATCHED, 1);
	must(watcher, WATCHER_CANCEL, 0);
	await(WATCHER_CANCEL, 1);
	uint64_t ready = must(watcher, WATCHER_READY, 0);
	must(herald, HERALD_ADD, 0);
	must(watcher, WATCHER_MANY, 0); // a way to dextd and back
	ck_assert_uint_eq(must(watcher, WATCHER_READY, 0), ready);
	ck_assert_uint_eq(must(watcher, WATCHER_MATCHED, 0), 1);
	must(watcher, WATCHER_WATCH, WATCH_PAGE); // anew
	await(WATCHER_MATCHED, 2);
	stop();
}
END_TEST

START_TEST(a_process_that_dies_ends_its_services)
{
	start();
	must(herald, HERALD_ADD, 0);
	must(watcher, WATCHER_WATCH, WATCH_PAGE);
	await(WATCHER_MATCHED, 1);
	io_service_t service = rig_wait_service("Herald");
	ck_assert_int_eq(kill((pid_t)rig_number(service, "OpenDextProcess"), SIGKILL), 0);
	IOObjectRelease(service);
	await(WATCHER_TERMINATED, 1);
	ck_assert_uint_eq(must(watcher, WATCHER_WRONG, 0), 0);
	stop();
}
END_TEST

/* With the same number in the registry. */
START_TEST(a_service_that_is_started_again_is_another)
{
	start();
	must(watcher, WATCHER_WATCH, WATCH_HERALD);
	await(WATCHER_MATCHED, 1);
	must(watcher, WATCHER_ENABLE, 0);
	io_service_t service = rig_wait_service("Herald");
	pid_t pid = (pid_t)rig_number(service, "OpenDextProcess");
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	pid_t next = pid;
	while (next == pid || next == 0 || count_services("Herald") == 0) {
		next = (pid_t)rig_number(service, "OpenDextProcess");
		ck_assert(clock_now_ns() < deadline);
	}
	IOObjectRelease(service);
	must(watcher, WATCHER_ENABLE, 1);
	await(WATCHER_TERMINATED, 1);
	await(WATCHER_MATCHED, 2);
	ck_assert_uint_eq(must(watcher, WATCHER_WRONG, 0), 0);
	stop();
}
END_TEST

START_TEST(what_cannot_be_watched_is_refused)
{
	start();
	uint64_t line = must(watcher, WATCHER_REFUSALS, 0);
	ck_assert_msg(line == 0, "Watcher.c:%llu", (unsigned long long)line);
	must(watcher, WATCHER_WATCH, WATCH_PAGE);
	for (int i = 0; i < 4; i++) // released, they count no more
		ck_assert_uint_eq(must(watcher, WATCHER_MANY, 0), 63);
	stop();
}
END_TEST

/* --- states --- */

/* Herald's, of another process. */
static void wait_for_herald(void)
{
	must(watcher, WATCHER_WATCH, WATCH_HERALD);
	await(WATCHER_MATCHED, 1);
	must(watcher, WATCHER_WAIT, 0);
}

START_TEST(each_begin_is_told_once)
{
	start();
	wait_for_herald();
	must(herald, HERALD_LEVEL, 7);
	must(watcher, WATCHER_WAIT_MANY, 0);                     // a way to dextd and back
	ck_assert_uint_eq(must(watcher, WATCHER_CHANGED, 0), 0); // it was not begun
	must(watcher, WATCHER_BEGIN, 0);                         // what is there already
	await(WATCHER_CHANGED, 1);
	ck_assert_uint_eq(must(watcher, WATCHER_LEVEL, 0), 7);
	must(herald, HERALD_LEVELS, 500); // while nobody waits
	must(watcher, WATCHER_WAIT_MANY, 0);
	ck_assert_uint_eq(must(watcher, WATCHER_CHANGED, 0), 1);
	must(watcher, WATCHER_BEGIN, 0);
	await(WATCHER_CHANGED, 2);
	ck_assert_uint_eq(must(watcher, WATCHER_LEVEL, 0), 500);
	must(watcher, WATCHER_BEGIN, 0);
	must(herald, HERALD_LEVEL, 500); // it has that value
	must(watcher, WATCHER_WAIT_MANY, 0);
	ck_assert_uint_eq(must(watcher, WATCHER_CHANGED, 0), 2);
	must(herald, HERALD_LEVEL, 501);
	await(WATCHER_CHANGED, 3);
	stop();
}
END_TEST

/* However fast it changes, the last value is told of. */
START_TEST(a_flood_of_changes_ends_with_the_last)
{
	start();
	wait_for_herald();
	must(watcher, WATCHER_AGAIN, 1);
	must(watcher, WATCHER_BEGIN, 0);
	must(herald, HERALD_LEVELS, 2000);
	uint64_t n = 0, deadline = clock_deadline_ns(PATIENCE_MS);
	while (must(watcher, WATCHER_LEVEL, 0) != 2000)
		ck_assert(clock_now_ns() < deadline);
	must(watcher, WATCHER_WAIT_MANY, 0); // what was told has come
	n = must(watcher, WATCHER_CHANGED, 0);
	ck_assert_uint_ge(n, 1);
	ck_assert_uint_le(n, 2000);
	must(herald, HERALD_LEVEL, 1);
	while (must(watcher, WATCHER_CHANGED, 0) == n || must(watcher, WATCHER_LEVEL, 0) != 1)
		ck_assert(clock_now_ns() < deadline);
	stop();
}
END_TEST

START_TEST(a_driver_waits_for_its_own_state)
{
	start();
	must(watcher, WATCHER_WAIT, 1);
	must(watcher, WATCHER_BEGIN, 0);
	must(watcher, WATCHER_WAIT_ENABLE, 0);
	must(watcher, WATCHER_SET_LEVEL, 3); // made only now
	must(watcher, WATCHER_WAIT_MANY, 0);
	ck_assert_uint_eq(must(watcher, WATCHER_CHANGED, 0), 0);
	must(watcher, WATCHER_WAIT_ENABLE, 1);
	await(WATCHER_CHANGED, 1);
	ck_assert_uint_eq(must(watcher, WATCHER_LEVEL, 0), 3);
	must(watcher, WATCHER_BEGIN, 0);
	must(watcher, WATCHER_WAIT_END, 0);
	await(WATCHER_WAIT_END, 1);
	must(watcher, WATCHER_SET_LEVEL, 4);
	must(watcher, WATCHER_WAIT_MANY, 0);
	ck_assert_uint_eq(must(watcher, WATCHER_CHANGED, 0), 1);
	must(watcher, WATCHER_WAIT, 1); // anew
	must(watcher, WATCHER_BEGIN, 0);
	await(WATCHER_CHANGED, 1);
	stop();
}
END_TEST

START_TEST(the_end_of_a_service_ends_the_wait)
{
	uint64_t unused;
	start();
	wait_for_herald();
	must(herald, HERALD_LEVEL, 5);
	must(watcher, WATCHER_BEGIN, 0);
	await(WATCHER_CHANGED, 1);
	must(watcher, WATCHER_BEGIN, 0);
	io_service_t service = rig_wait_service("Herald");
	ck_assert_int_eq(kill((pid_t)rig_number(service, "OpenDextProcess"), SIGKILL), 0);
	IOObjectRelease(service);
	await(WATCHER_CHANGED, 2);
	ck_assert_int_eq(try(watcher, WATCHER_BEGIN, 0, &unused), kIOReturnOffline);
	await(WATCHER_MATCHED, 2); // the next Herald, whose state begins anew
	must(watcher, WATCHER_WAIT_END, 0);
	must(watcher, WATCHER_WAIT, 0);
	ck_assert_int_eq(try(watcher, WATCHER_LEVEL, 0, &unused), kIOReturnNotFound);
	stop();
}
END_TEST

START_TEST(items_and_waits_are_checked)
{
	start();
	uint64_t line = must(herald, HERALD_STATES, 0);
	ck_assert_msg(line == 0, "Herald.c:%llu", (unsigned long long)line);
	line = must(watcher, WATCHER_WAIT_WRONG, 0);
	ck_assert_msg(line == 0, "waiting.c:%llu", (unsigned long long)line);
	for (int i = 0; i < 4; i++)
		ck_assert_uint_eq(must(watcher, WATCHER_WAIT_MANY, 0), 64);
	stop();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("notifications");
	TCase *tc = tcase_create("notifications");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, what_is_there_is_told_first);
	tcase_add_test(tc, a_service_of_another_process_is_a_proxy_that_works);
	tcase_add_test(tc, services_of_its_own_process_are_themselves);
	tcase_add_test(tc, a_driver_sees_what_it_is_to_see);
	tcase_add_test(tc, what_comes_while_disabled_is_told_later);
	tcase_add_test(tc, a_flood_that_nobody_reads_leaves_no_more_than_its_end);
	tcase_add_test(tc, a_flood_that_is_read_adds_up);
	tcase_add_test(tc, one_can_deliver_by_hand);
	tcase_add_test(tc, after_cancel_nothing_is_told);
	tcase_add_test(tc, a_process_that_dies_ends_its_services);
	tcase_add_test(tc, a_service_that_is_started_again_is_another);
	tcase_add_test(tc, what_cannot_be_watched_is_refused);
	tcase_add_test(tc, each_begin_is_told_once);
	tcase_add_test(tc, a_flood_of_changes_ends_with_the_last);
	tcase_add_test(tc, a_driver_waits_for_its_own_state);
	tcase_add_test(tc, the_end_of_a_service_ends_the_wait);
	tcase_add_test(tc, items_and_waits_are_checked);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
