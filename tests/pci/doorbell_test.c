/* SPDX-License-Identifier: Apache-2.0 */

/*
 * An ivshmem card's doorbells, each a vector of MSI-X, on their way to an application. The card is
 * our own, in a dextd of the test's; with DOORBELL_RUNS set, whatever card a dextd that runs
 * already has found (tests/vm/doorbell.sh).
 */

#include <check.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <base/clock.h>
#include <opendext/client.h>

#include "../../drivers/ivshmem/ivshmem.h"
#include "card.h"

enum { PATIENCE_MS = 10000, VECTORS = 4, ROUNDS = 50 };

struct application {
	IONotificationPortRef port;
	io_connect_t connect;
	uint64_t position;
	uint64_t rings[VECTORS], n_events;
	uint64_t last_time;
};

static bool is_ours(void)
{
	return getenv("DOORBELL_RUNS") == NULL;
}

static void on_ring(void *refcon, IOReturn status, void **args, uint32_t n_args)
{
	struct application *a = refcon;
	ck_assert_int_eq(status, kIOReturnSuccess);
	ck_assert_uint_eq(n_args, kIvshmemEventCount);
	uintptr_t vector = (uintptr_t)args[kIvshmemEventVector];
	ck_assert_uint_lt(vector, VECTORS);
	a->rings[vector] += (uintptr_t)args[kIvshmemEventRings];
	a->last_time = (uintptr_t)args[kIvshmemEventTime];
	a->n_events++;
}

static kern_return_t ask_for_rings(struct application *a)
{
	uint64_t reference[kIOAsyncCalloutCount] = { 0 };
	reference[kIOAsyncCalloutFuncIndex] = (uint64_t)(uintptr_t)on_ring;
	reference[kIOAsyncCalloutRefconIndex] = (uint64_t)(uintptr_t)a;
	return IOConnectCallAsyncScalarMethod(a->connect, kIvshmemMethodNotify,
					      IONotificationPortGetMachPort(a->port), reference,
					      kIOAsyncCalloutCount, NULL, 0, NULL, NULL);
}

static void application_open(struct application *a, uint64_t n_vectors)
{
	uint64_t info[kIvshmemInfoCount];
	uint32_t n = kIvshmemInfoCount;
	*a = (struct application){ .port = IONotificationPortCreate(kIOMainPortDefault) };
	io_service_t service = rig_wait_service("IvshmemDriver");
	ck_assert_int_eq(IOServiceOpen(service, mach_task_self(), 0, &a->connect),
			 kIOReturnSuccess);
	IOObjectRelease(service);
	ck_assert_int_eq(
		IOConnectCallScalarMethod(a->connect, kIvshmemMethodGetInfo, NULL, 0, info, &n),
		kIOReturnSuccess);
	ck_assert_uint_eq(info[kIvshmemInfoVectors], n_vectors);
	a->position = info[kIvshmemInfoPosition];
}

static void application_close(struct application *a)
{
	IOServiceClose(a->connect);
	IONotificationPortDestroy(a->port);
}

static void ring(struct application *a, uint64_t vector)
{
	uint64_t doorbell = a->position << 16 | vector;
	ck_assert_int_eq(
		IOConnectCallScalarMethod(a->connect, kIvshmemMethodRing, &doorbell, 1, NULL, NULL),
		kIOReturnSuccess);
}

static void await_rings(struct application *a, uint64_t vector, uint64_t n)
{
	struct pollfd p = { .fd = dext_notification_port_get_fd(a->port), .events = POLLIN };
	while (a->rings[vector] < n) {
		ck_assert_int_eq(poll(&p, 1, PATIENCE_MS), 1);
		ck_assert_int_eq(dext_notification_port_dispatch(a->port), kIOReturnSuccess);
	}
	ck_assert_uint_eq(a->rings[vector], n);
}

START_TEST(each_doorbell_is_an_interrupt_of_its_own)
{
	struct card card;
	struct application a;
	if (is_ours())
		card_start_with(&card, NULL, VECTORS);
	application_open(&a, VECTORS);
	ck_assert_int_eq(ask_for_rings(&a), kIOReturnSuccess);
	for (uint64_t round = 1; round <= ROUNDS; round++) {
		uint64_t vector = (round * 3) % VECTORS;
		uint64_t before = clock_now_ns(), n = a.rings[vector];
		ring(&a, vector);
		await_rings(&a, vector, n + 1);
		ck_assert_uint_eq(a.n_events, round);
		ck_assert(a.last_time >= before && a.last_time <= clock_now_ns());
	}
	application_close(&a);
	if (is_ours())
		card_stop(&card);
}
END_TEST

/* Nobody reads in between; what comes together is one event with its number. Only with our card:
 * real messages may meet on their way. */
START_TEST(rings_in_a_row_are_counted)
{
	struct card card;
	struct application a;
	card_start_with(&card, NULL, VECTORS);
	application_open(&a, VECTORS);
	ck_assert_int_eq(ask_for_rings(&a), kIOReturnSuccess);
	for (int i = 0; i < ROUNDS; i++) {
		ring(&a, 1);
		ring(&a, 2);
	}
	await_rings(&a, 1, ROUNDS);
	await_rings(&a, 2, ROUNDS);
	ring(&a, VECTORS); // there is no such vector, and nobody hears it
	ring(&a, 0);
	await_rings(&a, 0, 1);
	ck_assert_uint_eq(a.rings[3], 0);
	application_close(&a);
	card_stop(&card);
}
END_TEST

START_TEST(a_card_without_doorbells_has_none)
{
	struct card card;
	struct application a;
	card_start(&card, NULL);
	application_open(&a, 0);
	ck_assert_int_eq(ask_for_rings(&a), kIOReturnUnsupported);
	ring(&a, 0);
	application_close(&a);
	card_stop(&card);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pci-doorbell");
	TCase *tc = tcase_create("pci-doorbell");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, each_doorbell_is_an_interrupt_of_its_own);
	if (is_ours()) {
		tcase_add_test(tc, rings_in_a_row_are_counted);
		tcase_add_test(tc, a_card_without_doorbells_has_none);
	}
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
