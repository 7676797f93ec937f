/* SPDX-License-Identifier: Apache-2.0 */

/*
 * DMA of a PCI device, with the driver's side and the device's in one process: IODMACommand over
 * the vfio-user backend, and an edu card that a thread serves. The test is a driver that makes
 * mistakes.
 */

#include <base/unit_test.h>

#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <DriverKit/IODMACommand.h>
#include <PCIDriverKit/PCIDriverKit.h>
#include <base/cleanup.h>
#include <base/reason.h>
#include <devices/edu/card.h>
#include <families/family.h>

enum { PAGE = 4096, SIZE = 4 * PAGE };

struct rig {
	struct card card;     // the thread's, but for n_faults
	struct server server; // the thread's
	pthread_t thread;
	int card_fd; // the card's end; owned by the server
	IOService *provider, *client;
	IOPCIDevice *pci;
	IOBufferMemoryDescriptor *buffer;
	uint8_t *bytes; // of the buffer
};

static struct rig rig;

static void *serve(void *unused)
{
	(void)unused;
	while (rig.server.connection_fd >= 0)
		server_dispatch(&rig.server);
	return NULL;
}

/* `direction` is the buffer's. */
static void set_up(uint64_t direction)
{
	int ends[2];
	memset(&rig, 0, sizeof(rig));
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	server_init(&rig.server, &edu_function, &rig.card);
	card_init(&rig.card, &rig.server);
	server_attach(&rig.server, ends[0]);
	rig.card_fd = ends[0];
	ck_assert_int_eq(pthread_create(&rig.thread, NULL, serve, NULL), 0);

	struct device_handover handover = { .fds = { ends[1] }, .n_fds = 1 };
	handover.properties = OSDictionary_withCapacity(1);
	OSString *name = OSString_withCString("vfio-user");
	OSDictionary_setObject(handover.properties, "OpenDextBackend", OSString_as_OSObject(name));
	OSObjectRelease(name);
	kern_return_t ret = family_find("IOPCIDevice")->create_provider(&handover, &rig.provider);
	ck_assert_msg(ret == kIOReturnSuccess, "%s", reason_last());
	OSObjectRelease(handover.properties);

	rig.pci = OSDynamicCast(IOPCIDevice, rig.provider);
	rig.client = OSTypeAlloc(IOService);
	ck_assert(IOService_init(rig.client));
	ck_assert_int_eq(IOPCIDevice_Open(rig.pci, rig.client, 0), kIOReturnSuccess);
	IOPCIDevice_ConfigurationWrite16(rig.pci, kIOPCIConfigurationOffsetCommand,
					 kIOPCICommandMemorySpace | kIOPCICommandBusLead);

	IOAddressSegment range;
	ck_assert_int_eq(IOBufferMemoryDescriptor_Create(direction, SIZE, 0, &rig.buffer),
			 kIOReturnSuccess);
	ck_assert_int_eq(IOBufferMemoryDescriptor_GetAddressRange(rig.buffer, &range),
			 kIOReturnSuccess);
	rig.bytes = (uint8_t *)(uintptr_t)range.address;
	memset(rig.bytes, 'm', SIZE);
}

static void tear_down(void)
{
	OSSafeReleaseNULL(rig.buffer);
	OSSafeReleaseNULL(rig.client);
	OSSafeReleaseNULL(rig.provider);
	ck_assert_int_eq(pthread_join(rig.thread, NULL), 0);
	ck_assert_uint_eq(rig.server.dma.n_areas, 0);
}

