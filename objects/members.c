/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Members of a set: a list in order, and an open table of positions in it, found by hash and probed
 * one by one. To add or remove elsewhere than at the end moves what is behind, in the list and in
 * the table: one pass over each.
 *
 * An object is let go only after the set is whole again, for its free() may look at the set.
 */

#include <objects/members.h>

#include <stdlib.h>
#include <string.h>

#include <base/reason.h>

/* --- the table --- */

/* The slot of `position`, which has a member. */
static uint32_t slot_of(const struct members *members, uint32_t position)
{
	uint32_t mask = members->n_slots - 1;
	uint32_t slot = (uint32_t)members->list[position].hash & mask;

	while (members->slots[slot] != position + 1)
		slot = (slot + 1) & mask;
	return slot;
}

static void slot_add(struct members *members, uint32_t position)
{
	uint32_t mask = members->n_slots - 1;
	uint32_t slot = (uint32_t)members->list[position].hash & mask;

	while (members->slots[slot] != 0)
		slot = (slot + 1) & mask;
	members->slots[slot] = position + 1;
}

/* Free a slot; what was pushed on past it moves back, so that no search ends too early. */
static void slot_remove(struct members *members, uint32_t slot)
{
	uint32_t mask = members->n_slots - 1;

	for (uint32_t next = (slot + 1) & mask; members->slots[next] != 0;
	     next = (next + 1) & mask) {
		uint32_t home = (uint32_t)members->list[members->slots[next] - 1].hash & mask;

		if (((next - home) & mask) < ((next - slot) & mask))
			continue;
		members->slots[slot] = members->slots[next];
		slot = next;
	}
	members->slots[slot] = 0;
}

/* Every position from `first` on is `by` further. */
static void slots_move(struct members *members, uint32_t first, uint32_t by)
{
	for (uint32_t slot = 0; slot < members->n_slots; slot++)
		if (members->slots[slot] > first)
			members->slots[slot] += by;
}

/* --- room --- */

static bool grow(struct members *members, uint32_t room)
{
	uint32_t n_slots = 16, *slots;
	struct member *list = reallocarray(members->list, room, sizeof(struct member));

	if (list != NULL)
		members->list = list;
	while (n_slots < 2 * room)
		n_slots *= 2;
	slots = calloc(n_slots, sizeof(uint32_t));
	if (list == NULL || slots == NULL) {
		refuse(kIOReturnNoMemory, "no memory for a set of %u objects", room);
		free(slots);
		return false;
	}
	free(members->slots);
	members->slots = slots;
	members->n_slots = n_slots;
	members->room = room;
	for (uint32_t i = 0; i < members->count; i++)
		slot_add(members, i);
	return true;
}

bool members_reserve(struct members *members, uint32_t room)
{
	if (!collection_may_have(room))
		return false;
	return room <= members->room || grow(members, room);
}

static bool reserve_next(struct members *members)
{
	uint32_t room;

	if (members->count < members->room)
		return true;
	room = collection_next_room(&members->collection, members->count);
	return room != 0 && members_reserve(members, room);
}

uint32_t members_room(const struct members *members)
{
	return members != NULL ? members->room : 0;
}

uint32_t members_ensure(struct members *members, uint32_t room)
{
	if (members == NULL)
		return 0;
	members_reserve(members, room);
	return members->room;
}

uint32_t members_increment(const struct members *members)
{
	return members != NULL ? members->collection.increment : 0;
}

uint32_t members_set_increment(struct members *members, uint32_t increment)
{
	if (members == NULL)
		return 0;
	members->collection.increment = increment;
	return increment;
}

/* --- members --- */

uint32_t members_count(const struct members *members)
{
	return members != NULL ? members->count : 0;
}

OSObject *members_get(const struct members *members, uint32_t position)
{
	return position < members_count(members) ? members->list[position].object : NULL;
}

static bool is_same(const struct member *member, OSObject *object, uint64_t hash)
{
	return member->hash == hash &&
	       (member->object == object || OSObject_isEqualTo(member->object, object));
}

