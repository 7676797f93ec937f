/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What all collections have in common, said once and held against each: OSArray, OSDictionary,
 * OSSet and OSOrderedSet, through a table of how to do it. What is one class's own is in
 * collections_test.c and set_test.c.
 */

#include <base/unit_test.h>
#include <objects/collection.h>

#include <stdio.h>
#include <string.h>

#include <DriverKit/OSCollectionConstants.h>
#include <base/reason.h>

/* --- the classes --- */

struct class
{
	const char *name;
	OSObject *(*make)(uint32_t capacity);
	bool (*add)(OSObject *self, uint32_t n,
		    OSObject *object); // under the key n, if it has keys
	void (*remove_first)(OSObject *self);
	uint32_t (*count)(OSObject *self);
	OSObject *(*get)(OSObject *self, uint32_t index);
	void (*flush)(OSObject *self);
	bool (*iterate)(OSObject *self, void *context, OSCollectionFunction function);
	uint32_t (*ensure)(OSObject *self, uint32_t capacity);
	uint32_t (*capacity)(OSObject *self);
	uint32_t (*set_increment)(OSObject *self, uint32_t increment);
	uint32_t (*get_increment)(OSObject *self);
};

static const char *key_of(uint32_t n)
{
	static char key[16];

	snprintf(key, sizeof(key), "%u", n);
	return key;
}

#define OBJECT(x) ((OSObject *)(x))

#define SHARED(cls)                                                             \
	static uint32_t cls##_count(OSObject *self)                             \
	{                                                                       \
		return cls##_getCount((cls *)self);                             \
	}                                                                       \
	static void cls##_flush(OSObject *self)                                 \
	{                                                                       \
		cls##_flushCollection((cls *)self);                             \
	}                                                                       \
	static uint32_t cls##_ensure(OSObject *self, uint32_t capacity)         \
	{                                                                       \
		return cls##_ensureCapacity((cls *)self, capacity);             \
	}                                                                       \
	static uint32_t cls##_capacity(OSObject *self)                          \
	{                                                                       \
		return cls##_getCapacity((cls *)self);                          \
	}                                                                       \
	static uint32_t cls##_set_increment(OSObject *self, uint32_t increment) \
	{                                                                       \
		return cls##_setCapacityIncrement((cls *)self, increment);      \
	}                                                                       \
	static uint32_t cls##_get_increment(OSObject *self)                     \
	{                                                                       \
		return cls##_getCapacityIncrement((cls *)self);                 \
	}

#define LISTED(cls)                                                                       \
	static OSObject *cls##_get(OSObject *self, uint32_t index)                        \
	{                                                                                 \
		return cls##_getObject((cls *)self, index);                               \
	}                                                                                 \
	static bool cls##_add(OSObject *self, uint32_t n, OSObject *object)               \
	{                                                                                 \
		(void)n;                                                                  \
		return cls##_setObject((cls *)self, object);                              \
	}                                                                                 \
	static bool cls##_iterate(OSObject *self, void *context, OSCollectionFunction fn) \
	{                                                                                 \
		return cls##_iterateObjects_f((cls *)self, context, fn);                  \
	}

#define CLASS(cls)                                                                       \
	{                                                                                \
#cls, cls##_make, cls##_add, cls##_remove_first, cls##_count, cls##_get, \
			cls##_flush, cls##_iterate, cls##_ensure, cls##_capacity,        \
			cls##_set_increment, cls##_get_increment                         \
	}

SHARED(OSArray)
SHARED(OSSet)
SHARED(OSOrderedSet)
SHARED(OSDictionary)
LISTED(OSArray)
LISTED(OSSet)
LISTED(OSOrderedSet)

static OSObject *OSArray_make(uint32_t capacity)
{
	return OBJECT(OSArray_withCapacity(capacity));
}

static OSObject *OSSet_make(uint32_t capacity)
{
	return OBJECT(OSSet_withCapacity(capacity));
}

