/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What lies where in a ring's shared memory, and the view of it that each side keeps. Private to
 * wire/ring*.c; the protocol and the argument for it are at the head of ring.c.
 *
 *	header | notes | submission entries | slots | events | arena blocks
 *
 * Every shared word is atomic: the peer may write any of it at any moment, so a word is loaded
 * once, into a copy, and only the copy is looked at.
 */

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include <base/fault.h>
#include <wire/ring.h>

#define RING_HEADER_SIZE 4096U
#define RING_COUNT_MAX   1024U // slots, events
#define RING_NOTICES     4U
#define RING_NOTICE_TEXT 184U

/* How a ring ended. */
struct ring_notice {
	_Atomic uint32_t status;
	uint32_t reserved;
	_Atomic uint64_t text[RING_NOTICE_TEXT / 8];
};

struct ring_header {
	_Atomic uint32_t magic, major, minor;
	_Atomic uint32_t slot_size, block_size, n_slots, n_events;
	_Atomic uint32_t generation; // raised by dextd for every dext that serves the ring

	/* Line: written once, at the end. */
	_Alignas(64) _Atomic uint32_t closed; // 0: open; else 1 + the notice that says why
	_Atomic uint32_t n_notices;           // claimed by who closes

	/* Line: the dext's sleep. */
	_Alignas(64) _Atomic uint32_t server_sleeps; // set by the dext, cleared by who rings
	_Atomic uint32_t server_cpu; // where the dext last took a call, as waiting_here
	_Atomic uint32_t waiting;    // enum waiting_policy: what the application wishes
	_Atomic uint32_t workers;    // of the dext: a hint for choosing a doorbell; 0: one
	_Atomic uint32_t doorbells;  // bit: this worker's was sent

	/* Line: where a successor of the dext goes on. */
	_Alignas(64) _Atomic uint64_t taken; // submissions the dext has taken
	_Atomic uint64_t event_tail;         // events the dext has published

	/* Line: the application's reader of events. */
	_Alignas(64) _Atomic uint64_t event_head; // events it has read
	_Atomic uint32_t client_sleeps;           // set by the reader, cleared by who wakes it

	_Alignas(64) struct ring_notice notices[RING_NOTICES];

	/* Written by dextd, read by the dext that follows: why the last one ended. */
	_Alignas(64) _Atomic uint64_t obituary[RING_NOTICE_TEXT / 8];
};

/* Of a slot: what a successor of the dext is to know. Only dexts look at it, so that its line stays
 * where the dext runs. */
struct ring_note {
	_Atomic uint64_t replayable; // the ticket of a call that may be executed again; 0: none
	_Atomic uint32_t deaths;     // of dexts that had that call in their hands
	uint32_t reserved;
};

struct ring_entry {
	_Atomic uint64_t ticket; // its position + 1 once published; then the slot is valid
	_Atomic uint32_t slot;
	uint32_t reserved;
};

enum ring_state { // of a slot; the caller's futex
	RING_UNUSED = 0,
	RING_POSTED = 1,
	RING_AWAITED = 2, // posted, and its caller sleeps
	RING_ANSWERED = 3,
	RING_ABORTED = 4, // ended by ring_abort: the header's notice says why
	RING_STALE = 5,   // not executed: it relied on what another generation was given
};

struct ring_slot {
	_Atomic uint32_t state;
	_Atomic uint32_t kind;
	_Atomic uint64_t ticket;
	_Atomic uint64_t selector;
	_Atomic uint64_t async;
	_Atomic uint32_t n_scalars, n_scalars_out;
	_Atomic uint32_t structure_size, structure_out_max;
	_Atomic uint32_t status;
	_Atomic uint32_t generation; // of the ring, when the dext answered
	_Atomic uint32_t caller_cpu; // where the caller posted it, as waiting_here
	_Atomic uint32_t memory;     // ring_memory_word
	_Atomic uint64_t payload[RING_PAYLOAD / 8];
};

struct ring_event_slot {
	_Atomic uint64_t sequence; // its position + 1 once published
	_Atomic uint64_t async;
	_Atomic uint32_t status;
	_Atomic uint32_t n_scalars;
	uint64_t reserved[5];
	_Atomic uint64_t payload[RING_PAYLOAD / 8];
};

_Static_assert(sizeof(struct ring_header) <= RING_HEADER_SIZE, "the header is one page");
_Static_assert(sizeof(struct ring_notice) == 192, "a notice is three lines");
_Static_assert(sizeof(struct ring_note) == 16, "a note");
_Static_assert(sizeof(struct ring_entry) == 16, "a submission entry");
_Static_assert(sizeof(struct ring_slot) == RING_SLOT_SIZE, "a slot");
_Static_assert(sizeof(struct ring_event_slot) == RING_SLOT_SIZE, "an event");

/* One process's mapping: pointers and geometry are private and never read from memory again. */
struct ring_view {
	struct ring_header *header;
	struct ring_note *notes; // of slots
	struct ring_entry *entries;
	struct ring_slot *slots;
	struct ring_event_slot *events;
	_Atomic uint64_t *arena;
	uint32_t n_slots, n_events;
	size_t size;
	struct fault_guard guard;
};

