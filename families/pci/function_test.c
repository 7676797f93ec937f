/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The PCI family over a backend that is an array of bytes, and a file for each BAR that has one:
 * what a device's configuration space can say, right and wrong.
 */

#include <base/unit_test.h>
#include <families/pci/function.h>

#include <errno.h>
#include <string.h>

#include <DriverKit/OSCollections.h>
#include <PCIDriverKit/PCIDefinitions.h>
#include <base/clock.h>
#include <base/list.h>
#include <base/reason.h>

struct card {
	struct pci_backend base;
	uint8_t config[4096];
	struct pci_region regions[PCI_N_REGIONS];
	uint8_t bytes[256]; // of every BAR
	unsigned n_reads;
	void (*on_lost)(void *context, const char *reason);
	void *context;
};

static struct card card;

static int open_card(struct pci_backend **out, struct device_handover *handover,
		     void (*on_lost)(void *context, const char *reason), void *context)
{
	(void)handover;
	card.on_lost = on_lost;
	card.context = context;
	*out = &card.base;
	return 0;
}

static void close_card(struct pci_backend *backend)
{
	(void)backend;
}

static int region_info(struct pci_backend *backend, unsigned region, struct pci_region *info)
{
	(void)backend;
	*info = card.regions[region];
	return 0;
}

static uint8_t *place(unsigned region, uint64_t offset, size_t size)
{
	card.n_reads++;
	ck_assert_uint_le(offset + size, card.regions[region].size);
	return region == PCI_REGION_CONFIG ? &card.config[offset] : &card.bytes[offset];
}

static int read_card(struct pci_backend *backend, unsigned region, uint64_t offset, void *data,
		     size_t size)
{
	(void)backend;
	memcpy(data, place(region, offset, size), size);
	return 0;
}

static int write_card(struct pci_backend *backend, unsigned region, uint64_t offset,
		      const void *data, size_t size)
{
	(void)backend;
	memcpy(place(region, offset, size), data, size);
	return 0;
}

