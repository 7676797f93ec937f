/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Serial queues.
 *
 * One word says it all: the newest item pushed, as the top of a stack, and two flags, HELD and
 * CANCELLED, in the low bits of the pointer. Whoever turns HELD on holds the queue and alone
 * touches its other fields; whoever pushes onto a held queue just leaves the item. The holder takes
 * the whole stack, turns it round, and runs it from its own list; it gives HELD back only in the
 * same compare-and-swap that finds the stack empty. So a post to an idle queue, and either end of
 * an uncontended sync, is one compare-and-swap.
 *
 * A sync that finds the queue held pushes an item too, a waiter. Its turn come, the queue changes
 * hands: the waiter's own thread runs the function, so it keeps its locals, its reason text and the
 * queues it holds already. A thread that holds a queue, however deep below, calls it directly. What
 * would wait in a circle is refused (-EDEADLK): every waiting thread is in `waits`, every held
 * queue names its holder, and whoever comes last sees the whole circle.
 *
 * Sleep gives the queue up in the midst of a piece of work, and comes back as a waiter that either
 * Wakeup or the sleeper itself, at its time limit, pushes. Cancel pushes its item together with the
 * flag, so that nothing can come after it; its handler runs when also the last sleeper's piece has
 * ended, and sleepers are woken for it (kIOReturnAborted).
 *
 * What DispatchAsync_f posts is a closure, of which spare ones are kept (closure.c).
 *
 * A queue that was posted to keeps itself alive until it is idle (`kept`); one that is held by a
 * sync is kept by the caller.
 */

#include <runtime/strand.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <base/clock.h>
#include <base/reason.h>
#include <runtime/closure.h>

#define HELD      ((uintptr_t)1)
#define CANCELLED ((uintptr_t)2)
#define FLAGS     (HELD | CANCELLED)

/* Items run in one turn before other queues have theirs. */
#define BATCH 64

struct cancellation {
	struct queue_item item;
	IODispatchQueue *queue;
	IODispatchFunction handler; // may be NULL
	void *context;
};

struct IODispatchQueue_IVars {
	_Atomic uintptr_t top;   // the newest item | FLAGS
	_Atomic uint32_t holder; // its thread's id; 0: idle, or scheduled
	/* The holder's: */
	struct queue_item *items;          // next to run; taken from `top`
	bool kept;                         // this busy spell holds a reference to the queue
	bool yields;                       // others have their turn after this item
	struct list sleepers;              // sleeper.link
	struct cancellation *cancellation; // waits for the sleepers; NULL: none
	struct turn turn;
	char name[]; // constant
};

/* A thread that waits for the queue. */
struct waiter {
	struct queue_item item;
	IODispatchQueue *queue; // borrowed
	uint32_t thread;
	_Atomic uint32_t granted; // 1: the queue is the thread's
};

enum sleep_state { SLEEPING, WOKEN, ABORTED, EXPIRED };

struct sleeper {
	struct list link; // queue.sleepers
	struct waiter waiter;
	void *event;
	_Atomic uint32_t state; // enum sleep_state; whoever ends SLEEPING pushes the waiter
};

/* A thread that cannot go on before it has `queue`. */
struct wait {
	struct list link; // waits
	uint32_t thread;
	struct IODispatchQueue_IVars *queue;
};

static pthread_mutex_t waits_lock = PTHREAD_MUTEX_INITIALIZER;
static struct list waits = { &waits, &waits }; // wait.link; guarded by waits_lock

static void grant(struct queue_item *item);
static void drain(struct turn *turn);

/* --- the word --- */

static struct queue_item *top_item(uintptr_t top)
{
	return (struct queue_item *)(top & ~FLAGS);
}

enum push_result { PUSH_REFUSED, PUSH_LEFT, PUSH_HOLDING };