/* -EBADMSG: no ring, or its memory can shrink. */
int ring_view_init(struct ring_view *view, int memory_fd);
void ring_view_deinit(struct ring_view *view);

void ring_view_abort(const struct ring_view *view, IOReturn status, const char *reason);

/* How the ring was closed, as a reply. False: it is open. */
bool ring_view_closed(const struct ring_view *view, struct ring_reply *reply);

/* Move a call that is under way to `end`. Returns the state it had: POSTED or AWAITED, else nothing
 * was done. The state has two changes left at most, so a peer that makes more of them is hostile,
 * and is told so instead of being raced against. */
static inline uint32_t ring_slot_end(struct ring_slot *slot, enum ring_state end)
{
	uint32_t state = atomic_load(&slot->state);
	for (int tries = 0; tries < 4; tries++) {
		if (state != RING_POSTED && state != RING_AWAITED)
			return state;
		if (atomic_compare_exchange_strong(&slot->state, &state, end))
			return state;
	}
	return RING_UNUSED;
}

static inline _Atomic uint64_t *ring_block(const struct ring_view *view, uint32_t slot)
{
	return view->arena + (size_t)slot * (RING_BLOCK / 8);
}

/* Where a structure lies: behind the scalars, or other words, if there is room, else in the slot's
 * block. */
static inline _Atomic uint64_t *ring_structure(const struct ring_view *view, uint32_t slot,
					       uint32_t n_words, uint32_t structure_size)
{
	if (n_words * 8 + structure_size <= RING_PAYLOAD)
		return view->slots[slot].payload + n_words;
	return ring_block(view, slot);
}

/* What a request says of memory beside the ring. The addresses lie behind its scalars. */
enum ring_memory {
	RING_MEMORY_BUFFER = 0xff, // mask
	RING_MEMORY_INPUT = 0x100, // bit: there is an address
	RING_MEMORY_OUTPUT = 0x200,
	RING_MEMORY_REGIONS = 16, // shift
};

static inline uint32_t ring_memory_word(const struct ring_request *request)
{
	return request->n_regions << RING_MEMORY_REGIONS |
	       (request->input_address != 0 ? RING_MEMORY_INPUT : 0U) |
	       (request->output_address != 0 ? RING_MEMORY_OUTPUT : 0U) | request->buffer;
}

/* The words of a request before its structure: n_scalars is valid. */
static inline uint32_t ring_request_words(const struct ring_request *request)
{
	return request->n_scalars + (request->input_address != 0) + (request->output_address != 0);
}

/* Is there an address of no more than what lies in registered memory? */
static inline bool ring_addresses_are_valid(const struct ring_request *request)
{
	if (request->input_address != 0 && request->structure_size <= RING_BLOCK)
		return false;
	return request->output_address == 0 || ring_output_is_shared(request->structure_out_max);
}

/* Are both sizes what a call of this kind may have, with a buffer where one is needed? */
static inline bool ring_sizes_are_valid(const struct ring_request *request)
{
	if (!ring_addresses_are_valid(request))
		return false;
	if (request->structure_size <= RING_BLOCK && request->structure_out_max <= RING_BLOCK)
		return true;
	if (request->kind != RING_CALL || request->structure_size > RING_STRUCTURE_MAX)
		return false;
	if (request->structure_out_max > RING_STRUCTURE_MAX &&
	    request->structure_out_max != RING_VARIABLE)
		return false;
	return !ring_needs_buffer(request) ||
	       (request->buffer > 0 && request->buffer <= RING_BUFFERS);
}

/* The most that a reply may have for a caller with this room. */
static inline uint32_t ring_output_limit(uint32_t structure_out_max)
{
	return structure_out_max == RING_VARIABLE ? RING_STRUCTURE_MAX : structure_out_max;
}

/* The word that an entry at `position` holds before it is published: of the round before. */
static inline uint64_t ring_stale(uint64_t position, uint32_t n)
{
	return position < n ? 0 : position + 1 - n;
}

/* Whole words first: the scalars are nothing else. */
static inline void ring_load(void *to, const _Atomic uint64_t *from, size_t size)
{
	uint64_t word;
	size_t n = size / 8, rest = size % 8;
	for (size_t i = 0; i < n; i++) {
		word = atomic_load_explicit(from + i, memory_order_relaxed);
		memcpy((uint8_t *)to + i * 8, &word, 8);
	}
	if (rest != 0) {
		word = atomic_load_explicit(from + n, memory_order_relaxed);
		memcpy((uint8_t *)to + n * 8, &word, rest);
	}
}

static inline void ring_store(_Atomic uint64_t *to, const void *from, size_t size)
{
	uint64_t word;
	size_t n = size / 8, rest = size % 8;
	for (size_t i = 0; i < n; i++) {
		memcpy(&word, (const uint8_t *)from + i * 8, 8);
		atomic_store_explicit(to + i, word, memory_order_relaxed);
	}
	if (rest != 0) {
		word = 0;
		memcpy(&word, (const uint8_t *)from + n * 8, rest);
		atomic_store_explicit(to + n, word, memory_order_relaxed);
	}
}
