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
 * would wait in a circle is refused (-EDEADLK, wait.c).
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
 *
 * On a reentrant queue some items are pieces that run side by side (sharing.c). Each turn first
 * starts those that are next, and goes on to drain() when none runs.
 */

#include <runtime/strand.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <base/clock.h>
#include <base/reason.h>
#include <runtime/action_set.h>
#include <runtime/closure.h>
#include <runtime/deadline.h>
#include <runtime/sharing.h>
#include <runtime/wait.h>

/* Items run in one turn before other queues have theirs. */
#define BATCH 64

struct cancellation {
	struct queue_item item;
	IODispatchQueue *queue;
	IODispatchFunction handler; // may be NULL
	void *context;
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

/* A turn of a reentrant queue: start the pieces that are next; go on when none of them runs. */
static void drain_shared(struct turn *turn)
{
	struct IODispatchQueue_IVars *q = turn->queue->ivars;
	struct queue_item *item;

	for (int n = 0; n < BATCH; n++) {
		item = peek(q);
		if (item != NULL && sharing_is_piece(item)) {
			q->items = item->next;
			item->run(item);
		} else if (sharing_leave(q, peek)) {
			return;
		} else if ((item = peek(q)) == NULL || !sharing_is_piece(item)) {
			q->yields = false;
			drain(turn);
			return;
		}
	}
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
			wait_sleep(&wait, &waiter.granted, 0);
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

/* In one of the pieces that run side by side: there what a piece calls runs, too. */
static bool shares(const struct IODispatchQueue_IVars *q)
{
	return q->sharing != NULL && sharing_is_in(q->sharing);
}

/* The caller is on the queue, perhaps below others. */
static void call_nested(IODispatchQueue *queue, void (*fn)(void *context), void *context)
{
	IODispatchQueue *outer = self_thread.current;

	self_thread.current = queue;
	fn(context);
	leave(outer);
}

/* The queue was not idle: the caller holds it already, or waits for it. */
static __attribute__((noinline)) int sync_busy(IODispatchQueue *queue, bool even_cancelled,
					       void (*fn)(void *context), void *context)
{
	bool nested = holds(queue->ivars) || shares(queue->ivars);

	if (!nested && !try_hold(queue->ivars, even_cancelled)) {
		int ret = hold_contended(queue, even_cancelled);
		if (ret < 0)
			return ret;
	}
	if (nested) {
		call_nested(queue, fn, context);
		return 0;
	}
	IODispatchQueue *outer = enter(queue);
	fn(context);
	leave(outer);
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
			"call asynchronously in one of the two directions (the log has both "
			"stacks)",
			name);
	default:
		return refuse(kIOReturnNoResources,
			      "no further thread can be had to wait for queue \"%s\": too many "
			      "callers wait already",
			      name);
	}
}

/* --- the public face --- */

static kern_return_t queue_new(const char *name, uint64_t options, IODispatchQueue **out)
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
	bool reentrant = (options & kIODispatchQueueReentrant) != 0;
	if (reentrant && sharing_new(&q->sharing) < 0) {
		free(q);
		OSObjectRelease(queue);
		return kIOReturnNoMemory;
	}
	list_init(&q->sleepers);
	q->turn.run = reentrant ? drain_shared : drain;
	q->turn.queue = queue;
	q->options = options;
	memcpy(q->name, name, size);
	queue->ivars = q;
	queues_add(q);
	*out = queue;
	return kIOReturnSuccess;
}

#define ROOT_NAME "Root"
#define OPTIONS   (kIODispatchQueueReentrant | kIODispatchQueueMethodsNotSynchronized)

static pthread_once_t root_once = PTHREAD_ONCE_INIT;
static IODispatchQueue *root;

static void make_root(void)
{
	if (queue_new(ROOT_NAME, 0, &root) != kIOReturnSuccess)
		root = NULL;
}

IODispatchQueue *queue_root(void)
{
	pthread_once(&root_once, make_root);
	return root;
}

static kern_return_t copy_root(uint64_t options, IODispatchQueue **queue)
{
	if (options != 0)
		return refuse(kIOReturnBadArgument, "queue \"" ROOT_NAME "\": options must be 0");
	if (queue_root() == NULL)
		return refuse(kIOReturnNoMemory, "out of memory for a queue");
	OSObjectRetain(queue_root());
	*queue = queue_root();
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
	if ((options & ~(uint64_t)OPTIONS) != 0)
		return refuse(kIOReturnBadArgument, "queue \"%s\": options %#llx are not known",
			      name, (unsigned long long)(options & ~(uint64_t)OPTIONS));
	if (priority != 0)
		return refuse(kIOReturnBadArgument, "queue \"%s\": there are no priorities: pass 0",
			      name);
	if (strcmp(name, ROOT_NAME) == 0)
		return copy_root(options, queue);
	return queue_new(name, options, queue);
}

void IMPL(IODispatchQueue, free)
{
	if (self->ivars != NULL) {
		queues_remove(self->ivars);
		sharing_free(self->ivars->sharing);
		action_set_unref(self->ivars->actions);
		free(self->ivars);
		self->ivars = NULL;
	}
	IODispatchQueue_super_free(self);
}

bool IODispatchQueue_OnQueue(IODispatchQueue *self)
{
	return self != NULL && (holds(self->ivars) || shares(self->ivars));
}

void queue_set_actions(IODispatchQueue *queue, struct action_set *set)
{
	queue->ivars->actions = action_set_ref(set);
}

struct action_set *queue_actions(IODispatchQueue *queue)
{
	return queue->ivars->actions;
}

