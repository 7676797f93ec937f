/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The frames that a socket has not taken yet, in order. Part of a channel, and of its thread.
 */

#include <stdbool.h>

#include <wire/frame.h>

struct outbox {
	struct packet *first, **end; // owned
	unsigned n_packets;
};

void outbox_init(struct outbox *outbox);
void outbox_deinit(struct outbox *outbox); // nothing of it is sent; it is empty, and of use again

/* Send now, or keep a copy behind what waits already. A peer that has gone is found by reading,
 * which also finds what it sent last: not an error here. -ENOBUFS: `room` frames wait. */
int outbox_send(struct outbox *outbox, int fd, const struct frame *frame, unsigned room);
/* Send what waits, as far as the socket takes it. Negative errno, but not for a peer that has gone.
 */
int outbox_flush(struct outbox *outbox, int fd);