static OSObject *OSOrderedSet_make(uint32_t capacity)
{
	return OBJECT(OSOrderedSet_withCapacity(capacity, NULL, NULL));
}

static OSObject *OSDictionary_make(uint32_t capacity)
{
	return OBJECT(OSDictionary_withCapacity(capacity));
}

static void OSArray_remove_first(OSObject *self)
{
	OSArray_removeObject((OSArray *)self, 0);
}

static void OSSet_remove_first(OSObject *self)
{
	OSSet_removeObject((OSSet *)self, OSSet_getObject((OSSet *)self, 0));
}

static void OSOrderedSet_remove_first(OSObject *self)
{
	OSOrderedSet *set = (OSOrderedSet *)self;

	OSOrderedSet_removeObject(set, OSOrderedSet_getFirstObject(set));
}

static bool OSDictionary_add(OSObject *self, uint32_t n, OSObject *object)
{
	return OSDictionary_setObject((OSDictionary *)self, key_of(n), object);
}

static OSObject *OSDictionary_get(OSObject *self, uint32_t index)
{
	OSObject *object = NULL;
	const char *key;

	return OSDictionary_getEntry((OSDictionary *)self, index, &key, &object) ? object : NULL;
}

static void OSDictionary_remove_first(OSObject *self)
{
	OSObject *object;
	const char *key;

	if (OSDictionary_getEntry((OSDictionary *)self, 0, &key, &object))
		OSDictionary_removeObject((OSDictionary *)self, key);
}

struct without_key {
	void *context;
	OSCollectionFunction function;
};

static bool drop_key(void *context, const char *key, OSObject *object)
{
	struct without_key *call = context;

	ck_assert_ptr_nonnull(key);
	return call->function(call->context, object);
}

static bool OSDictionary_iterate(OSObject *self, void *context, OSCollectionFunction function)
{
	struct without_key call = { context, function };

	return OSDictionary_iterateObjects_f((OSDictionary *)self, &call,
					     function != NULL ? drop_key : NULL);
}

static const struct class classes[] = { CLASS(OSArray), CLASS(OSDictionary), CLASS(OSSet),
					CLASS(OSOrderedSet) };

#define N_CLASSES ((int)(sizeof(classes) / sizeof(classes[0])))

/* --- helpers --- */

static OSObject *number(uint64_t value)
{
	return OBJECT(OSNumber_withNumber(value, 32));
}

static void give(const struct class *class, OSObject *self, uint32_t n, OSObject *object)
{
	ck_assert(class->add(self, n, object));
	OSObjectRelease(object);
}

/* `count` numbers from `first` on. */
static OSObject *filled(const struct class *class, uint32_t first, uint32_t count)
{
	OSObject *self = class->make(0);

	for (uint32_t i = 0; i < count; i++)
		give(class, self, i, number(first + i));
	return self;
}

static uint64_t value_of(OSObject *object)
{
	return OSNumber_unsigned64BitValue(OSRequiredCast(OSNumber, object));
}

/* --- tests, for each class --- */

START_TEST(keeps_members_in_order_and_lets_them_go)
{
	const struct class *class = &classes[_i];
	OSObject *self = filled(class, 10, 100), *first = class->get(self, 0);

	ck_assert_uint_eq(class->count(self), 100);
	for (uint32_t i = 0; i < 100; i++)
		ck_assert_uint_eq(value_of(class->get(self, i)), 10 + i);
	ck_assert_ptr_null(class->get(self, 100));
	OSObjectRetain(first);
	class->remove_first(self);
	ck_assert_uint_eq(OSObjectGetRetainCount(first), 1);
	ck_assert_uint_eq(class->count(self), 99);
	for (uint32_t i = 0; i < 99; i++)
		ck_assert_uint_eq(value_of(class->get(self, i)), 11 + i);
	OSObjectRelease(first);
	first = class->get(self, 0);
	OSObjectRetain(first);
	class->flush(self);
	ck_assert_uint_eq(OSObjectGetRetainCount(first), 1);
	ck_assert_uint_eq(class->count(self), 0);
	give(class, self, 0, number(7)); // it can be filled again
	ck_assert_uint_eq(value_of(class->get(self, 0)), 7);
	OSObjectRelease(first);
	OSObjectRelease(self);
}
END_TEST

