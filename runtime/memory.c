/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Memory descriptors, buffers and maps.
 *
 * A descriptor is a range of a file. A part of another descriptor keeps that one and borrows its
 * file; a buffer is a file made here, an anonymous one that is sealed, so that whoever is given it
 * can neither shrink nor grow it. The bytes in this process are mapped when first asked for (a
 * buffer's at once) and stay until the descriptor goes; a part, and a map that may write, use those
 * of the whole if they are mapped already.
 *
 * Any thread may use a descriptor; only SetLength changes one that is shared.
 */

#include <runtime/memory.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/reason.h>
#include <runtime/window.h>

#define CACHE_MODES                                                     \
	(kIOMemoryMapCacheModeInhibit | kIOMemoryMapCacheModeCopyback | \
	 kIOMemoryMapCacheModeWriteThrough | kIOMemoryMapCacheModeRealTime)

struct IOMemoryDescriptor_IVars {
	int fd;                    // owned; -1: that of `whole`
	IOMemoryDescriptor *whole; // kept; NULL: not a part
	uint64_t offset;           // of byte 0 in the file; constant, as are the next two
	uint64_t capacity;         // the most that `length` may be
	uint32_t direction;
	uint32_t cache_mode;
	_Atomic uint64_t length;
	pthread_mutex_t lock;
	struct window window; // guarded by lock until mapped, then constant
};

struct IOMemoryMap_IVars {
	IOMemoryDescriptor *memory; // kept
	uint64_t offset;
	void *bytes;
	size_t length;
	const struct window *window; // that they are in: `own`, or the descriptor's
	struct window own;
};

static uint64_t length_of(const struct IOMemoryDescriptor_IVars *iv)
{
	return atomic_load_explicit(&iv->length, memory_order_relaxed);
}

static int fd_of(const struct IOMemoryDescriptor_IVars *iv)
{
	while (iv->fd < 0)
		iv = iv->whole->ivars;
	return iv->fd;
}

/* `length` 0 means to the end and is replaced. */
static kern_return_t check_range(const char *what, uint64_t room, uint64_t offset, uint64_t *length)
{
	if (offset > room || *length > room - offset)
		return refuse(kIOReturnBadArgument,
			      "%s: %llu bytes from %llu are outside the memory's %llu", what,
			      (unsigned long long)*length, (unsigned long long)offset,
			      (unsigned long long)room);
	if (*length == 0)
		*length = room - offset;
	if (*length == 0)
		return refuse(kIOReturnBadArgument, "%s: the range is empty", what);
	return kIOReturnSuccess;
}

/* --- descriptors --- */

/* `object` is fresh; `fd` is consumed on success. */
static kern_return_t set_up(IOMemoryDescriptor *object, int *fd, uint64_t offset, uint64_t length,
			    uint32_t direction)
{
	struct IOMemoryDescriptor_IVars *iv = calloc(1, sizeof(*iv));

	if (iv == NULL)
		return refuse(kIOReturnNoMemory, "out of memory for a memory descriptor");
	pthread_mutex_init(&iv->lock, NULL);
	iv->fd = steal_fd(fd);
	iv->offset = offset;
	iv->capacity = length;
	iv->direction = direction;
	iv->cache_mode = kIOMemoryMapCacheModeDefault;
	atomic_init(&iv->length, length);
	object->ivars = iv;
	return kIOReturnSuccess;
}

static kern_return_t descriptor_new(int *fd, uint64_t offset, uint64_t length, uint32_t direction,
				    IOMemoryDescriptor **memory)
{
	IOMemoryDescriptor *made = OSTypeAlloc(IOMemoryDescriptor);

	if (made == NULL)
		return refuse(kIOReturnNoMemory, "out of memory for a memory descriptor");
	kern_return_t ret = set_up(made, fd, offset, length, direction);
	if (ret != kIOReturnSuccess) {
		OSObjectRelease(made);
		return ret;
	}
	*memory = made;
	return kIOReturnSuccess;
}

/* A device's descriptor has no size to check against: its mmap will refuse. */
static kern_return_t check_file(int fd, uint64_t offset, uint64_t length)
{
	struct stat status;

	if (length == 0 || length > UINT64_MAX - offset)
		return refuse(kIOReturnBadArgument, "%llu bytes from %llu are no range",
			      (unsigned long long)length, (unsigned long long)offset);
	if (fstat(fd, &status) < 0)
		return refuse(kIOReturnBadArgument, "descriptor %d is not open", fd);
	if (S_ISREG(status.st_mode) && offset + length > (uint64_t)status.st_size)
		return refuse(kIOReturnBadArgument,
			      "%llu bytes from %llu are beyond the end of the file, which has %llu",
			      (unsigned long long)length, (unsigned long long)offset,
			      (unsigned long long)status.st_size);
	return kIOReturnSuccess;
}

kern_return_t memory_descriptor_create(int fd, uint64_t offset, uint64_t length, uint32_t direction,
				       IOMemoryDescriptor **memory)
{
	CLEANUP(close_fdp) int file = fd;
	kern_return_t ret = check_file(file, offset, length);

	if (ret == kIOReturnSuccess)
		ret = descriptor_new(&file, offset, length, direction, memory);
	return ret;
}

void IMPL(IOMemoryDescriptor, free)
{
	struct IOMemoryDescriptor_IVars *iv = self->ivars;

	if (iv != NULL) {
		window_close(&iv->window);
		close_fdp(&iv->fd);
		OSObjectRelease(iv->whole);
		pthread_mutex_destroy(&iv->lock);
		free(iv);
		self->ivars = NULL;
	}
	IOMemoryDescriptor_super_free(self);
}

void memory_set_cache_mode(IOMemoryDescriptor *memory, uint32_t cache_mode)
{
	memory->ivars->cache_mode = cache_mode;
}

void memory_get_backing(IOMemoryDescriptor *memory, struct memory_backing *backing)
{
	const struct IOMemoryDescriptor_IVars *iv = memory->ivars;

	*backing = (struct memory_backing){
		.fd = fd_of(iv),
		.offset = iv->offset,
		.length = length_of(iv),
		.direction = iv->direction,
		.cache_mode = iv->cache_mode,
	};
}

kern_return_t IOMemoryDescriptor_GetLength(IOMemoryDescriptor *self, uint64_t *returnLength)
{
	if (self == NULL || returnLength == NULL)
		return refuse(kIOReturnBadArgument, "GetLength: an argument is missing");
	*returnLength = length_of(self->ivars);
	return kIOReturnSuccess;
}

kern_return_t IOMemoryDescriptor_CreateSubMemoryDescriptor(uint64_t options, uint64_t offset,
							   uint64_t length, IOMemoryDescriptor *of,
							   IOMemoryDescriptor **memory)
{
	if (of == NULL || memory == NULL)
		return refuse(kIOReturnBadArgument, "CreateSubMemoryDescriptor: memory is missing");
	if ((options & ~(uint64_t)kIOMemoryDirectionInOut) != 0)
		return refuse(
			kIOReturnBadArgument,
			"CreateSubMemoryDescriptor: options %#llx: only a direction is allowed",
			(unsigned long long)options);
	const struct IOMemoryDescriptor_IVars *whole = of->ivars;
	if (length == 0)
		return refuse(kIOReturnBadArgument, "CreateSubMemoryDescriptor: no length");
	kern_return_t ret =
		check_range("CreateSubMemoryDescriptor", length_of(whole), offset, &length);
	if (ret != kIOReturnSuccess)
		return ret;

	int none = -1;
	uint32_t direction = options != 0 ? (uint32_t)options : whole->direction;
	ret = descriptor_new(&none, whole->offset + offset, length, direction, memory);
	if (ret != kIOReturnSuccess)
		return ret;
	OSObjectRetain(of);
	(*memory)->ivars->whole = of;
	(*memory)->ivars->cache_mode = whole->cache_mode;
	return kIOReturnSuccess;
}

/* --- bytes --- */

static void *mapped_bytes(struct IOMemoryDescriptor_IVars *iv)
{
	pthread_mutex_lock(&iv->lock);
	void *bytes = iv->window.bytes;
	pthread_mutex_unlock(&iv->lock);
	return bytes;
}

/* The nearest descriptor, from this one up, whose bytes are mapped; NULL: none. */
static struct IOMemoryDescriptor_IVars *mapped_owner(struct IOMemoryDescriptor_IVars *iv)
{
	for (;; iv = iv->whole->ivars) {
		if (mapped_bytes(iv) != NULL)
			return iv;
		if (iv->whole == NULL)
			return NULL;
	}
}

static kern_return_t map_own(struct IOMemoryDescriptor_IVars *iv)
{
	kern_return_t ret = kIOReturnSuccess;

	pthread_mutex_lock(&iv->lock);
	if (iv->window.bytes == NULL)
		ret = window_open(&iv->window, fd_of(iv), iv->offset, iv->capacity, true);
	pthread_mutex_unlock(&iv->lock);
	return ret;
}

kern_return_t memory_get_bytes(IOMemoryDescriptor *memory, void **address, uint64_t *length)
{
	struct IOMemoryDescriptor_IVars *iv = memory->ivars;
	struct IOMemoryDescriptor_IVars *owner = mapped_owner(iv);

	if (owner == NULL) {
		kern_return_t ret = map_own(iv);
		if (ret != kIOReturnSuccess)
			return ret;
		owner = iv;
	}
	*address = (char *)owner->window.bytes + (iv->offset - owner->offset);
	*length = length_of(iv);
	return kIOReturnSuccess;
}

bool memory_is_lost(IOMemoryDescriptor *memory)
{
	struct IOMemoryDescriptor_IVars *owner = mapped_owner(memory->ivars);

	return owner != NULL && window_is_lost(&owner->window);
}

/* --- maps --- */

static kern_return_t check_mapping(const struct IOMemoryDescriptor_IVars *iv, uint64_t options,
				   uint64_t address, uint64_t alignment)
{
	uint64_t cache = options & CACHE_MODES;
	uint64_t known = kIOMemoryMapReadOnly | kIOMemoryMapGuardedMask | CACHE_MODES;

	if ((options & kIOMemoryMapFixedAddress) != 0 || address != 0 || alignment != 0)
		return refuse(kIOReturnBadArgument,
			      "CreateMapping: the address cannot be chosen: address and alignment "
			      "must be 0");
	if ((options & ~known) != 0 || (cache & (cache - 1)) != 0)
		return refuse(kIOReturnBadArgument, "CreateMapping: unknown options %#llx",
			      (unsigned long long)options);
	if (cache != kIOMemoryMapCacheModeDefault && cache != iv->cache_mode)
		return refuse(
			kIOReturnUnsupported,
			"CreateMapping: cache mode %#llx: this memory is mapped with its own, "
			"%#x",
			(unsigned long long)cache, iv->cache_mode);
	return kIOReturnSuccess;
}

/* Bytes that are mapped already need no further mapping, unless it is to be read-only. */
static kern_return_t map_range(struct IOMemoryDescriptor_IVars *iv, struct IOMemoryMap_IVars *map,
			       uint64_t offset, uint64_t length, bool writable)
{
	const struct IOMemoryDescriptor_IVars *owner = writable ? mapped_owner(iv) : NULL;
	kern_return_t ret = kIOReturnSuccess;

	map->offset = offset;
	map->length = (size_t)length;
	if (owner != NULL) {
		map->window = &owner->window;
		map->bytes = (char *)owner->window.bytes + (iv->offset - owner->offset) + offset;
	} else {
		ret = window_open(&map->own, fd_of(iv), iv->offset + offset, length, writable);
		map->window = &map->own;
		map->bytes = map->own.bytes;
	}
	return ret;
}

kern_return_t IOMemoryDescriptor_CreateMapping(IOMemoryDescriptor *self, uint64_t options,
					       uint64_t address, uint64_t offset, uint64_t length,
					       uint64_t alignment, IOMemoryMap **map)
{
	if (self == NULL || map == NULL)
		return refuse(kIOReturnBadArgument, "CreateMapping: an argument is missing");
	struct IOMemoryDescriptor_IVars *iv = self->ivars;
	kern_return_t ret = check_mapping(iv, options, address, alignment);
	if (ret == kIOReturnSuccess)
		ret = check_range("CreateMapping", length_of(iv), offset, &length);
	if (ret != kIOReturnSuccess)
		return ret;

	IOMemoryMap *made = OSTypeAlloc(IOMemoryMap);
	if (made != NULL)
		made->ivars = calloc(1, sizeof(*made->ivars));
	if (made == NULL || made->ivars == NULL) {
		OSObjectRelease(made);
		return refuse(kIOReturnNoMemory, "CreateMapping: out of memory");
	}
	ret = map_range(iv, made->ivars, offset, length, (options & kIOMemoryMapReadOnly) == 0);
	if (ret != kIOReturnSuccess) {
		OSObjectRelease(made);
		return ret;
	}
	OSObjectRetain(self);
	made->ivars->memory = self;
	*map = made;
	return kIOReturnSuccess;
}

void IMPL(IOMemoryMap, free)
{
	if (self->ivars != NULL) {
		window_close(&self->ivars->own);
		OSObjectRelease(self->ivars->memory);
		free(self->ivars);
		self->ivars = NULL;
	}
	IOMemoryMap_super_free(self);
}

uint64_t IOMemoryMap_GetAddress(IOMemoryMap *self)
{
	return self != NULL ? (uint64_t)(uintptr_t)self->ivars->bytes : 0;
}

uint64_t IOMemoryMap_GetLength(IOMemoryMap *self)
{
	return self != NULL ? self->ivars->length : 0;
}

uint64_t IOMemoryMap_GetOffset(IOMemoryMap *self)
{
	return self != NULL ? self->ivars->offset : 0;
}

bool IOMemoryMap_IsLost(IOMemoryMap *self)
{
	return self != NULL && window_is_lost(self->ivars->window);
}

/* --- sharing --- */

/* A buffer is the whole of its file, whatever its length says; anything else may be a part. */
static kern_return_t check_whole(IOMemoryDescriptor *memory, const struct memory_backing *backing)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct stat st;

	if (OSDynamicCast(IOBufferMemoryDescriptor, memory) != NULL)
		return kIOReturnSuccess;
	if (fstat(backing->fd, &st) < 0)
		return refuse(return_from_errno(-errno), "the memory's descriptor is unusable");
	if (!S_ISREG(st.st_mode) ||
	    (backing->offset == 0 &&
	     (uint64_t)st.st_size <= (backing->length + page - 1) / page * page))
		return kIOReturnSuccess;
	return refuse(
		kIOReturnUnsupported,
		"%llu bytes at %llu of a file of %lld: whoever maps a part can map the whole; "
		"give away a memory of its own",
		(unsigned long long)backing->length, (unsigned long long)backing->offset,
		(long long)st.st_size);
}

