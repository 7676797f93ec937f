/* SPDX-License-Identifier: Apache-2.0 */

/*
 * IOPCIDevice as a driver sees it, over a card with one BAR of each kind: 0 registers without a
 * descriptor, 1 I/O space, 2 memory in a file, 3 the upper half of 2, 4 the MSI-X table.
 */

#include <base/unit_test.h>
#include <families/pci/pci_backend.h>

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <PCIDriverKit/PCIDriverKit.h>
#include <base/cleanup.h>
#include <base/fault.h>
#include <base/list.h>
#include <base/reason.h>
#include <families/service/service.h>
#include <runtime/memory.h>

enum { REGISTERS, PORTS, MEMORY, TABLE, N_INDICES }; // memory indices
enum { MEMORY_SIZE = 65536 };

struct card {
	struct pci_backend base;
	uint8_t config[256];
	uint8_t registers[256];
	int memory_fd; // owned
	bool is_open;
	void (*on_lost)(void *context, const char *reason);
	void *context;
};

static struct card card;

static int open_card(struct pci_backend **out, struct device_handover *handover,
		     void (*on_lost)(void *context, const char *reason), void *context)
{
	(void)handover;
	card.is_open = true;
	card.on_lost = on_lost;
	card.context = context;
	*out = &card.base;
	return 0;
}

static void close_card(struct pci_backend *backend)
{
	(void)backend;
	card.is_open = false;
}

static int region_info(struct pci_backend *backend, unsigned region, struct pci_region *info)
{
	static const uint64_t sizes[PCI_N_REGIONS] = {
		[0] = 256, [1] = 64, [2] = MEMORY_SIZE, [4] = 4096, [PCI_REGION_CONFIG] = 256
	};
	(void)backend;
	*info = (struct pci_region){ .size = sizes[region],
				     .readable = sizes[region] != 0,
				     .writable = sizes[region] != 0,
				     .mappable = region == 2 };
	return 0;
}

static uint8_t *place(unsigned region, uint64_t offset)
{
	ck_assert(region == PCI_REGION_CONFIG || region == 0);
	return region == PCI_REGION_CONFIG ? &card.config[offset] : &card.registers[offset];
}

static int read_card(struct pci_backend *backend, unsigned region, uint64_t offset, void *data,
		     size_t size)
{
	(void)backend;
	memcpy(data, place(region, offset), size);
	return 0;
}

static int write_card(struct pci_backend *backend, unsigned region, uint64_t offset,
		      const void *data, size_t size)
{
	(void)backend;
	memcpy(place(region, offset), data, size);
	return 0;
}

static int region_fd(struct pci_backend *backend, unsigned region, int *fd, uint64_t *offset)
{
	(void)backend;
	if (region != 2) {
		refuse(kIOReturnUnsupported, "this machine has no descriptor for BAR%u", region);
		return -EOPNOTSUPP;
	}
	*fd = fcntl(card.memory_fd, F_DUPFD_CLOEXEC, 0);
	*offset = 4096;
	return 0;
}

static int irq_count(struct pci_backend *backend, enum pci_irq kind, unsigned *count)
{
	(void)backend;
	(void)kind;
	*count = 0;
	return 0;
}

static int set_irq(struct pci_backend *backend, const struct pci_vector *vector, int event_fd)
{
	(void)backend;
	(void)event_fd;
	refuse(kIOReturnUnsupported, "the card has no interrupts of kind %d", vector->kind);
	return -EOPNOTSUPP;
}

static int unmask_intx(struct pci_backend *backend)
{
	(void)backend;
	return 0;
}

static const struct pci_backend_ops card_backend = {
	.name = "card",
	.open = open_card,
	.close = close_card,
	.region_info = region_info,
	.read = read_card,
	.write = write_card,
	.region_fd = region_fd,
	.irq_count = irq_count,
	.set_irq = set_irq,
	.unmask_intx = unmask_intx,
};

static void put(uint64_t offset, uint64_t value, size_t size)
{
	memcpy(&card.config[offset], &value, size);
}