/* `even_cancelled` for those who have begun before. `flag`: CANCELLED to set it at once. */
static inline enum push_result push(struct IODispatchQueue_IVars *q, struct queue_item *item,
				    bool even_cancelled, uintptr_t flag)
{
	uintptr_t old = atomic_load_explicit(&q->top, memory_order_relaxed);

	do {
		if ((old & CANCELLED) != 0 && !even_cancelled)
			return PUSH_REFUSED;
		item->next = top_item(old);
	} while (!atomic_compare_exchange_weak_explicit(
		&q->top, &old, (uintptr_t)item | (old & CANCELLED) | HELD | flag,
		memory_order_acq_rel, memory_order_relaxed));
	return (old & HELD) != 0 ? PUSH_LEFT : PUSH_HOLDING;
}

/* Holder, with nothing left to run: take what was pushed, oldest first; NULL: nothing. */
static struct queue_item *take_pushed(struct IODispatchQueue_IVars *q)
{
	if (top_item(atomic_load_explicit(&q->top, memory_order_relaxed)) == NULL)
		return NULL;
	struct queue_item *item =
		top_item(atomic_fetch_and_explicit(&q->top, FLAGS, memory_order_acq_rel));
	struct queue_item *newer = NULL;
	while (item != NULL) {
		struct queue_item *older = item->next;
		item->next = newer;
		newer = item;
		item = older;
	}
	return q->items = newer;
}

/* Holder. The next item, oldest first; NULL: none is there now. */
static inline struct queue_item *peek(struct IODispatchQueue_IVars *q)
{
	return q->items != NULL ? q->items : take_pushed(q);
}

static inline struct queue_item *pop(struct IODispatchQueue_IVars *q)
{
	struct queue_item *item = peek(q);

	if (item != NULL)
		q->items = item->next;
	return item;
}

/* Take an idle queue. */
static bool try_hold(struct IODispatchQueue_IVars *q, bool even_cancelled)
{
	uintptr_t old = atomic_load_explicit(&q->top, memory_order_relaxed);

	if (old != 0 && (old != CANCELLED || !even_cancelled))
		return false;
	return atomic_compare_exchange_strong_explicit(&q->top, &old, old | HELD,
						       memory_order_acquire, memory_order_relaxed);
}

static bool cancel_is_due(const struct IODispatchQueue_IVars *q)
{
	return q->cancellation != NULL && list_empty(&q->sleepers);
}

/* Holder. Let go if there is nothing left to do; afterwards the queue may be gone. */
static bool try_let_go(IODispatchQueue *queue)
{
	struct IODispatchQueue_IVars *q = queue->ivars;
	bool kept = q->kept;

	if (q->items != NULL || cancel_is_due(q))
		return false;
	q->kept = false;
	atomic_store_explicit(&q->holder, 0, memory_order_relaxed);
	uintptr_t old = atomic_load_explicit(&q->top, memory_order_relaxed);
	while (top_item(old) == NULL) {
		if (!atomic_compare_exchange_weak_explicit(
			    &q->top, &old, old & ~HELD, memory_order_release, memory_order_relaxed))
			continue;
		if (kept)
			OSObjectRelease(queue);
		return true;
	}
	q->kept = kept;
	return false;
}

/* Holder, after a sync. The same, at once, when nobody wanted the queue meanwhile. */
static bool let_go_idle(struct IODispatchQueue_IVars *q)
{
	uintptr_t held = HELD;

	if (q->items != NULL || q->kept)
		return false;
	atomic_store_explicit(&q->holder, 0, memory_order_relaxed);
	return atomic_compare_exchange_strong_explicit(&q->top, &held, 0, memory_order_release,
						       memory_order_relaxed);
}

/* --- holding --- */

/* The calling thread, which holds the queue, runs on it from here. Returns what leave() needs. */
static IODispatchQueue *enter(IODispatchQueue *queue)
{
	IODispatchQueue *outer = self_thread.current;

	atomic_store_explicit(&queue->ivars->holder, self_id(), memory_order_relaxed);
	self_thread.current = queue;
	return outer;
}

static void leave(IODispatchQueue *outer)
{
	self_thread.current = outer;
}

static void keep(IODispatchQueue *queue)
{
	if (queue->ivars->kept)
		return;
	OSObjectRetain(queue);
	queue->ivars->kept = true;
}

