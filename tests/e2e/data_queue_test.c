// SPDX-License-Identifier: Apache-2.0
/*
 * Data queues between an application and a driver: entries in both directions, who is woken and how
 * often, and what either side may write there.
 */

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <IOKit/IODataQueueClient.h>

#include "rig.h"
#include "victim.h"

enum { ENTRIES = 5000 };

static struct rig rig;
static io_connect_t victim;
static IODataQueueMemory *orders, *answers;

static void begin(void)
{
	rig_start(&rig, NULL, NULL);
	victim = rig_open();
	ck_assert_int_eq(
		dext_data_queue_open(victim, VICTIM_TYPE_ORDERS, VICTIM_QUEUE_TELL, &orders),
		kIOReturnSuccess);
	ck_assert_int_eq(
		dext_data_queue_open(victim, VICTIM_TYPE_ANSWERS, VICTIM_QUEUE_TELL, &answers),
		kIOReturnSuccess);
}

static void end(void)
{
	dext_data_queue_close(orders);
	dext_data_queue_close(answers);
	ck_assert_int_eq(IOServiceClose(victim), kIOReturnSuccess);
	rig_stop(&rig);
}

static uint32_t size_of(uint32_t number)
{
	return number * 37 % 401;
}

static kern_return_t order(uint32_t number)
{
	uint8_t bytes[401];
	memset(bytes, (int)number, size_of(number));
	return IODataQueueEnqueue(orders, bytes, size_of(number));
}

static void check_answer(uint32_t number)
{
	uint8_t bytes[401];
	uint32_t size = sizeof(bytes);
	ck_assert_int_eq(dext_data_queue_wait(answers, 20000), kIOReturnSuccess);
	ck_assert_int_eq(IODataQueueDequeue(answers, bytes, &size), kIOReturnSuccess);
	ck_assert_uint_eq(size, size_of(number));
	for (uint32_t i = 0; i < size; i++)
		ck_assert(bytes[i] == (uint8_t)number);
}

/* Both queues fill up again and again, both sides sleep and are woken, and all comes back. */
START_TEST(entries_go_there_and_back)
{
	uint32_t in = 0, out = 0;
	while (out < ENTRIES) {
		while (in < ENTRIES) {
			kern_return_t ret = order(in);
			if (ret == kIOReturnOverrun)
				break;
			ck_assert_int_eq(ret, kIOReturnSuccess);
			in++;
		}
		/* Some, then all. */
		uint32_t until = in % 3 == 0 ? in : out + (in - out + 1) / 2;
		for (; out < until; out++)
			check_answer(out);
	}
	ck_assert(!IODataQueueDataAvailable(answers));
}
END_TEST

static uint64_t burst(uint64_t n)
{
	uint64_t fit = 0;
	uint32_t count = 1;
	ck_assert_int_eq(IOConnectCallScalarMethod(victim, VICTIM_QUEUE_BURST, &n, 1, &fit, &count),
			 kIOReturnSuccess);
	return fit;
}

static uint64_t completions(void)
{
	uint64_t counts[2] = { 0 };
	uint32_t count = 2;
	ck_assert_int_eq(
		IOConnectCallScalarMethod(victim, VICTIM_QUEUE_COUNT, NULL, 0, counts, &count),
		kIOReturnSuccess);
	return counts[1];
}

static void drain_numbers(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		uint64_t number = 0;
		uint32_t size = sizeof(number);
		const IODataQueueEntry *entry = IODataQueuePeek(answers);
		ck_assert_ptr_nonnull(entry);
		ck_assert_uint_eq(entry->size, sizeof(number));
		ck_assert_int_eq(memcmp(entry->data, &i, sizeof(i)), 0);
		ck_assert_int_eq(IODataQueueDequeue(answers, &number, &size), kIOReturnSuccess);
		ck_assert_uint_eq(number, i);
	}
	ck_assert_ptr_null(IODataQueuePeek(answers));
	ck_assert_int_eq(IODataQueueDequeue(answers, NULL, NULL), kIOReturnUnderrun);
}

static void on_answers(void *refcon, IOReturn result)
{
	if (result == kIOReturnSuccess)
		++*(int *)refcon;
}

/* An application with a notification port is told once for all that comes until it has looked. */
START_TEST(a_burst_is_one_notification)
{
	IONotificationPortRef port = IONotificationPortCreate(kIOMainPortDefault);
	int told = 0;
	uint64_t reference[kIOAsyncCalloutCount] = { 0 };
	reference[kIOAsyncCalloutFuncIndex] = (uint64_t)(uintptr_t)on_answers;
	reference[kIOAsyncCalloutRefconIndex] = (uint64_t)(uintptr_t)&told;
	ck_assert_int_eq(IOConnectCallAsyncScalarMethod(
				 victim, VICTIM_QUEUE_LISTEN, IONotificationPortGetMachPort(port),
				 reference, kIOAsyncCalloutCount, NULL, 0, NULL, NULL),
			 kIOReturnSuccess);
	for (int round = 1; round <= 3; round++) {
		drain_numbers(0); // and waits
		ck_assert_uint_eq(burst(100), 100);
		rig_wait_flag(port, &told);
		told = 0;
		ck_assert_uint_eq(completions(), round);
		drain_numbers(100);
	}
	IONotificationPortDestroy(port);
}
END_TEST

