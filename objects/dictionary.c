/* SPDX-License-Identifier: Apache-2.0 */

/*
 * OSDictionary: entries in the order they were set, and beside them their indices in the order of
 * their keys, for lookup by binary search. A hash table would be faster for many keys, and its
 * worst case would be the choice of whoever sends us keys; this has none.
 *
 * Who changes it must be alone with it. An object is let go only after the dictionary is whole
 * again, for its free() may look at the dictionary.
 */

#include <DriverKit/OSCollections.h>

#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/list.h>
#include <base/reason.h>
#include <objects/collection.h>
#include <objects/text.h>

struct entry {
	char *key;        // owned
	OSObject *object; // kept
};

struct OSDictionary_IVars {
	struct collection collection;
	uint32_t count, room;
	struct entry *entries; // owned; as they were set
	uint32_t *by_key;      // owned; indices of entries, ascending by key
};

static struct OSDictionary_IVars *ivars_of(const OSDictionary *self, const char *use)
{
	struct OSDictionary_IVars *dictionary = self != NULL ? self->ivars : NULL;

	return collection_is_made(self, dictionary, use) ? dictionary : NULL;
}

/* For getters: NULL is nothing wrong. */
static const struct OSDictionary_IVars *peek(const OSDictionary *self, const char *use)
{
	struct OSDictionary_IVars *dictionary = self != NULL ? self->ivars : NULL;

	return collection_has(self, dictionary, use) ? dictionary : NULL;
}

/* --- room --- */

static bool reserve(struct OSDictionary_IVars *dictionary, uint32_t room)
{
	struct entry *entries;
	uint32_t *by_key;

	if (!collection_may_have(room))
		return false;
	if (room <= dictionary->room)
		return true;
	entries = reallocarray(dictionary->entries, room, sizeof(struct entry));
	if (entries != NULL)
		dictionary->entries = entries;
	by_key = reallocarray(dictionary->by_key, room, sizeof(uint32_t));
	if (by_key != NULL)
		dictionary->by_key = by_key;
	if (entries == NULL || by_key == NULL) {
		refuse(kIOReturnNoMemory, "no memory for a dictionary of %u entries", room);
		return false;
	}
	dictionary->room = room;
	return true;
}

static bool reserve_next(struct OSDictionary_IVars *dictionary)
{
	uint32_t room;

	if (dictionary->count < dictionary->room)
		return true;
	room = collection_next_room(&dictionary->collection, dictionary->count);
	return room != 0 && reserve(dictionary, room);
}

uint32_t OSDictionary_getCapacity(OSDictionary *self)
{
	const struct OSDictionary_IVars *dictionary = peek(self, "getCapacity");

	return dictionary != NULL ? dictionary->room : 0;
}

uint32_t OSDictionary_ensureCapacity(OSDictionary *self, uint32_t capacity)
{
	struct OSDictionary_IVars *dictionary = ivars_of(self, "ensureCapacity");

	if (dictionary == NULL)
		return 0;
	reserve(dictionary, capacity);
	return dictionary->room;
}

uint32_t OSDictionary_getCapacityIncrement(OSDictionary *self)
{
	const struct OSDictionary_IVars *dictionary = peek(self, "getCapacityIncrement");

	return dictionary != NULL ? dictionary->collection.increment : 0;
}

uint32_t OSDictionary_setCapacityIncrement(OSDictionary *self, uint32_t increment)
{
	struct OSDictionary_IVars *dictionary = ivars_of(self, "setCapacityIncrement");

	if (dictionary != NULL)
		dictionary->collection.increment = increment;
	return dictionary != NULL ? increment : 0;
}

/* --- entries --- */