/* Holder: pass the queue on to whoever is next. */
static void hand_on(IODispatchQueue *queue)
{
	struct IODispatchQueue_IVars *q = queue->ivars;

	if (try_let_go(queue))
		return;
	keep(queue);
	struct queue_item *next = peek(q);
	if (next != NULL && next->run == grant) {
		q->items = next->next;
		grant(next);
		return;
	}
	atomic_store_explicit(&q->holder, 0, memory_order_relaxed);
	pool_schedule(&q->turn);
}

/* Holder: the queue is the waiter's now, and the waiter's memory its thread's again. */
static void grant(struct queue_item *item)
{
	struct waiter *waiter = container_of(item, struct waiter, item);

	atomic_store_explicit(&waiter->queue->ivars->holder, waiter->thread, memory_order_relaxed);
	atomic_store_explicit(&waiter->granted, 1, memory_order_release);
	worker_wake(&waiter->granted);
}

static void run_cancel_handler(IODispatchQueue *queue)
{
	struct cancellation *cancellation = queue->ivars->cancellation;

	queue->ivars->cancellation = NULL;
	if (cancellation->handler != NULL)
		cancellation->handler(cancellation->context);
	free(cancellation);
}

static void run_closure(struct queue_item *item)
{
	struct closure *closure = container_of(item, struct closure, item);
	IODispatchFunction function = closure->function;
	void *context = closure->context;

	closure_free(closure);
	function(context);
}

/* A turn: the calling worker holds the queue and runs a batch; closures, the most frequent, with no
 * detour by their item. */
static void drain(struct turn *turn)
{
	struct IODispatchQueue_IVars *q = container_of(turn, struct IODispatchQueue_IVars, turn);
	IODispatchQueue *queue = turn->queue;
	IODispatchQueue *outer = enter(queue);

	for (int n = 0; n < BATCH && !q->yields; n++) {
		struct queue_item *item = cancel_is_due(q) ? NULL : pop(q);
		if (item != NULL && item->run == run_closure) {
			run_closure(item);
		} else if (item != NULL && item->run == grant) {
			leave(outer);
			grant(item);
			return;
		} else if (item != NULL) {
			item->run(item);
		} else {
			if (cancel_is_due(q))
				run_cancel_handler(queue);
			leave(outer);
			if (try_let_go(queue))
				return;
			enter(queue);
		}
	}
	leave(outer);
	q->yields = false;
	atomic_store_explicit(&q->holder, 0, memory_order_relaxed);
	pool_schedule(turn);
}

/* --- posting --- */

bool queue_push(IODispatchQueue *queue, struct queue_item *item, struct turn **turn)
{
	*turn = NULL;
	switch (push(queue->ivars, item, false, 0)) {
	case PUSH_REFUSED:
		return false;
	case PUSH_HOLDING:
		keep(queue);
		*turn = &queue->ivars->turn;
		return true;
	case PUSH_LEFT:
		break;
	}
	return true;
}

bool queue_post(IODispatchQueue *queue, struct queue_item *item)
{
	switch (push(queue->ivars, item, false, 0)) {
	case PUSH_REFUSED:
		return false;
	case PUSH_HOLDING:
		keep(queue);
		pool_schedule(&queue->ivars->turn);
		return true;
	case PUSH_LEFT:
		break;
	}
	return true;
}

IODispatchQueue *queue_current(void)
{
	return self_thread.current;
}

void queue_yield(IODispatchQueue *queue)
{
	queue->ivars->yields = true;
}

bool queue_is_wanted(IODispatchQueue *queue)
{
	return peek(queue->ivars) != NULL;
}

/* --- waiting for a queue --- */

static const struct wait *wait_of(uint32_t thread)
{
	const struct wait *wait;

	list_for_each(wait, &waits, link)
		if (wait->thread == thread)
			return wait;
	return NULL;
}

/* Guarded by waits_lock. Does whoever must first let go of `q` wait for this thread? */
static bool is_circle(const struct IODispatchQueue_IVars *q)
{
	enum { LONGEST = 128 }; // a holder that is just changing may look like a circle without us

	for (int i = 0; i < LONGEST; i++) {
		uint32_t holder = atomic_load_explicit(&q->holder, memory_order_relaxed);
		const struct wait *wait = holder != 0 ? wait_of(holder) : NULL;
		if (holder == self_id())
			return true;
		if (wait == NULL)
			return false;
		q = wait->queue;
	}
	return false;
}

