// SPDX-License-Identifier: Apache-2.0
/*
 * Calls, from an application through the ring to a driver's method and back: what comes back, and
 * what is refused, with the reason that the application reads.
 */

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

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

static void assert_refused(kern_return_t ret, kern_return_t wanted, const char *part_of_reason)
{
	ck_assert_msg(ret == wanted, "%s instead of %s: %s", IOReturnString(ret),
		      IOReturnString(wanted), dext_last_reason());
	ck_assert_msg(strstr(dext_last_reason(), part_of_reason) != NULL,
		      "the reason does not say \"%s\": %s", part_of_reason, dext_last_reason());
}

START_TEST(scalars_come_back)
{
	uint64_t in[16], out[16] = { 0 };
	for (int i = 0; i < 16; i++)
		in[i] = 0x0123456789abcdefULL * (uint64_t)(i + 1);
	for (uint32_t n = 0; n <= 16; n++) {
		uint32_t count = 16;
		ck_assert_int_eq(IOConnectCallScalarMethod(victim, VICTIM_ECHO, in, n, out, &count),
				 kIOReturnSuccess);
		ck_assert_uint_eq(count, n);
		ck_assert_mem_eq(in, out, n * sizeof(in[0]));
	}
}
END_TEST

START_TEST(a_structure_comes_back)
{
	uint8_t in[16], out[16];
	for (int i = 0; i < 16; i++)
		in[i] = (uint8_t)(i * 7);
	size_t size = sizeof(out);
	ck_assert_int_eq(
		IOConnectCallStructMethod(victim, VICTIM_STRUCTURE, in, sizeof(in), out, &size),
		kIOReturnSuccess);
	ck_assert_uint_eq(size, 16);
	for (int i = 0; i < 16; i++)
		ck_assert_uint_eq(out[i], in[15 - i]);
}
END_TEST

START_TEST(an_unknown_selector_is_refused)
{
	kern_return_t ret = IOConnectCallScalarMethod(victim, 1000, NULL, 0, NULL, NULL);
	assert_refused(ret, kIOReturnBadArgument, "selector 1000 is not one of");
	/* And the driver goes on. */
	uint64_t value = 42, out = 0;
	uint32_t count = 1;
	ck_assert_int_eq(IOConnectCallScalarMethod(victim, VICTIM_ECHO, &value, 1, &out, &count),
			 kIOReturnSuccess);
	ck_assert_uint_eq(out, 42);
}
END_TEST

START_TEST(seventeen_scalars_are_refused)
{
	uint64_t in[17] = { 0 }, out[17];
	uint32_t count = 16;
	assert_refused(IOConnectCallScalarMethod(victim, VICTIM_ECHO, in, 17, out, &count),
		       kIOReturnBadArgument, "16");
	count = 17;
	assert_refused(IOConnectCallScalarMethod(victim, VICTIM_ECHO, in, 1, out, &count),
		       kIOReturnBadArgument, "16");
}
END_TEST

START_TEST(a_structure_of_the_wrong_size_is_refused)
{
	uint8_t in[4097] = { 0 }, out[16];
	size_t size = sizeof(out);
	assert_refused(IOConnectCallStructMethod(victim, VICTIM_STRUCTURE, in, 15, out, &size),
		       kIOReturnBadArgument, "takes 16 bytes of input structure");
	assert_refused(IOConnectCallStructMethod(victim, VICTIM_STRUCTURE, in, 4096, out, &size),
		       kIOReturnBadArgument, "takes 16 bytes of input structure");
	assert_refused(IOConnectCallStructMethod(victim, VICTIM_STRUCTURE, in, 4097, out, &size),
		       kIOReturnBadArgument,
		       "takes 16 bytes of input structure, the call has 4097");
	size = 8;
	assert_refused(IOConnectCallStructMethod(victim, VICTIM_STRUCTURE, in, 16, out, &size),
		       kIOReturnBadArgument, "output structure");
}
END_TEST