kern_return_t memory_share(IOMemoryDescriptor *memory, bool read_only)
{
	struct memory_backing backing;
	memory_get_backing(memory, &backing);
	kern_return_t ret = check_whole(memory, &backing);
	if (ret != kIOReturnSuccess)
		return ret;

	read_only = read_only || backing.direction == kIOMemoryDirectionOut;
	int flags = fcntl(backing.fd, F_GETFL), seals = fcntl(backing.fd, F_GET_SEALS);
	if (flags >= 0 && (flags & O_ACCMODE) == O_RDONLY)
		return kIOReturnSuccess;
	/* The last seal: what a client may still add would bind the others. */
	int wanted = F_SEAL_SEAL | (read_only ? F_SEAL_FUTURE_WRITE : 0);
	if (seals >= 0 && (seals & F_SEAL_SEAL) == 0 && fcntl(backing.fd, F_ADD_SEALS, wanted) == 0)
		return kIOReturnSuccess;
	if (!read_only || (seals >= 0 && (seals & F_SEAL_FUTURE_WRITE) != 0))
		return kIOReturnSuccess;
	return refuse(kIOReturnUnsupported,
		      "the memory cannot be kept from being written: it was given away for writing "
		      "before, or is not a buffer");
}

/* --- buffers --- */

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
	if ((alignment & (alignment - 1)) != 0 || alignment > (uint64_t)sysconf(_SC_PAGESIZE))
		return refuse(kIOReturnBadArgument,
			      "a buffer's alignment %llu: a power of two up to the page size",
			      (unsigned long long)alignment);
	return kIOReturnSuccess;
}

static kern_return_t buffer_set_up(IOBufferMemoryDescriptor *buffer, uint64_t options,
				   uint64_t capacity)
{
	CLEANUP(close_fdp) int fd = -1;
	kern_return_t ret = make_file(capacity, &fd);

	if (ret == kIOReturnSuccess)
		ret = set_up(&buffer->super, &fd, 0, capacity, (uint32_t)options);
	if (ret == kIOReturnSuccess)
		ret = map_own(buffer->super.ivars);
	return ret;
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
	ret = buffer_set_up(made, options, capacity);
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
