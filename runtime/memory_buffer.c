/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Buffers: anonymous files made here and sealed, so that whoever is given one can neither shrink
 * nor grow it, mapped at once.
 */

#include <runtime/memory_parts.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/reason.h>

#define ALIGNMENT_MAX (1ULL << 30)

/* MFD_NOEXEC_SEAL is younger than the oldest kernel that we run on, and refused there. */
static int make_memfd(void)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	unsigned no_exec = 0x0008U;
	int fd = memfd_create("IOBufferMemoryDescriptor", flags | no_exec);

	return fd >= 0 || errno != EINVAL ? fd : memfd_create("IOBufferMemoryDescriptor", flags);
}

static kern_return_t make_file(uint64_t capacity, int *out)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	CLEANUP(close_fdp) int fd = make_memfd();

	if (capacity > INT64_MAX - page)
		return refuse(kIOReturnNoMemory, "%llu bytes of memory are too many",
			      (unsigned long long)capacity);
	if (fd < 0 || ftruncate(fd, (off_t)((capacity + page - 1) / page * page)) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		return refuse(kIOReturnNoMemory, "%llu bytes of memory cannot be had: %s",
			      (unsigned long long)capacity, strerrordesc_np(errno));
	*out = steal_fd(&fd);
	return kIOReturnSuccess;
}

static kern_return_t check_buffer(uint64_t options, uint64_t capacity, uint64_t alignment)
{
	if ((options & ~(uint64_t)kIOMemoryDirectionInOut) != 0)
		return refuse(kIOReturnBadArgument,
			      "a buffer's options %#llx: only a direction is allowed",
			      (unsigned long long)options);
	if (capacity == 0)
		return refuse(kIOReturnBadArgument, "a buffer has at least one byte");
	if ((alignment & (alignment - 1)) != 0 || alignment > ALIGNMENT_MAX)
		return refuse(kIOReturnBadArgument,
			      "a buffer's alignment %llu: a power of two up to %llu",
			      (unsigned long long)alignment, ALIGNMENT_MAX);
	return kIOReturnSuccess;
}

static kern_return_t buffer_set_up(IOBufferMemoryDescriptor *buffer, uint64_t options,
				   uint64_t capacity, uint64_t alignment)
{
	void *bytes;
	uint64_t length;
	CLEANUP(close_fdp) int fd = -1;
	kern_return_t ret = make_file(capacity, &fd);

	if (ret == kIOReturnSuccess)
		ret = memory_set_up(&buffer->super, &fd, 0, capacity, (uint32_t)options);
	if (ret != kIOReturnSuccess)
		return ret;
	buffer->super.ivars->alignment = alignment;
	return memory_get_bytes(&buffer->super, &bytes, &length);
}

kern_return_t IOBufferMemoryDescriptor_Create(uint64_t options, uint64_t capacity,
					      uint64_t alignment, IOBufferMemoryDescriptor **memory)
{
	if (memory == NULL)
		return refuse(kIOReturnBadArgument, "a buffer needs a place");
	kern_return_t ret = check_buffer(options, capacity, alignment);
	if (ret != kIOReturnSuccess)
		return ret;
	IOBufferMemoryDescriptor *made = OSTypeAlloc(IOBufferMemoryDescriptor);
	if (made == NULL)
		return refuse(kIOReturnNoMemory, "out of memory for a buffer");
	ret = buffer_set_up(made, options, capacity, alignment);
	if (ret != kIOReturnSuccess) {
		OSObjectRelease(made);
		return ret;
	}
	*memory = made;
	return kIOReturnSuccess;
}

kern_return_t IOBufferMemoryDescriptor_GetAddressRange(IOBufferMemoryDescriptor *self,
						       IOAddressSegment *range)
{
	if (self == NULL || range == NULL)
		return refuse(kIOReturnBadArgument, "GetAddressRange: an argument is missing");
	range->address = (uint64_t)(uintptr_t)self->super.ivars->window.bytes;
	range->length = length_of(self->super.ivars);
	return kIOReturnSuccess;
}

kern_return_t IOBufferMemoryDescriptor_SetLength(IOBufferMemoryDescriptor *self, uint64_t length)
{
	if (self == NULL)
		return refuse(kIOReturnBadArgument, "SetLength: no buffer");
	if (length > self->super.ivars->capacity)
		return refuse(kIOReturnBadArgument, "SetLength: %llu is above the capacity, %llu",
			      (unsigned long long)length,
			      (unsigned long long)self->super.ivars->capacity);
	atomic_store_explicit(&self->super.ivars->length, length, memory_order_relaxed);
	return kIOReturnSuccess;
}