START_TEST(wrong_counts_are_refused)
{
	uint64_t in[2] = { 0 };
	assert_refused(IOConnectCallScalarMethod(victim, VICTIM_POKE, in, 1, NULL, NULL),
		       kIOReturnBadArgument, "takes 2 input scalars, the call has 1");
	uint32_t count = 0;
	assert_refused(IOConnectCallScalarMethod(victim, VICTIM_OPEN, NULL, 0, NULL, &count),
		       kIOReturnBadArgument, "output scalars");
	assert_refused(IOConnectCallScalarMethod(victim, VICTIM_COMPLETE, in, 1, NULL, NULL),
		       kIOReturnBadArgument, "is asynchronous: call it by IOConnectCallAsync");
	IONotificationPortRef port = IONotificationPortCreate(kIOMainPortDefault);
	assert_refused(IOConnectCallAsyncScalarMethod(victim, VICTIM_POKE,
						      IONotificationPortGetMachPort(port), NULL, 0,
						      in, 2, NULL, NULL),
		       kIOReturnBadArgument, "is not asynchronous: call it by IOConnectCall");
	IONotificationPortDestroy(port);
	assert_refused(IOConnectCallScalarMethod(victim, VICTIM_NO_FUNCTION, NULL, 0, NULL, NULL),
		       kIOReturnNoCompletion, "no function");
}
END_TEST

START_TEST(a_result_that_does_not_fit_is_refused)
{
	uint8_t out[100];
	size_t size = sizeof(out);
	assert_refused(IOConnectCallStructMethod(victim, VICTIM_TOO_MUCH, NULL, 0, out, &size),
		       kIOReturnBadArgument, "256 bytes");
}
END_TEST

/* --- asynchronous calls --- */

struct completion {
	int times;
	IOReturn result;
	uint32_t n;
	uint64_t values[16];
};

static void on_completion(void *refcon, IOReturn result, void **args, uint32_t n)
{
	struct completion *c = refcon;
	c->times++;
	c->result = result;
	c->n = n;
	for (uint32_t i = 0; i < n; i++)
		c->values[i] = (uint64_t)(uintptr_t)args[i];
}

static void on_completion0(void *refcon, IOReturn result)
{
	on_completion(refcon, result, NULL, 0);
}

static kern_return_t call_async(IONotificationPortRef port, uint32_t selector, const uint64_t *in,
				uint32_t n, struct completion *c, void *callback)
{
	uint64_t reference[kIOAsyncCalloutCount] = {
		[kIOAsyncCalloutFuncIndex] = (uint64_t)(uintptr_t)callback,
		[kIOAsyncCalloutRefconIndex] = (uint64_t)(uintptr_t)c,
	};
	return IOConnectCallAsyncScalarMethod(victim, selector, IONotificationPortGetMachPort(port),
					      reference, kIOAsyncCalloutCount, in, n, NULL, NULL);
}

START_TEST(an_asynchronous_call_completes_with_its_values)
{
	IONotificationPortRef port = IONotificationPortCreate(kIOMainPortDefault);
	struct completion c = { 0 };
	uint64_t n = 16;
	ck_assert_int_eq(
		call_async(port, VICTIM_COMPLETE, &n, 1, &c, (void *)(uintptr_t)on_completion),
		kIOReturnSuccess);
	rig_wait_flag(port, &c.times);
	ck_assert_int_eq(c.result, kIOReturnSuccess);
	ck_assert_uint_eq(c.n, 16);
	for (uint32_t i = 0; i < 16; i++)
		ck_assert_uint_eq(c.values[i], i + 1);
	IONotificationPortDestroy(port);
}
END_TEST