START_TEST(grows_as_it_is_told)
{
	const struct class *class = &classes[_i];
	OSObject *self = class->make(3);

	ck_assert_uint_eq(class->capacity(self), 3);
	ck_assert_uint_eq(class->get_increment(self), 0);
	ck_assert_uint_eq(class->ensure(self, 5), 5);
	ck_assert_uint_eq(class->ensure(self, 2), 5);
	ck_assert_uint_eq(class->set_increment(self, 7), 7);
	ck_assert_uint_eq(class->get_increment(self), 7);
	for (uint32_t i = 0; i < 6; i++)
		give(class, self, i, number(i));
	ck_assert_uint_eq(class->capacity(self), 12);
	ck_assert_uint_eq(class->ensure(self, kOSCollectionCountMax + 1), 12);
	ck_assert_ptr_nonnull(strstr(reason_last(), "at most 65536"));
	ck_assert_ptr_null(class->make(kOSCollectionCountMax + 1));
	OSObjectRelease(self);
}
END_TEST

/* Full is an error; and a large one is not slow: 65536 members, each looked for, in one test. */
START_TEST(is_bounded_and_fills_fast)
{
	const struct class *class = &classes[_i];
	OSObject *self = filled(class, 0, kOSCollectionCountMax), *more = number(1U << 20);

	ck_assert_uint_eq(class->count(self), kOSCollectionCountMax);
	ck_assert(!class->add(self, 1U << 20, more));
	ck_assert_ptr_nonnull(strstr(reason_last(), "at most 65536"));
	ck_assert_uint_eq(class->count(self), kOSCollectionCountMax);
	OSObjectRelease(more);
	OSObjectRelease(self);
}
END_TEST

struct visit {
	const struct class *class;
	OSObject *self;
	uint64_t sum;
	uint32_t n, stop_at;
	int change; // 0: none, 1: add, 2: remove, 3: flush, 4: add and stop, 5: release it
};

static bool visit(void *context, OSObject *object)
{
	struct visit *v = context;

	v->n++;
	switch (v->change) {
	case 1:
	case 4:
		give(v->class, v->self, 1000, number(1000));
		break;
	case 2:
		v->class->remove_first(v->self);
		break;
	case 3:
		v->class->flush(v->self);
		break;
	case 5:
		if (v->n == 1)
			OSObjectRelease(v->self);
		break;
	default:
		break;
	}
	v->sum += value_of(object); // still there, whatever happened
	return v->n == v->stop_at || v->change == 4;
}

START_TEST(walk_sees_each_member_once_and_can_stop)
{
	const struct class *class = &classes[_i];
	struct visit v = { .class = class, .self = filled(class, 1, 10) };

	ck_assert(class->iterate(v.self, &v, visit));
	ck_assert_uint_eq(v.n, 10);
	ck_assert_uint_eq(v.sum, 55);
	v = (struct visit){ .class = class, .self = v.self, .stop_at = 3 };
	ck_assert(class->iterate(v.self, &v, visit));
	ck_assert_uint_eq(v.n, 3);
	ck_assert(!class->iterate(v.self, &v, NULL));
	ck_assert(!class->iterate(NULL, &v, visit));
	OSObjectRelease(v.self);
}
END_TEST

START_TEST(change_ends_a_walk_with_its_reason)
{
	const struct class *class = &classes[_i];

	for (int change = 1; change <= 3; change++) {
		struct visit v = { .class = class, .self = filled(class, 1, 10), .change = change };

		reason_clear();
		ck_assert(!class->iterate(v.self, &v, visit));
		ck_assert_uint_eq(v.n, 1);
		ck_assert_ptr_nonnull(strstr(reason_last(), "changed"));
		OSObjectRelease(v.self);
	}
}
END_TEST