static void *sleep_for_answers(void *unused)
{
	ck_assert_int_eq(dext_data_queue_wait(answers, 20000), kIOReturnSuccess);
	return unused;
}

/* One who sleeps on the queue is woken without any message; the time limit holds. */
START_TEST(a_sleeper_gets_no_notification)
{
	pthread_t thread;
	ck_assert_int_eq(dext_data_queue_wait(answers, 20), kIOReturnTimeout);
	for (int i = 0; i < 50; i++) {
		pthread_create(&thread, NULL, sleep_for_answers, NULL);
		ck_assert_uint_eq(burst(3), 3);
		pthread_join(thread, NULL);
		for (int k = 0; k < 3; k++)
			ck_assert_int_eq(IODataQueueDequeue(answers, NULL, NULL), kIOReturnSuccess);
	}
	ck_assert_uint_eq(completions(), 0);
}
END_TEST

START_TEST(limits_are_told)
{
	static uint8_t large[VICTIM_QUEUE_CAPACITY];
	IODataQueueMemory *none = NULL;
	uint32_t size = 4;
	ck_assert_int_eq(IODataQueueEnqueue(orders, large, VICTIM_QUEUE_CAPACITY - 3),
			 kIOReturnOverrun);
	ck_assert_uint_eq(burst(1000), VICTIM_QUEUE_CAPACITY / 12);
	ck_assert_int_eq(IODataQueueDequeue(answers, large, &size), kIOReturnNoSpace);
	ck_assert_uint_eq(size, 8);
	ck_assert_int_eq(IODataQueueDequeue(answers, large, &size), kIOReturnSuccess);
	ck_assert_uint_eq(burst(1000), 1);
	ck_assert_int_eq(dext_data_queue_open(victim, VICTIM_TYPE_SHARED, VICTIM_QUEUE_TELL, &none),
			 kIOReturnUnformattedMedia);
	ck_assert_int_eq(
		dext_data_queue_open(victim, VICTIM_TYPE_REFUSED, VICTIM_QUEUE_TELL, &none),
		kIOReturnNotPermitted);
	ck_assert_ptr_null(none);
	ck_assert_int_eq(IODataQueueDequeue(NULL, NULL, NULL), kIOReturnBadArgument);
	ck_assert_int_eq(IODataQueueEnqueue(orders, NULL, 1), kIOReturnBadArgument);
}
END_TEST

/* Whatever is in the memory, each side says so and goes on living. */
START_TEST(garbage_is_an_error_on_both_sides)
{
	mach_vm_address_t address = 0;
	mach_vm_size_t size = 0;
	uint64_t n = 1, fit;
	uint32_t count = 1, room = 4;
	char bytes[4];
	ck_assert_uint_eq(burst(1), 1);
	ck_assert_int_eq(IOConnectMapMemory64(victim, VICTIM_TYPE_ANSWERS, mach_task_self(),
					      &address, &size, kIOMapAnywhere),
			 kIOReturnSuccess);
	memset((void *)(uintptr_t)address, 0xa5, size);
	ck_assert_int_eq(IODataQueueDequeue(answers, bytes, &room), kIOReturnError);
	ck_assert_ptr_nonnull(strstr(dext_last_reason(), "cannot be"));
	ck_assert_ptr_null(IODataQueuePeek(answers));
	ck_assert_int_eq(IOConnectCallScalarMethod(victim, VICTIM_QUEUE_BURST, &n, 1, &fit, &count),
			 kIOReturnError);
	ck_assert_int_eq(
		IOConnectUnmapMemory64(victim, VICTIM_TYPE_ANSWERS, mach_task_self(), address),
		kIOReturnSuccess);
	count = 1;
	ck_assert_int_eq(IOConnectCallScalarMethod(victim, VICTIM_ECHO, &n, 1, &fit, &count),
			 kIOReturnSuccess);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("data_queue");
	TCase *cases = tcase_create("data_queue");
	tcase_set_timeout(cases, 60);
	tcase_add_checked_fixture(cases, begin, end);
	tcase_add_test(cases, entries_go_there_and_back);
	tcase_add_test(cases, a_burst_is_one_notification);
	tcase_add_test(cases, a_sleeper_gets_no_notification);
	tcase_add_test(cases, limits_are_told);
	tcase_add_test(cases, garbage_is_an_error_on_both_sides);
	suite_add_tcase(suite, cases);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
