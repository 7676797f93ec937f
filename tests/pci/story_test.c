/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What an application gets of a card: two of them exchange data through BAR2, memory is refused
 * with a reason, and a card that misbehaves costs nobody else anything. The test itself is an
 * application; what it maps, it also sees in the file that is the card's memory.
 */

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <opendext/client.h>

#include "../../drivers/ivshmem/ivshmem.h"
#include "card.h"

static io_connect_t open_driver(void)
{
	io_connect_t connect = IO_OBJECT_NULL;
	io_service_t service = rig_wait_service("IvshmemDriver");
	kern_return_t ret = IOServiceOpen(service, mach_task_self(), 0, &connect);
	ck_assert_msg(ret == kIOReturnSuccess, "%s", dext_last_reason());
	IOObjectRelease(service);
	return connect;
}

static kern_return_t map(io_connect_t connect, uint32_t type, volatile uint64_t **words,
			 mach_vm_size_t *size)
{
	mach_vm_address_t address = 0;
	kern_return_t ret = IOConnectMapMemory64(connect, type, mach_task_self(), &address, size,
						 kIOMapAnywhere);
	*words = (volatile uint64_t *)(uintptr_t)address;
	return ret;
}

static volatile uint64_t *must_map(io_connect_t connect)
{
	volatile uint64_t *words;
	mach_vm_size_t size = 0;
	kern_return_t ret = map(connect, kIvshmemMemoryShared, &words, &size);
	ck_assert_msg(ret == kIOReturnSuccess, "%s", dext_last_reason());
	ck_assert_uint_eq(size, CARD_MEMORY_SIZE);
	return words;
}

static void expect_info(io_connect_t connect)
{
	uint64_t info[kIvshmemInfoCount];
	uint32_t count = kIvshmemInfoCount;
	kern_return_t ret =
		IOConnectCallScalarMethod(connect, kIvshmemMethodGetInfo, NULL, 0, info, &count);
	ck_assert_msg(ret == kIOReturnSuccess, "%s", dext_last_reason());
	ck_assert_uint_eq(info[kIvshmemInfoVendor], 0x1af4);
	ck_assert_uint_eq(info[kIvshmemInfoDevice], 0x1110);
}

/* What the doorbell does is the misbehaving card's secret; the call itself may fail then. */
static kern_return_t ring(io_connect_t connect)
{
	const uint64_t doorbell = 1 << 16;
	return IOConnectCallScalarMethod(connect, kIvshmemMethodRing, &doorbell, 1, NULL, NULL);
}

static uint64_t word_in_file(const struct card *card, uint64_t index)
{
	uint64_t word = 0;
	ck_assert_int_eq(pread(card->memory_fd, &word, sizeof(word), (off_t)(8 * index)), 8);
	return word;
}

/* --- the card as it should be --- */

static void finish(pid_t pid, int output, const char *expected)
{
	char text[512] = "";
	size_t size = 0;
	ssize_t n;
	while ((n = read(output, text + size, sizeof(text) - 1 - size)) > 0)
		size += (size_t)n;
	text[size] = '\0';
	close(output);
	int status;
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "ended with %#x: %s", status,
		      text);
	ck_assert_msg(strstr(text, expected) != NULL, "%s", text);
}

START_TEST(two_applications_exchange_data)
{
	struct card card;
	card_start(&card, NULL);
	const char *argv[] = {
		getenv("EXCHANGE"), "--json", "--rounds", "200", "--role", "a", NULL
	};
	int a_output, b_output;
	pid_t a = card_spawn(argv, &a_output);
	argv[5] = "b";
	pid_t b = card_spawn(argv, &b_output);
	finish(a, a_output, "\"mapped\":65536,\"rounds\":200,\"exchanged\":true");
	finish(b, b_output, "\"mapped\":65536,\"rounds\":200,\"exchanged\":true");
	card_stop(&card);
}
END_TEST