/* The driver let go of the call after its completion with 17 was refused: nothing was cut. */
START_TEST(seventeen_values_complete_nothing)
{
	IONotificationPortRef port = IONotificationPortCreate(kIOMainPortDefault);
	struct completion c = { 0 };
	uint64_t n = 17;
	ck_assert_int_eq(
		call_async(port, VICTIM_COMPLETE, &n, 1, &c, (void *)(uintptr_t)on_completion0),
		kIOReturnSuccess);
	rig_wait_flag(port, &c.times);
	ck_assert_int_eq(c.result, kIOReturnAborted);
	ck_assert_int_eq(c.times, 1);
	IONotificationPortDestroy(port);
}
END_TEST

START_TEST(a_completion_that_is_dropped_is_aborted)
{
	IONotificationPortRef port = IONotificationPortCreate(kIOMainPortDefault);
	struct completion c = { 0 };
	uint64_t drop = 0;
	ck_assert_int_eq(
		call_async(port, VICTIM_KEEP, NULL, 0, &c, (void *)(uintptr_t)on_completion0),
		kIOReturnSuccess);
	ck_assert_int_eq(IOConnectCallScalarMethod(victim, VICTIM_RELEASE, &drop, 1, NULL, NULL),
			 kIOReturnSuccess);
	rig_wait_flag(port, &c.times);
	ck_assert_int_eq(c.result, kIOReturnAborted);
	ck_assert_int_eq(c.times, 1);
	IONotificationPortDestroy(port);
}
END_TEST

START_TEST(a_refused_asynchronous_call_never_completes)
{
	IONotificationPortRef port = IONotificationPortCreate(kIOMainPortDefault);
	struct completion refused = { 0 }, after = { 0 };
	uint64_t n = 3;
	ck_assert_int_eq(call_async(port, VICTIM_COMPLETE, NULL, 0, &refused,
				    (void *)(uintptr_t)on_completion),
			 kIOReturnBadArgument);
	/* Completions come in order: when this one is here the other would have been. */
	ck_assert_int_eq(
		call_async(port, VICTIM_COMPLETE, &n, 1, &after, (void *)(uintptr_t)on_completion),
		kIOReturnSuccess);
	rig_wait_flag(port, &after.times);
	ck_assert_int_eq(refused.times, 0);
	IONotificationPortDestroy(port);
}
END_TEST

START_TEST(an_application_that_does_not_read_is_refused_and_loses_nothing)
{
	enum { MANY = 2000 }; // more than a connection has places for events
	IONotificationPortRef port = IONotificationPortCreate(kIOMainPortDefault);
	static struct completion c[MANY];
	uint64_t n = 3; // from three on the callback has one form
	int accepted = 0, arrived = 0;
	for (; accepted < MANY; accepted++)
		if (call_async(port, VICTIM_COMPLETE, &n, 1, &c[accepted],
			       (void *)(uintptr_t)on_completion) != kIOReturnSuccess)
			break;
	ck_assert_int_ge(accepted, 16);
	ck_assert_int_lt(accepted, MANY);
	ck_assert_ptr_nonnull(strstr(dext_last_reason(), "notification port"));

	rig_wait_flag(port, &c[accepted - 1].times);
	for (int i = 0; i < accepted; i++)
		arrived += c[i].times;
	ck_assert_int_eq(arrived, accepted);
	IONotificationPortDestroy(port);
}
END_TEST

/* --- memory --- */

START_TEST(memory_is_shared_with_the_driver)
{
	mach_vm_address_t address = 0;
	mach_vm_size_t size = 0;
	ck_assert_int_eq(IOConnectMapMemory64(victim, VICTIM_TYPE_SHARED, mach_task_self(),
					      &address, &size, kIOMapAnywhere),
			 kIOReturnSuccess);
	ck_assert_uint_eq(size, VICTIM_SHARED_SIZE);
	uint64_t poke[2] = { VICTIM_SHARED_SIZE - 1, 0x5a };
	ck_assert_int_eq(IOConnectCallScalarMethod(victim, VICTIM_POKE, poke, 2, NULL, NULL),
			 kIOReturnSuccess);
	const _Atomic uint8_t *bytes = (const _Atomic uint8_t *)(uintptr_t)address;
	ck_assert_uint_eq(bytes[VICTIM_SHARED_SIZE - 1], 0x5a);

	mach_vm_address_t again = 0;
	ck_assert_int_eq(IOConnectMapMemory64(victim, VICTIM_TYPE_SHARED, mach_task_self(), &again,
					      &size, kIOMapAnywhere),
			 kIOReturnSuccess);
	ck_assert_uint_eq(again, address);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(IOConnectUnmapMemory64(victim, VICTIM_TYPE_SHARED,
							mach_task_self(), address),
				 kIOReturnSuccess);
}
END_TEST

