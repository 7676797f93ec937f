/* SPDX-License-Identifier: Apache-2.0 */

/*
 * See collection.h. A comparison goes from collection to collection through isEqualTo, which has no
 * parameter for it; so how deep it is, is kept per thread.
 */

#include <objects/collection.h>

#include <base/reason.h>
#include <objects/ledger.h>

#define ENDS_NESTED_MAX 16U

bool collection_has(const void *object, const void *ivars, const char *use)
{
	if (ivars == NULL)
		ledger_check(object, use);
	return ivars != NULL;
}

bool collection_is_made(const void *object, const void *ivars, const char *use)
{
	if (collection_has(object, ivars, use))
		return true;
	if (object == NULL)
		refuse(kIOReturnBadArgument, "%s: the object is missing", use);
	else
		refuse(kIOReturnBadArgument,
		       "%s: an object that was only allocated, or is freed: "
		       "make it by a function named with…",
		       use);
	return false;
}

/* --- growing --- */

bool collection_may_have(uint32_t count)
{
	if (count > kOSCollectionCountMax)
		refuse(kIOReturnOverrun, "a collection of %u members: at most %u", count,
		       kOSCollectionCountMax);
	return count <= kOSCollectionCountMax;
}

uint32_t collection_next_room(const struct collection *collection, uint32_t count)
{
	uint32_t more = collection->increment != 0 ? collection->increment : count;

	if (!collection_may_have(count + 1))
		return 0;
	if (more < 8 && collection->increment == 0)
		more = 8;
	return more > kOSCollectionCountMax - count ? kOSCollectionCountMax : count + more;
}

bool collection_is_unchanged(const struct collection *collection, uint32_t changes)
{
	if (collection->changes != changes)
		refuse(kIOReturnAborted, "the collection was changed while it was walked over");
	return collection->changes == changes;
}

/* --- ending --- */

static _Thread_local struct {
	unsigned nested;
	struct collection *waiting;
} ending;

void collection_end(struct collection *collection)
{
	if (collection == NULL)
		return;
	collection->next_dead = ending.waiting;
	ending.waiting = collection;
	if (ending.nested == ENDS_NESTED_MAX)
		return;
	ending.nested++;
	/* The innermost that may, takes on what those below it had to leave. */
	while (ending.waiting != NULL) {
		collection = ending.waiting;
		ending.waiting = collection->next_dead;
		collection->end(collection);
	}
	ending.nested--;
}

/* --- comparing --- */

static _Thread_local struct collection_walk comparison;

static bool walk_enter(struct collection_walk *walk, uint32_t visits)
{
	if (walk->depth == kOSCollectionDepthMax) {
		refuse(kIOReturnOverrun, "values deeper than %u: do they hold themselves?",
		       kOSCollectionDepthMax);
		return false;
	}
	if (walk->visits > kOSCollectionVisitsMax - visits) {
		refuse(kIOReturnOverrun, "more than %u values to look at", kOSCollectionVisitsMax);
		return false;
	}
	walk->depth++;
	walk->visits += visits;
	return true;
}

bool collection_compare_enter(uint32_t count)
{
	if (comparison.depth == 0)
		comparison.visits = 0;
	return walk_enter(&comparison, count);
}

void collection_compare_leave(void)
{
	comparison.depth--;
}

struct collection_walk *collection_comparison(void)
{
	return comparison.depth > 0 ? &comparison : NULL;
}

bool collection_walk_enter(struct collection_walk *walk)
{
	return walk_enter(walk, 1);
}

void collection_walk_leave(struct collection_walk *walk)
{
	walk->depth--;
}