static void set_up_card(void)
{
	memset(&card, 0, sizeof(card));
	put(kIOPCIConfigurationOffsetVendorID, 0x11101af4, 4);
	put(kIOPCIConfigurationOffsetStatus, kIOPCIStatusCapabilities, 2);
	put(kIOPCIConfigurationOffsetRevisionID, 0x05000001, 4);
	put(kIOPCIConfigurationOffsetBaseAddress1, kPCIBARTypeIO, 4);
	put(kIOPCIConfigurationOffsetBaseAddress2, kPCIBARTypeM64PF, 4);
	put(kIOPCIConfigurationOffsetSubSystemVendorID, 0x11001af4, 4);
	put(kIOPCIConfigurationOffsetCapabilitiesPtr, 0x40, 1);
	put(0x40, kIOPCICapabilityIDMSIX, 2);
	put(0x44, 4, 4);
	card.memory_fd = memfd_create("bar2", MFD_CLOEXEC);
	ck_assert_int_eq(ftruncate(card.memory_fd, 4096 + MEMORY_SIZE), 0);
	if (pci_backend_find("card") == NULL)
		pci_backend_register(&card_backend);
	ck_assert_int_eq(fault_handler_install(), 0);
}

static void set_number(OSDictionary *properties, const char *key, uint64_t value)
{
	OSNumber *number = OSNumber_withNumber(value, 32);
	OSDictionary_setObject(properties, key, OSNumber_as_OSObject(number));
	OSObjectRelease(number);
}

static const struct family_ops *family(void)
{
	const struct family_ops *ops = family_find("IOPCIDevice");
	ck_assert_ptr_nonnull(ops);
	return ops;
}

/* The properties that matching worked with. */
static OSDictionary *make_properties(uint64_t device_id)
{
	OSDictionary *properties = OSDictionary_withCapacity(3);
	OSString *name = OSString_withCString("card");
	OSDictionary_setObject(properties, "OpenDextBackend", OSString_as_OSObject(name));
	OSObjectRelease(name);
	set_number(properties, "vendor-id", 0x1af4);
	set_number(properties, "device-id", device_id);
	return properties;
}

static IOService *make_client(void)
{
	IOService *client = OSTypeAlloc(IOService);
	ck_assert(IOService_init(client));
	return client;
}

/* A device and a service, which has it open if `open`. */
struct rig {
	IOService *provider;
	IOPCIDevice *pci;
	IOService *client;
};

static void rig_init(struct rig *rig, bool open)
{
	set_up_card();
	OSDictionary *properties = make_properties(0x1110);
	struct device_handover handover = { .properties = properties };
	kern_return_t ret = family()->create_provider(&handover, &rig->provider);
	ck_assert_msg(ret == kIOReturnSuccess, "%s", reason_last());
	OSObjectRelease(properties);
	rig->pci = OSDynamicCast(IOPCIDevice, rig->provider);
	ck_assert_ptr_nonnull(rig->pci);
	rig->client = make_client();
	if (open)
		ck_assert_int_eq(IOPCIDevice_Open(rig->pci, rig->client, 0), kIOReturnSuccess);
}

static void rig_deinit(struct rig *rig)
{
	OSSafeReleaseNULL(rig->client);
	OSSafeReleaseNULL(rig->provider);
	ck_assert(!card.is_open);
	close_fdp(&card.memory_fd);
}

static void expect_reason(const char *part)
{
	ck_assert_msg(strstr(reason_last(), part) != NULL, "%s", reason_last());
}

/* --- sessions --- */

