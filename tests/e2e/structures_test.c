// SPDX-License-Identifier: Apache-2.0
/*
 * Structures above 4096 bytes: they arrive whole, in memory that is shared once and used again, and
 * an application that breaks the rules of that memory harms nobody.
 */

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <client/connection.h>

#include "rig.h"
#include "victim.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

enum { MAPS_PER_BUFFER = 2 }; // in the driver: one is read-only, for input structures
enum { BELLS_MAX = 8 };       // descriptors that come and are no buffers: doorbells, workers

static struct rig rig;
static io_connect_t victim;
static struct connection *raw; // of `victim`
static pid_t dext;             // the driver's process

static void begin(void)
{
	rig_start(&rig, NULL, NULL);
	victim = rig_open();
	raw = connection_get(victim);
	ck_assert_ptr_nonnull(raw);
	dext = rig_process();
}

static void end(void)
{
	uint64_t in = 7, out = 0;
	uint32_t count = 1;
	ck_assert_int_eq(IOConnectCallScalarMethod(victim, VICTIM_ECHO, &in, 1, &out, &count),
			 kIOReturnSuccess);
	ck_assert_int_eq(rig_process(), dext); // nobody had to start it again
	connection_unref(raw);
	ck_assert_int_eq(IOServiceClose(victim), kIOReturnSuccess);
	rig_stop(&rig);
}

/* --- what arrives --- */

static uint8_t *new_bytes(size_t size, uint32_t seed)
{
	uint8_t *bytes = malloc(size);
	ck_assert_ptr_nonnull(bytes);
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)((i * 2654435761U + seed) >> 13);
	return bytes;
}

static bool is_inverted(const uint8_t *out, size_t out_size, const uint8_t *in, size_t in_size)
{
	for (size_t i = 0; i < out_size; i++)
		if ((out[i] ^ in[i % in_size]) != 0xff)
			return false;
	return true;
}

static kern_return_t call(uint32_t method, const uint8_t *in, size_t in_size, uint8_t *out,
			  size_t *out_size)
{
	return IOConnectCallStructMethod(victim, method, in, in_size, out, out_size);
}

static void check_inverted(size_t in_size, size_t room)
{
	uint8_t *in = new_bytes(in_size, (uint32_t)room), *out = malloc(room);
	size_t size = room, wanted = room > 4096 || in_size > room ? room : in_size;
	kern_return_t ret = call(VICTIM_INVERT, in, in_size, out, &size);
	ck_assert_msg(ret == kIOReturnSuccess, "%zu bytes in, %zu out: %s: %s", in_size, room,
		      IOReturnString(ret), dext_last_reason());
	ck_assert_uint_eq(size, wanted);
	ck_assert(is_inverted(out, size, in, in_size));
	free(in);
	free(out);
}

START_TEST(structures_of_any_size_arrive)
{
	static const size_t sizes[] = { 1, 4096, 4097, 64 * KIB, 64 * KIB + 1, MIB - 1, MIB };
	enum { N = sizeof(sizes) / sizeof(sizes[0]) };
	for (int i = 0; i < N; i++)
		for (int k = 0; k < N; k++)
			check_inverted(sizes[i], sizes[k]);
}
END_TEST

START_TEST(sixty_four_mebibytes_arrive)
{
	check_inverted(64 * MIB, 1);
	check_inverted(1, 64 * MIB);
	check_inverted(64 * MIB, 64 * MIB);
}
END_TEST

START_TEST(less_than_there_is_room_for_arrives)
{
	uint8_t *in = new_bytes(100, 1), *out = malloc(MIB);
	size_t size = MIB;
	ck_assert_int_eq(call(VICTIM_INVERT_DATA, in, 100, out, &size), kIOReturnSuccess);
	ck_assert_uint_eq(size, 100);
	ck_assert(is_inverted(out, 100, in, 100));
	free(in);
	free(out);
}
END_TEST

