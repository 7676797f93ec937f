/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The conversation, over real sockets: two channels in one thread, a channel and a thread, or a
 * channel and a test that speaks raw bytes. Its two methods are written by hand, so that nothing
 * here depends on what iig emits: Test::Exchange carries one of everything both ways, Test::Note is
 * oneway.
 */

#include <base/unit_test.h>
#include <wire/channel.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <DriverKit/OSCollectionConstants.h>
#include <base/clock.h>
#include <base/reason.h>
#include <wire/frame.h>

#define AS_OBJECT(x) ((OSObject *)(x))

/* --- the methods --- */

struct exchange_msg {
	uint64_t value;
	OSObject *object;
	int fd;
	uint64_t doubled;
	OSObject *result;
	int result_fd;
	kern_return_t ret;
};

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

struct note_msg {
	char text[32];
};

static int put_note(struct wire_writer *w, const void *msg)
{
	return wire_put_string(w, ((const struct note_msg *)msg)->text, 32);
}

static int get_note(struct wire_reader *r, void *msg)
{
	return wire_get_string(r, ((struct note_msg *)msg)->text, 32);
}

static const struct OSMethodShape exchange_shape = {
	.id = 0x1111,
	.class_name = "Test",
	.name = "Exchange",
	.msg_size = sizeof(struct exchange_msg),
	.put_request = put_exchange_request,
	.get_request = get_exchange_request,
	.put_reply = put_exchange_reply,
	.get_reply = get_exchange_reply,
};
static const struct OSMethodShape note_shape = {
	.id = 0x2222,
	.class_name = "Test",
	.name = "Note",
	.flags = kOSMethodOneway,
	.msg_size = sizeof(struct note_msg),
	.put_request = put_note,
	.get_request = get_note,
};

/* --- one side --- */

struct side {
	struct channel *channel;
	struct side *other;
	unsigned n_requests, n_notes, n_replies, n_hangups;
	int hangup_error;
	kern_return_t last_status;
	char last_reason[CHANNEL_REASON_MAX];
	uint64_t last_doubled;
	char last_note[32];
	struct channel_call *kept[300]; // answered by the test
	struct exchange_msg *kept_msg;  // of the last of them
	unsigned n_kept;
	void (*serve)(struct side *side, struct channel_call *call, struct exchange_msg *msg);
	bool close_in_callback;
};

static void close_side(struct side *side)
{
	side->channel = channel_close(side->channel);
}

static void double_value(struct side *side, struct channel_call *call, struct exchange_msg *msg)
{
	(void)side;
	msg->doubled = 2 * msg->value;
	msg->result_fd = -1;
	channel_reply(call, kIOReturnSuccess, NULL);
}

/* Send back what came: the object kept, the descriptor taken. */
static void send_back(struct side *side, struct channel_call *call, struct exchange_msg *msg)
{
	(void)side;
	OSObjectRetain(msg->object);
	msg->result = msg->object;
	msg->result_fd = msg->fd;
	msg->fd = -1;
	channel_reply(call, kIOReturnSuccess, NULL);
}

static void keep_call(struct side *side, struct channel_call *call, struct exchange_msg *msg)
{
	side->kept[side->n_kept++] = call;
	side->kept_msg = msg;
}

static void refuse_call(struct side *side, struct channel_call *call, struct exchange_msg *msg)
{
	(void)side, (void)msg;
	channel_reply(call, kIOReturnNotOpen, "open it first");
}

static void on_exchange(void *context, struct channel_call *call, void *msg)
{
	struct side *side = context;

	side->n_requests++;
	if (side->close_in_callback)
		close_side(side);
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
		close_side(side);
}

static void on_hangup(void *context, struct channel *channel, int error)
{
	struct side *side = context;

	ck_assert_ptr_eq(channel, side->channel);
	side->n_hangups++;
	side->hangup_error = error;
	if (side->close_in_callback)
		close_side(side);
}

static void on_reply(void *context, kern_return_t status, const char *reason, void *msg)
{
	struct side *side = context;

	side->n_replies++;
	side->last_status = status;
	strcpy(side->last_reason, reason);
	ck_assert((msg != NULL) == (status == kIOReturnSuccess));
	if (msg != NULL)
		side->last_doubled = ((struct exchange_msg *)msg)->doubled;
	if (side->close_in_callback)
		close_side(side);
}

static const struct channel_method methods[] = {
	{ &exchange_shape, on_exchange },
	{ &note_shape, on_note },
	{ NULL, NULL },
};
static const struct channel_events events = { .on_hangup = on_hangup };

static void open_side(struct side *side, int fd)
{
	*side = (struct side){ .serve = double_value };
	ck_assert_int_eq(channel_open(&side->channel, fd, methods, &events, side), 0);
}

static void open_pair(struct side *one, struct side *two)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	open_side(one, fds[0]);
	open_side(two, fds[1]);
	one->other = two;
	two->other = one;
}

