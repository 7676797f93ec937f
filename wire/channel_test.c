/* SPDX-License-Identifier: Apache-2.0 */

/* The conversation, over real sockets: two channels in one thread, or a channel and a thread. */

#include <wire/channel_side.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include <DriverKit/OSCollectionConstants.h>
#include <base/clock.h>
#include <base/reason.h>
#include <wire/frame.h>

#define AS_OBJECT(x) ((OSObject *)(x))

static bool is_open_fd(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* --- talking --- */

START_TEST(call_is_answered)
{
	struct side one, two;

	side_open_pair(&one, &two);
	ck_assert_int_eq(side_call(&one, 21, 0), 0);
	ck_assert_uint_eq(one.n_replies, 0);
	side_dispatch_both(&one, &two);
	ck_assert_uint_eq(one.n_replies, 1);
	ck_assert_int_eq(one.last_status, kIOReturnSuccess);
	ck_assert_uint_eq(one.last_doubled, 42);
	ck_assert_str_eq(one.last_reason, "");
	side_close(&one);
	side_close(&two);
}
END_TEST

START_TEST(calls_may_be_answered_later_and_in_any_order)
{
	struct side one, two;

	side_open_pair(&one, &two);
	two.serve = side_keep;
	for (uint64_t i = 0; i < 3; i++)
		ck_assert_int_eq(side_call(&one, i, 0), 0);
	side_dispatch_both(&one, &two);
	ck_assert_uint_eq(two.n_kept, 3);
	ck_assert_uint_eq(one.n_replies, 0);
	channel_reply(two.kept[2], kIOReturnBusy, "third");
	channel_reply(two.kept[0], kIOReturnBusy, "first");
	side_dispatch_both(&one, &two);
	ck_assert_uint_eq(one.n_replies, 2);
	ck_assert_str_eq(one.last_reason, "first");
	channel_reply(two.kept[1], kIOReturnBusy, "second");
	side_dispatch_both(&one, &two);
	ck_assert_str_eq(one.last_reason, "second");
	side_close(&one);
	side_close(&two);
}
END_TEST

START_TEST(refusal_carries_its_reason)
{
	struct side one, two;
	char long_reason[2 * CHANNEL_REASON_MAX];

	side_open_pair(&one, &two);
	two.serve = side_refuse;
	side_call(&one, 1, 0);
	side_dispatch_both(&one, &two);
	ck_assert_int_eq(one.last_status, kIOReturnNotOpen);
	ck_assert_str_eq(one.last_reason, "open it first");

	two.serve = side_keep;
	side_call(&one, 1, 0);
	side_dispatch_both(&one, &two);
	memset(long_reason, 'x', sizeof(long_reason) - 1);
	long_reason[sizeof(long_reason) - 1] = '\0';
	channel_reply(two.kept[0], kIOReturnNotOpen, long_reason);
	side_dispatch_both(&one, &two);
	ck_assert_uint_eq(strlen(one.last_reason), CHANNEL_REASON_MAX - 1);
	ck_assert_uint_eq(one.n_hangups, 0);
	side_close(&one);
	side_close(&two);
}
END_TEST

START_TEST(oneway_is_not_answered)
{
	struct note_msg msg = { .text = "hello" };
	struct side one, two;

	side_open_pair(&one, &two);
	ck_assert_int_eq(channel_call(one.channel, &note_shape, &msg, 0, NULL, NULL), 0);
	ck_assert_int_eq(channel_call_sync(one.channel, &note_shape, &msg, 0, NULL), 0);
	side_dispatch_both(&one, &two);
	ck_assert_uint_eq(two.n_notes, 2);
	ck_assert_str_eq(two.last_note, "hello");
	side_close(&one);
	side_close(&two);
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

	side_open_pair(&one, &two);
	ck_assert_int_eq(pipe(ends), 0);
	two.serve = side_send_back;
	msg.fd = ends[1];
	/* Three times: returned to a callback that takes nothing, and refused. */
	channel_call(one.channel, &exchange_shape, &msg, 0, side_on_reply, &one);
	channel_call(one.channel, &exchange_shape, &msg, 0, NULL, NULL);
	side_dispatch_both(&one, &two);
	two.serve = side_refuse;
	channel_call(one.channel, &exchange_shape, &msg, 0, side_on_reply, &one);
	side_dispatch_both(&one, &two);
	ck_assert_uint_eq(one.n_replies, 2);
	ck_assert_uint_eq(atomic_load(&AS_OBJECT(string)->refcount), 1);
	ck_assert(is_open_fd(ends[1]));
	/* No copy of the write end is left anywhere: the pipe ends with ours. */
	close(ends[1]);
	ck_assert_int_eq(read(ends[0], &byte, 1), 0);
	close(ends[0]);
	OSObjectRelease(string);
	side_close(&one);
	side_close(&two);
}
END_TEST

START_TEST(large_bodies_go_through_and_larger_ones_are_refused)
{
	static uint8_t bytes[WIRE_BODY_MAX];
	OSData *fits = OSData_withBytes(bytes, WIRE_BODY_MAX - 64);
	OSData *too_large = OSData_withBytes(bytes, WIRE_BODY_MAX);
	struct exchange_msg msg = { .object = AS_OBJECT(fits), .fd = -1 };
	struct side one, two;

	side_open_pair(&one, &two);
	two.serve = side_send_back;
	ck_assert_int_eq(channel_call(one.channel, &exchange_shape, &msg, 0, side_on_reply, &one),
			 0);
	side_dispatch_both(&one, &two);
	ck_assert_int_eq(one.last_status, kIOReturnSuccess);
	msg.object = AS_OBJECT(too_large);
	ck_assert_int_eq(channel_call(one.channel, &exchange_shape, &msg, 0, side_on_reply, &one),
			 -EMSGSIZE);
	OSObjectRelease(fits);
	OSObjectRelease(too_large);
	side_close(&one);
	side_close(&two);
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

	side_open_pair(&one, &two);
	two.serve = answer_too_much;
	side_call(&one, 1, 0);
	side_dispatch_both(&one, &two);
	ck_assert_int_eq(one.last_status, kIOReturnMessageTooLarge);
	ck_assert_ptr_nonnull(strstr(one.last_reason, "Test::Exchange"));
	side_close(&one);
	side_close(&two);
}
END_TEST

START_TEST(object_that_cannot_travel_is_the_callers_error)
{
	struct exchange_msg msg = { .object = OSTypeAlloc(OSObject), .fd = -1 };
	char reason[CHANNEL_REASON_MAX];
	struct side one, two;

	side_open_pair(&one, &two);
	ck_assert_int_eq(channel_call(one.channel, &exchange_shape, &msg, 0, side_on_reply, &one),
			 -EOPNOTSUPP);
	ck_assert_int_eq(channel_call_sync(one.channel, &exchange_shape, &msg, 0, reason),
			 kIOReturnUnsupported);
	ck_assert_ptr_nonnull(strstr(reason, "OSObject"));
	side_dispatch_both(&one, &two);
	ck_assert_uint_eq(two.n_requests, 0);
	OSObjectRelease(msg.object);
	side_close(&one);
	side_close(&two);
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
	side_close(side);
	return NULL;
}

START_TEST(sync_call_waits_and_gives_what_came_to_the_caller)
{
	OSString *string = OSString_withCString("payload");
	struct exchange_msg msg = { .object = AS_OBJECT(string), .value = 5 };
	char reason[CHANNEL_REASON_MAX] = "stale";
	struct side one, two;
	pthread_t thread;

	side_open_pair(&one, &two);
	two.serve = side_send_back;
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
	side_close(&one);
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

	side_open_pair(&one, &two);
	one.serve = two.serve = ask_back;
	pthread_create(&thread, NULL, serve_until_hangup, &two);
	ck_assert_int_eq(channel_call_sync(one.channel, &exchange_shape, &msg, 5000, NULL), 0);
	ck_assert_uint_eq(msg.doubled, 36);
	ck_assert_uint_eq(one.n_requests, 4);
	side_close(&one);
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
	int raw = side_open_raw(&side);

	clock_set_source(stepping_clock);
	ck_assert_int_eq(channel_call_sync(side.channel, &exchange_shape, &msg, 5, reason),
			 kIOReturnTimeout);
	ck_assert_str_eq(reason, "no reply to Test::Exchange within 5 ms");
	ck_assert_str_eq(reason_last(), reason);
	side_close(&side);
	close(raw);
}
END_TEST

START_TEST(sync_call_ends_with_the_peer)
{
	struct exchange_msg msg = { .fd = -1 };
	char reason[CHANNEL_REASON_MAX];
	struct side side;
	int raw = side_open_raw(&side);

	close(raw);
	ck_assert_int_eq(channel_call_sync(side.channel, &exchange_shape, &msg, 0, reason),
			 kIOReturnOffline);
	ck_assert_str_eq(reason, "the other side has gone");
	ck_assert_uint_eq(side.n_hangups, 1);
	ck_assert_int_eq(channel_call_sync(side.channel, &exchange_shape, &msg, 0, reason),
			 kIOReturnOffline);
	ck_assert_ptr_nonnull(strstr(reason, "could not be sent"));
	side_close(&side);
}
END_TEST

/* --- deadlines --- */

START_TEST(deadline_passes_once_and_a_late_reply_is_dropped)
{
	struct side one, two;

	side_open_pair(&one, &two);
	clock_set_source(stepping_clock);
	two.serve = side_keep;
	ck_assert_uint_eq(channel_next_deadline(one.channel), 0);
	side_call(&one, 1, 100);
	side_call(&one, 2, 50);
	side_call(&one, 3, 0);
	side_dispatch_both(&one, &two);
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
		side_dispatch_both(&one, &two);
	}
	ck_assert_uint_eq(one.n_replies, 3); // the third had no deadline
	ck_assert_int_eq(one.last_status, kIOReturnAborted);
	ck_assert_uint_eq(one.n_hangups, 0);
	side_close(&one);
	side_close(&two);
}
END_TEST

