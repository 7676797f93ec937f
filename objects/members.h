/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What both sets are made of: kept objects in an order, of which no two are equal. An object is
 * found by its hash; its position is its place in the order. Who changes it must be alone with it.
 */

#include <objects/collection.h>

struct member {
	OSObject *object; // kept
	uint64_t hash;    // when it was added
};

struct members {
	struct collection collection;
	uint32_t count, room;
	struct member *list; // owned; in order
	uint32_t n_slots;    // a power of two, at least twice the room; or 0
	uint32_t *slots;     // owned; 1 + a position, at or behind its hash's place; 0: free
};

/* Room for so many, at least. false, with the reason. */
bool members_reserve(struct members *members, uint32_t room);

enum members_result {
	MEMBERS_FOUND,
	MEMBERS_ABSENT,
	MEMBERS_REFUSED, // with the reason: it cannot be a member of any set
};
enum members_result members_find(const struct members *members, OSObject *object, uint64_t *hash,
				 uint32_t *position);

/* At `position`, which may be the end. false: it is there already, or a refusal. */
bool members_insert(struct members *members, uint32_t position, OSObject *object);

/* What both classes promise alike. `members` may be NULL, for a set that was never made: whoever
 * looked for them has said so, and these give 0, NULL or false. */
uint32_t members_count(const struct members *members);
uint32_t members_room(const struct members *members);
uint32_t members_ensure(struct members *members, uint32_t room); // returns the room there is
uint32_t members_increment(const struct members *members);
uint32_t members_set_increment(struct members *members, uint32_t increment);
OSObject *members_get(const struct members *members, uint32_t position);      // borrowed
OSObject *members_get_equal(const struct members *members, OSObject *object); // borrowed
void members_remove(struct members *members, OSObject *object);
void members_flush(struct members *members);
/* Of the object `self`, which is kept meanwhile. */
bool members_iterate(struct members *members, const void *self, void *context,
		     OSCollectionFunction function);

/* An empty set with the same function. Returned; NULL: out of memory. */
OSOrderedSet *ordered_set_copy_empty(OSOrderedSet *set);
