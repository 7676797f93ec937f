/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A queue from the inside: what sources, actions and routing need beyond runtime/queue.h. */

#include <runtime/pool.h>
#include <runtime/queue.h>

/* Push and say what is left to do: when *turn is not NULL, the caller now holds the queue and must
 * schedule that turn. False: cancelled. Takes no lock. */
bool queue_push(IODispatchQueue *queue, struct queue_item *item, struct turn **turn);

/* queue_sync that a cancelled queue refuses: -ECANCELED. */
int queue_sync_unless_cancelled(IODispatchQueue *queue, void (*fn)(void *context), void *context);

/* Do calls on objects whose queue this is run on their caller's thread? */
bool queue_is_unsynchronized(IODispatchQueue *queue);

/* Where things go that have no queue of their own. Borrowed, lives as long as the process; NULL:
 * out of memory. */
IODispatchQueue *queue_root(void);

/* The status and the reason of a sync that failed with `error`. */
kern_return_t queue_refusal(IODispatchQueue *queue, int error);
