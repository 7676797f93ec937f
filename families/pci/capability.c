/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Capability lists. They are the device's own words, so nothing in them is trusted: a pointer that
 * is out of range or unaligned ends the walk with a reason, and so do more entries than the space
 * has room for (a loop) and a device that takes too long to answer them all.
 *
 * The standard list starts at the pointer at 0x34 and has its entries in 0x40..0xff; the extended
 * one starts at 0x100 and has them to the end of the 4 KiB.
 */

#include <base/clock.h>
#include <base/reason.h>
#include <PCIDriverKit/PCIDefinitions.h>
#include <families/pci/function.h>

enum {
	STANDARD_FIRST = 0x40, // of 0xc0 bytes, 4 per entry
	STANDARD_STEPS = 48,
	EXTENDED_FIRST = 0x100, // of 0xf00 bytes, 4 per entry
	EXTENDED_STEPS = 960,
	WALK_MS = 1000,
};

/* One entry of either list. */
struct entry {
	uint32_t id;
	uint64_t next; // 0: the last
};

static kern_return_t read_config(struct pci_function *function, uint64_t offset, size_t size,
				 uint64_t *value)
{
	return pci_function_read(function, PCI_REGION_CONFIG, offset, size, value);
}

static kern_return_t first_entry(struct pci_function *function, bool extended, uint64_t *position)
{
	*position = 0;
	if (extended) {
		if (function->regions[PCI_REGION_CONFIG].size > EXTENDED_FIRST)
			*position = EXTENDED_FIRST;
		return kIOReturnSuccess;
	}
	uint64_t status;
	kern_return_t ret = read_config(function, kIOPCIConfigurationOffsetStatus, 2, &status);
	if (ret != kIOReturnSuccess || (status & kIOPCIStatusCapabilities) == 0)
		return ret;
	return read_config(function, kIOPCIConfigurationOffsetCapabilitiesPtr, 1, position);
}

static kern_return_t read_entry(struct pci_function *function, bool extended, uint64_t position,
				struct entry *entry)
{
	uint64_t header;
	if (position < (extended ? EXTENDED_FIRST : STANDARD_FIRST) || position % 4 != 0 ||
	    position >= function->regions[PCI_REGION_CONFIG].size)
		return refuse(kIOReturnNotFound,
			      "the capability list is broken: it points to 0x%llx",
			      (unsigned long long)position);
	kern_return_t ret = read_config(function, position, extended ? 4 : 2, &header);
	if (ret != kIOReturnSuccess)
		return ret;
	entry->id = (uint32_t)(header & (extended ? 0xffff : 0xff));
	entry->next = extended ? header >> 20 : header >> 8;
	if (entry->id == (extended ? 0xffffU : 0xffU))
		return refuse(kIOReturnNotFound,
			      "the capability list is broken: all ones at 0x%llx",
			      (unsigned long long)position);
	if (extended && header == 0)
		entry->next = 0;
	return kIOReturnSuccess;
}

kern_return_t pci_function_find_capability(struct pci_function *function, uint32_t id,
					   uint64_t after, uint64_t *found)
{
	bool extended = (int32_t)id < 0;
	uint32_t wanted = extended ? 0U - id : id;
	if (wanted == 0 || wanted > (extended ? 0xffffU : 0xffU))
		return refuse(kIOReturnBadArgument, "0x%x is no capability's number", id);

	uint64_t deadline = clock_deadline_ns(WALK_MS);
	uint64_t position;
	kern_return_t ret = first_entry(function, extended, &position);
	if (ret != kIOReturnSuccess)
		return ret;
	bool searching = after == 0;
	for (unsigned step = 0; position != 0; step++) {
		struct entry entry = { .id = 0 };
		if (step == (extended ? EXTENDED_STEPS : STANDARD_STEPS))
			return refuse(kIOReturnNotFound, "the capability list is a loop");
		if (clock_now_ns() > deadline)
			return refuse(kIOReturnTimeout,
				      "the device took over %d ms to show its capabilities",
				      WALK_MS);
		ret = read_entry(function, extended, position, &entry);
		if (ret != kIOReturnSuccess)
			return ret;
		if (searching && entry.id == wanted) {
			*found = position;
			return kIOReturnSuccess;
		}
		searching = searching || position == after;
		position = entry.next;
	}
	if (!searching)
		return refuse(kIOReturnNotFound, "no capability is at 0x%llx to search on from",
			      (unsigned long long)after);
	return refuse(kIOReturnNotFound, "the device has no %scapability 0x%x",
		      extended ? "extended " : "", wanted);
}
