// SPDX-License-Identifier: Apache-2.0
/*
 * Memory that an application lends its driver by address: the same pages on both sides, for as long
 * as the driver has them, and nothing that the application did not make for it.
 */

#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <client/connection.h>
#include <DriverKit/IOTypes.h>

#include "rig.h"
#include "victim.h"

enum { PAGE = 4096, IN = kIOMemoryDirectionIn, OUT = kIOMemoryDirectionOut };

static struct rig rig;
static io_connect_t victim;
static pid_t dext;

static void begin(void)
{
	rig_start(&rig, NULL, NULL);
	victim = rig_open();
	dext = rig_process();
}

static void end(void)
{
	ck_assert_int_eq(rig_process(), dext); // nobody had to start it again
	ck_assert_int_eq(IOServiceClose(victim), kIOReturnSuccess);
	rig_stop(&rig);
}

static uint8_t *make(size_t size)
{
	void *bytes = NULL;
	kern_return_t ret = dext_buffer_create(victim, size, &bytes);
	ck_assert_msg(ret == kIOReturnSuccess, "%s", dext_last_reason());
	return bytes;
}

static kern_return_t lend_two(uint64_t options, const void *a, uint64_t a_length, const void *b,
			      uint64_t b_length)
{
	const uint64_t in[] = { options, (uint64_t)(uintptr_t)a, a_length, (uint64_t)(uintptr_t)b,
				b_length };
	return IOConnectCallScalarMethod(victim, VICTIM_LEND, in, b != NULL ? 5 : 3, NULL, NULL);
}

static kern_return_t lend(uint64_t options, const void *address, uint64_t length)
{
	return lend_two(options, address, length, NULL, 0);
}

static void assert_lent(uint64_t options, const void *address, uint64_t length)
{
	ck_assert_msg(lend(options, address, length) == kIOReturnSuccess, "%s", dext_last_reason());
}

static uint64_t lent_sum(void)
{
	uint64_t sum = 0;
	uint32_t count = 1;
	kern_return_t ret =
		IOConnectCallScalarMethod(victim, VICTIM_LENT_SUM, NULL, 0, &sum, &count);
	ck_assert_msg(ret == kIOReturnSuccess, "%s", dext_last_reason());
	return sum;
}

static kern_return_t lent_fill(uint64_t byte)
{
	return IOConnectCallScalarMethod(victim, VICTIM_LENT_FILL, &byte, 1, NULL, NULL);
}

static void assert_refused(kern_return_t ret, kern_return_t status, const char *part)
{
	ck_assert_msg(ret == status && strstr(dext_last_reason(), part) != NULL, "%s: %s",
		      IOReturnString(ret), dext_last_reason());
}

/* --- a call on another thread --- */

struct late {
	const uint8_t *bytes; // 60000 of them
	uint64_t sum;
	kern_return_t status;
	pthread_t thread;
};

static void *read_late(void *context)
{
	struct late *late = context;
	uint32_t count = 1;
	late->status = IOConnectCallMethod(victim, VICTIM_READ_LATE, NULL, 0, late->bytes, 60000,
					   &late->sum, &count, NULL, NULL);
	return NULL;
}

/* --- the same pages --- */

START_TEST(both_sides_see_the_same_bytes)
{
	uint8_t *bytes = make(10 * PAGE);
	ck_assert_uint_eq((uintptr_t)bytes % PAGE, 0);
	bytes[100] = 3;
	bytes[5 * PAGE + 99] = 4;
	bytes[5 * PAGE + 100] = 8; // behind the end
	assert_lent(IN | OUT, bytes + 100, 5 * PAGE);
	ck_assert_uint_eq(lent_sum(), 7);
	bytes[200] = 5; // nothing was copied
	ck_assert_uint_eq(lent_sum(), 12);
	ck_assert_int_eq(lent_fill(0x55), kIOReturnSuccess);
	ck_assert_int_eq(bytes[99], 0);
	ck_assert_int_eq(bytes[100], 0x55);
	ck_assert_int_eq(bytes[5 * PAGE + 99], 0x55);
	ck_assert_int_eq(bytes[5 * PAGE + 100], 8);
	ck_assert_int_eq(dext_buffer_free(victim, bytes), kIOReturnSuccess);
}
END_TEST