START_TEST(memory_given_read_only_cannot_be_made_writable)
{
	mach_vm_address_t address = 0;
	mach_vm_size_t size = 0;
	ck_assert_int_eq(IOConnectMapMemory64(victim, VICTIM_TYPE_READ_ONLY, mach_task_self(),
					      &address, &size, kIOMapAnywhere),
			 kIOReturnSuccess);
	ck_assert_int_eq(mprotect((void *)(uintptr_t)address, size, PROT_READ | PROT_WRITE), -1);
	ck_assert_int_eq(errno, EACCES);
}
END_TEST

START_TEST(a_part_of_a_memory_is_not_given_away)
{
	mach_vm_address_t address = 0;
	mach_vm_size_t size = 0;
	assert_refused(IOConnectMapMemory64(victim, VICTIM_TYPE_PART, mach_task_self(), &address,
					    &size, kIOMapAnywhere),
		       kIOReturnUnsupported, "a memory of its own");
}
END_TEST

START_TEST(a_map_type_that_the_driver_refuses_is_refused)
{
	mach_vm_address_t address = 0;
	mach_vm_size_t size = 0;
	ck_assert_int_eq(IOConnectMapMemory64(victim, VICTIM_TYPE_REFUSED, mach_task_self(),
					      &address, &size, kIOMapAnywhere),
			 kIOReturnNotPermitted);
	ck_assert_uint_eq(address, 0);
}
END_TEST

START_TEST(a_client_type_that_the_driver_refuses_is_refused)
{
	io_service_t service = rig_wait_service("Victim");
	io_connect_t other = IO_OBJECT_NULL;
	ck_assert_int_eq(IOServiceOpen(service, mach_task_self(), 7, &other), kIOReturnUnsupported);
	ck_assert_uint_eq(other, IO_OBJECT_NULL);
	IOObjectRelease(service);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("calls");
	TCase *tc = tcase_create("calls");
	tcase_add_checked_fixture(tc, begin, end);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, scalars_come_back);
	tcase_add_test(tc, a_structure_comes_back);
	tcase_add_test(tc, an_unknown_selector_is_refused);
	tcase_add_test(tc, seventeen_scalars_are_refused);
	tcase_add_test(tc, a_structure_of_the_wrong_size_is_refused);
	tcase_add_test(tc, wrong_counts_are_refused);
	tcase_add_test(tc, a_result_that_does_not_fit_is_refused);
	tcase_add_test(tc, an_asynchronous_call_completes_with_its_values);
	tcase_add_test(tc, seventeen_values_complete_nothing);
	tcase_add_test(tc, a_completion_that_is_dropped_is_aborted);
	tcase_add_test(tc, a_refused_asynchronous_call_never_completes);
	tcase_add_test(tc, an_application_that_does_not_read_is_refused_and_loses_nothing);
	tcase_add_test(tc, memory_is_shared_with_the_driver);
	tcase_add_test(tc, memory_given_read_only_cannot_be_made_writable);
	tcase_add_test(tc, a_part_of_a_memory_is_not_given_away);
	tcase_add_test(tc, a_map_type_that_the_driver_refuses_is_refused);
	tcase_add_test(tc, a_client_type_that_the_driver_refuses_is_refused);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
