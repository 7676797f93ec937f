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
#include <base/reason.h>
#include <objects/object.h>

struct entry {
	char *key;        // owned
	OSObject *object; // kept
};

struct OSDictionary_IVars {
	uint32_t count, room;
	struct entry *entries; // owned; as they were set
	uint32_t *by_key;      // owned; indices of entries, ascending by key
};

static bool reserve(struct OSDictionary_IVars *dictionary, uint32_t room)
{
	struct entry *entries;
	uint32_t *by_key;

	if (room > COLLECTION_COUNT_MAX) {
		refuse(kIOReturnOverrun, "a dictionary of %u entries: at most %u", room,
		       COLLECTION_COUNT_MAX);
		return false;
	}
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

/* Room for one more, doubling. */
static bool reserve_next(struct OSDictionary_IVars *dictionary)
{
	uint32_t doubled = dictionary->room < 8 ? 8 : 2 * dictionary->room;

	if (dictionary->count < dictionary->room)
		return true;
	if (doubled > COLLECTION_COUNT_MAX && dictionary->count < COLLECTION_COUNT_MAX)
		doubled = COLLECTION_COUNT_MAX;
	return reserve(dictionary, doubled);
}

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
	size_t length = strnlen(key, COLLECTION_BYTES_MAX + 1UL);

	if (length > COLLECTION_BYTES_MAX) {
		refuse(kIOReturnOverrun, "a key of more than %u bytes", COLLECTION_BYTES_MAX);
		return false;
	}
	if (!reserve_next(dictionary))
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
	copy = NULL;
	return true;
}

static void replace(struct entry *entry, OSObject *object)
{
	OSObject *old = entry->object;

	OSObjectRetain(object);
	entry->object = object;
	OSObjectRelease(old);
}

OSDictionary *OSDictionary_withCapacity(uint32_t capacity)
{
	OSDictionary *dictionary = OSTypeAlloc(OSDictionary);

	if (dictionary == NULL)
		return NULL;
	dictionary->ivars = calloc(1, sizeof(*dictionary->ivars));
	if (dictionary->ivars == NULL || !reserve(dictionary->ivars, capacity))
		OSSafeReleaseNULL(dictionary);
	return dictionary;
}

OSDictionary *OSDictionary_withDictionary(OSDictionary *other)
{
	OSDictionary *dictionary = OSDictionary_withCapacity(OSDictionary_getCount(other));
	const char *key;
	OSObject *object;

	for (uint32_t i = 0; OSDictionary_getEntry(other, i, &key, &object); i++)
		if (!OSDictionary_setObject(dictionary, key, object)) {
			OSSafeReleaseNULL(dictionary);
			break;
		}
	return dictionary;
}

void IMPL(OSDictionary, free)
{
	struct OSDictionary_IVars *dictionary = self->ivars;

	self->ivars = NULL;
	if (dictionary != NULL) {
		for (uint32_t i = 0; i < dictionary->count; i++) {
			free(dictionary->entries[i].key);
			OSObjectRelease(dictionary->entries[i].object);
		}
		free(dictionary->entries);
		free(dictionary->by_key);
	}
	free(dictionary);
	OSDictionary_super_free(self);
}

uint32_t OSDictionary_getCount(OSDictionary *self)
{
	return self != NULL && self->ivars != NULL ? self->ivars->count : 0;
}

bool OSDictionary_setObject(OSDictionary *self, const char *key, OSObject *object)
{
	struct OSDictionary_IVars *dictionary = self != NULL ? self->ivars : NULL;
	uint32_t position;
	bool found;

	if (dictionary == NULL || key == NULL || object == NULL) {
		refuse(kIOReturnBadArgument, "a dictionary, a key or the object for it is missing");
		return false;
	}
	position = find_key(dictionary, key, &found);
	if (!found)
		return insert(dictionary, position, key, object);
	replace(&dictionary->entries[dictionary->by_key[position]], object);
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
	free(removed.key);
	OSObjectRelease(removed.object);
}

bool OSDictionary_getEntry(OSDictionary *self, uint32_t index, const char **key, OSObject **object)
{
	if (index >= OSDictionary_getCount(self))
		return false;
	*key = self->ivars->entries[index].key;
	*object = self->ivars->entries[index].object;
	return true;
}

bool IMPL(OSDictionary, isEqualTo)
{
	OSDictionary *dictionary = OSDynamicCast(OSDictionary, other);

	if (dictionary == NULL || OSDictionary_getCount(dictionary) != OSDictionary_getCount(self))
		return false;
	for (uint32_t i = 0; i < OSDictionary_getCount(self); i++) {
		struct entry *ours = &self->ivars->entries[self->ivars->by_key[i]];
		struct entry *theirs = &dictionary->ivars->entries[dictionary->ivars->by_key[i]];

		if (strcmp(ours->key, theirs->key) != 0 ||
		    !OSObject_isEqualTo(ours->object, theirs->object))
			return false;
	}
	return true;
}