START_TEST(several_ranges_are_one_descriptor)
{
	uint8_t *a = make(2 * PAGE), *b = make(2 * PAGE);
	a[2 * PAGE - 1] = 1;
	b[0] = 2;
	b[9] = 4;
	b[10] = 64;
	ck_assert_int_eq(lend_two(IN, a + 100, 2 * PAGE - 100, b, 10), kIOReturnSuccess);
	ck_assert_uint_eq(lent_sum(), 7);
	ck_assert_int_eq(lend_two(IN, a, PAGE, a + PAGE, PAGE), kIOReturnSuccess);
	ck_assert_int_eq(lent_fill(9), kIOReturnSuccess);
	ck_assert(a[0] == 9 && a[PAGE] == 9 && b[0] == 2);
}
END_TEST

/* Freed, or its connection's other memory gone: the driver has it until it gives it back. */
START_TEST(what_was_lent_stays_until_it_is_given_back)
{
	uint8_t *bytes = make(PAGE);
	bytes[7] = 7;
	assert_lent(OUT, bytes, PAGE);
	ck_assert_int_eq(dext_buffer_free(victim, bytes), kIOReturnSuccess);
	ck_assert_uint_eq(lent_sum(), 7);
	assert_refused(lend(OUT, bytes, PAGE), kIOReturnBadArgument, "dext_buffer_create");
	uint8_t *other = make(PAGE); // may be at the same address: another file
	ck_assert_int_eq(other[7], 0);
}
END_TEST

static int count_maps(void)
{
	char line[512];
	int n = 0;
	snprintf(line, sizeof(line), "/proc/%llu/maps", (unsigned long long)dext);
	FILE *f = fopen(line, "r");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f) != NULL)
		n += strstr(line, "/memfd:dext-region") != NULL;
	fclose(f);
	return n;
}

START_TEST(an_application_that_goes_takes_its_memory_along)
{
	uint8_t *bytes = make(PAGE);
	make(PAGE);
	ck_assert_int_eq(count_maps(), 2);
	assert_lent(OUT, bytes, PAGE);
	ck_assert_int_eq(IOServiceClose(victim), kIOReturnSuccess);
	victim = rig_open();
	while (count_maps() > 0)
		sched_yield(); // the driver has not heard of the close
	assert_refused(lend(OUT, bytes, PAGE), kIOReturnBadArgument, "dext_buffer_create");
}
END_TEST

/* --- what is not lent --- */

START_TEST(memory_of_its_own_is_not_the_drivers)
{
	uint8_t *bytes = make(4 * PAGE);
	uint8_t local[16] = { 0 };
	const struct {
		const void *address;
		uint64_t length;
	} bad[] = {
		{ local, sizeof(local) },
		{ bytes - 1, 2 },
		{ bytes, 4 * PAGE + 1 },
		{ bytes + 4 * PAGE, 1 },
		{ bytes + 4 * PAGE - 1, 2 },
		{ bytes + 1, UINT64_MAX },
		{ (const void *)1, UINT64_MAX },
		{ (const void *)UINTPTR_MAX, 1 },
		{ NULL, 1 },
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char text[64];
		snprintf(text, sizeof(text), "%llu bytes at %#llx are not inside",
			 (unsigned long long)bad[i].length,
			 (unsigned long long)(uintptr_t)bad[i].address);
		assert_refused(lend(OUT, bad[i].address, bad[i].length), kIOReturnBadArgument,
			       text);
		ck_assert_int_eq(lend_two(OUT, bytes, PAGE, bad[i].address, bad[i].length),
				 bad[i].address != NULL ? kIOReturnBadArgument : kIOReturnSuccess);
	}
	assert_refused(lend(OUT, bytes, 0), kIOReturnBadArgument, "is empty");
	assert_refused(lend(0, bytes, 1), kIOReturnBadArgument, "a direction");
	assert_refused(lend(8 | OUT, bytes, 1), kIOReturnBadArgument, "a direction");
	assert_lent(OUT | kIOMemoryDisableCopyOnWrite, bytes, 1);
}
END_TEST

