/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Memory that a connection shares with its driver, for structures that fit no block of the ring:
 * made at the first call that needs it, shared once, and used by one call at a time. Any thread.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <DriverKit/IOReturn.h>
#include <wire/ring.h>

struct connection;

/* How often a call starts anew because its driver died before it was executed. */
enum { BUFFER_TRIES = 8 };

struct buffer {
	uint32_t number;
	bool taken;          // buffers.lock
	uint64_t n_shared;   // of whoever has it, as what follows
	uint32_t generation; // of the driver that it is shared with
	size_t size;         // 0: there is none yet
	uint8_t *bytes;      // owned
};

struct buffers {
	pthread_mutex_t lock;
	pthread_cond_t given;
	struct buffer all[RING_BUFFERS];
};

void buffers_init(struct buffers *buffers);
void buffers_deinit(struct buffers *buffers);

/* One of at least `size` bytes, the caller's until buffer_give. Waits for one, within the call time
 * limit, and tells the driver of a new one. Fails with a reason. */
kern_return_t buffer_take(struct connection *c, size_t size, struct buffer **out);
/* The same, without waiting for another call, and never the last one that is free. */
kern_return_t buffer_try(struct connection *c, size_t size, struct buffer **out);
/* `abandoned`: the driver may still be at it, so that nobody may use this memory any more. */
void buffer_give(struct connection *c, struct buffer *buffer, bool abandoned);
