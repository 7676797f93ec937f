/* SPDX-License-Identifier: Apache-2.0 */

/*
 * DMA commands over a software IOMMU: a page table in memory, that a device's reads and writes go
 * through, and that fails where a test wants it to. It is stricter than hardware: it refuses what
 * overlaps, what is no page, and an unmap that is not exactly one map.
 */

#include <base/unit_test.h>

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <DriverKit/IODMACommand.h>
#include <base/reason.h>
#include <families/service/iommu.h>
#include <families/service/service.h>
#include <runtime/memory.h>

enum { PAGE = 4096, ENTRIES_MAX = 300 };

struct entry {
	uint64_t address, length;
	uint8_t *bytes; // NULL: free
	bool readable, writable;
};

static struct table {
	struct entry entries[ENTRIES_MAX];
	unsigned n_mapped, n_maps, n_unmaps;
	unsigned fail_at; // this map of all fails; 0: none
} table;

static void *close_it(void *context)
{
	iommu_close(context);
	return NULL;
}

static kern_return_t map(void *context, const struct iommu_mapping *m)
{
	struct table *t = context;
	if (++t->n_maps == t->fail_at)
		return refuse(kIOReturnNoSpace, "the table is full");
	ck_assert(m->address % PAGE == 0 && m->length % PAGE == 0 && m->offset % PAGE == 0);
	ck_assert(m->address != 0 && m->length != 0 && (m->readable || m->writable));
	struct entry *unused = NULL;
	for (unsigned i = 0; i < ENTRIES_MAX; i++) {
		struct entry *e = &t->entries[i];
		if (e->bytes == NULL)
			unused = e;
		else
			ck_assert(m->address + m->length <= e->address ||
				  e->address + e->length <= m->address);
	}
	ck_assert_ptr_nonnull(unused);
	void *bytes =
		mmap(NULL, m->length, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, (off_t)m->offset);
	ck_assert_ptr_ne(bytes, MAP_FAILED);
	*unused = (struct entry){ m->address, m->length, bytes, m->readable, m->writable };
	t->n_mapped++;
	return kIOReturnSuccess;
}

static void unmap(void *context, uint64_t address, uint64_t length)
{
	struct table *t = context;
	for (unsigned i = 0; i < ENTRIES_MAX; i++) {
		struct entry *e = &t->entries[i];
		if (e->bytes == NULL || e->address != address || e->length != length)
			continue;
		munmap(e->bytes, e->length);
		e->bytes = NULL;
		t->n_mapped--;
		t->n_unmaps++;
		return;
	}
	ck_abort_msg("an unmap that is not exactly one map");
}

static const struct iommu_ops table_ops = { .map = map, .unmap = unmap };

/* What the device sees at an address; NULL: a fault. */
static uint8_t *device_byte(uint64_t address, bool writing)
{
	for (unsigned i = 0; i < ENTRIES_MAX; i++) {
		struct entry *e = &table.entries[i];
		if (e->bytes != NULL && address >= e->address && address - e->address < e->length &&
		    (writing ? e->writable : e->readable))
			return &e->bytes[address - e->address];
	}
	return NULL;
}

/* --- a device with DMA --- */

static IOService *device;
static struct iommu *iommu;

static void set_up_with(uint64_t first, uint64_t last)
{
	const struct iommu_limits limits = { .page_size = PAGE,
					     .ranges = { { first, last } },
					     .n_ranges = 1 };
	device = OSTypeAlloc(IOService);
	ck_assert(IOService_init(device));
	ck_assert_int_eq(iommu_open(&iommu, &table_ops, &table, &limits), kIOReturnSuccess);
	service_set_iommu(device, iommu);
}

static void set_up(void)
{
	set_up_with(0, UINT64_MAX);
}

static void tear_down(void)
{
	OSSafeReleaseNULL(device);
	iommu_close(iommu);
	iommu = iommu_unref(iommu);
	ck_assert_uint_eq(table.n_mapped, 0);
	ck_assert_uint_eq(table.n_unmaps + (table.fail_at != 0), table.n_maps);
}

static IODMACommand *new_command(uint64_t bits)
{
	const IODMACommandSpecification specification = { .maxAddressBits = bits };
	IODMACommand *command = NULL;
	ck_assert_int_eq(IODMACommand_Create(device, 0, &specification, &command),
			 kIOReturnSuccess);
	return command;
}