START_TEST(bad_buffers_are_refused)
{
	void *bytes = NULL;
	ck_assert_int_eq(dext_buffer_create(victim, 0, &bytes), kIOReturnBadArgument);
	ck_assert_int_eq(dext_buffer_create(victim, SIZE_MAX, &bytes), kIOReturnBadArgument);
	ck_assert_int_eq(dext_buffer_create(victim, PAGE, NULL), kIOReturnBadArgument);
	ck_assert_int_eq(dext_buffer_create(0, PAGE, &bytes), kIOReturnBadArgument);
	ck_assert_ptr_null(bytes);
	assert_refused(dext_buffer_free(victim, &bytes), kIOReturnBadArgument, "no buffer of");
	uint8_t *good = make(1);
	good[PAGE - 1] = 1; // whole pages
	assert_refused(dext_buffer_free(victim, good + 1), kIOReturnBadArgument, "no buffer of");
	ck_assert_int_eq(dext_buffer_free(victim, good), kIOReturnSuccess);
	assert_refused(dext_buffer_free(victim, good), kIOReturnBadArgument, "no buffer of");
}
END_TEST

START_TEST(the_number_of_buffers_is_bounded)
{
	void *bytes[64], *more = NULL;
	for (int i = 0; i < 64; i++)
		bytes[i] = make(PAGE);
	assert_refused(dext_buffer_create(victim, PAGE, &more), kIOReturnNoResources,
		       "free one first");
	ck_assert_int_eq(dext_buffer_free(victim, bytes[3]), kIOReturnSuccess);
	make(PAGE);
	assert_lent(OUT, bytes[63], PAGE);
}
END_TEST

/* --- an application that breaks the rules --- */

static struct ring_reply reply;

static kern_return_t raw_register(struct connection *c, int fd, uint64_t address, uint64_t size,
				  uint64_t sequence)
{
	struct ring_request request = { .kind = RING_REGISTER, .n_scalars = 3 };
	request.scalars[0] = address;
	request.scalars[1] = size;
	request.scalars[2] = sequence;
	if (fd >= 0)
		ck_assert_int_eq(ring_socket_send(c->socket_fd, RING_SOCKET_REGION, sequence, fd),
				 0);
	ck_assert_int_eq(ring_client_call(c->ring, &request, &reply, 10000), 0);
	return reply.status;
}

static void assert_register_refused(kern_return_t ret, kern_return_t status, const char *part)
{
	ck_assert_msg(ret == status && strstr(reply.reason, part) != NULL, "%s: %s",
		      IOReturnString(ret), reply.reason);
}

