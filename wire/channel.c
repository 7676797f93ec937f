/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The conversation: see channel.h.
 *
 * A call that we made is a `pending` until its reply comes (pending.h); a peer that lets 1024 of
 * them expire counts as dead. A call that the peer made is a `channel_call` until it is answered;
 * one peer may have 256 of them, further ones are refused.
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
#include <base/reason.h>
#include <base/text.h>
#include <wire/codec.h>
#include <wire/frame.h>
#include <wire/outbox.h>
#include <wire/pending.h>

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
	struct pendings pendings;
	unsigned n_served; // channel_calls
	struct outbox unsent;
	uint8_t *buffer; // owned; FRAME_MAX bytes, used only until a frame is decoded
};

/* A call of the peer. */
struct channel_call {
	struct channel *channel; // a reference
	const struct OSMethodShape *shape;
	uint64_t transaction;
	max_align_t msg[];
};

/* --- life --- */

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
	pendings_init(&channel->pendings);
	outbox_init(&channel->unsent);
	channel->fd = steal_fd(&owned_fd);
	*out = channel;
	channel = NULL;
	return 0;
}

struct channel *channel_close(struct channel *channel)
{
	if (channel == NULL || channel->closed)
		return NULL;
	channel->closed = true;
	close_fdp(&channel->fd);
	outbox_deinit(&channel->unsent);
	pendings_end_all(&channel->pendings, kIOReturnOffline,
			 "the connection was closed on this side");
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
	outbox_deinit(&channel->unsent);
	pendings_end_all(&channel->pendings, dead ? kIOReturnOffline : kIOReturnIPCError,
			 hangup_reason(error));
	if (!channel->closed)
		channel->events->on_hangup(channel->context, channel, error);
}

/* --- sending --- */

static int transmit(struct channel *channel, const struct frame *frame)
{
	unsigned room = UNSENT_MAX + (channel->objects != NULL ? SERVED_MAX : 0);
	int ret = outbox_send(&channel->unsent, channel->fd, frame, room);

	if (ret == -ENOBUFS && channel->unsent.n_packets == room)
		channel->broken = ret;
	return ret;
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
	if (channel->objects != NULL && channel->unsent.n_packets >= UNSENT_MAX)
		return -ENOBUFS; // what is left of the room is for replies
	if (!oneway) {
		ret = pending_new(&pending, &channel->pendings, template);
		if (ret < 0)
			return ret;
		frame.transaction = pending->transaction;
	}
	ret = transmit_message(channel, &frame, shape->put_request, msg);
	if (ret < 0)
		free(pending);
	else if (pending != NULL)
		pendings_add(&channel->pendings, pending);
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

uint64_t channel_next_deadline(const struct channel *channel)
{
	if (!is_open(channel))
		return 0;
	return channel->broken < 0 ? DEADLINE_PAST : pendings_next_deadline(&channel->pendings);
}

void channel_expire(struct channel *channel, uint64_t now_ns)
{
	channel_ref(channel);
	while (is_open(channel) && pendings_expire_one(&channel->pendings, now_ns))
		if (channel->pendings.n_expired > EXPIRED_MAX)
			channel->broken = -ETIMEDOUT;
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

static void message_dispose(int (*put)(struct wire_writer *w, const void *msg), const void *msg)
{
	if (put != NULL)
		wire_message_dispose(put, msg);
}

/* The out fields go to the caller's message, or to a fresh one that lives for the callback. */
static int deliver_success(struct channel *channel, struct pending *pending, struct frame *frame)
{
	const struct OSMethodShape *shape = pending->shape;
	CLEANUP(freep) void *msg = calloc(1, shape->msg_size);
	void *out = pending->out;
	int ret;

	if (msg == NULL)
		return -ENOMEM;
	if (out != NULL)
		memcpy(msg, out, shape->msg_size);
	ret = decode(channel, frame, shape->get_reply, msg);
	if (ret < 0)
		return ret;
	if (out != NULL)
		memcpy(out, msg, shape->msg_size);
	pendings_end(&channel->pendings, pending, frame->status, frame->reason,
		     out != NULL ? out : msg);
	if (out == NULL)
		message_dispose(shape->put_reply, msg);
	return 0;
}

static int receive_reply(struct channel *channel, struct frame *frame)
{
	struct pending *pending = pendings_find(&channel->pendings, frame->transaction);

	if (pending == NULL || pending->shape->id != frame->method)
		return -EBADMSG;
	if (!pending->expired && frame->status == kIOReturnSuccess)
		return deliver_success(channel, pending, frame);
	pendings_end(&channel->pendings, pending, frame->status, frame->reason, NULL);
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
		channel->broken = outbox_flush(&channel->unsent, channel->fd);
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
	return (short)((is_full(channel) ? 0 : POLLIN) |
		       (channel->unsent.first != NULL ? POLLOUT : 0));
}
