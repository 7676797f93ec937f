// SPDX-License-Identifier: Apache-2.0
/*
 * What a driver can do to its provider with a conversation: a thread plays the driver, in frames of
 * its own making, and a Gauge is served to it.
 */

#include <runtime/unit_pool.h>

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <families/remote/link.h>
#include <protocol/peer.h>
#include <wire/frame.h>

#include "Gauge.h"

enum { YOURS, OBJECT, ACTION, MEMORY };

struct talk {
	int fd; // the driver's end
	struct remote_link *link;
	Gauge *gauge;
};

static void send_words(int fd, uint64_t object, uint64_t method, uint64_t transaction,
		       const uint64_t *words, size_t n)
{
	struct frame frame = {
		.object = object,
		.method = method,
		.transaction = transaction,
		.body = words,
		.body_size = n * sizeof(*words),
	};
	ck_assert_int_eq(frame_send(fd, &frame), 0);
}

/* The status of the next reply; 1: it hung up. */
static kern_return_t hear(const struct talk *talk)
{
	static uint8_t buffer[FRAME_MAX];
	struct pollfd p = { .fd = talk->fd, .events = POLLIN };
	struct frame frame = { 0 };
	do {
		ck_assert_int_eq(poll(&p, 1, 10000), 1);
		if (frame_receive(talk->fd, buffer, &frame) <= 0)
			return 1;
	} while (frame.flags != FRAME_REPLY); // a Release of ours
	return frame.status;
}

static kern_return_t ask(const struct talk *talk, uint64_t object,
			 const struct OSMethodShape *shape, const uint64_t *words, size_t n)
{
	send_words(talk->fd, object, shape->id, 7, words, n);
	return hear(talk);
}