/* A channel and the other end of its socket. */
static int open_raw(struct side *side)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	open_side(side, fds[0]);
	return fds[1];
}

static bool is_ready(const struct side *side)
{
	struct pollfd poll_fd;

	if (side->channel == NULL || side->n_hangups != 0)
		return false;
	poll_fd = (struct pollfd){ .fd = channel_fd(side->channel),
				   .events = channel_poll_events(side->channel) };
	return poll(&poll_fd, 1, 0) > 0;
}

static void dispatch_both(struct side *one, struct side *two)
{
	for (bool more = true; more;) {
		more = false;
		if (is_ready(one)) {
			channel_dispatch(one->channel);
			more = true;
		}
		if (is_ready(two)) {
			channel_dispatch(two->channel);
			more = true;
		}
	}
}

static int call_value(struct side *side, uint64_t value, uint32_t timeout_ms)
{
	struct exchange_msg msg = { .value = value, .fd = -1 };

	return channel_call(side->channel, &exchange_shape, &msg, timeout_ms, on_reply, side);
}

static bool is_open_fd(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* --- talking --- */

START_TEST(call_is_answered)
{
	struct side one, two;

	open_pair(&one, &two);
	ck_assert_int_eq(call_value(&one, 21, 0), 0);
	ck_assert_uint_eq(one.n_replies, 0);
	dispatch_both(&one, &two);
	ck_assert_uint_eq(one.n_replies, 1);
	ck_assert_int_eq(one.last_status, kIOReturnSuccess);
	ck_assert_uint_eq(one.last_doubled, 42);
	ck_assert_str_eq(one.last_reason, "");
	close_side(&one);
	close_side(&two);
}
END_TEST

START_TEST(calls_may_be_answered_later_and_in_any_order)
{
	struct side one, two;

	open_pair(&one, &two);
	two.serve = keep_call;
	for (uint64_t i = 0; i < 3; i++)
		ck_assert_int_eq(call_value(&one, i, 0), 0);
	dispatch_both(&one, &two);
	ck_assert_uint_eq(two.n_kept, 3);
	ck_assert_uint_eq(one.n_replies, 0);
	channel_reply(two.kept[2], kIOReturnBusy, "third");
	channel_reply(two.kept[0], kIOReturnBusy, "first");
	dispatch_both(&one, &two);
	ck_assert_uint_eq(one.n_replies, 2);
	ck_assert_str_eq(one.last_reason, "first");
	channel_reply(two.kept[1], kIOReturnBusy, "second");
	dispatch_both(&one, &two);
	ck_assert_str_eq(one.last_reason, "second");
	close_side(&one);
	close_side(&two);
}
END_TEST

START_TEST(refusal_carries_its_reason)
{
	struct side one, two;
	char long_reason[2 * CHANNEL_REASON_MAX];

	open_pair(&one, &two);
	two.serve = refuse_call;
	call_value(&one, 1, 0);
	dispatch_both(&one, &two);
	ck_assert_int_eq(one.last_status, kIOReturnNotOpen);
	ck_assert_str_eq(one.last_reason, "open it first");

	two.serve = keep_call;
	call_value(&one, 1, 0);
	dispatch_both(&one, &two);
	memset(long_reason, 'x', sizeof(long_reason) - 1);
	long_reason[sizeof(long_reason) - 1] = '\0';
	channel_reply(two.kept[0], kIOReturnNotOpen, long_reason);
	dispatch_both(&one, &two);
	ck_assert_uint_eq(strlen(one.last_reason), CHANNEL_REASON_MAX - 1);
	ck_assert_uint_eq(one.n_hangups, 0);
	close_side(&one);
	close_side(&two);
}
END_TEST

START_TEST(oneway_is_not_answered)
{
	struct note_msg msg = { .text = "hello" };
	struct side one, two;

	open_pair(&one, &two);
	ck_assert_int_eq(channel_call(one.channel, &note_shape, &msg, 0, NULL, NULL), 0);
	ck_assert_int_eq(channel_call_sync(one.channel, &note_shape, &msg, 0, NULL), 0);
	dispatch_both(&one, &two);
	ck_assert_uint_eq(two.n_notes, 2);
	ck_assert_str_eq(two.last_note, "hello");
	close_side(&one);
	close_side(&two);
}
END_TEST

/* Each side has its own copy of an object and its own descriptor, and each lets go of what it did
 * not take; the fixture counts the descriptors. */
START_TEST(objects_and_descriptors_travel_both_ways)
{
	OSString *string = OSString_withCString("payload");
	struct exchange_msg msg = { .object = AS_OBJECT(string) };
	struct side one, two;
	int ends[2];
	char byte;

	open_pair(&one, &two);
	ck_assert_int_eq(pipe(ends), 0);
	two.serve = send_back;
	msg.fd = ends[1];
	/* Three times: returned to a callback that takes nothing, and refused. */
	channel_call(one.channel, &exchange_shape, &msg, 0, on_reply, &one);
	channel_call(one.channel, &exchange_shape, &msg, 0, NULL, NULL);
	dispatch_both(&one, &two);
	two.serve = refuse_call;
	channel_call(one.channel, &exchange_shape, &msg, 0, on_reply, &one);
	dispatch_both(&one, &two);
	ck_assert_uint_eq(one.n_replies, 2);
	ck_assert_uint_eq(atomic_load(&AS_OBJECT(string)->refcount), 1);
	ck_assert(is_open_fd(ends[1]));
	/* No copy of the write end is left anywhere: the pipe ends with ours. */
	close(ends[1]);
	ck_assert_int_eq(read(ends[0], &byte, 1), 0);
	close(ends[0]);
	OSObjectRelease(string);
	close_side(&one);
	close_side(&two);
}
END_TEST

START_TEST(large_bodies_go_through_and_larger_ones_are_refused)
{
	static uint8_t bytes[WIRE_BODY_MAX];
	OSData *fits = OSData_withBytes(bytes, WIRE_BODY_MAX - 64);
	OSData *too_large = OSData_withBytes(bytes, WIRE_BODY_MAX);
	struct exchange_msg msg = { .object = AS_OBJECT(fits), .fd = -1 };
	struct side one, two;

	open_pair(&one, &two);
	two.serve = send_back;
	ck_assert_int_eq(channel_call(one.channel, &exchange_shape, &msg, 0, on_reply, &one), 0);
	dispatch_both(&one, &two);
	ck_assert_int_eq(one.last_status, kIOReturnSuccess);
	msg.object = AS_OBJECT(too_large);
	ck_assert_int_eq(channel_call(one.channel, &exchange_shape, &msg, 0, on_reply, &one),
			 -EMSGSIZE);
	OSObjectRelease(fits);
	OSObjectRelease(too_large);
	close_side(&one);
	close_side(&two);
}
END_TEST

static void answer_too_much(struct side *side, struct channel_call *call, struct exchange_msg *msg)
{
	static uint8_t bytes[WIRE_BODY_MAX];

	(void)side;
	msg->result = AS_OBJECT(OSData_withBytes(bytes, sizeof(bytes)));
	msg->result_fd = dup(0);
	channel_reply(call, kIOReturnSuccess, NULL);
}

/* The caller learns it; what was to be sent is let go. */
START_TEST(reply_that_cannot_be_sent_becomes_a_refusal)
{
	struct side one, two;

	open_pair(&one, &two);
	two.serve = answer_too_much;
	call_value(&one, 1, 0);
	dispatch_both(&one, &two);
	ck_assert_int_eq(one.last_status, kIOReturnMessageTooLarge);
	ck_assert_ptr_nonnull(strstr(one.last_reason, "Test::Exchange"));
	close_side(&one);
	close_side(&two);
}
END_TEST

START_TEST(object_that_cannot_travel_is_the_callers_error)
{
	struct exchange_msg msg = { .object = OSTypeAlloc(OSObject), .fd = -1 };
	char reason[CHANNEL_REASON_MAX];
	struct side one, two;

	open_pair(&one, &two);
	ck_assert_int_eq(channel_call(one.channel, &exchange_shape, &msg, 0, on_reply, &one),
			 -EOPNOTSUPP);
	ck_assert_int_eq(channel_call_sync(one.channel, &exchange_shape, &msg, 0, reason),
			 kIOReturnUnsupported);
	ck_assert_ptr_nonnull(strstr(reason, "OSObject"));
	dispatch_both(&one, &two);
	ck_assert_uint_eq(two.n_requests, 0);
	OSObjectRelease(msg.object);
	close_side(&one);
	close_side(&two);
}
END_TEST

/* --- calling and waiting --- */

static void *serve_until_hangup(void *context)
{
	struct side *side = context;

	while (side->n_hangups == 0) {
		struct pollfd poll_fd = { .fd = channel_fd(side->channel),
					  .events = channel_poll_events(side->channel) };

		poll(&poll_fd, 1, -1);
		channel_dispatch(side->channel);
	}
	close_side(side);
	return NULL;
}

START_TEST(sync_call_waits_and_gives_what_came_to_the_caller)
{
	OSString *string = OSString_withCString("payload");
	struct exchange_msg msg = { .object = AS_OBJECT(string), .value = 5 };
	char reason[CHANNEL_REASON_MAX] = "stale";
	struct side one, two;
	pthread_t thread;

	open_pair(&one, &two);
	two.serve = send_back;
	pthread_create(&thread, NULL, serve_until_hangup, &two);
	msg.fd = dup(0);
	ck_assert_int_eq(channel_call_sync(one.channel, &exchange_shape, &msg, 5000, reason), 0);
	ck_assert_str_eq(reason, "");
	ck_assert(OSString_isEqualTo(string, msg.result));
	ck_assert_uint_eq(atomic_load(&msg.result->refcount), 1);
	ck_assert(is_open_fd(msg.result_fd));
	ck_assert_uint_eq(msg.value, 5);
	close(msg.fd);
	close(msg.result_fd);
	OSObjectRelease(msg.result);
	OSObjectRelease(string);
	close_side(&one);
	pthread_join(thread, NULL);
}
END_TEST

/* Answer by asking the caller back, n deep. */
static void ask_back(struct side *side, struct channel_call *call, struct exchange_msg *msg)
{
	struct exchange_msg deeper = { .value = msg->value - 1, .fd = -1 };

	if (msg->value > 0) {
		ck_assert_int_eq(
			channel_call_sync(side->channel, &exchange_shape, &deeper, 5000, NULL), 0);
		ck_assert_int_eq(deeper.result_fd, -1);
	}
	msg->doubled = msg->value + deeper.doubled;
	msg->result_fd = -1;
	channel_reply(call, kIOReturnSuccess, NULL);
}

START_TEST(sync_call_serves_other_requests_meanwhile)
{
	struct exchange_msg msg = { .value = 8, .fd = -1 };
	struct side one, two;
	pthread_t thread;

	open_pair(&one, &two);
	one.serve = two.serve = ask_back;
	pthread_create(&thread, NULL, serve_until_hangup, &two);
	ck_assert_int_eq(channel_call_sync(one.channel, &exchange_shape, &msg, 5000, NULL), 0);
	ck_assert_uint_eq(msg.doubled, 36);
	ck_assert_uint_eq(one.n_requests, 4);
	close_side(&one);
	pthread_join(thread, NULL);
}
END_TEST

static uint64_t stepped_ns;

/* Each look at the clock takes a millisecond. */
static uint64_t stepping_clock(void)
{
	stepped_ns += 1000000;
	return stepped_ns;
}

START_TEST(sync_call_ends_at_its_deadline)
{
	struct exchange_msg msg = { .fd = -1 };
	char reason[CHANNEL_REASON_MAX];
	struct side side;
	int raw = open_raw(&side);

	clock_set_source(stepping_clock);
	ck_assert_int_eq(channel_call_sync(side.channel, &exchange_shape, &msg, 5, reason),
			 kIOReturnTimeout);
	ck_assert_str_eq(reason, "no reply to Test::Exchange within 5 ms");
	ck_assert_str_eq(reason_last(), reason);
	close_side(&side);
	close(raw);
}
END_TEST

START_TEST(sync_call_ends_with_the_peer)
{
	struct exchange_msg msg = { .fd = -1 };
	char reason[CHANNEL_REASON_MAX];
	struct side side;
	int raw = open_raw(&side);

	close(raw);
	ck_assert_int_eq(channel_call_sync(side.channel, &exchange_shape, &msg, 0, reason),
			 kIOReturnOffline);
	ck_assert_str_eq(reason, "the other side has gone");
	ck_assert_uint_eq(side.n_hangups, 1);
	ck_assert_int_eq(channel_call_sync(side.channel, &exchange_shape, &msg, 0, reason),
			 kIOReturnOffline);
	ck_assert_ptr_nonnull(strstr(reason, "could not be sent"));
	close_side(&side);
}
END_TEST

/* --- deadlines --- */

START_TEST(deadline_passes_once_and_a_late_reply_is_dropped)
{
	struct side one, two;

	open_pair(&one, &two);
	clock_set_source(stepping_clock);
	two.serve = keep_call;
	ck_assert_uint_eq(channel_next_deadline(one.channel), 0);
	call_value(&one, 1, 100);
	call_value(&one, 2, 50);
	call_value(&one, 3, 0);
	dispatch_both(&one, &two);
	ck_assert_uint_gt(channel_next_deadline(one.channel), stepped_ns);
	channel_expire(one.channel, channel_next_deadline(one.channel) - 1);
	ck_assert_uint_eq(one.n_replies, 0);
	channel_expire(one.channel, channel_next_deadline(one.channel));
	ck_assert_uint_eq(one.n_replies, 1);
	ck_assert_int_eq(one.last_status, kIOReturnTimeout);
	ck_assert_str_eq(one.last_reason, "no reply to Test::Exchange within 50 ms");
	channel_expire(one.channel, UINT64_MAX);
	ck_assert_uint_eq(one.n_replies, 2);
	ck_assert_uint_eq(channel_next_deadline(one.channel), 0);

	for (unsigned i = 0; i < 3; i++) {
		channel_reply(two.kept[i], i == 0 ? kIOReturnBusy : kIOReturnAborted, NULL);
		dispatch_both(&one, &two);
	}
	ck_assert_uint_eq(one.n_replies, 3); // the third had no deadline
	ck_assert_int_eq(one.last_status, kIOReturnAborted);
	ck_assert_uint_eq(one.n_hangups, 0);
	close_side(&one);
	close_side(&two);
}
END_TEST

/* The descriptors and objects of a late reply go with it. */
START_TEST(late_reply_leaks_nothing)
{
	struct exchange_msg msg = { .object = AS_OBJECT(kOSBooleanTrue), .fd = 0 };
	struct side one, two;

	open_pair(&one, &two);
	two.serve = send_back;
	channel_call(one.channel, &exchange_shape, &msg, 1, on_reply, &one);
	channel_expire(one.channel, UINT64_MAX);
	dispatch_both(&one, &two);
	ck_assert_uint_eq(two.n_requests, 1);
	ck_assert_uint_eq(one.n_replies, 1);
	ck_assert_uint_eq(one.n_hangups, 0);
	close_side(&one);
	close_side(&two);
}
END_TEST

START_TEST(peer_that_never_answers_ends)
{
	struct side one, two;

	open_pair(&one, &two);
	for (unsigned i = 0; i <= 1024 && one.n_hangups == 0; i++) {
		char buffer[4096];

		ck_assert_int_eq(call_value(&one, 1, 1), 0);
		ck_assert_int_gt(read(channel_fd(two.channel), buffer, sizeof(buffer)), 0);
		channel_expire(one.channel, UINT64_MAX);
	}
	ck_assert_uint_eq(one.n_hangups, 1);
	ck_assert_int_eq(one.hangup_error, -ETIMEDOUT);
	close_side(&one);
	close_side(&two);
}
END_TEST

/* --- the end --- */

START_TEST(hangup_ends_pending_calls_first)
{
	struct side one, two;

	open_pair(&one, &two);
	call_value(&one, 1, 1000);
	close_side(&two);
	dispatch_both(&one, &two);
	ck_assert_uint_eq(one.n_replies, 1);
	ck_assert_int_eq(one.last_status, kIOReturnOffline);
	ck_assert_uint_eq(one.n_hangups, 1);
	ck_assert_int_eq(one.hangup_error, 0);
	ck_assert_int_eq(call_value(&one, 1, 0), -EPIPE);
	ck_assert_uint_eq(channel_next_deadline(one.channel), 0);
	ck_assert_int_eq(channel_poll_events(one.channel), 0);
	channel_dispatch(one.channel); // harmless, told once
	channel_expire(one.channel, UINT64_MAX);
	ck_assert_uint_eq(one.n_hangups, 1);
	close_side(&one);
}
END_TEST

/* A peer answers and exits at once, with a call of ours unread: its answer still counts. */
START_TEST(last_words_are_heard)
{
	struct side one, two;

	open_pair(&one, &two);
	call_value(&one, 4, 0);
	channel_dispatch(two.channel);
	call_value(&one, 5, 0);
	close_side(&two);
	dispatch_both(&one, &two);
	ck_assert_uint_eq(one.n_replies, 2);
	ck_assert_uint_eq(one.last_doubled, 8);
	ck_assert_int_eq(one.last_status, kIOReturnOffline);
	ck_assert_int_eq(one.hangup_error, 0);
	close_side(&one);
}
END_TEST

START_TEST(close_ends_pending_calls)
{
	struct side one, two;

	open_pair(&one, &two);
	call_value(&one, 1, 0);
	call_value(&one, 1, 0);
	one.close_in_callback = true; // from inside: nothing more happens
	close_side(&one);
	ck_assert_uint_eq(one.n_replies, 2);
	ck_assert_int_eq(one.last_status, kIOReturnOffline);
	ck_assert_uint_eq(one.n_hangups, 0);
	ck_assert_ptr_null(channel_close(NULL));
	close_side(&two);
}
END_TEST

/* In a request, a reply, a deadline, a hangup: each while others of its kind wait behind. */
START_TEST(any_callback_may_close)
{
	struct exchange_msg msg = { .value = 1, .fd = 0 };
	struct note_msg note = { .text = "x" };

	for (int which = 0; which < 5; which++) {
		struct side one, two;

		open_pair(&one, &two);
		for (int i = 0; i < 2 && which != 1; i++)
			channel_call(one.channel, &exchange_shape, &msg, 1, on_reply, &one);
		for (int i = 0; i < 2 && which == 1; i++)
			channel_call(one.channel, &note_shape, &note, 0, NULL, NULL);
		two.close_in_callback = which < 2;
		one.close_in_callback = which >= 2;
		if (which == 3)
			channel_expire(one.channel, UINT64_MAX);
		else if (which == 4)
			close_side(&two);
		dispatch_both(&one, &two);
		ck_assert_uint_le(one.n_hangups + two.n_hangups, 1);
		ck_assert_uint_eq(one.n_replies, which == 1 ? 0 : 2);
		close_side(&one);
		close_side(&two);
	}
}
END_TEST

static void close_and_answer(struct side *side, struct channel_call *call, struct exchange_msg *msg)
{
	close_side(side);
	double_value(side, call, msg);
}

/* The channel is closed by a request that is served while its owner waits for a reply. */
START_TEST(sync_call_survives_a_close_from_within)
{
	struct exchange_msg msg = { .fd = -1 };
	struct side one, two;
	char reason[CHANNEL_REASON_MAX];

	open_pair(&one, &two);
	one.serve = close_and_answer;
	call_value(&two, 1, 0);
	ck_assert_int_eq(channel_call_sync(one.channel, &exchange_shape, &msg, 1000, reason),
			 kIOReturnOffline);
	ck_assert_ptr_null(one.channel);
	ck_assert_str_eq(reason, "the connection was closed on this side");
	close_side(&two);
}
END_TEST

START_TEST(answer_after_close_is_legal)
{
	struct exchange_msg msg = { .object = AS_OBJECT(kOSBooleanTrue), .fd = 0 };
	struct side one, two;

	open_pair(&one, &two);
	two.serve = keep_call;
	channel_call(one.channel, &exchange_shape, &msg, 0, on_reply, &one);
	channel_call(one.channel, &exchange_shape, &msg, 0, on_reply, &one);
	dispatch_both(&one, &two);
	close_side(&two);
	channel_reply(two.kept[0], kIOReturnAborted, "too late");
	send_back(&two, two.kept[1], two.kept_msg);
	close_side(&one);
}
END_TEST

/* --- a peer that does not read --- */

START_TEST(peer_that_stops_reading_cannot_block_us)
{
	struct side side;
	int raw = open_raw(&side), ret = 0;
	unsigned sent = 0;

	while (ret == 0 && sent < 100000) {
		ret = call_value(&side, sent, 0);
		sent += ret == 0;
	}
	ck_assert_int_eq(ret, -ENOBUFS);
	ck_assert_uint_ge(sent, 64);
	ck_assert_int_eq(call_value(&side, 1, 0), -EPIPE);
	ck_assert_uint_eq(side.n_hangups, 0); // never from inside a call
	ck_assert_uint_eq(channel_next_deadline(side.channel), 1);
	channel_expire(side.channel, clock_now_ns());
	ck_assert_uint_eq(side.n_hangups, 1);
	ck_assert_int_eq(side.hangup_error, -ENOBUFS);
	ck_assert_uint_eq(side.n_replies, sent);
	ck_assert_int_eq(side.last_status, kIOReturnOffline);
	close_side(&side);
	close(raw);
}
END_TEST

/* What was queued, descriptors included, follows in order when the peer reads again. */
START_TEST(queued_frames_follow_in_order)
{
	struct exchange_msg msg = { .fd = 0 };
	struct side one, two;
	uint64_t sent = 0;

	open_pair(&one, &two);
	while (channel_poll_events(one.channel) == POLLIN) {
		msg.value = sent++;
		ck_assert_int_eq(
			channel_call(one.channel, &exchange_shape, &msg, 0, on_reply, &one), 0);
	}
	for (int i = 0; i < 20; i++) {
		msg.value = sent++;
		channel_call(one.channel, &exchange_shape, &msg, 0, on_reply, &one);
	}
	dispatch_both(&one, &two);
	ck_assert_int_eq(channel_poll_events(one.channel), POLLIN);
	ck_assert_uint_eq(two.n_requests, sent);
	ck_assert_uint_eq(one.n_replies, sent);
	ck_assert_uint_eq(one.last_doubled, 2 * (sent - 1));
	close_side(&one);
	close_side(&two);
}
END_TEST

START_TEST(unanswered_calls_of_a_peer_are_bounded)
{
	struct side one, two;

	open_pair(&one, &two);
	two.serve = keep_call;
	for (unsigned i = 0; i < 257; i++) {
		ck_assert_int_eq(call_value(&one, i, 0), 0);
		dispatch_both(&one, &two);
	}
	ck_assert_uint_eq(two.n_kept, 256);
	ck_assert_uint_eq(one.n_replies, 1);
	ck_assert_int_eq(one.last_status, kIOReturnNoResources);
	while (two.n_kept > 0)
		channel_reply(two.kept[--two.n_kept], kIOReturnAborted, NULL);
	close_side(&one);
	close_side(&two);
}
END_TEST

/* --- raw bytes --- */

struct raw_frame {
	uint32_t magic, size;
	uint64_t method, transaction;
	uint32_t flags, status, reason_size, n_fds;
	uint64_t object;
	uint64_t body[4];
};

#define RAW_HEAD (sizeof(struct raw_frame) - sizeof(((struct raw_frame *)0)->body))

/* A call of Test::Exchange: value 1, no object, no descriptor. */
static const struct raw_frame good_request = {
	.magic = FRAME_MAGIC,
	.size = RAW_HEAD + 24,
	.method = 0x1111,
	.transaction = 9,
	.body = { 1 },
};

static void send_raw(int raw, const void *bytes, size_t size, const int *fds, unsigned n_fds)
{
	char control[CMSG_SPACE(sizeof(int) * 32)] = "";
	struct iovec part = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = size };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

	if (n_fds != 0) {
		struct cmsghdr *rights = (struct cmsghdr *)(void *)control;

		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(rights), fds, sizeof(int) * n_fds);
	}
	ck_assert_int_eq(sendmsg(raw, &message, MSG_NOSIGNAL), (ssize_t)size);
}

