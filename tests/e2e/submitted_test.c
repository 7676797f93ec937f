// SPDX-License-Identifier: Apache-2.0
/*
 * Calls in flight from one thread, to a real driver: they are carried out in the order of their
 * submission, each reply is that of its call, and when the driver is killed each ends once.
 */

#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <opendext/client.h>

#include "rig.h"
#include "victim.h"

static struct rig rig;
static io_connect_t victim;

static void begin(void)
{
	rig_start(&rig, NULL, NULL);
	victim = rig_open();
}

static void end(void)
{
	ck_assert_int_eq(IOServiceClose(victim), kIOReturnSuccess);
	rig_stop(&rig);
}

static void assert_status(kern_return_t status, kern_return_t wanted)
{
	ck_assert_msg(status == wanted, "%s instead of %s: %s", IOReturnString(status),
		      IOReturnString(wanted), dext_last_reason());
}

static dext_call_t submit_scalars(uint32_t selector, uint64_t number, uint32_t n_in, uint32_t n_out,
				  uint32_t options)
{
	dext_call_t call = 0;
	kern_return_t status = dext_call_submit(victim, selector, &number, n_in, NULL, 0, n_out, 0,
						options, &call);
	assert_status(status, kIOReturnSuccess);
	return call;
}

START_TEST(calls_are_carried_out_in_the_order_of_their_submission)
{
	enum { ROUNDS = 200 };
	dext_call_t calls[DEXT_CALLS_MAX];
	for (uint64_t round = 0; round < ROUNDS; round++) {
		uint64_t first = round * DEXT_CALLS_MAX;
		for (unsigned i = 0; i < DEXT_CALLS_MAX; i++)
			calls[i] = submit_scalars(VICTIM_COUNT, first + i, 1, 2,
						  i % 4 != 3 ? DEXT_CALL_MORE : 0);
		for (unsigned k = DEXT_CALLS_MAX; k > 0; k--) {
			unsigned i = round % 2 == 0 ? k - 1 : DEXT_CALLS_MAX - k;
			uint64_t out[2] = { 0 };
			uint32_t n = 2;
			assert_status(dext_call_wait(calls[i], out, &n, NULL, NULL),
				      kIOReturnSuccess);
			ck_assert_uint_eq(n, 2);
			ck_assert_uint_eq(out[0], first + i);
			ck_assert_uint_eq(out[1], first + i);
		}
	}
}
END_TEST

START_TEST(calls_of_both_forms_keep_their_order)
{
	uint64_t in = 0, out[2];
	uint32_t n = 2;
	dext_call_t before = submit_scalars(VICTIM_COUNT, 1, 1, 2, DEXT_CALL_MORE);
	assert_status(IOConnectCallScalarMethod(victim, VICTIM_COUNT, &in, 1, out, &n),
		      kIOReturnSuccess);
	ck_assert_uint_eq(out[1], 1);
	assert_status(dext_call_wait(before, out, &n, NULL, NULL), kIOReturnSuccess);
	ck_assert_uint_eq(out[1], 0);
}
END_TEST

START_TEST(what_the_driver_refuses_is_refused_with_its_reason)
{
	dext_call_t good = submit_scalars(VICTIM_COUNT, 5, 1, 2, DEXT_CALL_MORE);
	dext_call_t bad = submit_scalars(1000, 0, 0, 0, DEXT_CALL_MORE);
	dext_call_t wrong = submit_scalars(VICTIM_COUNT, 0, 1, 1, 0); // it returns two
	uint64_t out[2] = { 0 };
	uint32_t n = 2;
	assert_status(dext_call_wait(bad, NULL, NULL, NULL, NULL), kIOReturnBadArgument);
	ck_assert_ptr_nonnull(strstr(dext_last_reason(), "selector 1000 is not one of"));
	assert_status(dext_call_wait(wrong, out, &n, NULL, NULL), kIOReturnBadArgument);
	ck_assert_ptr_nonnull(strstr(dext_last_reason(), "output scalars"));
	n = 2;
	assert_status(dext_call_wait(good, out, &n, NULL, NULL), kIOReturnSuccess);
	ck_assert_uint_eq(out[0], 5);
}
END_TEST

/* --- structures --- */

enum { LARGE = 100000, LARGE_CALLS = 7 }; // one buffer is left to synchronous calls

static kern_return_t submit_large(const uint8_t *in, dext_call_t *call)
{
	return dext_call_submit(victim, VICTIM_INVERT, NULL, 0, in, LARGE, 0, LARGE, 0, call);
}

static void assert_inverted(const uint8_t *in, const uint8_t *out, size_t size)
{
	ck_assert_uint_eq(size, LARGE);
	for (size_t i = 0; i < size; i++)
		ck_assert_uint_eq(out[i], (uint8_t)~in[i]);
}

