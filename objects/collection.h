/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What OSArray, OSDictionary and the sets share: how they grow, how a walk notices a change, and
 * how comparing, copying and freeing stay within bounds, whatever holds what.
 */

#include <stdbool.h>
#include <stdint.h>

#include <DriverKit/OSCollections.h>

/* First in the ivars of each. */
struct collection {
	uint32_t changes;   // goes up with each change
	uint32_t increment; // members by which it grows; 0: it doubles
	/* Release the members, give everything back. */
	void (*end)(struct collection *collection);
	struct collection *next_dead;
};

/* Is there something behind the object? If not, that is the reason, and a freed one is reported. */
bool collection_is_made(const void *object, const void *ivars, const char *use);
/* The same for those that give 0 or NULL: no reason. */
bool collection_has(const void *object, const void *ivars, const char *use);

/* The room to make for one member more; 0, with the reason: it is full. */
uint32_t collection_next_room(const struct collection *collection, uint32_t count);
/* May there be so many? */
bool collection_may_have(uint32_t count);

/* After a call of a walk's function: was `collection` changed since? false, with the reason. */
bool collection_is_unchanged(const struct collection *collection, uint32_t changes);

/*
 * Call collection->end now or, where that would be the 16th within another, when those are done. So
 * a chain of any length ends in a bounded stack. NULL is ignored.
 */
void collection_end(struct collection *collection);

/* Around the comparison of a collection's `count` members. false, with the reason: too deep, or too
 * many; then there is nothing to leave. */
bool collection_compare_enter(uint32_t count);
void collection_compare_leave(void);

/* How far a walk into values has come. */
struct collection_walk {
	unsigned depth, visits;
};

/* Of the comparison that this thread is in the midst of: what is looked at for it counts there.
 * NULL: it is in none. */
struct collection_walk *collection_comparison(void);

/* Around one value. false, with the reason, as above. */
bool collection_walk_enter(struct collection_walk *walk);
void collection_walk_leave(struct collection_walk *walk);

/* A number that is the same for values that are equal, and differs from process to process, so that
 * nobody can choose values that share one. false: too deep, or too many. */
bool collection_hash(const OSObject *object, uint64_t *hash);
