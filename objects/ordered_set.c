/* SPDX-License-Identifier: Apache-2.0 */

/*
 * OSOrderedSet: members (members.c) and the function that says where a new one goes. The function
 * is the author's, and may do anything; a set that it changes is left as it is.
 */

#include <objects/members.h>

#include <stdlib.h>

#include <base/list.h>
#include <base/reason.h>

struct OSOrderedSet_IVars {
	struct members members;
	OSOrderFunction order; // NULL: as they are put
	void *context;         // of `order`
};

static struct members *members_of(const OSOrderedSet *self, const char *use)
{
	struct OSOrderedSet_IVars *ivars = self != NULL ? self->ivars : NULL;

	return collection_is_made(self, ivars, use) ? &ivars->members : NULL;
}

/* For getters: NULL is nothing wrong. */
static const struct members *peek(const OSOrderedSet *self, const char *use)
{
	struct OSOrderedSet_IVars *ivars = self != NULL ? self->ivars : NULL;

	return collection_has(self, ivars, use) ? &ivars->members : NULL;
}

static void end(struct collection *collection)
{
	struct members *members = container_of(collection, struct members, collection);

	members_flush(members);
	free(container_of(members, struct OSOrderedSet_IVars, members));
}

OSOrderedSet *OSOrderedSet_withCapacity(uint32_t capacity, OSOrderFunction order, void *context)
{
	OSOrderedSet *set = OSTypeAlloc(OSOrderedSet);

	if (set == NULL)
		return NULL;
	set->ivars = calloc(1, sizeof(*set->ivars));
	if (set->ivars != NULL) {
		set->ivars->members.collection.end = end;
		set->ivars->order = order;
		set->ivars->context = context;
	}
	if (set->ivars == NULL || !members_reserve(&set->ivars->members, capacity))
		OSSafeReleaseNULL(set);
	return set;
}

OSOrderedSet *ordered_set_copy_empty(OSOrderedSet *set)
{
	if (set->ivars == NULL)
		return OSOrderedSet_withCapacity(0, NULL, NULL);
	return OSOrderedSet_withCapacity(set->ivars->members.count, set->ivars->order,
					 set->ivars->context);
}

void IMPL(OSOrderedSet, free)
{
	struct OSOrderedSet_IVars *ivars = self->ivars;

	self->ivars = NULL;
	if (ivars != NULL)
		collection_end(&ivars->members.collection);
	OSOrderedSet_super_free(self);
}

uint32_t OSOrderedSet_getCount(OSOrderedSet *self)
{
	return members_count(peek(self, "getCount"));
}

uint32_t OSOrderedSet_getCapacity(OSOrderedSet *self)
{
	return members_room(peek(self, "getCapacity"));
}

uint32_t OSOrderedSet_ensureCapacity(OSOrderedSet *self, uint32_t capacity)
{
	return members_ensure(members_of(self, "ensureCapacity"), capacity);
}

uint32_t OSOrderedSet_getCapacityIncrement(OSOrderedSet *self)
{
	return members_increment(peek(self, "getCapacityIncrement"));
}

uint32_t OSOrderedSet_setCapacityIncrement(OSOrderedSet *self, uint32_t increment)
{
	return members_set_increment(members_of(self, "setCapacityIncrement"), increment);
}

OSObject *OSOrderedSet_getMember(OSOrderedSet *self, OSObject *object)
{
	return members_get_equal(peek(self, "getMember"), object);
}

bool OSOrderedSet_containsObject(OSOrderedSet *self, OSObject *object)
{
	return OSOrderedSet_getMember(self, object) != NULL;
}

OSObject *OSOrderedSet_getObject(OSOrderedSet *self, uint32_t index)
{
	return members_get(peek(self, "getObject"), index);
}

void OSOrderedSet_removeObject(OSOrderedSet *self, OSObject *object)
{
	members_remove(members_of(self, "removeObject"), object);
}

void OSOrderedSet_flushCollection(OSOrderedSet *self)
{
	members_flush(members_of(self, "flushCollection"));
}

bool OSOrderedSet_iterateObjects_f(OSOrderedSet *self, void *context, OSCollectionFunction function)
{
	return members_iterate(members_of(self, "iterateObjects"), self, context, function);
}

OSObject *OSOrderedSet_getFirstObject(OSOrderedSet *self)
{
	return OSOrderedSet_getObject(self, 0);
}

OSObject *OSOrderedSet_getLastObject(OSOrderedSet *self)
{
	return OSOrderedSet_getObject(self, OSOrderedSet_getCount(self) - 1);
}

int32_t OSOrderedSet_orderObject(OSOrderedSet *self, OSObject *left, OSObject *right)
{
	if (peek(self, "orderObject") == NULL || self->ivars->order == NULL)
		return 0;
	return self->ivars->order(left, right, self->ivars->context);
}

/* Behind those that come before `object` or beside it. false, with the reason: the function changed
 * the set. */
static bool find_place(OSOrderedSet *self, OSObject *object, uint32_t *place)
{
	struct members *members = &self->ivars->members;
	uint32_t low = 0, high = members->count, changes = members->collection.changes;

	if (self->ivars->order == NULL)
		low = high;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		OSObject *there = members->list[middle].object;

		if (OSOrderedSet_orderObject(self, there, object) <= 0)
			low = middle + 1;
		else
			high = middle;
		if (!collection_is_unchanged(&members->collection, changes))
			return false;
	}
	*place = low;
	return true;
}

bool OSOrderedSet_setObject(OSOrderedSet *self, OSObject *object)
{
	struct members *members = members_of(self, "setObject");
	uint32_t place;

	if (members == NULL)
		return false;
	if (object == NULL) {
		refuse(kIOReturnBadArgument, "the object to add is missing");
		return false;
	}
	return find_place(self, object, &place) && members_insert(members, place, object);
}

bool OSOrderedSet_setFirstObject(OSOrderedSet *self, OSObject *object)
{
	return OSOrderedSet_setObjectAtIndex(self, 0, object);
}

bool OSOrderedSet_setLastObject(OSOrderedSet *self, OSObject *object)
{
	return OSOrderedSet_setObjectAtIndex(self, OSOrderedSet_getCount(self), object);
}

bool OSOrderedSet_setObjectAtIndex(OSOrderedSet *self, uint32_t index, OSObject *object)
{
	struct members *members = members_of(self, "setObjectAtIndex");

	return members != NULL && members_insert(members, index, object);
}

bool IMPL(OSOrderedSet, isEqualTo)
{
	OSOrderedSet *set = OSDynamicCast(OSOrderedSet, other);
	uint32_t count = OSOrderedSet_getCount(self);
	bool equal = true;

	if (set == self)
		return true;
	if (set == NULL || OSOrderedSet_getCount(set) != count || !collection_compare_enter(count))
		return false;
	for (uint32_t i = 0; equal && i < count; i++)
		equal = OSObject_isEqualTo(OSOrderedSet_getObject(self, i),
					   OSOrderedSet_getObject(set, i));
	collection_compare_leave();
	return equal;
}