/* Who stops may have changed what he likes: the walk is over. And the walk keeps what it walks. */
START_TEST(change_at_the_end_of_a_walk_is_none_of_its_business)
{
	const struct class *class = &classes[_i];
	struct visit v = { .class = class, .self = filled(class, 1, 10), .change = 4 };

	ck_assert(class->iterate(v.self, &v, visit));
	ck_assert_uint_eq(v.n, 1);
	OSObjectRelease(v.self);
	v = (struct visit){ .class = class, .self = filled(class, 1, 10), .change = 5 };
	ck_assert(class->iterate(v.self, &v, visit));
	ck_assert_uint_eq(v.sum, 55);
}
END_TEST

/* By value, and deep: the collection is in another of its class. */
START_TEST(equality_is_by_value)
{
	const struct class *class = &classes[_i];
	OSObject *one = class->make(0), *two = class->make(0), *other = class->make(0);

	give(class, one, 0, filled(class, 1, 5));
	give(class, two, 0, filled(class, 1, 5));
	give(class, other, 0, filled(class, 2, 5));
	ck_assert(OSObject_isEqualTo(one, two));
	ck_assert(OSObject_isEqualTo(two, one));
	ck_assert(OSObject_isEqualTo(one, one));
	ck_assert(!OSObject_isEqualTo(one, other));
	ck_assert(!OSObject_isEqualTo(one, class->get(one, 0)));
	ck_assert(!OSObject_isEqualTo(one, NULL));
	for (int i = 0; i < N_CLASSES; i++) {
		OSObject *empty = classes[i].make(0), *ours = class->make(0);

		ck_assert(OSObject_isEqualTo(ours, empty) == (i == _i));
		OSObjectRelease(empty);
		OSObjectRelease(ours);
	}
	OSObjectRelease(one);
	OSObjectRelease(two);
	OSObjectRelease(other);
}
END_TEST

START_TEST(copy_is_deep)
{
	const struct class *class = &classes[_i];
	OSObject *self = class->make(0), *copy, *inner;
	OSObject *plain = OSTypeAlloc(OSObject), *text = OBJECT(OSString_withCString("text"));

	give(class, self, 0, filled(class, 1, 5));
	give(class, self, 1, OBJECT(OSData_withBytes("bytes", 5)));
	give(class, self, 2, text);
	give(class, self, 3, plain);
	give(class, self, 4, OBJECT(kOSBooleanTrue));
	copy = OBJECT(OSContainer_copyCollection((OSContainer *)self));
	ck_assert_str_eq(OSObjectGetClassName(copy), class->name);
	ck_assert(OSObject_isEqualTo(self, copy));
	inner = class->get(copy, 0);
	ck_assert_ptr_ne(inner, class->get(self, 0));
	ck_assert_ptr_ne(class->get(inner, 0), class->get(class->get(self, 0), 0));
	ck_assert_ptr_ne(class->get(copy, 1), class->get(self, 1));
	ck_assert_ptr_eq(class->get(copy, 2), text);  // cannot change
	ck_assert_ptr_eq(class->get(copy, 3), plain); // no value
	ck_assert_uint_eq(OSObjectGetRetainCount(plain), 2);
	OSNumber_setValue((OSNumber *)class->get(inner, 0), 77);
	ck_assert_uint_eq(value_of(class->get(class->get(self, 0), 0)), 1);
	OSObjectRelease(copy);
	ck_assert_uint_eq(OSObjectGetRetainCount(plain), 1);
	OSObjectRelease(self);
}
END_TEST

