// SPDX-License-Identifier: Apache-2.0
/*
 * The order in which the services of a stack stop, as they say it in the log: the tower, each of
 * whose services runs in a process of its own, or all in one. What all of them write goes to one
 * file, one line each, in the order of the events.
 */

#include <check.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/clock.h>
#include <tests/e2e/rig.h>

#include "tower.h"

enum { PATIENCE_MS = 10000, N_KINDS = 2, LOG_MAX = 128 * 1024 };

static const char *const kinds[N_KINDS] = { "LIFE_APART", "LIFE_TOGETHER" };

static struct rig rig;
static io_connect_t ground;
static int log_fd, saved_fd;
static char text[LOG_MAX];

static const char *read_log(void)
{
	ssize_t size = pread(log_fd, text, sizeof(text) - 1, 0);
	ck_assert_int_ge(size, 0);
	text[size] = '\0';
	return text;
}

static unsigned count_in_log(const char *part)
{
	unsigned n = 0;
	for (const char *at = read_log(); (at = strstr(at, part)) != NULL; at++)
		n++;
	return n;
}

static unsigned count_services(const char *class_name)
{
	unsigned n = 0;
	io_service_t service;
	io_iterator_t all = IO_OBJECT_NULL;
	ck_assert_int_eq(IOServiceGetMatchingServices(kIOMainPortDefault,
						      IOServiceMatching(class_name), &all),
			 kIOReturnSuccess);
	for (; (service = IOIteratorNext(all)) != IO_OBJECT_NULL; n++)
		IOObjectRelease(service);
	IOObjectRelease(all);
	return n;
}

/* Two roofs are the last to come. */
static void await_roofs(void)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	while (count_services("Roof") < 2)
		ck_assert_msg(clock_now_ns() < deadline, "no two roofs:\n%s", read_log());
}

/* The process of the one service of the class, once it is another than `old`. */
static uint64_t await_process(const char *class_name, uint64_t old)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS), pid = old;
	while (pid == old || pid == 0) {
		ck_assert_msg(clock_now_ns() < deadline, "no other %s than in process %llu",
			      class_name, (unsigned long long)old);
		io_service_t service = rig_wait_service(class_name);
		pid = rig_number(service, "OpenDextProcess");
		IOObjectRelease(service);
	}
	return pid;
}

static void start(const char *kind)
{
	char path[] = "/tmp/dext-life.XXXXXX";
	const char *const options[] = { "--bundles", getenv(kind), "--stop-timeout-ms", "1000",
					NULL };
	log_fd = mkstemp(path);
	saved_fd = dup(STDERR_FILENO);
	ck_assert_int_ge(log_fd, 0);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(dup2(log_fd, STDERR_FILENO), STDERR_FILENO);
	rig_start(&rig, NULL, options);
	io_service_t service = rig_wait_service("Ground");
	kern_return_t ret = IOServiceOpen(service, mach_task_self(), 0, &ground);
	ck_assert_msg(ret == kIOReturnSuccess, "%s: %s", IOReturnString(ret), dext_last_reason());
	IOObjectRelease(service);
	await_roofs();
}

/* The log can be read until end(). */
static void stop(void)
{
	IOServiceClose(ground);
	rig_stop(&rig);
	ck_assert_int_eq(dup2(saved_fd, STDERR_FILENO), STDERR_FILENO);
}

static void end(void)
{
	close(log_fd);
	close(saved_fd);
}

static uint64_t must(uint32_t what, uint64_t argument)
{
	uint64_t result = 0;
	uint32_t n = 1;
	kern_return_t ret = IOConnectCallScalarMethod(ground, what, &argument, 1, &result, &n);
	ck_assert_msg(ret == kIOReturnSuccess, "%u: %s: %s", what, IOReturnString(ret),
		      dext_last_reason());
	return result;
}

static void await(uint32_t what, uint64_t wanted)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS), value;
	while ((value = must(what, 0)) != wanted)
		ck_assert_msg(clock_now_ns() < deadline, "%u stays %llu:\n%s", what,
			      (unsigned long long)value, read_log());
}

/* The drivers' own lines, all of them, are these. */
static void check_lines(const char *const *expected)
{
	static const char mark[] = "life: ";
	const char *at = read_log();
	while ((at = strstr(at, mark)) != NULL) {
		at += strlen(mark);
		ck_assert_msg(*expected != NULL, "too many lines:\n%s", text);
		size_t size = strlen(*expected);
		ck_assert_msg(strncmp(at, *expected, size) == 0 && at[size] == '\n',
			      "not \"%s\":\n%s", *expected, text);
		expected++;
	}
	ck_assert_msg(*expected == NULL, "no \"%s\":\n%s", *expected, text);
}

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
	start(kinds[_i]);
	must(TOWER_TERMINATE, 0);
	await(TOWER_NUBS, 0);
	stop();
	check_lines(expected);
	end();
}
END_TEST