/* The descriptors and objects of a late reply go with it. */
START_TEST(late_reply_leaks_nothing)
{
	struct exchange_msg msg = { .object = AS_OBJECT(kOSBooleanTrue), .fd = 0 };
	struct side one, two;

	side_open_pair(&one, &two);
	two.serve = side_send_back;
	channel_call(one.channel, &exchange_shape, &msg, 1, side_on_reply, &one);
	channel_expire(one.channel, UINT64_MAX);
	side_dispatch_both(&one, &two);
	ck_assert_uint_eq(two.n_requests, 1);
	ck_assert_uint_eq(one.n_replies, 1);
	ck_assert_uint_eq(one.n_hangups, 0);
	side_close(&one);
	side_close(&two);
}
END_TEST

START_TEST(peer_that_never_answers_ends)
{
	struct side one, two;

	side_open_pair(&one, &two);
	for (unsigned i = 0; i <= 1024 && one.n_hangups == 0; i++) {
		char buffer[4096];

		ck_assert_int_eq(side_call(&one, 1, 1), 0);
		ck_assert_int_gt(read(channel_fd(two.channel), buffer, sizeof(buffer)), 0);
		channel_expire(one.channel, UINT64_MAX);
	}
	ck_assert_uint_eq(one.n_hangups, 1);
	ck_assert_int_eq(one.hangup_error, -ETIMEDOUT);
	side_close(&one);
	side_close(&two);
}
END_TEST