START_TEST(session_is_exclusive)
{
	struct rig rig;
	rig_init(&rig, true);
	IOService *other = make_client();
	ck_assert_int_eq(IOPCIDevice_Open(rig.pci, other, 0), kIOReturnExclusiveAccess);
	expect_reason("another service has the device open");
	ck_assert_int_eq(IOPCIDevice_Open(rig.pci, rig.client, 0), kIOReturnExclusiveAccess);
	expect_reason("this service already");
	IOPCIDevice_Close(rig.pci, other, 0); // not its to close
	ck_assert_int_eq(IOPCIDevice_Open(rig.pci, other, 0), kIOReturnExclusiveAccess);
	IOPCIDevice_Close(rig.pci, rig.client, 0);
	ck_assert_int_eq(IOPCIDevice_Open(rig.pci, other, 0), kIOReturnSuccess);
	IOPCIDevice_Close(rig.pci, other, 0);
	OSObjectRelease(other);
	rig_deinit(&rig);
}
END_TEST

START_TEST(open_takes_a_service)
{
	struct rig rig;
	rig_init(&rig, false);
	ck_assert_int_eq(IOPCIDevice_Open(rig.pci, NULL, 0), kIOReturnBadArgument);
	ck_assert_int_eq(IOPCIDevice_Open(rig.pci, rig.client, 1), kIOReturnBadArgument);
	ck_assert_int_eq(IOPCIDevice_Open(NULL, rig.client, 0), kIOReturnBadArgument);
	IOPCIDevice_Close(rig.pci, NULL, 0);
	IOPCIDevice_Close(NULL, rig.client, 0);
	rig_deinit(&rig);
}
END_TEST

START_TEST(close_makes_the_device_quiet)
{
	struct rig rig;
	rig_init(&rig, true);
	put(kIOPCIConfigurationOffsetCommand, 0x0407, 2);
	IOPCIDevice_Close(rig.pci, rig.client, 0);
	ck_assert_uint_eq(card.config[kIOPCIConfigurationOffsetCommand], 0x01);
	ck_assert_uint_eq(card.config[kIOPCIConfigurationOffsetCommand + 1], 0x04);
	rig_deinit(&rig);
}
END_TEST

/* What Stop forgot is done when the service has stopped. */
START_TEST(stopped_client_is_closed)
{
	struct rig rig;
	rig_init(&rig, true);
	IOService *other = make_client();
	put(kIOPCIConfigurationOffsetCommand, 0x0006, 2);
	family()->client_stopped(rig.provider, other);
	ck_assert_uint_eq(card.config[kIOPCIConfigurationOffsetCommand], 6);
	family()->client_stopped(rig.provider, rig.client);
	ck_assert_uint_eq(card.config[kIOPCIConfigurationOffsetCommand], 0);
	ck_assert_int_eq(IOPCIDevice_Open(rig.pci, other, 0), kIOReturnSuccess);
	OSObjectRelease(other);
	rig_deinit(&rig);
}
END_TEST

/* Nobody would close it again. */
START_TEST(a_service_that_stopped_opens_nothing)
{
	struct rig rig;
	rig_init(&rig, true);
	put(kIOPCIConfigurationOffsetCommand, 0x0006, 2);
	IOPCIDevice_Close(rig.pci, rig.client, 0);
	service_stop(rig.client);
	ck_assert_int_eq(IOPCIDevice_Open(rig.pci, rig.client, 0), kIOReturnOffline);
	expect_reason("IOService stops or has stopped");
	IOService *other = make_client();
	ck_assert_int_eq(IOPCIDevice_Open(rig.pci, other, 0), kIOReturnSuccess);
	OSObjectRelease(other);
	rig_deinit(&rig);
}
END_TEST

/* --- accesses --- */

