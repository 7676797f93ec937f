/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Memory that an application shares with its connection, for structures that fit no block of the
 * ring: mapped once, named by calls. On the connection's queue.
 */

#include <stdbool.h>
#include <stdint.h>

#include <DriverKit/IOMemoryDescriptor.h>
#include <wire/ring.h>

struct buffers;

/* Of the process `application`. NULL: out of memory. */
struct buffers *buffers_new(uint64_t application);
struct buffers *buffers_free(struct buffers *buffers); // may be NULL; returns NULL

/* Was the buffer shared? `buffers` may be NULL. */
bool buffers_has(const struct buffers *buffers, uint32_t number);

/* A RING_SHARE call. Reads what waits in the socket. Fails with a reason, with
 * kIOReturnNotFound when that buffer did not come. */
kern_return_t buffers_share(struct buffers *buffers, int socket_fd, uint64_t size,
			    uint64_t sequence);

/* A RING_REGISTER call's memory, sent on the socket with that sequence; returned. It is sealed, so
 * it stays as large as it is. Fails with a reason. */
kern_return_t buffers_take_region(struct buffers *buffers, int socket_fd, uint64_t size,
				  uint64_t sequence, IOMemoryDescriptor **memory);

/* The memory where a call's structure lies; returned. Fails with a reason: no such buffer, or it
 * ends before. `buffers` may be NULL: none was shared. */
kern_return_t buffers_part(const struct buffers *buffers, uint32_t number, uint64_t offset,
			   uint64_t length, uint32_t direction, IOMemoryDescriptor **memory);