enum members_result members_find(const struct members *members, OSObject *object, uint64_t *hash,
				 uint32_t *position)
{
	uint32_t mask = members->n_slots - 1;

	if (object == NULL) {
		refuse(kIOReturnBadArgument, "the object to find or to add is missing");
		return MEMBERS_REFUSED;
	}
	if (!collection_hash(object, hash))
		return MEMBERS_REFUSED;
	if (members->n_slots == 0)
		return MEMBERS_ABSENT;
	for (uint32_t slot = (uint32_t)*hash & mask; members->slots[slot] != 0;
	     slot = (slot + 1) & mask) {
		*position = members->slots[slot] - 1;
		if (is_same(&members->list[*position], object, *hash))
			return MEMBERS_FOUND;
	}
	return MEMBERS_ABSENT;
}

OSObject *members_get_equal(const struct members *members, OSObject *object)
{
	uint32_t position;
	uint64_t hash;

	if (members == NULL || object == NULL ||
	    members_find(members, object, &hash, &position) != MEMBERS_FOUND)
		return NULL;
	return members->list[position].object;
}

bool members_insert(struct members *members, uint32_t position, OSObject *object)
{
	uint32_t there;
	uint64_t hash;

	if (position > members->count) {
		refuse(kIOReturnBadArgument, "place %u in a set of %u objects", position,
		       members->count);
		return false;
	}
	if (members_find(members, object, &hash, &there) != MEMBERS_ABSENT ||
	    !reserve_next(members))
		return false;
	if (position < members->count) {
		memmove(members->list + position + 1, members->list + position,
			(members->count - position) * sizeof(struct member));
		slots_move(members, position, 1);
	}
	OSObjectRetain(object);
	members->list[position] = (struct member){ .object = object, .hash = hash };
	members->count++;
	slot_add(members, position);
	members->collection.changes++;
	return true;
}

static void remove_at(struct members *members, uint32_t position)
{
	OSObject *object = members->list[position].object;

	slot_remove(members, slot_of(members, position));
	members->count--;
	memmove(members->list + position, members->list + position + 1,
		(members->count - position) * sizeof(struct member));
	if (position < members->count)
		slots_move(members, position + 1, UINT32_MAX); // one back
	members->collection.changes++;
	OSObjectRelease(object);
}

void members_remove(struct members *members, OSObject *object)
{
	uint32_t position;
	uint64_t hash;

	if (members == NULL)
		return;
	if (members_find(members, object, &hash, &position) == MEMBERS_FOUND) {
		remove_at(members, position);
		return;
	}
	/* One that was changed meanwhile has another hash, but it is the same object. */
	for (uint32_t i = 0; i < members->count; i++)
		if (members->list[i].object == object) {
			remove_at(members, i);
			return;
		}
}

void members_flush(struct members *members)
{
	if (members == NULL)
		return;
	struct member *list = members->list;
	uint32_t count = members->count;

	free(members->slots);
	members->slots = NULL;
	members->list = NULL;
	members->count = members->room = members->n_slots = 0;
	members->collection.changes++;
	for (uint32_t i = 0; i < count; i++)
		OSObjectRelease(list[i].object);
	free(list);
}

bool members_iterate(struct members *members, const void *self, void *context,
		     OSCollectionFunction function)
{
	bool stop = false, unchanged = true;

	if (members == NULL)
		return false;
	uint32_t changes = members->collection.changes;
	if (function == NULL) {
		refuse(kIOReturnBadArgument, "the function to call for each member is missing");
		return false;
	}
	OSObjectRetain(self);
	for (uint32_t i = 0; unchanged && !stop && i < members->count; i++) {
		OSObject *object = members->list[i].object;

		OSObjectRetain(object);
		stop = function(context, object);
		OSObjectRelease(object);
		unchanged = stop || collection_is_unchanged(&members->collection, changes);
	}
	OSObjectRelease(self);
	return unchanged;
}
