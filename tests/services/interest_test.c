// SPDX-License-Identifier: Apache-2.0
/* Interest in what becomes of a service: what Herald does, the application is told. */

#include <check.h>
#include <signal.h>
#include <stdlib.h>

#include <tests/e2e/rig.h>

#include "watcher.h"

enum { KINDS = 4 };

static const uint32_t kinds[KINDS] = {
	kIOMessageServiceBusyStateChange,
	kIOMessageServicePropertyChange,
	kIOMessageServiceWasClosed,
	kIOMessageServiceIsTerminated,
};

static struct rig rig;
static io_service_t service;
static io_connect_t herald;
static IONotificationPortRef port;
static io_object_t interest;
static struct {
	int n[KINDS], n_others;
	uintptr_t busy; // as told last
} told;

static void on_message(void *refcon, io_service_t which, uint32_t message, void *argument)
{
	bool known = false;
	ck_assert_ptr_eq(refcon, &told);
	ck_assert(IOObjectIsEqualTo(which, service));
	for (unsigned i = 0; i < KINDS; i++) {
		known = known || message == kinds[i];
		told.n[i] += message == kinds[i];
	}
	told.n_others += !known;
	if (message == kIOMessageServiceBusyStateChange)
		told.busy = (uintptr_t)argument;
	else
		ck_assert_ptr_null(argument);
}

static void start(void)
{
	const char *const options[] = { "--bundles", getenv("NOTIFICATION_BUNDLES"), NULL };
	rig_start(&rig, NULL, options);
	service = rig_wait_service("Herald");
	ck_assert_int_eq(IOServiceWaitQuiet(service, NULL), kIOReturnSuccess);
	ck_assert_int_eq(IOServiceOpen(service, mach_task_self(), 0, &herald), kIOReturnSuccess);
	port = IONotificationPortCreate(kIOMainPortDefault);
	ck_assert_int_eq(IOServiceAddInterestNotification(port, service, kIOGeneralInterest,
							  on_message, &told, &interest),
			 kIOReturnSuccess);
}

static void stop(void)
{
	ck_assert_int_eq(told.n_others, 0);
	IOObjectRelease(interest);
	IONotificationPortDestroy(port);
	IOServiceClose(herald);
	IOObjectRelease(service);
	rig_stop(&rig);
}

static void must(uint32_t what, uint64_t argument)
{
	uint64_t result;
	uint32_t n = 1;
	kern_return_t ret = IOConnectCallScalarMethod(herald, what, &argument, 1, &result, &n);
	ck_assert_msg(ret == kIOReturnSuccess, "%u: %s: %s", what, IOReturnString(ret),
		      dext_last_reason());
}

START_TEST(changes_are_told_as_they_happen)
{
	start();
	must(HERALD_BUSY, 1);
	rig_wait_flag(port, &told.n[0]);
	ck_assert_uint_eq(told.busy, 1);
	told.n[0] = 0;
	must(HERALD_BUSY, 0);
	rig_wait_flag(port, &told.n[0]);
	ck_assert_uint_eq(told.busy, 0);
	ck_assert_int_eq(told.n[1], 0);
	must(HERALD_PROPERTIES, 1);
	rig_wait_flag(port, &told.n[1]);

	io_connect_t second;
	ck_assert_int_eq(IOServiceOpen(service, mach_task_self(), 0, &second), kIOReturnSuccess);
	ck_assert_int_eq(told.n[2], 0);
	ck_assert_int_eq(IOServiceClose(second), kIOReturnSuccess);
	rig_wait_flag(port, &told.n[2]);
	ck_assert_int_eq(told.n[3], 0);
	stop();
}
END_TEST

/* Once, and nothing of the service that follows it under the same number. */
START_TEST(the_end_is_told_last)
{
	start();
	ck_assert_int_eq(kill((pid_t)rig_number(service, "OpenDextProcess"), SIGKILL), 0);
	rig_wait_flag(port, &told.n[3]);
	IOObjectRelease(rig_wait_service("Herald"));
	told.n[1] = 0;
	must(HERALD_PROPERTIES, 1);
	IOObjectRelease(rig_wait_service("Herald")); // a way to dextd and back
	ck_assert_int_eq(dext_notification_port_dispatch(port), kIOReturnSuccess);
	ck_assert_int_eq(told.n[1], 0);
	ck_assert_int_eq(told.n[3], 1);
	stop();
}
END_TEST

/* It makes calls, but does not look at its port. */
START_TEST(who_does_not_dispatch_is_told_of_a_flood_once)
{
	start();
	must(HERALD_PROPERTIES, 3000);
	rig_wait_flag(port, &told.n[1]);
	IOObjectRelease(rig_wait_service("Herald"));
	ck_assert_int_eq(dext_notification_port_dispatch(port), kIOReturnSuccess);
	ck_assert_int_le(told.n[1], 2); // the first, and all others
	told.n[1] = 0;
	must(HERALD_PROPERTIES, 1); // and on
	rig_wait_flag(port, &told.n[1]);
	stop();
}
END_TEST

START_TEST(a_released_interest_is_told_nothing)
{
	start();
	must(HERALD_PROPERTIES, 1);
	IOObjectRelease(rig_wait_service("Herald")); // the message has come, and is due
	IOObjectRelease(interest);
	ck_assert_int_eq(dext_notification_port_dispatch(port), kIOReturnSuccess);
	ck_assert_int_eq(told.n[1], 0);
	ck_assert_int_eq(IOServiceAddInterestNotification(port, service, kIOGeneralInterest,
							  on_message, &told, &interest),
			 kIOReturnSuccess);
	stop();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("interest");
	TCase *tc = tcase_create("interest");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, changes_are_told_as_they_happen);
	tcase_add_test(tc, the_end_is_told_last);
	tcase_add_test(tc, who_does_not_dispatch_is_told_of_a_flood_once);
	tcase_add_test(tc, a_released_interest_is_told_nothing);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
