/* SPDX-License-Identifier: Apache-2.0 */

/* OSContainer: the deep copy of a value, by what its class is. What is immutable is shared. */

#include <DriverKit/OSCollections.h>

#include <base/reason.h>
#include <objects/collection.h>
#include <objects/members.h>

static OSObject *copy_value(OSObject *object, struct collection_walk *walk);

/* The two sets, and nobody else, may refuse a copy: two members were changed to be equal. */
static bool add_copy(OSObject *object, struct collection_walk *walk, void *into,
		     bool (*add)(void *into, OSObject *copy))
{
	OSObject *copy = copy_value(object, walk);
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

static OSObject *copy_array(OSObject *object, struct collection_walk *walk)
{
	OSArray *from = (OSArray *)object;
	OSArray *copy = OSArray_withCapacity(OSArray_getCount(from));

	for (uint32_t i = 0; copy != NULL && i < OSArray_getCount(from); i++)
		if (!add_copy(OSArray_getObject(from, i), walk, copy, add_to_array))
			OSSafeReleaseNULL(copy);
	return (OSObject *)copy;
}

static OSObject *copy_set(OSObject *object, struct collection_walk *walk)
{
	OSSet *from = (OSSet *)object;
	OSSet *copy = OSSet_withCapacity(OSSet_getCount(from));

	for (uint32_t i = 0; copy != NULL && i < OSSet_getCount(from); i++)
		if (!add_copy(OSSet_getObject(from, i), walk, copy, add_to_set))
			OSSafeReleaseNULL(copy);
	return (OSObject *)copy;
}

static OSObject *copy_ordered_set(OSObject *object, struct collection_walk *walk)
{
	OSOrderedSet *from = (OSOrderedSet *)object;
	OSOrderedSet *copy = ordered_set_copy_empty(from);

	for (uint32_t i = 0; copy != NULL && i < OSOrderedSet_getCount(from); i++)
		if (!add_copy(OSOrderedSet_getObject(from, i), walk, copy, add_to_ordered_set))
			OSSafeReleaseNULL(copy);
	return (OSObject *)copy;
}

static OSObject *copy_dictionary(OSObject *object, struct collection_walk *walk)
{
	OSDictionary *from = (OSDictionary *)object;
	OSDictionary *copy = OSDictionary_withCapacity(OSDictionary_getCount(from));
	const char *key;
	OSObject *member;

	for (uint32_t i = 0; copy != NULL && OSDictionary_getEntry(from, i, &key, &member); i++) {
		member = copy_value(member, walk);
		if (member == NULL || !OSDictionary_setObject(copy, key, member))
			OSSafeReleaseNULL(copy);
		OSObjectRelease(member);
	}
	return (OSObject *)copy;
}

static OSObject *copy_number(OSObject *object, struct collection_walk *walk)
{
	OSNumber *from = (OSNumber *)object;

	(void)walk;
	return (OSObject *)OSNumber_withNumber(OSNumber_unsigned64BitValue(from),
					       OSNumber_numberOfBits(from));
}

static OSObject *copy_data(OSObject *object, struct collection_walk *walk)
{
	(void)walk;
	return (OSObject *)OSData_withData((OSData *)object);
}

static const struct {
	const OSMetaClass *meta;
	OSObject *(*copy)(OSObject *object, struct collection_walk *walk);
} copies[] = {
	{ &gOSArrayMetaClass, copy_array },   { &gOSDictionaryMetaClass, copy_dictionary },
	{ &gOSSetMetaClass, copy_set },       { &gOSOrderedSetMetaClass, copy_ordered_set },
	{ &gOSNumberMetaClass, copy_number }, { &gOSDataMetaClass, copy_data },
};

static OSObject *copy_by_class(OSObject *object, struct collection_walk *walk)
{
	for (size_t i = 0; i < sizeof(copies) / sizeof(copies[0]); i++)
		if (OSMetaClassIsSubclass(object->meta, copies[i].meta))
			return copies[i].copy(object, walk);
	OSObjectRetain(object);
	return object;
}

static OSObject *copy_value(OSObject *object, struct collection_walk *walk)
{
	OSObject *copy;

	if (!collection_walk_enter(walk))
		return NULL;
	copy = copy_by_class(object, walk);
	collection_walk_leave(walk);
	return copy;
}

OSContainer *OSContainer_copyCollection(OSContainer *self)
{
	struct collection_walk walk = { 0 };

	if (self == NULL) {
		refuse(kIOReturnBadArgument, "OSContainer::copyCollection was called on no object");
		return NULL;
	}
	return (OSContainer *)copy_value((OSObject *)self, &walk);
}
