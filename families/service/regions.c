// SPDX-License-Identifier: Apache-2.0
/*
 * A driver has no way into an application's address space, and gets none: an address means
 * something here only if it lies in memory that the application gave away beforehand, and then it
 * is looked up, never followed. Regions do not overlap, so an address means one thing.
 */

#include <pthread.h>
#include <stdlib.h>

#include <base/reason.h>
#include <families/service/regions.h>

struct region {
	uint64_t address, size;
	IOMemoryDescriptor *memory; // kept
};

struct regions {
	pthread_mutex_t lock; // guards what follows
	struct region all[REGIONS_MAX];
	unsigned n;
};

struct regions *regions_new(void)
{
	struct regions *regions = calloc(1, sizeof(*regions));
	if (regions != NULL)
		pthread_mutex_init(&regions->lock, NULL);
	return regions;
}

void regions_clear(struct regions *regions)
{
	pthread_mutex_lock(&regions->lock);
	for (unsigned i = 0; i < regions->n; i++)
		OSSafeReleaseNULL(regions->all[i].memory);
	regions->n = 0;
	pthread_mutex_unlock(&regions->lock);
}

struct regions *regions_free(struct regions *regions)
{
	if (regions != NULL) {
		regions_clear(regions);
		pthread_mutex_destroy(&regions->lock);
		free(regions);
	}
	return NULL;
}

unsigned regions_count(struct regions *regions)
{
	if (regions == NULL)
		return 0;
	pthread_mutex_lock(&regions->lock);
	unsigned n = regions->n;
	pthread_mutex_unlock(&regions->lock);
	return n;
}

/* With the lock held. */
static kern_return_t check_new(const struct regions *regions, uint64_t address, uint64_t size)
{
	if (address == 0 || size == 0 || size > UINT64_MAX - address)
		return refuse(kIOReturnBadArgument, "%#llx: %llu bytes are no range of addresses",
			      (unsigned long long)address, (unsigned long long)size);
	for (unsigned i = 0; i < regions->n; i++) {
		const struct region *other = &regions->all[i];
		if (address < other->address + other->size && other->address < address + size)
			return refuse(kIOReturnBadArgument,
				      "%#llx: %llu bytes overlap a buffer that is registered",
				      (unsigned long long)address, (unsigned long long)size);
	}
	if (regions->n == REGIONS_MAX)
		return refuse(kIOReturnNoResources,
			      "%d buffers are registered with this connection: free one first",
			      REGIONS_MAX);
	return kIOReturnSuccess;
}

kern_return_t regions_add(struct regions *regions, uint64_t address, uint64_t size,
			  IOMemoryDescriptor *memory)
{
	pthread_mutex_lock(&regions->lock);
	kern_return_t ret = check_new(regions, address, size);
	if (ret == kIOReturnSuccess) {
		OSObjectRetain(memory);
		regions->all[regions->n++] = (struct region){ address, size, memory };
	}
	pthread_mutex_unlock(&regions->lock);
	return ret;
}

kern_return_t regions_remove(struct regions *regions, uint64_t address)
{
	IOMemoryDescriptor *memory = NULL;
	pthread_mutex_lock(&regions->lock);
	for (unsigned i = 0; i < regions->n; i++) {
		if (regions->all[i].address != address)
			continue;
		memory = regions->all[i].memory;
		regions->all[i] = regions->all[--regions->n];
		break;
	}
	pthread_mutex_unlock(&regions->lock);
	if (memory == NULL)
		return refuse(kIOReturnNotFound, "no buffer is registered at %#llx",
			      (unsigned long long)address);
	OSObjectRelease(memory);
	return kIOReturnSuccess;
}

kern_return_t regions_part(struct regions *regions, uint64_t address, uint64_t length,
			   uint32_t direction, IOMemoryDescriptor **memory)
{
	kern_return_t ret = kIOReturnBadArgument;
	bool found = false;
	pthread_mutex_lock(&regions->lock);
	for (unsigned i = 0; i < regions->n && !found; i++) {
		const struct region *region = &regions->all[i];
		if (address < region->address || address - region->address >= region->size ||
		    length > region->size - (address - region->address))
			continue;
		found = true;
		ret = IOMemoryDescriptor_CreateSubMemoryDescriptor(
			direction, address - region->address, length, region->memory, memory);
	}
	pthread_mutex_unlock(&regions->lock);
	if (!found)
		refuse(ret,
		       "the application's %llu bytes at %#llx are not inside one buffer that it "
		       "shares with this driver: it must take such memory from dext_buffer_create, "
		       "for this connection",
		       (unsigned long long)length, (unsigned long long)address);
	return ret;
}
