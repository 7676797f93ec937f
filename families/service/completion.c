// SPDX-License-Identifier: Apache-2.0
/*
 * An asynchronous call becomes an OSAction whose delivery writes an event. Each such call reserves
 * one place in the event ring when it is accepted, so its completion always finds room: what an
 * application does not read costs it the next call, not the driver a completion. A further
 * completion of the same action has no such place: when the ring is full it is refused at once
 * (dext_async_complete tells the driver), and neither side waits for the other. An action that is
 * dropped without having been completed completes with kIOReturnAborted.
 */

#include <stdlib.h>
#include <string.h>

#include <base/log.h>
#include <base/reason.h>
#include <families/service/completion.h>
#include <families/service/connection.h>
#include <runtime/action.h>

/* An asynchronous call under way: the context of its action. */
struct completion {
	struct list link;              // connection.completions
	struct connection *connection; // kept
	OSAction *action;              // borrowed: its last release ends the completion
	uint64_t async;
	bool reserved;  // connection.lock: its place in the event ring is still its own
	bool accepted;  // connection.lock: ExternalMethod returned success
	bool cancelled; // connection.lock: by the driver
};

/* With the lock held. A burst finds the application awake after its first event. */
static kern_return_t push_event(struct connection *c, const struct ring_event *event)
{
	int ret = ring_server_event(c->ring, event);
	if (ret < 0)
		return refuse(return_from_errno(ret),
			      "connection %llu: an event found no room: the application does not "
			      "read its notification port",
			      (unsigned long long)c->id);
	if (ret == 1)
		ring_socket_send(c->socket_fd, RING_SOCKET_WAKE, 0, -1);
	return kIOReturnSuccess;
}

/* With the lock held. For a driver that does not look (AsyncCompletion returns nothing), but not
 * for each: a driver makes them faster than a log takes them. */
static void report_overflow(struct connection *c)
{
	if (!c->overflowing)
		log_warn("connection %llu: completions are dropped: the application does not read "
			 "its notification port",
			 (unsigned long long)c->id);
	c->overflowing = true;
}

/* With the lock held. The first completion of a call has its place; a further one takes what nobody
 * was promised, or is refused at once. */
static kern_return_t push_completion(struct completion *completion, const struct ring_event *event)
{
	struct connection *c = completion->connection;
	if (c->closed)
		return refuse(kIOReturnOffline, "the connection was closed");
	if (completion->reserved) {
		completion->reserved = false;
		c->reserved--;
	} else if (!ring_server_event_fits(c->ring, c->reserved)) {
		report_overflow(c);
		return refuse(
			kIOReturnNoSpace,
			"%u completions are unread or promised: the application does not read "
			"its notification port",
			RING_EVENTS);
	}
	c->overflowing = false;
	return push_event(c, event);
}

static kern_return_t deliver(void *context, const struct OSMethodShape *shape, const void *message)
{
	struct completion *completion = context;
	const struct IOUserClient_AsyncCompletion_Msg *msg = message;
	struct connection *c = completion->connection;
	struct ring_event event;
	_Static_assert(sizeof(event.scalars) == sizeof(msg->asyncData), "as many numbers");
	event.async = completion->async;
	event.status = msg->status;
	event.n_scalars = msg->asyncDataCount;
	memcpy(event.scalars, msg->asyncData, sizeof(event.scalars));

	pthread_mutex_lock(&c->lock);
	kern_return_t ret =
		completion->cancelled
			? refuse(kIOReturnOffline, "%s: the action was cancelled", shape->name)
			: push_completion(completion, &event);
	pthread_mutex_unlock(&c->lock);
	return ret;
}

static void cancelled(void *context)
{
	struct completion *completion = context;
	pthread_mutex_lock(&completion->connection->lock);
	completion->cancelled = true;
	pthread_mutex_unlock(&completion->connection->lock);
}

/* The driver let go of the action. */
static void released(void *context)
{
	struct completion *completion = context;
	struct connection *c = completion->connection;
	pthread_mutex_lock(&c->lock);
	list_remove(&completion->link);
	if (!c->closed && completion->reserved) {
		struct ring_event event = { .async = completion->async,
					    .status = kIOReturnAborted };
		if (completion->accepted)
			push_completion(completion, &event);
		else
			c->reserved--;
	}
	pthread_mutex_unlock(&c->lock);
	connection_unref(c);
	free(completion);
}

static bool reserve(struct completion *completion)
{
	struct connection *c = completion->connection;
	pthread_mutex_lock(&c->lock);
	completion->reserved = ring_server_event_fits(c->ring, c->reserved);
	if (completion->reserved) {
		c->reserved++;
		list_append(&c->completions, &completion->link);
	}
	pthread_mutex_unlock(&c->lock);
	return completion->reserved;
}

kern_return_t completion_new(struct connection *c, uint64_t async, struct completion **completion,
			     OSAction **action)
{
	static const struct action_ops ops = { deliver, cancelled, released };
	struct completion *made = calloc(1, sizeof(*made));
	if (made == NULL)
		return kIOReturnNoMemory;
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	list_init(&made->link);
	made->connection = c;
	made->async = async;
	kern_return_t ret = action_create_custom(&ops, made, &made->action);
	if (ret != kIOReturnSuccess) {
		released(made);
		return ret;
	}
	if (!reserve(made)) {
		OSObjectRelease(made->action); // which ends the completion
		return refuse(kIOReturnNoResources,
			      "%u asynchronous calls are under way or unread: read the "
			      "notification port first",
			      RING_EVENTS);
	}
	*action = made->action;
	*completion = made;
	return kIOReturnSuccess;
}

/* One that was not aborted yet and whose action lives: the action, kept. NULL: none is left. */
static OSAction *take_action(struct connection *c)
{
	struct completion *completion, *next;
	OSAction *action = NULL;
	pthread_mutex_lock(&c->lock);
	list_for_each_safe(completion, next, &c->completions, link) {
		list_remove(&completion->link);
		list_init(&completion->link);
		if (action_revive(completion->action)) {
			action = completion->action;
			break;
		}
	}
	pthread_mutex_unlock(&c->lock);
	return action;
}

void completion_abort_all(struct connection *c)
{
	OSAction *action;
	while ((action = take_action(c)) != NULL) {
		OSAction_Aborted(action);
		OSObjectRelease(action);
	}
}

void completion_accept(struct completion *completion)
{
	pthread_mutex_lock(&completion->connection->lock);
	completion->accepted = true;
	pthread_mutex_unlock(&completion->connection->lock);
}
