/* SPDX-License-Identifier: Apache-2.0 */

/*
 * OSArray: a growing list of kept objects. Who changes it must be alone with it. An object is let
 * go only after the array is whole again, for its free() may look at the array.
 */

#include <DriverKit/OSCollections.h>

#include <stdlib.h>
#include <string.h>

#include <base/reason.h>
#include <objects/object.h>

struct OSArray_IVars {
	uint32_t count, room;
	OSObject **objects; // kept; the array is owned
};

static bool reserve(struct OSArray_IVars *array, uint32_t room)
{
	OSObject **grown;

	if (room > COLLECTION_COUNT_MAX) {
		refuse(kIOReturnOverrun, "an array of %u objects: at most %u", room,
		       COLLECTION_COUNT_MAX);
		return false;
	}
	if (room <= array->room)
		return true;
	grown = reallocarray(array->objects, room, sizeof(OSObject *));
	if (grown == NULL) {
		refuse(kIOReturnNoMemory, "no memory for an array of %u objects", room);
		return false;
	}
	array->objects = grown;
	array->room = room;
	return true;
}

/* Room for one more, doubling. */
static bool reserve_next(struct OSArray_IVars *array)
{
	uint32_t doubled = array->room < 8 ? 8 : 2 * array->room;

	if (array->count < array->room)
		return true;
	if (doubled > COLLECTION_COUNT_MAX && array->count < COLLECTION_COUNT_MAX)
		doubled = COLLECTION_COUNT_MAX;
	return reserve(array, doubled);
}

OSArray *OSArray_withCapacity(uint32_t capacity)
{
	OSArray *array = OSTypeAlloc(OSArray);

	if (array == NULL)
		return NULL;
	array->ivars = calloc(1, sizeof(*array->ivars));
	if (array->ivars == NULL || !reserve(array->ivars, capacity))
		OSSafeReleaseNULL(array);
	return array;
}

void IMPL(OSArray, free)
{
	struct OSArray_IVars *array = self->ivars;

	self->ivars = NULL;
	if (array != NULL) {
		for (uint32_t i = 0; i < array->count; i++)
			OSObjectRelease(array->objects[i]);
		free(array->objects);
	}
	free(array);
	OSArray_super_free(self);
}

uint32_t OSArray_getCount(OSArray *self)
{
	return self != NULL && self->ivars != NULL ? self->ivars->count : 0;
}

bool OSArray_setObject(OSArray *self, OSObject *object)
{
	struct OSArray_IVars *array = self != NULL ? self->ivars : NULL;

	if (array == NULL || object == NULL) {
		refuse(kIOReturnBadArgument, "an array, or the object to append, is missing");
		return false;
	}
	if (!reserve_next(array))
		return false;
	OSObjectRetain(object);
	array->objects[array->count++] = object;
	return true;
}

OSObject *OSArray_getObject(OSArray *self, uint32_t index)
{
	return index < OSArray_getCount(self) ? self->ivars->objects[index] : NULL;
}

void OSArray_removeObject(OSArray *self, uint32_t index)
{
	OSObject *object = OSArray_getObject(self, index);
	struct OSArray_IVars *array;

	if (object == NULL)
		return;
	array = self->ivars;
	array->count--;
	memmove(array->objects + index, array->objects + index + 1,
		(array->count - index) * sizeof(OSObject *));
	OSObjectRelease(object);
}

bool IMPL(OSArray, isEqualTo)
{
	OSArray *array = OSDynamicCast(OSArray, other);

	if (array == NULL || OSArray_getCount(array) != OSArray_getCount(self))
		return false;
	for (uint32_t i = 0; i < OSArray_getCount(self); i++)
		if (!OSObject_isEqualTo(self->ivars->objects[i], array->ivars->objects[i]))
			return false;
	return true;
}
