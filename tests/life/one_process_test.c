// SPDX-License-Identifier: Apache-2.0
/*
 * Services that share a process (IOUserServerOneProcess) share its death: each starts again, all in
 * one new process, and the connections of applications to any of them go on.
 */

#include <check.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>

#include <base/clock.h>
#include <tests/e2e/rig.h>

#include "tower.h"

enum { PATIENCE_MS = 10000, N_SERVICES = 3 };

static struct rig rig;
static IONotificationPortRef port;

struct opened {
	io_service_t service;
	io_connect_t connect;
	unsigned n_restarts;
	uint32_t generation;
};

static struct opened all[N_SERVICES]; // by the personality's Number

static void on_restart(void *refcon, io_connect_t connect, uint32_t generation)
{
	struct opened *o = refcon;
	ck_assert_uint_eq(connect, o->connect);
	o->n_restarts++;
	o->generation = generation;
}

/* Those that are there; false: one is missing still. */
static bool find_all(void)
{
	unsigned n = 0;
	io_service_t service;
	io_iterator_t iterator = IO_OBJECT_NULL;
	ck_assert_int_eq(IOServiceGetMatchingServices(kIOMainPortDefault,
						      IOServiceMatching("Ground"), &iterator),
			 kIOReturnSuccess);
	while ((service = IOIteratorNext(iterator)) != IO_OBJECT_NULL) {
		uint64_t number = rig_number(service, "Number");
		ck_assert_uint_ge(number, 1);
		ck_assert_uint_le(number, N_SERVICES);
		struct opened *o = &all[number - 1];
		if (o->service != IO_OBJECT_NULL)
			IOObjectRelease(o->service);
		o->service = service;
		n++;
	}
	IOObjectRelease(iterator);
	return n == N_SERVICES;
}

static void open_all(void)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	while (!find_all())
		ck_assert_msg(clock_now_ns() < deadline, "not all services came");
	for (int i = 0; i < N_SERVICES; i++) {
		struct opened *o = &all[i];
		kern_return_t ret = IOServiceOpen(o->service, mach_task_self(), 0, &o->connect);
		ck_assert_msg(ret == kIOReturnSuccess, "%s", dext_last_reason());
		ret = dext_connect_set_restart_handler(o->connect, port, on_restart, o);
		ck_assert_msg(ret == kIOReturnSuccess, "%s", dext_last_reason());
	}
}

/* The process of all of them. */
static uint64_t process(void)
{
	uint64_t pid = rig_number(all[0].service, "OpenDextProcess");
	for (int i = 1; i < N_SERVICES; i++)
		ck_assert_uint_eq(rig_number(all[i].service, "OpenDextProcess"), pid);
	return pid;
}

static void call(const struct opened *o)
{
	uint64_t argument = 0, result = 1;
	uint32_t n = 1;
	kern_return_t ret =
		IOConnectCallScalarMethod(o->connect, TOWER_NUBS, &argument, 1, &result, &n);
	ck_assert_msg(ret == kIOReturnSuccess, "%s: %s", IOReturnString(ret), dext_last_reason());
	ck_assert_uint_eq(result, 0);
}

static void await_restarts(uint32_t generation)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	struct pollfd p = { .fd = dext_notification_port_get_fd(port), .events = POLLIN };
	for (int i = 0; i < N_SERVICES; i++) {
		while (all[i].generation < generation) {
			ck_assert_msg(clock_now_ns() < deadline, "no restart was told to client %d",
				      i + 1);
			poll(&p, 1, PATIENCE_MS);
			dext_notification_port_dispatch(port);
		}
		ck_assert_uint_eq(all[i].generation, generation);
		ck_assert_uint_eq(all[i].n_restarts, generation - 1);
	}
}

static void close_all(void)
{
	for (int i = 0; i < N_SERVICES; i++) {
		IOServiceClose(all[i].connect);
		IOObjectRelease(all[i].service);
	}
}

START_TEST(all_services_of_a_process_come_again_in_one)
{
	const char *const options[] = { "--bundles", getenv("LIFE_FLAT"), NULL };
	rig_start(&rig, NULL, options);
	port = IONotificationPortCreate(kIOMainPortDefault);
	open_all();
	uint64_t pid = process();
	for (uint32_t generation = 2; generation <= 3; generation++) {
		ck_assert_int_eq(kill((pid_t)pid, SIGKILL), 0);
		for (int i = N_SERVICES - 1; i >= 0; i--)
			call(&all[i]); // waits for the next
		await_restarts(generation);
		uint64_t next = process();
		ck_assert_uint_ne(next, pid);
		for (int i = 0; i < N_SERVICES; i++)
			ck_assert_uint_eq(rig_number(all[i].service, "OpenDextRestarts"),
					  generation - 1);
		pid = next;
	}
	close_all();
	IONotificationPortDestroy(port);
	rig_stop(&rig);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("one-process");
	TCase *tc = tcase_create("one-process");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, all_services_of_a_process_come_again_in_one);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