static int wait_begin(struct wait *wait, struct IODispatchQueue_IVars *q, bool check)
{
	int ret = 0;

	pthread_mutex_lock(&waits_lock);
	if (check && is_circle(q))
		ret = -EDEADLK;
	wait->thread = self_id();
	wait->queue = q;
	list_init(&wait->link);
	if (ret == 0)
		list_append(&waits, &wait->link);
	pthread_mutex_unlock(&waits_lock);
	return ret;
}

static void wait_end(struct wait *wait)
{
	pthread_mutex_lock(&waits_lock);
	list_remove(&wait->link);
	pthread_mutex_unlock(&waits_lock);
}

static void waiter_init(struct waiter *waiter, IODispatchQueue *queue)
{
	*waiter = (struct waiter){ .item.run = grant, .queue = queue, .thread = self_id() };
}

static int hold_contended(IODispatchQueue *queue, bool even_cancelled)
{
	struct waiter waiter;
	struct wait wait;
	int ret = pool_begin_wait();

	if (ret < 0)
		return ret;
	waiter_init(&waiter, queue);
	ret = wait_begin(&wait, queue->ivars, true);
	if (ret == 0) {
		switch (push(queue->ivars, &waiter.item, even_cancelled, 0)) {
		case PUSH_REFUSED:
			ret = -ECANCELED;
			break;
		case PUSH_HOLDING: // it has just become idle, and the waiter is the first
			pop(queue->ivars);
			break;
		case PUSH_LEFT:
			futex_wait(&waiter.granted, 0, 0);
			break;
		}
		wait_end(&wait);
	}
	pool_end_wait();
	return ret;
}

static bool holds(const struct IODispatchQueue_IVars *q)
{
	return atomic_load_explicit(&q->holder, memory_order_relaxed) == self_id();
}

/* The queue was not idle: the caller holds it already, or waits for it. */
static __attribute__((noinline)) int sync_busy(IODispatchQueue *queue, bool even_cancelled,
					       void (*fn)(void *context), void *context)
{
	bool nested = holds(queue->ivars);

	if (!nested && !try_hold(queue->ivars, even_cancelled)) {
		int ret = hold_contended(queue, even_cancelled);
		if (ret < 0)
			return ret;
	}
	IODispatchQueue *outer = enter(queue);
	fn(context);
	leave(outer);
	if (!nested)
		hand_on(queue);
	return 0;
}

/* An idle queue, which is not cancelled, costs two compare-and-swaps and no call but fn's. */
static inline int sync(IODispatchQueue *queue, bool even_cancelled, void (*fn)(void *context),
		       void *context)
{
	uintptr_t idle = 0;

	if (__builtin_expect(!atomic_compare_exchange_strong_explicit(&queue->ivars->top, &idle,
								      HELD, memory_order_acquire,
								      memory_order_relaxed),
			     false))
		return sync_busy(queue, even_cancelled, fn, context);
	IODispatchQueue *outer = enter(queue);
	fn(context);
	leave(outer);
	if (__builtin_expect(!let_go_idle(queue->ivars), false))
		hand_on(queue);
	return 0;
}

int queue_sync(IODispatchQueue *queue, void (*fn)(void *context), void *context)
{
	return sync(queue, true, fn, context);
}

int queue_sync_unless_cancelled(IODispatchQueue *queue, void (*fn)(void *context), void *context)
{
	return sync(queue, false, fn, context);
}

kern_return_t queue_refusal(IODispatchQueue *queue, int error)
{
	const char *name = queue->ivars->name;

	switch (error) {
	case -ECANCELED:
		return refuse(kIOReturnOffline, "queue \"%s\" was cancelled", name);
	case -EDEADLK:
		return refuse(
			kIOReturnCannotLock,
			"whoever holds queue \"%s\" waits for a queue that this caller holds: "
			"call asynchronously in one of the two directions",
			name);
	default:
		return refuse(kIOReturnNoResources,
			      "no further thread can be had to wait for queue \"%s\": too many "
			      "callers wait already",
			      name);
	}
}