static IOMemoryDescriptor *new_memory(uint64_t length, uint64_t direction, char byte)
{
	IOBufferMemoryDescriptor *buffer = NULL;
	IOAddressSegment range;
	ck_assert_int_eq(IOBufferMemoryDescriptor_Create(direction, length, 0, &buffer),
			 kIOReturnSuccess);
	IOBufferMemoryDescriptor_GetAddressRange(buffer, &range);
	memset((void *)(uintptr_t)range.address, byte, length);
	return IOBufferMemoryDescriptor_as_IOMemoryDescriptor(buffer);
}

/* `n` parts that do not meet at pages: each has 100 bytes. */
static IOMemoryDescriptor *new_scattered(unsigned n)
{
	IOMemoryDescriptor *parts[MEMORY_PIECES_MAX], *made = NULL;
	for (unsigned i = 0; i < n; i++)
		parts[i] = new_memory(100, kIOMemoryDirectionInOut, (char)('a' + i));
	ck_assert_int_eq(memory_concatenate(kIOMemoryDirectionInOut, n, parts, &made),
			 kIOReturnSuccess);
	for (unsigned i = 0; i < n; i++)
		OSObjectRelease(parts[i]);
	return made;
}

static kern_return_t prepare(IODMACommand *command, IOMemoryDescriptor *memory, uint64_t offset,
			     uint64_t length, uint32_t *n, IOAddressSegment *segments)
{
	uint64_t flags = 77;
	kern_return_t ret =
		IODMACommand_PrepareForDMA(command, 0, memory, offset, length, &flags, n, segments);
	struct memory_backing backing;
	memory_get_backing(memory, &backing);
	ck_assert_uint_eq(flags, ret == kIOReturnSuccess ? backing.direction : 77);
	return ret;
}

static uint8_t *bytes_of(IOMemoryDescriptor *memory)
{
	void *bytes = NULL;
	uint64_t length;
	ck_assert_int_eq(memory_get_bytes(memory, &bytes, &length), kIOReturnSuccess);
	return bytes;
}

/* --- reach --- */

START_TEST(a_device_reaches_what_is_prepared_and_no_longer)
{
	set_up();
	IODMACommand *command = new_command(64);
	IOMemoryDescriptor *memory = new_memory(3 * PAGE, kIOMemoryDirectionInOut, 'm');
	IOAddressSegment segment;
	uint32_t n = 1;
	ck_assert_int_eq(prepare(command, memory, 100, PAGE, &n, &segment), kIOReturnSuccess);
	ck_assert_uint_eq(n, 1);
	ck_assert_uint_eq(segment.length, PAGE);
	ck_assert_uint_eq(segment.address % PAGE, 100);
	ck_assert_int_eq(*device_byte(segment.address, false), 'm');
	*device_byte(segment.address + PAGE - 1, true) = 'd';
	ck_assert_int_eq(bytes_of(memory)[100 + PAGE - 1], 'd');
	ck_assert_int_eq(prepare(command, memory, 0, 0, &n, &segment), kIOReturnBusy);

	ck_assert_int_eq(IODMACommand_CompleteDMA(command, 0), kIOReturnSuccess);
	ck_assert_ptr_null(device_byte(segment.address, false));
	ck_assert_int_eq(IODMACommand_CompleteDMA(command, 0), kIOReturnNotReady);
	ck_assert_int_eq(prepare(command, memory, 0, 0, &n, &segment), kIOReturnSuccess);
	ck_assert_uint_eq(segment.length, 3 * PAGE);
	OSObjectRelease(memory); // the command keeps it
	ck_assert_int_eq(*device_byte(segment.address + 100 + PAGE - 1, false), 'd');
	OSObjectRelease(command); // and its end unmaps
	tear_down();
}
END_TEST

START_TEST(a_direction_is_what_the_device_may_do)
{
	set_up();
	static const uint64_t directions[] = { kIOMemoryDirectionIn, kIOMemoryDirectionOut };
	for (unsigned i = 0; i < 2; i++) {
		IODMACommand *command = new_command(0);
		IOMemoryDescriptor *memory = new_memory(PAGE, directions[i], 'm');
		IOAddressSegment segment;
		uint32_t n = 1;
		ck_assert_int_eq(prepare(command, memory, 0, 0, &n, &segment), kIOReturnSuccess);
		bool in = directions[i] == kIOMemoryDirectionIn;
		ck_assert((device_byte(segment.address, true) != NULL) == in);
		ck_assert((device_byte(segment.address, false) != NULL) == !in);
		OSObjectRelease(memory);
		OSObjectRelease(command);
	}
	tear_down();
}
END_TEST

