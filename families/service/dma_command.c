// SPDX-License-Identifier: Apache-2.0
/*
 * IODMACommand. How many segments a range needs is known before anything is mapped: pieces of files
 * that meet at a page are one range of device addresses, all others begin a new one. So a command
 * is prepared as a whole or not at all.
 */

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <DriverKit/IODMACommand.h>
#include <base/reason.h>
#include <families/service/iommu.h>
#include <runtime/memory.h>

struct IODMACommand_IVars {
	struct iommu *iommu; // kept
	uint64_t max_address;
	pthread_mutex_t lock;       // guards what follows
	IOMemoryDescriptor *memory; // kept while it is prepared; NULL: it is not
	uint64_t offset, length;
	struct iommu_area *areas; // owned
	unsigned n_areas;
};

static void complete(struct IODMACommand_IVars *iv)
{
	if (iv->memory == NULL)
		return;
	iommu_unmap(iv->iommu, iv->areas, iv->n_areas);
	free(iv->areas);
	iv->areas = NULL;
	OSSafeReleaseNULL(iv->memory);
}

/* --- life --- */

static kern_return_t check_specification(const IODMACommandSpecification *specification)
{
	if (specification == NULL || specification->options != 0 ||
	    specification->maxAddressBits > 64)
		return refuse(kIOReturnBadArgument,
			      "IODMACommand: the specification has options 0 and up to 64 address "
			      "bits");
	for (unsigned i = 0; i < sizeof(specification->reserved) / sizeof(uint64_t); i++)
		if (specification->reserved[i] != 0)
			return refuse(kIOReturnBadArgument,
				      "IODMACommand: word %u of the specification's reserved ones "
				      "is not 0",
				      i);
	return kIOReturnSuccess;
}

static struct IODMACommand_IVars *ivars_new(struct iommu *iommu, uint64_t bits)
{
	struct IODMACommand_IVars *iv = calloc(1, sizeof(*iv));
	if (iv == NULL)
		return NULL;
	pthread_mutex_init(&iv->lock, NULL);
	iv->iommu = iommu_ref(iommu);
	iv->max_address = bits == 0 ? UINT64_MAX : UINT64_MAX >> (64 - bits);
	return iv;
}

kern_return_t IODMACommand_Create(IOService *device, uint64_t options,
				  const IODMACommandSpecification *specification,
				  IODMACommand **command)
{
	if (device == NULL || command == NULL || options != 0)
		return refuse(kIOReturnBadArgument,
			      "IODMACommand: Create takes a device, and options 0");
	kern_return_t ret = check_specification(specification);
	if (ret != kIOReturnSuccess)
		return ret;
	struct iommu *iommu = service_iommu(device);
	if (iommu == NULL)
		return refuse(kIOReturnUnsupported,
			      "IODMACommand: %s has no IOMMU: either it does no DMA of its own, or "
			      "its backend cannot map memory for it",
			      IOService_as_OSObject(device)->meta->name);
	IODMACommand *made = OSTypeAlloc(IODMACommand);
	if (made != NULL)
		made->ivars = ivars_new(iommu, specification->maxAddressBits);
	if (made == NULL || made->ivars == NULL) {
		OSObjectRelease(made);
		return refuse(kIOReturnNoMemory, "out of memory for a DMA command");
	}
	*command = made;
	return kIOReturnSuccess;
}

void IMPL(IODMACommand, free)
{
	struct IODMACommand_IVars *iv = self->ivars;
	if (iv != NULL) {
		complete(iv);
		iommu_unref(iv->iommu);
		pthread_mutex_destroy(&iv->lock);
		free(iv);
		self->ivars = NULL;
	}
	IODMACommand_super_free(self);
}

/* --- preparing --- */

/* What a command is to be prepared for. */
struct preparation {
	IOMemoryDescriptor *memory;
	uint64_t offset, length;
	uint32_t direction;
	struct window_piece pieces[MEMORY_PIECES_MAX];
	unsigned n_pieces;
};

static kern_return_t describe(struct preparation *p)
{
	struct memory_backing backing;
	memory_get_backing(p->memory, &backing);
	if (p->offset >= backing.length || p->length > backing.length - p->offset)
		return refuse(kIOReturnBadArgument,
			      "PrepareForDMA: %llu bytes from %llu are outside the memory's %llu",
			      (unsigned long long)p->length, (unsigned long long)p->offset,
			      (unsigned long long)backing.length);
	if (backing.direction == kIOMemoryDirectionNone)
		return refuse(kIOReturnBadArgument,
			      "PrepareForDMA: the memory has no direction: make it with "
			      "kIOMemoryDirectionIn, Out or InOut");
	if (p->length == 0)
		p->length = backing.length - p->offset;
	p->direction = backing.direction;
	p->n_pieces = memory_get_pieces(p->memory, p->offset, p->length, p->pieces);
	return kIOReturnSuccess;
}