#define ASK(object, shape, ...)                                \
	ask(talk, object, &shape, (uint64_t[]){ __VA_ARGS__ }, \
	    sizeof((uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t))

static void talk_open(struct talk *talk)
{
	int pair[2];
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	talk->fd = pair[1];
	talk->gauge = OSTypeAlloc(Gauge);
	ck_assert(Gauge_init(talk->gauge));
	ck_assert_int_eq(
		remote_link_open(&talk->link, pair[0], Gauge_as_OSObject(talk->gauge), NULL, NULL),
		0);
}

static void talk_close(struct talk *talk)
{
	close(talk->fd);
	talk->link = remote_link_close(talk->link);
	ck_assert_uint_eq(OSObjectGetRetainCount(talk->gauge), 1); // nothing was left of it
	OSObjectRelease(talk->gauge);
}

static void *say_and_stop(void *context)
{
	void (**say)(void) = context;
	(*say)();
	worker_stop();
	return NULL;
}

/* The conversation's queues run here meanwhile. */
static void while_running(void (*say)(void))
{
	pthread_t thread = start_thread(say_and_stop, &say);
	ck_assert_int_eq(worker_run(), 0);
	pthread_join(thread, NULL);
}

/* --- what it may call --- */

static void say_calls(void)
{
	struct talk side, *talk = &side;
	talk_open(talk);
	ck_assert_int_eq(ASK(1, Gauge_Read_Shape, 2), kIOReturnSuccess);
	ck_assert_int_eq(ASK(1, Gauge_Read_Shape, 9), kIOReturnBadArgument);
	ck_assert_int_eq(ASK(2, Gauge_Read_Shape, 2), kIOReturnUnsupported); // no such object
	ck_assert_int_eq(ASK(1, Needle_Move_Shape, 2), kIOReturnUnsupported);
	ck_assert_int_eq(ASK(1, Gauge_Private_Shape, 2), kIOReturnUnsupported);
	ck_assert_int_eq(ASK(1, IOService_RegisterService_Shape, 2), kIOReturnUnsupported);
	ck_assert_int_eq(ASK(1, IOService_Start_Shape, 0, 0), kIOReturnUnsupported);
	ck_assert_int_eq(ASK(1, IOService_Terminate_Shape, 0), kIOReturnUnsupported);
	ck_assert_int_eq(ASK(1, Gauge_Read_Shape, 3), kIOReturnSuccess); // it still talks
	talk_close(talk);
}

START_TEST(only_its_interface_can_be_called)
{
	while_running(say_calls);
}
END_TEST

/* A Release of what was never given, or too often. */
static void say_releases(void)
{
	struct talk side, *talk = &side;
	talk_open(talk);
	send_words(talk->fd, 0, DextPeer_Release_ID, 0, (uint64_t[]){ 77, 1 }, 2);
	send_words(talk->fd, 0, DextPeer_Release_ID, 0, (uint64_t[]){ 1, UINT64_MAX }, 2);
	send_words(talk->fd, 0, DextPeer_Release_ID, 0, (uint64_t[]){ 1, 1 }, 2);
	ck_assert_int_eq(ASK(1, Gauge_Read_Shape, 2), kIOReturnUnsupported); // let go of
	talk_close(talk);
}

START_TEST(releases_are_bounded)
{
	while_running(say_releases);
}
END_TEST

/* --- what ends the conversation --- */

static void check_ends(const struct OSMethodShape *shape, const uint64_t *words, size_t n)
{
	struct talk talk;
	talk_open(&talk);
	ck_assert_int_eq(ask(&talk, 1, shape, words, n), 1);
	talk_close(&talk);
}

#define ASSERT_ENDS(shape, ...)                         \
	check_ends(&shape, (uint64_t[]){ __VA_ARGS__ }, \
		   sizeof((uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t))

#define NAME_NEEDLE 6, 0x656c6465654eULL     // "Needle"
#define NAME_GAUGE  5, 0x6567756147ULL       // "Gauge"
#define NAME_ACTION 8, 0x6e6f69746341534fULL // "OSAction"

static void say_bad(void)
{
	ASSERT_ENDS(Gauge_Look_Shape, 2, YOURS, 1);                   // neither value nor reference
	ASSERT_ENDS(Gauge_Look_Shape, 1, 4, 1);                       // no such kind
	ASSERT_ENDS(Gauge_Look_Shape, 1, YOURS, 99);                  // not ours
	ASSERT_ENDS(Gauge_Look_Shape, 1, YOURS, 1);                   // ours, but a Gauge
	ASSERT_ENDS(Gauge_Look_Shape, 1, OBJECT, 5, 0);               // of no class
	ASSERT_ENDS(Gauge_Look_Shape, 1, OBJECT, 5, 17, NAME_NEEDLE); // of too many
	ASSERT_ENDS(Gauge_Look_Shape, 1, OBJECT, 5, 1, NAME_GAUGE);   // of another
	ASSERT_ENDS(Gauge_Look_Shape, 1, OBJECT, 5, 1, 6);            // cut
	ASSERT_ENDS(Gauge_Watch_Shape, 1, OBJECT, 5, 1, NAME_ACTION, 1); // libdext's own class
	ASSERT_ENDS(Gauge_Complement_Shape, 1, MEMORY, 0, 4096, 3, 0);   // without a file
	ASSERT_ENDS(Gauge_Complement_Shape, 1, MEMORY, 0, 4096, 3, 1);
	ASSERT_ENDS(Gauge_Complement_Shape, 1, ACTION, 5);
}

START_TEST(a_reference_must_be_one)
{
	while_running(say_bad);
}
END_TEST

/* A proxy of ours is none of theirs: its position cannot be looked at. */
static void say_proxy(void)
{
	struct talk side, *talk = &side;
	talk_open(talk);
	ck_assert_int_eq(ASK(1, Gauge_Look_Shape, 1, OBJECT, 5, 1, NAME_NEEDLE),
			 kIOReturnBadArgument);
	talk_close(talk);
}

START_TEST(a_foreign_object_has_no_state_here)
{
	while_running(say_proxy);
}
END_TEST

/* --- too much --- */

static void say_many(void)
{
	struct talk side, *talk = &side;
	talk_open(talk);
	for (uint64_t i = 0; i < 5000; i++) { // never let go of
		kern_return_t ret = ask(talk, 1, &Gauge_CopyNeedle_Shape, NULL, 0);
		ck_assert_int_eq(ret, i < 4095 ? kIOReturnSuccess : kIOReturnNoSpace);
	}
	talk_close(talk);
}

START_TEST(what_one_driver_holds_is_bounded)
{
	while_running(say_many);
}
END_TEST

POOL_TESTS("stack-link", only_its_interface_can_be_called, releases_are_bounded,
	   a_reference_must_be_one, a_foreign_object_has_no_state_here,
	   what_one_driver_holds_is_bounded)
