/* SPDX-License-Identifier: Apache-2.0 */

/* What sets alone promise: no two equal members, found by value; an order, in the ordered one. */

#include <base/unit_test.h>
#include <objects/collection.h>

#include <stdio.h>
#include <string.h>

#include <DriverKit/OSCollectionConstants.h>
#include <base/clock.h>
#include <base/reason.h>

#define OBJECT(x) ((OSObject *)(x))

static OSObject *number(uint64_t value)
{
	return OBJECT(OSNumber_withNumber(value, 64));
}

static uint64_t value_of(OSObject *object)
{
	return OSNumber_unsigned64BitValue(OSRequiredCast(OSNumber, object));
}

static bool contains(OSSet *set, OSObject *object)
{
	bool found = OSSet_containsObject(set, object);

	OSObjectRelease(object);
	return found;
}

static OSObject *pair(OSObject *one, OSObject *two)
{
	OSObject *const objects[] = { one, two };
	OSObject *array = OBJECT(OSArray_withObjects(objects, 2, 0));

	OSObjectRelease(one);
	OSObjectRelease(two);
	return array;
}

START_TEST(set_holds_each_value_once)
{
	OSObject *const objects[] = { number(1), OBJECT(OSString_withCString("1")),
				      OBJECT(OSData_withBytes("1", 1)),
				      OBJECT(OSNumber_withNumber(1, 8)), OBJECT(kOSBooleanTrue) };
	OSSet *set = OSSet_withObjects(objects, 5, 2);

	ck_assert_uint_eq(OSSet_getCount(set), 4); // the number 1 came twice
	ck_assert_ptr_eq(OSSet_getMember(set, objects[3]), objects[0]);
	ck_assert_uint_eq(OSObjectGetRetainCount(objects[3]), 1);
	ck_assert(contains(set, OBJECT(OSString_withCString("1"))));
	ck_assert(contains(set, OBJECT(kOSBooleanTrue)));
	ck_assert(!contains(set, OBJECT(kOSBooleanFalse)));
	ck_assert(!OSSet_setObject(set, objects[3]));
	OSSet_removeObject(set, objects[3]); // by value
	ck_assert(!contains(set, number(1)));
	ck_assert_uint_eq(OSSet_getCount(set), 3);
	ck_assert_ptr_nonnull(OSSet_getAnyObject(set));
	ck_assert(!OSSet_setObject(set, NULL));
	ck_assert_ptr_null(OSSet_withObjects(&(OSObject *const){ NULL }, 1, 0));
	ck_assert_ptr_null(OSSet_withObjects(NULL, 1, 0));
	for (int i = 0; i < 5; i++)
		OSObjectRelease(objects[i]);
	OSObjectRelease(set);
}
END_TEST

/* Whatever is equal has the same hash: each class, in whatever order a set or dictionary was
 * filled. */
START_TEST(equal_values_are_found)
{
	OSSet *set = OSSet_withCapacity(0), *inner[2];
	OSDictionary *dictionaries[2];
	OSOrderedSet *ordered[2];

	for (int i = 0; i < 2; i++) {
		OSObject *one = number(1), *two = OBJECT(OSString_withCString("a longer text"));

		inner[i] = OSSet_withCapacity(0);
		OSSet_setObject(inner[i], i == 0 ? one : two);
		OSSet_setObject(inner[i], i == 0 ? two : one);
		dictionaries[i] = OSDictionary_withCapacity(0);
		OSDictionary_setObject(dictionaries[i], i == 0 ? "a" : "b", i == 0 ? one : two);
		OSDictionary_setObject(dictionaries[i], i == 0 ? "b" : "a", i == 0 ? two : one);
		ordered[i] = OSOrderedSet_withCapacity(0, NULL, NULL);
		OSOrderedSet_setObject(ordered[i], one);
		OSOrderedSet_setObject(ordered[i], two);
		OSObjectRelease(one);
		OSObjectRelease(two);
	}
	ck_assert(OSSet_setObject(set, OBJECT(inner[0])));
	ck_assert(OSSet_setObject(set, OBJECT(dictionaries[0])));
	ck_assert(OSSet_setObject(set, OBJECT(ordered[0])));
	ck_assert(OSSet_containsObject(set, OBJECT(inner[1])));
	ck_assert(OSSet_containsObject(set, OBJECT(dictionaries[1])));
	ck_assert(OSSet_containsObject(set, OBJECT(ordered[1])));
	ck_assert(!OSSet_setObject(set, OBJECT(dictionaries[1])));
	ck_assert(!contains(set, pair(number(1), number(2))));
	OSOrderedSet_removeObject(ordered[1], OSOrderedSet_getFirstObject(ordered[1]));
	ck_assert(!OSSet_containsObject(set, OBJECT(ordered[1])));
	for (int i = 0; i < 2; i++) {
		OSObjectRelease(inner[i]);
		OSObjectRelease(dictionaries[i]);
		OSObjectRelease(ordered[i]);
	}
	OSObjectRelease(set);
}
END_TEST

