/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What runs side by side on a reentrant queue. */

#include <runtime/queue_parts.h>

enum { SHARING_THREADS_MAX = 64 };

int sharing_new(struct sharing **out);
struct sharing *sharing_free(struct sharing *sharing);

/* Is the calling thread in a concurrent piece of the queue, however deep below? */
bool sharing_is_in(struct sharing *sharing);

/* The threads that are in one: the first of them, at most SHARING_THREADS_MAX. */
unsigned sharing_threads(struct sharing *sharing, uint32_t *threads);

/* A concurrent piece, to be pushed like any item. NULL: out of memory. sharing_drop: it was not
 * taken. */
struct queue_item *sharing_piece(IODispatchQueue *queue, IODispatchFunction function,
				 void *context);
void sharing_drop(struct queue_item *item);

/* It was pushed onto a queue that was held: see that it starts beside those that run. */
void sharing_nudge(struct IODispatchQueue_IVars *q);

/* Holder, who took the item. It runs on another thread from here on; the holder then yields, so
 * that its next turn begins with sharing_stays. */
bool sharing_is_piece(const struct queue_item *item);
void sharing_start(struct queue_item *item);

/* Holder, between two pieces; `is_next` says what comes, NULL: nothing. True: pieces run, and what
 * comes is to be alone; the queue is left to them, and the last one schedules the queue's turn. */
bool sharing_leave(struct IODispatchQueue_IVars *q,
		   struct queue_item *(*next)(struct IODispatchQueue_IVars *q));
