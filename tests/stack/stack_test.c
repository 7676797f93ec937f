// SPDX-License-Identifier: Apache-2.0
/*
 * A driver on a driver: the application asks Dial, and Dial asks Gauge, which is its provider and
 * runs in another process.
 */

#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/clock.h>
#include <tests/e2e/rig.h>

#include "dial.h"

enum { PATIENCE_MS = 10000 };

static struct rig rig;
static io_connect_t dial;

static io_connect_t open_dial(void)
{
	io_service_t service = rig_wait_service("Dial");
	io_connect_t connect = IO_OBJECT_NULL;
	kern_return_t ret = IOServiceOpen(service, mach_task_self(), 0, &connect);
	ck_assert_msg(ret == kIOReturnSuccess, "%s: %s", IOReturnString(ret), dext_last_reason());
	IOObjectRelease(service);
	return connect;
}

static void start(void)
{
	const char *const options[] = { "--bundles", getenv("STACK_BUNDLES"), NULL };
	rig_start(&rig, NULL, options);
	dial = open_dial();
}

static void stop(void)
{
	IOServiceClose(dial);
	rig_stop(&rig);
}

static kern_return_t try(uint32_t what, uint64_t argument, uint64_t *result)
{
	uint32_t n = 1;
	*result = 0;
	return IOConnectCallScalarMethod(dial, what, &argument, 1, result, &n);
}

static uint64_t must(uint32_t what, uint64_t argument)
{
	uint64_t result;
	kern_return_t ret = try(what, argument, &result);
	ck_assert_msg(ret == kIOReturnSuccess, "%u: %s: %s", what, IOReturnString(ret),
		      dext_last_reason());
	return result;
}

/* What is sent without waiting arrives in time. */
static void await(uint32_t what, uint64_t wanted)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS), value;
	while ((value = must(what, 0)) != wanted)
		ck_assert_msg(clock_now_ns() < deadline, "%u stays %llu, not %llu", what,
			      (unsigned long long)value, (unsigned long long)wanted);
}

/* The process of a service, once it is another than `old`. A service may be found and be gone, its
 * driver having died, when it is asked for its process: then it has none. */
static pid_t await_pid(const char *class_name, pid_t old)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	pid_t pid = old;
	while (pid == old || pid == 0) {
		ck_assert_msg(clock_now_ns() < deadline, "no other %s than that of process %d",
			      class_name, (int)old);
		io_service_t service = rig_wait_service(class_name);
		pid = (pid_t)rig_number(service, "OpenDextProcess");
		IOObjectRelease(service);
	}
	return pid;
}

static pid_t pid_of(const char *class_name)
{
	return await_pid(class_name, 0);
}

START_TEST(values_cross)
{
	uint64_t value;
	start();
	ck_assert_int_ne(pid_of("Dial"), pid_of("Gauge"));
	ck_assert_uint_eq(must(DIAL_READ, 3), 103);
	ck_assert_int_eq(try(DIAL_READ, 4, &value), kIOReturnBadArgument);
	ck_assert_uint_eq(must(DIAL_DESCRIBE, 0), 1);
	ck_assert_uint_eq(must(DIAL_ALLOCATE, 0), 1);
	stop();
}
END_TEST

START_TEST(an_action_is_invoked_from_the_other_process)
{
	start();
	must(DIAL_WATCH, 1000);
	await(DIAL_SEEN, 1000);
	stop();
}
END_TEST

START_TEST(the_state_of_a_provider_is_read_and_waited_for)
{
	start();
	ck_assert_uint_eq(must(DIAL_RANGE, 0), 400);
	stop();
}
END_TEST

START_TEST(memory_crosses_without_a_copy)
{
	start();
	ck_assert_uint_eq(must(DIAL_COMPLEMENT, 0), 65536);
	ck_assert_uint_eq(must(DIAL_PAGE, 0), 4096);
	stop();
}
END_TEST

START_TEST(objects_cross_and_come_home)
{
	start();
	ck_assert_uint_eq(must(DIAL_NEEDLE, 21), 42);
	ck_assert_uint_eq(must(DIAL_SAME_NEEDLE, 0), 1);
	ck_assert_uint_eq(must(DIAL_HOME, 4), 8);
	await(DIAL_NEEDLES, 0); // all proxies were released
	stop();
}
END_TEST

START_TEST(many_objects_come_and_go)
{
	start();
	for (int i = 0; i < 6000; i++) // more than may be held at once
		ck_assert_uint_eq(must(DIAL_NEEDLE, 1), 2);
	await(DIAL_NEEDLES, 0);
	stop();
}
END_TEST

