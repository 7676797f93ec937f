/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The conversation: see channel.h.
 *
 * A call that we made is a `pending` until its reply comes. One whose time is over stays, as
 * expired, so that its late reply is recognised and dropped; a peer that lets 1024 of them gather
 * counts as dead. A call that the peer made is a `channel_call` until it is answered; one peer may
 * have 256 of them, further ones are refused.
 *
 * The end comes in one of two ways. hang_up() is the peer's: it ends the pending calls and tells
 * the owner, only ever from channel_dispatch or channel_expire; a failure noticed elsewhere is
 * noted in `broken`, makes a deadline of "now", and is told by the next of those two.
 * channel_close() is the owner's.
 *
 * Callbacks may do anything, channel_close included. So whoever calls one holds a reference, lists
 * are walked from their head again after each callback, and the memory goes with the last
 * reference: the owner's, a running function's, an unanswered call's.
 */

#include <wire/channel.h>

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/list.h>
#include <base/reason.h>
#include <base/text.h>
#include <wire/codec.h>
#include <wire/frame.h>

#define UNSENT_MAX    64U
#define SERVED_MAX    256U
#define EXPIRED_MAX   1024U
#define DISPATCH_MAX  16U // frames per channel_dispatch, so that others have their turn
#define NS_PER_MS     1000000ULL
#define DEADLINE_PAST 1ULL

struct channel {
	int fd; // owned
	const struct channel_method *methods;
	const struct channel_events *events;
	void *context;
	const struct channel_objects *objects; // NULL: one protocol, no objects

	unsigned references;
	bool closed;  // by its owner
	bool hung_up; // the owner was told
	int broken;   // negative errno: to be told
	uint64_t last_transaction;
	struct list pendings;                // pending.link
	unsigned n_expired;                  // of them
	unsigned n_served;                   // channel_calls
	struct packet *unsent, **unsent_end; // owned
	unsigned n_unsent;
	uint8_t *buffer; // owned; FRAME_MAX bytes, used only until a frame is decoded
};

/* A call to the peer. */
struct pending {
	struct list link; // channel.pendings
	const struct OSMethodShape *shape;
	uint64_t object; // 0: the protocol itself
	uint64_t transaction;
	uint64_t deadline_ns; // 0: none
	uint32_t timeout_ms;
	bool expired;              // the caller was told; nothing below is valid
	channel_reply_fn on_reply; // may be NULL
	void *context;
	void *out; // borrowed: where the caller wants the out fields; NULL: for the callback only
};

/* A call of the peer. */
struct channel_call {
	struct channel *channel; // a reference
	const struct OSMethodShape *shape;
	uint64_t transaction;
	max_align_t msg[];
};

/* --- life --- */

static void drop_unsent(struct channel *channel)
{
	while (channel->unsent != NULL)
		channel->unsent = packet_free(channel->unsent);
	channel->unsent_end = &channel->unsent;
	channel->n_unsent = 0;
}

static struct channel *channel_ref(struct channel *channel)
{
	channel->references++;
	return channel;
}

static void channel_unref(struct channel *channel)
{
	if (--channel->references != 0)
		return;
	free(channel->buffer);
	free(channel);
}

static bool is_open(const struct channel *channel)
{
	return !channel->closed && !channel->hung_up;
}

int channel_open(struct channel **out, int fd, const struct channel_method *methods,
		 const struct channel_events *events, void *context)
{
	CLEANUP(close_fdp) int owned_fd = fd;
	CLEANUP(freep) struct channel *channel = calloc(1, sizeof(*channel));

	if (channel == NULL)
		return -ENOMEM;
	channel->buffer = malloc(FRAME_MAX);
	if (channel->buffer == NULL)
		return -ENOMEM;
	channel->methods = methods;
	channel->events = events;
	channel->context = context;
	channel->references = 1;
	list_init(&channel->pendings);
	channel->unsent_end = &channel->unsent;
	channel->fd = steal_fd(&owned_fd);
	*out = channel;
	channel = NULL;
	return 0;
}