/* --- the public face --- */

static kern_return_t queue_new(const char *name, IODispatchQueue **out)
{
	size_t size = strlen(name) + 1;
	IODispatchQueue *queue = OSTypeAlloc(IODispatchQueue);

	if (queue == NULL)
		return kIOReturnNoMemory;
	struct IODispatchQueue_IVars *q = calloc(1, sizeof(*q) + size);
	if (q == NULL) {
		OSObjectRelease(queue);
		return kIOReturnNoMemory;
	}
	list_init(&q->sleepers);
	q->turn.run = drain;
	q->turn.queue = queue;
	memcpy(q->name, name, size);
	queue->ivars = q;
	*out = queue;
	return kIOReturnSuccess;
}

kern_return_t IODispatchQueue_Create(const char *name, uint64_t options, uint64_t priority,
				     IODispatchQueue **queue)
{
	if (name == NULL || queue == NULL)
		return refuse(kIOReturnBadArgument, "a queue needs a name and a place to put it");
	if (strlen(name) >= sizeof(IODispatchQueueName))
		return refuse(kIOReturnOverrun, "the name of a queue has at most %zu bytes",
			      sizeof(IODispatchQueueName) - 1);
	if (options != 0 || priority != 0)
		return refuse(kIOReturnBadArgument, "queue \"%s\": options and priority must be 0",
			      name);
	return queue_new(name, queue);
}

static pthread_once_t root_once = PTHREAD_ONCE_INIT;
static IODispatchQueue *root;

static void make_root(void)
{
	if (queue_new("Root", &root) != kIOReturnSuccess)
		root = NULL;
}

IODispatchQueue *queue_root(void)
{
	pthread_once(&root_once, make_root);
	return root;
}

void IMPL(IODispatchQueue, free)
{
	free(self->ivars);
	self->ivars = NULL;
	IODispatchQueue_super_free(self);
}

bool IODispatchQueue_OnQueue(IODispatchQueue *self)
{
	return self != NULL && holds(self->ivars);
}

const char *IODispatchQueue_GetName(IODispatchQueue *self)
{
	return self != NULL ? self->ivars->name : NULL;
}

static kern_return_t nothing_to_call(void)
{
	return refuse(kIOReturnBadArgument, "a queue and a function are needed");
}

kern_return_t IODispatchQueue_DispatchAsync_f(IODispatchQueue *self, void *context,
					      IODispatchFunction function)
{
	if (self == NULL || function == NULL)
		return nothing_to_call();
	struct closure *closure = closure_new();
	if (closure == NULL)
		return kIOReturnNoMemory;
	closure->item.run = run_closure;
	closure->function = function;
	closure->context = context;
	if (queue_post(self, &closure->item))
		return kIOReturnSuccess;
	closure_free(closure);
	return queue_refusal(self, -ECANCELED);
}

kern_return_t IODispatchQueue_DispatchSync_f(IODispatchQueue *self, void *context,
					     IODispatchFunction function)
{
	if (self == NULL || function == NULL)
		return nothing_to_call();
	int ret = queue_sync_unless_cancelled(self, function, context);
	return ret < 0 ? queue_refusal(self, ret) : kIOReturnSuccess;
}

struct action_call {
	IODispatchAction action;
	void *context;
	kern_return_t result;
};

static void run_action(void *context)
{
	struct action_call *call = context;

	call->result = call->action(call->context);
}

kern_return_t IODispatchQueue_RunAction_f(IODispatchQueue *self, void *context,
					  IODispatchAction action)
{
	struct action_call call = { .action = action, .context = context };

	if (self == NULL || action == NULL)
		return nothing_to_call();
	kern_return_t ret = IODispatchQueue_DispatchSync_f(self, &call, run_action);
	return ret != kIOReturnSuccess ? ret : call.result;
}

/* --- sleeping --- */

/* End a sleep. PUSH_REFUSED: it has ended already. */
static enum push_result end_sleep(struct sleeper *sleeper, enum sleep_state how)
{
	uint32_t expected = SLEEPING;