bool queue_is_unsynchronized(IODispatchQueue *queue)
{
	return (queue->ivars->options & kIODispatchQueueMethodsNotSynchronized) != 0;
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

kern_return_t IODispatchQueue_DispatchConcurrent_f(IODispatchQueue *self, void *context,
						   IODispatchFunction function)
{
	if (self == NULL || function == NULL)
		return nothing_to_call();
	struct IODispatchQueue_IVars *q = self->ivars;
	if (q->sharing == NULL)
		return refuse(kIOReturnUnsupported,
			      "DispatchConcurrent: queue \"%s\" is serial: create it with "
			      "kIODispatchQueueReentrant",
			      q->name);
	struct queue_item *item = sharing_piece(self, function, context);
	if (item == NULL)
		return kIOReturnNoMemory;
	OSObjectRetain(self); // once it is pushed, the queue may come to its end
	kern_return_t ret = kIOReturnSuccess;
	switch (push(q, item, false, 0)) {
	case PUSH_REFUSED:
		sharing_drop(item);
		ret = queue_refusal(self, -ECANCELED);
		break;
	case PUSH_HOLDING:
		keep(self);
		pool_schedule(&q->turn);
		break;
	case PUSH_LEFT:
		sharing_nudge(q);
		break;
	}
	OSObjectRelease(self);
	return ret;
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

static void sleep_until(struct sleeper *sleeper, struct wait *wait, uint64_t deadline_ns)
{
	_Atomic uint32_t *granted = &sleeper->waiter.granted;

	if (wait_sleep(wait, granted, deadline_ns) == 0)
		return;
	if (end_sleep(sleeper, EXPIRED) == PUSH_HOLDING)
		pop(sleeper->waiter.queue->ivars); // it was idle, and the waiter is the first
	else
		wait_sleep(wait, granted, 0);
}

/* Is the caller alone on the queue, as what touches the sleepers must be? */
static kern_return_t check_alone(IODispatchQueue *self, const char *what)
{
	if (self != NULL && holds(self->ivars))
		return kIOReturnSuccess;
	if (self != NULL && shares(self->ivars))
		return refuse(kIOReturnNotPermitted,
			      "%s: a concurrent piece has queue \"%s\" not for itself: use "
			      "DispatchAsync for what sleeps or wakes",
			      what, self->ivars->name);
	return refuse(kIOReturnNotPermitted, "%s: the caller is not on the queue", what);
}

static kern_return_t refuse_sleep(IODispatchQueue *self)
{
	return refuse(kIOReturnAborted, "Sleep: queue \"%s\" was cancelled", self->ivars->name);
}

static kern_return_t sleep_on(IODispatchQueue *self, void *event, uint64_t deadline_ns)
{
	struct sleeper sleeper = { .event = event };
	struct wait wait;

	if ((atomic_load(&self->ivars->top) & CANCELLED) != 0)
		return refuse_sleep(self);
	int ret = pool_begin_wait();
	if (ret < 0)
		return queue_refusal(self, ret);

	waiter_init(&sleeper.waiter, self);
	list_append(&self->ivars->sleepers, &sleeper.link);
	wait_begin(&wait, self->ivars, false);
	IODispatchQueue *outer = self_thread.current;
	OSObjectRetain(self);
	hand_on(self);
	sleep_until(&sleeper, &wait, deadline_ns);
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
		return refuse_sleep(self);
	default:
		return kIOReturnTimeout;
	}
}

kern_return_t IODispatchQueue_SleepWithTimeout(IODispatchQueue *self, void *event,
					       uint64_t timeoutNs)
{
	kern_return_t ret = check_alone(self, "Sleep");

	return ret == kIOReturnSuccess ? sleep_on(self, event, deadline_in(timeoutNs)) : ret;
}

kern_return_t IODispatchQueue_Sleep(IODispatchQueue *self, void *event, uint64_t timeoutNs)
{
	return IODispatchQueue_SleepWithTimeout(self, event, timeoutNs);
}

kern_return_t IODispatchQueue_SleepWithDeadline(IODispatchQueue *self, void *event,
						uint64_t options, uint64_t deadline)
{
	uint64_t deadline_ns;
	kern_return_t ret = check_alone(self, "SleepWithDeadline");

	if (ret != kIOReturnSuccess)
		return ret;
	/* An event is an address and nothing is kept for it: to use it again costs nothing. */
	ret = deadline_from("SleepWithDeadline",
			    options & ~(uint64_t)kIODispatchQueueSleepReuseEvent, deadline,
			    &deadline_ns);
	return ret == kIOReturnSuccess ? sleep_on(self, event, deadline_ns) : ret;
}

kern_return_t IODispatchQueue_WakeupWithOptions(IODispatchQueue *self, void *event,
						uint64_t options)
{
	struct sleeper *sleeper, *next;
	kern_return_t ret = check_alone(self, "Wakeup");

	if (ret != kIOReturnSuccess)
		return ret;
	if ((options & ~(uint64_t)kIODispatchQueueWakeupAll) != 0)
		return refuse(kIOReturnBadArgument, "Wakeup: options %#llx are not known",
			      (unsigned long long)options);
	bool all = (options & kIODispatchQueueWakeupAll) != 0;
	list_for_each_safe(sleeper, next, &self->ivars->sleepers, link)
		if (sleeper->event == event && end_sleep(sleeper, WOKEN) != PUSH_REFUSED && !all)
			break;
	return kIOReturnSuccess;
}

kern_return_t IODispatchQueue_Wakeup(IODispatchQueue *self, void *event)
{
	return IODispatchQueue_WakeupWithOptions(self, event, 0);
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
	if (self == root)
		return refuse(kIOReturnNotPermitted,
			      "Cancel: queue \"" ROOT_NAME "\" serves the whole driver");
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
