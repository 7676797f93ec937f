/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What action.c and the files beside it know of an action: how it is aborted and waited for
 * (abort.c), and which service it belongs to (action_set.c). */

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include <base/list.h>
#include <runtime/action.h>
#include <runtime/action_set.h>
#include <runtime/queue.h>

struct cancel_request;
struct action_wait;

/* What the author wants to be told: at most once, and of its end in any case. */
struct aborted_handler {
	void *context;
	IODispatchFunction handler; // NULL: none
	IODispatchFunction ended;   // may be NULL
};

struct OSAction_IVars {
	OSAction *self;
	pthread_mutex_t lock;
	OSObject *target;              // kept; NULL: custom, or cancelled
	const struct OSMethod *row;    // of the target's class; NULL: custom
	uint64_t msgid;                // of the prototype; 0: any (custom)
	IODispatchQueue *made_on;      // kept; may be NULL
	uint32_t under_way;            // invocations, and an abort; guarded by lock
	bool cancelled;                // guarded by lock
	struct cancel_request *cancel; // waits for `under_way`; guarded by lock

	bool aborted;                       // guarded by lock
	bool abort_queued;                  // guarded by lock: `abort` is
	struct queue_item abort;            // tells the handler
	struct aborted_handler on_aborted;  // guarded by lock
	_Atomic(struct action_wait *) wait; // owned; changed under lock; NULL: nobody waits
	_Atomic uint32_t n_holders;         // other processes that hold it

	struct list link;             // action_set.actions; its lock guards it
	struct action_set *set;       // kept; NULL: none
	const struct action_ops *ops; // of a custom action; else NULL
	void *context;
	size_t reference_size;
	max_align_t reference[];
};

/* --- action.c --- */

/* Something of the action's is under way, which a cancel waits for and which keeps the action.
 * False: it is cancelled. */
bool action_begin(OSAction *action);
void action_end(OSAction *action);
/* Post to the target's queue; what comes when that is cancelled, to the root queue. False: neither.
 */
bool action_post(const struct OSAction_IVars *iv, struct queue_item *item);
/* The queue of the target. Returned; the action is not cancelled. */
IODispatchQueue *action_copy_queue(const struct OSAction_IVars *iv);

/* --- abort.c --- */

/* On the target's queue: an invocation has run; no further one will. */
void action_wait_delivered(struct OSAction_IVars *iv);
void action_wait_ended(struct OSAction_IVars *iv);
/* Nothing will be told any more. */
void action_forget_handler(struct OSAction_IVars *iv);

/* --- action_set.c --- */

/* False: the service has stopped. */
bool action_set_add(struct action_set *set, struct OSAction_IVars *iv);
void action_set_remove(struct OSAction_IVars *iv);
