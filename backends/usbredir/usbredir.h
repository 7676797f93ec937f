/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One usbredir device, seen from the side that uses it (the protocol's usb-guest). The peer has the
 * device (the usb-host): a virtual device, or a program that exports a real one.
 *
 * A packet that wants an answer has an id, and an id is a place in a table: endpoint, slot, and a
 * number that changes whenever the slot is used again. An answer must name a slot in use, the
 * endpoint and the type it was asked on, and no more bytes than were asked for; anything else ends
 * the peer. Backend's queue.
 */

#include <backends/usbredir/stream.h>
#include <base/list.h>
#include <families/usb/usb_backend.h>

enum {
	REDIR_SLOTS = 64,     // outstanding on one endpoint
	REDIR_ENDPOINTS = 32, // 16 out, 16 in
	REDIR_GREETING_MS = 2000,
};

struct redir_slot {
	struct list link;              // usb_backend.pending, in order of submission
	struct usb_transfer *transfer; // NULL: a control request of our own
	uint32_t id;
	uint8_t endpoint;
	uint8_t type; // usb_redir_type_…
	bool busy, cancelled;
};

/* What the greeting waits for. */
struct redir_answer {
	uint32_t id; // 0: nothing is awaited
	bool arrived;
	uint8_t status;
	uint8_t value; // of a configuration status
	uint8_t *data; // where a control read goes; borrowed
	uint32_t size; // how much of it may be used
	uint32_t actual;
};

struct usb_backend {
	struct redir_stream stream;
	IODispatchQueue *queue; // kept
	struct fd_source *source;
	uint32_t events; // what the source waits for
	void (*on_lost)(void *context, const char *reason);
	void *context;
	bool lost;
	bool connected; // device_connect was received
	uint16_t uses;  // of slots, for ids
	struct redir_answer answer;
	uint8_t *descriptors; // owned: device, then configuration
	size_t descriptors_size;
	struct list pending;                       // redir_slot.link
	struct redir_slot *slots[REDIR_ENDPOINTS]; // owned, made on first use
};

/* A free slot for a packet on `endpoint`. NULL: none. */
struct redir_slot *redir_slot_take(struct usb_backend *backend, uint8_t endpoint, uint8_t type);
void redir_slot_release(struct redir_slot *slot);

/* greeting.c: wait for the device, read its descriptors, configure it. May block. */
int redir_greet(struct usb_backend *backend);