/* Where in by_key `key` is, or would be. */
static uint32_t find_key(const struct OSDictionary_IVars *dictionary, const char *key, bool *found)
{
	uint32_t low = 0, high = dictionary->count;

	*found = false;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int order = strcmp(dictionary->entries[dictionary->by_key[middle]].key, key);

		if (order == 0) {
			*found = true;
			return middle;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool insert(struct OSDictionary_IVars *dictionary, uint32_t position, const char *key,
		   OSObject *object)
{
	size_t length = strnlen(key, kOSCollectionBytesMax + 1UL);

	if (!text_may_hold("a key", key, length) || !reserve_next(dictionary))
		return false;
	CLEANUP(freep) char *copy = malloc(length + 1);
	if (copy == NULL) {
		refuse(kIOReturnNoMemory, "no memory for a key of %zu bytes", length);
		return false;
	}
	memcpy(copy, key, length + 1);
	memmove(dictionary->by_key + position + 1, dictionary->by_key + position,
		(dictionary->count - position) * sizeof(uint32_t));
	dictionary->by_key[position] = dictionary->count;
	OSObjectRetain(object);
	dictionary->entries[dictionary->count++] = (struct entry){ .key = copy, .object = object };
	dictionary->collection.changes++;
	copy = NULL;
	return true;
}

static void replace(struct OSDictionary_IVars *dictionary, struct entry *entry, OSObject *object)
{
	OSObject *old = entry->object;

	OSObjectRetain(object);
	entry->object = object;
	dictionary->collection.changes++;
	OSObjectRelease(old);
}

/* --- its life --- */

static void flush(struct OSDictionary_IVars *dictionary)
{
	struct entry *entries = dictionary->entries;
	uint32_t count = dictionary->count;

	free(dictionary->by_key);
	dictionary->entries = NULL;
	dictionary->by_key = NULL;
	dictionary->count = dictionary->room = 0;
	dictionary->collection.changes++;
	for (uint32_t i = 0; i < count; i++) {
		free(entries[i].key);
		OSObjectRelease(entries[i].object);
	}
	free(entries);
}

static void end(struct collection *collection)
{
	struct OSDictionary_IVars *dictionary =
		container_of(collection, struct OSDictionary_IVars, collection);

	flush(dictionary);
	free(dictionary);
}

OSDictionary *OSDictionary_withCapacity(uint32_t capacity)
{
	OSDictionary *dictionary = OSTypeAlloc(OSDictionary);

	if (dictionary == NULL)
		return NULL;
	dictionary->ivars = calloc(1, sizeof(*dictionary->ivars));
	if (dictionary->ivars != NULL)
		dictionary->ivars->collection.end = end;
	if (dictionary->ivars == NULL || !reserve(dictionary->ivars, capacity))
		OSSafeReleaseNULL(dictionary);
	return dictionary;
}

OSDictionary *OSDictionary_withObjects(OSObject *const *objects, const char *const *keys,
				       uint32_t count, uint32_t capacity)
{
	OSDictionary *dictionary = OSDictionary_withCapacity(capacity > count ? capacity : count);

	for (uint32_t i = 0; dictionary != NULL && i < count; i++)
		if (!OSDictionary_setObject(dictionary, keys != NULL ? keys[i] : NULL,
					    objects != NULL ? objects[i] : NULL))
			OSSafeReleaseNULL(dictionary);
	return dictionary;
}

OSDictionary *OSDictionary_withDictionary(OSDictionary *other)
{
	OSDictionary *dictionary = OSDictionary_withCapacity(OSDictionary_getCount(other));

	if (dictionary != NULL && !OSDictionary_merge(dictionary, other))
		OSSafeReleaseNULL(dictionary);
	return dictionary;
}

void IMPL(OSDictionary, free)
{
	struct OSDictionary_IVars *dictionary = self->ivars;

	self->ivars = NULL;
	if (dictionary != NULL)
		collection_end(&dictionary->collection);
	OSDictionary_super_free(self);
}

/* --- use --- */

uint32_t OSDictionary_getCount(OSDictionary *self)
{
	const struct OSDictionary_IVars *dictionary = peek(self, "getCount");

	return dictionary != NULL ? dictionary->count : 0;
}

bool OSDictionary_setObject(OSDictionary *self, const char *key, OSObject *object)
{
	struct OSDictionary_IVars *dictionary = ivars_of(self, "setObject");
	uint32_t position;
	bool found;

	if (dictionary == NULL)
		return false;
	if (key == NULL || object == NULL) {
		refuse(kIOReturnBadArgument, "the %s for a dictionary is missing%s%.200s",
		       key == NULL ? "key" : "object", key == NULL ? "" : ": ",
		       key == NULL ? "" : key);
		return false;
	}
	position = find_key(dictionary, key, &found);
	if (!found)
		return insert(dictionary, position, key, object);
	replace(dictionary, &dictionary->entries[dictionary->by_key[position]], object);
	return true;
}

bool OSDictionary_merge(OSDictionary *self, OSDictionary *other)
{
	const char *key;
	OSObject *object;

	if (ivars_of(self, "merge") == NULL || ivars_of(other, "merge") == NULL)
		return false;
	for (uint32_t i = 0; OSDictionary_getEntry(other, i, &key, &object); i++)
		if (!OSDictionary_setObject(self, key, object))
			return false;
	return true;
}

OSObject *OSDictionary_getObject(OSDictionary *self, const char *key)
{
	uint32_t position;
	bool found;

	if (OSDictionary_getCount(self) == 0 || key == NULL)
		return NULL;
	position = find_key(self->ivars, key, &found);
	return found ? self->ivars->entries[self->ivars->by_key[position]].object : NULL;
}

void OSDictionary_removeObject(OSDictionary *self, const char *key)
{
	struct OSDictionary_IVars *dictionary;
	struct entry removed;
	uint32_t position, index;
	bool found;

	if (OSDictionary_getCount(self) == 0 || key == NULL)
		return;
	dictionary = self->ivars;
	position = find_key(dictionary, key, &found);
	if (!found)
		return;
	index = dictionary->by_key[position];
	removed = dictionary->entries[index];
	dictionary->count--;
	memmove(dictionary->by_key + position, dictionary->by_key + position + 1,
		(dictionary->count - position) * sizeof(uint32_t));
	memmove(dictionary->entries + index, dictionary->entries + index + 1,
		(dictionary->count - index) * sizeof(struct entry));
	for (uint32_t i = 0; i < dictionary->count; i++)
		if (dictionary->by_key[i] > index)
			dictionary->by_key[i]--;
	dictionary->collection.changes++;
	free(removed.key);
	OSObjectRelease(removed.object);
}

void OSDictionary_flushCollection(OSDictionary *self)
{
	struct OSDictionary_IVars *dictionary = ivars_of(self, "flushCollection");

	if (dictionary != NULL)
		flush(dictionary);
}

OSArray *OSDictionary_copyKeys(OSDictionary *self)
{
	OSArray *keys = OSArray_withCapacity(OSDictionary_getCount(self));
	const char *key;
	OSObject *object;

	for (uint32_t i = 0; keys != NULL && OSDictionary_getEntry(self, i, &key, &object); i++) {
		OSString *string = OSString_withCString(key);

		if (string == NULL || !OSArray_setObject(keys, OSString_as_OSObject(string)))
			OSSafeReleaseNULL(keys);
		OSObjectRelease(string);
	}
	return keys;
}

bool OSDictionary_getEntry(OSDictionary *self, uint32_t index, const char **key, OSObject **object)
{
	if (index >= OSDictionary_getCount(self))
		return false;
	*key = self->ivars->entries[index].key;
	*object = self->ivars->entries[index].object;
	return true;
}

bool OSDictionary_iterateObjects_f(OSDictionary *self, void *context, OSDictionaryFunction function)
{
	struct OSDictionary_IVars *dictionary = ivars_of(self, "iterateObjects");
	bool stop = false, unchanged = true;
	uint32_t changes;

	if (dictionary == NULL)
		return false;
	if (function == NULL) {
		refuse(kIOReturnBadArgument, "the function to call for each entry is missing");
		return false;
	}
	changes = dictionary->collection.changes;
	OSObjectRetain(self);
	for (uint32_t i = 0; unchanged && !stop && i < dictionary->count; i++) {
		struct entry entry = dictionary->entries[i];

		OSObjectRetain(entry.object);
		stop = function(context, entry.key, entry.object);
		OSObjectRelease(entry.object);
		unchanged = stop || collection_is_unchanged(&dictionary->collection, changes);
	}
	OSObjectRelease(self);
	return unchanged;
}

/* Each has its entries in the order of the keys, too. */
static bool have_equal_entries(const struct OSDictionary_IVars *one,
			       const struct OSDictionary_IVars *two)
{
	for (uint32_t i = 0; i < one->count && i < two->count; i++) {
		struct entry *ours = &one->entries[one->by_key[i]];
		struct entry *theirs = &two->entries[two->by_key[i]];

		if (strcmp(ours->key, theirs->key) != 0 ||
		    !OSObject_isEqualTo(ours->object, theirs->object))
			return false;
	}
	return true;
}

bool IMPL(OSDictionary, isEqualTo)
{
	OSDictionary *dictionary = OSDynamicCast(OSDictionary, other);
	uint32_t count = OSDictionary_getCount(self);
	bool equal;

	if (dictionary == self)
		return true;
	if (dictionary == NULL || OSDictionary_getCount(dictionary) != count)
		return false;
	if (count == 0)
		return true;
	if (!collection_compare_enter(count))
		return false;
	equal = have_equal_entries(self->ivars, dictionary->ivars);
	collection_compare_leave();
	return equal;
}
