/* SPDX-License-Identifier: Apache-2.0 */

/*
 * OSContainer: the deep copy of a value, by what its class is. What is immutable is shared with the
 * original. What stands in several places of the original is copied once, and stands in as many of
 * the copy: the work, and the memory, are those of the objects, not of the ways to them, of which
 * twenty arrays can have a million.
 */

#include <DriverKit/OSCollections.h>

#include <stdlib.h>

#include <base/reason.h>
#include <objects/collection.h>
#include <objects/members.h>

/* What was copied already and may be met again. */
struct copied {
	const OSObject *object; // borrowed from the original; NULL: a free slot
	OSObject *copy;         // borrowed from the copy
	unsigned height;        // of what it holds
};

struct copying {
	struct collection_walk walk;
	unsigned deepest;      // the depth that was reached below the object at hand
	struct copied *copied; // owned; by the object's address, probed one by one
	uint32_t n_copied, n_slots;
};

static OSObject *copy_value(OSObject *object, struct copying *copying);

/* The two sets, and nobody else, may refuse a copy: two members were changed to be equal. */
static bool add_copy(OSObject *object, struct copying *copying, void *into,
		     bool (*add)(void *into, OSObject *copy))
{
	OSObject *copy = copy_value(object, copying);
	bool ok = copy != NULL && add(into, copy);

	OSObjectRelease(copy);
	return ok;
}

static bool add_to_array(void *array, OSObject *copy)
{
	return OSArray_setObject(array, copy);
}

static bool add_to_set(void *set, OSObject *copy)
{
	return OSSet_setObject(set, copy);
}

static bool add_to_ordered_set(void *set, OSObject *copy)
{
	return OSOrderedSet_setLastObject(set, copy);
}

static OSObject *copy_array(OSObject *object, struct copying *copying)
{
	OSArray *from = (OSArray *)object;
	OSArray *copy = OSArray_withCapacity(OSArray_getCount(from));

	for (uint32_t i = 0; copy != NULL && i < OSArray_getCount(from); i++)
		if (!add_copy(OSArray_getObject(from, i), copying, copy, add_to_array))
			OSSafeReleaseNULL(copy);
	return (OSObject *)copy;
}

static OSObject *copy_set(OSObject *object, struct copying *copying)
{
	OSSet *from = (OSSet *)object;
	OSSet *copy = OSSet_withCapacity(OSSet_getCount(from));

	for (uint32_t i = 0; copy != NULL && i < OSSet_getCount(from); i++)
		if (!add_copy(OSSet_getObject(from, i), copying, copy, add_to_set))
			OSSafeReleaseNULL(copy);
	return (OSObject *)copy;
}

static OSObject *copy_ordered_set(OSObject *object, struct copying *copying)
{
	OSOrderedSet *from = (OSOrderedSet *)object;
	OSOrderedSet *copy = ordered_set_copy_empty(from);

	for (uint32_t i = 0; copy != NULL && i < OSOrderedSet_getCount(from); i++)
		if (!add_copy(OSOrderedSet_getObject(from, i), copying, copy, add_to_ordered_set))
			OSSafeReleaseNULL(copy);
	return (OSObject *)copy;
}

static OSObject *copy_dictionary(OSObject *object, struct copying *copying)
{
	OSDictionary *from = (OSDictionary *)object;
	OSDictionary *copy = OSDictionary_withCapacity(OSDictionary_getCount(from));
	const char *key;
	OSObject *member;

	for (uint32_t i = 0; copy != NULL && OSDictionary_getEntry(from, i, &key, &member); i++) {
		member = copy_value(member, copying);
		if (member == NULL || !OSDictionary_setObject(copy, key, member))
			OSSafeReleaseNULL(copy);
		OSObjectRelease(member);
	}
	return (OSObject *)copy;
}

static OSObject *copy_number(OSObject *object, struct copying *copying)
{
	OSNumber *from = (OSNumber *)object;

	(void)copying;
	return (OSObject *)OSNumber_withNumber(OSNumber_unsigned64BitValue(from),
					       OSNumber_numberOfBits(from));
}

static OSObject *copy_data(OSObject *object, struct copying *copying)
{
	(void)copying;
	return (OSObject *)OSData_withData((OSData *)object);
}