/* --- segments --- */

START_TEST(parts_that_meet_at_pages_are_one_segment)
{
	set_up();
	IOMemoryDescriptor *parts[3] = { new_memory(PAGE, kIOMemoryDirectionInOut, 'a'),
					 new_memory(2 * PAGE, kIOMemoryDirectionInOut, 'b'),
					 new_memory(10, kIOMemoryDirectionInOut, 'c') };
	IOMemoryDescriptor *all = NULL;
	ck_assert_int_eq(memory_concatenate(kIOMemoryDirectionInOut, 3, parts, &all),
			 kIOReturnSuccess);
	IODMACommand *command = new_command(64);
	IOAddressSegment segment;
	uint32_t n = 1;
	ck_assert_int_eq(prepare(command, all, 4, 0, &n, &segment), kIOReturnSuccess);
	ck_assert_uint_eq(segment.length, 3 * PAGE + 6);
	for (uint64_t i = 0; i < segment.length; i++)
		ck_assert_int_eq(*device_byte(segment.address + i, false), i + 4 < PAGE ? 'a'
									   : i + 4 < 3 * PAGE
										   ? 'b'
										   : 'c');
	OSObjectRelease(command);
	OSObjectRelease(all);
	for (unsigned i = 0; i < 3; i++)
		OSObjectRelease(parts[i]);
	tear_down();
}
END_TEST

START_TEST(too_many_segments_are_an_error_that_says_how_many)
{
	set_up();
	IOMemoryDescriptor *memory = new_scattered(33);
	IODMACommand *command = new_command(64), *second = new_command(64);
	IOAddressSegment segments[kIODMACommandSegmentsMax], rest;
	uint32_t n = kIODMACommandSegmentsMax;
	ck_assert_int_eq(prepare(command, memory, 0, 0, &n, segments), kIOReturnNoSpace);
	ck_assert_ptr_nonnull(strstr(reason_last(), "33 segments are needed"));
	ck_assert_uint_eq(n, 33);
	ck_assert_uint_eq(table.n_maps, 0);
	ck_assert_int_eq(IODMACommand_CompleteDMA(command, 0), kIOReturnNotReady);

	n = kIODMACommandSegmentsMax; // as the reason says
	ck_assert_int_eq(prepare(command, memory, 0, 3200, &n, segments), kIOReturnSuccess);
	ck_assert_uint_eq(n, 32);
	for (uint32_t i = 0; i < n; i++) {
		ck_assert_uint_eq(segments[i].length, 100);
		ck_assert_int_eq(*device_byte(segments[i].address, false), (uint8_t)('a' + i));
	}
	n = 1;
	ck_assert_int_eq(prepare(second, memory, 3200, 0, &n, &rest), kIOReturnSuccess);
	ck_assert_uint_eq(rest.length, 100);
	OSObjectRelease(command);
	OSObjectRelease(second);
	OSObjectRelease(memory);
	tear_down();
}
END_TEST

/* --- addresses --- */

START_TEST(address_bits_are_a_limit)
{
	set_up();
	IODMACommand *low[3] = { new_command(16), new_command(16), new_command(16) };
	IODMACommand *high = new_command(64);
	IOMemoryDescriptor *memory = new_memory(8 * PAGE, kIOMemoryDirectionInOut, 'm');
	IOAddressSegment segment;
	uint32_t n = 1;
	/* 64 KiB but for page 0: once 8 pages, and not a second time. */
	ck_assert_int_eq(prepare(low[0], memory, 0, 0, &n, &segment), kIOReturnSuccess);
	ck_assert_uint_le(segment.address + segment.length, 65536);
	ck_assert_int_eq(prepare(low[1], memory, 0, 0, &n, &segment), kIOReturnNoSpace);
	ck_assert_int_eq(prepare(high, memory, 0, 0, &n, &segment), kIOReturnSuccess);
	ck_assert_int_eq(prepare(low[1], memory, 0, 6 * PAGE, &n, &segment), kIOReturnNoSpace);
	ck_assert_int_eq(IODMACommand_CompleteDMA(low[0], 0), kIOReturnSuccess);
	ck_assert_int_eq(prepare(low[1], memory, 0, 5 * PAGE, &n, &segment), kIOReturnSuccess);
	ck_assert_int_eq(prepare(low[2], memory, 0, 3 * PAGE, &n, &segment), kIOReturnSuccess);
	ck_assert_uint_le(segment.address + segment.length, 65536);
	for (unsigned i = 0; i < 3; i++)
		OSObjectRelease(low[i]);
	OSObjectRelease(high);
	OSObjectRelease(memory);
	tear_down();
}
END_TEST

