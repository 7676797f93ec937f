// SPDX-License-Identifier: Apache-2.0
/*
 * Power states of a stack whose services run in processes of their own: who is told of what, in
 * which order, and what applications see meanwhile.
 */

#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <DriverKit/IOTypes.h>
#include <base/clock.h>
#include <tests/e2e/rig.h>

#include "tower.h"
#include "tower_rig.h"

enum { PATIENCE_MS = 10000, BRIEFLY_MS = 200 };

static void check_going_down(void)
{
	for (int i = 1; i <= 2; i++) {
		char roof[64], story[64];
		snprintf(roof, sizeof(roof), "life: roof %d off", i);
		snprintf(story, sizeof(story), "life: story %d off: kIOReturnSuccess", i);
		tower_check_order(roof, story);
		tower_check_order(story, "life: ground off");
	}
}

static void check_coming_up(void)
{
	for (int i = 1; i <= 2; i++) {
		char roof[64], story[64];
		snprintf(roof, sizeof(roof), "life: roof %d on", i);
		snprintf(story, sizeof(story), "life: story %d on: kIOReturnSuccess", i);
		tower_check_order("life: ground on", story);
		tower_check_order(story, roof);
	}
}

START_TEST(sleep_takes_clients_first_and_wake_providers)
{
	tower_start("LIFE_APART", NULL);
	rig_control("sleep", NULL);
	check_going_down(); // all of it, when the command has returned
	ck_assert_uint_eq(tower_count_in_log("life: nub"), 0); // made with Create: only when asked
	rig_control("sleep", NULL);                            // nobody is told again
	ck_assert_uint_eq(tower_count_in_log("life: ground off"), 1);
	rig_control("wake", NULL);
	check_coming_up();
	ck_assert_uint_eq(tower_must(TOWER_NUBS, 0), 2);
	tower_stop();
	tower_end();
}
END_TEST

START_TEST(what_create_makes_takes_part_when_it_joins)
{
	uint64_t result;
	tower_start("LIFE_APART", NULL);
	ck_assert_int_eq(tower_try(TOWER_NUB_WISH, kIOServicePowerCapabilityLow, &result),
			 kIOReturnNotReady);
	ck_assert_ptr_nonnull(strstr(dext_last_reason(), "JoinPMTree comes first"));
	tower_must(TOWER_JOIN, 0);
	tower_must(TOWER_JOIN, 0); // harmless
	tower_must(TOWER_NUB_WISH, kIOServicePowerCapabilityOn);
	rig_control("sleep", NULL);
	check_going_down();
	tower_check_order("life: story 2 off: kIOReturnSuccess", "life: nub 1 off");
	tower_check_order("life: nub 1 off", "life: ground off");
	rig_control("wake", NULL);
	check_coming_up();
	tower_check_order("life: ground on", "life: nub 1 on");
	tower_check_order("life: nub 1 on", "life: story 1 on: kIOReturnSuccess");
	ck_assert_uint_eq(tower_count_in_log("life: nub 2"), 0);
	tower_stop();
	tower_end();
}
END_TEST

static void *speak(void *unused)
{
	static kern_return_t status;
	uint64_t result;
	(void)unused;
	status = tower_try(TOWER_SPEAK, 0, &result);
	return &status;
}

/* A call that comes while the driver is off waits until it is on, within its time limit. */
START_TEST(calls_wait_while_their_driver_is_off)
{
	uint64_t result;
	pthread_t caller;
	void *status;
	io_connect_t none = IO_OBJECT_NULL;
	tower_start("LIFE_APART", NULL);
	rig_control("sleep", NULL);
	uint32_t limit_ms = dext_call_timeout_get();
	dext_call_timeout_set(BRIEFLY_MS);
	ck_assert_int_eq(tower_try(TOWER_NUBS, 0, &result), kIOReturnTimeout);
	dext_call_timeout_set(limit_ms);
	io_service_t ground = rig_wait_service("Ground");
	ck_assert_int_eq(IOServiceOpen(ground, mach_task_self(), 0, &none), kIOReturnNotReady);
	ck_assert_ptr_nonnull(strstr(dext_last_reason(), "is off"));
	IOObjectRelease(ground);

	ck_assert_int_eq(pthread_create(&caller, NULL, speak, NULL), 0);
	rig_control("wake", NULL);
	pthread_join(caller, &status);
	ck_assert_int_eq(*(kern_return_t *)status, kIOReturnSuccess);
	tower_check_order("life: ground on", "life: ground is called");
	tower_stop();
	tower_end();
}
END_TEST

/* Who does not acknowledge is named, and waited for no longer; it is told what comes next. */
START_TEST(who_does_not_acknowledge_is_named_and_left_behind)
{
	static const char *const options[] = { "--power-timeout-ms", "300", NULL };
	tower_start("LIFE_APART", options);
	tower_must(TOWER_MANNER, MANNER_STORY_KEEPS);
	rig_control("sleep", NULL);
	check_going_down();
	ck_assert_uint_eq(tower_count_in_log("Story did not acknowledge power state off within 300 "
					     "ms: it must call the super's SetPowerState"),
			  2);
	rig_control("wake", NULL);
	check_coming_up();
	tower_must(TOWER_MANNER, MANNER_GOOD);
	rig_control("sleep", NULL);
	rig_control("wake", NULL);
	ck_assert_uint_eq(tower_count_in_log("did not acknowledge"),
			  4); // no more than twice each way
	ck_assert_uint_eq(tower_count_in_log("life: ground on"), 2);
	tower_stop();
	tower_end();
}
END_TEST

