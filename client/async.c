/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A driver may complete one call several times, and does not say which time is the last, so a call
 * is remembered after its first completion: the last ANSWERED_MAX of those completed once, and,
 * until the connection ends, those completed more often.
 *
 * The number of a call is its place in the connection's table and a serial number, so that a late
 * completion never reaches a later call in the same place. The completion that tells of a dead
 * driver is allocated with the call: it cannot fail.
 *
 * A call may be completed before the thread that submitted it knows how that went. The first of two
 * decides: either it calls back, and was accepted, or it is refused, and never calls back.
 */

#include <stdlib.h>

#include <base/log.h>
#include <base/reason.h>
#include <client/async.h>
#include <client/port.h>

#define ANSWERED_MAX 1024U
#define PLACE_BITS   16
#define CALLS_MAX    (1U << PLACE_BITS)

struct completion {
	struct delivery delivery;
	const char *reason;      // borrowed for good: of one that tells of a dead driver; NULL
	struct async_call *call; // a reference
	struct ring_event event;
};

enum async_fate { ASYNC_OPEN, ASYNC_CALLED_BACK, ASYNC_REFUSED };

struct async_call {
	_Atomic uint32_t refs;
	_Atomic enum async_fate fate;
	struct list link; // connection.answered
	uint64_t number;
	struct IONotificationPort *port; // a reference
	uint64_t callback, refcon;
	uint32_t n_completions;    // connection.lock; counts to 2
	uint32_t generation;       // connection.lock: of the driver that accepted it; 0: none has
	struct completion *at_end; // owned, until the connection's end delivers it
};

/* --- life --- */

void async_unref(struct async_call *call)
{
	if (atomic_fetch_sub_explicit(&call->refs, 1, memory_order_acq_rel) != 1)
		return;
	object_unref(&call->port->object);
	completion_free(call->at_end);
	free(call);
}

struct async_call *async_ref(struct async_call *call)
{
	atomic_fetch_add_explicit(&call->refs, 1, memory_order_relaxed);
	return call;
}

static const char driver_died[] = "the driver died before it completed this call";
static void abort_call(struct connection *c, struct async_call *call, const char *reason);

static uint32_t place_of(uint64_t number)
{
	return (uint32_t)(number & (CALLS_MAX - 1));
}

static struct async_call *find(struct connection *c, uint64_t number)
{
	uint32_t place = place_of(number);
	struct async_call *call = place < c->room_calls ? c->calls[place] : NULL;
	return call != NULL && call->number == number ? call : NULL;
}

static void forget(struct connection *c, struct async_call *call)
{
	if (call->n_completions == 1) {
		list_remove(&call->link);
		c->n_answered--;
	}
	c->calls[place_of(call->number)] = NULL;
	c->n_calls--;
	async_unref(call);
}

static bool grow(struct connection *c)
{
	uint32_t room = c->room_calls == 0 ? 16 : c->room_calls * 2;
	if (room > CALLS_MAX)
		return false;
	struct async_call **grown = realloc(c->calls, room * sizeof(struct async_call *));
	if (grown == NULL)
		return false;
	for (uint32_t i = c->room_calls; i < room; i++)
		grown[i] = NULL;
	c->calls = grown;
	c->room_calls = room;
	return true;
}

/* --- begin --- */

static struct async_call *call_new(struct IONotificationPort *port, uint64_t callback,
				   uint64_t refcon)
{
	struct async_call *call = calloc(1, sizeof(*call));
	if (call == NULL)
		return NULL;
	call->at_end = completion_new();
	if (call->at_end == NULL) {
		free(call);
		return NULL;
	}
	atomic_init(&call->refs, 1);
	list_init(&call->link);
	object_ref(&port->object);
	call->port = port;
	call->callback = callback;
	call->refcon = refcon;
	return call;
}

/* With the lock held: give it a place. */
static kern_return_t enter(struct connection *c, struct async_call *call)
{
	if (c->ended)
		return refuse(kIOReturnOffline, "the connection has ended");
	if (c->n_calls == c->room_calls && !grow(c))
		return refuse(kIOReturnNoResources,
			      "%u asynchronous calls are under way on this connection", c->n_calls);
	uint32_t place = c->last_serial % c->room_calls;
	while (c->calls[place] != NULL)
		place = (place + 1) % c->room_calls;
	call->number = (uint64_t)++c->last_serial << PLACE_BITS | place;
	c->calls[place] = call;
	c->n_calls++;
	return kIOReturnSuccess;
}

kern_return_t async_begin(struct connection *c, struct IONotificationPort *port, uint64_t callback,
			  uint64_t refcon, struct async_call **call)
{
	struct async_call *made = call_new(port, callback, refcon);
	if (made == NULL)
		return refuse(kIOReturnNoMemory, "out of memory");
	pthread_mutex_lock(&c->lock);
	kern_return_t status = enter(c, made);
	if (status == kIOReturnSuccess)
		*call = async_ref(made);
	pthread_mutex_unlock(&c->lock);
	if (status != kIOReturnSuccess)
		async_unref(made);
	return status;
}

