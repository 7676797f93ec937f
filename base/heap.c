/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A pairing heap: a tree in which nobody is above a lower one. To put one in is to join it with the
 * top; to take one out is to join those below it, first in pairs and then from the last pair to the
 * first, which is what keeps the tree shallow.
 */

#include <base/heap.h>

static bool is_before(const struct heap_node *a, const struct heap_node *b)
{
	return a->key != b->key ? a->key < b->key : a->order < b->order;
}

/* Both are tops of trees of their own. */
static struct heap_node *join(struct heap_node *a, struct heap_node *b)
{
	struct heap_node *top = is_before(a, b) ? a : b;
	struct heap_node *below = top == a ? b : a;

	below->next = top->child;
	if (below->next != NULL)
		below->next->prev = below;
	below->prev = top;
	top->child = below;
	return top;
}

/* All from `node` on, side by side, become one tree. NULL: none. */
static struct heap_node *join_all(struct heap_node *node)
{
	struct heap_node *pairs = NULL, *top = NULL;

	while (node != NULL) {
		struct heap_node *a = node, *b = node->next;
		node = b != NULL ? b->next : NULL;
		a->next = NULL;
		if (b != NULL) {
			b->next = NULL;
			a = join(a, b);
		}
		a->next = pairs;
		pairs = a;
	}
	while (pairs != NULL) {
		struct heap_node *pair = pairs;
		pairs = pair->next;
		pair->next = NULL;
		top = top != NULL ? join(top, pair) : pair;
	}
	return top;
}

static void set_first(struct heap *heap, struct heap_node *top)
{
	heap->first = top;
	if (top != NULL)
		top->prev = top;
}

void heap_put(struct heap *heap, struct heap_node *node, uint64_t key)
{
	*node = (struct heap_node){ .key = key, .order = heap->puts++ };
	set_first(heap, heap->first != NULL ? join(heap->first, node) : node);
}

void heap_take(struct heap *heap, struct heap_node *node)
{
	if (!heap_has(node))
		return;
	struct heap_node *below = join_all(node->child);
	if (heap->first == node) {
		set_first(heap, below);
	} else {
		if (node->prev->child == node)
			node->prev->child = node->next;
		else
			node->prev->next = node->next;
		if (node->next != NULL)
			node->next->prev = node->prev;
		if (below != NULL)
			set_first(heap, join(heap->first, below));
	}
	*node = (struct heap_node){ 0 };
}