/* Send the packet to a fresh channel that has one call pending; the error it hangs up with, or 1.
 */
static int hear(const void *bytes, size_t size, unsigned n_fds)
{
	static const int fds[32]; // all of them descriptor 0
	struct side side;
	int raw = open_raw(&side), error;

	call_value(&side, 1, 0);
	send_raw(raw, bytes, size, fds, n_fds);
	channel_dispatch(side.channel);
	error = side.n_hangups == 0 ? 1 : side.hangup_error;
	ck_assert_uint_le(side.n_replies, 1);
	ck_assert(side.n_hangups == 0 || side.n_replies == 1);
	if (error < 0)
		ck_assert_int_eq(side.last_status, kIOReturnIPCError);
	close_side(&side);
	close(raw);
	return error;
}

static int hear_frame(struct raw_frame frame, unsigned n_fds)
{
	return hear(&frame, frame.size < sizeof(frame) ? frame.size : sizeof(frame), n_fds);
}

#define ASSERT_REFUSED(n_fds, ...)                                      \
	do {                                                            \
		struct raw_frame frame = good_request;                  \
		__VA_ARGS__;                                            \
		ck_assert_int_eq(hear_frame(frame, (n_fds)), -EBADMSG); \
	} while (0)

START_TEST(malformed_requests_end_the_conversation)
{
	ck_assert_int_eq(hear_frame(good_request, 0), 1);
	ASSERT_REFUSED(0, frame.magic++);
	ASSERT_REFUSED(0, frame.method++);
	ASSERT_REFUSED(0, frame.transaction = 0);
	ASSERT_REFUSED(0, frame.flags = 2);
	ASSERT_REFUSED(0, frame.flags = 0x80000000U);
	ASSERT_REFUSED(0, frame.status = 1);
	ASSERT_REFUSED(0, frame.object = 1); // this conversation has none
	ASSERT_REFUSED(0, frame.reason_size = 8);
	ASSERT_REFUSED(0, frame.reason_size = 0xfffffff8U);
	ASSERT_REFUSED(0, frame.reason_size = 512);
	ASSERT_REFUSED(0, frame.body[0] = 1U << 21); // over its maximum
	ASSERT_REFUSED(0, frame.body[1] = 77);       // no such object
	ASSERT_REFUSED(0, frame.size += 8);          // trailing bytes
	ASSERT_REFUSED(0, frame.size -= 8);          // a field too few
	ASSERT_REFUSED(0, frame.method = 0x2222);    // oneway with a transaction
}
END_TEST