START_TEST(what_is_registered_is_checked)
{
	struct connection *c = connection_get(victim);
	CLEANUP(close_fdp) int plain = memfd_create("dext-region", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	CLEANUP(close_fdp) int good = memfd_create("dext-region", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ck_assert_int_eq(ftruncate(plain, PAGE), 0);
	ck_assert_int_eq(ftruncate(good, PAGE), 0);
	ck_assert_int_eq(fcntl(good, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	const uint64_t at = 0x10000;
	assert_register_refused(raw_register(c, plain, at, PAGE, 1), kIOReturnBadArgument,
				"sealed");
	assert_register_refused(raw_register(c, -1, at, PAGE, 2), kIOReturnNotFound, "not sent");
	assert_register_refused(raw_register(c, good, at, PAGE + 1, 3), kIOReturnBadArgument,
				"a buffer of");
	assert_register_refused(raw_register(c, good, UINT64_MAX - 1, PAGE, 4),
				kIOReturnBadArgument, "no range");
	assert_register_refused(raw_register(c, good, 0, PAGE, 5), kIOReturnBadArgument,
				"no range");
	ck_assert_int_eq(raw_register(c, good, at, PAGE, 6), kIOReturnSuccess);
	assert_register_refused(raw_register(c, good, at + PAGE - 1, PAGE, 7), kIOReturnBadArgument,
				"overlap");
	ck_assert_int_eq(raw_register(c, good, at + PAGE, PAGE, 8), kIOReturnSuccess);
	/* Two buffers beside each other are two: a range over both is refused. */
	assert_refused(lend(OUT, (const void *)(uintptr_t)(at + PAGE - 1), 2), kIOReturnBadArgument,
		       "not inside");
	struct ring_request request = { .kind = RING_UNREGISTER, .n_scalars = 1 };
	request.scalars[0] = at + 1;
	ck_assert_int_eq(ring_client_call(c->ring, &request, &reply, 10000), 0);
	ck_assert_int_eq(reply.status, kIOReturnNotFound);
	connection_unref(c);
}
END_TEST

/* Half of what there is for the first; what it takes more is refused, and others find room. */
START_TEST(an_application_leaves_as_much_as_it_takes)
{
	enum { MIB = 1 << 20 };
	void *bytes[4];
	ck_assert_int_eq(dext_buffer_create(victim, 500 * (size_t)MIB, &bytes[0]),
			 kIOReturnSuccess);
	ck_assert_int_eq(dext_buffer_create(victim, 260 * (size_t)MIB, &bytes[1]),
			 kIOReturnSuccess);
	assert_refused(dext_buffer_create(victim, 100 * (size_t)MIB, &bytes[2]),
		       kIOReturnNoResources, "left for others");
	/* A second connection is no second application. */
	io_connect_t other = rig_open();
	assert_refused(dext_buffer_create(other, 100 * (size_t)MIB, &bytes[2]),
		       kIOReturnNoResources, "left for others");
	ck_assert_int_eq(dext_buffer_free(victim, bytes[0]), kIOReturnSuccess);
	ck_assert_int_eq(dext_buffer_create(other, 100 * (size_t)MIB, &bytes[2]), kIOReturnSuccess);
	/* What the driver still has is still counted. */
	assert_lent(OUT, bytes[1], PAGE);
	ck_assert_int_eq(dext_buffer_free(victim, bytes[1]), kIOReturnSuccess);
	assert_refused(dext_buffer_create(other, 500 * (size_t)MIB, &bytes[3]),
		       kIOReturnNoResources, "left for others");
	uint8_t *small = make(PAGE);
	assert_lent(OUT, small, PAGE); // in its place
	ck_assert_int_eq(dext_buffer_create(other, 500 * (size_t)MIB, &bytes[3]), kIOReturnSuccess);
	ck_assert_int_eq(IOServiceClose(other), kIOReturnSuccess);
}
END_TEST

/* --- structures of calls --- */

enum { LARGE = 60000 };

static void fill(uint8_t *bytes, size_t size, unsigned seed)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(i * 7 + seed + i / 256);
}

static void check_inverted(const uint8_t *in, size_t in_size, uint8_t *out, size_t room)
{
	size_t size = room;
	memset(out, 0, room);
	kern_return_t ret =
		IOConnectCallStructMethod(victim, VICTIM_INVERT, in, in_size, out, &size);
	ck_assert_msg(ret == kIOReturnSuccess, "%s", dext_last_reason());
	ck_assert_uint_eq(size, room);
	for (size_t i = 0; i < room; i++)
		ck_assert_uint_eq(out[i], (uint8_t)~in[i % in_size]);
}

/* How often this connection has shared a buffer for structures. */
static uint64_t times_shared(void)
{
	struct connection *c = connection_get(victim);
	uint64_t n = 0;
	for (unsigned i = 0; i < RING_BUFFERS; i++)
		n += c->buffers.all[i].n_shared;
	connection_unref(c);
	return n;
}

START_TEST(a_structure_in_a_buffer_stays_there)
{
	static uint8_t own_in[LARGE], own_out[LARGE];
	uint8_t *a = make(100000), *b = make(100000), small[16] = { 1, 2, 3 };
	fill(a, 100000, 1);
	fill(own_in, LARGE, 2);
	check_inverted(a, LARGE, b, LARGE);
	check_inverted(a + 1000, LARGE, a + 1000 + LARGE, 30000);
	check_inverted(b + 100000 - 4097, 4097, a, LARGE);
	check_inverted(small, sizeof(small), b + 7, LARGE);
	ck_assert_uint_eq(times_shared(), 0);
	check_inverted(a, LARGE, own_out, LARGE);
	check_inverted(own_in, LARGE, b, LARGE);
	ck_assert_uint_eq(times_shared(), 1); // what lies elsewhere is copied as ever
}
END_TEST

/* The driver sees what is written after the call has begun. */
START_TEST(what_stays_there_may_change)
{
	uint8_t *a = make(LARGE);
	struct late late = { .bytes = a };
	mach_vm_address_t address = 0;
	mach_vm_size_t size = 0;
	ck_assert_int_eq(IOConnectMapMemory64(victim, VICTIM_TYPE_SHARED, mach_task_self(),
					      &address, &size, kIOMapAnywhere),
			 kIOReturnSuccess);
	volatile uint8_t *shared = (volatile uint8_t *)(uintptr_t)address;
	ck_assert_int_eq(pthread_create(&late.thread, NULL, read_late, &late), 0);
	while (shared[0] == 0)
		sched_yield(); // the driver has not got the call
	memset(a, 3, LARGE);
	shared[1] = 1;
	pthread_join(late.thread, NULL);
	ck_assert_int_eq(late.status, kIOReturnSuccess);
	ck_assert_uint_eq(late.sum, 3 * LARGE);
}
END_TEST

/* As if they were copied, which they are. */
START_TEST(structures_that_overlap_are_two)
{
	static uint8_t before[LARGE];
	uint8_t *a = make(100000);
	fill(a, 100000, 5);
	for (size_t shift = 0; shift < 3; shift++) {
		size_t size = LARGE;
		memcpy(before, a + shift, LARGE);
		ck_assert_int_eq(IOConnectCallStructMethod(victim, VICTIM_INVERT, a + shift, LARGE,
							   a, &size),
				 kIOReturnSuccess);
		for (size_t i = 0; i < LARGE; i++)
			ck_assert_uint_eq(a[i], (uint8_t)~before[i]);
	}
	ck_assert_uint_gt(times_shared(), 0);
}
END_TEST

START_TEST(a_submitted_structure_is_copied)
{
	uint8_t *a = make(LARGE);
	static uint8_t before[LARGE], out[LARGE];
	size_t size = LARGE;
	dext_call_t call;
	fill(a, LARGE, 6);
	memcpy(before, a, LARGE);
	ck_assert_int_eq(dext_call_submit(victim, VICTIM_INVERT, NULL, 0, a, LARGE, 0, LARGE,
					  DEXT_CALL_MORE, &call),
			 kIOReturnSuccess);
	memset(a, 0, LARGE); // nobody minds
	ck_assert_int_eq(dext_call_wait(call, NULL, NULL, out, &size), kIOReturnSuccess);
	for (size_t i = 0; i < LARGE; i++)
		ck_assert_uint_eq(out[i], (uint8_t)~before[i]);
}
END_TEST

static void check_address(uint64_t in_address, uint64_t out_address)
{
	struct connection *c = connection_get(victim);
	struct ring_request request = {
		.kind = RING_CALL,
		.selector = VICTIM_INVERT,
		.structure_size = 5000,
		.structure_out_max = 5000,
		.input_address = in_address,
		.output_address = out_address,
	};
	ck_assert_int_eq(ring_client_call(c->ring, &request, &reply, 10000), 0);
	ck_assert_int_eq(reply.status, kIOReturnBadArgument);
	ck_assert_msg(strstr(reply.reason, "not inside one buffer") != NULL, "%s", reply.reason);
	connection_unref(c);
}

START_TEST(an_address_of_a_structure_is_looked_up)
{
	uint64_t good = (uint64_t)(uintptr_t)make(PAGE * 2);
	check_address(0x1000, good);
	check_address(good, 0x1000);
	check_address(good, good + 2 * PAGE - 4999);
	check_address(UINT64_MAX - 100, good);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("lending");
	TCase *tc = tcase_create("lending");
	tcase_add_checked_fixture(tc, begin, end);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, both_sides_see_the_same_bytes);
	tcase_add_test(tc, several_ranges_are_one_descriptor);
	tcase_add_test(tc, what_was_lent_stays_until_it_is_given_back);
	tcase_add_test(tc, an_application_that_goes_takes_its_memory_along);
	tcase_add_test(tc, memory_of_its_own_is_not_the_drivers);
	tcase_add_test(tc, bad_buffers_are_refused);
	tcase_add_test(tc, the_number_of_buffers_is_bounded);
	tcase_add_test(tc, what_is_registered_is_checked);
	tcase_add_test(tc, an_application_leaves_as_much_as_it_takes);
	tcase_add_test(tc, a_structure_in_a_buffer_stays_there);
	tcase_add_test(tc, what_stays_there_may_change);
	tcase_add_test(tc, structures_that_overlap_are_two);
	tcase_add_test(tc, a_submitted_structure_is_copied);
	tcase_add_test(tc, an_address_of_a_structure_is_looked_up);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