static int region_fd(struct pci_backend *backend, unsigned region, int *fd, uint64_t *offset)
{
	(void)backend;
	(void)region;
	(void)fd;
	(void)offset;
	refuse(kIOReturnUnsupported, "the test's card has no descriptors");
	return -EOPNOTSUPP;
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
	refuse(kIOReturnUnsupported, "the test's card has no interrupts of kind %d", vector->kind);
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

static void set_region(unsigned region, uint64_t size)
{
	card.regions[region] =
		(struct pci_region){ .size = size, .readable = true, .writable = true };
}

/* A function 1af4:1110 without BARs and capabilities. */
static void reset_card(uint64_t config_size)
{
	memset(&card, 0, sizeof(card));
	set_region(PCI_REGION_CONFIG, config_size);
	put(kIOPCIConfigurationOffsetVendorID, 0x1af4, 2);
	put(kIOPCIConfigurationOffsetDeviceID, 0x1110, 2);
	if (pci_backend_find("card") == NULL)
		pci_backend_register(&card_backend);
}

static char loss[REASON_MAX];

static void note_loss(void *context, const char *reason)
{
	(void)context;
	ck_assert_str_eq(loss, "");
	strcpy(loss, reason);
}

static kern_return_t open_function(struct pci_function *function)
{
	OSDictionary *properties = OSDictionary_withCapacity(1);
	OSString *name = OSString_withCString("card");
	OSDictionary_setObject(properties, "OpenDextBackend", OSString_as_OSObject(name));
	OSObjectRelease(name);
	struct device_handover handover = { .properties = properties };
	kern_return_t ret = pci_function_open(function, &handover, note_loss, NULL);
	OSObjectRelease(properties);
	return ret;
}

static void expect_refusal(const char *reason)
{
	struct pci_function function;
	ck_assert_int_ne(open_function(&function), kIOReturnSuccess);
	ck_assert_msg(strstr(reason_last(), reason) != NULL, "%s", reason_last());
}

/* --- layout --- */

static void expect_memory(const struct pci_function *function, unsigned bar, unsigned index,
			  uint8_t type, uint64_t size)
{
	ck_assert_uint_eq(function->memory_of_bar[bar], index);
	ck_assert_uint_eq(function->memories[index].region, bar);
	ck_assert_uint_eq(function->memories[index].type, type);
	ck_assert_uint_eq(function->memories[index].size, size);
}

/* A 64-bit BAR takes two registers and one memory index; the upper register is no BAR, whatever
 * size the device gives for it. */
START_TEST(memory_indices_are_not_bar_numbers)
{
	struct pci_function function;
	reset_card(256);
	set_region(0, 64);
	put(0x10, kPCIBARTypeIO, 4);
	set_region(1, 4096);
	put(0x14, kPCIBARTypeM64PF, 4);
	set_region(2, 8192); // the upper half of BAR1
	set_region(3, 256);
	put(0x1c, kPCIBARTypeM32, 4);
	set_region(5, 512);
	put(0x24, kPCIBARTypeM32PF, 4);
	set_region(PCI_REGION_ROM, 65536);
	ck_assert_int_eq(open_function(&function), kIOReturnSuccess);
	ck_assert_uint_eq(function.n_memories, 5);
	expect_memory(&function, 0, 0, kPCIBARTypeIO, 64);
	expect_memory(&function, 1, 1, kPCIBARTypeM64PF, 4096);
	expect_memory(&function, 3, 2, kPCIBARTypeM32, 256);
	expect_memory(&function, 5, 3, kPCIBARTypeM32PF, 512);
	expect_memory(&function, PCI_REGION_ROM, 4, kPCIBARTypeM32, 65536);
	ck_assert_uint_eq(function.memory_of_bar[2], PCI_NO_MEMORY);
	ck_assert_uint_eq(function.memory_of_bar[4], PCI_NO_MEMORY);
	pci_function_close(&function);
}
END_TEST

START_TEST(last_bar_has_no_second_register)
{
	struct pci_function function;
	reset_card(256);
	set_region(5, 4096);
	put(0x24, kPCIBARTypeM64, 4);
	ck_assert_int_eq(open_function(&function), kIOReturnSuccess);
	ck_assert_uint_eq(function.n_memories, 0);
	pci_function_close(&function);
}
END_TEST

START_TEST(impossible_functions_are_refused)
{
	reset_card(0);
	expect_refusal("has 64 to 4096 bytes, this one 0");
	reset_card(63);
	expect_refusal("this one 63");
	reset_card(256);
	set_region(PCI_REGION_CONFIG, 1 << 20);
	expect_refusal("this one 1048576");
	reset_card(256);
	put(kIOPCIConfigurationOffsetHeaderType, 1, 1);
	expect_refusal("header type 1");
	reset_card(256);
	memset(card.config, 0xff, sizeof(card.config));
	expect_refusal("all ones");
	ck_assert_str_eq(loss, "");
}
END_TEST

START_TEST(backend_must_be_named)
{
	struct pci_function function;
	struct device_handover handover = { .properties = OSDictionary_withCapacity(1) };
	ck_assert_int_ne(pci_function_open(&function, &handover, note_loss, NULL),
			 kIOReturnSuccess);
	ck_assert_ptr_nonnull(strstr(reason_last(), "OpenDextBackend"));
	OSString *name = OSString_withCString("nothing");
	OSDictionary_setObject(handover.properties, "OpenDextBackend", OSString_as_OSObject(name));
	ck_assert_int_eq(pci_function_open(&function, &handover, note_loss, NULL),
			 kIOReturnUnsupported);
	ck_assert_ptr_nonnull(strstr(reason_last(), "\"nothing\""));
	OSObjectRelease(name);
	OSObjectRelease(handover.properties);
}
END_TEST

START_TEST(identity_is_read)
{
	struct pci_function function;
	struct pci_identity identity;
	reset_card(256);
	put(0x08, 0x05000001, 4);
	put(0x2c, 0x11001af4, 4);
	ck_assert_int_eq(open_function(&function), kIOReturnSuccess);
	ck_assert_int_eq(pci_function_identify(&function, &identity), kIOReturnSuccess);
	ck_assert_uint_eq(identity.vendor, 0x1af4);
	ck_assert_uint_eq(identity.device, 0x1110);
	ck_assert_uint_eq(identity.subsystem_vendor, 0x1af4);
	ck_assert_uint_eq(identity.subsystem, 0x1100);
	ck_assert_uint_eq(identity.class_code, 0x050000);
	ck_assert_uint_eq(identity.revision, 1);
	pci_function_close(&function);
}
END_TEST

/* --- accesses --- */

START_TEST(accesses_are_checked)
{
	static const struct {
		unsigned region;
		uint64_t offset;
		size_t size;
		kern_return_t ret;
	} cases[] = {
		{ 0, 0, 1, kIOReturnSuccess },
		{ 0, 254, 2, kIOReturnSuccess },
		{ 0, 252, 4, kIOReturnSuccess },
		{ 0, 248, 8, kIOReturnSuccess },
		{ 0, 256, 1, kIOReturnOverrun },
		{ 0, 256, 4, kIOReturnOverrun },
		{ 0, UINT64_MAX, 1, kIOReturnOverrun },
		{ 0, UINT64_MAX - 3, 4, kIOReturnOverrun },
		{ 0, 2, 4, kIOReturnNotAligned },
		{ 0, 1, 2, kIOReturnNotAligned },
		{ 0, 0, 3, kIOReturnBadArgument },
		{ 0, 0, 16, kIOReturnBadArgument },
		{ 0, 0, 0, kIOReturnBadArgument },
		{ 1, 0, 1, kIOReturnBadArgument },
		{ PCI_N_REGIONS, 0, 1, kIOReturnBadArgument },
		{ UINT32_MAX, 0, 1, kIOReturnBadArgument },
		{ 3, 0, 4, kIOReturnOverrun },
		{ 3, 0, 2, kIOReturnSuccess },
	};
	struct pci_function function;
	reset_card(256);
	set_region(0, 256);
	set_region(3, 2);
	ck_assert_int_eq(open_function(&function), kIOReturnSuccess);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t value = 0;
		kern_return_t ret = pci_function_read(&function, cases[i].region, cases[i].offset,
						      cases[i].size, &value);
		ck_assert_msg(ret == cases[i].ret, "case %zu: %s", i, IOReturnString(ret));
		ret = pci_function_write(&function, cases[i].region, cases[i].offset, cases[i].size,
					 0);
		ck_assert_msg(ret == cases[i].ret, "case %zu: %s", i, IOReturnString(ret));
	}
	pci_function_close(&function);
}
END_TEST