START_TEST(a_driver_that_dies_asleep_starts_when_the_machine_wakes)
{
	tower_start("LIFE_APART", NULL);
	io_service_t roof = rig_wait_service("Roof");
	pid_t pid = (pid_t)rig_number(roof, "OpenDextProcess");
	IOObjectRelease(roof);
	rig_control("sleep", NULL);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	while (tower_count_services("Roof") > 1)
		ck_assert_uint_lt(clock_now_ns(), deadline);
	tower_await_log("Roof crashed");
	ck_assert_uint_eq(tower_count_in_log("Roof runs in process"), 2);
	rig_control("wake", NULL);
	tower_await_roofs();
	ck_assert_uint_eq(tower_count_in_log("Roof runs in process"), 3);
	tower_stop();
	tower_check_order("the machine has woken", "life: ground on");
	tower_end();
}
END_TEST

/* What is wished for above counts, unless it is overridden. */
START_TEST(a_service_has_the_highest_state_that_is_wished_for)
{
	uint64_t result;
	tower_start("LIFE_APART", NULL);
	ck_assert_int_eq(tower_try(TOWER_WISH, 7, &result), kIOReturnBadArgument);
	ck_assert_ptr_nonnull(strstr(dext_last_reason(), "0x7 is no power state"));
	tower_must(TOWER_WISH, kIOServicePowerCapabilityLow);
	rig_wait_said("list --json", "\"OpenDextPower\": \"on\"");
	ck_assert_uint_eq(tower_count_in_log("life: ground low"), 0);
	tower_must(TOWER_OVERRIDE, 1);
	tower_await_log("life: ground low");
	tower_must(TOWER_SPEAK, 0); // calls go on
	tower_must(TOWER_OVERRIDE, 0);
	tower_await_log("life: ground on");
	tower_check_order("life: ground low", "life: ground on");
	ck_assert_uint_eq(tower_count_in_log("life: story 1 on"), 0); // it was on all the time
	tower_stop();
	tower_end();
}
END_TEST

/* --- bus stalls --- */

static int32_t latency_in(const char *path)
{
	int32_t us = -1;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(read(fd, &us, sizeof(us)), (ssize_t)sizeof(us));
	close(fd);
	return us;
}

START_TEST(the_strictest_bus_stall_is_asked_of_the_kernel)
{
	char path[] = "/tmp/dext-latency.XXXXXX", option[64];
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	close(fd);
	snprintf(option, sizeof(option), "--allow-low-latency=%s", path);
	const char *const options[] = { option, NULL };
	tower_start("LIFE_APART", options);
	tower_must(TOWER_STALL, 50999);
	ck_assert_int_eq(latency_in(path), 50); // µs
	tower_must(TOWER_STALL, 20000);
	ck_assert_int_eq(latency_in(path), 20);
	ck_assert_uint_eq(tower_count_in_log("idle CPUs may sleep"), 0);
	tower_must(TOWER_STALL, 0);
	tower_await_log("idle CPUs may sleep");
	tower_must(TOWER_STALL, 30000);
	ck_assert_int_eq(latency_in(path), 30);
	uint64_t pid = tower_await_process("Ground", 0);
	ck_assert_int_eq(kill((pid_t)pid, SIGKILL), 0);
	tower_await_process("Ground", pid); // its demand went with it
	ck_assert_uint_eq(tower_count_in_log("idle CPUs may sleep"), 2);
	tower_stop();
	tower_end();
	ck_assert_int_eq(unlink(path), 0);
}
END_TEST

START_TEST(a_bus_stall_is_refused_without_policy)
{
	uint64_t result;
	tower_start("LIFE_APART", NULL);
	ck_assert_int_eq(tower_try(TOWER_STALL, 50000, &result), kIOReturnNotPermitted);
	ck_assert_ptr_nonnull(strstr(dext_last_reason(), "without --allow-low-latency"));
	tower_stop();
	tower_end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("power");
	TCase *tc = tcase_create("power");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, sleep_takes_clients_first_and_wake_providers);
	tcase_add_test(tc, what_create_makes_takes_part_when_it_joins);
	tcase_add_test(tc, calls_wait_while_their_driver_is_off);
	tcase_add_test(tc, who_does_not_acknowledge_is_named_and_left_behind);
	tcase_add_test(tc, a_driver_that_dies_asleep_starts_when_the_machine_wakes);
	tcase_add_test(tc, a_service_has_the_highest_state_that_is_wished_for);
	tcase_add_test(tc, the_strictest_bus_stall_is_asked_of_the_kernel);
	tcase_add_test(tc, a_bus_stall_is_refused_without_policy);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