/* Services and the like: by identity. */
START_TEST(other_objects_are_told_apart_by_identity)
{
	OSObject *one = OSTypeAlloc(OSObject), *two = OSTypeAlloc(OSObject);
	OSSet *set = OSSet_withCapacity(0);

	ck_assert(OSSet_setObject(set, one));
	ck_assert(!OSSet_containsObject(set, two));
	ck_assert(OSSet_setObject(set, two));
	ck_assert(!OSSet_setObject(set, one));
	OSObjectRelease(one);
	OSObjectRelease(two);
	OSObjectRelease(set);
}
END_TEST

START_TEST(sets_are_equal_in_whatever_order)
{
	OSObject *const forwards[] = { number(1), number(2), pair(number(3), number(4)) };
	OSObject *const backwards[] = { pair(number(3), number(4)), number(2), number(1) };
	OSSet *one = OSSet_withObjects(forwards, 3, 0), *two = OSSet_withObjects(backwards, 3, 0);

	ck_assert(OSObject_isEqualTo(OBJECT(one), OBJECT(two)));
	OSSet_removeObject(two, forwards[1]);
	ck_assert(!OSObject_isEqualTo(OBJECT(one), OBJECT(two)));
	OSSet_setObject(two, OBJECT(kOSBooleanFalse));
	ck_assert(!OSObject_isEqualTo(OBJECT(one), OBJECT(two)));
	for (int i = 0; i < 3; i++) {
		OSObjectRelease(forwards[i]);
		OSObjectRelease(backwards[i]);
	}
	OSObjectRelease(one);
	OSObjectRelease(two);
}
END_TEST

START_TEST(sets_merge)
{
	OSObject *const objects[] = { number(1), number(2), number(2), number(3) };
	OSArray *array = OSArray_withObjects(objects, 4, 0);
	OSSet *set = OSSet_withArray(array), *copy = OSSet_withSet(set), *more;

	ck_assert_uint_eq(OSSet_getCount(set), 3);
	ck_assert(OSObject_isEqualTo(OBJECT(set), OBJECT(copy)));
	more = OSSet_withCapacity(0);
	ck_assert(OSSet_mergeArray(more, array));
	ck_assert(OSSet_merge(more, set));
	ck_assert(OSSet_merge(more, more));
	ck_assert_uint_eq(OSSet_getCount(more), 3);
	ck_assert(!OSSet_merge(more, NULL));
	ck_assert(!OSSet_mergeArray(more, NULL));
	ck_assert(!OSSet_merge(NULL, more));
	for (int i = 0; i < 4; i++)
		OSObjectRelease(objects[i]);
	OSObjectRelease(array);
	OSObjectRelease(set);
	OSObjectRelease(copy);
	OSObjectRelease(more);
}
END_TEST

/* Against a plain list of flags: whatever is added and removed, in whatever order. */
START_TEST(random_members_come_and_go)
{
	enum { VALUES = 600 };
	bool there[VALUES] = { false };
	OSSet *set = OSSet_withCapacity(0);
	uint32_t count = 0;

	chance_seed(20260802);
	for (int round = 0; round < 40000; round++) {
		uint64_t value = chance_u64() % VALUES;
		OSObject *object = number(value);

		if (chance_u64() % 2 == 0) {
			ck_assert(OSSet_setObject(set, object) == !there[value]);
			count += !there[value];
			there[value] = true;
		} else {
			OSSet_removeObject(set, object);
			count -= there[value];
			there[value] = false;
		}
		OSObjectRelease(object);
		ck_assert_uint_eq(OSSet_getCount(set), count);
		value = chance_u64() % VALUES;
		ck_assert(contains(set, number(value)) == there[value]);
	}
	OSObjectRelease(set);
}
END_TEST

/* Not found by its value any more, but it can be let go; and a copy in which two would be equal is
 * refused, not smaller. */
START_TEST(changed_member_is_still_let_go)
{
	OSObject *one = number(1), *two = number(2);
	OSSet *set = OSSet_withObjects((OSObject *const[]){ one, two }, 2, 0);

	OSNumber_setValue((OSNumber *)one, 2);
	ck_assert_ptr_null(OSSet_copyCollection(set));
	OSSet_removeObject(set, one);
	ck_assert_uint_eq(OSSet_getCount(set), 1);
	OSObjectRelease(one);
	OSObjectRelease(two);
	OSObjectRelease(set);
}
END_TEST

static int32_t by_value(const OSObject *left, const OSObject *right, void *context)
{
	uint64_t one = value_of((OSObject *)(uintptr_t)left);
	uint64_t two = value_of((OSObject *)(uintptr_t)right);

	++*(int *)context;
	return one / 10 < two / 10 ? -1 : one / 10 > two / 10; // tens only: some are level
}