static const struct {
	const OSMetaClass *meta;
	OSObject *(*copy)(OSObject *object, struct copying *copying);
} copies[] = {
	{ &gOSArrayMetaClass, copy_array },   { &gOSDictionaryMetaClass, copy_dictionary },
	{ &gOSSetMetaClass, copy_set },       { &gOSOrderedSetMetaClass, copy_ordered_set },
	{ &gOSNumberMetaClass, copy_number }, { &gOSDataMetaClass, copy_data },
};

static OSObject *copy_by_class(OSObject *object, struct copying *copying)
{
	for (size_t i = 0; i < sizeof(copies) / sizeof(copies[0]); i++)
		if (OSMetaClassIsSubclass(object->meta, copies[i].meta))
			return copies[i].copy(object, copying);
	OSObjectRetain(object);
	return object;
}

/* --- what stands in several places --- */

/* Where it is, or would be. */
static struct copied *slot_of(const struct copying *copying, const OSObject *object)
{
	uint32_t mask = copying->n_slots - 1;
	uint32_t slot = (uint32_t)(((uintptr_t)object >> 4) * 0x9e3779b1U) & mask;

	while (copying->copied[slot].object != NULL && copying->copied[slot].object != object)
		slot = (slot + 1) & mask;
	return &copying->copied[slot];
}

static bool grow(struct copying *copying)
{
	struct copying larger = *copying;

	larger.n_slots = copying->n_slots != 0 ? 2 * copying->n_slots : 64;
	larger.copied = calloc(larger.n_slots, sizeof(*larger.copied));
	if (larger.copied == NULL) {
		refuse(kIOReturnNoMemory, "no memory to copy a value");
		return false;
	}
	for (uint32_t i = 0; i < copying->n_slots; i++)
		if (copying->copied[i].object != NULL)
			*slot_of(&larger, copying->copied[i].object) = copying->copied[i];
	free(copying->copied);
	*copying = larger;
	return true;
}

static bool remember(struct copying *copying, const OSObject *object, OSObject *copy,
		     unsigned height)
{
	if (2 * copying->n_copied >= copying->n_slots && !grow(copying))
		return false;
	*slot_of(copying, object) =
		(struct copied){ .object = object, .copy = copy, .height = height };
	copying->n_copied++;
	return true;
}

/* Only what somebody else keeps too can be met again. */
static bool may_be_shared(const OSObject *object)
{
	return OSObjectGetRetainCount(object) > 1;
}

static const struct copied *recall(const struct copying *copying, const OSObject *object)
{
	const struct copied *found =
		copying->n_slots != 0 && may_be_shared(object) ? slot_of(copying, object) : NULL;

	return found != NULL && found->object != NULL ? found : NULL;
}

/* --- values --- */

static void reach(struct copying *copying, unsigned depth)
{
	if (copying->deepest < depth)
		copying->deepest = depth;
}

static OSObject *copy_again(const struct copied *copied, struct copying *copying)
{
	unsigned depth = copying->walk.depth + copied->height;

	if (depth > kOSCollectionDepthMax) {
		refuse(kIOReturnOverrun, "values deeper than %u", kOSCollectionDepthMax);
		return NULL;
	}
	reach(copying, depth);
	OSObjectRetain(copied->copy);
	return copied->copy;
}

static OSObject *copy_first(OSObject *object, struct copying *copying)
{
	unsigned depth = copying->walk.depth, above = copying->deepest;

	copying->deepest = depth;
	OSObject *copy = copy_by_class(object, copying);
	if (copy != NULL && copy != object && may_be_shared(object) &&
	    !remember(copying, object, copy, copying->deepest - depth))
		OSSafeReleaseNULL(copy);
	reach(copying, above);
	return copy;
}

static OSObject *copy_value(OSObject *object, struct copying *copying)
{
	if (!collection_walk_enter(&copying->walk))
		return NULL;
	const struct copied *copied = recall(copying, object);
	OSObject *copy = copied != NULL ? copy_again(copied, copying) : copy_first(object, copying);
	collection_walk_leave(&copying->walk);
	return copy;
}

OSContainer *OSContainer_copyCollection(OSContainer *self)
{
	struct copying copying = { 0 };

	if (self == NULL) {
		refuse(kIOReturnBadArgument, "OSContainer::copyCollection was called on no object");
		return NULL;
	}
	OSObject *copy = copy_value((OSObject *)self, &copying);
	free(copying.copied);
	return (OSContainer *)copy;
}
