// SPDX-License-Identifier: Apache-2.0
/*
 * Device addresses: who has which, and the one place where a mapping begins and ends.
 *
 * An area is on the list from before its first map until after its last unmap, so that nobody is
 * given an address that the device may still reach. The ops are called without the lock, for they
 * may wait for the device. Who moves an area from MAPPED to UNMAPPING, its owner or the IOMMU that
 * closes, unmaps it: so each is unmapped once. Closing waits for every call of the ops that is
 * under way, after which the backend may go.
 *
 * Addresses are taken from the lowest on, so that what a device with few address bits needs is what
 * is used first by all, and is given back first fit. Page 0 is never used: 0 means "no address" to
 * many a device.
 */

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <base/reason.h>
#include <families/service/iommu.h>
#include <families/service/service.h>

enum area_state { GONE, MAPPING, MAPPED, UNMAPPING };

struct iommu {
	_Atomic uint32_t refs;
	const struct iommu_ops *ops;
	void *context;
	struct iommu_limits limits;
	pthread_mutex_t lock;   // guards what follows
	pthread_cond_t settled; // an area left MAPPING or UNMAPPING
	bool closed;
	struct list areas;
};

/* --- life --- */

static kern_return_t check_limits(const struct iommu_limits *limits)
{
	uint64_t page = limits->page_size, next = 0;
	if (page == 0 || (page & (page - 1)) != 0 || limits->n_ranges == 0 ||
	    limits->n_ranges > IOMMU_RANGES_MAX)
		return refuse(kIOReturnDeviceError, "the IOMMU has pages of %llu bytes, %u ranges",
			      (unsigned long long)page, limits->n_ranges);
	for (unsigned i = 0; i < limits->n_ranges; i++) {
		const struct iommu_range *range = &limits->ranges[i];
		if (range->first < next || range->last < range->first || range->first % page != 0 ||
		    range->last % page != page - 1)
			return refuse(kIOReturnDeviceError,
				      "the IOMMU's addresses from %#llx to %#llx are no range",
				      (unsigned long long)range->first,
				      (unsigned long long)range->last);
		next = range->last;
	}
	return kIOReturnSuccess;
}

kern_return_t iommu_open(struct iommu **out, const struct iommu_ops *ops, void *context,
			 const struct iommu_limits *limits)
{
	assert(ops->map != NULL && ops->unmap != NULL);
	kern_return_t ret = check_limits(limits);
	if (ret != kIOReturnSuccess)
		return ret;
	struct iommu *iommu = calloc(1, sizeof(*iommu));
	if (iommu == NULL)
		return refuse(kIOReturnNoMemory, "out of memory for an IOMMU");
	atomic_init(&iommu->refs, 1);
	iommu->ops = ops;
	iommu->context = context;
	iommu->limits = *limits;
	pthread_mutex_init(&iommu->lock, NULL);
	pthread_cond_init(&iommu->settled, NULL);
	list_init(&iommu->areas);
	*out = iommu;
	return kIOReturnSuccess;
}

struct iommu *iommu_ref(struct iommu *iommu)
{
	atomic_fetch_add_explicit(&iommu->refs, 1, memory_order_relaxed);
	return iommu;
}

struct iommu *iommu_unref(struct iommu *iommu)
{
	if (iommu == NULL || atomic_fetch_sub_explicit(&iommu->refs, 1, memory_order_acq_rel) != 1)
		return NULL;
	assert(list_empty(&iommu->areas)); // their owners have a reference each
	pthread_cond_destroy(&iommu->settled);
	pthread_mutex_destroy(&iommu->lock);
	free(iommu);
	return NULL;
}

/* With the lock held, as the next. */
static void settle(struct iommu *iommu, struct iommu_area *area, enum area_state state)
{
	area->state = state;
	if (state == GONE)
		list_remove(&area->link);
	pthread_cond_broadcast(&iommu->settled);
}

/* Releases the lock meanwhile. */
static void unmap_area(struct iommu *iommu, struct iommu_area *area)
{
	area->state = UNMAPPING;
	pthread_mutex_unlock(&iommu->lock);
	iommu->ops->unmap(iommu->context, area->address, area->length);
	pthread_mutex_lock(&iommu->lock);
	settle(iommu, area, GONE);
}

void iommu_close(struct iommu *iommu)
{
	pthread_mutex_lock(&iommu->lock);
	iommu->closed = true;
	while (!list_empty(&iommu->areas)) {
		struct iommu_area *area, *found = NULL;
		list_for_each(area, &iommu->areas, link)
			if (area->state == MAPPED)
				found = area;
		if (found != NULL)
			unmap_area(iommu, found);
		else
			pthread_cond_wait(&iommu->settled, &iommu->lock);
	}
	pthread_mutex_unlock(&iommu->lock);
}

/* --- addresses --- */

/* With the lock held: the first free addresses, and the area before them in `*after`. */
static bool find_room(struct iommu *iommu, uint64_t length, uint64_t max_address, uint64_t *address,
		      struct list **after)
{
	uint64_t page = iommu->limits.page_size;
	for (unsigned i = 0; i < iommu->limits.n_ranges; i++) {
		uint64_t next = iommu->limits.ranges[i].first;
		uint64_t last = iommu->limits.ranges[i].last;
		next = next == 0 ? page : next;
		last = last < max_address ? last : max_address;
		struct list *before = &iommu->areas;
		struct iommu_area *area;
		list_for_each(area, &iommu->areas, link) {
			if (area->address + area->length <= next) {
				before = &area->link;
				continue;
			}
			if (area->address > next && area->address - next >= length)
				break;
			next = area->address + area->length;
			before = &area->link;
		}
		if (next <= last && last - next >= length - 1) {
			*address = next;
			*after = before;
			return true;
		}
	}
	return false;
}

