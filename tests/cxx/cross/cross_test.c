/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Four classes, each derived from the one before: CrossBase in C, CrossMiddle in C++, CrossLeaf in
 * C, CrossTop in C++; beside them a C++ class derived from a C++ one, and an empty C++ class whose
 * behaviour is all C's. Whoever calls, in whichever language, through a pointer of whichever class:
 * the most derived implementation runs first, and each super call reaches the next above.
 */

#include <runtime/unit_pool.h>

#include <DriverKit/IOLib.h>

#include "CrossTop.h"
#include "cross.h"

static const struct row {
	const OSMetaClass *meta;
	unsigned depth; // classes from CrossBase on
	uint64_t digits, constant, level;
	bool is[CROSS_CLASSES];
} rows[CROSS_CLASSES] = {
	[CROSS_BASE] = { &gCrossBaseMetaClass, 1, 1, 1, UINT64_MAX, { true } },
	[CROSS_MIDDLE] = { &gCrossMiddleMetaClass, 2, 12, 12, 1, { true, true } },
	[CROSS_LEAF] = { &gCrossLeafMetaClass, 3, 123, 123, 2, { true, true, true } },
	[CROSS_TOP] = { &gCrossTopMetaClass, 4, 1234, 1234, 3, { true, true, true, true } },
	[CROSS_SIBLING] = { &gCrossSiblingMetaClass,
			    3,
			    125,
			    12,
			    1,
			    { true, true, [CROSS_SIBLING] = true } },
	[CROSS_EMPTY] = { &gCrossEmptyMetaClass,
			  4,
			  123,
			  123,
			  2,
			  { true, true, true, [CROSS_EMPTY] = true } },
};

static CrossBase *make_in_c(enum cross_class cls)
{
	CrossBase *made = (CrossBase *)OSObjectAllocate(rows[cls].meta);

	ck_assert_ptr_nonnull(made);
	ck_assert(CrossBase_init(made));
	return made;
}

/* The object of class _i / 2 that was made in C, or in C++. */
static CrossBase *made(int i)
{
	CrossBase *object = i % 2 == 0 ? make_in_c((enum cross_class)(i / 2))
				       : cxx_make((enum cross_class)(i / 2));

	ck_assert_ptr_nonnull(object);
	return object;
}

/* --- one object, two languages --- */

static void expect_layout(enum cross_class cls, CrossBase *object)
{
	ck_assert_uint_eq(rows[cls].meta->instance_size, cxx_size(cls));
	ck_assert_uint_eq(cxx_size(cls), sizeof(OSObject) + rows[cls].depth * sizeof(void *));
	/* C++ has its word as soon as one class of the chain is C++'s. */
	ck_assert((cxx_vtable(object) != NULL) == (cls != CROSS_BASE));
	ck_assert_ptr_eq(cxx_vtable(object), ((OSObject *)object)->cxx);
	ck_assert_ptr_eq(OSObjectGetMetaClass(object), rows[cls].meta);
	ck_assert_uint_eq(OSObjectGetRetainCount(object), 1);
}

static void expect_ivars(enum cross_class cls, CrossBase *object)
{
	CrossTop *top = OSDynamicCast(CrossTop, object);
	CrossLeaf *leaf = OSDynamicCast(CrossLeaf, object);
	CrossMiddle *middle = OSDynamicCast(CrossMiddle, object);

	ck_assert((top != NULL) == rows[cls].is[CROSS_TOP]);
	ck_assert((leaf != NULL) == rows[cls].is[CROSS_LEAF]);
	ck_assert((middle != NULL) == rows[cls].is[CROSS_MIDDLE]);
	ck_assert_ptr_eq(object->ivars, cxx_ivars(object, CROSS_BASE));
	if (middle != NULL)
		ck_assert_ptr_eq(middle->ivars, cxx_ivars(object, CROSS_MIDDLE));
	if (leaf != NULL)
		ck_assert_ptr_eq(leaf->ivars, cxx_ivars(object, CROSS_LEAF));
	if (top != NULL)
		ck_assert_ptr_eq(top->ivars, cxx_ivars(object, CROSS_TOP));
}

START_TEST(one_pointer_is_one_object)
{
	CrossBase *object = made(_i);

	expect_layout((enum cross_class)(_i / 2), object);
	expect_ivars((enum cross_class)(_i / 2), object);
	CrossBase_release(object);
}
END_TEST

START_TEST(lives_are_counted_by_every_class)
{
	const struct row *row = &rows[_i / 2];
	CrossBase *object = made(_i);

	for (unsigned cls = 0; cls <= CROSS_TOP; cls++)
		ck_assert_uint_eq(cross_counts.inits[cls], row->is[cls]);
	ck_assert_uint_eq(cross_counts.members_made, row->is[CROSS_MIDDLE]);
	CrossBase_retain(object);
	CrossBase_release(object);
	ck_assert_uint_eq(cross_counts.members_gone, 0);
	CrossBase_release(object);
	for (unsigned cls = 0; cls <= CROSS_TOP; cls++)
		ck_assert_uint_eq(cross_counts.frees[cls], row->is[cls]);
	ck_assert_uint_eq(cross_counts.members_gone, row->is[CROSS_MIDDLE]);
}
END_TEST

/* --- calls --- */