START_TEST(size_must_be_that_of_the_packet)
{
	struct raw_frame frame = good_request;

	frame.size += 4;
	ck_assert_int_eq(hear(&frame, good_request.size, 0), -EBADMSG);
	frame.size -= 8;
	ck_assert_int_eq(hear(&frame, good_request.size, 0), -EBADMSG);
	frame.size = UINT32_MAX;
	ck_assert_int_eq(hear(&frame, good_request.size, 0), -EBADMSG);
}
END_TEST

/* The fixture sees that every one of them was closed. */
START_TEST(descriptors_must_be_those_announced)
{
	ASSERT_REFUSED(1, (void)0);                              // one that was not
	ASSERT_REFUSED(0, frame.n_fds = 1);                      // one that is missing
	ASSERT_REFUSED(1, frame.n_fds = 1);                      // announced, but in no field
	ASSERT_REFUSED(0, frame.body[2] = 1);                    // a field without one
	ASSERT_REFUSED(2, frame.n_fds = 2, frame.body[2] = 1);   // one too many
	ASSERT_REFUSED(16, frame.n_fds = 16, frame.body[2] = 1); // fifteen too many
	ASSERT_REFUSED(17, frame.n_fds = 17, frame.body[2] = 1); // more than a frame may have
	ASSERT_REFUSED(32, frame.n_fds = 16, frame.body[2] = 1); // cut by the kernel
	ASSERT_REFUSED(1, frame.n_fds = 1, frame.body[2] = 2);   // a flag that is none
	ASSERT_REFUSED(1, frame.n_fds = 1, frame.body[2] = 1, frame.body[0] = 1U << 21);
}
END_TEST

