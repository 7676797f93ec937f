/* SPDX-License-Identifier: Apache-2.0 */

#include <base/unit_test.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <base/reason.h>
#include <runtime/memory.h>

enum { PAGE = 4096 };

static IOBufferMemoryDescriptor *new_buffer(uint64_t capacity)
{
	IOBufferMemoryDescriptor *buffer = NULL;

	ck_assert_int_eq(
		IOBufferMemoryDescriptor_Create(kIOMemoryDirectionInOut, capacity, 0, &buffer),
		kIOReturnSuccess);
	return buffer;
}

static IOMemoryDescriptor *as_memory(IOBufferMemoryDescriptor *buffer)
{
	return IOBufferMemoryDescriptor_as_IOMemoryDescriptor(buffer);
}

static char *map_bytes(IOMemoryMap *map)
{
	return (char *)(uintptr_t)IOMemoryMap_GetAddress(map);
}

/* A file as a peer would hand it over, not sealed. */
static int peer_file(off_t size)
{
	int fd = memfd_create("peer", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, size), 0);
	return fd;
}

START_TEST(a_buffer_is_sealed_and_mapped)
{
	IOBufferMemoryDescriptor *buffer = new_buffer(5000);
	struct memory_backing backing;
	IOAddressSegment range;
	uint64_t length = 0;

	ck_assert_int_eq(IOBufferMemoryDescriptor_GetAddressRange(buffer, &range),
			 kIOReturnSuccess);
	ck_assert_uint_eq(range.length, 5000);
	memset((void *)(uintptr_t)range.address, 1, 5000);
	memory_get_backing(as_memory(buffer), &backing);
	ck_assert_uint_eq(backing.offset, 0);
	ck_assert_uint_eq(backing.length, 5000);
	ck_assert_uint_eq(backing.direction, kIOMemoryDirectionInOut);
	ck_assert_int_eq(ftruncate(backing.fd, 0), -1);
	ck_assert_int_eq(ftruncate(backing.fd, 1 << 20), -1);
	ck_assert_int_eq(fcntl(backing.fd, F_ADD_SEALS, F_SEAL_WRITE), -1);

	ck_assert_int_eq(IOBufferMemoryDescriptor_SetLength(buffer, 100), kIOReturnSuccess);
	ck_assert_int_eq(IOBufferMemoryDescriptor_GetLength(buffer, &length), kIOReturnSuccess);
	ck_assert_uint_eq(length, 100);
	ck_assert_int_eq(IOBufferMemoryDescriptor_SetLength(buffer, 5001), kIOReturnBadArgument);
	ck_assert_int_eq(IOBufferMemoryDescriptor_SetLength(buffer, 5000), kIOReturnSuccess);
	OSObjectRelease(buffer);
}
END_TEST

START_TEST(bad_buffers_are_refused)
{
	static const struct {
		uint64_t options, capacity, alignment;
		kern_return_t ret;
	} rows[] = {
		{ 4, PAGE, 0, kIOReturnBadArgument },
		{ 0, 0, 0, kIOReturnBadArgument },
		{ 0, PAGE, 3, kIOReturnBadArgument },
		{ 0, PAGE, 2 * PAGE, kIOReturnBadArgument },
		{ 0, UINT64_MAX, 0, kIOReturnNoMemory },
		{ 0, INT64_MAX, 0, kIOReturnNoMemory },
	};
	IOBufferMemoryDescriptor *buffer = NULL;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		reason_clear();
		ck_assert_int_eq(IOBufferMemoryDescriptor_Create(rows[i].options, rows[i].capacity,
								 rows[i].alignment, &buffer),
				 rows[i].ret);
		ck_assert_str_ne(reason_last(), "");
	}
	ck_assert_ptr_null(buffer);
}
END_TEST

START_TEST(mapped_bytes_are_mapped_once)
{
	IOBufferMemoryDescriptor *buffer = new_buffer(3 * PAGE);
	IOMemoryDescriptor *part = NULL;
	IOMemoryMap *map = NULL, *read_only = NULL;
	IOAddressSegment range;

	IOBufferMemoryDescriptor_GetAddressRange(buffer, &range);
	ck_assert_int_eq(IOMemoryDescriptor_CreateSubMemoryDescriptor(0, 100, PAGE,
								      as_memory(buffer), &part),
			 kIOReturnSuccess);
	OSObjectRelease(buffer);
	ck_assert_int_eq(IOMemoryDescriptor_CreateMapping(part, 0, 0, 10, 1000, 0, &map),
			 kIOReturnSuccess);
	ck_assert_uint_eq(IOMemoryMap_GetAddress(map), range.address + 110);
	ck_assert_uint_eq(IOMemoryMap_GetLength(map), 1000);
	ck_assert_uint_eq(IOMemoryMap_GetOffset(map), 10);
	ck_assert(!IOMemoryMap_IsLost(map));
	ck_assert_int_eq(IOMemoryDescriptor_CreateMapping(part, kIOMemoryMapReadOnly, 0, 0, 0, 0,
							  &read_only),
			 kIOReturnSuccess);
	ck_assert_uint_ne(IOMemoryMap_GetAddress(read_only), range.address + 100);
	OSObjectRelease(part);
	*(char *)(uintptr_t)IOMemoryMap_GetAddress(map) = 'x'; // the map keeps the bytes
	ck_assert_int_eq(((const char *)(uintptr_t)IOMemoryMap_GetAddress(read_only))[10], 'x');
	OSObjectRelease(map);
	OSObjectRelease(read_only);
}
END_TEST