START_TEST(a_localonly_method_is_refused)
{
	uint64_t value;
	start();
	ck_assert_int_eq(try(DIAL_LOCALONLY, 0, &value), kIOReturnUnsupported);
	ck_assert_ptr_nonnull(strstr(dext_last_reason(), "Gauge::Private is LOCALONLY"));
	stop();
}
END_TEST

/* The dial is started on the next gauge. */
static void check_that_both_come_again(pid_t old_gauge, pid_t old_dial)
{
	await_pid("Gauge", old_gauge);
	await_pid("Dial", old_dial);
	IOServiceClose(dial);
	dial = open_dial();
	ck_assert_uint_eq(must(DIAL_READ, 1), 101);
}

START_TEST(a_dead_provider_is_replaced_and_its_driver_too)
{
	start();
	pid_t gauge = pid_of("Gauge"), upper = pid_of("Dial");
	ck_assert_int_eq(kill(gauge, SIGKILL), 0);
	check_that_both_come_again(gauge, upper);
	stop();
}
END_TEST

START_TEST(a_provider_that_dies_in_a_call_ends_the_call)
{
	uint64_t value;
	start();
	pid_t gauge = pid_of("Gauge"), upper = pid_of("Dial");
	ck_assert_int_ne(try(DIAL_DIE, 0, &value), kIOReturnSuccess);
	check_that_both_come_again(gauge, upper);
	stop();
}
END_TEST

START_TEST(a_dead_driver_leaves_its_provider_alone)
{
	start();
	pid_t gauge = pid_of("Gauge"), upper = pid_of("Dial");
	must(DIAL_KEEP_NEEDLE, 0);
	ck_assert_uint_eq(must(DIAL_NEEDLES, 0), 1);
	ck_assert_int_eq(kill(upper, SIGKILL), 0);
	await_pid("Dial", upper);
	IOServiceClose(dial);
	dial = open_dial();
	ck_assert_int_eq(pid_of("Gauge"), gauge);
	await(DIAL_NEEDLES, 0); // what it held was let go of
	stop();
}
END_TEST

/* What the owner of an action does with the handler: give up what it would have answered. */
START_TEST(an_action_is_aborted_when_its_holder_dies)
{
	start();
	pid_t gauge = pid_of("Gauge"), upper = pid_of("Dial");
	must(DIAL_KEEP_ALARM, 5);
	await(DIAL_ALARM_SUM, 5);
	ck_assert_uint_eq(must(DIAL_ABORTED, 0), 0);
	ck_assert_int_eq(kill(upper, SIGKILL), 0);
	await_pid("Dial", upper);
	IOServiceClose(dial);
	dial = open_dial();
	ck_assert_int_eq(pid_of("Gauge"), gauge);
	await(DIAL_ABORTED, 1);

	/* One that lives, and lets go. */
	must(DIAL_KEEP_ALARM, 2);
	await(DIAL_ALARM_SUM, 7);
	ck_assert_uint_eq(must(DIAL_ABORTED, 0), 1);
	must(DIAL_DROP_ALARM, 0);
	await(DIAL_ABORTED, 2);
	stop();
}
END_TEST

START_TEST(clients_stop_before_their_providers)
{
	static char out[64 * 1024];
	char path[] = "/tmp/dext-stack.XXXXXX";
	int fd = mkstemp(path), saved = dup(STDERR_FILENO);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	start();
	stop();
	ck_assert_int_eq(dup2(saved, STDERR_FILENO), STDERR_FILENO);
	ssize_t size = pread(fd, out, sizeof(out) - 1, 0);
	ck_assert_int_gt(size, 0);
	out[size] = '\0';
	ck_assert_msg(strstr(out, "dial stops: kIOReturnSuccess") != NULL, "%s", out);
	ck_assert_msg(strstr(out, "gauge stops with 0 attached") != NULL, "%s", out);
	close(fd);
	close(saved);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("stack");
	TCase *tc = tcase_create("stack");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, values_cross);
	tcase_add_test(tc, an_action_is_invoked_from_the_other_process);
	tcase_add_test(tc, the_state_of_a_provider_is_read_and_waited_for);
	tcase_add_test(tc, memory_crosses_without_a_copy);
	tcase_add_test(tc, objects_cross_and_come_home);
	tcase_add_test(tc, many_objects_come_and_go);
	tcase_add_test(tc, a_localonly_method_is_refused);
	tcase_add_test(tc, a_dead_provider_is_replaced_and_its_driver_too);
	tcase_add_test(tc, a_provider_that_dies_in_a_call_ends_the_call);
	tcase_add_test(tc, a_dead_driver_leaves_its_provider_alone);
	tcase_add_test(tc, an_action_is_aborted_when_its_holder_dies);
	tcase_add_test(tc, clients_stop_before_their_providers);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