/* --- the end --- */

START_TEST(hangup_ends_pending_calls_first)
{
	struct side one, two;

	side_open_pair(&one, &two);
	side_call(&one, 1, 1000);
	side_close(&two);
	side_dispatch_both(&one, &two);
	ck_assert_uint_eq(one.n_replies, 1);
	ck_assert_int_eq(one.last_status, kIOReturnOffline);
	ck_assert_uint_eq(one.n_hangups, 1);
	ck_assert_int_eq(one.hangup_error, 0);
	ck_assert_int_eq(side_call(&one, 1, 0), -EPIPE);
	ck_assert_uint_eq(channel_next_deadline(one.channel), 0);
	ck_assert_int_eq(channel_poll_events(one.channel), 0);
	channel_dispatch(one.channel); // harmless, told once
	channel_expire(one.channel, UINT64_MAX);
	ck_assert_uint_eq(one.n_hangups, 1);
	side_close(&one);
}
END_TEST

/* A peer answers and exits at once, with a call of ours unread: its answer still counts. */
START_TEST(last_words_are_heard)
{
	struct side one, two;

	side_open_pair(&one, &two);
	side_call(&one, 4, 0);
	channel_dispatch(two.channel);
	side_call(&one, 5, 0);
	side_close(&two);
	side_dispatch_both(&one, &two);
	ck_assert_uint_eq(one.n_replies, 2);
	ck_assert_uint_eq(one.last_doubled, 8);
	ck_assert_int_eq(one.last_status, kIOReturnOffline);
	ck_assert_int_eq(one.hangup_error, 0);
	side_close(&one);
}
END_TEST

