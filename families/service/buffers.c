// SPDX-License-Identifier: Apache-2.0
/*
 * The memory is the application's: it may change at any time, so what is read is read once, and,
 * if it is not sealed, it may shrink, so its mapping is guarded. Nothing that could make a page
 * wait for the application is taken: an anonymous file or one in tmpfs, and no other. All that one
 * process has mapped of it is bounded, because its address space is.
 *
 * A buffer's parts keep it, so one that is replaced while a call uses it lives until then.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include <base/cleanup.h>
#include <base/reason.h>
#include <families/service/buffers.h>
#include <runtime/memory.h>

/* Bytes, of all connections. What is read alone is mapped a second time, read-only, so this is at
 * most three quarters of what a dext may map. */
#define SHARED_MAX (3ULL << 29)

enum { MESSAGES_PER_CALL = 64 };

struct buffers {
	struct {
		int fd; // owned: it came, and no call has named it yet; -1: none
		uint64_t sequence;
		IOMemoryDescriptor *memory; // owned; NULL: none
		uint64_t size;
	} all[RING_BUFFERS];
};

static _Atomic uint64_t n_shared; // bytes

struct buffers *buffers_new(void)
{
	struct buffers *buffers = calloc(1, sizeof(*buffers));
	for (unsigned i = 0; buffers != NULL && i < RING_BUFFERS; i++)
		buffers->all[i].fd = -1;
	return buffers;
}

static void drop(struct buffers *buffers, unsigned number)
{
	atomic_fetch_sub(&n_shared, buffers->all[number].size);
	buffers->all[number].size = 0;
	OSSafeReleaseNULL(buffers->all[number].memory);
}

struct buffers *buffers_free(struct buffers *buffers)
{
	for (unsigned i = 0; buffers != NULL && i < RING_BUFFERS; i++) {
		drop(buffers, i);
		close_fdp(&buffers->all[i].fd);
	}
	free(buffers);
	return NULL;
}

/* --- what comes --- */

/* Keep what was sent last under each number. */
static kern_return_t read_socket(struct buffers *buffers, int socket_fd)
{
	struct ring_socket_message message;
	int ret = 1;
	for (int n = 0; n < MESSAGES_PER_CALL; n++) {
		CLEANUP(close_fdp) int fd = -1;
		ret = ring_socket_receive(socket_fd, &message, &fd);
		if (ret == 0)
			return kIOReturnSuccess;
		if (ret < 0 || message.kind != RING_SOCKET_BUFFER || fd < 0)
			return refuse(kIOReturnIPCError,
				      "a message on the connection's socket is malformed");
		unsigned number = message.sequence % RING_BUFFERS;
		close_fdp(&buffers->all[number].fd);
		buffers->all[number].fd = steal_fd(&fd);
		buffers->all[number].sequence = message.sequence;
	}
	return kIOReturnSuccess;
}

/* Memory, and all of it there: a page of any other file may come when its owner likes. */
static kern_return_t check_file(int fd, uint64_t size)
{
	struct stat st;
	struct statfs fs;
	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return refuse(return_from_errno(-errno), "the buffer's descriptor is unusable: %s",
			      strerrordesc_np(errno));
	if (!S_ISREG(st.st_mode) || fs.f_type != TMPFS_MAGIC ||
	    (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDWR)
		return refuse(kIOReturnBadArgument,
			      "a buffer is an anonymous file, open for reading and writing");
	if (size == 0 || size > RING_BUFFER_MAX || size > (uint64_t)st.st_size)
		return refuse(kIOReturnBadArgument,
			      "a buffer of %llu bytes in a file of %lld: at most %u",
			      (unsigned long long)size, (long long)st.st_size, RING_BUFFER_MAX);
	return kIOReturnSuccess;
}

static kern_return_t reserve(uint64_t size)
{
	if (atomic_fetch_add(&n_shared, size) + size <= SHARED_MAX)
		return kIOReturnSuccess;
	atomic_fetch_sub(&n_shared, size);
	return refuse(kIOReturnNoResources,
		      "the buffers of this driver's connections would be more than %llu bytes",
		      (unsigned long long)SHARED_MAX);
}

/* Mapped here, once: its parts use that mapping. */
static kern_return_t map(int fd, uint64_t size, IOMemoryDescriptor **memory)
{
	void *bytes;
	uint64_t length;
	kern_return_t ret = memory_descriptor_create(fd, 0, size, kIOMemoryDirectionInOut, memory);
	if (ret != kIOReturnSuccess)
		return ret;
	memory_set_foreign(*memory);
	ret = memory_get_bytes(*memory, &bytes, &length);
	if (ret != kIOReturnSuccess)
		OSSafeReleaseNULL(*memory);
	return ret;
}

kern_return_t buffers_share(struct buffers *buffers, int socket_fd, uint64_t size,
			    uint64_t sequence)
{
	unsigned number = sequence % RING_BUFFERS;
	kern_return_t ret = read_socket(buffers, socket_fd);
	if (ret != kIOReturnSuccess)
		return ret;
	if (buffers->all[number].fd < 0 || buffers->all[number].sequence != sequence)
		return refuse(kIOReturnNotFound, "buffer %llu was not sent on the socket",
			      (unsigned long long)sequence);
	CLEANUP(close_fdp) int fd = steal_fd(&buffers->all[number].fd);
	drop(buffers, number);
	ret = check_file(fd, size);
	if (ret == kIOReturnSuccess)
		ret = reserve(size);
	if (ret != kIOReturnSuccess)
		return ret;
	ret = map(steal_fd(&fd), size, &buffers->all[number].memory);
	if (ret == kIOReturnSuccess)
		buffers->all[number].size = size;
	else
		atomic_fetch_sub(&n_shared, size);
	return ret;
}

/* --- use --- */

kern_return_t buffers_part(const struct buffers *buffers, uint32_t number, uint64_t offset,
			   uint64_t length, uint32_t direction, IOMemoryDescriptor **memory)
{
	if (buffers == NULL || number >= RING_BUFFERS || buffers->all[number].memory == NULL)
		return refuse(kIOReturnBadArgument, "the call's buffer, %u, was not shared",
			      number);
	if (memory_is_lost(buffers->all[number].memory))
		return refuse(kIOReturnVMError, "the memory of buffer %u has vanished", number);
	return IOMemoryDescriptor_CreateSubMemoryDescriptor(direction, offset, length,
							    buffers->all[number].memory, memory);
}