START_TEST(nothing_answers_without_a_session)
{
	struct rig rig;
	rig_init(&rig, false);
	uint8_t u8 = 0;
	uint16_t u16 = 0;
	uint32_t u32 = 0;
	uint64_t u64 = 0, offset;
	IOPCIDevice_ConfigurationRead8(rig.pci, 0, &u8);
	IOPCIDevice_ConfigurationRead16(rig.pci, 0, &u16);
	IOPCIDevice_ConfigurationRead32(rig.pci, 0, &u32);
	IOPCIDevice_MemoryRead64(rig.pci, MEMORY, 0, &u64);
	ck_assert(u8 == UINT8_MAX && u16 == UINT16_MAX && u32 == UINT32_MAX && u64 == UINT64_MAX);
	IOPCIDevice_ConfigurationWrite32(rig.pci, 0x3c, 0x12345678);
	ck_assert_uint_eq(card.config[0x3c], 0);
	IOPCIDevice_MemoryWrite8(rig.pci, REGISTERS, 0, 1);
	ck_assert_uint_eq(card.registers[0], 0);
	ck_assert_int_eq(IOPCIDevice_FindPCICapability(rig.pci, kIOPCICapabilityIDMSIX, 0, &offset),
			 kIOReturnNotOpen);
	rig_deinit(&rig);
}
END_TEST

START_TEST(configuration_is_read_and_written)
{
	struct rig rig;
	rig_init(&rig, true);
	uint8_t u8;
	uint16_t u16;
	uint32_t u32;
	IOPCIDevice_ConfigurationWrite32(rig.pci, 0x3c, 0x44332211);
	IOPCIDevice_ConfigurationWrite16(rig.pci, 0x3c, 0x6655);
	IOPCIDevice_ConfigurationWrite8(rig.pci, 0x3f, 0x77);
	IOPCIDevice_ConfigurationRead8(rig.pci, 0x3d, &u8);
	IOPCIDevice_ConfigurationRead16(rig.pci, 0x3e, &u16);
	IOPCIDevice_ConfigurationRead32(rig.pci, 0x3c, &u32);
	ck_assert_uint_eq(u8, 0x66);
	ck_assert_uint_eq(u16, 0x7733);
	ck_assert_uint_eq(u32, 0x77336655);
	IOPCIDevice_ConfigurationRead32(rig.pci, 256, &u32);
	ck_assert_uint_eq(u32, UINT32_MAX);
	IOPCIDevice_ConfigurationRead16(rig.pci, 1, &u16);
	ck_assert_uint_eq(u16, UINT16_MAX);
	IOPCIDevice_ConfigurationWrite32(rig.pci, UINT64_MAX, 0);
	rig_deinit(&rig);
}
END_TEST

/* Each width, in a BAR that is mapped and in one that the backend reads. */
static void check_widths(IOPCIDevice *pci, uint8_t index)
{
	uint8_t u8;
	uint16_t u16;
	uint32_t u32;
	uint64_t u64;
	IOPCIDevice_MemoryWrite64(pci, index, 16, 0x8877665544332211);
	IOPCIDevice_MemoryWrite32(pci, index, 20, 0xddccbbaa);
	IOPCIDevice_MemoryWrite16(pci, index, 18, 0x0ff0);
	IOPCIDevice_MemoryWrite8(pci, index, 16, 0x99);
	IOPCIDevice_MemoryRead8(pci, index, 17, &u8);
	IOPCIDevice_MemoryRead16(pci, index, 18, &u16);
	IOPCIDevice_MemoryRead32(pci, index, 16, &u32);
	IOPCIDevice_MemoryRead64(pci, index, 16, &u64);
	ck_assert_uint_eq(u8, 0x22);
	ck_assert_uint_eq(u16, 0x0ff0);
	ck_assert_uint_eq(u32, 0x0ff02299);
	ck_assert_uint_eq(u64, 0xddccbbaa0ff02299);
}

START_TEST(memory_is_read_and_written)
{
	struct rig rig;
	uint64_t value;
	rig_init(&rig, true);
	check_widths(rig.pci, REGISTERS);
	check_widths(rig.pci, MEMORY);
	memcpy(&value, &card.registers[16], sizeof(value));
	ck_assert_uint_eq(value, 0xddccbbaa0ff02299);
	ck_assert_int_eq(pread(card.memory_fd, &value, sizeof(value), 4096 + 16), 8);
	ck_assert_uint_eq(value, 0xddccbbaa0ff02299);
	rig_deinit(&rig);
}
END_TEST