/* `depth` collections, one in the other. */
static OSObject *chain(const struct class *class, unsigned depth)
{
	OSObject *self = class->make(1);

	while (--depth > 0) {
		OSObject *outer = class->make(1);

		give(class, outer, 0, self);
		self = outer;
	}
	return self;
}

START_TEST(depth_is_bounded)
{
	const struct class *class = &classes[_i];
	OSObject *fits = chain(class, 31), *fits_too = chain(class, 31), *copy;
	OSObject *deep = class->make(1), *deep_too = class->make(1);

	ck_assert(OSObject_isEqualTo(fits, fits_too));
	copy = OBJECT(OSContainer_copyCollection((OSContainer *)fits));
	ck_assert(OSObject_isEqualTo(fits, copy));
	/* A set must look at its members all the way down; it may refuse one that is too deep. */
	give(class, deep, 0, fits);
	give(class, deep_too, 0, fits_too);
	for (int i = 0; i < 3; i++) {
		OSObject *one = class->make(1), *two = class->make(1);

		if (!class->add(one, 0, deep) || !class->add(two, 0, deep_too)) {
			ck_assert_ptr_nonnull(strstr(reason_last(), "deeper than 32"));
			OSObjectRelease(one);
			OSObjectRelease(two);
			break;
		}
		OSObjectRelease(deep);
		OSObjectRelease(deep_too);
		deep = one;
		deep_too = two;
		reason_clear();
		if (i > 0) {
			ck_assert(!OSObject_isEqualTo(one, two));
			ck_assert_ptr_nonnull(strstr(reason_last(), "deeper than 32"));
			ck_assert_ptr_null(OSContainer_copyCollection((OSContainer *)one));
			ck_assert_ptr_nonnull(strstr(reason_last(), "deeper than 32"));
		}
	}
	ck_assert(OSObject_isEqualTo(copy, copy)); // the bound is of one comparison
	OSObjectRelease(copy);
	OSObjectRelease(deep);
	OSObjectRelease(deep_too);
}
END_TEST

/* What holds itself can be walked, and is refused wherever that would not end. */
START_TEST(self_containing_is_an_error)
{
	const struct class *class = &classes[_i];
	OSObject *one = class->make(1), *two = class->make(1);

	ck_assert(class->add(one, 0, one));
	ck_assert(class->add(two, 0, two));
	ck_assert(OSObject_isEqualTo(one, one));
	ck_assert(!OSObject_isEqualTo(one, two));
	ck_assert_ptr_nonnull(strstr(reason_last(), "do they hold themselves?"));
	reason_clear();
	ck_assert_ptr_null(OSContainer_copyCollection((OSContainer *)one));
	ck_assert_ptr_nonnull(strstr(reason_last(), "do they hold themselves?"));
	class->flush(one);
	class->flush(two);
	ck_assert_uint_eq(OSObjectGetRetainCount(one), 1);
	OSObjectRelease(one);
	OSObjectRelease(two);
}
END_TEST

/* An array that holds another twice, and so on: 2^n ways to the innermost, which has `value`. */
static OSArray *doubled(unsigned n, uint64_t value)
{
	OSArray *array = OSArray_withCapacity(2);
	OSNumber *number = OSNumber_withNumber(value, 64);

	OSArray_setObject(array, OBJECT(number));
	OSObjectRelease(number);
	for (unsigned i = 0; i < n; i++) {
		OSArray *outer = OSArray_withCapacity(2);

		for (int k = 0; k < 2; k++)
			OSArray_setObject(outer, OBJECT(array));
		OSObjectRelease(array);
		array = outer;
	}
	return array;
}

/* For who compares what a stranger made. */
START_TEST(shared_members_do_not_multiply_the_work_of_a_comparison)
{
	OSArray *one = doubled(30, 0), *two = doubled(30, 0);

	ck_assert(!OSObject_isEqualTo(OBJECT(one), OBJECT(two)));
	ck_assert_ptr_nonnull(strstr(reason_last(), "values to look at"));
	OSObjectRelease(one);
	OSObjectRelease(two);
}
END_TEST