START_TEST(ordered_set_keeps_its_order)
{
	static const uint64_t values[] = { 50, 21, 90, 25, 10, 29, 55, 7 };
	static const uint64_t sorted[] = { 7, 10, 21, 25, 29, 50, 55, 90 };
	int calls = 0;
	OSOrderedSet *set = OSOrderedSet_withCapacity(0, by_value, &calls);
	OSContainer *copy;
	OSObject *more = number(30);

	for (int i = 0; i < 8; i++) {
		OSObject *object = number(values[i]);

		ck_assert(OSOrderedSet_setObject(set, object));
		ck_assert(!OSOrderedSet_setObject(set, object));
		OSObjectRelease(object);
	}
	ck_assert_int_gt(calls, 0);
	for (uint32_t i = 0; i < 8; i++)
		ck_assert_uint_eq(value_of(OSOrderedSet_getObject(set, i)), sorted[i]);
	ck_assert_uint_eq(value_of(OSOrderedSet_getFirstObject(set)), 7);
	ck_assert_uint_eq(value_of(OSOrderedSet_getLastObject(set)), 90);
	ck_assert_int_eq(OSOrderedSet_orderObject(set, OSOrderedSet_getFirstObject(set),
						  OSOrderedSet_getLastObject(set)),
			 -1);
	copy = OSOrderedSet_copyCollection(set); // with the function
	ck_assert(OSOrderedSet_setObject(OSRequiredCast(OSOrderedSet, copy), more));
	ck_assert_uint_eq(value_of(OSOrderedSet_getObject((OSOrderedSet *)copy, 5)), 30);
	OSObjectRelease(copy);
	OSObjectRelease(more);
	OSObjectRelease(set);
}
END_TEST

START_TEST(ordered_set_takes_places)
{
	OSOrderedSet *set = OSOrderedSet_withCapacity(0, NULL, NULL), *other;
	OSObject *one = number(1), *two = number(2), *three = number(3), *four = number(4);

	ck_assert_ptr_null(OSOrderedSet_getFirstObject(set));
	ck_assert_ptr_null(OSOrderedSet_getLastObject(set));
	ck_assert(OSOrderedSet_setObject(set, two));
	ck_assert(OSOrderedSet_setFirstObject(set, one));
	ck_assert(OSOrderedSet_setLastObject(set, four));
	ck_assert(OSOrderedSet_setObjectAtIndex(set, 2, three));
	ck_assert(!OSOrderedSet_setObjectAtIndex(set, 0, four));
	ck_assert(!OSOrderedSet_setObjectAtIndex(set, 9, OBJECT(kOSBooleanTrue)));
	ck_assert_ptr_nonnull(strstr(reason_last(), "place 9 in a set of 4"));
	for (uint32_t i = 0; i < 4; i++)
		ck_assert_uint_eq(value_of(OSOrderedSet_getObject(set, i)), i + 1);
	ck_assert_int_eq(OSOrderedSet_orderObject(set, one, two), 0);
	ck_assert(OSOrderedSet_containsObject(set, three));
	other = OSRequiredCast(OSOrderedSet, OSOrderedSet_copyCollection(set));
	ck_assert(OSObject_isEqualTo(OBJECT(set), OBJECT(other)));
	OSOrderedSet_removeObject(other, one);
	ck_assert(OSOrderedSet_containsObject(other, four));
	ck_assert(OSOrderedSet_setLastObject(other, one));
	ck_assert(!OSObject_isEqualTo(OBJECT(set), OBJECT(other))); // another order
	OSObjectRelease(other);
	OSObjectRelease(one);
	OSObjectRelease(two);
	OSObjectRelease(three);
	OSObjectRelease(four);
	OSObjectRelease(set);
}
END_TEST

static int32_t flushing(const OSObject *left, const OSObject *right, void *context)
{
	(void)left, (void)right;
	OSOrderedSet_flushCollection(*(OSOrderedSet **)context);
	return 0;
}

START_TEST(order_that_changes_its_set_is_refused)
{
	OSOrderedSet *set = NULL;
	OSObject *one = number(1), *two = number(2);

	set = OSOrderedSet_withCapacity(0, flushing, &set);
	ck_assert(OSOrderedSet_setObject(set, one));
	ck_assert(!OSOrderedSet_setObject(set, two));
	ck_assert_ptr_nonnull(strstr(reason_last(), "changed"));
	OSObjectRelease(one);
	OSObjectRelease(two);
	OSObjectRelease(set);
}
END_TEST

UNIT_TESTS("set", set_holds_each_value_once, equal_values_are_found,
	   other_objects_are_told_apart_by_identity, sets_are_equal_in_whatever_order, sets_merge,
	   random_members_come_and_go, changed_member_is_still_let_go, ordered_set_keeps_its_order,
	   ordered_set_takes_places, order_that_changes_its_set_is_refused)
