/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The bare list that a queue is measured against: many push, one pops, nobody allocates. A consumer
 * that finds nothing sleeps on `asleep`.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mpsc_item {
	_Atomic(struct mpsc_item *) next;
	void (*run)(void *context);
	void *context;
};

struct mpsc {
	_Alignas(64) _Atomic(struct mpsc_item *) last; // of the pushers
	_Alignas(64) struct mpsc_item *first;          // of the one that pops
	struct mpsc_item stub;
	_Alignas(64) _Atomic uint32_t asleep; // futex
};

static inline void mpsc_init(struct mpsc *list)
{
	atomic_init(&list->stub.next, NULL);
	atomic_init(&list->last, &list->stub);
	atomic_init(&list->asleep, 0);
	list->first = &list->stub;
}

static inline void mpsc_push(struct mpsc *list, struct mpsc_item *item)
{
	atomic_store_explicit(&item->next, NULL, memory_order_relaxed);
	struct mpsc_item *before =
		atomic_exchange_explicit(&list->last, item, memory_order_acq_rel);
	atomic_store_explicit(&before->next, item, memory_order_release);
}

/* NULL: none, or a pusher is between its two stores. */
static inline struct mpsc_item *mpsc_pop(struct mpsc *list)
{
	struct mpsc_item *first = list->first;
	struct mpsc_item *next = atomic_load_explicit(&first->next, memory_order_acquire);
	if (first == &list->stub) {
		if (next == NULL)
			return NULL;
		list->first = first = next;
		next = atomic_load_explicit(&first->next, memory_order_acquire);
	}
	if (next == NULL) {
		if (atomic_load_explicit(&list->last, memory_order_acquire) != first)
			return NULL;
		mpsc_push(list, &list->stub);
		next = atomic_load_explicit(&first->next, memory_order_acquire);
		if (next == NULL)
			return NULL;
	}
	list->first = next;
	return first;
}

static inline bool mpsc_is_empty(struct mpsc *list)
{
	return list->first == &list->stub && atomic_load(&list->last) == &list->stub;
}