/* A reply to the call that hear() made, which is transaction 1. */
#define AS_REPLY frame.flags = FRAME_REPLY, frame.transaction = 1

START_TEST(malformed_replies_end_the_conversation)
{
	struct raw_frame good = good_request;

	good.flags = FRAME_REPLY;
	good.transaction = 1;
	ck_assert_int_eq(hear_frame(good, 0), 1);
	ASSERT_REFUSED(0, AS_REPLY, frame.transaction = 2); // nobody asked
	ASSERT_REFUSED(0, AS_REPLY, frame.transaction = 0);
	ASSERT_REFUSED(0, AS_REPLY, frame.method = 0x2222);      // for another method
	ASSERT_REFUSED(0, AS_REPLY, frame.status = 0xe00002cdU); // a refusal with a body
	ASSERT_REFUSED(0, AS_REPLY, frame.body[0] = 1U << 22);
	ASSERT_REFUSED(0, AS_REPLY, frame.size -= 8);
	ASSERT_REFUSED(0, AS_REPLY, frame.size += 8);
	ASSERT_REFUSED(1, AS_REPLY, frame.n_fds = 1);
	ASSERT_REFUSED(1, AS_REPLY, frame.n_fds = 1, frame.status = 1, frame.size = RAW_HEAD);
	ASSERT_REFUSED(0, AS_REPLY, frame.status = 1, frame.size = RAW_HEAD + 8,
		       frame.reason_size = 4, frame.body[0] = 0x61006161U); // a NUL in the reason
	ASSERT_REFUSED(0, AS_REPLY, frame.status = 1, frame.size = RAW_HEAD + 8,
		       frame.reason_size = 1, frame.body[0] = 0x6161U); // a dirty padding
}
END_TEST

