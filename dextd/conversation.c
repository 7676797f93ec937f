// SPDX-License-Identifier: Apache-2.0
/*
 * A call or a reply may leave something queued, from anywhere; so what to poll for and until when
 * is read anew before every wait, in the hook, and nowhere else.
 */

#include <dextd/conversation.h>

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>

#include <base/clock.h>

static uint32_t wanted_events(const struct channel *channel)
{
	short wanted = channel_poll_events(channel);
	return ((wanted & POLLIN) != 0 ? EPOLLIN : 0U) | ((wanted & POLLOUT) != 0 ? EPOLLOUT : 0U);
}

static void prepare(void *context)
{
	struct conversation *c = context;
	(void)loop_fd_set_events(&c->source, wanted_events(c->channel));
	uint64_t deadline = channel_next_deadline(c->channel);
	if (deadline == c->expiry.deadline_ns)
		return;
	if (deadline == 0)
		loop_timer_stop(&c->expiry);
	else
		loop_timer_start(&c->expiry, deadline);
}

static void on_ready(void *context, uint32_t events)
{
	struct conversation *c = context;
	(void)events;
	channel_dispatch(c->channel);
}

static void on_expired(void *context)
{
	struct conversation *c = context;
	channel_expire(c->channel, clock_now_ns());
}

int conversation_open(struct conversation *c, struct loop *loop, int fd,
		      const struct channel_method *methods, const struct channel_events *events,
		      void *context)
{
	*c = (struct conversation){ .loop = loop };
	int ret = channel_open(&c->channel, fd, methods, events, context);
	if (ret < 0) {
		c->channel = NULL;
		return ret;
	}
	ret = loop_fd_add(loop, &c->source, channel_fd(c->channel), wanted_events(c->channel),
			  on_ready, c);
	if (ret < 0) {
		c->channel = channel_close(c->channel);
		return ret;
	}
	loop_timer_init(&c->expiry, loop, on_expired, c);
	loop_hook_add(loop, &c->hook, prepare, c);
	return 0;
}

void conversation_close(struct conversation *c)
{
	struct channel *channel = c->channel;
	if (channel == NULL)
		return;
	c->channel = NULL;
	loop_fd_remove(&c->source);
	loop_timer_stop(&c->expiry);
	loop_hook_remove(&c->hook);
	channel_close(channel); // last: it calls back
}

int conversation_call(struct conversation *c, const struct OSMethodShape *shape, const void *msg,
		      uint32_t timeout_ms, channel_reply_fn on_reply, void *context)
{
	if (c->channel == NULL)
		return -ENOTCONN;
	return channel_call(c->channel, shape, msg, timeout_ms, on_reply, context);
}
