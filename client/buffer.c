/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A buffer is an anonymous file of a power of two bytes, sealed against shrinking, as the driver
 * expects of memory that it is to touch without fear. Its descriptor goes to the driver and is
 * closed here: the mapping is enough.
 *
 * A call takes the smallest that is large enough, else the largest, which then grows: a thread that
 * calls alone ends up with one buffer, and as many threads as there are buffers with one each.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/reason.h>
#include <client/buffer.h>
#include <client/connection.h>
#include <opendext/client.h>

#define BUFFER_MIN (64U << 10)

void buffers_init(struct buffers *buffers)
{
	pthread_mutex_init(&buffers->lock, NULL);
	pthread_cond_init(&buffers->given, NULL);
	for (uint32_t i = 0; i < RING_BUFFERS; i++)
		buffers->all[i].number = i;
}

static void discard(struct buffer *buffer)
{
	if (buffer->size > 0)
		munmap(buffer->bytes, buffer->size);
	buffer->size = 0;
	buffer->bytes = NULL;
}

void buffers_deinit(struct buffers *buffers)
{
	for (uint32_t i = 0; i < RING_BUFFERS; i++)
		discard(&buffers->all[i]);
	pthread_cond_destroy(&buffers->given);
	pthread_mutex_destroy(&buffers->lock);
}

/* --- making one --- */

static int make_file(size_t size, int *out)
{
	CLEANUP(close_fdp) int fd = memfd_create("dext-buffer", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0 || ftruncate(fd, (off_t)size) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	*out = steal_fd(&fd);
	return 0;
}

/* The driver knows it by its number, in place of what had that before. One that it did not take in
 * time may still lie in the socket, hence the count. *stale: it went to a driver that is gone. */
static kern_return_t try_share(struct connection *c, struct buffer *buffer, int fd, bool *stale)
{
	struct ring_request request = { .kind = RING_SHARE, .n_scalars = 2 };
	struct ring_reply reply;
	kern_return_t status = restart_catch_up(c);
	*stale = false;
	if (status != kIOReturnSuccess)
		return status;
	uint64_t sequence = buffer->n_shared++ * RING_BUFFERS + buffer->number;
	int ret = ring_socket_send(c->socket_fd, RING_SOCKET_BUFFER, sequence, fd);
	*stale = ret == -EPIPE || ret == -ECONNRESET;
	if (*stale) {
		connection_drain(c); // so that the next try waits for the new socket
		return refuse(kIOReturnOffline, "the driver's process has ended");
	}
	if (ret < 0)
		return refuse(return_from_errno(ret), "a buffer cannot be sent to the driver: %s",
			      strerror(-ret));
	request.scalars[0] = buffer->size;
	request.scalars[1] = sequence;
	status = connection_call(c, &request, &reply);
	*stale = reply.stale;
	if (status == kIOReturnSuccess)
		buffer->generation = reply.generation;
	return status;
}

/* Drivers may die meanwhile, but not without end. */
static kern_return_t share(struct connection *c, struct buffer *buffer, int fd)
{
	bool stale = true;
	kern_return_t status = kIOReturnSuccess;
	for (unsigned tries = 0; stale && tries < BUFFER_TRIES; tries++)
		status = try_share(c, buffer, fd, &stale);
	return status;
}

static kern_return_t make(struct connection *c, struct buffer *buffer, size_t size)
{
	CLEANUP(close_fdp) int fd = -1;
	size_t room = BUFFER_MIN;
	while (room < size)
		room *= 2;
	discard(buffer);
	int ret = make_file(room, &fd);
	if (ret < 0)
		return refuse(return_from_errno(ret), "a buffer of %zu bytes cannot be had: %s",
			      room, strerror(-ret));
	void *bytes = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (bytes == MAP_FAILED)
		return refuse(return_from_errno(-errno), "no room to map %zu bytes", room);
	buffer->bytes = bytes;
	buffer->size = room;
	kern_return_t status = share(c, buffer, fd);
	if (status != kIOReturnSuccess)
		discard(buffer);
	return status;
}

/* --- taking turns --- */

static bool is_better(const struct buffer *a, const struct buffer *b, size_t size)
{
	if (b == NULL)
		return true;
	bool fits = a->size >= size;
	if (fits != (b->size >= size))
		return fits;
	return fits ? a->size < b->size : a->size > b->size;
}

/* With the lock held. NULL: all are taken. */
static struct buffer *choose(struct buffers *buffers, size_t size)
{
	struct buffer *best = NULL;
	for (uint32_t i = 0; i < RING_BUFFERS; i++) {
		struct buffer *buffer = &buffers->all[i];
		if (!buffer->taken && is_better(buffer, best, size))
			best = buffer;
	}
	return best;
}

static struct buffer *wait_for_one(struct buffers *buffers, size_t size)
{
	uint64_t deadline = clock_deadline_ns(dext_call_timeout_get());
	const struct timespec until = {
		.tv_sec = (time_t)(deadline / 1000000000U),
		.tv_nsec = (long)(deadline % 1000000000U),
	};
	struct buffer *buffer;
	int error = 0;
	pthread_mutex_lock(&buffers->lock);
	while ((buffer = choose(buffers, size)) == NULL && error == 0)
		error = pthread_cond_clockwait(&buffers->given, &buffers->lock, CLOCK_MONOTONIC,
					       &until);
	if (buffer != NULL)
		buffer->taken = true;
	pthread_mutex_unlock(&buffers->lock);
	return buffer;
}

/* The last that is free is left alone. */
static struct buffer *try_one(struct buffers *buffers, size_t size)
{
	struct buffer *buffer = NULL;
	uint32_t n_free = 0;
	pthread_mutex_lock(&buffers->lock);
	for (uint32_t i = 0; i < RING_BUFFERS; i++)
		n_free += !buffers->all[i].taken;
	if (n_free > 1) {
		buffer = choose(buffers, size);
		buffer->taken = true;
	}
	pthread_mutex_unlock(&buffers->lock);
	return buffer;
}

static kern_return_t make_ready(struct connection *c, struct buffer *buffer, size_t size,
				struct buffer **out)
{
	kern_return_t status = kIOReturnSuccess;
	if (buffer->size < size || buffer->generation != ring_client_generation(c->ring))
		status = make(c, buffer, size > buffer->size ? size : buffer->size);
	if (status == kIOReturnSuccess)
		*out = buffer;
	else
		buffer_give(c, buffer, true);
	return status;
}

kern_return_t buffer_take(struct connection *c, size_t size, struct buffer **out)
{
	struct buffer *buffer = wait_for_one(&c->buffers, size);
	if (buffer == NULL)
		return refuse(kIOReturnNoResources,
			      "all %u calls with structures above %u bytes that a connection "
			      "carries at once were under way for %u ms",
			      RING_BUFFERS, RING_BLOCK, dext_call_timeout_get());
	return make_ready(c, buffer, size, out);
}

kern_return_t buffer_try(struct connection *c, size_t size, struct buffer **out)
{
	struct buffer *buffer = try_one(&c->buffers, size);
	if (buffer == NULL)
		return refuse(kIOReturnNoResources,
			      "%u calls with structures above %u bytes are under way: wait for "
			      "one, or give one up",
			      RING_BUFFERS - 1, RING_BLOCK);
	return make_ready(c, buffer, size, out);
}

void buffer_give(struct connection *c, struct buffer *buffer, bool abandoned)
{
	if (abandoned)
		discard(buffer);
	pthread_mutex_lock(&c->buffers.lock);
	buffer->taken = false;
	pthread_mutex_unlock(&c->buffers.lock);
	pthread_cond_signal(&c->buffers.given);
}