static void assert_reason(const char *part)
{
	ck_assert_msg(strstr(dext_last_reason(), part) != NULL, "the reason is \"%s\"",
		      dext_last_reason());
}

START_TEST(sizes_are_checked_exactly)
{
	uint8_t *in = new_bytes(20000, 1), *out = malloc(20000);
	size_t size = VICTIM_EXACT_SIZE;
	ck_assert_int_eq(call(VICTIM_EXACT, in, VICTIM_EXACT_SIZE, out, &size), kIOReturnSuccess);
	ck_assert_int_eq(call(VICTIM_EXACT, in, VICTIM_EXACT_SIZE - 1, out, &size),
			 kIOReturnBadArgument);
	assert_reason("takes 10000 bytes of input structure, the call has 9999");
	size = VICTIM_EXACT_SIZE + 1;
	ck_assert_int_eq(call(VICTIM_EXACT, in, VICTIM_EXACT_SIZE, out, &size),
			 kIOReturnBadArgument);
	assert_reason("takes 10000 bytes of output structure, the call has 10001");
	free(in);
	free(out);
}
END_TEST

/* --- what it costs --- */

/* Mappings of buffers. */
static int count_maps_of(uint64_t pid)
{
	char line[512];
	int n = 0;
	snprintf(line, sizeof(line), "/proc/%llu/maps", (unsigned long long)pid);
	FILE *f = fopen(line, "r");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f) != NULL)
		n += strstr(line, "/memfd:dext-buffer") != NULL;
	fclose(f);
	return n;
}

START_TEST(memory_is_shared_once_and_used_again)
{
	check_inverted(MIB, MIB);
	int own_fds = rig_count_fds(getpid()), fds = rig_count_fds((pid_t)dext);
	uint64_t n_shared = raw->buffers.all[0].n_shared;
	for (size_t i = 0; i < 200; i++)
		check_inverted(5000 + i * 16, 100000 - i * 16);
	ck_assert_int_le(rig_count_fds((pid_t)dext), fds + BELLS_MAX);
	ck_assert_int_le(rig_count_fds(getpid()), own_fds + BELLS_MAX);
	ck_assert_int_eq(count_maps_of(dext), MAPS_PER_BUFFER);
	ck_assert_int_eq(count_maps_of((uint64_t)getpid()), 1);
	ck_assert_uint_eq(raw->buffers.all[0].n_shared, n_shared);
	check_inverted(4 * MIB, 16); // it grows, and replaces the smaller one
	ck_assert_int_eq(count_maps_of(dext), MAPS_PER_BUFFER);
}
END_TEST

static void *call_often(void *seed)
{
	uint32_t s = *(const uint32_t *)seed;
	size_t size = 5000 + s * 1000;
	uint8_t *in = new_bytes(size, s), *out = malloc(size);
	for (int i = 0; i < 40; i++) {
		size_t got = size;
		kern_return_t ret = call(VICTIM_INVERT, in, size, out, &got);
		ck_assert_msg(ret == kIOReturnSuccess, "%s", dext_last_reason());
		ck_assert(is_inverted(out, size, in, size));
	}
	free(in);
	free(out);
	return NULL;
}

START_TEST(calls_at_once_use_different_memory)
{
	enum { THREADS = 2 * RING_BUFFERS };
	pthread_t threads[THREADS];
	uint32_t seeds[THREADS];
	for (uint32_t i = 0; i < THREADS; i++) {
		seeds[i] = i;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, call_often, &seeds[i]), 0);
	}
	for (uint32_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_le(count_maps_of(dext), MAPS_PER_BUFFER * (int)RING_BUFFERS);
}
END_TEST

static _Atomic uint8_t *map_shared(void)
{
	mach_vm_address_t address = 0;
	mach_vm_size_t size = 0;
	ck_assert_int_eq(IOConnectMapMemory64(victim, VICTIM_TYPE_SHARED, mach_task_self(),
					      &address, &size, kIOMapAnywhere),
			 kIOReturnSuccess);
	return (_Atomic uint8_t *)(uintptr_t)address;
}

