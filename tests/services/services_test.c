// SPDX-License-Identifier: Apache-2.0
/* A service and the registry: what a driver asks of it, and what applications then see. */

#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tests/e2e/rig.h>

static struct rig rig;

static void start(void)
{
	const char *const options[] = { "--bundles", getenv("SERVICES_BUNDLES"), NULL };
	rig_start(&rig, NULL, options);
}

START_TEST(a_driver_asks_the_registry)
{
	start();
	io_service_t clerk = rig_wait_service("Clerk");
	ck_assert_uint_gt(rig_number(clerk, "Checked"), 50);
	ck_assert_msg(rig_number(clerk, "Failed") == 0, "Clerk.c:%llu",
		      (unsigned long long)rig_number(clerk, "Failed"));
	ck_assert_uint_eq(rig_number(clerk, "a"), 0); // removed
	ck_assert_uint_eq(rig_number(clerk, "b"), 2);
	io_name_t name;
	ck_assert_int_eq(IORegistryEntryGetName(clerk, name), kIOReturnSuccess);
	ck_assert_str_eq(name, "the clerk");
	IOObjectRelease(clerk);
	rig_stop(&rig);
}
END_TEST

/* --- busy --- */

static const mach_timespec_t briefly = { .tv_nsec = 50000000 }, patiently = { .tv_sec = 10 };

static uint32_t busy_of(io_service_t service)
{
	uint32_t busy = 99;
	ck_assert_int_eq(IOServiceGetBusyState(service, &busy), kIOReturnSuccess);
	return busy;
}

/* Have the driver call AdjustBusy: 1 up, 2 down. */
static void ask_clerk(io_service_t clerk, uint32_t type)
{
	io_connect_t none;
	ck_assert_int_eq(IOServiceOpen(clerk, mach_task_self(), type, &none), kIOReturnUnsupported);
}

static void *wait_patiently(void *context)
{
	const io_service_t *service = context;
	static kern_return_t status;
	status = IOServiceWaitQuiet(*service, &patiently);
	return &status;
}

START_TEST(an_application_waits_for_quiet)
{
	uint32_t all = 0;
	start();
	io_service_t clerk = rig_wait_service("Clerk");
	ck_assert_int_eq(IOServiceWaitQuiet(clerk, &patiently), kIOReturnSuccess);
	ck_assert_int_eq(IOKitWaitQuiet(kIOMainPortDefault, &patiently), kIOReturnSuccess);
	ck_assert_uint_eq(busy_of(clerk), 0);

	ask_clerk(clerk, 1);
	ck_assert_uint_eq(busy_of(clerk), 1);
	ck_assert_int_eq(IOKitGetBusyState(kIOMainPortDefault, &all), kIOReturnSuccess);
	ck_assert_uint_eq(all, 1); // one edge below
	ck_assert_int_eq(IOServiceWaitQuiet(clerk, &briefly), kIOReturnTimeout);
	ck_assert_int_eq(IOKitWaitQuiet(kIOMainPortDefault, &briefly), kIOReturnTimeout);
	ck_assert_msg(strstr(dext_last_reason(), "the clerk") != NULL &&
			      strstr(dext_last_reason(), "its driver says so") != NULL,
		      "%s", dext_last_reason());

	pthread_t waiter;
	void *status;
	ck_assert_int_eq(pthread_create(&waiter, NULL, wait_patiently, &clerk), 0);
	ask_clerk(clerk, 2);
	pthread_join(waiter, &status);
	ck_assert_int_eq(*(kern_return_t *)status, kIOReturnSuccess);
	ck_assert_int_eq(IOKitWaitQuiet(kIOMainPortDefault, NULL), kIOReturnSuccess);

	static const mach_timespec_t wrong = { .tv_nsec = -1 };
	ck_assert_int_eq(IOServiceWaitQuiet(clerk, &wrong), kIOReturnBadArgument);
	IOObjectRelease(clerk);
	rig_stop(&rig);
}
END_TEST

/* What a dead driver was busy with is over; its start is not. */
START_TEST(a_driver_that_dies_is_not_busy)
{
	char id[24];
	uint64_t entry;
	start();
	io_service_t clerk = rig_wait_service("Clerk");
	ask_clerk(clerk, 1);
	ask_clerk(clerk, 1);
	ck_assert_int_eq(IORegistryEntryGetRegistryEntryID(clerk, &entry), kIOReturnSuccess);
	snprintf(id, sizeof(id), "%llu", (unsigned long long)entry);
	rig_control("restart", id);
	ck_assert_int_eq(IOServiceWaitQuiet(clerk, &patiently), kIOReturnSuccess);
	ck_assert_uint_eq(rig_number(clerk, "OpenDextRestarts"), 1);
	IOObjectRelease(clerk);
	rig_stop(&rig);
}
END_TEST