START_TEST(reply_is_taken_once)
{
	struct raw_frame reply = good_request;
	struct side side;
	int raw = open_raw(&side);

	reply.flags = FRAME_REPLY;
	reply.transaction = 1;
	call_value(&side, 1, 0);
	send_raw(raw, &reply, reply.size, NULL, 0);
	send_raw(raw, &reply, reply.size, NULL, 0);
	channel_dispatch(side.channel);
	ck_assert_uint_eq(side.n_replies, 1);
	ck_assert_int_eq(side.last_status, kIOReturnSuccess);
	ck_assert_int_eq(side.hangup_error, -EBADMSG);
	close_side(&side);
	close(raw);
}
END_TEST

START_TEST(every_truncation_is_refused)
{
	for (size_t size = 1; size < good_request.size; size++) {
		struct raw_frame frame = good_request;

		ck_assert_int_eq(hear(&frame, size, 0), -EBADMSG);
		frame.size = (uint32_t)size;
		ck_assert_int_eq(hear(&frame, size, 0), -EBADMSG);
	}
}
END_TEST

/* An empty packet looks like the end of the conversation, and is. */
START_TEST(empty_packet_is_a_hangup)
{
	ck_assert_int_eq(hear("", 0, 0), 0);
}
END_TEST

START_TEST(oversized_packet_is_refused)
{
	static uint8_t bytes[FRAME_MAX + 8];
	struct raw_frame frame = good_request;

	frame.size = FRAME_MAX + 8;
	memcpy(bytes, &frame, sizeof(frame));
	ck_assert_int_eq(hear(bytes, sizeof(bytes), 1), -EBADMSG);
}
END_TEST