START_TEST(addresses_are_only_those_of_the_iommu)
{
	set_up_with(0x100000, 0x100000 + 4 * PAGE - 1);
	IODMACommand *a = new_command(64), *b = new_command(20);
	IOMemoryDescriptor *memory = new_memory(5 * PAGE, kIOMemoryDirectionInOut, 'm');
	IOAddressSegment segment;
	uint32_t n = 1;
	ck_assert_int_eq(prepare(a, memory, 0, 0, &n, &segment), kIOReturnNoSpace);
	ck_assert_int_eq(prepare(b, memory, 0, PAGE, &n, &segment), kIOReturnNoSpace);
	ck_assert_int_eq(prepare(a, memory, 0, 4 * PAGE, &n, &segment), kIOReturnSuccess);
	ck_assert_uint_eq(segment.address, 0x100000);
	OSObjectRelease(a);
	OSObjectRelease(b);
	OSObjectRelease(memory);
	tear_down();
}
END_TEST

START_TEST(limits_without_sense_are_refused)
{
	static const struct iommu_limits bad[] = {
		{ .page_size = 0, .ranges = { { 0, 4095 } }, .n_ranges = 1 },
		{ .page_size = 3000, .ranges = { { 0, 2999 } }, .n_ranges = 1 },
		{ .page_size = PAGE, .n_ranges = 0 },
		{ .page_size = PAGE, .n_ranges = IOMMU_RANGES_MAX + 1 },
		{ .page_size = PAGE, .ranges = { { 1, 4095 } }, .n_ranges = 1 },
		{ .page_size = PAGE, .ranges = { { 4096, 4095 } }, .n_ranges = 1 },
		{ .page_size = PAGE, .ranges = { { 0, 4096 } }, .n_ranges = 1 },
		{ .page_size = PAGE, .ranges = { { 4096, 8191 }, { 4096, 8191 } }, .n_ranges = 2 },
	};
	struct iommu *made = NULL;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_int_eq(iommu_open(&made, &table_ops, &table, &bad[i]),
				 kIOReturnDeviceError);
	ck_assert_ptr_null(made);
}
END_TEST

/* --- what goes wrong --- */

/* Each of the maps of one preparation fails once: nothing stays. */
START_TEST(a_map_that_fails_leaves_nothing)
{
	IOMemoryDescriptor *memory = new_scattered(5);
	for (unsigned at = 1; at <= 5; at++) {
		memset(&table, 0, sizeof(table));
		table.fail_at = at;
		set_up();
		IODMACommand *command = new_command(64);
		IOAddressSegment segments[5];
		uint32_t n = 5;
		reason_clear();
		ck_assert_int_ne(prepare(command, memory, 0, 0, &n, segments), kIOReturnSuccess);
		ck_assert_str_eq(reason_last(), "the table is full");
		ck_assert_uint_eq(table.n_mapped, 0);
		ck_assert_int_eq(IODMACommand_CompleteDMA(command, 0), kIOReturnNotReady);
		ck_assert_int_eq(prepare(command, memory, 0, 0, &n, segments), kIOReturnSuccess);
		OSObjectRelease(command);
		tear_down();
	}
	OSObjectRelease(memory);
}
END_TEST

START_TEST(a_device_that_goes_unmaps_once)
{
	set_up();
	IODMACommand *command = new_command(64), *late = new_command(64);
	IOMemoryDescriptor *memory = new_scattered(3);
	IOAddressSegment segments[3];
	uint32_t n = 3;
	ck_assert_int_eq(prepare(command, memory, 0, 0, &n, segments), kIOReturnSuccess);
	iommu_close(iommu);
	ck_assert_uint_eq(table.n_mapped, 0);
	ck_assert_uint_eq(table.n_unmaps, 3);
	ck_assert_int_eq(prepare(late, memory, 0, 0, &n, segments), kIOReturnNoDevice);
	ck_assert_int_eq(IODMACommand_CompleteDMA(command, 0), kIOReturnSuccess);
	ck_assert_uint_eq(table.n_unmaps, 3);
	OSObjectRelease(command);
	OSObjectRelease(late);
	OSObjectRelease(memory);
	tear_down();
}
END_TEST