START_TEST(values_are_little_endian)
{
	struct pci_function function;
	uint64_t value;
	reset_card(256);
	set_region(0, 256);
	ck_assert_int_eq(open_function(&function), kIOReturnSuccess);
	ck_assert_int_eq(pci_function_write(&function, 0, 8, 8, 0x8877665544332211), 0);
	for (unsigned i = 0; i < 8; i++)
		ck_assert_uint_eq(card.bytes[8 + i], 0x11 * (i + 1));
	ck_assert_int_eq(pci_function_read(&function, 0, 12, 4, &value), 0);
	ck_assert_uint_eq(value, 0x88776655);
	pci_function_close(&function);
}
END_TEST

START_TEST(rights_of_a_region_are_kept)
{
	struct pci_function function;
	uint64_t value;
	reset_card(256);
	set_region(0, 256);
	card.regions[0].writable = false;
	set_region(1, 256);
	card.regions[1].readable = false;
	ck_assert_int_eq(open_function(&function), kIOReturnSuccess);
	ck_assert_int_eq(pci_function_write(&function, 0, 0, 4, 0), kIOReturnNotWritable);
	ck_assert_int_eq(pci_function_read(&function, 1, 0, 4, &value), kIOReturnNotReadable);
	pci_function_close(&function);
}
END_TEST

/* A bus on which nobody answers reads as ones: found once, told once, and never tried again. */
START_TEST(vanished_device_is_noticed)
{
	struct pci_function function;
	uint64_t value = 5;
	reset_card(256);
	ck_assert_int_eq(open_function(&function), kIOReturnSuccess);
	put(0x40, UINT32_MAX, 4);
	ck_assert_int_eq(pci_function_read(&function, PCI_REGION_CONFIG, 0x40, 4, &value),
			 kIOReturnSuccess);
	ck_assert_uint_eq(value, UINT32_MAX); // only a register
	ck_assert_str_eq(loss, "");
	memset(card.config, 0xff, sizeof(card.config));
	value = 5;
	ck_assert_int_eq(pci_function_read(&function, PCI_REGION_CONFIG, 0x40, 4, &value),
			 kIOReturnNoDevice);
	ck_assert_uint_eq(value, 5);
	ck_assert_ptr_nonnull(strstr(loss, "all ones"));
	unsigned n_reads = card.n_reads;
	ck_assert_int_eq(pci_function_read(&function, PCI_REGION_CONFIG, 0x40, 4, &value),
			 kIOReturnNoDevice);
	ck_assert_uint_eq(card.n_reads, n_reads);
	card.on_lost(card.context, "again"); // note_loss would complain
	pci_function_close(&function);
	pci_function_close(&function);
}
END_TEST

/* --- capabilities --- */

