// SPDX-License-Identifier: Apache-2.0
/*
 * The order in which the services of a stack stop, as they say it in the log: the tower, each of
 * whose services runs in a process of its own, or all in one. What all of them write goes to one
 * file, one line each, in the order of the events.
 */

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include <tests/e2e/rig.h>

#include "tower.h"
#include "tower_rig.h"

enum { N_KINDS = 2 };

static const char *const kinds[N_KINDS] = { "LIFE_APART", "LIFE_TOGETHER" };

START_TEST(what_is_terminated_ends_after_its_clients)
{
	static const char *const expected[] = {
		"roof 2 stops: kIOReturnSuccess",
		"story 2 stops: kIOReturnSuccess",
		"nub 2 stops",
		"nub 2 is freed",
		"roof 1 stops: kIOReturnSuccess",
		"story 1 stops: kIOReturnSuccess",
		"nub 1 stops",
		"nub 1 is freed",
		"ground stops",
		NULL,
	};
	tower_start(kinds[_i], NULL);
	tower_must(TOWER_TERMINATE, 0);
	tower_await(TOWER_NUBS, 0);
	tower_stop();
	tower_check_lines(expected);
	tower_end();
}
END_TEST

/* The two branches of the stack stop side by side. */
START_TEST(a_whole_stack_ends_clients_first)
{
	tower_start(kinds[_i], NULL);
	tower_stop();
	static const char nub[] = "life: nub 2 stops";
	for (int i = 1; i <= 2; i++) {
		char roof[64], story[64];
		snprintf(roof, sizeof(roof), "life: roof %d stops: kIOReturnSuccess", i);
		snprintf(story, sizeof(story), "life: story %d stops: kIOReturnSuccess", i);
		tower_check_order(roof, story);
		tower_check_order(story, nub);
	}
	tower_check_order(nub, "life: nub 2 is freed");
	tower_check_order("life: nub 2 is freed", "life: nub 1 stops");
	tower_check_order("life: nub 1 stops", "life: ground stops");
	tower_check_order("life: ground stops", "life: nub 1 is freed"); // ground keeps it
	tower_end();
}
END_TEST

/* A client that never says that it has stopped is killed, and the end goes on. */
START_TEST(a_client_that_does_not_stop_is_killed)
{
	tower_start("LIFE_APART", NULL);
	tower_must(TOWER_MANNER, MANNER_STORY_HANGS);
	tower_must(TOWER_TERMINATE, 0);
	tower_await(TOWER_NUBS, 0);
	tower_stop();
	tower_check_order("life: story 2 stops", "life: nub 2 stops");
	tower_check_order("life: nub 2 stops", "life: nub 1 stops");
	ck_assert_uint_eq(
		tower_count_in_log("Story: Stop did not return within 1000 ms: it must call the "
				   "super's Stop"),
		2);
	tower_end();
}
END_TEST

/* Nor does what was terminated keep its driver for ever. */
START_TEST(what_is_terminated_and_does_not_stop_ends_its_process)
{
	tower_start(kinds[_i], NULL);
	uint64_t pid = tower_await_process("Ground", 0);
	tower_must(TOWER_MANNER, MANNER_NUB_HANGS);
	tower_must(TOWER_TERMINATE, 0);
	tower_await_process("Ground", pid);
	tower_await_roofs();
	tower_await(TOWER_NUBS, 2);
	tower_stop();
	ck_assert_uint_eq(
		tower_count_in_log("the Stop of Nub, which was terminated, did not return "
				   "within 1000 ms: it must call the super's Stop"),
		2); // once where it happened, once why the process ended
	tower_end();
}
END_TEST

/* Its end is its Stop's: what was below goes on ending, and nothing starts it again. */
START_TEST(a_client_that_dies_in_its_stop_has_stopped)
{
	tower_start("LIFE_APART", NULL);
	tower_must(TOWER_MANNER, MANNER_STORY_DIES);
	tower_must(TOWER_TERMINATE, 0);
	tower_await(TOWER_NUBS, 0);
	ck_assert_uint_eq(tower_count_services("Story"), 0);
	tower_stop();
	tower_check_order("life: story 2 stops", "life: nub 2 stops");
	tower_check_order("life: nub 2 stops", "life: story 1 stops");
	tower_check_order("life: story 1 stops", "life: nub 1 stops");
	tower_end();
}
END_TEST

/* Whoever dies in the Stop of what it made starts again, with all of it. */
START_TEST(a_driver_that_dies_in_a_stop_comes_again)
{
	tower_start(kinds[_i], NULL);
	uint64_t pid = tower_await_process("Ground", 0);
	tower_must(TOWER_MANNER, MANNER_NUB_DIES);
	tower_must(TOWER_TERMINATE, 0);
	tower_await_process("Ground", pid);
	tower_await_roofs();
	tower_await(TOWER_NUBS, 2);
	tower_stop();
	tower_end();
}
END_TEST

/* The end meets services that are being started again. */
START_TEST(clients_that_have_just_died_are_not_waited_for)
{
	tower_start("LIFE_APART", NULL);
	io_service_t story = rig_wait_service("Story");
	pid_t pid = (pid_t)rig_number(story, "OpenDextProcess");
	IOObjectRelease(story);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	tower_must(TOWER_TERMINATE, 0);
	tower_await(TOWER_NUBS, 0);
	ck_assert_uint_eq(tower_count_services("Story") + tower_count_services("Roof"), 0);
	tower_stop();
	tower_check_order("life: nub 2 stops", "life: nub 1 stops");
	tower_end();
}
END_TEST

/* At once the first time, then later and later: the fifth in ten seconds would be the last. */
START_TEST(each_crash_is_followed_by_a_longer_pause)
{
	static const char *const pauses[] = {
		"Ground crashed: killed by signal 9 (Killed); again in 0 ms",
		"Ground crashed: killed by signal 9 (Killed); again in 100 ms",
		"Ground crashed: killed by signal 9 (Killed); again in 200 ms",
		"Ground crashed: killed by signal 9 (Killed); again in 400 ms",
	};
	uint64_t pid = 0;
	tower_start("LIFE_APART", NULL);
	for (int i = 0; i < 4; i++) {
		pid = tower_await_process("Ground", pid);
		ck_assert_int_eq(kill((pid_t)pid, SIGKILL), 0);
	}
	tower_await_process("Ground", pid);
	tower_stop();
	for (int i = 0; i < 3; i++)
		tower_check_order(pauses[i], pauses[i + 1]);
	tower_end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("life");
	TCase *tc = tcase_create("life");
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, what_is_terminated_ends_after_its_clients, 0, N_KINDS);
	tcase_add_loop_test(tc, a_whole_stack_ends_clients_first, 0, N_KINDS);
	tcase_add_test(tc, a_client_that_does_not_stop_is_killed);
	tcase_add_loop_test(tc, what_is_terminated_and_does_not_stop_ends_its_process, 0, N_KINDS);
	tcase_add_test(tc, a_client_that_dies_in_its_stop_has_stopped);
	tcase_add_loop_test(tc, a_driver_that_dies_in_a_stop_comes_again, 0, N_KINDS);
	tcase_add_test(tc, clients_that_have_just_died_are_not_waited_for);
	tcase_add_test(tc, each_crash_is_followed_by_a_longer_pause);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
