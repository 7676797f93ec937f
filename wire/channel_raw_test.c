/* SPDX-License-Identifier: Apache-2.0 */

/* A channel whose peer is a test that speaks raw bytes, and seldom what it should. */

#include <wire/channel_side.h>

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/clock.h>
#include <wire/frame.h>

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
	int raw = side_open_raw(&side), error;

	side_call(&side, 1, 0);
	send_raw(raw, bytes, size, fds, n_fds);
	channel_dispatch(side.channel);
	error = side.n_hangups == 0 ? 1 : side.hangup_error;
	ck_assert_uint_le(side.n_replies, 1);
	ck_assert(side.n_hangups == 0 || side.n_replies == 1);
	if (error < 0)
		ck_assert_int_eq(side.last_status, kIOReturnIPCError);
	side_close(&side);
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
	int raw = side_open_raw(&side);

	reply.flags = FRAME_REPLY;
	reply.transaction = 1;
	side_call(&side, 1, 0);
	send_raw(raw, &reply, reply.size, NULL, 0);
	send_raw(raw, &reply, reply.size, NULL, 0);
	channel_dispatch(side.channel);
	ck_assert_uint_eq(side.n_replies, 1);
	ck_assert_int_eq(side.last_status, kIOReturnSuccess);
	ck_assert_int_eq(side.hangup_error, -EBADMSG);
	side_close(&side);
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

UNIT_TESTS("channel, raw", malformed_requests_end_the_conversation, size_must_be_that_of_the_packet,
	   descriptors_must_be_those_announced, malformed_replies_end_the_conversation,
	   reply_is_taken_once, every_truncation_is_refused, empty_packet_is_a_hangup,
	   oversized_packet_is_refused, random_changes_do_no_harm)
