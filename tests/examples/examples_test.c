// SPDX-License-Identifier: Apache-2.0
/* The worked examples of drivers/, as a reader of the tutorial runs them: what their applications
 * say. */

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <base/clock.h>
#include <drivers/scope/scope.h>
#include <tests/e2e/rig.h>

enum { PATIENCE_MS = 10000 };

static struct rig rig;
static char out[8192];

static void start(void)
{
	const char *const options[] = { "--bundles", getenv("EXAMPLE_BUNDLES"), NULL };
	rig_start(&rig, NULL, options);
}

static void stop(void)
{
	rig_stop(&rig);
}

/* Run the application that the variable names; its exit status; `out` is what it printed. */
static int run(const char *variable, const char *arguments)
{
	char command[512];
	snprintf(command, sizeof(command), "%s %s 2>&1", getenv(variable), arguments);
	FILE *f = popen(command, "r");
	ck_assert_ptr_nonnull(f);
	out[fread(out, 1, sizeof(out) - 1, f)] = '\0';
	int status = pclose(f);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void await_service(const char *class_name)
{
	IOObjectRelease(rig_wait_service(class_name));
}

static pid_t pid_of(const char *class_name)
{
	io_service_t service = rig_wait_service(class_name);
	pid_t pid = (pid_t)rig_number(service, "OpenDextProcess");
	IOObjectRelease(service);
	return pid;
}

START_TEST(a_room_is_warmed_and_kept_warm)
{
	await_service("Thermostat");
	ck_assert_int_ne(pid_of("Thermostat"), pid_of("Room"));
	ck_assert_msg(run("WARM", "21 60") == 0, "%s", out);
	/* A minute without, nine with the heater: 10 + 30 (1 - 0.98^9). */
	ck_assert_msg(strstr(out, " 10 min   14.99 degrees, heating\n") != NULL, "%s", out);
	ck_assert_msg(strstr(out, " 60 min ") != NULL, "%s", out);
	ck_assert_msg(run("WARM", "18 120") == 0, "%s", out); // it cools, and is kept there
	ck_assert_int_ne(run("WARM", "39"), 0);
	ck_assert_msg(strstr(out, "kIOReturnBadArgument") != NULL, "%s", out);
	ck_assert_int_ne(run("WARM", "30 1"), 0); // not yet as warm
}
END_TEST

START_TEST(a_thermostat_follows_its_room_to_the_next_process)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	await_service("Thermostat");
	pid_t room = pid_of("Room"), thermostat = pid_of("Thermostat");
	ck_assert_int_eq(kill(room, SIGKILL), 0);
	while (pid_of("Room") == room || pid_of("Thermostat") == thermostat)
		ck_assert_msg(clock_now_ns() < deadline, "they do not come again");
	ck_assert_msg(run("WARM", "21 60") == 0, "%s", out);
	ck_assert_msg(strstr(out, " 10 min   14.99 degrees, heating\n") != NULL, "%s", out);
}
END_TEST

START_TEST(a_signal_is_seen_as_it_is)
{
	await_service("Scope");
	ck_assert_msg(run("CAPTURE", "1000") == 0, "%s", out);
	ck_assert_str_eq(out, "1000 blocks of 1024 samples from -5000 to 5000, 0 wrong\n");
}
END_TEST

/* The news of more blocks than the queue has room for: the driver goes on, and says how many. */
START_TEST(who_does_not_read_misses_news)
{
	uint64_t blocks = 1000, told = 0;
	uint32_t n = 1;
	io_connect_t connect = IO_OBJECT_NULL;
	io_service_t service = rig_wait_service("Scope");
	ck_assert_int_eq(IOServiceOpen(service, mach_task_self(), 0, &connect), kIOReturnSuccess);
	ck_assert_int_eq(IOConnectCallScalarMethod(connect, SCOPE_CAPTURE, &blocks, 1, &told, &n),
			 kIOReturnSuccess);
	ck_assert_uint_gt(told, 16);
	ck_assert_uint_lt(told, blocks);
	blocks = SCOPE_CAPTURE_MAX + 1;
	ck_assert_int_eq(IOConnectCallScalarMethod(connect, SCOPE_CAPTURE, &blocks, 1, &told, &n),
			 kIOReturnBadArgument);
	IOServiceClose(connect);
	IOObjectRelease(service);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("examples");
	TCase *tc = tcase_create("examples");
	tcase_add_checked_fixture(tc, start, stop);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_room_is_warmed_and_kept_warm);
	tcase_add_test(tc, a_thermostat_follows_its_room_to_the_next_process);
	tcase_add_test(tc, a_signal_is_seen_as_it_is);
	tcase_add_test(tc, who_does_not_read_misses_news);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