/* Prepared for `length` bytes from `offset`; *segment is where they are for the card. */
static IODMACommand *prepare(uint64_t offset, uint64_t length, IOAddressSegment *segment)
{
	const IODMACommandSpecification specification = { .maxAddressBits = 28 };
	IODMACommand *command = NULL;
	uint64_t flags;
	uint32_t n = 1;
	ck_assert_int_eq(IODMACommand_Create(rig.provider, 0, &specification, &command),
			 kIOReturnSuccess);
	kern_return_t ret = IODMACommand_PrepareForDMA(
		command, 0, IOBufferMemoryDescriptor_as_IOMemoryDescriptor(rig.buffer), offset,
		length, &flags, &n, segment);
	ck_assert_msg(ret == kIOReturnSuccess, "%s", reason_last());
	ck_assert_uint_eq(n, 1);
	ck_assert_uint_eq(segment->length, length);
	ck_assert_uint_lt(segment->address + length, 1 << 28);
	return command;
}

static void transfer(uint64_t address, uint64_t count, bool to_memory)
{
	IOPCIDevice_MemoryWrite64(rig.pci, 0, 0x80, to_memory ? CARD_BUFFER : address);
	IOPCIDevice_MemoryWrite64(rig.pci, 0, 0x88, to_memory ? address : CARD_BUFFER);
	IOPCIDevice_MemoryWrite64(rig.pci, 0, 0x90, count);
	IOPCIDevice_MemoryWrite64(rig.pci, 0, 0x98, to_memory ? 3 : 1);
}

/* The card's memory is 'c', `count` of it. */
static void fill_card(uint64_t count)
{
	IOAddressSegment segment;
	IODMACommand *command = prepare(SIZE - PAGE, PAGE, &segment);
	memset(rig.bytes + SIZE - PAGE, 'c', PAGE);
	transfer(segment.address, count, false);
	ck_assert_uint_eq(rig.card.n_faults, 0);
	memset(rig.bytes + SIZE - PAGE, 'm', PAGE);
	OSObjectRelease(command); // completes it
}

static unsigned count_bytes(char byte)
{
	unsigned n = 0;
	for (unsigned i = 0; i < SIZE; i++)
		n += rig.bytes[i] == byte;
	return n;
}

START_TEST(a_card_reads_and_writes_what_is_prepared)
{
	IOAddressSegment segment;
	set_up(kIOMemoryDirectionInOut);
	fill_card(1000);
	IODMACommand *command = prepare(5000, 3000, &segment);
	transfer(segment.address + 7, 1000, true);
	ck_assert_uint_eq(rig.card.n_faults, 0);
	for (unsigned i = 0; i < SIZE; i++)
		ck_assert_int_eq(rig.bytes[i], i >= 5007 && i < 6007 ? 'c' : 'm');
	ck_assert_int_eq(IODMACommand_CompleteDMA(command, 0), kIOReturnSuccess);
	OSObjectRelease(command);
	tear_down();
}
END_TEST

START_TEST(nothing_is_reached_after_completion)
{
	IOAddressSegment segment;
	set_up(kIOMemoryDirectionInOut);
	fill_card(100);
	IODMACommand *command = prepare(0, 100, &segment);
	ck_assert_int_eq(IODMACommand_CompleteDMA(command, 0), kIOReturnSuccess);
	transfer(segment.address, 100, true);
	ck_assert_uint_eq(rig.card.n_faults, 1);
	transfer(segment.address, 100, false);
	ck_assert_uint_eq(rig.card.n_faults, 2);
	ck_assert_uint_eq(count_bytes('m'), SIZE);
	OSObjectRelease(command);
	tear_down();
}
END_TEST

/* Not before the first page, not behind the last, not half of it, and not the wrong way. */
START_TEST(what_is_not_mapped_cannot_be_reached)
{
	IOAddressSegment segment;
	set_up(kIOMemoryDirectionOut);
	IODMACommand *command = prepare(PAGE, PAGE, &segment);
	static const struct {
		int64_t offset;
		uint64_t count;
		bool to_memory;
		bool reached;
	} cases[] = {
		{ 0, PAGE, false, true },  { -1, 1, false, false }, { PAGE - 1, 2, false, false },
		{ PAGE, 1, false, false }, { 0, 1, true, false },   { -(1 << 20), 1, false, false },
	};
	unsigned n_faults = 0;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		transfer(segment.address + (uint64_t)cases[i].offset, cases[i].count,
			 cases[i].to_memory);
		n_faults += !cases[i].reached;
		ck_assert_msg(rig.card.n_faults == n_faults, "case %zu", i);
	}
	ck_assert_uint_eq(count_bytes('m'), SIZE);
	/* Nor without leave to use the bus. */
	IOPCIDevice_ConfigurationWrite16(rig.pci, kIOPCIConfigurationOffsetCommand,
					 kIOPCICommandMemorySpace);
	transfer(segment.address, 1, false);
	ck_assert_uint_eq(rig.card.n_faults, n_faults + 1);
	OSObjectRelease(command);
	tear_down();
}
END_TEST