static void put_capability(uint64_t offset, uint8_t id, uint8_t next)
{
	put(kIOPCIConfigurationOffsetStatus, kIOPCIStatusCapabilities, 2);
	put(offset, (uint64_t)next << 8 | id, 2);
}

static void put_extended(uint64_t offset, uint16_t id, uint64_t next)
{
	put(offset, id | 1 << 16 | next << 20, 4);
}

static uint64_t find(struct pci_function *function, int32_t id, uint64_t after)
{
	uint64_t found = 0;
	kern_return_t ret = pci_function_find_capability(function, (uint32_t)id, after, &found);
	ck_assert_msg(ret == kIOReturnSuccess, "%s", reason_last());
	return found;
}

static void expect_not_found(struct pci_function *function, int32_t id, uint64_t after,
			     const char *reason)
{
	uint64_t found = 7;
	ck_assert_int_eq(pci_function_find_capability(function, (uint32_t)id, after, &found),
			 kIOReturnNotFound);
	ck_assert_msg(strstr(reason_last(), reason) != NULL, "%s", reason_last());
	ck_assert_uint_eq(found, 7);
}

START_TEST(capabilities_are_found_in_turn)
{
	struct pci_function function;
	reset_card(4096);
	put(kIOPCIConfigurationOffsetCapabilitiesPtr, 0x80, 1);
	put_capability(0x80, kIOPCICapabilityIDVendorSpecific, 0x40);
	put_capability(0x40, kIOPCICapabilityIDPowerManagement, 0xfc);
	put_capability(0xfc, kIOPCICapabilityIDVendorSpecific, 0);
	put_extended(0x100, 3, 0x200);
	put_extended(0x200, 0xb, 0xffc);
	put_extended(0xffc, 3, 0);
	ck_assert_int_eq(open_function(&function), kIOReturnSuccess);
	ck_assert_uint_eq(find(&function, kIOPCICapabilityIDVendorSpecific, 0), 0x80);
	ck_assert_uint_eq(find(&function, kIOPCICapabilityIDVendorSpecific, 0x80), 0xfc);
	ck_assert_uint_eq(find(&function, kIOPCICapabilityIDPowerManagement, 0), 0x40);
	ck_assert_uint_eq(find(&function, -3, 0), 0x100);
	ck_assert_uint_eq(find(&function, -3, 0x100), 0xffc);
	ck_assert_uint_eq(find(&function, -0xb, 0x100), 0x200);
	expect_not_found(&function, kIOPCICapabilityIDVendorSpecific, 0xfc, "no capability 0x9");
	expect_not_found(&function, kIOPCICapabilityIDMSI, 0, "no capability 0x5");
	expect_not_found(&function, -4, 0, "no extended capability 0x4");
	expect_not_found(&function, kIOPCICapabilityIDMSI, 0x44, "no capability is at 0x44");
	expect_not_found(&function, -3, UINT64_MAX, "no capability is at");
	uint64_t found;
	ck_assert_int_eq(pci_function_find_capability(&function, 0, 0, &found),
			 kIOReturnBadArgument);
	ck_assert_int_eq(pci_function_find_capability(&function, 0x100, 0, &found),
			 kIOReturnBadArgument);
	ck_assert_int_eq(pci_function_find_capability(&function, (uint32_t)-0x10000, 0, &found),
			 kIOReturnBadArgument);
	pci_function_close(&function);
}
END_TEST

START_TEST(function_without_lists)
{
	struct pci_function function;
	reset_card(256);
	put(kIOPCIConfigurationOffsetCapabilitiesPtr, 0x40, 1); // the status bit is off
	put(0x40, kIOPCICapabilityIDMSI, 1);
	ck_assert_int_eq(open_function(&function), kIOReturnSuccess);
	expect_not_found(&function, kIOPCICapabilityIDMSI, 0, "no capability");
	expect_not_found(&function, -1, 0, "no extended capability");
	pci_function_close(&function);
	reset_card(4096); // an empty extended list is a zero header
	ck_assert_int_eq(open_function(&function), kIOReturnSuccess);
	expect_not_found(&function, -1, 0, "no extended capability");
	pci_function_close(&function);
}
END_TEST

