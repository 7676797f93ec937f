/* SPDX-License-Identifier: Apache-2.0 */

/* OSSet: members (members.c), in the order they were added, which nobody should look at. */

#include <objects/members.h>

#include <stdlib.h>

#include <base/list.h>

struct OSSet_IVars {
	struct members members;
};

static struct members *members_of(const OSSet *self, const char *use)
{
	struct OSSet_IVars *ivars = self != NULL ? self->ivars : NULL;

	return collection_is_made(self, ivars, use) ? &ivars->members : NULL;
}

/* For getters: NULL is nothing wrong. */
static const struct members *peek(const OSSet *self, const char *use)
{
	struct OSSet_IVars *ivars = self != NULL ? self->ivars : NULL;

	return collection_has(self, ivars, use) ? &ivars->members : NULL;
}

static void end(struct collection *collection)
{
	struct members *members = container_of(collection, struct members, collection);

	members_flush(members);
	free(container_of(members, struct OSSet_IVars, members));
}

OSSet *OSSet_withCapacity(uint32_t capacity)
{
	OSSet *set = OSTypeAlloc(OSSet);

	if (set == NULL)
		return NULL;
	set->ivars = calloc(1, sizeof(*set->ivars));
	if (set->ivars != NULL)
		set->ivars->members.collection.end = end;
	if (set->ivars == NULL || !members_reserve(&set->ivars->members, capacity))
		OSSafeReleaseNULL(set);
	return set;
}

/* Add `object` unless it is there. */
static bool add(struct members *members, OSObject *object)
{
	uint32_t position;
	uint64_t hash;

	switch (members_find(members, object, &hash, &position)) {
	case MEMBERS_FOUND:
		return true;
	case MEMBERS_ABSENT:
		return members_insert(members, members->count, object);
	default:
		return false;
	}
}

OSSet *OSSet_withObjects(OSObject *const *objects, uint32_t count, uint32_t capacity)
{
	OSSet *set = OSSet_withCapacity(capacity > count ? capacity : count);

	for (uint32_t i = 0; set != NULL && i < count; i++)
		if (!add(&set->ivars->members, objects != NULL ? objects[i] : NULL))
			OSSafeReleaseNULL(set);
	return set;
}

OSSet *OSSet_withArray(OSArray *array)
{
	OSSet *set = OSSet_withCapacity(OSArray_getCount(array));

	if (set != NULL && !OSSet_mergeArray(set, array))
		OSSafeReleaseNULL(set);
	return set;
}

OSSet *OSSet_withSet(OSSet *other)
{
	OSSet *set = OSSet_withCapacity(OSSet_getCount(other));

	if (set != NULL && !OSSet_merge(set, other))
		OSSafeReleaseNULL(set);
	return set;
}

void IMPL(OSSet, free)
{
	struct OSSet_IVars *ivars = self->ivars;

	self->ivars = NULL;
	if (ivars != NULL)
		collection_end(&ivars->members.collection);
	OSSet_super_free(self);
}

uint32_t OSSet_getCount(OSSet *self)
{
	return members_count(peek(self, "getCount"));
}

uint32_t OSSet_getCapacity(OSSet *self)
{
	return members_room(peek(self, "getCapacity"));
}

uint32_t OSSet_ensureCapacity(OSSet *self, uint32_t capacity)
{
	return members_ensure(members_of(self, "ensureCapacity"), capacity);
}

uint32_t OSSet_getCapacityIncrement(OSSet *self)
{
	return members_increment(peek(self, "getCapacityIncrement"));
}

uint32_t OSSet_setCapacityIncrement(OSSet *self, uint32_t increment)
{
	return members_set_increment(members_of(self, "setCapacityIncrement"), increment);
}

OSObject *OSSet_getMember(OSSet *self, OSObject *object)
{
	return members_get_equal(peek(self, "getMember"), object);
}

bool OSSet_containsObject(OSSet *self, OSObject *object)
{
	return OSSet_getMember(self, object) != NULL;
}

OSObject *OSSet_getObject(OSSet *self, uint32_t index)
{
	return members_get(peek(self, "getObject"), index);
}

void OSSet_removeObject(OSSet *self, OSObject *object)
{
	members_remove(members_of(self, "removeObject"), object);
}

void OSSet_flushCollection(OSSet *self)
{
	members_flush(members_of(self, "flushCollection"));
}

bool OSSet_iterateObjects_f(OSSet *self, void *context, OSCollectionFunction function)
{
	return members_iterate(members_of(self, "iterateObjects"), self, context, function);
}

OSObject *OSSet_getAnyObject(OSSet *self)
{
	return OSSet_getObject(self, 0);
}

bool OSSet_setObject(OSSet *self, OSObject *object)
{
	struct members *members = members_of(self, "setObject");

	return members != NULL && members_insert(members, members->count, object);
}

bool OSSet_merge(OSSet *self, OSSet *other)
{
	struct members *members = members_of(self, "merge");
	const struct members *from = members_of(other, "merge");

	if (members == NULL || from == NULL)
		return false;
	for (uint32_t i = 0; i < from->count; i++)
		if (!add(members, from->list[i].object))
			return false;
	return true;
}

bool OSSet_mergeArray(OSSet *self, OSArray *array)
{
	struct members *members = members_of(self, "mergeArray");

	if (members == NULL ||
	    !collection_is_made(array, array != NULL ? array->ivars : NULL, "mergeArray"))
		return false;
	for (uint32_t i = 0; i < OSArray_getCount(array); i++)
		if (!add(members, OSArray_getObject(array, i)))
			return false;
	return true;
}

bool IMPL(OSSet, isEqualTo)
{
	OSSet *set = OSDynamicCast(OSSet, other);
	uint32_t count = OSSet_getCount(self);
	bool equal = true;

	if (set == self)
		return true;
	if (set == NULL || OSSet_getCount(set) != count || !collection_compare_enter(count))
		return false;
	for (uint32_t i = 0; equal && i < count; i++)
		equal = OSSet_containsObject(set, OSSet_getObject(self, i));
	collection_compare_leave();
	return equal;
}