START_TEST(random_changes_do_no_harm)
{
	unsigned accepted = 0;

	chance_seed(20260802);
	for (int round = 0; round < 3000; round++) {
		struct raw_frame frame = good_request;
		unsigned n_fds = (unsigned)(chance_u64() % 3);

		if (chance_u64() % 2 == 0)
			AS_REPLY;
		frame.n_fds = n_fds;
		frame.body[2] = n_fds == 1;
		for (uint64_t n = chance_u64() % 3; n > 0; n--)
			((uint8_t *)&frame)[chance_u64() % good_request.size] =
				(uint8_t)chance_u64();
		accepted += hear(&frame, good_request.size, n_fds) == 1;
	}
	ck_assert_uint_gt(accepted, 0);
}
END_TEST

UNIT_TESTS("channel", call_is_answered, calls_may_be_answered_later_and_in_any_order,
	   refusal_carries_its_reason, oneway_is_not_answered,
	   objects_and_descriptors_travel_both_ways,
	   large_bodies_go_through_and_larger_ones_are_refused,
	   reply_that_cannot_be_sent_becomes_a_refusal,
	   object_that_cannot_travel_is_the_callers_error,
	   sync_call_waits_and_gives_what_came_to_the_caller,
	   sync_call_serves_other_requests_meanwhile, sync_call_ends_at_its_deadline,
	   sync_call_ends_with_the_peer, deadline_passes_once_and_a_late_reply_is_dropped,
	   late_reply_leaks_nothing, peer_that_never_answers_ends, hangup_ends_pending_calls_first,
	   last_words_are_heard, close_ends_pending_calls, any_callback_may_close,
	   sync_call_survives_a_close_from_within, answer_after_close_is_legal,
	   peer_that_stops_reading_cannot_block_us, queued_frames_follow_in_order,
	   unanswered_calls_of_a_peer_are_bounded, malformed_requests_end_the_conversation,
	   size_must_be_that_of_the_packet, descriptors_must_be_those_announced,
	   malformed_replies_end_the_conversation, reply_is_taken_once, every_truncation_is_refused,
	   empty_packet_is_a_hangup, oversized_packet_is_refused, random_changes_do_no_harm)