START_TEST(parts_and_maps_show_the_same_bytes)
{
	IOBufferMemoryDescriptor *buffer = new_buffer(3 * PAGE);
	IOMemoryDescriptor *part = NULL, *inner = NULL;
	struct memory_backing backing;
	IOAddressSegment range;
	IOMemoryMap *map = NULL;
	uint64_t length = 0;
	void *bytes = NULL;

	IOBufferMemoryDescriptor_GetAddressRange(buffer, &range);
	char *whole = (char *)(uintptr_t)range.address;
	ck_assert_int_eq(IOMemoryDescriptor_CreateSubMemoryDescriptor(0, 1000, 2 * PAGE,
								      as_memory(buffer), &part),
			 kIOReturnSuccess);
	ck_assert_int_eq(IOMemoryDescriptor_CreateSubMemoryDescriptor(kIOMemoryDirectionIn, 24,
								      PAGE, part, &inner),
			 kIOReturnSuccess);
	OSObjectRelease(part);
	memory_get_backing(inner, &backing);
	ck_assert_uint_eq(backing.offset, 1024);
	ck_assert_uint_eq(backing.length, PAGE);
	ck_assert_uint_eq(backing.direction, kIOMemoryDirectionIn);
	ck_assert_int_eq(memory_get_bytes(inner, &bytes, &length), kIOReturnSuccess);
	ck_assert_ptr_eq(bytes, whole + 1024);

	ck_assert_int_eq(
		IOMemoryDescriptor_CreateMapping(inner, kIOMemoryMapReadOnly, 0, 16, 0, 0, &map),
		kIOReturnSuccess);
	ck_assert_uint_eq(IOMemoryMap_GetLength(map), PAGE - 16);
	ck_assert_uint_eq(IOMemoryMap_GetOffset(map), 16);
	strcpy(whole + 1040, "hello");
	ck_assert_str_eq(map_bytes(map), "hello");
	OSObjectRelease(inner);
	OSObjectRelease(buffer);
	ck_assert_str_eq(map_bytes(map), "hello"); // the map keeps it all
	ck_assert(!IOMemoryMap_IsLost(map));
	OSObjectRelease(map);
}
END_TEST

START_TEST(ranges_outside_are_refused)
{
	IOBufferMemoryDescriptor *buffer = new_buffer(2 * PAGE);
	static const uint64_t outside[][2] = {
		{ 0, 2 * PAGE + 1 }, { 2 * PAGE, 0 },          { 2 * PAGE + 1, 0 },
		{ 1, 2 * PAGE },     { 1, UINT64_MAX },        { UINT64_MAX, 1 },
		{ UINT64_MAX, 2 },   { PAGE, UINT64_MAX - 1 },
	};
	IOMemoryDescriptor *part = NULL;
	IOMemoryMap *map = NULL;

	for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
		uint64_t offset = outside[i][0], length = outside[i][1];
		ck_assert_int_eq(IOMemoryDescriptor_CreateMapping(as_memory(buffer), 0, 0, offset,
								  length, 0, &map),
				 kIOReturnBadArgument);
		ck_assert_int_eq(IOMemoryDescriptor_CreateSubMemoryDescriptor(
					 0, offset, length, as_memory(buffer), &part),
				 kIOReturnBadArgument);
	}
	ck_assert_ptr_null(map);
	ck_assert_ptr_null(part);
	OSObjectRelease(buffer);
}
END_TEST