static kern_return_t check_room(const struct iommu *iommu, const struct preparation *p,
				uint32_t *room)
{
	unsigned needed = iommu_count_ranges(iommu, p->pieces, p->n_pieces);
	if (needed <= *room)
		return kIOReturnSuccess;
	kern_return_t ret = refuse(
		kIOReturnNoSpace,
		"PrepareForDMA: %u segments are needed, there is room for %u: parts of the memory "
		"do not meet at pages. Prepare less of it at a time, with further commands",
		needed, *room);
	*room = needed;
	return ret;
}

static kern_return_t map(struct IODMACommand_IVars *iv, const struct preparation *p)
{
	struct iommu_area *areas = calloc(p->n_pieces, sizeof(*areas));
	if (areas == NULL)
		return refuse(kIOReturnNoMemory, "PrepareForDMA: out of memory");
	kern_return_t ret =
		iommu_map(iv->iommu, p->pieces, p->n_pieces, p->direction, iv->max_address, areas);
	if (ret != kIOReturnSuccess) {
		free(areas);
		return ret;
	}
	OSObjectRetain(p->memory);
	iv->memory = p->memory;
	iv->offset = p->offset;
	iv->length = p->length;
	iv->areas = areas;
	iv->n_areas = p->n_pieces;
	return kIOReturnSuccess;
}

static uint32_t fill_segments(const struct IODMACommand_IVars *iv, const struct preparation *p,
			      IOAddressSegment *segments)
{
	uint32_t n = 0;
	for (unsigned i = 0; i < iv->n_areas; i++) {
		if (iv->areas[i].continues) {
			segments[n - 1].length += p->pieces[i].length;
			continue;
		}
		uint64_t page = iommu_page_size(iv->iommu);
		segments[n].address = iv->areas[i].address + p->pieces[i].offset % page;
		segments[n++].length = p->pieces[i].length;
	}
	return n;
}

static kern_return_t prepare(struct IODMACommand_IVars *iv, struct preparation *p, uint64_t *flags,
			     uint32_t *count, IOAddressSegment *segments)
{
	if (iv->memory != NULL)
		return refuse(kIOReturnBusy,
			      "PrepareForDMA: the command is prepared: CompleteDMA first, or use "
			      "another");
	kern_return_t ret = describe(p);
	if (ret == kIOReturnSuccess)
		ret = check_room(iv->iommu, p, count);
	if (ret == kIOReturnSuccess)
		ret = map(iv, p);
	if (ret != kIOReturnSuccess)
		return ret;
	*count = fill_segments(iv, p, segments);
	if (flags != NULL)
		*flags = p->direction;
	return kIOReturnSuccess;
}

kern_return_t IODMACommand_PrepareForDMA(IODMACommand *self, uint64_t options,
					 IOMemoryDescriptor *memory, uint64_t offset,
					 uint64_t length, uint64_t *flags, uint32_t *segmentsCount,
					 IOAddressSegment *segments)
{
	if (self == NULL || memory == NULL || options != 0)
		return refuse(kIOReturnBadArgument,
			      "PrepareForDMA takes a command, memory, and options 0");
	if (segmentsCount == NULL || segments == NULL || *segmentsCount == 0 ||
	    *segmentsCount > kIODMACommandSegmentsMax)
		return refuse(kIOReturnBadArgument, "PrepareForDMA: room for 1 to %d segments",
			      kIODMACommandSegmentsMax);
	struct preparation p = { .memory = memory, .offset = offset, .length = length };
	pthread_mutex_lock(&self->ivars->lock);
	kern_return_t ret = prepare(self->ivars, &p, flags, segmentsCount, segments);
	pthread_mutex_unlock(&self->ivars->lock);
	return ret;
}

static kern_return_t not_ready(const char *what)
{
	return refuse(kIOReturnNotReady, "%s: the command is not prepared", what);
}

kern_return_t IODMACommand_CompleteDMA(IODMACommand *self, uint64_t options)
{
	if (self == NULL || options != 0)
		return refuse(kIOReturnBadArgument, "CompleteDMA takes a command, and options 0");
	kern_return_t ret = kIOReturnSuccess;
	pthread_mutex_lock(&self->ivars->lock);
	if (self->ivars->memory == NULL)
		ret = not_ready("CompleteDMA");
	else
		complete(self->ivars);
	pthread_mutex_unlock(&self->ivars->lock);
	return ret;
}

