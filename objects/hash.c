/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A number for a value, by which sets find it: equal values have equal numbers. It is keyed with
 * what the kernel gave this process at its start, so that whoever sends us values cannot choose
 * many that share one. Numbers are not secret and leave no process.
 */

#include <objects/collection.h>

#include <pthread.h>
#include <string.h>
#include <sys/auxv.h>

static uint64_t keys[2];

static void read_keys(void)
{
	const void *random = (const void *)(uintptr_t)getauxval(AT_RANDOM); // 16 bytes

	if (random != NULL)
		memcpy(keys, random, sizeof(keys));
	keys[0] |= 1;
	keys[1] |= 1;
}

static uint64_t mix(uint64_t state, uint64_t word)
{
	__extension__ typedef unsigned __int128 wide;
	wide product = (wide)(state ^ keys[0]) * (word ^ keys[1]);

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* What kind of value it is goes in first: the string "" is not the data of no bytes. */
enum kind { STRING = 1, NUMBER, DATA, BOOLEAN, ARRAY, DICTIONARY, SET, ORDERED_SET, OTHER };

static uint64_t hash_bytes(enum kind kind, const void *bytes, size_t length)
{
	uint64_t state = mix(mix(0, kind), length), word;
	const uint8_t *at = bytes;

	for (; length >= sizeof(word); at += sizeof(word), length -= sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		state = mix(state, word);
	}
	word = 0;
	if (length != 0)
		memcpy(&word, at, length);
	return mix(state, word);
}

static bool hash_value(const OSObject *object, struct collection_walk *walk, uint64_t *hash);

static bool hash_array(OSArray *array, struct collection_walk *walk, uint64_t *hash)
{
	uint64_t state = mix(0, ARRAY), member = 0;

	for (uint32_t i = 0; i < OSArray_getCount(array); i++) {
		if (!hash_value(OSArray_getObject(array, i), walk, &member))
			return false;
		state = mix(state, member);
	}
	*hash = state;
	return true;
}

static bool hash_ordered_set(OSOrderedSet *set, struct collection_walk *walk, uint64_t *hash)
{
	uint64_t state = mix(0, ORDERED_SET), member = 0;

	for (uint32_t i = 0; i < OSOrderedSet_getCount(set); i++) {
		if (!hash_value(OSOrderedSet_getObject(set, i), walk, &member))
			return false;
		state = mix(state, member);
	}
	*hash = state;
	return true;
}

/* Sums, for the order does not matter. */
static bool hash_set(OSSet *set, struct collection_walk *walk, uint64_t *hash)
{
	uint64_t sum = 0, member = 0;

	for (uint32_t i = 0; i < OSSet_getCount(set); i++) {
		if (!hash_value(OSSet_getObject(set, i), walk, &member))
			return false;
		sum += mix(member, SET);
	}
	*hash = mix(sum, SET);
	return true;
}

static bool hash_dictionary(OSDictionary *dictionary, struct collection_walk *walk, uint64_t *hash)
{
	uint64_t sum = 0, member = 0;
	const char *key;
	OSObject *object;

	for (uint32_t i = 0; OSDictionary_getEntry(dictionary, i, &key, &object); i++) {
		if (!hash_value(object, walk, &member))
			return false;
		sum += mix(hash_bytes(DICTIONARY, key, strlen(key)), member);
	}
	*hash = mix(sum, DICTIONARY);
	return true;
}

static bool hash_by_class(const OSObject *object, struct collection_walk *walk, uint64_t *hash)
{
	OSString *string = OSDynamicCast(OSString, object);
	OSNumber *number = OSDynamicCast(OSNumber, object);
	OSData *data = OSDynamicCast(OSData, object);
	OSBoolean *boolean = OSDynamicCast(OSBoolean, object);
	OSArray *array = OSDynamicCast(OSArray, object);
	OSDictionary *dictionary = OSDynamicCast(OSDictionary, object);
	OSSet *set = OSDynamicCast(OSSet, object);
	OSOrderedSet *ordered = OSDynamicCast(OSOrderedSet, object);

	if (array != NULL)
		return hash_array(array, walk, hash);
	if (dictionary != NULL)
		return hash_dictionary(dictionary, walk, hash);
	if (set != NULL)
		return hash_set(set, walk, hash);
	if (ordered != NULL)
		return hash_ordered_set(ordered, walk, hash);
	if (string != NULL)
		*hash = hash_bytes(STRING, OSString_getCStringNoCopy(string),
				   OSString_getLength(string));
	else if (number != NULL)
		*hash = mix(mix(0, NUMBER), OSNumber_unsigned64BitValue(number));
	else if (data != NULL)
		*hash = hash_bytes(DATA, OSData_getBytesNoCopy(data), OSData_getLength(data));
	else if (boolean != NULL)
		*hash = mix(mix(0, BOOLEAN), OSBoolean_getValue(boolean));
	else
		*hash = mix(mix(0, OTHER), (uint64_t)(uintptr_t)object);
	return true;
}

static bool hash_value(const OSObject *object, struct collection_walk *walk, uint64_t *hash)
{
	bool ok;

	if (!collection_walk_enter(walk))
		return false;
	ok = hash_by_class(object, walk, hash);
	collection_walk_leave(walk);
	return ok;
}

bool collection_hash(const OSObject *object, uint64_t *hash)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct collection_walk own = { 0 }, *comparison = collection_comparison();

	pthread_once(&once, read_keys);
	return hash_value(object, comparison != NULL ? comparison : &own, hash);
}
