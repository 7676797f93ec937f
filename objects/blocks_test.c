/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Walks with a block, built by clang -fblocks. No block is copied, so the blocks' runtime library
 * is not needed but for the classes of blocks, which clang names and these never look at.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <DriverKit/OSCollectionConstants.h>
#include <DriverKit/OSCollectionFunctions.h>

extern void *_NSConcreteStackBlock[32], *_NSConcreteGlobalBlock[32];
void *_NSConcreteStackBlock[32], *_NSConcreteGlobalBlock[32];

void _Block_object_assign(void *to, const void *object, int flags);
void _Block_object_dispose(const void *object, int flags);

void _Block_object_assign(void *to, const void *object, int flags)
{
	(void)to, (void)object, (void)flags;
	abort(); // a block was copied
}

void _Block_object_dispose(const void *object, int flags)
{
	(void)object, (void)flags;
}

static void check(bool ok, const char *what)
{
	if (ok)
		return;
	printf("FAIL: %s\n", what);
	exit(EXIT_FAILURE);
}

int main(void)
{
	OSArray *array = OSArray_withCapacity(0);
	OSSet *set = OSSet_withCapacity(0);
	OSOrderedSet *ordered = OSOrderedSet_withCapacity(0, NULL, NULL);
	OSDictionary *dictionary = OSDictionary_withCapacity(0);
	__block uint64_t sum = 0;
	bool (^add)(OSObject *) = ^bool(OSObject *object) {
	  sum += OSNumber_unsigned64BitValue(OSRequiredCast(OSNumber, object));
	  return sum > 1000;
	};

	for (uint64_t i = 1; i <= 4; i++) {
		OSNumber *number = OSNumber_withNumber(i, 8);

		OSArray_setObject(array, OSNumber_as_OSObject(number));
		OSSet_setObject(set, OSNumber_as_OSObject(number));
		OSOrderedSet_setObject(ordered, OSNumber_as_OSObject(number));
		OSObjectRelease(number);
	}
	OSDictionarySetUInt64Value(dictionary, "a", 7);
	check(OSArray_iterateObjects(array, add) && sum == 10, "an array");
	check(OSSet_iterateObjects(set, add) && sum == 20, "a set");
	check(OSOrderedSet_iterateObjects(ordered, add) && sum == 30, "an ordered set");
	check(OSDictionary_iterateObjects(dictionary,
					  ^bool(const char *key, OSObject *object) {
					    check(strcmp(key, "a") == 0, "its key");
					    return add(object);
					  }) &&
		      sum == 37,
	      "a dictionary");
	check(!OSArray_iterateObjects(array,
				      ^bool(OSObject *object) {
					return !OSArray_setObject(array, object);
				      }),
	      "a change");
	OSObjectRelease(array);
	OSObjectRelease(set);
	OSObjectRelease(ordered);
	OSObjectRelease(dictionary);
	return EXIT_SUCCESS;
}
