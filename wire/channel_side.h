/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One side of a conversation, for the tests of channels: a channel that serves two methods, and
 * counts what it hears. The methods are written by hand, so that nothing here depends on what iig
 * emits: Test::Exchange carries one of everything both ways, Test::Note is oneway.
 */

#include <stdbool.h>

#include <base/unit_test.h>
#include <wire/channel.h>

struct exchange_msg {
	uint64_t value;
	OSObject *object;
	int fd;
	uint64_t doubled;
	OSObject *result;
	int result_fd;
	kern_return_t ret;
};

struct note_msg {
	char text[32];
};

extern const struct OSMethodShape exchange_shape, note_shape;

struct side {
	struct channel *channel;
	struct side *other; // with side_open_pair
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

/* What `serve` may be; the first is what it is after side_open. */
void side_double(struct side *side, struct channel_call *call, struct exchange_msg *msg);
void side_send_back(struct side *side, struct channel_call *call, struct exchange_msg *msg);
void side_keep(struct side *side, struct channel_call *call, struct exchange_msg *msg);
void side_refuse(struct side *side, struct channel_call *call, struct exchange_msg *msg);

void side_open(struct side *side, int fd); // consumed
void side_open_pair(struct side *one, struct side *two);
/* A channel and, returned, the other end of its socket. */
int side_open_raw(struct side *side);
void side_close(struct side *side);

/* Is there anything to dispatch? */
bool side_is_ready(const struct side *side);
/* Until there is nothing any more. */
void side_dispatch_both(struct side *one, struct side *two);
/* Test::Exchange with that value alone, whose reply side_on_reply counts. */
int side_call(struct side *side, uint64_t value, uint32_t timeout_ms);
void side_on_reply(void *context, kern_return_t status, const char *reason, void *msg);
