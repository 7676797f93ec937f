/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What queue.c and the files beside it know of a queue: the class (dispatch_queue.c), who sleeps on
 * it (sleep.c), who waits for it (wait.c), and what runs on it side by side (sharing.c). */

#include <base/list.h>
#include <runtime/pool.h>
#include <runtime/queue.h>

struct action_set;
struct cancellation;
struct sharing;

struct IODispatchQueue_IVars {
	_Atomic uintptr_t top;   // the newest item | FLAGS
	_Atomic uint32_t holder; // its thread's id; 0: idle, scheduled, or shared
	/* The holder's: */
	struct queue_item *items;          // next to run; taken from `top`
	bool kept;                         // this busy spell holds a reference to the queue
	bool yields;                       // others have their turn after this item
	struct list sleepers;              // sleeper.link
	struct cancellation *cancellation; // waits for the sleepers; NULL: none
	struct turn turn;
	struct sharing *sharing;    // constant, owned; NULL: not reentrant
	uint64_t options;           // constant
	struct action_set *actions; // kept; those of the service whose queue it is; may be NULL
	struct list link;           // queues; wait.c
	char name[];                // constant
};

/* Bits of `top`. */
#define HELD      ((uintptr_t)1)
#define CANCELLED ((uintptr_t)2)
#define FLAGS     (HELD | CANCELLED)

/* A thread that waits for the queue. */
struct waiter {
	struct queue_item item;
	IODispatchQueue *queue; // borrowed
	uint32_t thread;
	_Atomic uint32_t granted; // 1: the queue is the thread's
};

void waiter_init(struct waiter *waiter, IODispatchQueue *queue);

/* Of a fresh queue. */
void queue_turn_init(IODispatchQueue *queue);

/* The calling thread, which holds the queue, runs on it from here. Returns what queue_leave
 * needs. */
IODispatchQueue *queue_enter(IODispatchQueue *queue);
void queue_leave(IODispatchQueue *outer);

/* Holder: the queue keeps itself until it is idle. */
void queue_keep(IODispatchQueue *queue);
/* Holder: pass the queue on to whoever is next. */
void queue_hand_on(IODispatchQueue *queue);

/* Does the calling thread hold the queue? */
bool queue_is_held(const struct IODispatchQueue_IVars *q);
/* Is it in one of the pieces that run side by side? There what a piece calls runs, too. */
bool queue_is_shared(const struct IODispatchQueue_IVars *q);

/* Holder: the cancel handler may run, since no sleeper is left. */
static inline bool queue_cancel_is_due(const struct IODispatchQueue_IVars *q)
{
	return q->cancellation != NULL && list_empty(&q->sleepers);
}
void queue_run_cancel_handler(IODispatchQueue *queue);

/* Holder: whoever sleeps is woken, for the queue is cancelled. */
void queue_wake_for_cancel(struct IODispatchQueue_IVars *q);

/* kIOReturnBadArgument, with the reason. */
kern_return_t queue_nothing_to_call(void);