START_TEST(memory_accesses_are_bounded)
{
	static const struct {
		uint8_t index;
		uint64_t offset;
	} cases[] = {
		{ REGISTERS, 256 },
		{ REGISTERS, 253 },
		{ REGISTERS, 2 },
		{ REGISTERS, UINT64_MAX },
		{ REGISTERS, UINT64_MAX - 3 },
		{ MEMORY, MEMORY_SIZE },
		{ MEMORY, MEMORY_SIZE - 2 },
		{ MEMORY, UINT64_MAX - 3 },
		{ MEMORY, 1 },
		{ N_INDICES, 0 },
		{ 255, 0 },
	};
	struct rig rig;
	rig_init(&rig, true);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint32_t value = 0;
		IOPCIDevice_MemoryWrite32(rig.pci, cases[i].index, cases[i].offset, 1);
		IOPCIDevice_MemoryRead32(rig.pci, cases[i].index, cases[i].offset, &value);
		ck_assert_msg(value == UINT32_MAX, "case %zu", i);
	}
	rig_deinit(&rig);
}
END_TEST

/* --- layout and memory for others --- */

START_TEST(bars_are_described)
{
	struct rig rig;
	uint8_t index, type;
	uint64_t size;
	rig_init(&rig, false);
	ck_assert_int_eq(IOPCIDevice_GetBARInfo(rig.pci, 2, &index, &size, &type),
			 kIOReturnSuccess);
	ck_assert_uint_eq(index, MEMORY);
	ck_assert_uint_eq(size, MEMORY_SIZE);
	ck_assert_uint_eq(type, kPCIBARTypeM64PF);
	ck_assert_int_eq(IOPCIDevice_GetBARInfo(rig.pci, 4, &index, NULL, NULL), kIOReturnSuccess);
	ck_assert_uint_eq(index, TABLE);
	ck_assert_int_eq(IOPCIDevice_GetBARInfo(rig.pci, 0, NULL, NULL, NULL), kIOReturnSuccess);
	ck_assert_int_eq(IOPCIDevice_GetBARInfo(rig.pci, 3, NULL, NULL, NULL), kIOReturnNotFound);
	ck_assert_int_eq(IOPCIDevice_GetBARInfo(rig.pci, 6, NULL, NULL, NULL), kIOReturnNotFound);
	ck_assert_int_eq(IOPCIDevice_GetBARInfo(rig.pci, 7, NULL, NULL, NULL),
			 kIOReturnBadArgument);
	rig_deinit(&rig);
}
END_TEST

START_TEST(device_memory_is_given_to_its_holder)
{
	struct rig rig;
	IOMemoryDescriptor *memory = NULL, *again = NULL;
	uint64_t length;
	rig_init(&rig, true);
	ck_assert_int_eq(
		IOPCIDevice_CopyDeviceMemoryWithIndex(rig.pci, MEMORY, &memory, rig.client),
		kIOReturnSuccess);
	ck_assert_int_eq(IOPCIDevice_CopyDeviceMemoryWithIndex(rig.pci, MEMORY, &again, rig.client),
			 kIOReturnSuccess);
	ck_assert_ptr_eq(memory, again);
	ck_assert_int_eq(IOMemoryDescriptor_GetLength(memory, &length), kIOReturnSuccess);
	ck_assert_uint_eq(length, MEMORY_SIZE);
	struct memory_backing backing;
	memory_get_backing(memory, &backing);
	ck_assert_uint_eq(backing.offset, 4096);
	OSObjectRelease(again);
	IOPCIDevice_Close(rig.pci, rig.client, 0);
	OSObjectRelease(memory);
	rig_deinit(&rig);
}
END_TEST

