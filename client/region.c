/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Memory that an application makes in order to share it with one connection's driver: an anonymous
 * file, sealed so that it keeps its size, mapped here, and registered with the driver under the
 * address that it has here. From then on an address in it is a plain number of a call.
 *
 * The descriptor goes to the driver and is closed here: the mapping is enough. They are made and
 * freed one at a time, in the turn of the maps.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/reason.h>
#include <client/connection.h>
#include <client/region.h>
#include <opendext/client.h>

struct region {
	struct list link; // connection.regions
	void *address;
	size_t size; // whole pages
};

static void region_free(struct region *region)
{
	list_remove(&region->link);
	munmap(region->address, region->size);
	free(region);
}

void connection_free_regions(struct connection *c)
{
	struct region *region, *next;
	list_for_each_safe(region, next, &c->regions, link)
		region_free(region);
}

/* --- making one --- */

static kern_return_t make_file(size_t size, int *out)
{
	CLEANUP(close_fdp) int fd = memfd_create("dext-region", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0 || ftruncate(fd, (off_t)size) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return refuse(return_from_errno(-errno), "a buffer of %zu bytes cannot be had: %s",
			      size, strerrordesc_np(errno));
	*out = steal_fd(&fd);
	return kIOReturnSuccess;
}

/* *stale: it went to a driver that is gone. */
static kern_return_t try_to_tell(struct connection *c, const struct region *region, int fd,
				 bool *stale)
{
	struct ring_request request = { .kind = RING_REGISTER, .n_scalars = 3 };
	struct ring_reply reply;
	*stale = false;
	kern_return_t status = restart_catch_up(c);
	if (status != kIOReturnSuccess)
		return status;
	uint64_t sequence = ++c->n_registered;
	int ret = ring_socket_send(c->socket_fd, RING_SOCKET_REGION, sequence, fd);
	*stale = ret == -EPIPE || ret == -ECONNRESET;
	if (*stale) {
		connection_drain(c); // so that the next try waits for the new socket
		return refuse(kIOReturnOffline, "the driver's process has ended");
	}
	if (ret < 0)
		return refuse(return_from_errno(ret), "a buffer cannot be sent to the driver: %s",
			      strerror(-ret));
	request.scalars[0] = (uint64_t)(uintptr_t)region->address;
	request.scalars[1] = region->size;
	request.scalars[2] = sequence;
	status = connection_call(c, &request, &reply);
	*stale = reply.stale;
	return status;
}

static kern_return_t tell(struct connection *c, const struct region *region, int fd)
{
	bool stale = true;
	kern_return_t status = kIOReturnSuccess;
	for (unsigned tries = 0; stale && tries < BUFFER_TRIES; tries++)
		status = try_to_tell(c, region, fd, &stale);
	return status;
}

static kern_return_t region_new(struct connection *c, size_t size, void **address)
{
	CLEANUP(close_fdp) int fd = -1;
	kern_return_t status = make_file(size, &fd);
	if (status != kIOReturnSuccess)
		return status;
	struct region *region = malloc(sizeof(*region));
	if (region == NULL)
		return refuse(kIOReturnNoMemory, "out of memory for a buffer");
	void *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (bytes == MAP_FAILED) {
		status = refuse(return_from_errno(-errno), "no room to map %zu bytes", size);
		free(region);
		return status;
	}
	*region = (struct region){ .address = bytes, .size = size };
	list_append(&c->regions, &region->link);
	status = tell(c, region, fd);
	if (status == kIOReturnSuccess)
		*address = region->address;
	else
		region_free(region);
	return status;
}

/* --- the public calls --- */

static kern_return_t create(struct connection *c, size_t size, void **address)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	if (c->unmapped)
		return refuse(kIOReturnOffline, "the connection was closed");
	return region_new(c, (size + page - 1) / page * page, address);
}

kern_return_t dext_buffer_create(io_connect_t connect, size_t size, void **address)
{
	reason_clear();
	if (address == NULL)
		return refuse(kIOReturnBadArgument, "address is NULL");
	if (size == 0 || size > RING_BUFFER_MAX)
		return refuse(kIOReturnBadArgument, "a buffer of %zu bytes: 1 to %u", size,
			      RING_BUFFER_MAX);
	struct connection *c = connection_get(connect);
	if (c == NULL)
		return kIOReturnBadArgument;
	kern_return_t status = turn_take(&c->maps, "map or unmap");
	if (status == kIOReturnSuccess) {
		status = create(c, size, address);
		turn_give(&c->maps);
	}
	connection_unref(c);
	return status;
}

static struct region *find(struct connection *c, const void *address)
{
	struct region *region;
	list_for_each(region, &c->regions, link)
		if (region->address == address)
			return region;
	return NULL;
}

/* A driver that is gone has forgotten it. One that may still take the address for that of this
 * memory has not, and so it stays. */
static kern_return_t forget(struct connection *c, const void *address)
{
	struct ring_request request = { .kind = RING_UNREGISTER, .n_scalars = 1 };
	struct ring_reply reply;
	struct region *region = find(c, address);
	if (region == NULL)
		return refuse(kIOReturnBadArgument,
			      "%p is no buffer of this connection: pass what dext_buffer_create "
			      "gave",
			      address);
	request.scalars[0] = (uint64_t)(uintptr_t)address;
	kern_return_t status = connection_call(c, &request, &reply);
	if (status == kIOReturnTimeout || status == kIOReturnNoResources)
		return status;
	region_free(region);
	reason_clear();
	return kIOReturnSuccess;
}

kern_return_t dext_buffer_free(io_connect_t connect, void *address)
{
	reason_clear();
	struct connection *c = connection_get(connect);
	if (c == NULL)
		return kIOReturnBadArgument;
	kern_return_t status = turn_take(&c->maps, "map or unmap");
	if (status == kIOReturnSuccess) {
		status = forget(c, address);
		turn_give(&c->maps);
	}
	connection_unref(c);
	return status;
}