START_TEST(pattern_is_found_in_the_file)
{
	struct card card;
	int output;
	card_start(&card, NULL);
	const char *const argv[] = { getenv("EXCHANGE"), "--write-pattern", "--pattern", "1000",
				     NULL };
	pid_t pid = card_spawn(argv, &output);
	finish(pid, output, "65536 bytes of BAR2 mapped and filled from 1000");
	for (uint64_t i = 0; i < CARD_MEMORY_SIZE / 8; i++)
		ck_assert_uint_eq(word_in_file(&card, i), 1000 + i);
	card_stop(&card);
}
END_TEST

START_TEST(memory_is_shared_with_the_file)
{
	struct card card;
	card_start(&card, NULL);
	io_connect_t connect = open_driver();
	expect_info(connect);
	volatile uint64_t *words = must_map(connect);
	words[7] = 0x1122334455667788;
	ck_assert_uint_eq(word_in_file(&card, 7), 0x1122334455667788);
	uint64_t word = 42;
	ck_assert_int_eq(pwrite(card.memory_fd, &word, 8, 80), 8);
	ck_assert_uint_eq(words[10], 42);
	ck_assert_int_eq(ring(connect), kIOReturnSuccess);
	IOServiceClose(connect);
	card_stop(&card);
}
END_TEST

START_TEST(refusals_have_reasons)
{
	struct card card;
	volatile uint64_t *words;
	mach_vm_size_t size;
	uint64_t too_large = UINT64_C(1) << 32;
	card_start(&card, NULL);
	io_connect_t connect = open_driver();
	ck_assert_int_ne(map(connect, 1, &words, &size), kIOReturnSuccess);
	ck_assert_msg(strstr(dext_last_reason(), "memory of type 1") != NULL, "%s",
		      dext_last_reason());
	ck_assert_int_eq(
		IOConnectCallScalarMethod(connect, kIvshmemMethodRing, &too_large, 1, NULL, NULL),
		kIOReturnBadArgument);
	ck_assert_int_ne(
		IOConnectCallScalarMethod(connect, kIvshmemMethodCount, NULL, 0, NULL, NULL),
		kIOReturnSuccess);
	expect_info(connect);
	IOServiceClose(connect);
	card_stop(&card);
}
END_TEST

/* --- a card that lies or dies --- */

START_TEST(bar_larger_than_its_file)
{
	struct card card;
	volatile uint64_t *words;
	mach_vm_size_t size;
	card_start(&card, "bar-larger-than-file");
	io_connect_t connect = open_driver();
	ck_assert_int_ne(map(connect, kIvshmemMemoryShared, &words, &size), kIOReturnSuccess);
	ck_assert_msg(strstr(dext_last_reason(),
			     "region 2 is announced with 131072 bytes at 0 of its file, which has "
			     "65536") != NULL,
		      "%s", dext_last_reason());
	expect_info(connect);
	IOServiceClose(connect);
	card_stop(&card);
}
END_TEST

START_TEST(file_cut_under_a_mapping)
{
	struct card card;
	card_start(&card, "truncate-after-map");
	io_connect_t connect = open_driver();
	volatile uint64_t *words = must_map(connect);
	words[0] = 5;
	ck_assert(!dext_mapping_is_lost((const void *)(uintptr_t)words));
	ck_assert_int_eq(ring(connect), kIOReturnSuccess);
	ck_assert_uint_eq(words[0], 0);
	words[1] = 6; // goes nowhere
	ck_assert(dext_mapping_is_lost((const void *)(uintptr_t)words));
	expect_info(connect); // the driver lives
	IOServiceClose(connect);
	card_stop(&card);
}
END_TEST

struct watch {
	IONotificationPortRef port;
	io_object_t notification;
	int is_over;
};

static void on_interest(void *refcon, io_service_t service, uint32_t type, void *argument)
{
	struct watch *watch = refcon;
	(void)service;
	(void)argument;
	watch->is_over = watch->is_over || type == kIOMessageServiceIsTerminated;
}

static void watch_start(struct watch *watch)
{
	io_service_t service = rig_wait_service("IvshmemDriver");
	watch->is_over = 0;
	watch->port = IONotificationPortCreate(kIOMainPortDefault);
	ck_assert_ptr_nonnull(watch->port);
	ck_assert_int_eq(IOServiceAddInterestNotification(watch->port, service, kIOGeneralInterest,
							  on_interest, watch, &watch->notification),
			 kIOReturnSuccess);
	IOObjectRelease(service);
}