START_TEST(close_ends_pending_calls)
{
	struct side one, two;

	side_open_pair(&one, &two);
	side_call(&one, 1, 0);
	side_call(&one, 1, 0);
	one.close_in_callback = true; // from inside: nothing more happens
	side_close(&one);
	ck_assert_uint_eq(one.n_replies, 2);
	ck_assert_int_eq(one.last_status, kIOReturnOffline);
	ck_assert_uint_eq(one.n_hangups, 0);
	ck_assert_ptr_null(channel_close(NULL));
	side_close(&two);
}
END_TEST

/* In a request, a reply, a deadline, a hangup: each while others of its kind wait behind. */
START_TEST(any_callback_may_close)
{
	struct exchange_msg msg = { .value = 1, .fd = 0 };
	struct note_msg note = { .text = "x" };

	for (int which = 0; which < 5; which++) {
		struct side one, two;

		side_open_pair(&one, &two);
		for (int i = 0; i < 2 && which != 1; i++)
			channel_call(one.channel, &exchange_shape, &msg, 1, side_on_reply, &one);
		for (int i = 0; i < 2 && which == 1; i++)
			channel_call(one.channel, &note_shape, &note, 0, NULL, NULL);
		two.close_in_callback = which < 2;
		one.close_in_callback = which >= 2;
		if (which == 3)
			channel_expire(one.channel, UINT64_MAX);
		else if (which == 4)
			side_close(&two);
		side_dispatch_both(&one, &two);
		ck_assert_uint_le(one.n_hangups + two.n_hangups, 1);
		ck_assert_uint_eq(one.n_replies, which == 1 ? 0 : 2);
		side_close(&one);
		side_close(&two);
	}
}
END_TEST

static void close_and_answer(struct side *side, struct channel_call *call, struct exchange_msg *msg)
{
	side_close(side);
	side_double(side, call, msg);
}

/* The channel is closed by a request that is served while its owner waits for a reply. */
START_TEST(sync_call_survives_a_close_from_within)
{
	struct exchange_msg msg = { .fd = -1 };
	struct side one, two;
	char reason[CHANNEL_REASON_MAX];

	side_open_pair(&one, &two);
	one.serve = close_and_answer;
	side_call(&two, 1, 0);
	ck_assert_int_eq(channel_call_sync(one.channel, &exchange_shape, &msg, 1000, reason),
			 kIOReturnOffline);
	ck_assert_ptr_null(one.channel);
	ck_assert_str_eq(reason, "the connection was closed on this side");
	side_close(&two);
}
END_TEST

