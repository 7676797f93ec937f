/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One connection to the device: the usbredir side that has the device (the protocol's usb-host).
 * The other side is a dext, or QEMU's usb-redir. Answers are queued and go out as the socket takes
 * them; while more than PEER_OUTPUT_MAX is queued, nothing more is read.
 */

#include <stdbool.h>
#include <stdint.h>

#include <devices/usb_bulk/device.h>

enum { PEER_OUTPUT_MAX = 4 << 20, PEER_HELD_MAX = 2048 };

enum misbehaviour_kind {
	BEHAVE,
	HANG_UP,    // close the connection
	GARBAGE,    // send bytes that mean nothing
	LONG_REPLY, // send more than was asked for
	WRONG_ID,   // answer a request nobody made
	STALL,      // stall the endpoint, once
	HOLD,       // answer no more until asked to cancel
	SILENT,     // answer no more at all
};

struct misbehaviour {
	enum misbehaviour_kind kind;
	uint64_t after; // IN transfers that go well before
};

struct peer {
	int fd; // owned
	struct usbredirparser *parser;
	struct bulk_device device;
	struct misbehaviour misbehaviour;
	uint64_t transfers; // IN transfers answered
	bool over;          // hang up
	unsigned n_held;
	uint64_t held[PEER_HELD_MAX]; // ids of requests that wait for their cancel
	uint8_t buffer[1 << 20];
};

/* `fd` is consumed, also on failure. NULL: out of memory. */
struct peer *peer_new(int fd, const struct bulk_identity *identity,
		      const struct misbehaviour *misbehaviour);
struct peer *peer_free(struct peer *peer);

short peer_poll_events(const struct peer *peer);
/* Do what the socket is ready for. False: the connection is over. */
bool peer_serve(struct peer *peer, short ready);