/* Commands of four threads, and the device goes under them: the table would see a second unmap. */
static void *prepare_often(void *context)
{
	IOMemoryDescriptor *memory = context;
	for (kern_return_t ret = kIOReturnSuccess; ret != kIOReturnNoDevice;) {
		IODMACommand *command = new_command(64);
		IOAddressSegment segments[3];
		uint32_t n = 3;
		ret = prepare(command, memory, 0, 0, &n, segments);
		OSObjectRelease(command);
	}
	return NULL;
}

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;

static int locked_map(void *context, const struct iommu_mapping *m)
{
	pthread_mutex_lock(&table_lock);
	int ret = map(context, m);
	pthread_mutex_unlock(&table_lock);
	return ret;
}

static void locked_unmap(void *context, uint64_t address, uint64_t length)
{
	pthread_mutex_lock(&table_lock);
	unmap(context, address, length);
	pthread_mutex_unlock(&table_lock);
}

START_TEST(a_device_may_go_while_commands_come_and_go)
{
	static const struct iommu_ops ops = { .map = locked_map, .unmap = locked_unmap };
	const struct iommu_limits limits = { .page_size = PAGE,
					     .ranges = { { 0, UINT32_MAX } },
					     .n_ranges = 1 };
	IOMemoryDescriptor *memory = new_scattered(3);
	pthread_t threads[4], closer;
	device = OSTypeAlloc(IOService);
	ck_assert(IOService_init(device));
	ck_assert_int_eq(iommu_open(&iommu, &ops, &table, &limits), kIOReturnSuccess);
	service_set_iommu(device, iommu);
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, prepare_often, memory);
	for (unsigned n = 0; n < 200;) {
		pthread_mutex_lock(&table_lock);
		n = table.n_maps;
		pthread_mutex_unlock(&table_lock);
	}
	pthread_create(&closer, NULL, close_it, iommu);
	pthread_join(closer, NULL);
	ck_assert_uint_eq(table.n_mapped, 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	OSObjectRelease(memory);
	tear_down();
}
END_TEST

START_TEST(bad_arguments_are_refused)
{
	set_up();
	const IODMACommandSpecification good = { .maxAddressBits = 64 };
	const IODMACommandSpecification bad[] = { { .options = 1 },
						  { .maxAddressBits = 65 },
						  { .reserved = { [15] = 1 } } };
	IODMACommand *command = NULL;
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(IODMACommand_Create(device, 0, &bad[i], &command),
				 kIOReturnBadArgument);
	ck_assert_int_eq(IODMACommand_Create(device, 1, &good, &command), kIOReturnBadArgument);
	ck_assert_int_eq(IODMACommand_Create(NULL, 0, &good, &command), kIOReturnBadArgument);
	ck_assert_int_eq(IODMACommand_Create(device, 0, NULL, &command), kIOReturnBadArgument);
	IOService *plain = OSTypeAlloc(IOService);
	ck_assert(IOService_init(plain));
	ck_assert_int_eq(IODMACommand_Create(plain, 0, &good, &command), kIOReturnUnsupported);
	OSObjectRelease(plain);
	ck_assert_ptr_null(command);

	command = new_command(64);
	IOMemoryDescriptor *memory = new_memory(PAGE, kIOMemoryDirectionInOut, 'm');
	IOMemoryDescriptor *nowhere = new_memory(PAGE, kIOMemoryDirectionNone, 'm');
	IOAddressSegment segments[32];
	const struct {
		uint64_t options, offset, length;
		uint32_t room;
		IOMemoryDescriptor *memory;
	} rows[] = {
		{ 1, 0, 0, 1, memory },          { 0, PAGE, 0, 1, memory },
		{ 0, 0, PAGE + 1, 1, memory },   { 0, 1, UINT64_MAX, 1, memory },
		{ 0, UINT64_MAX, 2, 1, memory }, { 0, 0, 0, 0, memory },
		{ 0, 0, 0, 33, memory },         { 0, 0, 0, 1, NULL },
		{ 0, 0, 0, 1, nowhere },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t flags;
		uint32_t n = rows[i].room;
		reason_clear();
		ck_assert_int_eq(IODMACommand_PrepareForDMA(command, rows[i].options,
							    rows[i].memory, rows[i].offset,
							    rows[i].length, &flags, &n, segments),
				 kIOReturnBadArgument);
		ck_assert_str_ne(reason_last(), "");
	}
	ck_assert_int_eq(IODMACommand_CompleteDMA(command, 1), kIOReturnBadArgument);
	ck_assert_int_eq(IODMACommand_GetPreparation(command, NULL, NULL, NULL), kIOReturnNotReady);
	OSObjectRelease(nowhere);
	OSObjectRelease(memory);
	OSObjectRelease(command);
	tear_down();
}
END_TEST

