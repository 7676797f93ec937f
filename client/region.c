/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Memory that an application makes in order to share it with one connection's driver: an anonymous
 * file, sealed so that it keeps its size, mapped here, and registered with the driver under the
 * address that it has here. From then on an address in it is a plain number of a call.
 *
 * They are made and freed one at a time, in the turn of the maps. The descriptor is kept: a driver
 * that follows the one it went to is sent it too, before the first call that it executes. Such a
 * call says how many there are, so one that was submitted too early, to the driver before, is
 * refused as stale, unexecuted, and submitted again.
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

enum { TELLS_MAX = 512 }; // of all regions, until the drivers that die are too many

struct region {
	struct list link; // connection.regions
	void *address;
	size_t size;                 // whole pages
	int fd;                      // owned
	_Atomic uint32_t generation; // of the driver that knows of it; 0: none does
};

static void region_free(struct region *region)
{
	munmap(region->address, region->size);
	close_fdp(&region->fd);
	free(region);
}

/* With the turn. Who looks for a range has the lock alone. */
static void join(struct connection *c, struct region *region)
{
	pthread_mutex_lock(&c->lock);
	list_append(&c->regions, &region->link);
	pthread_mutex_unlock(&c->lock);
}

static void leave(struct connection *c, struct region *region)
{
	pthread_mutex_lock(&c->lock);
	list_remove(&region->link);
	pthread_mutex_unlock(&c->lock);
}

/* With the turn: after a driver was told of one, or before it is told to forget `leaving`. */
static void count_regions(struct connection *c, const struct region *leaving)
{
	uint32_t n = 0, generation = ring_client_generation(c->ring), all = generation;
	struct region *region;
	list_for_each(region, &c->regions, link) {
		if (region == leaving || region->generation == 0)
			continue;
		n++;
		all = region->generation == generation ? all : 0;
	}
	atomic_store_explicit(&c->regions_generation, all, memory_order_relaxed);
	atomic_store_explicit(&c->n_regions, n, memory_order_relaxed);
}

void connection_free_regions(struct connection *c)
{
	struct region *region, *next;
	list_for_each_safe(region, next, &c->regions, link) {
		leave(c, region);
		region_free(region);
	}
}

bool connection_has_region(struct connection *c, const void *address, size_t size)
{
	struct region *region;
	bool found = false;
	pthread_mutex_lock(&c->lock);
	list_for_each(region, &c->regions, link) {
		uintptr_t offset = (uintptr_t)address - (uintptr_t)region->address;
		found = found || (region->generation != 0 && offset < region->size &&
				  size <= region->size - offset);
	}
	pthread_mutex_unlock(&c->lock);
	return found;
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
static kern_return_t try_to_tell(struct connection *c, struct region *region, bool *stale)
{
	struct ring_request request = { .kind = RING_REGISTER, .n_scalars = 3 };
	struct ring_reply reply;
	*stale = false;
	kern_return_t status = restart_catch_up(c);
	if (status != kIOReturnSuccess)
		return status;
	uint64_t sequence = ++c->n_registered;
	int ret = ring_socket_send(c->socket_fd, RING_SOCKET_REGION, sequence, region->fd);
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
	if (status == kIOReturnSuccess)
		region->generation = reply.generation;
	return status;
}

static kern_return_t tell(struct connection *c, struct region *region)
{
	bool stale = true;
	kern_return_t status = kIOReturnSuccess;
	for (unsigned tries = 0; stale && tries < BUFFER_TRIES; tries++)
		status = try_to_tell(c, region, &stale);
	count_regions(c, NULL);
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
	*region = (struct region){ .address = bytes, .size = size, .fd = steal_fd(&fd) };
	join(c, region);
	status = tell(c, region);
	if (status == kIOReturnSuccess) {
		*address = region->address;
		return status;
	}
	leave(c, region);
	region_free(region);
	return status;
}

/* --- another driver --- */

static struct region *find_behind(struct connection *c)
{
	struct region *region;
	list_for_each(region, &c->regions, link)
		if (region->generation != ring_client_generation(c->ring))
			return region;
	return NULL;
}

/* As often as there are drivers that die. */
static kern_return_t renew(struct connection *c)
{
	kern_return_t status = kIOReturnSuccess;
	struct region *region;
	for (unsigned tries = 0; tries < TELLS_MAX; tries++) {
		region = find_behind(c);
		if (region == NULL || status != kIOReturnSuccess)
			return status;
		status = tell(c, region);
	}
	return refuse(kIOReturnAborted, "driver after driver died before it had the buffers");
}

/* Of a connection that has ended, the call itself says why. */
kern_return_t connection_renew_regions(struct connection *c)
{
	char why[REASON_MAX];
	kern_return_t status = turn_take(&c->maps, "map or unmap");
	if (status != kIOReturnSuccess)
		return status;
	status = renew(c);
	turn_give(&c->maps);
	if (status == kIOReturnSuccess || ring_client_is_closed(c->ring))
		return kIOReturnSuccess;
	memcpy(why, reason_last(), strlen(reason_last()) + 1);
	return refuse(status, "a buffer cannot be shared with the driver that was started anew: %s",
		      why);
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
	count_regions(c, region); // a call that comes before must not wait for it
	kern_return_t status = connection_call(c, &request, &reply);
	if (status == kIOReturnTimeout || status == kIOReturnNoResources) {
		count_regions(c, NULL);
		return status;
	}
	leave(c, region);
	region_free(region);
	count_regions(c, NULL);
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
