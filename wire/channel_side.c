/* SPDX-License-Identifier: Apache-2.0 */

#include <wire/channel_side.h>

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include <wire/codec.h>

/* --- the methods --- */

static int put_exchange_request(struct wire_writer *w, const void *msg)
{
	const struct exchange_msg *m = msg;

	wire_put_u64(w, m->value);
	wire_put_object(w, m->object);
	wire_put_fd(w, m->fd);
	return w->error;
}

static int get_exchange_request(struct wire_reader *r, void *msg)
{
	struct exchange_msg *m = msg;

	wire_get_u64(r, 1U << 20, &m->value);
	wire_get_object(r, &gOSObjectMetaClass, &m->object);
	wire_get_fd(r, &m->fd);
	return r->error;
}

static int put_exchange_reply(struct wire_writer *w, const void *msg)
{
	const struct exchange_msg *m = msg;

	wire_put_u64(w, m->doubled);
	wire_put_object(w, m->result);
	wire_put_fd(w, m->result_fd);
	return w->error;
}

static int get_exchange_reply(struct wire_reader *r, void *msg)
{
	struct exchange_msg *m = msg;

	wire_get_u64(r, 1U << 21, &m->doubled);
	wire_get_object(r, &gOSObjectMetaClass, &m->result);
	wire_get_fd(r, &m->result_fd);
	return r->error;
}

static int put_note(struct wire_writer *w, const void *msg)
{
	return wire_put_string(w, ((const struct note_msg *)msg)->text, 32);
}

static int get_note(struct wire_reader *r, void *msg)
{
	return wire_get_string(r, ((struct note_msg *)msg)->text, 32);
}

const struct OSMethodShape exchange_shape = {
	.id = 0x1111,
	.class_name = "Test",
	.name = "Exchange",
	.msg_size = sizeof(struct exchange_msg),
	.put_request = put_exchange_request,
	.get_request = get_exchange_request,
	.put_reply = put_exchange_reply,
	.get_reply = get_exchange_reply,
};
const struct OSMethodShape note_shape = {
	.id = 0x2222,
	.class_name = "Test",
	.name = "Note",
	.flags = kOSMethodOneway,
	.msg_size = sizeof(struct note_msg),
	.put_request = put_note,
	.get_request = get_note,
};

/* --- one side --- */

void side_close(struct side *side)
{
	side->channel = channel_close(side->channel);
}

void side_double(struct side *side, struct channel_call *call, struct exchange_msg *msg)
{
	(void)side;
	msg->doubled = 2 * msg->value;
	msg->result_fd = -1;
	channel_reply(call, kIOReturnSuccess, NULL);
}

/* What came: the object kept, the descriptor taken. */
void side_send_back(struct side *side, struct channel_call *call, struct exchange_msg *msg)
{
	(void)side;
	OSObjectRetain(msg->object);
	msg->result = msg->object;
	msg->result_fd = msg->fd;
	msg->fd = -1;
	channel_reply(call, kIOReturnSuccess, NULL);
}

void side_keep(struct side *side, struct channel_call *call, struct exchange_msg *msg)
{
	side->kept[side->n_kept++] = call;
	side->kept_msg = msg;
}

void side_refuse(struct side *side, struct channel_call *call, struct exchange_msg *msg)
{
	(void)side, (void)msg;
	channel_reply(call, kIOReturnNotOpen, "open it first");
}

static void on_exchange(void *context, struct channel_call *call, void *msg)
{
	struct side *side = context;

	side->n_requests++;
	if (side->close_in_callback)
		side_close(side);
	side->serve(side, call, msg);
}

static void on_note(void *context, struct channel_call *call, void *msg)
{
	struct side *side = context;

	ck_assert_ptr_null(call);
	channel_reply(call, kIOReturnSuccess, NULL); // harmless
	side->n_notes++;
	strcpy(side->last_note, ((struct note_msg *)msg)->text);
	if (side->close_in_callback)
		side_close(side);
}

static void on_hangup(void *context, struct channel *channel, int error)
{
	struct side *side = context;

	ck_assert_ptr_eq(channel, side->channel);
	side->n_hangups++;
	side->hangup_error = error;
	if (side->close_in_callback)
		side_close(side);
}

void side_on_reply(void *context, kern_return_t status, const char *reason, void *msg)
{
	struct side *side = context;

	side->n_replies++;
	side->last_status = status;
	strcpy(side->last_reason, reason);
	ck_assert((msg != NULL) == (status == kIOReturnSuccess));
	if (msg != NULL)
		side->last_doubled = ((struct exchange_msg *)msg)->doubled;
	if (side->close_in_callback)
		side_close(side);
}

static const struct channel_method methods[] = {
	{ &exchange_shape, on_exchange },
	{ &note_shape, on_note },
	{ NULL, NULL },
};
static const struct channel_events events = { .on_hangup = on_hangup };

void side_open(struct side *side, int fd)
{
	*side = (struct side){ .serve = side_double };
	ck_assert_int_eq(channel_open(&side->channel, fd, methods, &events, side), 0);
}

void side_open_pair(struct side *one, struct side *two)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	side_open(one, fds[0]);
	side_open(two, fds[1]);
	one->other = two;
	two->other = one;
}

int side_open_raw(struct side *side)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	side_open(side, fds[0]);
	return fds[1];
}

bool side_is_ready(const struct side *side)
{
	struct pollfd poll_fd;

	if (side->channel == NULL || side->n_hangups != 0)
		return false;
	poll_fd = (struct pollfd){ .fd = channel_fd(side->channel),
				   .events = channel_poll_events(side->channel) };
	return poll(&poll_fd, 1, 0) > 0;
}

void side_dispatch_both(struct side *one, struct side *two)
{
	for (bool more = true; more;) {
		more = false;
		if (side_is_ready(one)) {
			channel_dispatch(one->channel);
			more = true;
		}
		if (side_is_ready(two)) {
			channel_dispatch(two->channel);
			more = true;
		}
	}
}

int side_call(struct side *side, uint64_t value, uint32_t timeout_ms)
{
	struct exchange_msg msg = { .value = value, .fd = -1 };

	return channel_call(side->channel, &exchange_shape, &msg, timeout_ms, side_on_reply, side);
}