static void pending_end(struct pending *pending, kern_return_t status, const char *reason,
			void *msg)
{
	if (!pending->expired && pending->on_reply != NULL)
		pending->on_reply(pending->context, status, reason, msg);
}

static void end_all_pending(struct channel *channel, kern_return_t status, const char *reason)
{
	while (!list_empty(&channel->pendings)) {
		struct pending *pending =
			container_of(channel->pendings.next, struct pending, link);

		list_remove(&pending->link);
		pending_end(pending, status, reason, NULL);
		free(pending);
	}
	channel->n_expired = 0;
}

struct channel *channel_close(struct channel *channel)
{
	if (channel == NULL || channel->closed)
		return NULL;
	channel->closed = true;
	close_fdp(&channel->fd);
	drop_unsent(channel);
	end_all_pending(channel, kIOReturnOffline, "the connection was closed on this side");
	channel_unref(channel);
	return NULL;
}

static const char *hangup_reason(int error)
{
	switch (error) {
	case 0:
		return "the other side has gone";
	case -ENOBUFS:
		return "the other side does not read its messages";
	case -ETIMEDOUT:
		return "the other side does not answer";
	default:
		return "the other side sent a malformed message";
	}
}

/* With a reference held. */
static void hang_up(struct channel *channel, int error)
{
	bool dead = error == 0 || error == -ENOBUFS || error == -ETIMEDOUT;

	if (!is_open(channel))
		return;
	channel->hung_up = true;
	drop_unsent(channel);
	end_all_pending(channel, dead ? kIOReturnOffline : kIOReturnIPCError, hangup_reason(error));
	if (!channel->closed)
		channel->events->on_hangup(channel->context, channel, error);
}

/* --- sending --- */

static bool is_gone(int error)
{
	return error == -EPIPE || error == -ECONNRESET || error == -ENOTCONN;
}

/* Send now, or queue a copy. A peer that has gone is found by reading, which also finds what it
 * sent last: not an error here. */
static int transmit(struct channel *channel, const struct frame *frame)
{
	int ret = channel->unsent == NULL ? frame_send(channel->fd, frame) : -EAGAIN;

	if (is_gone(ret))
		return 0;
	if (ret != -EAGAIN)
		return ret;
	if (channel->n_unsent == UNSENT_MAX + (channel->objects != NULL ? SERVED_MAX : 0)) {
		channel->broken = -ENOBUFS;
		return -ENOBUFS;
	}
	ret = packet_new(channel->unsent_end, frame);
	if (ret < 0)
		return ret;
	channel->unsent_end = &(*channel->unsent_end)->next;
	channel->n_unsent++;
	return 0;
}

static void send_unsent(struct channel *channel)
{
	while (channel->unsent != NULL) {
		int ret = packet_send(channel->fd, channel->unsent);

		if (ret == -EAGAIN)
			return;
		if (ret < 0 && !is_gone(ret)) {
			channel->broken = ret;
			return;
		}
		channel->unsent = packet_free(channel->unsent);
		channel->n_unsent--;
	}
	channel->unsent_end = &channel->unsent;
}

static const char *error_text(int error)
{
	const char *text = strerrordesc_np(-error);

	return text != NULL ? text : "unknown error";
}

static const struct wire_references *references_of(const struct channel *channel)
{
	return channel->objects != NULL ? channel->objects->references : NULL;
}

/* Encode the fields that `put` knows and send them with the frame's head. */
static int transmit_message(struct channel *channel, struct frame *frame,
			    int (*put)(struct wire_writer *w, const void *msg), const void *msg)
{
	CLEANUP(wire_writer_deinit) struct wire_writer w;
	int ret;

	wire_writer_init(&w);
	w.references = references_of(channel);
	w.context = channel->context;
	ret = put != NULL ? put(&w, msg) : 0;
	if (ret < 0 || w.error < 0)
		return ret < 0 ? ret : w.error;
	frame->body = w.data;
	frame->body_size = w.size;
	memcpy(frame->fds, w.fds, sizeof(frame->fds));
	frame->n_fds = w.n_fds;
	return transmit(channel, frame);
}