/* --- the processor's side --- */

START_TEST(operations_copy_what_is_prepared)
{
	set_up();
	IODMACommand *command = new_command(64);
	IOMemoryDescriptor *memory = new_scattered(3), *kept = NULL;
	IOMemoryDescriptor *data = new_memory(PAGE, kIOMemoryDirectionInOut, '.');
	IOAddressSegment segments[3];
	uint32_t n = 3;
	uint64_t offset = 0, length = 0;
	enum { READ = 1, WRITE = 2, ZERO = 4 };
	ck_assert_int_eq(IODMACommand_PerformOperation(command, READ, 0, 1, 0, data),
			 kIOReturnNotReady);
	ck_assert_int_eq(prepare(command, memory, 50, 200, &n, segments), kIOReturnSuccess);
	ck_assert_int_eq(IODMACommand_GetPreparation(command, &offset, &length, &kept),
			 kIOReturnSuccess);
	ck_assert(offset == 50 && length == 200 && kept == memory);
	OSObjectRelease(kept);

	ck_assert_int_eq(IODMACommand_PerformOperation(command, READ, 49, 102, 7, data),
			 kIOReturnSuccess);
	ck_assert_int_eq(memcmp(bytes_of(data), ".......abb", 10), 0);
	ck_assert_int_eq(memcmp(bytes_of(data) + 7 + 100, "bc.", 3), 0);
	bytes_of(data)[0] = 'W';
	ck_assert_int_eq(IODMACommand_PerformOperation(command, WRITE, 50, 1, 0, data),
			 kIOReturnSuccess);
	ck_assert_int_eq(*device_byte(segments[1].address, false), 'W');
	ck_assert_int_eq(IODMACommand_PerformOperation(command, ZERO, 0, 200, 0, NULL),
			 kIOReturnSuccess);
	ck_assert_int_eq(*device_byte(segments[1].address, false), 0);
	ck_assert_int_eq(*device_byte(segments[2].address + 49, false), 0);
	ck_assert_int_eq(*device_byte(segments[2].address + 50, false), 'c');

	static const struct {
		uint64_t options, dma, length, data;
		kern_return_t ret;
	} rows[] = {
		{ READ, 0, 201, 0, kIOReturnUnderrun },
		{ READ, 201, 0, 0, kIOReturnUnderrun },
		{ READ, UINT64_MAX, 2, 0, kIOReturnUnderrun },
		{ READ, 0, UINT64_MAX, 1, kIOReturnUnderrun },
		{ WRITE, 0, 2, PAGE - 1, kIOReturnUnderrun },
		{ 0, 0, 1, 0, kIOReturnBadArgument },
		{ READ | WRITE, 0, 1, 0, kIOReturnBadArgument },
		{ 8, 0, 1, 0, kIOReturnBadArgument },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		ck_assert_int_eq(IODMACommand_PerformOperation(command, rows[i].options,
							       rows[i].dma, rows[i].length,
							       rows[i].data, data),
				 rows[i].ret);
	ck_assert_int_eq(IODMACommand_PerformOperation(command, READ, 0, 1, 0, NULL),
			 kIOReturnBadArgument);
	OSObjectRelease(command);
	OSObjectRelease(memory);
	OSObjectRelease(data);
	tear_down();
}
END_TEST

UNIT_TESTS("service-iommu", a_device_reaches_what_is_prepared_and_no_longer,
	   a_direction_is_what_the_device_may_do, parts_that_meet_at_pages_are_one_segment,
	   too_many_segments_are_an_error_that_says_how_many, address_bits_are_a_limit,
	   addresses_are_only_those_of_the_iommu, limits_without_sense_are_refused,
	   a_map_that_fails_leaves_nothing, a_device_that_goes_unmaps_once,
	   a_device_may_go_while_commands_come_and_go, bad_arguments_are_refused,
	   operations_copy_what_is_prepared)