START_TEST(large_structures_fly_side_by_side)
{
	static uint8_t in[LARGE_CALLS + 1][LARGE], out[LARGE];
	dext_call_t calls[LARGE_CALLS + 1];
	size_t size = LARGE;
	for (unsigned i = 0; i <= LARGE_CALLS; i++)
		memset(in[i], (int)(i * 17 + 3), LARGE);
	for (int round = 0; round < 3; round++) {
		for (unsigned i = 0; i < LARGE_CALLS; i++)
			assert_status(submit_large(in[i], &calls[i]), kIOReturnSuccess);
		assert_status(submit_large(in[LARGE_CALLS], &calls[LARGE_CALLS]),
			      kIOReturnNoResources);
		ck_assert_ptr_nonnull(strstr(dext_last_reason(), "7 calls with structures"));
		size = LARGE;
		assert_status(
			IOConnectCallStructMethod(victim, VICTIM_INVERT, in[0], LARGE, out, &size),
			kIOReturnSuccess);
		assert_inverted(in[0], out, size);
		for (unsigned i = LARGE_CALLS; i-- > 0;) {
			size = LARGE;
			assert_status(dext_call_wait(calls[i], NULL, NULL, out, &size),
				      kIOReturnSuccess);
			assert_inverted(in[i], out, size);
		}
	}
}
END_TEST

START_TEST(a_large_call_given_up_leaves_its_memory)
{
	static uint8_t in[LARGE], out[LARGE];
	dext_call_t call;
	size_t size = LARGE;
	for (int i = 0; i < 20; i++) {
		assert_status(submit_large(in, &call), kIOReturnSuccess);
		assert_status(dext_call_abandon(call), kIOReturnSuccess);
	}
	assert_status(submit_large(in, &call), kIOReturnSuccess);
	assert_status(dext_call_wait(call, NULL, NULL, out, &size), kIOReturnSuccess);
	assert_inverted(in, out, size);
}
END_TEST

/* --- the end --- */

static _Atomic uint8_t *map_shared(void)
{
	mach_vm_address_t address = 0;
	mach_vm_size_t size = 0;
	assert_status(IOConnectMapMemory64(victim, VICTIM_TYPE_SHARED, mach_task_self(), &address,
					   &size, kIOMapAnywhere),
		      kIOReturnSuccess);
	return (_Atomic uint8_t *)(uintptr_t)address;
}

START_TEST(when_the_driver_is_killed_each_ends_once)
{
	enum { BEHIND = 20 };
	uint64_t out[2] = { 0 };
	dext_call_t behind[BEHIND];
	_Atomic uint8_t *shared = map_shared();
	dext_call_t done = submit_scalars(VICTIM_COUNT, 7, 1, 2, DEXT_CALL_MORE);
	dext_call_t held = submit_scalars(VICTIM_WAIT, 0, 0, 0, 0);
	for (unsigned i = 0; i < BEHIND; i++)
		behind[i] = submit_scalars(VICTIM_COUNT, i, 1, 2, i % 2 != 0 ? DEXT_CALL_MORE : 0);
	io_service_t service = rig_wait_service("Victim");
	while (shared[0] == 0) // the method runs
		;
	ck_assert_int_eq(kill((pid_t)rig_number(service, "OpenDextProcess"), SIGKILL), 0);
	IOObjectRelease(service);

	assert_status(dext_call_wait(held, NULL, NULL, NULL, NULL), kIOReturnAborted);
	ck_assert_str_ne(dext_last_reason(), "");
	uint32_t n = 2;
	assert_status(dext_call_wait(done, out, &n, NULL, NULL), kIOReturnSuccess);
	ck_assert_uint_eq(out[0], 7);
	/* Those that the driver had not begun: aborted, or a successor answered them. */
	for (unsigned i = 0; i < BEHIND; i++) {
		n = 2;
		kern_return_t status = dext_call_wait(behind[i], out, &n, NULL, NULL);
		if (status == kIOReturnSuccess)
			ck_assert_uint_eq(out[0], i);
		else
			assert_status(status, kIOReturnAborted);
		assert_status(dext_call_wait(behind[i], out, &n, NULL, NULL), kIOReturnBadArgument);
	}
}
END_TEST

START_TEST(closing_leaves_a_busy_driver_alone)
{
	_Atomic uint8_t *shared = map_shared();
	dext_call_t held = submit_scalars(VICTIM_WAIT, 0, 0, 0, 0);
	for (unsigned i = 0; i < 10; i++)
		submit_scalars(VICTIM_COUNT, i, 1, 2, 0);
	pid_t before = rig_process();
	while (shared[0] == 0)
		;
	shared[1] = 1;
	assert_status(IOServiceClose(victim), kIOReturnSuccess);
	assert_status(dext_call_wait(held, NULL, NULL, NULL, NULL), kIOReturnBadArgument);
	victim = rig_open();
	submit_scalars(VICTIM_COUNT, 1, 1, 2, 0); // and another that nobody waits for
	ck_assert_int_eq(rig_process(), before);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("submitted");
	TCase *tc = tcase_create("submitted");
	tcase_add_checked_fixture(tc, begin, end);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, calls_are_carried_out_in_the_order_of_their_submission);
	tcase_add_test(tc, calls_of_both_forms_keep_their_order);
	tcase_add_test(tc, what_the_driver_refuses_is_refused_with_its_reason);
	tcase_add_test(tc, large_structures_fly_side_by_side);
	tcase_add_test(tc, a_large_call_given_up_leaves_its_memory);
	tcase_add_test(tc, when_the_driver_is_killed_each_ends_once);
	tcase_add_test(tc, closing_leaves_a_busy_driver_alone);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
