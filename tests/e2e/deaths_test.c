// SPDX-License-Identifier: Apache-2.0
/*
 * Deaths: of a driver in a call, of an application in a call, of a driver in Start, and drivers
 * that never answer. In each case the others live, are told, and the service comes back.
 */

#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <opendext/client.h>

#include "rig.h"
#include "victim.h"

static struct rig rig;

/* Wait for a service whose process is not `old`; opened. */
static io_connect_t open_successor(pid_t old)
{
	for (;;) {
		io_service_t service = rig_wait_service("Victim");
		io_connect_t connect = IO_OBJECT_NULL;
		if ((pid_t)rig_number(service, "OpenDextProcess") != old &&
		    IOServiceOpen(service, mach_task_self(), 0, &connect) == kIOReturnSuccess) {
			IOObjectRelease(service);
			return connect;
		}
		IOObjectRelease(service);
	}
}

static pid_t victim_process(void)
{
	pid_t pid = rig_process();
	ck_assert_int_ne(pid, 0);
	return pid;
}

static void assert_echo(io_connect_t connect)
{
	uint64_t in = 7, out = 0;
	uint32_t count = 1;
	kern_return_t ret = IOConnectCallScalarMethod(connect, VICTIM_ECHO, &in, 1, &out, &count);
	ck_assert_msg(ret == kIOReturnSuccess, "%s: %s", IOReturnString(ret), dext_last_reason());
	ck_assert_uint_eq(out, 7);
}

static void on_completion(void *refcon, IOReturn result)
{
	*(IOReturn *)refcon = result;
}

START_TEST(a_driver_that_dies_in_a_call_ends_the_call_and_comes_back)
{
	rig_start(&rig, NULL, NULL);
	io_connect_t one = rig_open(), two = rig_open();
	pid_t old = victim_process();

	/* An asynchronous call is under way on the other connection. */
	IONotificationPortRef port = IONotificationPortCreate(kIOMainPortDefault);
	IOReturn result = 0;
	uint64_t reference[kIOAsyncCalloutCount] = {
		[kIOAsyncCalloutFuncIndex] = (uint64_t)(uintptr_t)on_completion,
		[kIOAsyncCalloutRefconIndex] = (uint64_t)(uintptr_t)&result,
	};
	ck_assert_int_eq(IOConnectCallAsyncScalarMethod(
				 two, VICTIM_KEEP, IONotificationPortGetMachPort(port), reference,
				 kIOAsyncCalloutCount, NULL, 0, NULL, NULL),
			 kIOReturnSuccess);

	kern_return_t ret = IOConnectCallScalarMethod(one, VICTIM_DIE, NULL, 0, NULL, NULL);
	ck_assert_msg(ret == kIOReturnAborted, "%s", IOReturnString(ret));
	ck_assert_str_ne(dext_last_reason(), "");
	rig_wait_flag(port, &result);
	ck_assert_int_eq(result, kIOReturnAborted);

	assert_echo(one);
	assert_echo(two);
	io_connect_t again = open_successor(old);
	assert_echo(again);
	IOServiceClose(again);
	IOServiceClose(one);
	IOServiceClose(two);
	IONotificationPortDestroy(port);
	rig_stop(&rig);
}
END_TEST

START_TEST(a_client_that_dies_in_a_call_leaves_the_driver_alone)
{
	rig_start(&rig, NULL, NULL);
	pid_t before = victim_process();
	pid_t pid = fork();
	if (pid == 0) {
		execl(getenv("CALLER"), "caller", (char *)NULL);
		_exit(127);
	}
	int status;
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
		      "the caller ended with %#x", status);

	/* Its call is still with the driver; let it return to nobody. */
	io_connect_t connect = rig_open();
	uint64_t poke[2] = { 1, 1 };
	ck_assert_int_eq(IOConnectCallScalarMethod(connect, VICTIM_POKE, poke, 2, NULL, NULL),
			 kIOReturnSuccess);
	assert_echo(connect);
	ck_assert_int_eq(victim_process(), before);
	IOServiceClose(connect);
	rig_stop(&rig);
}
END_TEST

START_TEST(a_call_that_never_returns_ends_by_its_time_limit)
{
	rig_start(&rig, NULL, NULL);
	io_connect_t connect = rig_open();
	dext_call_timeout_set(300);
	kern_return_t ret = IOConnectCallScalarMethod(connect, VICTIM_HANG, NULL, 0, NULL, NULL);
	ck_assert_msg(ret == kIOReturnTimeout, "%s", IOReturnString(ret));
	IOServiceClose(connect);
	rig_stop(&rig); // which also shows that the hung driver was removed
}
END_TEST

static const char *const short_start[] = { "--start-timeout-ms", "300", NULL };

static void assert_never_registered(const char *misbehave, const char *part_of_reason)
{
	rig_start(&rig, misbehave, short_start);
	rig_wait_explained("IOUserResources", part_of_reason);
	ck_assert_uint_eq(
		IOServiceGetMatchingService(kIOMainPortDefault, IOServiceMatching("Victim")),
		IO_OBJECT_NULL);
	rig_stop(&rig);
}

START_TEST(a_driver_that_never_returns_from_start_is_replaced_and_explained)
{
	assert_never_registered("hang", "Start");
}
END_TEST

START_TEST(a_driver_that_dies_in_start_is_explained)
{
	assert_never_registered("die", "signal");
}
END_TEST

START_TEST(a_driver_that_refuses_in_start_is_explained)
{
	assert_never_registered("refuse", "kIOReturnNotResponding");
}
END_TEST

START_TEST(a_killed_driver_is_replaced_while_nobody_looks)
{
	rig_start(&rig, NULL, NULL);
	pid_t old = victim_process();
	ck_assert_int_eq(kill((pid_t)old, SIGKILL), 0);
	io_connect_t connect = open_successor(old);
	assert_echo(connect);
	IOServiceClose(connect);
	rig_stop(&rig);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("deaths");
	TCase *tc = tcase_create("deaths");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_driver_that_dies_in_a_call_ends_the_call_and_comes_back);
	tcase_add_test(tc, a_client_that_dies_in_a_call_leaves_the_driver_alone);
	tcase_add_test(tc, a_call_that_never_returns_ends_by_its_time_limit);
	tcase_add_test(tc, a_driver_that_never_returns_from_start_is_replaced_and_explained);
	tcase_add_test(tc, a_driver_that_dies_in_start_is_explained);
	tcase_add_test(tc, a_driver_that_refuses_in_start_is_explained);
	tcase_add_test(tc, a_killed_driver_is_replaced_while_nobody_looks);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
