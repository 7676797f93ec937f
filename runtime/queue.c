/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Serial queues.
 *
 * One word says it all (queue_word.h): what was pushed, whether somebody holds the queue, and
 * whether it was cancelled. The holder gives HELD back only in the same compare-and-swap that finds
 * the stack empty. So a post to an idle queue, and either end of an uncontended sync, is one
 * compare-and-swap.
 *
 * A sync that finds the queue held pushes an item too, a waiter. Its turn come, the queue changes
 * hands: the waiter's own thread runs the function, so it keeps its locals, its reason text and the
 * queues it holds already. A thread that holds a queue, however deep below, calls it directly. What
 * would wait in a circle is refused (-EDEADLK, wait.c).
 *
 * Sleep gives the queue up in the midst of a piece of work (sleep.c). Cancel's handler runs when
 * also the last sleeper's piece has ended (dispatch_queue.c).
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
#include <stdatomic.h>

#include <base/reason.h>
#include <runtime/closure.h>
#include <runtime/queue_word.h>
#include <runtime/sharing.h>
#include <runtime/wait.h>

/* Items run in one turn before other queues have theirs. */
#define BATCH 64

static void grant(struct queue_item *item);

/* --- letting go --- */

/* Holder. Let go if there is nothing left to do; afterwards the queue may be gone. */
static bool try_let_go(IODispatchQueue *queue)
{
	struct IODispatchQueue_IVars *q = queue->ivars;
	bool kept = q->kept;

	if (q->items != NULL || queue_cancel_is_due(q))
		return false;
	q->kept = false;
	atomic_store_explicit(&q->holder, 0, memory_order_relaxed);
	uintptr_t old = atomic_load_explicit(&q->top, memory_order_relaxed);
	while (word_item(old) == NULL) {
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

/* The calling thread, which holds the queue, runs on it from here. Returns what queue_leave()
 * needs. */
IODispatchQueue *queue_enter(IODispatchQueue *queue)
{
	IODispatchQueue *outer = self_thread.current;

	atomic_store_explicit(&queue->ivars->holder, self_id(), memory_order_relaxed);
	self_thread.current = queue;
	return outer;
}

void queue_leave(IODispatchQueue *outer)
{
	self_thread.current = outer;
}

void queue_keep(IODispatchQueue *queue)
{
	if (queue->ivars->kept)
		return;
	OSObjectRetain(queue);
	queue->ivars->kept = true;
}

/* Holder: pass the queue on to whoever is next. */
void queue_hand_on(IODispatchQueue *queue)
{
	struct IODispatchQueue_IVars *q = queue->ivars;

	if (try_let_go(queue))
		return;
	queue_keep(queue);
	struct queue_item *next = word_peek(q);
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
	IODispatchQueue *outer = queue_enter(queue);

	for (int n = 0; n < BATCH && !q->yields; n++) {
		struct queue_item *item = queue_cancel_is_due(q) ? NULL : word_pop(q);
		if (item != NULL && item->run == run_closure) {
			run_closure(item);
		} else if (item != NULL && item->run == grant) {
			queue_leave(outer);
			grant(item);
			return;
		} else if (item != NULL) {
			item->run(item);
		} else {
			if (queue_cancel_is_due(q))
				queue_run_cancel_handler(queue);
			queue_leave(outer);
			if (try_let_go(queue))
				return;
			queue_enter(queue);
		}
	}
	queue_leave(outer);
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
		item = word_peek(q);
		if (item != NULL && sharing_is_piece(item)) {
			q->items = item->next;
			item->run(item);
		} else if (sharing_leave(q, word_peek)) {
			return;
		} else if ((item = word_peek(q)) == NULL || !sharing_is_piece(item)) {
			q->yields = false;
			drain(turn);
			return;
		}
	}
	pool_schedule(turn);
}

void queue_turn_init(IODispatchQueue *queue)
{
	struct IODispatchQueue_IVars *q = queue->ivars;

	q->turn.run = q->sharing != NULL ? drain_shared : drain;
	q->turn.queue = queue;
}

/* --- posting --- */

bool queue_push(IODispatchQueue *queue, struct queue_item *item, struct turn **turn)
{
	*turn = NULL;
	switch (word_push(queue->ivars, item, false, 0)) {
	case PUSH_REFUSED:
		return false;
	case PUSH_HOLDING:
		queue_keep(queue);
		*turn = &queue->ivars->turn;
		return true;
	case PUSH_LEFT:
		break;
	}
	return true;
}

bool queue_post(IODispatchQueue *queue, struct queue_item *item)
{
	switch (word_push(queue->ivars, item, false, 0)) {
	case PUSH_REFUSED:
		return false;
	case PUSH_HOLDING:
		queue_keep(queue);
		pool_schedule(&queue->ivars->turn);
		return true;
	case PUSH_LEFT:
		break;
	}
	return true;
}

kern_return_t IODispatchQueue_DispatchAsync_f(IODispatchQueue *self, void *context,
					      IODispatchFunction function)
{
	if (self == NULL || function == NULL)
		return queue_nothing_to_call();
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
	return word_peek(queue->ivars) != NULL;
}

/* --- waiting for a queue --- */

void waiter_init(struct waiter *waiter, IODispatchQueue *queue)
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
		switch (word_push(queue->ivars, &waiter.item, even_cancelled, 0)) {
		case PUSH_REFUSED:
			ret = -ECANCELED;
			break;
		case PUSH_HOLDING: // it has just become idle, and the waiter is the first
			word_pop(queue->ivars);
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

bool queue_is_held(const struct IODispatchQueue_IVars *q)
{
	return atomic_load_explicit(&q->holder, memory_order_relaxed) == self_id();
}

/* In one of the pieces that run side by side: there what a piece calls runs, too. */
bool queue_is_shared(const struct IODispatchQueue_IVars *q)
{
	return q->sharing != NULL && sharing_is_in(q->sharing);
}

/* The caller is on the queue, perhaps below others. */
static void call_nested(IODispatchQueue *queue, void (*fn)(void *context), void *context)
{
	IODispatchQueue *outer = self_thread.current;

	self_thread.current = queue;
	fn(context);
	queue_leave(outer);
}

/* The queue was not idle: the caller holds it already, or waits for it. */
static __attribute__((noinline)) int sync_busy(IODispatchQueue *queue, bool even_cancelled,
					       void (*fn)(void *context), void *context)
{
	bool nested = queue_is_held(queue->ivars) || queue_is_shared(queue->ivars);

	if (!nested && !word_try_hold(queue->ivars, even_cancelled)) {
		int ret = hold_contended(queue, even_cancelled);
		if (ret < 0)
			return ret;
	}
	if (nested) {
		call_nested(queue, fn, context);
		return 0;
	}
	IODispatchQueue *outer = queue_enter(queue);
	fn(context);
	queue_leave(outer);
	queue_hand_on(queue);
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
	IODispatchQueue *outer = queue_enter(queue);
	fn(context);
	queue_leave(outer);
	if (__builtin_expect(!let_go_idle(queue->ivars), false))
		queue_hand_on(queue);
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

kern_return_t IODispatchQueue_DispatchSync_f(IODispatchQueue *self, void *context,
					     IODispatchFunction function)
{
	if (self == NULL || function == NULL)
		return queue_nothing_to_call();
	int ret = queue_sync_unless_cancelled(self, function, context);
	return ret < 0 ? queue_refusal(self, ret) : kIOReturnSuccess;
}

kern_return_t queue_nothing_to_call(void)
{
	return refuse(kIOReturnBadArgument, "a queue and a function are needed");
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
