/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The shared memory of one connection: calls from an application to a dext, and events back.
 *
 * dextd creates it (ring_create) and keeps its descriptor. A call owns a 256-byte slot until its
 * reply is taken; the reply is written into the same slot; a structure that does not fit the slot
 * goes to the slot's own arena block, and one that does not fit that to a buffer: further memory of
 * the application's, which it shares once and uses for many calls. Calls enter in order through a
 * submission queue of slot numbers, one entry per slot, which therefore never overflows. Events
 * have a ring of their own.
 *
 * A ring outlives the dext that serves it. dextd raises its generation for each further dext, which
 * goes on where its predecessor was: a call that nobody had taken is served; one that was taken is
 * replayed if the method had been noted as replayable, and else ends with kIOReturnAborted.
 *
 * Neither side trusts the other. Geometry is fixed at creation, checked once, and kept privately;
 * each side keeps its own indices; a slot, an event and an arena block are copied once and looked
 * at only in the copy. A corrupt ring is -EBADMSG: it ends that connection and nothing else.
 *
 * Order: publish is store-release, take is load-acquire, on the state word of a slot or the
 * sequence of an entry. Sleeping is: set the flag, full fence, look again, wait with a time limit.
 */

#include <stdbool.h>
#include <stdint.h>

#include <DriverKit/IOTypes.h>
#include <wire/waiting.h>

#define RING_MAGIC     0x47525844U // "DXRG"
#define RING_MAJOR     2U
#define RING_MINOR     0U
#define RING_SLOT_SIZE 256U
#define RING_PAYLOAD   192U  // of a slot or an event: scalars, then the structure if it fits
#define RING_BLOCK     4096U // of the arena, one per slot
#define RING_SCALARS   16U
#define RING_SLOTS     32U // what ring_create makes; receivers accept powers of two from 1 to 1024
#define RING_EVENTS    512U
#define RING_DOORBELLS 4U // one per worker of the dext; the first comes with the ring
#define RING_BUFFERS   8U // of a connection
#define RING_DEATHS    3U // of dexts, with a replayable call in their hands, until it is aborted

#define RING_STRUCTURE_MAX (256U << 20)
#define RING_VARIABLE      UINT32_MAX                // room for output: for whatever there is
#define RING_BUFFER_MAX    (2U * RING_STRUCTURE_MAX) // one for input and output

enum ring_kind {
	RING_CALL = 1,  // ExternalMethod
	RING_MAP = 2,   // scalars: type, options. reply: offset, length, options; a descriptor
			// follows on the socket
	RING_UNMAP = 3, // scalars: type
	RING_SHARE = 4, // scalars: a buffer's size, and the sequence with which its descriptor was
			// sent on the socket before. It replaces what had its number
	RING_REGISTER = 5,   // scalars: an address of the application's, a size, and the sequence
			     // with which the memory's descriptor was sent on the socket before
	RING_UNREGISTER = 6, // scalars: an address that was registered
	RING_KINDS,
};

/* A private copy of one call's request. */
struct ring_request {
	uint32_t slot;     // receiver: which slot to answer
	uint32_t kind;     // enum ring_kind
	uint64_t sequence; // the call's number; names its descriptor on the socket
	uint64_t selector;
	uint64_t async; // the application's reference for an asynchronous call; 0: synchronous
	uint32_t n_scalars, n_scalars_out;          // in; room for out
	uint32_t structure_size, structure_out_max; // in; room for out, or RING_VARIABLE
	uint32_t buffer;    // 1 + the number of the buffer that holds what is larger than a block
	uint32_t n_regions; // RING_CALL: as many are registered: a dext that knows of fewer is to
			    // refuse the call as stale; below 65536
	uint64_t input_address, output_address; // in registered memory, instead of the buffer, of
						// what is larger than a block; 0: not there
	uint64_t scalars[RING_SCALARS];
	uint8_t structure[RING_BLOCK]; // structure_size bytes are valid, if they are no more
};

/* A private copy of one reply. A refusal carries a reason text instead of values. */
struct ring_reply {
	IOReturn status;
	uint32_t n_scalars;
	uint32_t structure_size; // where it lies: ring_output_is_shared, ring_output_is_sent
	uint32_t generation;     // of the ring, when it was answered; set by the ring
	bool stale;              // for the caller's use: it was refused as that
	uint64_t scalars[RING_SCALARS];
	uint8_t structure[RING_BLOCK];
	char reason[RING_PAYLOAD]; // NUL-terminated; empty on success
};

