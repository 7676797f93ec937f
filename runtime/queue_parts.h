/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What queue.c and the files beside it know of a queue: who waits for it (wait.c), and what runs on
 * it side by side (sharing.c). */

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