START_TEST(device_memory_is_refused_with_a_reason)
{
	struct rig rig;
	IOMemoryDescriptor *memory = NULL;
	rig_init(&rig, false);
	IOService *other = make_client();
	ck_assert_int_eq(
		IOPCIDevice_CopyDeviceMemoryWithIndex(rig.pci, MEMORY, &memory, rig.client),
		kIOReturnNotOpen);
	expect_reason("forClient (IOService) does not have the device open: call IOPCIDevice_Open");
	ck_assert_int_eq(IOPCIDevice_Open(rig.pci, rig.client, 0), kIOReturnSuccess);
	static const struct {
		uint64_t index;
		kern_return_t ret;
		const char *reason;
	} cases[] = {
		{ REGISTERS, kIOReturnUnsupported, "no descriptor for BAR0" },
		{ PORTS, kIOReturnUnsupported, "BAR1 is I/O space" },
		{ TABLE, kIOReturnUnsupported, "BAR4 holds the MSI-X table" },
		{ N_INDICES, kIOReturnBadArgument, "memory index 4: the device has 4" },
		{ UINT64_MAX, kIOReturnBadArgument, "the device has 4" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_int_eq(IOPCIDevice_CopyDeviceMemoryWithIndex(rig.pci, cases[i].index,
								       &memory, rig.client),
				 cases[i].ret);
		expect_reason(cases[i].reason);
	}
	ck_assert_int_eq(IOPCIDevice_CopyDeviceMemoryWithIndex(rig.pci, MEMORY, &memory, other),
			 kIOReturnNotOpen);
	ck_assert_int_eq(IOPCIDevice_CopyDeviceMemoryWithIndex(rig.pci, MEMORY, NULL, rig.client),
			 kIOReturnBadArgument);
	ck_assert_int_eq(IOPCIDevice_CopyDeviceMemoryWithIndex(rig.pci, MEMORY, &memory, NULL),
			 kIOReturnBadArgument);
	ck_assert_ptr_null(memory);
	OSObjectRelease(other);
	rig_deinit(&rig);
}
END_TEST

/* The file behind a BAR is cut while it is mapped: an error, and no death. */
START_TEST(vanished_memory_is_an_error)
{
	struct rig rig;
	IOMemoryDescriptor *memory = NULL;
	IOMemoryMap *map = NULL;
	uint32_t value = 0;
	rig_init(&rig, true);
	IOPCIDevice_MemoryWrite32(rig.pci, MEMORY, 0, 1234);
	IOPCIDevice_MemoryRead32(rig.pci, MEMORY, 0, &value);
	ck_assert_uint_eq(value, 1234);
	ck_assert_int_eq(
		IOPCIDevice_CopyDeviceMemoryWithIndex(rig.pci, MEMORY, &memory, rig.client),
		kIOReturnSuccess);
	ck_assert_int_eq(IOMemoryDescriptor_CreateMapping(memory, 0, 0, 0, 0, 0, &map),
			 kIOReturnSuccess);
	ck_assert(!IOMemoryMap_IsLost(map));

	ck_assert_int_eq(ftruncate(card.memory_fd, 0), 0);
	IOPCIDevice_MemoryRead32(rig.pci, MEMORY, 0, &value);
	ck_assert_uint_eq(value, UINT32_MAX);
	IOPCIDevice_MemoryWrite32(rig.pci, MEMORY, 0, 1);
	const volatile uint32_t *bytes = (void *)(uintptr_t)IOMemoryMap_GetAddress(map);
	ck_assert_uint_eq(*bytes, 0);
	ck_assert(IOMemoryMap_IsLost(map));
	OSObjectRelease(map);
	OSObjectRelease(memory);
	rig_deinit(&rig);
}
END_TEST

START_TEST(capabilities_are_found)
{
	struct rig rig;
	uint64_t offset = 0;
	rig_init(&rig, true);
	ck_assert_int_eq(IOPCIDevice_FindPCICapability(rig.pci, kIOPCICapabilityIDMSIX, 0, &offset),
			 kIOReturnSuccess);
	ck_assert_uint_eq(offset, 0x40);
	ck_assert_int_eq(IOPCIDevice_FindPCICapability(rig.pci, kIOPCICapabilityIDMSI, 0, &offset),
			 kIOReturnNotFound);
	ck_assert_int_eq(IOPCIDevice_FindPCICapability(rig.pci, kIOPCICapabilityIDMSI, 0, NULL),
			 kIOReturnBadArgument);
	rig_deinit(&rig);
}
END_TEST

/* --- loss --- */

START_TEST(lost_device_answers_nothing)
{
	struct rig rig;
	uint32_t value = 0;
	rig_init(&rig, true);
	card.registers[0] = 1;
	card.on_lost(card.context, "pulled out");
	IOPCIDevice_MemoryRead32(rig.pci, REGISTERS, 0, &value);
	ck_assert_uint_eq(value, UINT32_MAX);
	IOPCIDevice_MemoryRead32(rig.pci, MEMORY, 0, &value);
	ck_assert_uint_eq(value, UINT32_MAX);
	IOPCIDevice_ConfigurationRead32(rig.pci, 0, &value);
	ck_assert_uint_eq(value, UINT32_MAX);
	IOPCIDevice_Close(rig.pci, rig.client, 0);
	ck_assert_int_eq(IOPCIDevice_Open(rig.pci, rig.client, 0), kIOReturnNoDevice);
	rig_deinit(&rig);
}
END_TEST

START_TEST(changed_device_is_not_the_matched_one)
{
	IOService *provider = NULL;
	set_up_card();
	struct device_handover handover = { .properties = make_properties(0x1234) };
	ck_assert_int_eq(family()->create_provider(&handover, &provider), kIOReturnNoDevice);
	expect_reason("matched as 1af4:1234 and is now 1af4:1110");
	ck_assert_ptr_null(provider);
	ck_assert(!card.is_open);
	OSObjectRelease(handover.properties);
	close_fdp(&card.memory_fd);
}
END_TEST

/* --- identity --- */

static uint32_t number(OSDictionary *entry, const char *key)
{
	OSNumber *value = OSDynamicCast(OSNumber, OSDictionary_getObject(entry, key));
	ck_assert_msg(value != NULL, "%s", key);
	return OSNumber_unsigned32BitValue(value);
}

START_TEST(identity_is_what_matching_wants)
{
	OSArray *identity = NULL;
	set_up_card();
	struct device_handover handover = { .properties = make_properties(0x1110) };
	ck_assert_int_eq(family()->copy_identity(&handover, &identity), kIOReturnSuccess);
	ck_assert_uint_eq(OSArray_getCount(identity), 1);
	OSDictionary *entry = OSDynamicCast(OSDictionary, OSArray_getObject(identity, 0));
	ck_assert_ptr_nonnull(entry);
	ck_assert_uint_eq(number(entry, "vendor-id"), 0x1af4);
	ck_assert_uint_eq(number(entry, "device-id"), 0x1110);
	ck_assert_uint_eq(number(entry, "subsystem-vendor-id"), 0x1af4);
	ck_assert_uint_eq(number(entry, "subsystem-id"), 0x1100);
	ck_assert_uint_eq(number(entry, "class-code"), 0x050000);
	ck_assert_uint_eq(number(entry, "revision-id"), 1);
	OSString *class_name =
		OSDynamicCast(OSString, OSDictionary_getObject(entry, "IOProviderClass"));
	ck_assert(OSString_isEqualToCString(class_name, "IOPCIDevice"));
	ck_assert(!card.is_open);
	OSObjectRelease(identity);
	OSObjectRelease(handover.properties);
	close_fdp(&card.memory_fd);
}
END_TEST

UNIT_TESTS("pci-device", session_is_exclusive, open_takes_a_service, close_makes_the_device_quiet,
	   stopped_client_is_closed, a_service_that_stopped_opens_nothing,
	   nothing_answers_without_a_session, configuration_is_read_and_written,
	   memory_is_read_and_written, memory_accesses_are_bounded, bars_are_described,
	   device_memory_is_given_to_its_holder, device_memory_is_refused_with_a_reason,
	   vanished_memory_is_an_error, capabilities_are_found, lost_device_answers_nothing,
	   changed_device_is_not_the_matched_one, identity_is_what_matching_wants)
