/* SPDX-License-Identifier: Apache-2.0 */

/*
 * OSArray: a growing list of kept objects. Who changes it must be alone with it. An object is let
 * go only after the array is whole again, for its free() may look at the array.
 */

#include <DriverKit/OSCollections.h>

#include <stdlib.h>
#include <string.h>

#include <base/list.h>
#include <base/reason.h>
#include <objects/collection.h>

struct OSArray_IVars {
	struct collection collection;
	uint32_t count, room;
	OSObject **objects; // kept; the array is owned
};

static struct OSArray_IVars *ivars_of(const OSArray *self, const char *use)
{
	struct OSArray_IVars *array = self != NULL ? self->ivars : NULL;

	return collection_is_made(self, array, use) ? array : NULL;
}

/* For getters: NULL is nothing wrong. */
static const struct OSArray_IVars *peek(const OSArray *self, const char *use)
{
	struct OSArray_IVars *array = self != NULL ? self->ivars : NULL;

	return collection_has(self, array, use) ? array : NULL;
}

/* --- room --- */

static bool reserve(struct OSArray_IVars *array, uint32_t room)
{
	OSObject **grown;

	if (!collection_may_have(room))
		return false;
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

static bool reserve_next(struct OSArray_IVars *array)
{
	uint32_t room;

	if (array->count < array->room)
		return true;
	room = collection_next_room(&array->collection, array->count);
	return room != 0 && reserve(array, room);
}

uint32_t OSArray_getCapacity(OSArray *self)
{
	const struct OSArray_IVars *array = peek(self, "getCapacity");

	return array != NULL ? array->room : 0;
}

uint32_t OSArray_ensureCapacity(OSArray *self, uint32_t capacity)
{
	struct OSArray_IVars *array = ivars_of(self, "ensureCapacity");

	if (array == NULL)
		return 0;
	reserve(array, capacity);
	return array->room;
}

uint32_t OSArray_getCapacityIncrement(OSArray *self)
{
	const struct OSArray_IVars *array = peek(self, "getCapacityIncrement");

	return array != NULL ? array->collection.increment : 0;
}

uint32_t OSArray_setCapacityIncrement(OSArray *self, uint32_t increment)
{
	struct OSArray_IVars *array = ivars_of(self, "setCapacityIncrement");

	if (array != NULL)
		array->collection.increment = increment;
	return array != NULL ? increment : 0;
}

/* --- its life --- */

static void flush(struct OSArray_IVars *array)
{
	OSObject **objects = array->objects;
	uint32_t count = array->count;

	array->objects = NULL;
	array->count = array->room = 0;
	array->collection.changes++;
	for (uint32_t i = 0; i < count; i++)
		OSObjectRelease(objects[i]);
	free(objects);
}

static void end(struct collection *collection)
{
	struct OSArray_IVars *array = container_of(collection, struct OSArray_IVars, collection);

	flush(array);
	free(array);
}

OSArray *OSArray_withCapacity(uint32_t capacity)
{
	OSArray *array = OSTypeAlloc(OSArray);

	if (array == NULL)
		return NULL;
	array->ivars = calloc(1, sizeof(*array->ivars));
	if (array->ivars != NULL)
		array->ivars->collection.end = end;
	if (array->ivars == NULL || !reserve(array->ivars, capacity))
		OSSafeReleaseNULL(array);
	return array;
}

OSArray *OSArray_withObjects(OSObject *const *objects, uint32_t count, uint32_t capacity)
{
	OSArray *array = OSArray_withCapacity(capacity > count ? capacity : count);

	for (uint32_t i = 0; array != NULL && i < count; i++)
		if (!OSArray_setObject(array, objects != NULL ? objects[i] : NULL))
			OSSafeReleaseNULL(array);
	return array;
}

OSArray *OSArray_withArray(OSArray *other)
{
	OSArray *array = OSArray_withCapacity(OSArray_getCount(other));

	if (array != NULL && !OSArray_merge(array, other))
		OSSafeReleaseNULL(array);
	return array;
}

void IMPL(OSArray, free)
{
	struct OSArray_IVars *array = self->ivars;

	self->ivars = NULL;
	if (array != NULL)
		collection_end(&array->collection);
	OSArray_super_free(self);
}

/* --- members --- */

uint32_t OSArray_getCount(OSArray *self)
{
	const struct OSArray_IVars *array = peek(self, "getCount");

	return array != NULL ? array->count : 0;
}

bool OSArray_setObject(OSArray *self, OSObject *object)
{
	return OSArray_setObjectAtIndex(self, OSArray_getCount(self), object);
}

bool OSArray_setObjectAtIndex(OSArray *self, uint32_t index, OSObject *object)
{
	struct OSArray_IVars *array = ivars_of(self, "setObject");

	if (array == NULL)
		return false;
	if (object == NULL) {
		refuse(kIOReturnBadArgument, "the object for an array is missing");
		return false;
	}
	if (index > array->count) {
		refuse(kIOReturnBadArgument, "place %u in an array of %u objects", index,
		       array->count);
		return false;
	}
	if (!reserve_next(array))
		return false;
	OSObjectRetain(object);
	memmove(array->objects + index + 1, array->objects + index,
		(array->count - index) * sizeof(OSObject *));
	array->objects[index] = object;
	array->count++;
	array->collection.changes++;
	return true;
}

bool OSArray_replaceObject(OSArray *self, uint32_t index, OSObject *object)
{
	struct OSArray_IVars *array = ivars_of(self, "replaceObject");
	OSObject *old;

	if (array == NULL)
		return false;
	if (object == NULL || index >= array->count) {
		refuse(kIOReturnBadArgument, "to replace object %u of %u by %s", index,
		       array->count, object == NULL ? "none" : "another");
		return false;
	}
	OSObjectRetain(object);
	old = array->objects[index];
	array->objects[index] = object;
	array->collection.changes++;
	OSObjectRelease(old);
	return true;
}

bool OSArray_merge(OSArray *self, OSArray *other)
{
	struct OSArray_IVars *array = ivars_of(self, "merge");
	struct OSArray_IVars *from = ivars_of(other, "merge");
	uint32_t more;

	if (array == NULL || from == NULL)
		return false;
	more = from->count; // which may be the same array
	if (!reserve(array, array->count + more))
		return false;
	for (uint32_t i = 0; i < more; i++) {
		OSObjectRetain(from->objects[i]);
		array->objects[array->count++] = from->objects[i];
	}
	array->collection.changes++;
	return true;
}

OSObject *OSArray_getObject(OSArray *self, uint32_t index)
{
	const struct OSArray_IVars *array = peek(self, "getObject");

	return array != NULL && index < array->count ? array->objects[index] : NULL;
}

OSObject *OSArray_getLastObject(OSArray *self)
{
	return OSArray_getObject(self, OSArray_getCount(self) - 1);
}

uint32_t OSArray_getNextIndexOfObject(OSArray *self, OSObject *object, uint32_t index)
{
	for (; object != NULL && index < OSArray_getCount(self); index++)
		if (OSArray_getObject(self, index) == object ||
		    OSObject_isEqualTo(OSArray_getObject(self, index), object))
			return index;
	return UINT32_MAX;
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
	array->collection.changes++;
	OSObjectRelease(object);
}

void OSArray_flushCollection(OSArray *self)
{
	struct OSArray_IVars *array = ivars_of(self, "flushCollection");

	if (array != NULL)
		flush(array);
}

bool OSArray_iterateObjects_f(OSArray *self, void *context, OSCollectionFunction function)
{
	struct OSArray_IVars *array = ivars_of(self, "iterateObjects");
	bool stop = false, unchanged = true;
	uint32_t changes;

	if (array == NULL)
		return false;
	if (function == NULL) {
		refuse(kIOReturnBadArgument, "the function to call for each member is missing");
		return false;
	}
	changes = array->collection.changes;
	OSObjectRetain(self);
	for (uint32_t i = 0; unchanged && !stop && i < array->count; i++) {
		OSObject *object = array->objects[i];

		OSObjectRetain(object);
		stop = function(context, object);
		OSObjectRelease(object);
		unchanged = stop || collection_is_unchanged(&array->collection, changes);
	}
	OSObjectRelease(self);
	return unchanged;
}

bool IMPL(OSArray, isEqualTo)
{
	OSArray *array = OSDynamicCast(OSArray, other);
	uint32_t count = OSArray_getCount(self);
	bool equal = true;

	if (array == self)
		return true;
	if (array == NULL || OSArray_getCount(array) != count || !collection_compare_enter(count))
		return false;
	for (uint32_t i = 0; equal && i < count; i++)
		equal = OSObject_isEqualTo(OSArray_getObject(self, i), OSArray_getObject(array, i));
	collection_compare_leave();
	return equal;
}