/* A device has room for so many mappings, and says so. */
START_TEST(a_device_that_takes_no_more_is_an_error)
{
	const IODMACommandSpecification specification = { .maxAddressBits = 0 };
	IODMACommand *commands[DMA_AREAS_MAX], *further = NULL;
	IOAddressSegment segment;
	uint64_t flags;
	uint32_t n = 1;
	set_up(kIOMemoryDirectionInOut);
	for (unsigned i = 0; i < DMA_AREAS_MAX; i++)
		commands[i] = prepare(0, 1, &segment);
	ck_assert_int_eq(IODMACommand_Create(rig.provider, 0, &specification, &further),
			 kIOReturnSuccess);
	IOMemoryDescriptor *memory = IOBufferMemoryDescriptor_as_IOMemoryDescriptor(rig.buffer);
	ck_assert_int_ne(IODMACommand_PrepareForDMA(further, 0, memory, 0, 1, &flags, &n, &segment),
			 kIOReturnSuccess);
	ck_assert_msg(strstr(reason_last(), "refused command 2: No space") != NULL, "%s",
		      reason_last());
	ck_assert_int_eq(IODMACommand_CompleteDMA(further, 0), kIOReturnNotReady);
	ck_assert_int_eq(IODMACommand_CompleteDMA(commands[0], 0), kIOReturnSuccess);
	ck_assert_int_eq(IODMACommand_PrepareForDMA(further, 0, memory, 0, 1, &flags, &n, &segment),
			 kIOReturnSuccess);
	OSObjectRelease(further);
	for (unsigned i = 0; i < DMA_AREAS_MAX; i++)
		OSObjectRelease(commands[i]);
	tear_down();
}
END_TEST

START_TEST(a_device_that_goes_takes_its_mappings_along)
{
	const IODMACommandSpecification specification = { .maxAddressBits = 0 };
	IODMACommand *further = NULL;
	IOAddressSegment segment;
	uint64_t flags;
	uint32_t value, n = 1;
	set_up(kIOMemoryDirectionInOut);
	IODMACommand *command = prepare(0, SIZE, &segment);
	ck_assert_int_eq(shutdown(rig.card_fd, SHUT_RDWR), 0);
	IOPCIDevice_ConfigurationRead32(rig.pci, 0, &value);
	ck_assert_uint_eq(value, UINT32_MAX);
	ck_assert_int_eq(IODMACommand_CompleteDMA(command, 0), kIOReturnSuccess);
	ck_assert_int_eq(IODMACommand_Create(rig.provider, 0, &specification, &further),
			 kIOReturnSuccess);
	ck_assert_int_eq(IODMACommand_PrepareForDMA(
				 further, 0,
				 IOBufferMemoryDescriptor_as_IOMemoryDescriptor(rig.buffer), 0, 1,
				 &flags, &n, &segment),
			 kIOReturnNoDevice);
	OSObjectRelease(further);
	OSObjectRelease(command);
	tear_down();
}
END_TEST

UNIT_TESTS("pci-dma", a_card_reads_and_writes_what_is_prepared, nothing_is_reached_after_completion,
	   what_is_not_mapped_cannot_be_reached, a_device_that_takes_no_more_is_an_error,
	   a_device_that_goes_takes_its_mappings_along)