/* A completion or a notification: ring to the application. */
struct ring_event {
	uint64_t async; // as in the request
	IOReturn status;
	uint32_t n_scalars;
	union {
		uint64_t scalars[RING_SCALARS];
		void *arguments[RING_SCALARS]; // the same as callbacks take them, of 64 bits each
	};
};
_Static_assert(sizeof(void *) == sizeof(uint64_t), "a callback takes each number as a pointer");

/* What is larger than a block lies in memory that both share, if the caller said how large it may
 * be. */
static inline bool ring_output_is_shared(uint32_t structure_out_max)
{
	return structure_out_max > RING_BLOCK && structure_out_max != RING_VARIABLE;
}

/* If not, it is a file, sent on the socket before the reply, under the call's sequence: an
 * anonymous one that is sealed, so that it stays as large as it is and nobody writes to it. */
static inline bool ring_output_is_sent(uint32_t structure_out_max, uint32_t structure_size)
{
	return structure_out_max == RING_VARIABLE && structure_size > RING_BLOCK;
}

/* Of the input structure, what lies in the call's buffer if it is larger than a block. */
static inline uint32_t ring_buffered_input(const struct ring_request *request)
{
	return request->input_address != 0 ? 0 : request->structure_size;
}

static inline bool ring_needs_buffer(const struct ring_request *request)
{
	return ring_buffered_input(request) > RING_BLOCK ||
	       (ring_output_is_shared(request->structure_out_max) && request->output_address == 0);
}

/* Input lies in a buffer from 0, the room for output from here; of ring_buffered_input. */
static inline uint64_t ring_output_offset(uint32_t structure_size)
{
	if (structure_size <= RING_BLOCK)
		return 0;
	return ((uint64_t)structure_size + RING_BLOCK - 1) / RING_BLOCK * RING_BLOCK;
}

/* What travels on a connection's socket beside the ring: dext to application, but for the last two.
 */
enum {
	RING_SOCKET_WAKE = 1,
	RING_SOCKET_DESCRIPTOR = 2, // sequence: the call that the attached descriptor belongs to
	RING_SOCKET_DOORBELL = 3,   // sequence: the worker whose doorbell is attached, an eventfd
	RING_SOCKET_BUFFER = 4,     // sequence: modulo RING_BUFFERS, the attached buffer's number
	RING_SOCKET_REGION = 5,     // sequence: what the RING_REGISTER that follows says
};
struct ring_socket_message {
	uint32_t kind;
	uint32_t reserved;
	uint64_t sequence;
};

/* Send one, with `fd` attached if it is not -1; borrowed. Never blocks, whatever flags a peer gives
 * the socket: -EAGAIN. Negative errno. */
int ring_socket_send(int socket_fd, uint32_t kind, uint64_t sequence, int fd);
/* Receive one; never blocks. 1: `message`, and its descriptor in *fd, or -1; the caller closes it.
 * 0: none waits. -ECONNRESET: the peer hung up. -EBADMSG: that was none; nothing is kept of it. */
int ring_socket_receive(int socket_fd, struct ring_socket_message *message, int *fd);

/* dextd. A sealed memfd; returned. */
int ring_create(int *memory_fd);
/* End every call in flight with `status` and `reason`, refuse new ones, wake all who wait.
 * -EBADMSG: this is no memory that ring_create made. */
int ring_abort(int memory_fd, IOReturn status, const char *reason);
/* Before a further dext is given the ring: its number, one more than the last; the first has 1; and
 * why the last one ended, for those whose call it took with it. */
int ring_raise_generation(int memory_fd, uint32_t generation, const char *reason);

/* --- the dext's side: one thread at a time for calls, which may be another than the one for
 * events; ring_server_reply any may call --- */
struct ring_server;
/* fd borrowed till then; -EBADMSG. What a dead predecessor had taken and not answered is aborted
 * here, or comes again by ring_server_next, before all else. */
int ring_server_open(struct ring_server **out, int memory_fd);
uint32_t ring_server_generation(const struct ring_server *s); // as it was at the open
struct ring_server *ring_server_close(struct ring_server *s); // returns NULL
/* ring_abort, of a ring at hand. Any thread. */
void ring_server_abort(struct ring_server *s, IOReturn status, const char *reason);
/* 1: `request` is the next call. 0: none waits. -EBADMSG. */
int ring_server_next(struct ring_server *s, struct ring_request *request);
/* When none waits, and before ring_server_sleep: look for the next call as long as that pays, or
 * until `stop` (which may be NULL) says that something else waits for this thread; it is asked
 * about once in a microsecond. True: there may be a call. False: sleep. */
bool ring_server_linger(struct ring_server *s, waiting_stop_fn stop, void *context);
/* Before sleeping: true when nothing waits and the flag is set, so that a caller rings the
 * doorbell. */
