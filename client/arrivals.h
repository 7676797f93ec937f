/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Descriptors that a connection's socket brought and that nobody has claimed yet, each under the
 * number of the call it belongs to, and of the driver that sent it: one that is called again by its
 * driver's successor has two. Guarded by the connection's lock.
 */

#include <stdint.h>

#include <wire/ring.h>

/* As many calls have one under way at once, and as many are remembered to have been given up. */
enum { ARRIVALS_MAX = 2 * RING_SLOTS };

struct arrivals {
	struct {
		uint64_t sequence;
		uint32_t generation; // of the driver
		int fd;              // owned; -1: none came, and when it does nobody wants it
	} all[ARRIVALS_MAX];         // the oldest first
	unsigned n;
};

void arrivals_deinit(struct arrivals *arrivals);

/* `fd` is consumed. When there is no room, the oldest is closed. */
void arrivals_add(struct arrivals *arrivals, uint64_t sequence, uint32_t generation, int fd);
/* Returned; -1: it has not come. */
int arrivals_take(struct arrivals *arrivals, uint64_t sequence, uint32_t generation);
/* Its call is over without it: whether it came, or is yet to come, it is closed. */
void arrivals_forsake(struct arrivals *arrivals, uint64_t sequence);