	if (!atomic_compare_exchange_strong(&sleeper->state, &expected, how))
		return PUSH_REFUSED;
	return push(sleeper->waiter.queue->ivars, &sleeper->waiter.item, true, 0);
}

static void sleep_until(struct sleeper *sleeper, uint64_t deadline_ns)
{
	_Atomic uint32_t *granted = &sleeper->waiter.granted;

	if (futex_wait(granted, 0, deadline_ns) == 0)
		return;
	if (end_sleep(sleeper, EXPIRED) == PUSH_HOLDING)
		pop(sleeper->waiter.queue->ivars); // it was idle, and the waiter is the first
	else
		futex_wait(granted, 0, 0);
}

kern_return_t IODispatchQueue_SleepWithTimeout(IODispatchQueue *self, void *event,
					       uint64_t timeoutNs)
{
	struct sleeper sleeper = { .event = event };
	struct wait wait;

	if (!IODispatchQueue_OnQueue(self))
		return refuse(kIOReturnNotPermitted, "Sleep: the caller is not on the queue");
	if ((atomic_load(&self->ivars->top) & CANCELLED) != 0)
		return refuse(kIOReturnAborted, "Sleep: queue \"%s\" was cancelled",
			      self->ivars->name);
	uint64_t now = clock_now_ns();
	uint64_t longest = (uint64_t)INT64_MAX - now;
	uint64_t deadline = now + (timeoutNs < longest ? timeoutNs : longest);
	int ret = pool_begin_wait();
	if (ret < 0)
		return queue_refusal(self, ret);

	waiter_init(&sleeper.waiter, self);
	list_append(&self->ivars->sleepers, &sleeper.link);
	wait_begin(&wait, self->ivars, false);
	IODispatchQueue *outer = self_thread.current;
	OSObjectRetain(self);
	hand_on(self);
	sleep_until(&sleeper, deadline);
	wait_end(&wait);
	pool_end_wait();

	enter(self);
	leave(outer);
	list_remove(&sleeper.link);
	keep(self);
	OSObjectRelease(self);
	switch (atomic_load(&sleeper.state)) {
	case WOKEN:
		return kIOReturnSuccess;
	case ABORTED:
		return refuse(kIOReturnAborted, "Sleep: queue \"%s\" was cancelled",
			      self->ivars->name);
	default:
		return kIOReturnTimeout;
	}
}

kern_return_t IODispatchQueue_Wakeup(IODispatchQueue *self, void *event)
{
	struct sleeper *sleeper, *next;

	if (!IODispatchQueue_OnQueue(self))
		return refuse(kIOReturnNotPermitted, "Wakeup: the caller is not on the queue");
	list_for_each_safe(sleeper, next, &self->ivars->sleepers, link)
		if (sleeper->event == event)
			end_sleep(sleeper, WOKEN);
	return kIOReturnSuccess;
}

/* --- cancelling --- */

static void run_cancellation(struct queue_item *item)
{
	struct cancellation *cancellation = container_of(item, struct cancellation, item);
	struct IODispatchQueue_IVars *q = cancellation->queue->ivars;
	struct sleeper *sleeper, *next;

	list_for_each_safe(sleeper, next, &q->sleepers, link)
		end_sleep(sleeper, ABORTED);
	q->cancellation = cancellation;
}

kern_return_t IODispatchQueue_Cancel_f(IODispatchQueue *self, void *context,
				       IODispatchFunction handler)
{
	if (self == NULL)
		return nothing_to_call();
	struct cancellation *cancellation = malloc(sizeof(*cancellation));
	if (cancellation == NULL)
		return kIOReturnNoMemory;
	*cancellation = (struct cancellation){
		.item.run = run_cancellation,
		.queue = self,
		.handler = handler,
		.context = context,
	};
	switch (push(self->ivars, &cancellation->item, false, CANCELLED)) {
	case PUSH_REFUSED:
		free(cancellation);
		return queue_refusal(self, -ECANCELED);
	case PUSH_HOLDING:
		keep(self);
		pool_schedule(&self->ivars->turn);
		break;
	case PUSH_LEFT:
		break;
	}
	return kIOReturnSuccess;
}
