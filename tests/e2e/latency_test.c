// SPDX-License-Identifier: Apache-2.0
/*
 * What a connection that polls is granted: a raised priority for all threads of its driver, the
 * later ones too, from its wish to its end. Where this test may not raise a priority, dextd may not
 * either, and it has to say so.
 */

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/clock.h>
#include <opendext/client.h>

#include "rig.h"
#include "victim.h"

enum { PATIENCE_MS = 10000 };

enum granted { REAL_TIME, NICE, NOTHING };

static struct rig rig;
static char latency_file[] = "/tmp/dext-latency.XXXXXX";
static int ordinary_nice;

/* --- what is granted here --- */

static bool real_time_is_bounded(void)
{
	long us = -1;
	FILE *f = fopen("/proc/sys/kernel/sched_rt_runtime_us", "r");
	if (f == NULL)
		return false;
	bool bounded = fscanf(f, "%ld", &us) == 1 && us >= 0;
	(void)fclose(f);
	return bounded;
}

static enum granted find_granted(void)
{
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		const struct sched_param param = { .sched_priority = 1 };
		if (real_time_is_bounded() && sched_setscheduler(0, SCHED_RR, &param) == 0)
			_exit(REAL_TIME);
		_exit(setpriority(PRIO_PROCESS, 0, -20) == 0 ? NICE : NOTHING);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	return (enum granted)WEXITSTATUS(status);
}

/* --- what the driver has --- */

/* A thread that has ended meanwhile has no priority. */
static bool is_at(pid_t thread, enum granted granted)
{
	errno = 0;
	int policy = sched_getscheduler(thread);
	int nice = getpriority(PRIO_PROCESS, (id_t)thread);
	if (errno == ESRCH)
		return true;
	switch (granted) {
	case REAL_TIME:
		return policy == SCHED_RR;
	case NICE:
		return policy == SCHED_OTHER && nice == -20;
	default:
		return policy == SCHED_OTHER && nice == ordinary_nice;
	}
}

/* How many threads has it? 0: one of them is not at that priority. */
static unsigned count_threads_at(pid_t process, enum granted granted)
{
	char path[32];
	unsigned n = 0;
	bool all = true;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)process);
	DIR *directory = opendir(path);
	ck_assert_ptr_nonnull(directory);
	for (struct dirent *e; (e = readdir(directory)) != NULL;) {
		pid_t thread = (pid_t)strtol(e->d_name, NULL, 10);
		if (thread == 0)
			continue;
		all = all && is_at(thread, granted);
		n++;
	}
	closedir(directory);
	return all ? n : 0;
}

static void wait_until_at(pid_t process, enum granted granted)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	while (count_threads_at(process, granted) == 0 && clock_now_ns() < deadline)
		sched_yield();
	ck_assert_uint_gt(count_threads_at(process, granted), 0);
}

static void call_once(io_connect_t connect)
{
	uint64_t in = 7, out = 0;
	uint32_t n = 1;
	ck_assert_int_eq(IOConnectCallScalarMethod(connect, VICTIM_ECHO, &in, 1, &out, &n),
			 kIOReturnSuccess);
}

/* A caller on another CPU makes the driver start a worker for it. */
static void call_from_everywhere(io_connect_t connect)
{
	cpu_set_t all, one;
	ck_assert_int_eq(sched_getaffinity(0, sizeof(all), &all), 0);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		if (!CPU_ISSET(cpu, &all) || sched_setaffinity(0, sizeof(one), &one) < 0)
			continue;
		for (int i = 0; i < 50; i++)
			call_once(connect);
	}
	ck_assert_int_eq(sched_setaffinity(0, sizeof(all), &all), 0);
}

/* --- */

static void begin(void)
{
	static char option[64];
	static const char *const options[] = { option, NULL };
	int fd = mkstemp(latency_file);
	ck_assert_int_ge(fd, 0);
	close(fd);
	snprintf(option, sizeof(option), "--allow-low-latency=%s", latency_file);
	ordinary_nice = getpriority(PRIO_PROCESS, 0);
	rig_start(&rig, NULL, options);
}

static void end(void)
{
	rig_stop(&rig);
	unlink(latency_file);
}

