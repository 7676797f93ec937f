/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Mappings. A memfd that is sealed against shrinking can be touched without fear; anything else, a
 * peer's file or a device's region, may lose its pages while it is mapped, and is registered with
 * the SIGBUS handler before the first touch.
 */

#include <runtime/window.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <base/reason.h>

static bool can_shrink(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	return seals < 0 || (seals & F_SEAL_SHRINK) == 0;
}

static kern_return_t mapping_failed(int error, bool writable)
{
	if (error == EACCES && writable)
		return refuse(kIOReturnNotWritable,
			      "the memory is read-only: map it with kIOMemoryMapReadOnly");
	if (error == ENOMEM)
		return refuse(kIOReturnNoMemory, "no room to map the memory");
	return refuse(kIOReturnVMError, "the memory cannot be mapped: %s", strerrordesc_np(error));
}

static kern_return_t guard(struct window *window)
{
	int ret = fault_handler_install();

	if (ret == 0)
		ret = fault_guard_add(&window->guard);
	window->guarded = ret == 0;
	return ret == 0 ? kIOReturnSuccess
			: refuse(kIOReturnNoResources,
				 "too many mappings of memory that may vanish (%d)", ret);
}

kern_return_t window_open(struct window *window, int fd, uint64_t offset, uint64_t length,
			  bool writable)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t lead = offset % page;
	uint64_t size = (lead + length + page - 1) / page * page;

	if (length == 0 || size < length || size > SIZE_MAX / 2 || offset - lead > INT64_MAX)
		return refuse(kIOReturnBadArgument, "%llu bytes from %llu cannot be mapped",
			      (unsigned long long)length, (unsigned long long)offset);
	void *base = mmap(NULL, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd,
			  (off_t)(offset - lead));
	if (base == MAP_FAILED)
		return mapping_failed(errno, writable);
	*window = (struct window){ .guard = { .address = base, .length = size } };
	if (can_shrink(fd)) {
		kern_return_t ret = guard(window);
		if (ret != kIOReturnSuccess) {
			munmap(base, size);
			return ret;
		}
	}
	window->bytes = (char *)base + lead;
	window->size = (size_t)length;
	return kIOReturnSuccess;
}

void window_close(struct window *window)
{
	if (window->bytes == NULL)
		return;
	if (window->guarded)
		fault_guard_remove(&window->guard);
	munmap(window->guard.address, window->guard.length);
	window->bytes = NULL;
}

bool window_is_lost(const struct window *window)
{
	return atomic_load_explicit(&window->guard.lost, memory_order_acquire) != 0;
}
