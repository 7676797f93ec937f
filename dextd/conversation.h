/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A channel (wire/channel.h) served by dextd's loop: its descriptor, its queue, its deadlines. */

#include <dextd/loop.h>
#include <wire/channel.h>

struct conversation {
	struct loop *loop;
	struct channel *channel; // owned; NULL: closed
	struct loop_fd source;
	struct loop_hook hook;
	struct loop_timer expiry;
};

/* `fd` is consumed, also on failure. `events` and `methods` outlive it; callbacks get `context`. */
int conversation_open(struct conversation *c, struct loop *loop, int fd,
		      const struct channel_method *methods, const struct channel_events *events,
		      void *context);
/* Harmless when closed or never opened; ends pending calls. Any callback may. */
void conversation_close(struct conversation *c);

/* As channel_call; -ENOTCONN when closed. */
int conversation_call(struct conversation *c, const struct OSMethodShape *shape, const void *msg,
		      uint32_t timeout_ms, channel_reply_fn on_reply, void *context);
