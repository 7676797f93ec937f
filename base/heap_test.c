/* SPDX-License-Identifier: Apache-2.0 */

#include <base/clock.h>
#include <base/heap.h>
#include <base/unit_test.h>

enum { NODES = 3000 };

struct entry {
	struct heap_node node;
	unsigned number;
};

static struct entry entries[NODES];

START_TEST(the_lowest_comes_first)
{
	struct heap heap = { 0 };
	uint64_t last = 0;

	chance_seed(7);
	for (unsigned i = 0; i < NODES; i++)
		heap_put(&heap, &entries[i].node, chance_u64() % 1000000);
	for (unsigned n = NODES; n > 0; n--) {
		ck_assert_ptr_nonnull(heap.first);
		ck_assert_uint_ge(heap.first->key, last);
		last = heap.first->key;
		heap_take(&heap, heap.first);
	}
	ck_assert_ptr_null(heap.first);
}
END_TEST

/* Whoever asked first for the same time is served first. */
START_TEST(equals_come_in_their_order)
{
	struct heap heap = { 0 };

	for (unsigned i = 0; i < NODES; i++) {
		entries[i].number = i;
		heap_put(&heap, &entries[i].node, i % 3);
	}
	for (unsigned i = 0; i < NODES; i++) {
		const struct entry *entry = (struct entry *)(void *)heap.first;
		ck_assert_uint_eq(entry->number, i % (NODES / 3) * 3 + i / (NODES / 3));
		heap_take(&heap, heap.first);
	}
}
END_TEST

/* What is taken out of the midst is gone, and the others stay in order. */
START_TEST(any_can_be_taken)
{
	struct heap heap = { 0 };
	unsigned left = 0;

	chance_seed(11);
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < NODES; i++)
			if (!heap_has(&entries[i].node))
				heap_put(&heap, &entries[i].node, chance_u64() % 5000);
		for (unsigned i = 0; i < NODES; i++)
			if (chance_u64() % 3 == 0)
				heap_take(&heap, &entries[i].node);
		heap_take(&heap, heap.first);
		heap_take(&heap, heap.first);
	}
	for (unsigned i = 0; i < NODES; i++)
		left += heap_has(&entries[i].node);
	for (uint64_t last = 0; heap.first != NULL; left--) {
		ck_assert_uint_ge(heap.first->key, last);
		last = heap.first->key;
		heap_take(&heap, heap.first);
	}
	ck_assert_uint_eq(left, 0);
	heap_take(&heap, &entries[0].node);
	ck_assert(!heap_has(&entries[0].node));
}
END_TEST

UNIT_TESTS("heap", the_lowest_comes_first, equals_come_in_their_order, any_can_be_taken)