START_TEST(unknown_options_are_refused)
{
	IOBufferMemoryDescriptor *buffer = new_buffer(PAGE);
	static const struct {
		uint64_t options, address, alignment;
		kern_return_t ret;
	} rows[] = {
		{ kIOMemoryMapFixedAddress, 0, 0, kIOReturnBadArgument },
		{ 0, 0x10000, 0, kIOReturnBadArgument },
		{ 0, 0, 16, kIOReturnBadArgument },
		{ 0x1000, 0, 0, kIOReturnBadArgument },
		{ 0x40, 0, 0, kIOReturnBadArgument },
		{ kIOMemoryMapCacheModeInhibit | kIOMemoryMapCacheModeCopyback, 0, 0,
		  kIOReturnBadArgument },
		{ kIOMemoryMapCacheModeInhibit, 0, 0, kIOReturnUnsupported },
	};
	IOMemoryMap *map = NULL;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		reason_clear();
		ck_assert_int_eq(IOMemoryDescriptor_CreateMapping(as_memory(buffer),
								  rows[i].options, rows[i].address,
								  0, 0, rows[i].alignment, &map),
				 rows[i].ret);
		ck_assert_str_ne(reason_last(), "");
	}
	memory_set_cache_mode(as_memory(buffer), kIOMemoryMapCacheModeInhibit);
	ck_assert_int_eq(IOMemoryDescriptor_CreateMapping(
				 as_memory(buffer), kIOMemoryMapCacheModeInhibit, 0, 0, 0, 0, &map),
			 kIOReturnSuccess);
	OSObjectRelease(map);
	OSObjectRelease(buffer);
}
END_TEST

/* The peer shrinks its file while we read: an error that can be asked for, not a death. */
START_TEST(memory_truncated_under_a_map_is_lost)
{
	int peer = peer_file(2 * PAGE);
	IOMemoryDescriptor *memory = NULL;
	IOMemoryMap *map = NULL;
	uint64_t length;
	void *bytes;

	ck_assert_int_eq(memory_descriptor_create(fcntl(peer, F_DUPFD_CLOEXEC, 0), 0, 2 * PAGE,
						  kIOMemoryDirectionInOut, &memory),
			 kIOReturnSuccess);
	ck_assert_int_eq(IOMemoryDescriptor_CreateMapping(memory, 0, 0, 0, 0, 0, &map),
			 kIOReturnSuccess);
	ck_assert_int_eq(memory_get_bytes(memory, &bytes, &length), kIOReturnSuccess);
	memset(bytes, 'x', length);
	ck_assert_int_eq(map_bytes(map)[PAGE], 'x');
	ck_assert(!IOMemoryMap_IsLost(map));

	ck_assert_int_eq(ftruncate(peer, 0), 0);
	ck_assert_int_eq(*(volatile char *)(map_bytes(map) + PAGE), 0);
	ck_assert(IOMemoryMap_IsLost(map));
	ck_assert(!memory_is_lost(memory)); // a mapping of its own, not yet touched
	((volatile char *)bytes)[0] = 1;
	ck_assert(memory_is_lost(memory));
	OSObjectRelease(map);
	OSObjectRelease(memory);
	close(peer);
}
END_TEST

START_TEST(a_file_is_no_longer_than_it_is)
{
	IOMemoryDescriptor *memory = NULL;

	ck_assert_int_eq(memory_descriptor_create(peer_file(PAGE), PAGE, 1, 0, &memory),
			 kIOReturnBadArgument);
	ck_assert_ptr_nonnull(strstr(reason_last(), "beyond the end of the file"));
	ck_assert_int_eq(memory_descriptor_create(peer_file(PAGE), UINT64_MAX, 2, 0, &memory),
			 kIOReturnBadArgument);
	ck_assert_int_eq(memory_descriptor_create(peer_file(PAGE), 0, 0, 0, &memory),
			 kIOReturnBadArgument);
	ck_assert_int_eq(memory_descriptor_create(-1, 0, 1, 0, &memory), kIOReturnBadArgument);
	ck_assert_ptr_null(memory);
}
END_TEST

START_TEST(read_only_memory_says_so)
{
	int writable = peer_file(PAGE);
	char path[64];
	IOMemoryDescriptor *memory = NULL;
	IOMemoryMap *map = NULL;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", writable);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(memory_descriptor_create(fd, 0, PAGE, kIOMemoryDirectionOut, &memory),
			 kIOReturnSuccess);
	ck_assert_int_eq(IOMemoryDescriptor_CreateMapping(memory, 0, 0, 0, 0, 0, &map),
			 kIOReturnNotWritable);
	ck_assert_int_eq(
		IOMemoryDescriptor_CreateMapping(memory, kIOMemoryMapReadOnly, 0, 0, 0, 0, &map),
		kIOReturnSuccess);
	OSObjectRelease(map);
	OSObjectRelease(memory);
	close(writable);
}
END_TEST

UNIT_TESTS("runtime-memory", a_buffer_is_sealed_and_mapped, bad_buffers_are_refused,
	   parts_and_maps_show_the_same_bytes, mapped_bytes_are_mapped_once,
	   ranges_outside_are_refused, unknown_options_are_refused,
	   memory_truncated_under_a_map_is_lost, a_file_is_no_longer_than_it_is,
	   read_only_memory_says_so)
