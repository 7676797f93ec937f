/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The word that says what a queue is about: the newest item pushed, as the top of a stack, and two
 * flags in the low bits of the pointer. Whoever turns HELD on holds the queue and alone touches its
 * other fields; whoever pushes onto a held queue just leaves the item. The holder takes the whole
 * stack, turns it round, and runs it from its own list (`items`).
 *
 * For queue.c and the files beside it; inline, for a post or a sync is little more.
 */

#include <stdatomic.h>
#include <stdbool.h>

#include <runtime/queue_parts.h>

static inline struct queue_item *word_item(uintptr_t top)
{
	return (struct queue_item *)(top & ~FLAGS);
}

enum push_result { PUSH_REFUSED, PUSH_LEFT, PUSH_HOLDING };

/* `even_cancelled` for those who have begun before. `flag`: CANCELLED to set it at once. */
static inline enum push_result word_push(struct IODispatchQueue_IVars *q, struct queue_item *item,
					 bool even_cancelled, uintptr_t flag)
{
	uintptr_t old = atomic_load_explicit(&q->top, memory_order_relaxed);

	do {
		if ((old & CANCELLED) != 0 && !even_cancelled)
			return PUSH_REFUSED;
		item->next = word_item(old);
	} while (!atomic_compare_exchange_weak_explicit(
		&q->top, &old, (uintptr_t)item | (old & CANCELLED) | HELD | flag,
		memory_order_acq_rel, memory_order_relaxed));
	return (old & HELD) != 0 ? PUSH_LEFT : PUSH_HOLDING;
}

/* Holder, with nothing left to run: take what was pushed, oldest first; NULL: nothing. */
static inline struct queue_item *word_take(struct IODispatchQueue_IVars *q)
{
	if (word_item(atomic_load_explicit(&q->top, memory_order_relaxed)) == NULL)
		return NULL;
	struct queue_item *item =
		word_item(atomic_fetch_and_explicit(&q->top, FLAGS, memory_order_acq_rel));
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
static inline struct queue_item *word_peek(struct IODispatchQueue_IVars *q)
{
	return q->items != NULL ? q->items : word_take(q);
}

static inline struct queue_item *word_pop(struct IODispatchQueue_IVars *q)
{
	struct queue_item *item = word_peek(q);

	if (item != NULL)
		q->items = item->next;
	return item;
}

/* Take an idle queue. */
static inline bool word_try_hold(struct IODispatchQueue_IVars *q, bool even_cancelled)
{
	uintptr_t old = atomic_load_explicit(&q->top, memory_order_relaxed);

	if (old != 0 && (old != CANCELLED || !even_cancelled))
		return false;
	return atomic_compare_exchange_strong_explicit(&q->top, &old, old | HELD,
						       memory_order_acquire, memory_order_relaxed);
}