/* The driver reads its structure after the caller has given up: from memory that nobody reuses. */
START_TEST(a_call_whose_time_is_over_leaves_its_memory)
{
	_Atomic uint8_t *shared = map_shared();
	uint8_t *in = new_bytes(9000, 3);
	uint64_t sum;
	uint32_t count = 1;
	uint32_t before = dext_call_timeout_get();
	dext_call_timeout_set(100);
	ck_assert_int_eq(IOConnectCallMethod(victim, VICTIM_READ_LATE, NULL, 0, in, 9000, &sum,
					     &count, NULL, NULL),
			 kIOReturnTimeout);
	dext_call_timeout_set(before);
	ck_assert_uint_eq(raw->buffers.all[0].size, 0);
	shared[1] = 1;
	check_inverted(9000, 9000);
	free(in);
}
END_TEST

/* --- an application that breaks the rules --- */

static kern_return_t raw_call(struct ring_request *request, struct ring_reply *reply)
{
	ck_assert_int_eq(ring_client_call(raw->ring, request, reply, 10000), 0);
	return reply->status;
}

static void assert_refused(const struct ring_reply *reply, kern_return_t status, const char *part)
{
	ck_assert_msg(reply->status == status, "%s: %s", IOReturnString(reply->status),
		      reply->reason);
	ck_assert_msg(strstr(reply->reason, part) != NULL, "the reason is \"%s\"", reply->reason);
}

static kern_return_t share(int fd, uint64_t size, uint64_t sequence, struct ring_reply *reply)
{
	struct ring_request request = { .kind = RING_SHARE, .n_scalars = 2 };
	request.scalars[0] = size;
	request.scalars[1] = sequence;
	if (fd >= 0)
		ck_assert_int_eq(ring_socket_send(raw->socket_fd, RING_SOCKET_BUFFER, sequence, fd),
				 0);
	return raw_call(&request, reply);
}

static kern_return_t call_large(uint32_t method, uint32_t buffer, uint32_t in, uint32_t out,
				struct ring_reply *reply)
{
	struct ring_request request = {
		.kind = RING_CALL,
		.selector = method,
		.structure_size = in,
		.structure_out_max = out,
		.n_scalars_out = method == VICTIM_READ_LATE,
		.buffer = buffer,
	};
	return raw_call(&request, reply);
}