static void watch_wait(struct watch *watch)
{
	rig_wait_flag(watch->port, &watch->is_over);
	IOObjectRelease(watch->notification);
	IONotificationPortDestroy(watch->port);
}

/* The card fails when its doorbell rings. The application is told, what it has mapped stays, and
 * when the card is there again (it takes the next connection), so is the driver. */
static void fail_and_come_back(const char *misbehave)
{
	struct card card;
	struct watch watch;
	card_start(&card, misbehave);
	io_connect_t connect = open_driver();
	watch_start(&watch);
	volatile uint64_t *words = must_map(connect);
	words[0] = 5;
	ring(connect);
	watch_wait(&watch);
	ck_assert_uint_eq(words[0], 5);
	IOServiceClose(connect);

	connect = open_driver();
	expect_info(connect);
	words = must_map(connect);
	ck_assert_uint_eq(words[0], 5); // it is in the file
	IOServiceClose(connect);
	card_stop(&card);
}

START_TEST(card_that_hangs_up)
{
	fail_and_come_back("hangup-on-doorbell");
}
END_TEST

START_TEST(card_that_sends_garbage)
{
	fail_and_come_back("garbage-on-doorbell");
}
END_TEST

START_TEST(card_that_falls_silent)
{
	fail_and_come_back("silent-on-doorbell");
}
END_TEST

/* Never a device, so never a driver; dextd says why, and serves on. */
static void never_there(const char *misbehave, const char *reason)
{
	struct card card;
	card_start(&card, misbehave);
	card_wait_status(reason);
	ck_assert_uint_eq(
		IOServiceGetMatchingService(kIOMainPortDefault, IOServiceMatching("IvshmemDriver")),
		IO_OBJECT_NULL);
	card_stop(&card);
}

START_TEST(card_that_hangs_up_at_once)
{
	never_there("hangup", "the device hung up");
}
END_TEST

START_TEST(card_that_greets_with_garbage)
{
	never_there("garbage", "the device announced a message of 2779096485 bytes");
}
END_TEST

START_TEST(card_that_never_speaks)
{
	never_there("silent", "the device did not answer within 1000 ms");
}
END_TEST

/* The driver is killed: the next one serves the same card, and the memory is what it was. */
START_TEST(driver_is_killed)
{
	struct card card;
	struct watch watch;
	card_start(&card, NULL);
	io_connect_t connect = open_driver();
	volatile uint64_t *words = must_map(connect);
	words[3] = 33;
	watch_start(&watch);
	io_service_t service = rig_wait_service("IvshmemDriver");
	pid_t driver = (pid_t)rig_number(service, "OpenDextProcess");
	IOObjectRelease(service);
	ck_assert_int_gt(driver, 1);
	ck_assert_int_eq(kill(driver, SIGKILL), 0);
	watch_wait(&watch);
	ck_assert_uint_eq(words[3], 33);
	IOServiceClose(connect);

	connect = open_driver();
	ck_assert_uint_eq(must_map(connect)[3], 33);
	IOServiceClose(connect);
	card_stop(&card);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pci-story");
	TCase *tc = tcase_create("pci-story");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, two_applications_exchange_data);
	tcase_add_test(tc, pattern_is_found_in_the_file);
	tcase_add_test(tc, memory_is_shared_with_the_file);
	tcase_add_test(tc, refusals_have_reasons);
	tcase_add_test(tc, bar_larger_than_its_file);
	tcase_add_test(tc, file_cut_under_a_mapping);
	tcase_add_test(tc, card_that_hangs_up);
	tcase_add_test(tc, card_that_sends_garbage);
	tcase_add_test(tc, card_that_falls_silent);
	tcase_add_test(tc, card_that_hangs_up_at_once);
	tcase_add_test(tc, card_that_greets_with_garbage);
	tcase_add_test(tc, card_that_never_speaks);
	tcase_add_test(tc, driver_is_killed);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