/* A range for `n` areas, one after the other. */
static kern_return_t reserve(struct iommu *iommu, struct iommu_area *areas, unsigned n,
			     uint64_t length, uint64_t max_address)
{
	struct list *after = NULL;
	uint64_t address = 0;
	kern_return_t ret = kIOReturnSuccess;
	pthread_mutex_lock(&iommu->lock);
	if (iommu->closed)
		ret = refuse(kIOReturnNoDevice, "the device is gone");
	else if (!find_room(iommu, length, max_address, &address, &after))
		ret = refuse(kIOReturnNoSpace,
			     "no %llu device addresses up to %#llx are free: complete other "
			     "commands first",
			     (unsigned long long)length, (unsigned long long)max_address);
	for (unsigned i = 0; ret == kIOReturnSuccess && i < n; i++) {
		areas[i].address = address;
		areas[i].state = MAPPING;
		areas[i].continues = i > 0;
		list_insert(after, &areas[i].link);
		after = &areas[i].link;
		address += areas[i].length;
	}
	pthread_mutex_unlock(&iommu->lock);
	return ret;
}

/* --- mapping --- */

/* The pages that hold a piece, with what is before it in its first. */
static uint64_t pages_of(uint64_t page, const struct window_piece *piece)
{
	return (piece->offset % page + piece->length + page - 1) / page * page;
}

/* Pieces from the first that meet at pages. */
static unsigned count_side_by_side(uint64_t page, const struct window_piece *pieces, unsigned n)
{
	unsigned i = 1;
	while (i < n && (pieces[i - 1].offset + pieces[i - 1].length) % page == 0 &&
	       pieces[i].offset % page == 0)
		i++;
	return i;
}

unsigned iommu_count_ranges(const struct iommu *iommu, const struct window_piece *pieces,
			    unsigned n_pieces)
{
	unsigned n = 0;
	for (unsigned i = 0; i < n_pieces; n++)
		i += count_side_by_side(iommu->limits.page_size, &pieces[i], n_pieces - i);
	return n;
}

static kern_return_t reserve_all(struct iommu *iommu, const struct window_piece *pieces, unsigned n,
				 uint64_t max_address, struct iommu_area *areas, unsigned *n_done)
{
	uint64_t page = iommu->limits.page_size;
	kern_return_t ret = kIOReturnSuccess;
	for (*n_done = 0; ret == kIOReturnSuccess && *n_done < n;) {
		unsigned first = *n_done;
		unsigned here = count_side_by_side(page, &pieces[first], n - first);
		uint64_t length = 0;
		for (unsigned i = first; i < first + here; i++) {
			areas[i].length = pages_of(page, &pieces[i]);
			length += areas[i].length;
		}
		ret = reserve(iommu, &areas[first], here, length, max_address);
		if (ret == kIOReturnSuccess)
			*n_done += here;
	}
	return ret;
}

/* The IOMMU may have been closed while the backend was at it. */
static kern_return_t map_area(struct iommu *iommu, const struct window_piece *piece,
			      uint32_t direction, struct iommu_area *area)
{
	uint64_t lead = piece->offset % iommu->limits.page_size;
	const struct iommu_mapping mapping = {
		.fd = piece->fd,
		.offset = piece->offset - lead,
		.length = area->length,
		.address = area->address,
		.readable = (direction & kIOMemoryDirectionOut) != 0,
		.writable = (direction & kIOMemoryDirectionIn) != 0,
	};
	kern_return_t ret = iommu->ops->map(iommu->context, &mapping);
	pthread_mutex_lock(&iommu->lock);
	if (ret == kIOReturnSuccess)
		settle(iommu, area, MAPPED);
	pthread_mutex_unlock(&iommu->lock);
	return ret;
}

kern_return_t iommu_map(struct iommu *iommu, const struct window_piece *pieces, unsigned n_pieces,
			uint32_t direction, uint64_t max_address, struct iommu_area *areas)
{
	unsigned n_reserved;
	kern_return_t ret = reserve_all(iommu, pieces, n_pieces, max_address, areas, &n_reserved);
	for (unsigned i = 0; ret == kIOReturnSuccess && i < n_pieces; i++)
		ret = map_area(iommu, &pieces[i], direction, &areas[i]);
	if (ret != kIOReturnSuccess)
		iommu_unmap(iommu, areas, n_reserved);
	return ret;
}

/* One that was only reserved has nothing to unmap. One that a close is at is waited for. */
static void release_area(struct iommu *iommu, struct iommu_area *area)
{
	if (area->state == MAPPING)
		settle(iommu, area, GONE);
	else if (area->state == MAPPED)
		unmap_area(iommu, area);
	while (area->state != GONE)
		pthread_cond_wait(&iommu->settled, &iommu->lock);
}

void iommu_unmap(struct iommu *iommu, struct iommu_area *areas, unsigned n)
{
	pthread_mutex_lock(&iommu->lock);
	for (unsigned i = 0; i < n; i++)
		release_area(iommu, &areas[i]);
	pthread_mutex_unlock(&iommu->lock);
}

uint64_t iommu_page_size(const struct iommu *iommu)
{
	return iommu->limits.page_size;
}

/* --- of a provider --- */

void service_set_iommu(IOService *provider, struct iommu *iommu)
{
	assert(provider->ivars->iommu == NULL);
	provider->ivars->iommu = iommu_ref(iommu);
}

struct iommu *service_iommu(IOService *provider)
{
	return provider->ivars->iommu;
}
