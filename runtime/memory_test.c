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
		{ 0, PAGE, 2ULL << 30, kIOReturnBadArgument },
		{ kIOMemoryDisableCopyOnWrite, PAGE, 0, kIOReturnBadArgument },
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
		{ kIOMemoryMapCacheModeWriteThrough, 0, 0, kIOReturnUnsupported },
		{ kIOMemoryMapCacheModeRealTime, 0, 0, kIOReturnUnsupported },
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

/* --- placed, guarded, read-only --- */

static kern_return_t map_with(IOMemoryDescriptor *memory, uint64_t options, uint64_t address,
			      IOMemoryMap **map)
{
	return IOMemoryDescriptor_CreateMapping(memory, options, address, 0, 0, 0, map);
}

/* Can the byte be read or written here? */
static bool can_touch(const char *address, bool writing)
{
	int ends[2];

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	bool ok = write(ends[1], writing ? "x" : address, 1) == 1;
	if (ok && writing)
		ok = read(ends[0], (void *)(uintptr_t)address, 1) == 1;
	close(ends[0]);
	close(ends[1]);
	return ok;
}

START_TEST(a_map_goes_where_it_is_told)
{
	IOBufferMemoryDescriptor *buffer = new_buffer(3 * PAGE);
	IOMemoryDescriptor *part = NULL;
	IOMemoryMap *map = NULL, *other = NULL;
	char *room = mmap(NULL, 8 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t free_place = (uint64_t)(uintptr_t)room + PAGE;

	ck_assert_int_eq(map_with(as_memory(buffer), kIOMemoryMapFixedAddress, free_place, &map),
			 kIOReturnNoSpace); // what was there stays
	ck_assert_ptr_nonnull(strstr(reason_last(), "something else is mapped there"));
	munmap(room, 8 * PAGE);
	ck_assert_int_eq(map_with(as_memory(buffer), kIOMemoryMapFixedAddress, free_place, &map),
			 kIOReturnSuccess);
	ck_assert_uint_eq(IOMemoryMap_GetAddress(map), free_place);
	ck_assert(!can_touch(map_bytes(map) - 1, false));
	ck_assert(!can_touch(map_bytes(map) + 3 * PAGE, false));
	ck_assert_int_eq(map_with(as_memory(buffer), kIOMemoryMapFixedAddress, free_place, &other),
			 kIOReturnNoSpace);
	OSObjectRelease(map);

	IOMemoryDescriptor_CreateSubMemoryDescriptor(0, 100, PAGE, as_memory(buffer), &part);
	ck_assert_int_eq(map_with(part, kIOMemoryMapFixedAddress, free_place, &map),
			 kIOReturnNotAligned);
	ck_assert_int_eq(map_with(part, kIOMemoryMapFixedAddress, free_place + 100, &map),
			 kIOReturnSuccess);
	ck_assert_uint_eq(IOMemoryMap_GetAddress(map), free_place + 100);
	map_bytes(map)[0] = 'p';
	IOAddressSegment range;
	IOBufferMemoryDescriptor_GetAddressRange(buffer, &range);
	ck_assert_int_eq(((char *)(uintptr_t)range.address)[100], 'p');
	ck_assert_int_eq(map_with(part, kIOMemoryMapFixedAddress, 100, &other),
			 kIOReturnNotAligned); // no room for a guard page
	ck_assert_int_eq(map_with(part, kIOMemoryMapFixedAddress | kIOMemoryMapGuardedNone,
				  UINT64_MAX / PAGE * PAGE + 100, &other),
			 kIOReturnVMError);
	ck_assert_ptr_nonnull(strstr(reason_last(), "too large")); // it would end behind 2^64
	ck_assert_int_eq(map_with(part, kIOMemoryMapFixedAddress, 0, &other), kIOReturnBadArgument);
	OSObjectRelease(map);
	OSObjectRelease(part);
	OSObjectRelease(buffer);
}
END_TEST

START_TEST(guards_are_where_they_were_asked_for)
{
	static const struct {
		uint64_t option;
		int64_t margin;
	} rows[] = {
		{ kIOMemoryMapGuardedDefault, PAGE },
		{ kIOMemoryMapGuardedSmall, PAGE },
		{ kIOMemoryMapGuardedLarge, 1 << 20 },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		IOBufferMemoryDescriptor *buffer = new_buffer(2 * PAGE);
		IOMemoryMap *map = NULL;
		ck_assert_int_eq(map_with(as_memory(buffer), rows[i].option, 0, &map),
				 kIOReturnSuccess);
		const char *bytes = map_bytes(map);
		ck_assert(can_touch(bytes, true) && can_touch(bytes + 2 * PAGE - 1, true));
		ck_assert(!can_touch(bytes - 1, false));
		ck_assert(!can_touch(bytes - rows[i].margin, false));
		ck_assert(!can_touch(bytes + 2 * PAGE, false));
		ck_assert(!can_touch(bytes + 2 * PAGE + rows[i].margin - 1, false));
		OSObjectRelease(map);
		OSObjectRelease(buffer);
	}
}
END_TEST

START_TEST(a_cache_mode_is_granted_where_the_memory_has_it)
{
	IOBufferMemoryDescriptor *buffer = new_buffer(PAGE);
	IOMemoryMap *map = NULL;

	ck_assert_int_eq(map_with(as_memory(buffer), kIOMemoryMapCacheModeCopyback, 0, &map),
			 kIOReturnSuccess);
	OSObjectRelease(map);
	memory_set_cache_mode(as_memory(buffer), kIOMemoryMapCacheModeInhibit);
	ck_assert_int_eq(map_with(as_memory(buffer), kIOMemoryMapCacheModeCopyback, 0, &map),
			 kIOReturnUnsupported);
	ck_assert_ptr_nonnull(strstr(reason_last(), "the kernel's to say"));
	OSObjectRelease(buffer);
}
END_TEST

/* What an application lent for reading, its driver cannot write, whatever it makes of it. */
START_TEST(foreign_memory_keeps_its_direction)
{
	IOMemoryDescriptor *whole = NULL, *out = NULL, *in = NULL, *part = NULL, *all = NULL;
	IOMemoryMap *map = NULL, *again = NULL;

	ck_assert_int_eq(memory_descriptor_create(peer_file(4 * PAGE), 0, 4 * PAGE,
						  kIOMemoryDirectionInOut, &whole),
			 kIOReturnSuccess);
	memory_set_foreign(whole);
	IOMemoryDescriptor_CreateSubMemoryDescriptor(kIOMemoryDirectionOut, 8, PAGE, whole, &out);
	IOMemoryDescriptor_CreateSubMemoryDescriptor(kIOMemoryDirectionIn, PAGE, PAGE, whole, &in);
	ck_assert_int_eq(map_with(out, 0, 0, &map), kIOReturnSuccess);
	ck_assert(can_touch(map_bytes(map), false) && !can_touch(map_bytes(map), true));
	ck_assert_int_eq(map_with(out, kIOMemoryMapReadOnly, 0, &again), kIOReturnSuccess);
	ck_assert_uint_eq(IOMemoryMap_GetAddress(map), IOMemoryMap_GetAddress(again));
	OSObjectRelease(map);
	OSObjectRelease(again);
	ck_assert_int_eq(map_with(out, kIOMemoryMapGuardedLarge, 0, &map), kIOReturnSuccess);
	ck_assert(!can_touch(map_bytes(map), true));
	OSObjectRelease(map);
	ck_assert_int_eq(map_with(in, 0, 0, &map), kIOReturnSuccess);
	ck_assert(can_touch(map_bytes(map), true));
	OSObjectRelease(map);

	ck_assert_int_eq(IOMemoryDescriptor_CreateSubMemoryDescriptor(kIOMemoryDirectionInOut, 0, 1,
								      out, &part),
			 kIOReturnNotPermitted);
	ck_assert_int_eq(IOMemoryDescriptor_CreateSubMemoryDescriptor(0, 0, 1, out, &part),
			 kIOReturnSuccess);
	IOMemoryDescriptor *const both[] = { part, in };
	ck_assert_int_eq(
		IOMemoryDescriptor_CreateWithMemoryDescriptors(kIOMemoryDirectionIn, 2, both, &all),
		kIOReturnBadArgument);
	ck_assert_int_eq(IOMemoryDescriptor_CreateWithMemoryDescriptors(0, 1, both, &all),
			 kIOReturnSuccess);
	ck_assert_int_eq(map_with(all, 0, 0, &map), kIOReturnSuccess);
	ck_assert(!can_touch(map_bytes(map), true));
	OSObjectRelease(map);
	OSObjectRelease(all);
	OSObjectRelease(part);
	OSObjectRelease(in);
	OSObjectRelease(out);
	OSObjectRelease(whole);
}
END_TEST

START_TEST(a_buffer_is_aligned_as_asked)
{
	static const uint64_t alignments[] = { 1, 64, PAGE, 2 * PAGE, 1 << 16, 1 << 21 };

	for (size_t i = 0; i < sizeof(alignments) / sizeof(alignments[0]); i++) {
		IOBufferMemoryDescriptor *buffer = NULL;
		IOAddressSegment range;
		ck_assert_int_eq(IOBufferMemoryDescriptor_Create(kIOMemoryDirectionInOut, 3 * PAGE,
								 alignments[i], &buffer),
				 kIOReturnSuccess);
		IOBufferMemoryDescriptor_GetAddressRange(buffer, &range);
		ck_assert_uint_eq(range.address % alignments[i], 0);
		memset((void *)(uintptr_t)range.address, 1, 3 * PAGE);
		ck_assert(!can_touch((char *)(uintptr_t)range.address - 1, false));
		ck_assert(!can_touch((char *)(uintptr_t)range.address + 3 * PAGE, false));
		OSObjectRelease(buffer);
	}
}
END_TEST

/* --- concatenations --- */

static void fill(IOBufferMemoryDescriptor *buffer, int byte)
{
	IOAddressSegment range;

	IOBufferMemoryDescriptor_GetAddressRange(buffer, &range);
	memset((void *)(uintptr_t)range.address, byte, range.length);
}

static IOMemoryDescriptor *concatenate(IOMemoryDescriptor *a, IOMemoryDescriptor *b)
{
	IOMemoryDescriptor *const both[] = { a, b };
	IOMemoryDescriptor *made = NULL;

	ck_assert_int_eq(IOMemoryDescriptor_CreateWithMemoryDescriptors(0, 2, both, &made),
			 kIOReturnSuccess);
	return made;
}

START_TEST(a_concatenation_is_one_range_of_bytes)
{
	IOBufferMemoryDescriptor *a = new_buffer(2 * PAGE), *b = new_buffer(PAGE + 5);
	IOMemoryDescriptor *tail = NULL, *part = NULL;
	IOMemoryMap *map = NULL, *of_part = NULL;
	uint64_t length = 0;
	void *bytes = NULL;

	fill(a, 'a');
	fill(b, 'b');
	IOMemoryDescriptor_CreateSubMemoryDescriptor(0, 100, 2 * PAGE - 100, as_memory(a), &tail);
	IOMemoryDescriptor *all = concatenate(tail, as_memory(b));
	OSObjectRelease(tail);
	IOBufferMemoryDescriptor_SetLength(b, 1); // too late to matter
	OSObjectRelease(a);
	OSObjectRelease(b);
	ck_assert_int_eq(IOMemoryDescriptor_GetLength(all, &length), kIOReturnSuccess);
	ck_assert_uint_eq(length, 3 * PAGE - 95);
	ck_assert_int_eq(map_with(all, 0, 0, &map), kIOReturnSuccess);
	ck_assert_int_eq(map_bytes(map)[2 * PAGE - 101], 'a');
	ck_assert_int_eq(map_bytes(map)[2 * PAGE - 100], 'b');
	ck_assert_int_eq(map_bytes(map)[3 * PAGE - 96], 'b');
	ck_assert_int_eq(memory_get_bytes(all, &bytes, &length), kIOReturnSuccess);
	ck_assert_int_eq(memcmp(bytes, map_bytes(map), length), 0);

	ck_assert_int_eq(
		IOMemoryDescriptor_CreateSubMemoryDescriptor(0, 2 * PAGE - 101, 2, all, &part),
		kIOReturnSuccess);
	OSObjectRelease(all);
	ck_assert_int_eq(map_with(part, kIOMemoryMapReadOnly, 0, &of_part), kIOReturnSuccess);
	ck_assert_int_eq(memcmp(map_bytes(of_part), "ab", 2), 0);
	map_bytes(map)[2 * PAGE - 100] = 'c';
	ck_assert_int_eq(map_bytes(of_part)[1], 'c');
	OSObjectRelease(of_part);
	OSObjectRelease(part);
	OSObjectRelease(map);
}
END_TEST

START_TEST(parts_that_meet_inside_a_page_are_not_mapped_together)
{
	IOBufferMemoryDescriptor *a = new_buffer(PAGE + 1), *b = new_buffer(PAGE);
	IOMemoryDescriptor *all = concatenate(as_memory(a), as_memory(b)), *part = NULL;
	IOMemoryMap *map = NULL;

	ck_assert_int_eq(map_with(all, 0, 0, &map), kIOReturnNotAligned);
	ck_assert_ptr_nonnull(strstr(reason_last(), "part 1 of 2"));
	ck_assert_int_eq(IOMemoryDescriptor_CreateMapping(all, 0, 0, PAGE + 1, 0, 0, &map),
			 kIOReturnSuccess); // the second alone
	OSObjectRelease(map);
	ck_assert_int_eq(IOMemoryDescriptor_CreateSubMemoryDescriptor(0, PAGE, 2, all, &part),
			 kIOReturnSuccess);
	ck_assert_int_eq(map_with(part, 0, 0, &map), kIOReturnNotAligned);
	OSObjectRelease(part);
	OSObjectRelease(all);
	OSObjectRelease(a);
	OSObjectRelease(b);
}
END_TEST

START_TEST(bad_concatenations_are_refused)
{
	IOBufferMemoryDescriptor *a = new_buffer(PAGE), *out = NULL, *empty = new_buffer(1);
	IOMemoryDescriptor *many[MEMORY_PARTS_MAX], *all = NULL, *next = NULL;

	IOBufferMemoryDescriptor_Create(kIOMemoryDirectionOut, PAGE, 0, &out);
	IOBufferMemoryDescriptor_SetLength(empty, 0);
	const struct {
		uint64_t options;
		uint32_t count;
		IOMemoryDescriptor *second;
		kern_return_t ret;
	} rows[] = {
		{ 0, 0, as_memory(a), kIOReturnBadArgument },
		{ 0, MEMORY_PARTS_MAX + 1, as_memory(a), kIOReturnBadArgument },
		{ kIOMemoryDisableCopyOnWrite, 2, as_memory(a), kIOReturnBadArgument },
		{ kIOMemoryDirectionIn, 2, as_memory(out), kIOReturnBadArgument },
		{ 0, 2, NULL, kIOReturnBadArgument },
		{ 0, 2, as_memory(empty), kIOReturnBadArgument },
		{ kIOMemoryDirectionOut, 2, as_memory(out), kIOReturnSuccess },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		IOMemoryDescriptor *const both[] = { as_memory(a), rows[i].second };
		reason_clear();
		ck_assert_int_eq(IOMemoryDescriptor_CreateWithMemoryDescriptors(
					 rows[i].options, rows[i].count, both, &all),
				 rows[i].ret);
		ck_assert((*reason_last() == '\0') == (rows[i].ret == kIOReturnSuccess));
	}
	ck_assert_int_eq(memory_share(all, false), kIOReturnUnsupported);
	OSObjectRelease(all);

	/* 32 times 32 pieces are too many. */
	for (unsigned i = 0; i < MEMORY_PARTS_MAX; i++)
		many[i] = as_memory(a);
	ck_assert_int_eq(
		IOMemoryDescriptor_CreateWithMemoryDescriptors(0, MEMORY_PARTS_MAX, many, &all),
		kIOReturnSuccess);
	for (unsigned i = 0; i < MEMORY_PARTS_MAX; i++)
		many[i] = all;
	ck_assert_int_eq(IOMemoryDescriptor_CreateWithMemoryDescriptors(0, 8, many, &next),
			 kIOReturnSuccess);
	OSObjectRelease(next);
	next = NULL;
	ck_assert_int_eq(IOMemoryDescriptor_CreateWithMemoryDescriptors(0, 9, many, &next),
			 kIOReturnNoResources);
	ck_assert_ptr_null(next);
	OSObjectRelease(all);
	OSObjectRelease(a);
	OSObjectRelease(out);
	OSObjectRelease(empty);
}
END_TEST

/* One of two files behind a map shrinks. */
START_TEST(a_concatenation_with_a_lost_part_is_lost)
{
	int peer = peer_file(PAGE);
	IOBufferMemoryDescriptor *a = new_buffer(PAGE);
	IOMemoryDescriptor *memory = NULL;
	IOMemoryMap *map = NULL;

	ck_assert_int_eq(memory_descriptor_create(fcntl(peer, F_DUPFD_CLOEXEC, 0), 0, PAGE,
						  kIOMemoryDirectionInOut, &memory),
			 kIOReturnSuccess);
	IOMemoryDescriptor *all = concatenate(as_memory(a), memory);
	ck_assert_int_eq(map_with(all, 0, 0, &map), kIOReturnSuccess);
	map_bytes(map)[PAGE] = 'x';
	ck_assert(!IOMemoryMap_IsLost(map));
	ck_assert_int_eq(ftruncate(peer, 0), 0);
	ck_assert_int_eq(*(volatile char *)(map_bytes(map) + PAGE), 0);
	ck_assert(IOMemoryMap_IsLost(map));
	OSObjectRelease(map);
	OSObjectRelease(all);
	OSObjectRelease(memory);
	OSObjectRelease(a);
	close(peer);
}
END_TEST

UNIT_TESTS("runtime-memory", a_map_goes_where_it_is_told, guards_are_where_they_were_asked_for,
	   a_cache_mode_is_granted_where_the_memory_has_it, foreign_memory_keeps_its_direction,
	   a_buffer_is_aligned_as_asked, a_concatenation_is_one_range_of_bytes,
	   parts_that_meet_inside_a_page_are_not_mapped_together, bad_concatenations_are_refused,
	   a_concatenation_with_a_lost_part_is_lost, a_buffer_is_sealed_and_mapped,
	   bad_buffers_are_refused, parts_and_maps_show_the_same_bytes,
	   mapped_bytes_are_mapped_once, ranges_outside_are_refused, unknown_options_are_refused,
	   memory_truncated_under_a_map_is_lost, a_file_is_no_longer_than_it_is,
	   read_only_memory_says_so)