static void ask(io_connect_t connect, enum dext_latency latency)
{
	ck_assert_int_eq(dext_connect_set_latency(connect, latency), kIOReturnSuccess);
}

START_TEST(a_driver_of_a_connection_that_polls_has_a_raised_priority)
{
	enum granted granted = find_granted();
	io_connect_t one = rig_open(), two = rig_open();
	pid_t driver = rig_process();
	wait_until_at(driver, NOTHING);
	ask(one, DEXT_LATENCY_BUSY_POLL);
	if (granted == NOTHING)
		ck_assert_msg(strstr(dext_last_reason(), "ordinary priority") != NULL, "%s",
			      dext_last_reason());
	else
		ck_assert_str_eq(dext_last_reason(), "");
	ck_assert_uint_gt(count_threads_at(driver, granted), 0);
	call_from_everywhere(one);
	ck_assert_uint_gt(count_threads_at(driver, granted), 0);

	ask(two, DEXT_LATENCY_BUSY_POLL);
	ask(one, DEXT_LATENCY_POWER_SAVER);
	ask(two, DEXT_LATENCY_BUSY_POLL); // an answer: what came before it was done
	ck_assert_uint_gt(count_threads_at(driver, granted), 0);
	ck_assert_int_eq(IOServiceClose(two), kIOReturnSuccess);
	wait_until_at(driver, NOTHING);
	call_from_everywhere(one);
	ask(one, DEXT_LATENCY_BUSY_POLL);
	ck_assert_uint_gt(count_threads_at(driver, granted), 0);
	IOServiceClose(one);
	wait_until_at(driver, NOTHING);
}
END_TEST

static void assert_status(const char *part)
{
	char command[300], text[4096];
	snprintf(command, sizeof(command), "%s status", getenv("DEXTCTL"));
	FILE *f = popen(command, "r");
	ck_assert_ptr_nonnull(f);
	size_t n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = '\0';
	ck_assert_int_eq(pclose(f), 0);
	if (part != NULL)
		ck_assert_msg(strstr(text, part) != NULL, "no \"%s\" in: %s", part, text);
	else
		ck_assert_msg(strstr(text, "low latency") == NULL, "%s", text);
}

START_TEST(the_status_shows_what_is_granted)
{
	static const char *const parts[] = {
		[REAL_TIME] = ("kept awake for 1 connections; drivers at real-time priority: 1, "
			       "at nice -20: 0"),
		[NICE] = "drivers at real-time priority: 0, at nice -20: 1",
		[NOTHING] = "drivers at real-time priority: 0, at nice -20: 0",
	};
	io_connect_t connect = rig_open();
	assert_status(NULL);
	ask(connect, DEXT_LATENCY_BUSY_POLL);
	assert_status(parts[find_granted()]);
	ask(connect, DEXT_LATENCY_BALANCED);
	wait_until_at(rig_process(), NOTHING);
	assert_status(NULL);
	IOServiceClose(connect);
}
END_TEST

/* Its successor starts at an ordinary priority, and dextd is not confused by the number of a
 * process that is gone. */
START_TEST(a_driver_that_dies_takes_its_priority_with_it)
{
	io_connect_t connect = rig_open();
	ask(connect, DEXT_LATENCY_BUSY_POLL);
	pid_t old = rig_process();
	ck_assert_int_eq(kill(old, SIGKILL), 0);
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	while (rig_process() == old && clock_now_ns() < deadline)
		sched_yield();
	pid_t driver = rig_process();
	ck_assert_int_ne(driver, old);
	IOServiceClose(connect);
	wait_until_at(driver, NOTHING);
	io_connect_t again = rig_open();
	ask(again, DEXT_LATENCY_BUSY_POLL);
	ck_assert_uint_gt(count_threads_at(driver, find_granted()), 0);
	IOServiceClose(again);
	wait_until_at(driver, NOTHING);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("latency");
	TCase *tc = tcase_create("latency");
	tcase_add_checked_fixture(tc, begin, end);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, a_driver_of_a_connection_that_polls_has_a_raised_priority);
	tcase_add_test(tc, the_status_shows_what_is_granted);
	tcase_add_test(tc, a_driver_that_dies_takes_its_priority_with_it);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
