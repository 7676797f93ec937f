/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a receiver does with a value that a peer chose: the input is the binary form of one, and
 * behind it a list of steps. Each step is a byte that chooses what to do and a byte that says with
 * which of the objects at hand.
 *
 * A value that was decoded equals its copy, and what its copy's form decodes to; no step does more
 * than be refused, and nothing is left behind.
 */

#include <assert.h>
#include <stdlib.h>

#include <DriverKit/OSCollectionConstants.h>
#include <objects/binary.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { AT_HAND = 8 };

static OSObject *hand[AT_HAND]; // kept
static OSArray *all;            // what was ever there

static OSObject *pass_through(const OSObject *object)
{
	struct binary_buffer buffer = { .limit = SIZE_MAX / 2 };
	OSObject *again = NULL;
	size_t used;

	if (binary_put(&buffer, object) == 0)
		assert(binary_get(buffer.data, buffer.size, &used, &again) == 0 &&
		       used == buffer.size);
	binary_buffer_deinit(&buffer);
	return again;
}

static bool put_into(OSObject *into, OSObject *object)
{
	OSArray *array = OSDynamicCast(OSArray, into);
	OSDictionary *dictionary = OSDynamicCast(OSDictionary, into);
	OSSet *set = OSDynamicCast(OSSet, into);
	OSOrderedSet *ordered = OSDynamicCast(OSOrderedSet, into);

	if (array != NULL)
		return OSArray_setObjectAtIndex(array, OSArray_getCount(array) / 2, object);
	if (dictionary != NULL)
		return OSDictionary_setObject(dictionary, OSObjectGetClassName(object), object);
	if (set != NULL)
		return OSSet_setObject(set, object);
	return ordered != NULL && OSOrderedSet_setFirstObject(ordered, object);
}

static void take_out(OSObject *from, OSObject *object)
{
	OSArray *array = OSDynamicCast(OSArray, from);
	OSDictionary *dictionary = OSDynamicCast(OSDictionary, from);
	OSSet *set = OSDynamicCast(OSSet, from);
	OSOrderedSet *ordered = OSDynamicCast(OSOrderedSet, from);

	if (array != NULL)
		OSArray_removeObject(array, OSArray_getNextIndexOfObject(array, object, 0));
	if (dictionary != NULL && object != NULL)
		OSDictionary_removeObject(dictionary, OSObjectGetClassName(object));
	OSSet_removeObject(set, object);
	OSOrderedSet_removeObject(ordered, object);
}

static bool change(void *context, OSObject *object)
{
	put_into(context, object);
	return false;
}

static void flush(OSObject *object)
{
	OSArray_flushCollection(OSDynamicCast(OSArray, object));
	OSDictionary_flushCollection(OSDynamicCast(OSDictionary, object));
	OSSet_flushCollection(OSDynamicCast(OSSet, object));
	OSOrderedSet_flushCollection(OSDynamicCast(OSOrderedSet, object));
}

/* Into place `to`, which is emptied of what it held. */
static void keep(unsigned to, void *object)
{
	OSObjectRelease(hand[to]);
	hand[to] = object;
	if (object != NULL)
		OSArray_setObject(all, object);
}

static OSObject *make(unsigned which)
{
	switch (which % 5) {
	case 0:
		return (OSObject *)OSArray_withCapacity(0);
	case 1:
		return (OSObject *)OSDictionary_withCapacity(0);
	case 2:
		return (OSObject *)OSSet_withCapacity(0);
	case 3:
		return (OSObject *)OSOrderedSet_withCapacity(0, NULL, NULL);
	default:
		return (OSObject *)OSNumber_withNumber(which, 64);
	}
}

static void step(unsigned what, unsigned one, unsigned two)
{
	OSContainer *container = OSDynamicCast(OSContainer, hand[one]);

	switch (what % 9) {
	case 0:
		keep(one, make(two));
		break;
	case 1:
		put_into(hand[one], hand[two]);
		break;
	case 2:
		take_out(hand[one], hand[two]);
		break;
	case 3:
		keep(two, OSContainer_copyCollection(container));
		break;
	case 4:
		keep(two, pass_through(hand[one]));
		break;
	case 5:
		if (hand[one] != NULL)
			OSObject_isEqualTo(hand[one], hand[two]);
		break;
	case 6:
		OSArray_iterateObjects_f(OSDynamicCast(OSArray, hand[one]), hand[two], change);
		OSSet_iterateObjects_f(OSDynamicCast(OSSet, hand[one]), hand[two], change);
		break;
	case 7:
		flush(hand[one]);
		break;
	default:
		OSNumber_addValue(OSDynamicCast(OSNumber, hand[one]), (int64_t)two - 4);
		break;
	}
}

static void check_value(OSObject *value)
{
	OSObject *copy = (OSObject *)OSContainer_copyCollection((OSContainer *)value);
	OSObject *again = pass_through(copy);

	assert(copy != NULL && again != NULL);
	assert(OSObject_isEqualTo(value, copy) && OSObject_isEqualTo(again, value));
	OSObjectRelease(copy);
	OSObjectRelease(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	OSObject *value = NULL;
	size_t used = 0;

	all = OSArray_withCapacity(0);
	if (binary_get(data, size, &used, &value) == 0 && value != NULL)
		check_value(value);
	keep(0, value);
	for (size_t i = used; i + 2 <= size && i < used + 400; i += 2)
		step(data[i], data[i + 1] % AT_HAND, data[i + 1] / AT_HAND % AT_HAND);
	for (unsigned i = 0; i < AT_HAND; i++)
		keep(i, NULL);
	for (uint32_t i = 0; i < OSArray_getCount(all); i++)
		flush(OSArray_getObject(all, i)); // opens a circle
	OSSafeReleaseNULL(all);
	return 0;
}