/* The service is the same, its driver another one: that begins with what its personality says. It
 * checks so itself: its name, and the properties that it had set or removed. */
START_TEST(a_driver_that_is_replaced_begins_anew)
{
	start();
	io_service_t clerk = rig_wait_service("Clerk");
	ask_clerk(clerk, 3);
	ck_assert_uint_eq(rig_number(clerk, "Late"), 3);
	uint64_t pid = rig_number(clerk, "OpenDextProcess");
	ck_assert_int_eq(kill((pid_t)pid, SIGKILL), 0);
	io_service_t again = IO_OBJECT_NULL;
	do {
		if (again != IO_OBJECT_NULL)
			IOObjectRelease(again);
		again = rig_wait_service("Clerk");
	} while (rig_number(again, "OpenDextProcess") == pid ||
		 rig_number(again, "OpenDextProcess") == 0);
	ck_assert(IOObjectIsEqualTo(clerk, again));
	ck_assert_uint_eq(rig_number(again, "Late"), 0);
	ck_assert_msg(rig_number(again, "Failed") == 0, "Clerk.c:%llu",
		      (unsigned long long)rig_number(again, "Failed"));
	IOObjectRelease(again);
	IOObjectRelease(clerk);
	rig_stop(&rig);
}
END_TEST

/* --- coming and going --- */

static void count(void *refcon, io_iterator_t iterator)
{
	io_service_t service;
	while ((service = IOIteratorNext(iterator)) != IO_OBJECT_NULL) {
		(*(int *)refcon)++;
		IOObjectRelease(service);
	}
}

static io_iterator_t watch(IONotificationPortRef port, const char *type, int *n)
{
	io_iterator_t iterator;
	ck_assert_int_eq(IOServiceAddMatchingNotification(port, type, IOServiceMatching("Clerk"),
							  count, n, &iterator),
			 kIOReturnSuccess);
	count(n, iterator); // what is there; arms it
	return iterator;
}

START_TEST(services_come_and_go)
{
	static const struct {
		const char *type;
		int present;
	} types[] = {
		{ kIOPublishNotification, 1 },    { kIOFirstPublishNotification, 1 },
		{ kIOMatchedNotification, 1 },    { kIOFirstMatchNotification, 1 },
		{ kIOTerminatedNotification, 0 }, { kIOWillTerminateNotification, 0 },
	};
	enum { N = sizeof(types) / sizeof(types[0]) };
	int n[N] = { 0 };
	io_iterator_t iterators[N];
	char id[24];
	uint64_t entry;
	start();
	io_service_t clerk = rig_wait_service("Clerk");
	ck_assert(IOObjectConformsTo(clerk, "Clerk") && IOObjectConformsTo(clerk, "IOService"));
	ck_assert(!IOObjectConformsTo(clerk, "Assistant") && !IOObjectConformsTo(clerk, NULL));
	IONotificationPortRef port = IONotificationPortCreate(kIOMainPortDefault);
	for (unsigned i = 0; i < N; i++) {
		iterators[i] = watch(port, types[i].type, &n[i]);
		ck_assert_int_eq(n[i], types[i].present);
		n[i] = 0;
	}
	ck_assert_int_eq(IORegistryEntryGetRegistryEntryID(clerk, &entry), kIOReturnSuccess);
	snprintf(id, sizeof(id), "%llu", (unsigned long long)entry);
	rig_control("restart", id); // one end, one coming
	for (unsigned i = 0; i < N; i++) {
		rig_wait_flag(port, &n[i]);
		ck_assert_int_eq(n[i], 1);
		IOObjectRelease(iterators[i]);
	}
	IONotificationPortDestroy(port);
	IOObjectRelease(clerk);
	rig_stop(&rig);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("services");
	TCase *tc = tcase_create("services");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_driver_asks_the_registry);
	tcase_add_test(tc, an_application_waits_for_quiet);
	tcase_add_test(tc, a_driver_that_dies_is_not_busy);
	tcase_add_test(tc, a_driver_that_is_replaced_begins_anew);
	tcase_add_test(tc, services_come_and_go);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