/* --- calling --- */

static int call_peer(struct channel *channel, const struct pending *template, const void *msg)
{
	const struct OSMethodShape *shape = template->shape;
	bool oneway = (shape->flags & kOSMethodOneway) != 0;
	struct frame frame = { .method = shape->id, .object = template->object };
	struct pending *pending = NULL;
	int ret;

	if (!is_open(channel) || channel->broken < 0)
		return -EPIPE;
	if (channel->objects != NULL && channel->n_unsent >= UNSENT_MAX)
		return -ENOBUFS; // what is left of the room is for replies
	if (!oneway) {
		pending = malloc(sizeof(*pending));
		if (pending == NULL)
			return -ENOMEM;
		*pending = *template;
		pending->transaction = frame.transaction = ++channel->last_transaction;
		if (pending->timeout_ms != 0)
			pending->deadline_ns = clock_deadline_ns(pending->timeout_ms);
	}
	ret = transmit_message(channel, &frame, shape->put_request, msg);
	if (ret < 0)
		free(pending);
	else if (pending != NULL)
		list_append(&channel->pendings, &pending->link);
	return ret;
}

int channel_call(struct channel *channel, const struct OSMethodShape *shape, const void *msg,
		 uint32_t timeout_ms, channel_reply_fn on_reply, void *context)
{
	struct pending template = {
		.shape = shape,
		.timeout_ms = timeout_ms,
		.on_reply = on_reply,
		.context = context,
	};

	return call_peer(channel, &template, msg);
}

void channel_serve_objects(struct channel *channel, const struct channel_objects *objects)
{
	channel->objects = objects;
}

int channel_call_object(struct channel *channel, uint64_t object, const struct OSMethodShape *shape,
			const void *msg, void *out, uint32_t timeout_ms, channel_reply_fn on_reply,
			void *context)
{
	struct pending template = {
		.shape = shape,
		.object = object,
		.timeout_ms = timeout_ms,
		.on_reply = on_reply,
		.context = context,
		.out = out,
	};

	return call_peer(channel, &template, msg);
}

const struct OSMethodShape *channel_call_shape(const struct channel_call *call)
{
	return call->shape;
}

/* What channel_call_sync waits for; on its stack. */
struct waiting {
	bool done;
	kern_return_t status;
	char *reason; // may be NULL
};

static void note_refusal(const char *text, char *reason)
{
	reason_set(text);
	if (reason != NULL)
		text_copy(reason, CHANNEL_REASON_MAX, text);
}

static void on_sync_reply(void *context, kern_return_t status, const char *reason, void *msg)
{
	struct waiting *waiting = context;

	(void)msg;
	waiting->done = true;
	waiting->status = status;
	if (status != kIOReturnSuccess)
		note_refusal(reason, waiting->reason);
}

