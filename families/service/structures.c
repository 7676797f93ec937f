// SPDX-License-Identifier: Apache-2.0
/*
 * A structure of up to a block was copied with the request, and is data. A larger one is a part of
 * a buffer that the application shared before, or of memory that it registered, and stays there:
 * in the first it was put for the call, in the second it was already. The same holds for the room
 * that the caller has for the output. A caller that takes whatever there is has no room yet: what
 * is larger than a block goes to it as a file of its own, sealed, so that the application need not
 * fear that its driver changes what it looks at.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/reason.h>
#include <families/service/buffers.h>
#include <families/service/connection.h>
#include <families/service/regions.h>
#include <families/service/structures.h>
#include <runtime/memory.h>

/* Where the application says that it lies. */
static kern_return_t find_part(const struct connection *c, const struct ring_request *request,
			       uint64_t address, uint64_t offset, uint32_t direction,
			       IOMemoryDescriptor **part)
{
	bool in = direction == kIOMemoryDirectionOut;
	uint32_t length = in ? request->structure_size : request->structure_out_max;
	if (address == 0)
		return buffers_part(c->buffers, request->buffer - 1, offset, length, direction,
				    part);
	struct regions *regions = user_client_regions(c->client);
	if (regions == NULL)
		return refuse(kIOReturnNotReady, "the user client has no regions");
	return regions_part(regions, address, length, direction, part);
}

kern_return_t structures_init(struct structures *s, const struct connection *c,
			      const struct ring_request *request)
{
	kern_return_t ret = kIOReturnSuccess;
	*s = (struct structures){ NULL };
	if (request->structure_size > RING_BLOCK) {
		ret = find_part(c, request, request->input_address, 0, kIOMemoryDirectionOut,
				&s->input_part);
	} else if (request->structure_size > 0) {
		s->input = OSData_withBytes(request->structure, request->structure_size);
		if (s->input == NULL)
			ret = refuse(kIOReturnNoMemory, "out of memory for the input structure");
	}
	if (ret == kIOReturnSuccess && ring_output_is_shared(request->structure_out_max))
		ret = find_part(c, request, request->output_address,
				ring_output_offset(ring_buffered_input(request)),
				kIOMemoryDirectionIn, &s->room);
	return ret;
}

void structures_deinit(struct structures *s)
{
	OSSafeReleaseNULL(s->input);
	OSSafeReleaseNULL(s->input_part);
	OSSafeReleaseNULL(s->room);
}

static kern_return_t copy_structure(const struct ring_request *request, OSData *output, void *to,
				    struct ring_reply *reply)
{
	size_t size = output != NULL ? OSData_getLength(output) : 0;
	if (size > request->structure_out_max)
		return refuse(kIOReturnBadArgument,
			      "the method returned %zu bytes of structure, the caller has room for "
			      "%u",
			      size, request->structure_out_max);
	if (size > 0)
		memcpy(to, OSData_getBytesNoCopy(output), size);
	reply->structure_size = (uint32_t)size;
	return kIOReturnSuccess;
}

/* The method filled the room, or returned less as data. */
static kern_return_t take_room(const struct ring_request *request, const struct structures *s,
			       OSData *output, struct ring_reply *reply)
{
	void *bytes = NULL;
	uint64_t length = 0;
	kern_return_t ret = kIOReturnSuccess;
	if (output == NULL)
		reply->structure_size = request->structure_out_max;
	else
		ret = memory_get_bytes(s->room, &bytes, &length);
	if (ret == kIOReturnSuccess && output != NULL)
		ret = copy_structure(request, output, bytes, reply);
	return ret;
}

/* --- a result of any size --- */

static int write_all(int fd, const uint8_t *bytes, size_t size)
{
	while (size > 0) {
		ssize_t n = write(fd, bytes, size);
		if (n < 0 && errno != EINTR)
			return -errno;
		bytes += n > 0 ? n : 0;
		size -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static int make_file(const void *bytes, size_t size, int *out)
{
	CLEANUP(close_fdp) int fd = memfd_create("dext-result", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int ret = fd < 0 ? -errno : write_all(fd, bytes, size);
	if (ret == 0 &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		ret = -errno;
	if (ret == 0)
		*out = steal_fd(&fd);
	return ret;
}

static int send_file(struct connection *c, uint64_t sequence, int file)
{
	pthread_mutex_lock(&c->lock);
	int ret = ring_socket_send(c->socket_fd, RING_SOCKET_DESCRIPTOR, sequence, file);
	pthread_mutex_unlock(&c->lock);
	return ret;
}

static kern_return_t take_variable(struct connection *c, const struct ring_request *request,
				   OSData *output, struct ring_reply *reply)
{
	size_t size = output != NULL ? OSData_getLength(output) : 0;
	_Static_assert(kOSCollectionBytesMax <= RING_STRUCTURE_MAX, "data is never too large");
	if (!ring_output_is_sent(request->structure_out_max, (uint32_t)size))
		return copy_structure(request, output, reply->structure, reply);
	CLEANUP(close_fdp) int file = -1;
	int ret = make_file(OSData_getBytesNoCopy(output), size, &file);
	if (ret < 0)
		return refuse(return_from_errno(ret), "no memory for a result of %zu bytes: %s",
			      size, strerrordesc_np(-ret));
	ret = send_file(c, request->sequence, file);
	if (ret < 0)
		return refuse(return_from_errno(ret),
			      "the result could not be sent: the application does not read its "
			      "connection's socket");
	reply->structure_size = (uint32_t)size;
	return kIOReturnSuccess;
}

/* --- what the method made --- */

static bool is_lost(IOMemoryDescriptor *part)
{
	return part != NULL && memory_is_lost(part);
}

kern_return_t structures_take(const struct structures *s, struct connection *c,
			      const struct ring_request *request,
			      const IOUserClientMethodArguments *args, struct ring_reply *reply)
{
	kern_return_t ret;
	if (args->structureOutputDescriptor != s->room)
		return refuse(kIOReturnBadArgument,
			      "the method replaced structureOutputDescriptor: fill it, or set "
			      "structureOutput");
	if (request->structure_out_max == RING_VARIABLE)
		ret = take_variable(c, request, args->structureOutput, reply);
	else if (s->room == NULL)
		ret = copy_structure(request, args->structureOutput, reply->structure, reply);
	else
		ret = take_room(request, s, args->structureOutput, reply);
	if (is_lost(s->input_part) || is_lost(s->room))
		return refuse(kIOReturnVMError, "the call's buffer vanished during the call");
	return ret;
}
