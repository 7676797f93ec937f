/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A priority queue, intrusive, for deadlines: what has the lowest key comes first, and among equals
 * what was put in first. Putting in costs a few instructions, taking out O(log n) on average,
 * whatever the order. Not thread-safe.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
	struct heap_node *child, *next; // the first of those below; the next beside it
	struct heap_node *prev; // the one before it, or above; itself: at the top; NULL: in none
	uint64_t key, order;    // heap.c
};

/* Zeroed: empty. */
struct heap {
	struct heap_node *first; // the lowest; NULL: empty
	uint64_t puts;
};

/* The node, zeroed or taken out before, is in no heap. */
void heap_put(struct heap *heap, struct heap_node *node, uint64_t key);

/* Harmless when it is in none. */
void heap_take(struct heap *heap, struct heap_node *node);

static inline bool heap_has(const struct heap_node *node)
{
	return node->prev != NULL;
}