kern_return_t IODMACommand_GetPreparation(IODMACommand *self, uint64_t *offset, uint64_t *length,
					  IOMemoryDescriptor **memory)
{
	if (self == NULL)
		return refuse(kIOReturnBadArgument, "GetPreparation: no command");
	struct IODMACommand_IVars *iv = self->ivars;
	kern_return_t ret = kIOReturnSuccess;
	pthread_mutex_lock(&iv->lock);
	if (iv->memory == NULL)
		ret = not_ready("GetPreparation");
	if (ret == kIOReturnSuccess && offset != NULL)
		*offset = iv->offset;
	if (ret == kIOReturnSuccess && length != NULL)
		*length = iv->length;
	if (ret == kIOReturnSuccess && memory != NULL) {
		OSObjectRetain(iv->memory);
		*memory = iv->memory;
	}
	pthread_mutex_unlock(&iv->lock);
	return ret;
}

/* --- copying --- */

/* One side of a copy. */
struct side {
	IOMemoryDescriptor *memory; // NULL: zeroes
	uint64_t offset;
};

/* What is there in one piece; zeroes have no address. */
static kern_return_t get_span(const struct side *side, uint8_t **bytes, uint64_t *n)
{
	uint64_t here;
	*bytes = NULL;
	if (side->memory == NULL)
		return kIOReturnSuccess;
	kern_return_t ret = memory_get_span(side->memory, side->offset, bytes, &here);
	if (ret == kIOReturnSuccess && here < *n)
		*n = here;
	return ret;
}

static kern_return_t copy(struct side to, struct side from, uint64_t length)
{
	while (length > 0) {
		uint64_t n = length;
		uint8_t *target, *source;
		kern_return_t ret = get_span(&to, &target, &n);
		if (ret == kIOReturnSuccess)
			ret = get_span(&from, &source, &n);
		if (ret != kIOReturnSuccess)
			return ret;
		if (source != NULL)
			memmove(target, source, n);
		else
			memset(target, 0, n);
		to.offset += n;
		from.offset += n;
		length -= n;
	}
	if (memory_is_lost(to.memory) || (from.memory != NULL && memory_is_lost(from.memory)))
		return refuse(kIOReturnVMError, "PerformOperation: the memory has vanished");
	return kIOReturnSuccess;
}

static kern_return_t check_side(const char *what, uint64_t room, uint64_t offset, uint64_t length)
{
	if (offset <= room && length <= room - offset)
		return kIOReturnSuccess;
	return refuse(kIOReturnUnderrun,
		      "PerformOperation: %llu bytes from %llu of %s, which has %llu",
		      (unsigned long long)length, (unsigned long long)offset, what,
		      (unsigned long long)room);
}

static kern_return_t perform(struct IODMACommand_IVars *iv, uint64_t operation, struct side dma,
			     uint64_t length, struct side data)
{
	uint64_t available = 0;
	if (iv->memory == NULL)
		return not_ready("PerformOperation");
	kern_return_t ret = check_side("what is prepared", iv->length, dma.offset, length);
	if (ret == kIOReturnSuccess && data.memory != NULL) {
		IOMemoryDescriptor_GetLength(data.memory, &available);
		ret = check_side("the data", available, data.offset, length);
	}
	if (ret != kIOReturnSuccess)
		return ret;
	dma.memory = iv->memory;
	dma.offset += iv->offset;
	bool reads = operation == kIODMACommandPerformOperationOptionRead;
	if (!memory_is_writable(reads ? data.memory : dma.memory))
		return refuse(kIOReturnNotWritable,
			      "PerformOperation: the application gave this memory to be read");
	return reads ? copy(data, dma, length) : copy(dma, data, length);
}

kern_return_t IODMACommand_PerformOperation(IODMACommand *self, uint64_t options,
					    uint64_t dmaOffset, uint64_t length,
					    uint64_t dataOffset, IOMemoryDescriptor *data)
{
	bool zeroes = options == kIODMACommandPerformOperationOptionZero;
	if (self == NULL || (!zeroes && options != kIODMACommandPerformOperationOptionRead &&
			     options != kIODMACommandPerformOperationOptionWrite))
		return refuse(kIOReturnBadArgument,
			      "PerformOperation: options %#llx: one of Read, Write, Zero",
			      (unsigned long long)options);
	if (data == NULL && !zeroes)
		return refuse(kIOReturnBadArgument, "PerformOperation: data is NULL");
	pthread_mutex_lock(&self->ivars->lock);
	kern_return_t ret = perform(self->ivars, options, (struct side){ NULL, dmaOffset }, length,
				    (struct side){ zeroes ? NULL : data, dataOffset });
	pthread_mutex_unlock(&self->ivars->lock);
	return ret;
}