/* Each broken list ends the search with a reason, after a bounded number of reads. */
START_TEST(broken_lists_end)
{
	static const struct {
		uint8_t first, next;
		const char *reason;
	} cases[] = {
		{ 0x40, 0x40, "is a loop" },        { 0x40, 0x3c, "points to 0x3c" },
		{ 0x40, 0x42, "points to 0x42" },   { 0x04, 0, "points to 0x4" },
		{ 0x41, 0, "points to 0x41" },      { 0xff, 0, "points to 0xff" },
		{ 0x40, 0xf0, "all ones at 0xf0" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pci_function function;
		reset_card(256);
		put(kIOPCIConfigurationOffsetCapabilitiesPtr, cases[i].first, 1);
		put_capability(0x40, kIOPCICapabilityIDVendorSpecific, cases[i].next);
		put(0xf0, 0xffff, 2);
		ck_assert_int_eq(open_function(&function), kIOReturnSuccess);
		card.n_reads = 0;
		expect_not_found(&function, kIOPCICapabilityIDMSI, 0, cases[i].reason);
		ck_assert_uint_le(card.n_reads, 52);
		pci_function_close(&function);
	}
}
END_TEST

START_TEST(broken_extended_lists_end)
{
	static const struct {
		uint64_t next;
		const char *reason;
	} cases[] = {
		{ 0x100, "is a loop" },
		{ 0x80, "points to 0x80" },
		{ 0x102, "points to 0x102" },
		{ 0xf00, "all ones at 0xf00" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pci_function function;
		reset_card(4096);
		put_extended(0x100, 3, cases[i].next);
		put(0xf00, 0xffffffff, 4);
		ck_assert_int_eq(open_function(&function), kIOReturnSuccess);
		card.n_reads = 0;
		expect_not_found(&function, -1, 0, cases[i].reason);
		ck_assert_uint_le(card.n_reads, 964);
		pci_function_close(&function);
	}
}
END_TEST

/* A list that leads out of a short configuration space. */
START_TEST(list_beyond_the_space)
{
	struct pci_function function;
	reset_card(64);
	put(kIOPCIConfigurationOffsetStatus, kIOPCIStatusCapabilities, 2);
	put(kIOPCIConfigurationOffsetCapabilitiesPtr, 0x40, 1);
	ck_assert_int_eq(open_function(&function), kIOReturnSuccess);
	expect_not_found(&function, kIOPCICapabilityIDMSI, 0, "points to 0x40");
	pci_function_close(&function);
}
END_TEST

static uint64_t leaping_now;

static uint64_t leaping_clock(void)
{
	return leaping_now += 400000000;
}

/* Each read is quick, and there are many. */
START_TEST(slow_list_ends)
{
	struct pci_function function;
	uint64_t found;
	reset_card(4096);
	for (uint64_t at = 0x100; at < 0xffc; at += 4)
		put_extended(at, 3, at + 4);
	ck_assert_int_eq(open_function(&function), kIOReturnSuccess);
	clock_set_source(leaping_clock);
	ck_assert_int_eq(pci_function_find_capability(&function, (uint32_t)-1, 0, &found),
			 kIOReturnTimeout);
	clock_set_source(NULL);
	pci_function_close(&function);
}
END_TEST

START_TEST(msix_table_is_located)
{
	static const struct {
		uint32_t table;
		int region;
	} cases[] = {
		{ 0x2000 | 1, 1 }, { 0, 0 }, { 4, -1 } /* no such BAR */, { 6, -1 }, { 7, -1 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pci_function function;
		reset_card(256);
		set_region(0, 4096);
		set_region(1, 4096);
		put(kIOPCIConfigurationOffsetCapabilitiesPtr, 0x40, 1);
		put_capability(0x40, kIOPCICapabilityIDMSIX, 0);
		put(0x44, cases[i].table, 4);
		ck_assert_int_eq(open_function(&function), kIOReturnSuccess);
		ck_assert_int_eq(function.msix_region, cases[i].region);
		pci_function_close(&function);
	}
}
END_TEST

/* Its table register would be beyond the end: no way to know which BAR to withhold. */
START_TEST(cut_off_msix_is_refused)
{
	reset_card(256);
	put(kIOPCIConfigurationOffsetCapabilitiesPtr, 0xfc, 1);
	put_capability(0xfc, kIOPCICapabilityIDMSIX, 0);
	expect_refusal("beyond region 7");
}
END_TEST

UNIT_TESTS("pci-function", memory_indices_are_not_bar_numbers, last_bar_has_no_second_register,
	   impossible_functions_are_refused, backend_must_be_named, identity_is_read,
	   accesses_are_checked, values_are_little_endian, rights_of_a_region_are_kept,
	   vanished_device_is_noticed, capabilities_are_found_in_turn, function_without_lists,
	   broken_lists_end, broken_extended_lists_end, list_beyond_the_space, slow_list_ends,
	   msix_table_is_located, cut_off_msix_is_refused)