START_TEST(answer_after_close_is_legal)
{
	struct exchange_msg msg = { .object = AS_OBJECT(kOSBooleanTrue), .fd = 0 };
	struct side one, two;

	side_open_pair(&one, &two);
	two.serve = side_keep;
	channel_call(one.channel, &exchange_shape, &msg, 0, side_on_reply, &one);
	channel_call(one.channel, &exchange_shape, &msg, 0, side_on_reply, &one);
	side_dispatch_both(&one, &two);
	side_close(&two);
	channel_reply(two.kept[0], kIOReturnAborted, "too late");
	side_send_back(&two, two.kept[1], two.kept_msg);
	side_close(&one);
}
END_TEST

/* --- a peer that does not read --- */

START_TEST(peer_that_stops_reading_cannot_block_us)
{
	struct side side;
	int raw = side_open_raw(&side), ret = 0;
	unsigned sent = 0;

	while (ret == 0 && sent < 100000) {
		ret = side_call(&side, sent, 0);
		sent += ret == 0;
	}
	ck_assert_int_eq(ret, -ENOBUFS);
	ck_assert_uint_ge(sent, 64);
	ck_assert_int_eq(side_call(&side, 1, 0), -EPIPE);
	ck_assert_uint_eq(side.n_hangups, 0); // never from inside a call
	ck_assert_uint_eq(channel_next_deadline(side.channel), 1);
	channel_expire(side.channel, clock_now_ns());
	ck_assert_uint_eq(side.n_hangups, 1);
	ck_assert_int_eq(side.hangup_error, -ENOBUFS);
	ck_assert_uint_eq(side.n_replies, sent);
	ck_assert_int_eq(side.last_status, kIOReturnOffline);
	side_close(&side);
	close(raw);
}
END_TEST

/* What was queued, descriptors included, follows in order when the peer reads again. */
START_TEST(queued_frames_follow_in_order)
{
	struct exchange_msg msg = { .fd = 0 };
	struct side one, two;
	uint64_t sent = 0;

	side_open_pair(&one, &two);
	while (channel_poll_events(one.channel) == POLLIN) {
		msg.value = sent++;
		ck_assert_int_eq(
			channel_call(one.channel, &exchange_shape, &msg, 0, side_on_reply, &one),
			0);
	}
	for (int i = 0; i < 20; i++) {
		msg.value = sent++;
		channel_call(one.channel, &exchange_shape, &msg, 0, side_on_reply, &one);
	}
	side_dispatch_both(&one, &two);
	ck_assert_int_eq(channel_poll_events(one.channel), POLLIN);
	ck_assert_uint_eq(two.n_requests, sent);
	ck_assert_uint_eq(one.n_replies, sent);
	ck_assert_uint_eq(one.last_doubled, 2 * (sent - 1));
	side_close(&one);
	side_close(&two);
}
END_TEST

START_TEST(unanswered_calls_of_a_peer_are_bounded)
{
	struct side one, two;

	side_open_pair(&one, &two);
	two.serve = side_keep;
	for (unsigned i = 0; i < 257; i++) {
		ck_assert_int_eq(side_call(&one, i, 0), 0);
		side_dispatch_both(&one, &two);
	}
	ck_assert_uint_eq(two.n_kept, 256);
	ck_assert_uint_eq(one.n_replies, 1);
	ck_assert_int_eq(one.last_status, kIOReturnNoResources);
	while (two.n_kept > 0)
		channel_reply(two.kept[--two.n_kept], kIOReturnAborted, NULL);
	side_close(&one);
	side_close(&two);
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
	   unanswered_calls_of_a_peer_are_bounded)