static int poll_timeout(uint64_t deadline_ns)
{
	uint64_t now_ns, left_ms;

	if (deadline_ns == 0)
		return -1;
	now_ns = clock_now_ns();
	if (deadline_ns <= now_ns)
		return 0;
	left_ms = (deadline_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS;
	return left_ms > INT_MAX ? INT_MAX : (int)left_ms;
}

static void wait_until_done(struct channel *channel, const struct waiting *waiting)
{
	while (!waiting->done) {
		struct pollfd poll_fd = {
			.fd = channel->fd,
			.events = channel_poll_events(channel),
		};

		poll(&poll_fd, 1, poll_timeout(channel_next_deadline(channel)));
		channel_dispatch(channel);
		channel_expire(channel, clock_now_ns());
	}
}

kern_return_t channel_call_sync(struct channel *channel, const struct OSMethodShape *shape,
				void *msg, uint32_t timeout_ms, char *reason)
{
	bool oneway = (shape->flags & kOSMethodOneway) != 0;
	struct waiting waiting = { .reason = reason };
	struct pending template = {
		.shape = shape,
		.timeout_ms = timeout_ms,
		.on_reply = on_sync_reply,
		.context = &waiting,
		.out = msg,
	};
	int ret;

	if (reason != NULL)
		reason[0] = '\0';
	channel_ref(channel);
	ret = call_peer(channel, &template, msg);
	if (ret == 0 && !oneway)
		wait_until_done(channel, &waiting);
	channel_unref(channel);
	if (ret == 0)
		return waiting.status;
	waiting.status = return_from_errno(ret);
	if (ret != -EOPNOTSUPP) // which was refused with a reason where it was found
		refuse(waiting.status, "%s::%s could not be sent: %s", shape->class_name,
		       shape->name, error_text(ret));
	note_refusal(reason_last(), reason);
	return waiting.status;
}

/* --- deadlines --- */

static bool is_due(const struct pending *pending, uint64_t now_ns)
{
	return !pending->expired && pending->deadline_ns != 0 && pending->deadline_ns <= now_ns;
}

static struct pending *find_due(struct channel *channel, uint64_t now_ns)
{
	struct pending *pending;

	list_for_each(pending, &channel->pendings, link)
		if (is_due(pending, now_ns))
			return pending;
	return NULL;
}

static void expire(struct channel *channel, struct pending *pending)
{
	const struct OSMethodShape *shape = pending->shape;
	char reason[CHANNEL_REASON_MAX];
	channel_reply_fn on_reply = pending->on_reply;

	pending->expired = true;
	if (++channel->n_expired > EXPIRED_MAX)
		channel->broken = -ETIMEDOUT;
	if (on_reply == NULL)
		return;
	text_print(reason, sizeof(reason), "no reply to %s::%s within %u ms", shape->class_name,
		   shape->name, pending->timeout_ms);
	on_reply(pending->context, kIOReturnTimeout, reason, NULL);
}

uint64_t channel_next_deadline(const struct channel *channel)
{
	uint64_t earliest = 0;
	struct pending *pending;

	if (!is_open(channel))
		return 0;
	if (channel->broken < 0)
		return DEADLINE_PAST;
	list_for_each(pending, &channel->pendings, link)
		if (!pending->expired && pending->deadline_ns != 0 &&
		    (earliest == 0 || pending->deadline_ns < earliest))
			earliest = pending->deadline_ns;
	return earliest;
}

void channel_expire(struct channel *channel, uint64_t now_ns)
{
	struct pending *pending;

	channel_ref(channel);
	while (is_open(channel) && (pending = find_due(channel, now_ns)) != NULL)
		expire(channel, pending);
	if (channel->broken < 0)
		hang_up(channel, channel->broken);
	channel_unref(channel);
}

/* --- receiving --- */

/* Decode exactly the frame's body and descriptors; the frame's descriptors are consumed. */
static int decode(const struct channel *channel, struct frame *frame,
		  int (*get)(struct wire_reader *r, void *msg), void *msg)
{
	struct wire_reader r;
	int ret;

	wire_reader_init(&r, frame->body, frame->body_size);
	r.references = references_of(channel);
	r.context = channel->context;
	wire_reader_give_fds(&r, frame->fds, frame->n_fds);
	frame->n_fds = 0;
	ret = get != NULL ? get(&r, msg) : 0;
	if (ret == 0)
		ret = wire_reader_finish(&r);
	if (ret < 0)
		wire_reader_undo(&r);
	wire_reader_deinit(&r);
	return ret;
}

static struct pending *find_pending(struct channel *channel, uint64_t transaction)
{
	struct pending *pending;

	list_for_each(pending, &channel->pendings, link)
		if (pending->transaction == transaction)
			return pending;
	return NULL;
}

static void message_dispose(int (*put)(struct wire_writer *w, const void *msg), const void *msg)
{
	if (put != NULL)
		wire_message_dispose(put, msg);
}

/* The out fields go to the caller's message, or to a fresh one that lives for the callback. */
static int deliver_success(const struct channel *channel, struct pending *pending,
			   struct frame *frame)
{
	const struct OSMethodShape *shape = pending->shape;
	CLEANUP(freep) void *msg = calloc(1, shape->msg_size);
	int ret;

	if (msg == NULL)
		return -ENOMEM;
	if (pending->out != NULL)
		memcpy(msg, pending->out, shape->msg_size);
	ret = decode(channel, frame, shape->get_reply, msg);
	if (ret < 0)
		return ret;
	list_remove(&pending->link);
	if (pending->out != NULL)
		memcpy(pending->out, msg, shape->msg_size);
	pending_end(pending, frame->status, frame->reason,
		    pending->out != NULL ? pending->out : msg);
	if (pending->out == NULL)
		message_dispose(shape->put_reply, msg);
	free(pending);
	return 0;
}

static int receive_reply(struct channel *channel, struct frame *frame)
{
	struct pending *pending = find_pending(channel, frame->transaction);

	if (pending == NULL || pending->shape->id != frame->method)
		return -EBADMSG;
	if (!pending->expired && frame->status == kIOReturnSuccess)
		return deliver_success(channel, pending, frame);
	list_remove(&pending->link);
	if (pending->expired)
		channel->n_expired--;
	pending_end(pending, frame->status, frame->reason, NULL);
	free(pending);
	return 0;
}

static const struct channel_method *find_method(const struct channel *channel, uint64_t id)
{
	const struct channel_method *method = channel->methods;

	while (method->shape != NULL && method->shape->id != id)
		method++;
	return method->shape != NULL ? method : NULL;
}

static void send_refusal(struct channel *channel, const struct frame *request, kern_return_t status,
			 const char *reason)
{
	struct frame frame = {
		.method = request->method,
		.transaction = request->transaction,
		.flags = FRAME_REPLY,
		.status = status,
	};

	text_copy(frame.reason, sizeof(frame.reason), reason);
	if (transmit(channel, &frame) < 0 && channel->broken == 0)
		channel->broken = -ENOBUFS;
}

/* Who serves it: a row of the table, or the objects. */
static void serve(struct channel *channel, const struct channel_method *method, uint64_t object,
		  struct channel_call *call)
{
	if (method == NULL || call->transaction != 0) {
		call->channel = channel_ref(channel);
		channel->n_served++;
		if (method != NULL)
			method->handle(channel->context, call, call->msg);
		else
			channel->objects->serve(channel->context, object, call, call->msg);
		return;
	}
	method->handle(channel->context, NULL, call->msg);
	message_dispose(method->shape->put_request, call->msg);
	free(call);
}

/* Decode it and have it served. */
static int accept_request(struct channel *channel, struct frame *frame,
			  const struct channel_method *method, const struct OSMethodShape *shape)
{
	CLEANUP(freep) struct channel_call *call = NULL;
	bool oneway = (shape->flags & kOSMethodOneway) != 0;
	int ret;

	if (oneway != (frame->transaction == 0))
		return -EBADMSG;
	call = calloc(1, sizeof(*call) + shape->msg_size);
	if (call == NULL)
		return -ENOMEM;
	call->shape = shape;
	call->transaction = frame->transaction;
	ret = decode(channel, frame, shape->get_request, call->msg);
	if (ret < 0)
		return ret;
	if (!oneway && channel->n_served == SERVED_MAX) {
		message_dispose(shape->put_request, call->msg);
		send_refusal(channel, frame, kIOReturnNoResources,
			     "256 calls of this connection are unanswered: wait for replies");
		return 0;
	}
	serve(channel, method, frame->object, call);
	call = NULL;
	return 0;
}

static int receive_for_object(struct channel *channel, struct frame *frame)
{
	const struct OSMethodShape *shape =
		channel->objects->find(channel->context, frame->object, frame->method);

	if (shape != NULL)
		return accept_request(channel, frame, NULL, shape);
	if (frame->transaction != 0)
		send_refusal(channel, frame, kIOReturnUnsupported, reason_last());
	return 0;
}

static int receive_request(struct channel *channel, struct frame *frame)
{
	const struct channel_method *method;

	if (frame->object != 0)
		return channel->objects != NULL ? receive_for_object(channel, frame) : -EBADMSG;
	method = find_method(channel, frame->method);
	return method != NULL ? accept_request(channel, frame, method, method->shape) : -EBADMSG;
}

/* Take one frame. 1: there may be more. 0: none now, or never again. */
static int receive_one(struct channel *channel)
{
	struct frame frame;
	int ret = frame_receive(channel->fd, channel->buffer, &frame);

	if (ret == -EAGAIN)
		return 0;
	if (ret <= 0) {
		hang_up(channel, ret);
		return 0;
	}
	ret = (frame.flags & FRAME_REPLY) != 0 ? receive_reply(channel, &frame)
					       : receive_request(channel, &frame);
	for (unsigned i = 0; i < frame.n_fds; i++)
		close_fdp(&frame.fds[i]);
	if (ret < 0)
		hang_up(channel, ret);
	return ret == 0;
}

/* Objects may take as long as they want: the peer then waits, rather than being refused. */
static bool is_full(const struct channel *channel)
{
	return channel->objects != NULL && channel->n_served >= SERVED_MAX;
}

void channel_dispatch(struct channel *channel)
{
	channel_ref(channel);
	if (is_open(channel) && channel->broken == 0)
		send_unsent(channel);
	for (unsigned i = 0; i < DISPATCH_MAX && is_open(channel) && channel->broken == 0; i++)
		if (is_full(channel) || receive_one(channel) == 0)
			break;
	if (channel->broken < 0)
		hang_up(channel, channel->broken);
	channel_unref(channel);
}

/* --- answering --- */

static void send_reply(struct channel_call *call, kern_return_t status, const char *reason)
{
	struct frame frame = {
		.method = call->shape->id,
		.transaction = call->transaction,
		.flags = FRAME_REPLY,
		.status = status,
	};
	char text[CHANNEL_REASON_MAX];
	int ret;

	if (call->transaction == 0)
		return; // oneway
	if (status != kIOReturnSuccess) {
		send_refusal(call->channel, &frame, status, reason != NULL ? reason : "");
		return;
	}
	ret = transmit_message(call->channel, &frame, call->shape->put_reply, call->msg);
	if (ret == 0 || call->channel->broken < 0)
		return;
	text_print(text, sizeof(text), "the reply of %s::%s could not be sent: %s",
		   call->shape->class_name, call->shape->name, error_text(ret));
	send_refusal(call->channel, &frame, return_from_errno(ret), text);
}

void channel_reply(struct channel_call *call, kern_return_t status, const char *reason)
{
	struct channel *channel;

	if (call == NULL)
		return;
	channel = call->channel;
	if (is_open(channel) && channel->broken == 0)
		send_reply(call, status, reason);
	if (status == kIOReturnSuccess)
		message_dispose(call->shape->put_reply, call->msg);
	message_dispose(call->shape->put_request, call->msg);
	free(call);
	channel->n_served--;
	channel_unref(channel);
}

bool channel_is_open(const struct channel *channel)
{
	return is_open(channel);
}

int channel_fd(const struct channel *channel)
{
	return channel->fd;
}

short channel_poll_events(const struct channel *channel)
{
	if (!is_open(channel))
		return 0;
	return (short)((is_full(channel) ? 0 : POLLIN) | (channel->unsent != NULL ? POLLOUT : 0));
}