/* The position of a line, which is there once. */
static const char *place_of(const char *line)
{
	ck_assert_msg(count_in_log(line) == 1, "\"%s\" is there %u times:\n%s", line,
		      count_in_log(line), text);
	return strstr(text, line);
}

static void check_order(const char *first, const char *then)
{
	ck_assert_msg(place_of(first) < place_of(then), "\"%s\" is after \"%s\":\n%s", first, then,
		      text);
}

/* The two branches of the stack stop side by side. */
START_TEST(a_whole_stack_ends_clients_first)
{
	start(kinds[_i]);
	stop();
	static const char nub[] = "life: nub 2 stops";
	for (int i = 1; i <= 2; i++) {
		char roof[64], story[64];
		snprintf(roof, sizeof(roof), "life: roof %d stops: kIOReturnSuccess", i);
		snprintf(story, sizeof(story), "life: story %d stops: kIOReturnSuccess", i);
		check_order(roof, story);
		check_order(story, nub);
	}
	check_order(nub, "life: nub 2 is freed");
	check_order("life: nub 2 is freed", "life: nub 1 stops");
	check_order("life: nub 1 stops", "life: ground stops");
	check_order("life: ground stops", "life: nub 1 is freed"); // ground keeps it
	end();
}
END_TEST

/* A client that never says that it has stopped is killed, and the end goes on. */
START_TEST(a_client_that_does_not_stop_is_killed)
{
	start("LIFE_APART");
	must(TOWER_MANNER, MANNER_STORY_HANGS);
	must(TOWER_TERMINATE, 0);
	await(TOWER_NUBS, 0);
	stop();
	check_order("life: story 2 stops", "life: nub 2 stops");
	check_order("life: nub 2 stops", "life: nub 1 stops");
	ck_assert_uint_eq(
		count_in_log("Story: Stop did not return within 1000 ms: it must call the "
			     "super's Stop"),
		2);
	end();
}
END_TEST

/* Nor does what was terminated keep its driver for ever. */
START_TEST(what_is_terminated_and_does_not_stop_ends_its_process)
{
	start(kinds[_i]);
	uint64_t pid = await_process("Ground", 0);
	must(TOWER_MANNER, MANNER_NUB_HANGS);
	must(TOWER_TERMINATE, 0);
	await_process("Ground", pid);
	await_roofs();
	await(TOWER_NUBS, 2);
	stop();
	ck_assert_uint_eq(count_in_log("the Stop of Nub, which was terminated, did not return "
				       "within 1000 ms: it must call the super's Stop"),
			  2); // once where it happened, once why the process ended
	end();
}
END_TEST

/* Its end is its Stop's: what was below goes on ending, and nothing starts it again. */
START_TEST(a_client_that_dies_in_its_stop_has_stopped)
{
	start("LIFE_APART");
	must(TOWER_MANNER, MANNER_STORY_DIES);
	must(TOWER_TERMINATE, 0);
	await(TOWER_NUBS, 0);
	ck_assert_uint_eq(count_services("Story"), 0);
	stop();
	check_order("life: story 2 stops", "life: nub 2 stops");
	check_order("life: nub 2 stops", "life: story 1 stops");
	check_order("life: story 1 stops", "life: nub 1 stops");
	end();
}
END_TEST

/* Whoever dies in the Stop of what it made starts again, with all of it. */
START_TEST(a_driver_that_dies_in_a_stop_comes_again)
{
	start(kinds[_i]);
	uint64_t pid = await_process("Ground", 0);
	must(TOWER_MANNER, MANNER_NUB_DIES);
	must(TOWER_TERMINATE, 0);
	await_process("Ground", pid);
	await_roofs();
	await(TOWER_NUBS, 2);
	stop();
	end();
}
END_TEST

/* The end meets services that are being started again. */
START_TEST(clients_that_have_just_died_are_not_waited_for)
{
	start("LIFE_APART");
	io_service_t story = rig_wait_service("Story");
	pid_t pid = (pid_t)rig_number(story, "OpenDextProcess");
	IOObjectRelease(story);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	must(TOWER_TERMINATE, 0);
	await(TOWER_NUBS, 0);
	ck_assert_uint_eq(count_services("Story") + count_services("Roof"), 0);
	stop();
	check_order("life: nub 2 stops", "life: nub 1 stops");
	end();
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
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