/* A set finds what it compares by its number, for which it looks all the way down. */
START_TEST(a_comparison_counts_what_a_set_looks_at)
{
	enum { MEMBERS = 8 };
	OSArray *shared = doubled(17, 0);
	OSSet *one = OSSet_withCapacity(MEMBERS), *two = OSSet_withCapacity(MEMBERS);

	for (uint64_t i = 0; i < 2 * MEMBERS; i++) {
		OSArray *member = doubled(0, i / 2);

		ck_assert(OSArray_setObject(member, OBJECT(shared)));
		ck_assert(OSSet_setObject(i % 2 == 0 ? one : two, OBJECT(member)));
		OSObjectRelease(member);
	}
	ck_assert(!OSObject_isEqualTo(OBJECT(one), OBJECT(two)));
	ck_assert_ptr_nonnull(strstr(reason_last(), "values to look at"));
	OSObjectRelease(one);
	OSObjectRelease(two);
	OSObjectRelease(shared);
}
END_TEST

START_TEST(a_copy_shares_what_its_original_does)
{
	OSArray *whole = doubled(30, 7), *copy = (OSArray *)OSArray_copyCollection(whole);
	OSObject *from = OBJECT(whole), *to = OBJECT(copy);

	ck_assert_ptr_nonnull(copy);
	for (int i = 0; i < 30; i++) {
		ck_assert_ptr_ne(to, from);
		ck_assert_uint_eq(OSArray_getCount((OSArray *)to), 2);
		ck_assert_ptr_eq(OSArray_getObject((OSArray *)to, 0),
				 OSArray_getObject((OSArray *)to, 1));
		from = OSArray_getObject((OSArray *)from, 0);
		to = OSArray_getObject((OSArray *)to, 0);
	}
	ck_assert_ptr_ne(OSArray_getObject((OSArray *)to, 0),
			 OSArray_getObject((OSArray *)from, 0));
	ck_assert_uint_eq(value_of(OSArray_getObject((OSArray *)to, 0)), 7);
	OSObjectRelease(whole);
	ck_assert_uint_eq(OSObjectGetRetainCount(to), 2); // by the copy that is around it alone
	OSObjectRelease(copy);
}
END_TEST

/* What is met again may be deeper there than where it was copied. */
START_TEST(a_copy_of_what_is_shared_is_no_deeper_than_any)
{
	for (unsigned depth = 1; depth < 16; depth++) {
		OSObject *inner = chain(&classes[0], 20), *outer = OBJECT(OSArray_withCapacity(2));

		OSArray_setObject((OSArray *)outer, inner);
		for (unsigned i = 1; i < depth; i++) {
			OSObject *around = classes[0].make(1);

			give(&classes[0], around, 0, inner);
			inner = around;
		}
		OSArray_setObject((OSArray *)outer, inner); // 1 + (depth - 1) + 20 in all
		OSObjectRelease(inner);
		OSContainer *copy = OSArray_copyCollection((OSArray *)outer);
		ck_assert(copy != NULL ? OSObject_isEqualTo(OBJECT(copy), outer)
				       : strstr(reason_last(), "deeper than 32") != NULL);
		ck_assert((copy != NULL) == (depth + 20 <= 32));
		OSObjectRelease(copy);
		OSObjectRelease(outer);
	}
}
END_TEST

/* A list of 200000 links, as a driver may build one by mistake: its end needs no deep stack. */
START_TEST(long_chain_ends_in_a_bounded_stack)
{
	const struct class *class = &classes[_i];
	unsigned depth = strstr(class->name, "Set") != NULL ? 31 : 200000;
	OSObject *self = chain(class, depth);

	OSObjectRelease(self);
	/* A set of many, beside them. */
	self = class->make(0);
	for (uint32_t i = 0; i < 20; i++)
		give(class, self, i, number(i));
	OSObjectRelease(self);
}
END_TEST

