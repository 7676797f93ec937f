/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Memory descriptors.
 *
 * A descriptor is a range of a file, a part of another descriptor, which it keeps and whose file it
 * borrows, or a concatenation of such parts. A concatenation is flat: one of concatenations is one
 * of their parts, and a part of one that lies in a single part is a part of that. What it is made
 * of is fixed then: a buffer's SetLength does not move what comes behind.
 *
 * The bytes in this process are mapped when first asked for (a buffer's at once) and stay until the
 * descriptor goes; a part, and a map that may write, use those of the whole if they are mapped
 * already.
 *
 * Any thread may use a descriptor; only SetLength changes one that is shared.
 */

#include <runtime/memory_parts.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/reason.h>

/* Of one that is no concatenation. */
static int fd_of(const struct IOMemoryDescriptor_IVars *iv)
{
	while (iv->fd < 0)
		iv = iv->whole->ivars;
	return iv->fd;
}

kern_return_t memory_check_range(const char *what, uint64_t room, uint64_t offset, uint64_t *length)
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

kern_return_t memory_set_up(IOMemoryDescriptor *object, int *fd, uint64_t offset, uint64_t length,
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
	kern_return_t ret = memory_set_up(made, fd, offset, length, direction);
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
		window_close(&iv->read_only);
		close_fdp(&iv->fd);
		OSObjectRelease(iv->whole);
		for (unsigned i = 0; i < iv->n_parts; i++)
			OSObjectRelease(iv->parts[i]);
		free(iv->parts);
		if (iv->on_free != NULL)
			iv->on_free(iv->context);
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

void memory_set_foreign(IOMemoryDescriptor *memory)
{
	memory->ivars->is_foreign = true;
}

void memory_set_on_free(IOMemoryDescriptor *memory, void (*on_free)(void *context), void *context)
{
	memory->ivars->on_free = on_free;
	memory->ivars->context = context;
}

void memory_get_backing(IOMemoryDescriptor *memory, struct memory_backing *backing)
{
	const struct IOMemoryDescriptor_IVars *iv = memory->ivars;

	*backing = (struct memory_backing){
		.fd = iv->n_parts == 0 ? fd_of(iv) : -1,
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

static kern_return_t check_direction(const char *what, const struct IOMemoryDescriptor_IVars *iv,
				     uint64_t options)
{
	if ((options & ~(uint64_t)kIOMemoryDirectionInOut) != 0)
		return refuse(kIOReturnBadArgument,
			      "%s: options %#llx: only a direction is allowed", what,
			      (unsigned long long)options);
	if (iv->is_foreign && (options & ~(uint64_t)iv->direction) != 0)
		return refuse(kIOReturnNotPermitted,
			      "%s: direction %llu of memory that its owner gave for %u", what,
			      (unsigned long long)options, iv->direction);
	return kIOReturnSuccess;
}

/* A part of one that is no concatenation; the range was checked. */
static kern_return_t part_new(IOMemoryDescriptor *whole, uint64_t offset, uint64_t length,
			      uint32_t direction, IOMemoryDescriptor **part)
{
	const struct IOMemoryDescriptor_IVars *from = whole->ivars;
	int none = -1;
	kern_return_t ret = descriptor_new(&none, from->offset + offset, length, direction, part);

	if (ret != kIOReturnSuccess)
		return ret;
	OSObjectRetain(whole);
	(*part)->ivars->whole = whole;
	(*part)->ivars->cache_mode = from->cache_mode;
	(*part)->ivars->is_foreign = from->is_foreign;
	return kIOReturnSuccess;
}

/* --- concatenations --- */

/* Put the pieces of `memory`'s range at the end of `to`, which has no file, whole or window yet. */
static kern_return_t append(struct IOMemoryDescriptor_IVars *to, IOMemoryDescriptor *memory,
			    uint64_t offset, uint64_t length)
{
	const struct IOMemoryDescriptor_IVars *from = memory->ivars;

	for (unsigned i = 0; i < from->n_parts && length > 0; i++) {
		uint64_t size = from->parts[i]->ivars->capacity;
		uint64_t n = offset < size ? size - offset : 0;
		n = n < length ? n : length;
		kern_return_t ret =
			n > 0 ? append(to, from->parts[i], offset, n) : kIOReturnSuccess;
		if (ret != kIOReturnSuccess)
			return ret;
		offset = n > 0 ? 0 : offset - size;
		length -= n;
	}
	if (from->n_parts > 0)
		return kIOReturnSuccess;
	if (to->n_parts == MEMORY_PIECES_MAX)
		return refuse(kIOReturnNoResources, "a concatenation has at most %d pieces",
			      MEMORY_PIECES_MAX);
	kern_return_t ret =
		part_new(memory, offset, length, from->direction, &to->parts[to->n_parts]);
	if (ret != kIOReturnSuccess)
		return ret;
	to->n_parts++;
	to->capacity += length;
	atomic_store(&to->length, to->capacity);
	to->is_foreign = to->is_foreign || from->is_foreign;
	if (from->cache_mode != kIOMemoryMapCacheModeDefault)
		to->cache_mode = from->cache_mode;
	return kIOReturnSuccess;
}

static kern_return_t concatenation_new(uint32_t direction, IOMemoryDescriptor **made)
{
	int none = -1;
	kern_return_t ret = descriptor_new(&none, 0, 0, direction, made);

	if (ret != kIOReturnSuccess)
		return ret;
	(*made)->ivars->parts = calloc(MEMORY_PIECES_MAX, sizeof(IOMemoryDescriptor *));
	if ((*made)->ivars->parts != NULL)
		return kIOReturnSuccess;
	OSObjectRelease(*made);
	return refuse(kIOReturnNoMemory, "out of memory for a concatenation");
}

kern_return_t IOMemoryDescriptor_CreateSubMemoryDescriptor(uint64_t options, uint64_t offset,
							   uint64_t length, IOMemoryDescriptor *of,
							   IOMemoryDescriptor **memory)
{
	const char *what = "CreateSubMemoryDescriptor";
	if (of == NULL || memory == NULL)
		return refuse(kIOReturnBadArgument, "%s: memory is missing", what);
	const struct IOMemoryDescriptor_IVars *whole = of->ivars;
	if (length == 0)
		return refuse(kIOReturnBadArgument, "%s: no length", what);
	kern_return_t ret = check_direction(what, whole, options);
	if (ret == kIOReturnSuccess)
		ret = memory_check_range(what, length_of(whole), offset, &length);
	if (ret != kIOReturnSuccess)
		return ret;
	uint32_t direction = options != 0 ? (uint32_t)options : whole->direction;
	if (whole->n_parts == 0)
		return part_new(of, offset, length, direction, memory);

	IOMemoryDescriptor *made;
	ret = concatenation_new(direction, &made);
	if (ret != kIOReturnSuccess)
		return ret;
	ret = append(made->ivars, of, offset, length);
	if (ret == kIOReturnSuccess)
		*memory = made;
	else
		OSObjectRelease(made);
	return ret;
}

static kern_return_t check_sources(uint64_t options, unsigned count,
				   IOMemoryDescriptor *const *memories)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < count; i++) {
		if (memories[i] == NULL)
			return refuse(kIOReturnBadArgument,
				      "CreateWithMemoryDescriptors: descriptor %u is NULL", i);
		const struct IOMemoryDescriptor_IVars *iv = memories[i]->ivars;
		uint64_t length = length_of(iv);
		if ((options & ~(uint64_t)iv->direction) != 0)
			return refuse(
				kIOReturnBadArgument,
				"CreateWithMemoryDescriptors: descriptor %u has direction %u, "
				"which lacks some of %llu",
				i, iv->direction, (unsigned long long)options);
		if (iv->cache_mode != memories[0]->ivars->cache_mode)
			return refuse(kIOReturnUnsupported,
				      "CreateWithMemoryDescriptors: descriptor %u is cached in "
				      "another way than the first",
				      i);
		if (length == 0 || length > INT64_MAX - total)
			return refuse(kIOReturnBadArgument,
				      "CreateWithMemoryDescriptors: descriptor %u has %llu bytes: "
				      "none, or too many",
				      i, (unsigned long long)length);
		total += length;
	}
	return kIOReturnSuccess;
}

kern_return_t memory_concatenate(uint32_t direction, unsigned count,
				 IOMemoryDescriptor *const *memories, IOMemoryDescriptor **memory)
{
	IOMemoryDescriptor *made;
	kern_return_t ret = check_sources(direction, count, memories);
	if (ret == kIOReturnSuccess)
		ret = concatenation_new(direction, &made);
	if (ret != kIOReturnSuccess)
		return ret;
	for (unsigned i = 0; i < count && ret == kIOReturnSuccess; i++)
		ret = append(made->ivars, memories[i], 0, length_of(memories[i]->ivars));
	if (ret == kIOReturnSuccess)
		*memory = made;
	else
		OSObjectRelease(made);
	return ret;
}

kern_return_t IOMemoryDescriptor_CreateWithMemoryDescriptors(uint64_t options, uint32_t count,
							     IOMemoryDescriptor *const *memories,
							     IOMemoryDescriptor **memory)
{
	uint64_t direction = options;
	if (memories == NULL || memory == NULL || count == 0 || count > MEMORY_PARTS_MAX)
		return refuse(kIOReturnBadArgument,
			      "CreateWithMemoryDescriptors: %u descriptors: 1 to %d", count,
			      MEMORY_PARTS_MAX);
	if ((options & ~(uint64_t)kIOMemoryDirectionInOut) != 0)
		return refuse(kIOReturnBadArgument,
			      "CreateWithMemoryDescriptors: options %#llx: only a direction is "
			      "allowed",
			      (unsigned long long)options);
	if (options == 0) {
		direction = kIOMemoryDirectionInOut;
		for (uint32_t i = 0; i < count && memories[i] != NULL; i++)
			direction &= memories[i]->ivars->direction;
	}
	return memory_concatenate((uint32_t)direction, count, memories, memory);
}

unsigned memory_get_pieces(IOMemoryDescriptor *memory, uint64_t offset, uint64_t length,
			   struct window_piece *pieces)
{
	const struct IOMemoryDescriptor_IVars *iv = memory->ivars;
	unsigned n = 0;

	if (iv->n_parts == 0) {
		*pieces = (struct window_piece){ fd_of(iv), iv->offset + offset, length };
		return 1;
	}
	for (unsigned i = 0; i < iv->n_parts && length > 0; i++) {
		const struct IOMemoryDescriptor_IVars *part = iv->parts[i]->ivars;
		if (offset >= part->capacity) {
			offset -= part->capacity;
			continue;
		}
		uint64_t here = part->capacity - offset;
		here = here < length ? here : length;
		pieces[n++] = (struct window_piece){ fd_of(part), part->offset + offset, here };
		offset = 0;
		length -= here;
	}
	return n;
}

/* --- bytes --- */

static void *mapped_bytes(struct IOMemoryDescriptor_IVars *iv)
{
	pthread_mutex_lock(&iv->lock);
	void *bytes = iv->window.bytes;
	pthread_mutex_unlock(&iv->lock);
	return bytes;
}

const struct window *memory_mapped(struct IOMemoryDescriptor_IVars *iv, char **bytes)
{
	for (struct IOMemoryDescriptor_IVars *owner = iv;; owner = owner->whole->ivars) {
		char *base = mapped_bytes(owner);
		if (base != NULL) {
			*bytes = base + (iv->offset - owner->offset);
			return &owner->window;
		}
		if (owner->whole == NULL)
			return NULL;
	}
}

/* All that `owner` has, in one of its windows. */
static kern_return_t map_once(IOMemoryDescriptor *owner, struct window *window, bool writable)
{
	struct IOMemoryDescriptor_IVars *iv = owner->ivars;
	struct window_piece pieces[MEMORY_PIECES_MAX];
	kern_return_t ret = kIOReturnSuccess;

	pthread_mutex_lock(&iv->lock);
	if (window->bytes == NULL) {
		const struct window_shape shape = {
			.pieces = pieces,
			.n_pieces = memory_get_pieces(owner, 0, iv->capacity, pieces),
			.writable = writable,
			.alignment = iv->alignment,
			.margin = MEMORY_MARGIN,
		};
		ret = window_open(window, &shape);
	}
	pthread_mutex_unlock(&iv->lock);
	return ret;
}

kern_return_t memory_map_read_only(IOMemoryDescriptor *memory, const struct window **window,
				   char **bytes)
{
	IOMemoryDescriptor *owner = memory;
	while (owner->ivars->whole != NULL)
		owner = owner->ivars->whole;
	kern_return_t ret = map_once(owner, &owner->ivars->read_only, false);
	if (ret != kIOReturnSuccess)
		return ret;
	*window = &owner->ivars->read_only;
	*bytes = (char *)owner->ivars->read_only.bytes +
		 (memory->ivars->offset - owner->ivars->offset);
	return kIOReturnSuccess;
}

kern_return_t memory_get_bytes(IOMemoryDescriptor *memory, void **address, uint64_t *length)
{
	struct IOMemoryDescriptor_IVars *iv = memory->ivars;
	char *bytes;

	if (memory_mapped(iv, &bytes) == NULL) {
		kern_return_t ret = map_once(memory, &iv->window, true);
		if (ret != kIOReturnSuccess)
			return ret;
		bytes = iv->window.bytes;
	}
	*address = bytes;
	*length = length_of(iv);
	return kIOReturnSuccess;
}

kern_return_t memory_get_span(IOMemoryDescriptor *memory, uint64_t offset, uint8_t **bytes,
			      uint64_t *length)
{
	const struct IOMemoryDescriptor_IVars *iv = memory->ivars;
	void *start = NULL;

	for (unsigned i = 0; i < iv->n_parts; i++) {
		memory = iv->parts[i];
		if (offset < memory->ivars->capacity)
			break;
		offset -= memory->ivars->capacity;
	}
	kern_return_t ret = memory_get_bytes(memory, &start, length);
	if (ret == kIOReturnSuccess && offset >= *length)
		ret = refuse(kIOReturnBadArgument, "the memory ends before byte %llu",
			     (unsigned long long)offset);
	if (ret != kIOReturnSuccess)
		return ret;
	*bytes = (uint8_t *)start + offset;
	*length -= offset;
	return kIOReturnSuccess;
}

bool memory_is_writable(IOMemoryDescriptor *memory)
{
	return is_writable(memory->ivars);
}

/* One that is not open has lost nothing. */
static bool has_lost(struct IOMemoryDescriptor_IVars *iv)
{
	pthread_mutex_lock(&iv->lock);
	bool is_lost = window_is_lost(&iv->window) || window_is_lost(&iv->read_only);
	pthread_mutex_unlock(&iv->lock);
	return is_lost;
}

bool memory_is_lost(IOMemoryDescriptor *memory)
{
	for (; memory != NULL; memory = memory->ivars->whole)
		if (has_lost(memory->ivars))
			return true;
	return false;
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
	if (backing.fd < 0)
		return refuse(kIOReturnUnsupported,
			      "a concatenation is several files: give its parts away, each under a "
			      "type of its own");
	kern_return_t ret = check_whole(memory, &backing);
	if (ret != kIOReturnSuccess)
		return ret;

	read_only = read_only || backing.direction == kIOMemoryDirectionOut;
	int seals = fcntl(backing.fd, F_GET_SEALS);
	if (!read_only && (seals < 0 || (seals & F_SEAL_SEAL) != 0))
		return kIOReturnSuccess; // given away before, more often than not
	int flags = fcntl(backing.fd, F_GETFL);
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