static int make_memory(uint64_t size)
{
	int fd = memfd_create("dext-buffer", MFD_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
	return fd;
}

START_TEST(a_buffer_that_is_not_there_is_refused)
{
	struct ring_reply reply;
	call_large(VICTIM_INVERT, 1, 5000, 0, &reply);
	assert_refused(&reply, kIOReturnBadArgument, "was not shared");
	share(-1, 65536, 5, &reply);
	assert_refused(&reply, kIOReturnNotFound, "was not sent");

	CLEANUP(close_fdp) int fd = make_memory(8192);
	ck_assert_int_eq(share(fd, 8192, 3, &reply), kIOReturnSuccess);
	share(-1, 8192, 3, &reply); // its descriptor is gone
	assert_refused(&reply, kIOReturnNotFound, "was not sent");
	call_large(VICTIM_INVERT, RING_BUFFERS, 5000, 0, &reply);
	assert_refused(&reply, kIOReturnBadArgument, "was not shared");
	call_large(VICTIM_INVERT, 0, 16, 16, &reply); // which needs none
	ck_assert_int_eq(reply.status, kIOReturnSuccess);
}
END_TEST

START_TEST(a_structure_beyond_its_buffer_is_refused)
{
	static const struct {
		uint32_t in, out;
	} beyond[] = {
		{ 8193, 0 },
		{ 0, 8193 },
		{ 4097, 4097 },
		{ RING_STRUCTURE_MAX, 16 },
		{ 16, RING_STRUCTURE_MAX },
		{ RING_STRUCTURE_MAX, RING_STRUCTURE_MAX },
	};
	struct ring_reply reply;
	CLEANUP(close_fdp) int fd = make_memory(8192);
	ck_assert_int_eq(share(fd, 8192, 0, &reply), kIOReturnSuccess);
	for (unsigned i = 0; i < sizeof(beyond) / sizeof(beyond[0]); i++) {
		call_large(VICTIM_INVERT, 1, beyond[i].in, beyond[i].out, &reply);
		assert_refused(&reply, kIOReturnBadArgument, "outside the memory");
	}
	ck_assert_int_eq(call_large(VICTIM_INVERT, 1, 8192, 16, &reply), kIOReturnSuccess);
}
END_TEST

START_TEST(only_memory_is_taken_for_a_buffer)
{
	struct ring_reply reply;
	int ends[2];
	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	CLEANUP(close_fdp) int in = ends[0];
	CLEANUP(close_fdp) int out = ends[1];
	CLEANUP(close_fdp) int device = open("/dev/zero", O_RDWR | O_CLOEXEC);
	CLEANUP(close_fdp) int program = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	CLEANUP(close_fdp) int memory = make_memory(65536);
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", memory);
	CLEANUP(close_fdp) int read_only = open(path, O_RDONLY | O_CLOEXEC);
	const int bad[] = { in, out, device, program, read_only };
	for (uint64_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_int_ge(bad[i], 0);
		share(bad[i], 4096, i * RING_BUFFERS, &reply);
		assert_refused(&reply, kIOReturnBadArgument, "an anonymous file");
	}
	static const uint64_t sizes[] = { 0, 65537, RING_BUFFER_MAX + 1ULL, UINT64_MAX };
	for (uint64_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		share(memory, sizes[i], i * RING_BUFFERS, &reply);
		assert_refused(&reply, kIOReturnBadArgument, "a buffer of");
	}
	CLEANUP(close_fdp) int huge = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
	if (huge >= 0 && ftruncate(huge, 1 << 30) == 0) {
		share(huge, 65536, 0, &reply);
		assert_refused(&reply, kIOReturnBadArgument, "an anonymous file");
	}
}
END_TEST

struct late {
	struct ring_reply reply;
	pthread_t thread;
};

static void *read_late(void *context)
{
	struct late *late = context;
	call_large(VICTIM_READ_LATE, 1, 1 << 20, 0, &late->reply);
	return NULL;
}

START_TEST(memory_that_vanishes_during_a_call_is_lost)
{
	struct late late;
	struct ring_reply reply;
	_Atomic uint8_t *shared = map_shared();
	CLEANUP(close_fdp) int fd = make_memory(MIB);
	ck_assert_int_eq(share(fd, MIB, 0, &reply), kIOReturnSuccess);
	ck_assert_int_eq(pthread_create(&late.thread, NULL, read_late, &late), 0);
	while (shared[0] == 0)
		sched_yield(); // the driver has not got the call
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	shared[1] = 1;
	pthread_join(late.thread, NULL);
	ck_assert_int_eq(late.reply.status, kIOReturnNotPermitted); // it saw that it was lost

	call_large(VICTIM_INVERT, 1, 5000, 16, &reply);
	assert_refused(&reply, kIOReturnVMError, "vanished");
	CLEANUP(close_fdp) int other = make_memory(MIB);
	ck_assert_int_eq(share(other, MIB, RING_BUFFERS, &reply), kIOReturnSuccess);
	ck_assert_int_eq(call_large(VICTIM_INVERT, 1, 5000, 16, &reply), kIOReturnSuccess);
}
END_TEST

START_TEST(what_is_shared_is_bounded)
{
	struct ring_reply reply;
	int fds = rig_count_fds((pid_t)dext);
	for (uint64_t i = 0; i < 500; i++) {
		CLEANUP(close_fdp) int fd = make_memory(65536);
		ck_assert_int_eq(share(fd, 65536, i, &reply), kIOReturnSuccess);
	}
	ck_assert_int_le(rig_count_fds((pid_t)dext), fds + (int)RING_BUFFERS + BELLS_MAX);
	ck_assert_int_le(count_maps_of(dext), (int)RING_BUFFERS);

	unsigned accepted = 0;
	for (uint64_t i = 0; i < RING_BUFFERS; i++) {
		CLEANUP(close_fdp) int fd = make_memory(RING_BUFFER_MAX);
		if (share(fd, RING_BUFFER_MAX, i, &reply) == kIOReturnSuccess)
			accepted++;
		else
			assert_refused(&reply, kIOReturnNoResources, "left for others");
	}
	ck_assert_uint_gt(accepted, 0);
	ck_assert_uint_lt(accepted, RING_BUFFERS);
	for (uint64_t i = 0; i < RING_BUFFERS; i++) { // and comes back
		CLEANUP(close_fdp) int fd = make_memory(65536);
		ck_assert_int_eq(share(fd, 65536, i, &reply), kIOReturnSuccess);
	}
	CLEANUP(close_fdp) int fd = make_memory(RING_BUFFER_MAX);
	ck_assert_int_eq(share(fd, RING_BUFFER_MAX, 0, &reply), kIOReturnSuccess);
}
END_TEST

START_TEST(garbage_on_the_socket_costs_a_call)
{
	struct ring_reply reply;
	int fds = rig_count_fds((pid_t)dext);
	CLEANUP(close_fdp) int fd = make_memory(65536);
	ck_assert_int_eq(send(raw->socket_fd, "no", 2, 0), 2);
	share(fd, 65536, 0, &reply);
	assert_refused(&reply, kIOReturnIPCError, "malformed");
	ck_assert_int_eq(ring_socket_send(raw->socket_fd, RING_SOCKET_DOORBELL, 0, fd), 0);
	share(-1, 65536, 1, &reply);
	assert_refused(&reply, kIOReturnIPCError, "malformed");

	/* More than is read for one call: the driver goes on, and keeps one of each number. */
	int ret = 0;
	for (uint64_t i = 0; i < 10000 && ret == 0; i++)
		ret = ring_socket_send(raw->socket_fd, RING_SOCKET_BUFFER, 2, fd);
	for (int i = 0; i < 1000 && share(-1, 65536, 4, &reply) == kIOReturnNotFound; i++)
		ck_assert_int_le(rig_count_fds((pid_t)dext), fds + (int)RING_BUFFERS + BELLS_MAX);
	ck_assert_int_eq(share(fd, 65536, 8, &reply), kIOReturnSuccess);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("structures");
	TCase *tc = tcase_create("structures");
	tcase_add_checked_fixture(tc, begin, end);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, structures_of_any_size_arrive);
	tcase_add_test(tc, sixty_four_mebibytes_arrive);
	tcase_add_test(tc, less_than_there_is_room_for_arrives);
	tcase_add_test(tc, sizes_are_checked_exactly);
	tcase_add_test(tc, memory_is_shared_once_and_used_again);
	tcase_add_test(tc, calls_at_once_use_different_memory);
	tcase_add_test(tc, a_call_whose_time_is_over_leaves_its_memory);
	tcase_add_test(tc, a_buffer_that_is_not_there_is_refused);
	tcase_add_test(tc, a_structure_beyond_its_buffer_is_refused);
	tcase_add_test(tc, only_memory_is_taken_for_a_buffer);
	tcase_add_test(tc, memory_that_vanishes_during_a_call_is_lost);
	tcase_add_test(tc, what_is_shared_is_bounded);
	tcase_add_test(tc, garbage_on_the_socket_costs_a_call);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