static unsigned looks;

static void look(OSObject *self, void *msg);

static const struct OSMethod looking_rows[] = { { &OSObject_free_Shape, look, 0 } };
static const OSMetaClass looking_class = {
	.name = "Looking",
	.super = &gOSObjectMetaClass,
	.instance_size = sizeof(OSObject) + sizeof(void *),
	.n_methods = 1,
	.methods = looking_rows,
};
static const struct class *looked_class;
static OSObject *looked_at;

static void look(OSObject *self, void *msg)
{
	looks += 1 + looked_class->count(looked_at);
	OSObjectInvokeSuper(&gOSObjectMetaClass, self, &OSObject_free_Shape, msg);
}

/* An object that looks at its collection while it is let go sees one without it. */
START_TEST(free_of_a_member_sees_a_whole_collection)
{
	const struct class *class = &classes[_i];

	looked_class = class;
	looked_at = class->make(0);
	give(class, looked_at, 0, OSObjectAllocate(&looking_class));
	give(class, looked_at, 1, OSObjectAllocate(&looking_class));
	class->remove_first(looked_at);
	ck_assert_uint_eq(looks, 2);
	class->flush(looked_at);
	ck_assert_uint_eq(looks, 3);
	OSObjectRelease(looked_at);
}
END_TEST

/* An author may allocate the class and forget the constructor. */
START_TEST(unmade_is_empty_and_refuses)
{
	const OSMetaClass *metas[] = { &gOSArrayMetaClass, &gOSDictionaryMetaClass,
				       &gOSSetMetaClass, &gOSOrderedSetMetaClass };
	const struct class *class = &classes[_i];
	OSObject *self = OSObjectAllocate(metas[_i]), *one = number(1), *copy;

	for (int i = 0; i < 2; i++) {
		OSObject *object = i == 0 ? self : NULL;

		ck_assert_uint_eq(class->count(object), 0);
		ck_assert_ptr_null(class->get(object, 0));
		ck_assert_uint_eq(class->capacity(object), 0);
		ck_assert_uint_eq(class->ensure(object, 1), 0);
		ck_assert_uint_eq(class->set_increment(object, 1), 0);
		ck_assert_uint_eq(class->get_increment(object), 0);
		reason_clear();
		ck_assert(!class->add(object, 0, one));
		ck_assert_str_ne(reason_last(), "");
		class->flush(object);
	}
	ck_assert(!class->add(self, 0, NULL));
	copy = OBJECT(OSContainer_copyCollection((OSContainer *)self));
	ck_assert(OSObject_isEqualTo(self, copy));
	OSObjectRelease(copy);
	ck_assert_ptr_null(OSContainer_copyCollection(NULL));
	OSObjectRelease(one);
	OSObjectRelease(self);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		keeps_members_in_order_and_lets_them_go,
		grows_as_it_is_told,
		is_bounded_and_fills_fast,
		walk_sees_each_member_once_and_can_stop,
		change_ends_a_walk_with_its_reason,
		change_at_the_end_of_a_walk_is_none_of_its_business,
		equality_is_by_value,
		copy_is_deep,
		depth_is_bounded,
		self_containing_is_an_error,
		long_chain_ends_in_a_bounded_stack,
		free_of_a_member_sees_a_whole_collection,
		unmade_is_empty_and_refuses,
	};
	const TTest *const once[] = {
		shared_members_do_not_multiply_the_work_of_a_comparison,
		a_comparison_counts_what_a_set_looks_at,
		a_copy_shares_what_its_original_does,
		a_copy_of_what_is_shared_is_no_deeper_than_any,
	};

	return unit_run_each("collection", tests, sizeof(tests) / sizeof(tests[0]), N_CLASSES) ==
			       EXIT_SUCCESS
		       ? unit_run("collection", once, sizeof(once) / sizeof(once[0]))
		       : EXIT_FAILURE;
}