uint64_t async_number(const struct async_call *call)
{
	return call->number;
}

void async_accepted(struct connection *c, struct async_call *call, uint32_t generation)
{
	pthread_mutex_lock(&c->lock);
	call->generation = generation;
	if (generation < c->generation && find(c, call->number) == call)
		abort_call(c, call, driver_died); // meanwhile
	pthread_mutex_unlock(&c->lock);
	async_unref(call);
}

/* Returns the fate that stays. */
static enum async_fate decide(struct async_call *call, enum async_fate fate)
{
	enum async_fate was = atomic_load_explicit(&call->fate, memory_order_acquire);
	if (was != ASYNC_OPEN)
		return was;
	return atomic_compare_exchange_strong(&call->fate, &was, fate) ? fate : was;
}

bool async_refused(struct connection *c, struct async_call *call)
{
	bool refused = decide(call, ASYNC_REFUSED) == ASYNC_REFUSED;
	pthread_mutex_lock(&c->lock);
	if (refused && find(c, call->number) == call) // the end has forgotten it already
		forget(c, call);
	pthread_mutex_unlock(&c->lock);
	async_unref(call);
	return refused;
}

/* --- completion --- */

void async_call_back(struct async_call *call, struct ring_event *event)
{
	if (decide(call, ASYNC_CALLED_BACK) != ASYNC_CALLED_BACK || call->callback == 0)
		return;
	void *refcon = (void *)(uintptr_t)call->refcon;
	uintptr_t callback = (uintptr_t)call->callback;
	void **args = event->arguments;
	switch (event->n_scalars) {
	case 0:
		((IOAsyncCallback0)callback)(refcon, event->status);
		break;
	case 1:
		((IOAsyncCallback1)callback)(refcon, event->status, args[0]);
		break;
	case 2:
		((IOAsyncCallback2)callback)(refcon, event->status, args[0], args[1]);
		break;
	default:
		((IOAsyncCallback)callback)(refcon, event->status, args, event->n_scalars);
		break;
	}
}

static void run(struct delivery *delivery, bool wanted)
{
	struct completion *completion = container_of(delivery, struct completion, delivery);
	if (wanted) {
		reason_set(completion->reason != NULL ? completion->reason : "");
		async_call_back(completion->call, &completion->event);
	}
	completion_free(completion);
}

struct completion *completion_new(void)
{
	struct completion *completion = calloc(1, sizeof(*completion));
	if (completion != NULL)
		completion->delivery.run = run;
	return completion;
}

void completion_free(struct completion *completion)
{
	if (completion == NULL)
		return;
	if (completion->call != NULL)
		async_unref(completion->call);
	free(completion);
}

struct ring_event *completion_event(struct completion *completion)
{
	return &completion->event;
}

static void deliver(struct async_call *call, struct completion *completion)
{
	completion->call = async_ref(call);
	if (!port_deliver(call->port, &completion->delivery))
		completion_free(completion);
}

/* Count the completion; a call that may be forgotten makes room for this one. */
static void note_completion(struct connection *c, struct async_call *call)
{
	if (call->n_completions == 1) {
		list_remove(&call->link);
		c->n_answered--;
		call->n_completions = 2;
	} else if (call->n_completions == 0) {
		list_append(&c->answered, &call->link);
		c->n_answered++;
		call->n_completions = 1;
	}
	if (c->n_answered > ANSWERED_MAX)
		forget(c, container_of(c->answered.next, struct async_call, link));
}

struct async_call *async_direct(struct connection *c, const struct IONotificationPort *port,
				const struct ring_event *event)
{
	struct async_call *call = find(c, event->async);
	if (call == NULL || call->port != port)
		return NULL;
	note_completion(c, call);
	return call;
}

void async_completed(struct connection *c, struct completion *completion)
{
	struct async_call *call = find(c, completion->event.async);
	if (call == NULL) {
		log_warn("a completion was dropped: its call was refused, or was answered %u "
			 "calls ago",
			 ANSWERED_MAX);
		completion_free(completion);
		return;
	}
	deliver(call, completion);
	note_completion(c, call);
}

/* Complete it as aborted if it never was, and forget it. */
static void abort_call(struct connection *c, struct async_call *call, const char *reason)
{
	if (call->n_completions == 0) {
		struct completion *completion = call->at_end;
		call->at_end = NULL;
		completion->event = (struct ring_event){ .status = kIOReturnAborted };
		completion->reason = reason;
		deliver(call, completion);
	}
	forget(c, call);
}

void async_abort_before(struct connection *c, uint32_t generation)
{
	for (uint32_t i = 0; i < c->room_calls; i++) {
		struct async_call *call = c->calls[i];
		if (call != NULL && call->generation != 0 && call->generation < generation)
			abort_call(c, call, driver_died);
	}
}

void async_abort_all(struct connection *c)
{
	for (uint32_t i = 0; i < c->room_calls; i++)
		if (c->calls[i] != NULL)
			abort_call(c, c->calls[i], "the connection has ended");
}