bool ring_server_sleep(struct ring_server *s);
/* A caller rings the worker of its CPU's number modulo `n`, at most RING_DOORBELLS, as soon as that
 * doorbell was sent on the socket and then announced here; until then, the first one. */
void ring_server_set_workers(struct ring_server *s, uint32_t n);
void ring_server_announce_doorbell(struct ring_server *s, uint32_t worker);
/* The worker that the last call's caller would ring. */
uint32_t ring_server_caller_worker(const struct ring_server *s);
int ring_server_reply(struct ring_server *s, uint32_t slot, const struct ring_reply *reply);
/* The call may be executed again by a successor, if this process dies before it replies. */
void ring_server_note_replayable(struct ring_server *s, const struct ring_request *request);
/* Instead of a reply: the call was not executed, for it relies on what only a predecessor was given
 * on its socket. */
int ring_server_refuse_stale(struct ring_server *s, uint32_t slot);
/* Is there room for more than `n` events? */
bool ring_server_event_fits(struct ring_server *s, uint32_t n);
/* 0 or 1 (the application sleeps: send RING_SOCKET_WAKE); -ENOSPC: it does not read. */
int ring_server_event(struct ring_server *s, const struct ring_event *event);

/* --- the application's side: any thread --- */
struct ring_client;
int ring_client_open(struct ring_client **out, int memory_fd, int doorbell_fd); // both borrowed
struct ring_client *ring_client_close(struct ring_client *c);
/* While a call waits, run `look` twice a second: it may find that the peer is gone, and ring_abort.
 */
void ring_client_set_look(struct ring_client *c, void (*look)(void *context), void *context);
/* The doorbell of a further worker of the dext of that generation, borrowed, non-blocking. `look`
 * is run to fetch one. */
void ring_client_set_doorbell(struct ring_client *c, uint32_t worker, int doorbell_fd,
			      uint32_t generation);
uint32_t ring_client_generation(const struct ring_client *c); // as it is now
bool ring_client_is_closed(const struct ring_client *c);
/* How both sides wait for each other from now on. */
void ring_client_set_waiting(struct ring_client *c, enum waiting_policy policy);
/* Submit and wait for the reply, at most timeout_ms; request->sequence is set. 0: `reply` is valid:
 * the dext's, or, when the ring was aborted meanwhile, the abort's status and reason. -ETIMEDOUT:
 * the slot stays the call's until its reply comes. -ECONNRESET: the connection had ended before,
 * `reply` says why. -EAGAIN: all slots were owned for all that time. -ESTALE: it was not executed;
 * share anew with the dext of reply->generation what the call relies on, and call again. -EBADMSG.
 * -EINVAL: the request is over a limit. */
int ring_client_call(struct ring_client *c, struct ring_request *request, struct ring_reply *reply,
		     uint32_t timeout_ms);

/* A call that was submitted and is to be waited for, by its caller alone. */
struct ring_call {
	uint32_t slot;
	uint32_t n_scalars_out, structure_out_max; // as in the request
	bool more_follow;
};
/* Submit, and wake nobody: ring_client_flush does for all that was submitted before, as do
 * ring_client_call and ring_client_take. Never blocks.
 * more_follow: who waits for this call may sleep up to 10 ms longer, until the last that
 * was submitted has ended. 0: `call` owns its slot until it is taken or left. -ECONNRESET: `reply`
 * says why. -EAGAIN: no slot is free. -EINVAL. */
int ring_client_submit(struct ring_client *c, struct ring_request *request, bool more_follow,
		       struct ring_call *call, struct ring_reply *reply);
void ring_client_flush(struct ring_client *c);
/* Wait for the reply until `deadline_ns` (base/clock.h). As ring_client_call; whatever it returns,
 * the call is over. */
int ring_client_take(struct ring_client *c, const struct ring_call *call, struct ring_reply *reply,
		     uint64_t deadline_ns);
/* Nobody waits for it any more: the slot becomes free when its reply comes. */
void ring_client_leave(struct ring_client *c, const struct ring_call *call);

/* Events have one reader at a time. 1: a copy of the next event but `ahead`, which stays in the
 * ring. 0: there is none. -EBADMSG. */
int ring_client_look_event(struct ring_client *c, uint32_t ahead, struct ring_event *event);
/* The next `n` events, which were looked at, are taken: their places are free. */
void ring_client_take_events(struct ring_client *c, uint32_t n);
/* Both, for one. */
int ring_client_next_event(struct ring_client *c, struct ring_event *event);
/* Before polling: true when no event waits and the flag is set, so that the dext sends a wake. */
bool ring_client_event_sleep(struct ring_client *c);
