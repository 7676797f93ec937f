// SPDX-License-Identifier: Apache-2.0
/*
 * The memory is the application's: it may change at any time, so what is read is read once, and,
 * if it is not sealed, it may shrink, so its mapping is guarded. Nothing that could make a page
 * wait for the application is taken: an anonymous file or one in tmpfs, and no other. How much it
 * may be is the application's account's to say (account.c).
 *
 * A buffer's parts keep it, so one that is replaced while a call uses it lives until then.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include <base/cleanup.h>
#include <base/reason.h>
#include <families/service/account.h>
#include <families/service/buffers.h>
#include <runtime/memory.h>

enum { MESSAGES_PER_CALL = 64 };

/* It came, and no call has named it yet. */
struct arrival {
	int fd; // owned; -1: none
	uint64_t sequence;
};

struct buffers {
	struct account *account; // owned
	struct {
		struct arrival arrival;
		IOMemoryDescriptor *memory; // owned; NULL: none
	} all[RING_BUFFERS];
	struct arrival region;
};

struct buffers *buffers_new(uint64_t application)
{
	struct buffers *buffers = calloc(1, sizeof(*buffers));
	if (buffers == NULL)
		return NULL;
	for (unsigned i = 0; i < RING_BUFFERS; i++)
		buffers->all[i].arrival.fd = -1;
	buffers->region.fd = -1;
	buffers->account = account_open(application);
	if (buffers->account == NULL) {
		free(buffers);
		return NULL;
	}
	return buffers;
}

struct buffers *buffers_free(struct buffers *buffers)
{
	if (buffers == NULL)
		return NULL;
	for (unsigned i = 0; i < RING_BUFFERS; i++) {
		OSSafeReleaseNULL(buffers->all[i].memory);
		close_fdp(&buffers->all[i].arrival.fd);
	}
	close_fdp(&buffers->region.fd);
	account_close(buffers->account);
	free(buffers);
	return NULL;
}

/* --- what comes --- */

/* Where a message's descriptor is kept; NULL: it should have none. */
static struct arrival *place_of(struct buffers *buffers, const struct ring_socket_message *message)
{
	switch (message->kind) {
	case RING_SOCKET_BUFFER:
		return &buffers->all[message->sequence % RING_BUFFERS].arrival;
	case RING_SOCKET_REGION:
		return &buffers->region;
	default:
		return NULL;
	}
}

/* Keep what was sent last under each number, and the last region. */
static kern_return_t read_socket(struct buffers *buffers, int socket_fd)
{
	struct ring_socket_message message;
	for (int n = 0; n < MESSAGES_PER_CALL; n++) {
		CLEANUP(close_fdp) int fd = -1;
		int ret = ring_socket_receive(socket_fd, &message, &fd);
		if (ret == 0)
			return kIOReturnSuccess;
		struct arrival *arrival = ret == 1 ? place_of(buffers, &message) : NULL;
		if (arrival == NULL || fd < 0)
			return refuse(kIOReturnIPCError,
				      "a message on the connection's socket is malformed");
		close_fdp(&arrival->fd);
		arrival->fd = steal_fd(&fd);
		arrival->sequence = message.sequence;
	}
	return kIOReturnSuccess;
}

static kern_return_t claim(struct arrival *arrival, uint64_t sequence, int *fd)
{
	if (arrival->fd < 0 || arrival->sequence != sequence)
		return refuse(kIOReturnNotFound, "buffer %llu was not sent on the socket",
			      (unsigned long long)sequence);
	*fd = steal_fd(&arrival->fd);
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

/* Mapped here, once: its parts use that mapping. */
static kern_return_t map(int file, uint64_t size, IOMemoryDescriptor **memory)
{
	void *bytes;
	uint64_t length;
	kern_return_t ret =
		memory_descriptor_create(file, 0, size, kIOMemoryDirectionInOut, memory);
	if (ret != kIOReturnSuccess)
		return ret;
	memory_set_foreign(*memory);
	ret = memory_get_bytes(*memory, &bytes, &length);
	if (ret != kIOReturnSuccess)
		OSSafeReleaseNULL(*memory);
	return ret;
}

/* It is on the application's account as long as anybody has it. `file` is consumed. */
static kern_return_t take(struct buffers *buffers, int file, uint64_t size,
			  IOMemoryDescriptor **memory)
{
	CLEANUP(close_fdp) int fd = file;
	struct lease *lease = NULL;
	kern_return_t ret = check_file(fd, size);
	if (ret == kIOReturnSuccess)
		ret = lease_begin(&lease, buffers->account, size);
	if (ret == kIOReturnSuccess)
		ret = map(steal_fd(&fd), size, memory);
	if (ret == kIOReturnSuccess)
		memory_set_on_free(*memory, lease_end, lease);
	else
		lease_end(lease);
	return ret;
}

kern_return_t buffers_share(struct buffers *buffers, int socket_fd, uint64_t size,
			    uint64_t sequence)
{
	unsigned number = sequence % RING_BUFFERS;
	CLEANUP(close_fdp) int fd = -1;
	kern_return_t ret = read_socket(buffers, socket_fd);
	if (ret == kIOReturnSuccess)
		ret = claim(&buffers->all[number].arrival, sequence, &fd);
	if (ret != kIOReturnSuccess)
		return ret;
	OSSafeReleaseNULL(buffers->all[number].memory);
	return take(buffers, steal_fd(&fd), size, &buffers->all[number].memory);
}

kern_return_t buffers_take_region(struct buffers *buffers, int socket_fd, uint64_t size,
				  uint64_t sequence, IOMemoryDescriptor **memory)
{
	CLEANUP(close_fdp) int fd = -1;
	kern_return_t ret = read_socket(buffers, socket_fd);
	if (ret == kIOReturnSuccess)
		ret = claim(&buffers->region, sequence, &fd);
	if (ret != kIOReturnSuccess)
		return ret;
	int seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || (seals & F_SEAL_SHRINK) == 0)
		return refuse(kIOReturnBadArgument,
			      "memory that is registered must be sealed against shrinking");
	return take(buffers, steal_fd(&fd), size, memory);
}

/* --- use --- */

bool buffers_has(const struct buffers *buffers, uint32_t number)
{
	return buffers != NULL && number < RING_BUFFERS && buffers->all[number].memory != NULL;
}

kern_return_t buffers_part(const struct buffers *buffers, uint32_t number, uint64_t offset,
			   uint64_t length, uint32_t direction, IOMemoryDescriptor **memory)
{
	if (!buffers_has(buffers, number))
		return refuse(kIOReturnBadArgument, "the call's buffer, %u, was not shared",
			      number);
	if (memory_is_lost(buffers->all[number].memory))
		return refuse(kIOReturnVMError, "the memory of buffer %u has vanished", number);
	return IOMemoryDescriptor_CreateSubMemoryDescriptor(direction, offset, length,
							    buffers->all[number].memory, memory);
}
