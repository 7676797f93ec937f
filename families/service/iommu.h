/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What stands between a device and the memory: only what is mapped here can be reached by its DMA,
 * at addresses of its own. A backend implements the ops; its family opens one per device and sets
 * it on the provider; IODMACommand is its user. Any thread.
 */

#include <stdbool.h>
#include <stdint.h>

#include <DriverKit/IOService.h>
#include <base/list.h>
#include <runtime/window.h>

struct iommu;

/* Whole pages of a file, to be reached at `address`. */
struct iommu_mapping {
	int fd; // borrowed for the call
	uint64_t offset, length, address;
	bool readable, writable; // by the device
};

struct iommu_ops {
	/* Required. May block, with a bound. It may refuse: then nothing stays mapped. The memory
	 * must stay reachable until unmap, whatever happens to the fd. */
	kern_return_t (*map)(void *context, const struct iommu_mapping *mapping);
	/* Required. Exactly what one map made. May block, with a bound. The device cannot reach it
	 * any more when this returns; what goes wrong is the backend's to report. */
	void (*unmap)(void *context, uint64_t address, uint64_t length);
};

struct iommu_range {
	uint64_t first, last; // device addresses, inclusive
};

enum { IOMMU_RANGES_MAX = 8 };

struct iommu_limits {
	uint64_t page_size;                          // the smallest: a power of two
	struct iommu_range ranges[IOMMU_RANGES_MAX]; // usable, ascending; whole pages
	unsigned n_ranges;
};

/* Refuses limits that make no sense: they may come from a device. Returned. */
kern_return_t iommu_open(struct iommu **out, const struct iommu_ops *ops, void *context,
			 const struct iommu_limits *limits);
struct iommu *iommu_ref(struct iommu *iommu);
struct iommu *iommu_unref(struct iommu *iommu); // may be NULL; returns NULL
/* The device goes: all that is mapped is unmapped, and the ops are never called again. Returns when
 * no call of them is under way. Twice is harmless. */
void iommu_close(struct iommu *iommu);

/* --- its user's side --- */

/* Where one piece of memory is for the device. */
struct iommu_area {
	struct list link; // iommu.areas, by address
	int state;        // iommu.lock, as the link
	uint64_t address; // of the page that the piece begins in
	uint64_t length;  // whole pages
	bool continues;   // it follows the area before it without a gap
};

/* How many ranges of device addresses `pieces` need: pieces that meet at a page share one. */
unsigned iommu_count_ranges(const struct iommu *iommu, const struct window_piece *pieces,
			    unsigned n_pieces);
/* Map all pieces, each as an area, all at addresses up to `max_address`; the areas stay where they
 * are until they were unmapped. Fails with a reason: then none is mapped. */
kern_return_t iommu_map(struct iommu *iommu, const struct window_piece *pieces, unsigned n_pieces,
			uint32_t direction, uint64_t max_address, struct iommu_area *areas);
/* Once for what was mapped; the IOMMU may have been closed. */
void iommu_unmap(struct iommu *iommu, struct iommu_area *areas, unsigned n);
uint64_t iommu_page_size(const struct iommu *iommu);

/* The IOMMU of a provider, kept; set once, before the driver's Start. Borrowed; NULL: none. */
void service_set_iommu(IOService *provider, struct iommu *iommu);
struct iommu *service_iommu(IOService *provider);
