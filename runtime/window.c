/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Mappings. The place is reserved first, as memory that nobody can touch, margins included; then
 * each piece is mapped over its part of it. So pieces lie side by side, and what is left of the
 * reservation keeps a driver that runs over the end from what lies behind.
 *
 * A memfd that is sealed against shrinking can be touched without fear; anything else, a peer's
 * file or a device's region, may lose its pages while it is mapped, and is registered with the
 * SIGBUS handler before the first touch.
 */

#include <runtime/window.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <base/reason.h>

static uint64_t page_size(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

static bool can_shrink(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	return seals < 0 || (seals & F_SEAL_SHRINK) == 0;
}

/* --- the place --- */

/* Whole pages for all pieces. */
static kern_return_t measure(const struct window_shape *shape, uint64_t *size)
{
	uint64_t page = page_size(), end = shape->pieces[0].offset % page;

	for (unsigned i = 0; i < shape->n_pieces; i++) {
		const struct window_piece *piece = &shape->pieces[i];
		if (i > 0 && (end % page != 0 || piece->offset % page != 0))
			return refuse(kIOReturnNotAligned,
				      "part %u of %u begins %llu bytes into a page of its memory, "
				      "and those before it end %llu into one: they can be side by "
				      "side only where pages meet",
				      i, shape->n_pieces,
				      (unsigned long long)(piece->offset % page),
				      (unsigned long long)(end % page));
		if (piece->length == 0 || piece->offset > INT64_MAX ||
		    piece->length > SIZE_MAX / 4 || end > SIZE_MAX / 4)
			return refuse(kIOReturnBadArgument, "%llu bytes from %llu cannot be mapped",
				      (unsigned long long)piece->length,
				      (unsigned long long)piece->offset);
		end += piece->length;
	}
	*size = (end + page - 1) / page * page;
	return kIOReturnSuccess;
}

static kern_return_t reservation_failed(int error, uint64_t address)
{
	if (address == 0)
		return refuse(kIOReturnNoMemory, "no room to map the memory: %s",
			      strerrordesc_np(error));
	if (error == EEXIST)
		return refuse(kIOReturnNoSpace,
			      "address %#llx: something else is mapped there, or where the guard "
			      "pages would be",
			      (unsigned long long)address);
	return refuse(kIOReturnVMError, "address %#llx: nothing can be mapped there: %s",
		      (unsigned long long)address, strerrordesc_np(error));
}

static uint64_t margin_of(const struct window_shape *shape)
{
	uint64_t page = page_size();

	return (shape->margin + page - 1) / page * page;
}

/* Give back what was reserved only to find an aligned place in it. */
static void *trim(char *reserved, uint64_t room, uint64_t wanted, uint64_t margin,
		  uint64_t alignment)
{
	uint64_t first = (uint64_t)(uintptr_t)reserved + margin;
	uint64_t skip = (alignment - first % alignment) % alignment;

	if (skip > 0)
		munmap(reserved, skip);
	if (room - skip > wanted)
		munmap(reserved + skip + wanted, room - skip - wanted);
	return reserved + skip;
}

static kern_return_t reserve(struct window *window, const struct window_shape *shape, uint64_t size)
{
	uint64_t page = page_size(), lead = shape->pieces[0].offset % page;
	uint64_t margin = margin_of(shape), wanted = size + 2 * margin;
	uint64_t extra = shape->alignment > page ? shape->alignment : 0;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	uint64_t place = 0;

	if (shape->address != 0) {
		if (shape->address % page != lead || shape->address < lead + margin)
			return refuse(
				kIOReturnNotAligned,
				"address %#llx: byte 0 of the memory is %llu bytes into a "
				"page, so the address must be as well, with room for the guard "
				"pages before it",
				(unsigned long long)shape->address, (unsigned long long)lead);
		place = shape->address - lead - margin;
		if (place > UINT64_MAX - wanted)
			return reservation_failed(EOVERFLOW, shape->address);
		flags |= MAP_FIXED_NOREPLACE;
	}
	if (extra > SIZE_MAX / 4)
		return reservation_failed(ENOMEM, 0);
	char *reserved = mmap((void *)(uintptr_t)place, wanted + extra, PROT_NONE, flags, -1, 0);
	if (reserved == MAP_FAILED)
		return reservation_failed(errno, shape->address);
	window->reserved =
		extra == 0 ? reserved : trim(reserved, wanted + extra, wanted, margin, extra);
	window->reserved_size = wanted;
	return kIOReturnSuccess;
}

/* --- the pieces --- */

static kern_return_t mapping_failed(int error, bool writable)
{
	if (error == EACCES && writable)
		return refuse(kIOReturnNotWritable,
			      "the memory is read-only: map it with kIOMemoryMapReadOnly");
	if (error == ENOMEM)
		return refuse(kIOReturnNoMemory, "no room to map the memory");
	return refuse(kIOReturnVMError, "the memory cannot be mapped: %s", strerrordesc_np(error));
}

static kern_return_t map_pieces(const struct window_shape *shape, char *base)
{
	uint64_t page = page_size();
	int protection = PROT_READ | (shape->writable ? PROT_WRITE : 0);

	for (unsigned i = 0; i < shape->n_pieces; i++) {
		const struct window_piece *piece = &shape->pieces[i];
		uint64_t lead = piece->offset % page;
		if (mmap(base, lead + piece->length, protection, MAP_SHARED | MAP_FIXED, piece->fd,
			 (off_t)(piece->offset - lead)) == MAP_FAILED)
			return mapping_failed(errno, shape->writable);
		base += lead + piece->length;
	}
	return kIOReturnSuccess;
}

static kern_return_t guard(struct window *window, const struct window_shape *shape)
{
	bool is_safe = true;

	for (unsigned i = 0; i < shape->n_pieces; i++)
		is_safe = is_safe && !can_shrink(shape->pieces[i].fd);
	if (is_safe)
		return kIOReturnSuccess;
	int ret = fault_handler_install();
	if (ret == 0)
		ret = fault_guard_add(&window->guard);
	window->guarded = ret == 0;
	return ret == 0 ? kIOReturnSuccess
			: refuse(kIOReturnNoResources,
				 "too many mappings of memory that may vanish (%d)", ret);
}

kern_return_t window_open(struct window *window, const struct window_shape *shape)
{
	uint64_t size = 0;
	kern_return_t ret = measure(shape, &size);

	*window = (struct window){ .bytes = NULL };
	if (ret == kIOReturnSuccess)
		ret = reserve(window, shape, size);
	if (ret != kIOReturnSuccess)
		return ret;
	char *base = (char *)window->reserved + margin_of(shape);
	window->guard.address = base;
	window->guard.length = size;
	ret = map_pieces(shape, base);
	if (ret == kIOReturnSuccess)
		ret = guard(window, shape);
	if (ret != kIOReturnSuccess) {
		munmap(window->reserved, window->reserved_size);
		return ret;
	}
	window->bytes = base + shape->pieces[0].offset % page_size();
	return kIOReturnSuccess;
}

void window_close(struct window *window)
{
	if (window->bytes == NULL)
		return;
	if (window->guarded)
		fault_guard_remove(&window->guard);
	munmap(window->reserved, window->reserved_size);
	window->bytes = NULL;
}

bool window_is_lost(const struct window *window)
{
	return atomic_load_explicit(&window->guard.lost, memory_order_acquire) != 0;
}
