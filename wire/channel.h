/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A conversation over one SOCK_SEQPACKET socket: requests and replies of PROTOCOL methods, each
 * side serving its own table. dextd has one per dext and per application; they have one to it. Two
 * drivers have one in which each side serves its objects (channel_serve_objects).
 *
 * One frame is one packet: a header, a reason text, a body, and descriptors. A malformed frame, an
 * unknown method, or a reply that nobody asked for ends the conversation (on_hangup, -EBADMSG).
 *
 * A channel belongs to one thread at a time and never blocks: what the socket does not take is
 * queued, up to 64 frames, after which the peer counts as dead. Its owner polls channel_fd() for
 * channel_poll_events() and calls channel_dispatch(); and channel_expire() at the next deadline.
 * Any callback may close the channel it came from.
 */

#include <stdbool.h>
#include <stdint.h>

#include <DriverKit/OSMetaClass.h>

struct channel;
struct channel_call; // a request being served
struct wire_references;

#define CHANNEL_REASON_MAX 512U

/* Serve one request. `msg` is the decoded message, whose in-objects and in-descriptors are borrowed
 * (an object to keep is retained; a descriptor to keep is taken: set the field to -1). The handler
 * answers now or later with channel_reply(), exactly once, and `msg` lives until then; a oneway
 * method is not answered, its `call` is NULL and its `msg` lives until the handler returns. */
typedef void (*channel_handler_fn)(void *context, struct channel_call *call, void *msg);

struct channel_method {
	const struct OSMethodShape *shape;
	channel_handler_fn handle;
};

struct channel_events {
	/* The peer is gone (0) or misbehaved (negative errno). All pending calls were ended
	 * before. The owner closes the channel, now or later. Required. */
	void (*on_hangup)(void *context, struct channel *channel, int error);
};

/* A reply came, or the call ended without one: kIOReturnTimeout, kIOReturnOffline,
 * kIOReturnIPCError. `msg` has the out fields when status is success; its objects and descriptors
 * are borrowed as above. reason: never NULL, may be empty. */
typedef void (*channel_reply_fn)(void *context, kern_return_t status, const char *reason,
				 void *msg);

/* `fd` is consumed, also on failure. `methods` (ended by a NULL shape) and `events` outlive it. */
int channel_open(struct channel **out, int fd, const struct channel_method *methods,
		 const struct channel_events *events, void *context);
struct channel *channel_close(struct channel *channel); // returns NULL; ends pending calls

/* False: it has ended, from either side; what ends with it is told of right now. */
bool channel_is_open(const struct channel *channel);
int channel_fd(const struct channel *channel);
short channel_poll_events(const struct channel *channel);
void channel_dispatch(struct channel *channel);

/* Call the peer. `msg` is read before return. timeout_ms 0: no deadline. After 0, on_reply (may be
 * NULL; not for a oneway method) is called exactly once, never before this returns. After a
 * negative errno it is not called. -EPIPE: the channel has ended; -ENOBUFS: the peer does not read.
 */
int channel_call(struct channel *channel, const struct OSMethodShape *shape, const void *msg,
		 uint32_t timeout_ms, channel_reply_fn on_reply, void *context);

/*
 * A conversation in which each side serves objects under numbers of its own (not 0), and passes
 * references to them. While 256 calls of the peer are unanswered nothing is read; while the peer
 * does not read, a call is refused with -ENOBUFS, and the conversation goes on. Set once, before
 * anything is sent; `objects` outlives the channel.
 */
struct channel_objects {
	const struct wire_references *references;
	/* The method `method` of the object `object`; NULL with a reason: the peer may not call
	 * that, and is told so. */
	const struct OSMethodShape *(*find)(void *context, uint64_t object, uint64_t method);
	/* As a channel_handler_fn, but a oneway call too is answered with channel_reply. */
	void (*serve)(void *context, uint64_t object, struct channel_call *call, void *msg);
};
void channel_serve_objects(struct channel *channel, const struct channel_objects *objects);
/* As channel_call, to an object of the peer; the out fields go to `out` (may be `msg`), which the
 * caller then owns, before on_reply, whose msg is `out`. */
int channel_call_object(struct channel *channel, uint64_t object, const struct OSMethodShape *shape,
			const void *msg, void *out, uint32_t timeout_ms, channel_reply_fn on_reply,
			void *context);
const struct OSMethodShape *channel_call_shape(const struct channel_call *call);

/* Call and wait; other requests that arrive meanwhile are served. On success the caller owns the
 * out objects and descriptors in `msg`. `reason` has room for CHANNEL_REASON_MAX, or is NULL; that
 * of a failure is also this thread's last reason. */
kern_return_t channel_call_sync(struct channel *channel, const struct OSMethodShape *shape,
				void *msg, uint32_t timeout_ms, char *reason);

/* Answer. `call` is consumed; out fields of its msg are encoded when status is success; their
 * objects are released and their descriptors closed afterwards. A handler that succeeds sets every
 * out descriptor (-1: none); after any other status the out fields are not looked at. Legal after
 * the channel closed, and with NULL, the call of a oneway method. */
void channel_reply(struct channel_call *call, kern_return_t status, const char *reason);

/* ns, CLOCK_MONOTONIC, of the earliest deadline; 0: none. */
uint64_t channel_next_deadline(const struct channel *channel);
void channel_expire(struct channel *channel, uint64_t now_ns);