START_TEST(calls_from_c_reach_both_languages)
{
	const struct row *row = &rows[_i / 2];
	CrossBase *object = made(_i);
	uint64_t after = 0, level = 0;

	ck_assert_uint_eq(CrossBase_digits(object), row->digits);
	ck_assert_uint_eq(CrossBase_constDigits(object), row->constant);
	ck_assert_int_eq(CrossBase_AddDigits(object, 0, &after), kIOReturnSuccess);
	ck_assert_uint_eq(after, row->digits);
	ck_assert_uint_eq(CrossBase_times(object, 5, 2), 10);
	if (row->is[CROSS_MIDDLE]) {
		CrossMiddle *middle = OSDynamicCast(CrossMiddle, object);
		ck_assert_uint_eq(CrossMiddle_level(middle), row->level);
		ck_assert_int_eq(CrossMiddle_Level(middle, &level), kIOReturnSuccess);
		ck_assert_uint_eq(level, row->level);
		ck_assert_uint_eq(CrossMiddle_thrice(middle, 5, 0), 15);
	}
	CrossBase_release(object);
}
END_TEST

START_TEST(calls_from_cxx_reach_both_languages)
{
	const struct row *row = &rows[_i / 2];
	CrossBase *object = made(_i);
	uint64_t nine = 9;

	for (uint64_t digits = row->digits; digits > 0; digits /= 10)
		nine *= 10;
	for (unsigned as = 0; as < CROSS_CLASSES; as++) {
		enum cross_class cls = (enum cross_class)as;
		bool is = row->is[cls];
		ck_assert_uint_eq(cxx_digits(object, cls), is ? row->digits : UINT64_MAX);
		ck_assert_uint_eq(cxx_const_digits(object, cls), is ? row->constant : UINT64_MAX);
		ck_assert_uint_eq(cxx_add_digits(object, cls),
				  is ? nine + row->digits : UINT64_MAX);
		is &= cls != CROSS_BASE;
		ck_assert_uint_eq(cxx_level(object, cls), is ? row->level : UINT64_MAX);
		ck_assert_uint_eq(cxx_level_by_message(object, cls), is ? row->level : UINT64_MAX);
	}
	if (row->is[CROSS_MIDDLE])
		ck_assert_uint_eq(cxx_plain_functions(object), 610);
	CrossBase_release(object);
}
END_TEST

START_TEST(static_members_are_functions_of_c)
{
	CrossMiddle *object = CrossMiddle_make();

	ck_assert_uint_eq(CrossMiddle_digits(object), 12);
	CrossMiddle_release(object);
}
END_TEST

/* --- actions --- */

static kern_return_t work_in_c(CrossBase *target, CrossBase *worker, uint64_t value,
			       uint64_t reference)
{
	OSAction *action = NULL;
	kern_return_t ret = CrossMiddle_CreateActiononWorked(OSDynamicCast(CrossMiddle, target),
							     sizeof(reference), &action);

	ck_assert_int_eq(ret, kIOReturnSuccess);
	*(uint64_t *)OSAction_GetReference(action) = reference;
	ret = CrossBase_Work(worker, value, action);
	ck_assert_int_eq(OSAction_Cancel_f(action, NULL, NULL), kIOReturnSuccess);
	OSObjectRelease(action);
	return ret;
}

/* The target is of one language, who made the action and who completes it of any. */
START_TEST(actions_have_targets_of_either_language)
{
	const struct row *row = &rows[_i / 2];
	CrossBase *target = made(_i), *worker = make_in_c(CROSS_BASE);
	IODispatchQueue *queue = new_queue("cross");
	kern_return_t ret;

	if (row->is[CROSS_MIDDLE]) {
		ck_assert_int_eq(CrossBase_SetDispatchQueue(target, "Default", queue), 0);
		ret = _i % 2 == 0 ? cxx_work(target, worker, 7, 8)
				  : work_in_c(target, worker, 7, 8);
		ck_assert_int_eq(ret, kIOReturnSuccess);
		ck_assert_int_eq(IODispatchQueue_DispatchAsync_f(queue, NULL, stop_pool), 0);
		ck_assert_int_eq(worker_run(), 0);
		ck_assert_uint_eq(cross_counts.value, 7);
		ck_assert_uint_eq(cross_counts.reference, 8);
		ck_assert_ptr_eq(cross_counts.with, worker);
		for (unsigned cls = CROSS_MIDDLE; cls <= CROSS_TOP; cls++)
			ck_assert_uint_eq(cross_counts.worked[cls], row->is[cls]);
	}
	CrossBase_release(target);
	CrossBase_release(worker);
	OSObjectRelease(queue);
	ck_assert_uint_eq(cross_counts.frees[CROSS_BASE], 2); // nothing keeps them
}
END_TEST

/* --- blocks --- */

static uint64_t blocks_seen;

static void on_last_block(void *seen)
{
	blocks_seen = *(uint64_t *)seen;
	worker_stop();
}

START_TEST(blocks_run_once)
{
	IODispatchQueue *queue = new_queue("blocks");
	uint64_t seen = cxx_blocks(queue, on_last_block);

	ck_assert(seen != 0 || getenv("CROSS_BLOCKS") == NULL);
	if (seen != 0) { // compiled with blocks
		ck_assert_uint_eq(seen, 123);
		ck_assert_int_eq(worker_run(), 0);
		ck_assert_uint_eq(blocks_seen, 12345);
	}
	OSObjectRelease(queue);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		one_pointer_is_one_object,
		lives_are_counted_by_every_class,
		calls_from_c_reach_both_languages,
		calls_from_cxx_reach_both_languages,
		static_members_are_functions_of_c,
		blocks_run_once,
		actions_have_targets_of_either_language,
	};

	return pool_tests_run_each("cross", tests, sizeof(tests) / sizeof(tests[0]),
				   2 * CROSS_CLASSES);
}
