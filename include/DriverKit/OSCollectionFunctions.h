/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Shorthand over DriverKit/OSCollections.h: the usual values of a dictionary. Ownership, threads
 * and reasons are those of the functions it stands for. C and C++ alike, so casts stand where C has
 * an upcast.
 */

#include <DriverKit/OSCollections.h>

/* Set or replace what is under `key`, copied, with a number of 64 bits. false: not set, with a
 * reason. */
static inline bool OSDictionarySetUInt64Value(OSDictionary *dictionary, const char *key,
					      uint64_t value)
{
	OSNumber *number = OSNumber_withNumber(value, 64);
	bool ok = number != NULL && OSDictionary_setObject(dictionary, key, (OSObject *)number);

	OSObjectRelease(number);
	return ok;
}

/* With a string, copied; as OSDictionarySetUInt64Value. */
static inline bool OSDictionarySetStringValue(OSDictionary *dictionary, const char *key,
					      const char *value)
{
	OSString *string = OSString_withCString(value);
	bool ok = string != NULL && OSDictionary_setObject(dictionary, key, (OSObject *)string);

	OSObjectRelease(string);
	return ok;
}

/* With a boolean; as OSDictionarySetUInt64Value. */
static inline bool OSDictionarySetBoolValue(OSDictionary *dictionary, const char *key, bool value)
{
	return OSDictionary_setObject(dictionary, key, (OSObject *)OSBoolean_withBoolean(value));
}

/* The number under `key`; 0, too, where there is none. */
static inline uint64_t OSDictionaryGetUInt64Value(OSDictionary *dictionary, const char *key)
{
	return OSNumber_unsigned64BitValue(
		OSDynamicCast(OSNumber, OSDictionary_getObject(dictionary, key)));
}

/* The string under `key`, borrowed while the dictionary keeps it; NULL: there is none. */
static inline const char *OSDictionaryGetStringValue(OSDictionary *dictionary, const char *key)
{
	OSString *string = OSDynamicCast(OSString, OSDictionary_getObject(dictionary, key));

	return string != NULL ? OSString_getCStringNoCopy(string) : NULL;
}

/* The boolean under `key`; false, too, where there is none. */
static inline bool OSDictionaryGetBoolValue(OSDictionary *dictionary, const char *key)
{
	return OSBoolean_isTrue(OSDynamicCast(OSBoolean, OSDictionary_getObject(dictionary, key)));
}
