/* SPDX-License-Identifier: Apache-2.0 */

/* The collections: values, ownership, bounds and equality. Counts are read to see who keeps what.
 */

#include <base/unit_test.h>
#include <objects/object.h>

#include <stdio.h>
#include <string.h>

#include <DriverKit/OSCollectionConstants.h>
#include <DriverKit/OSCollectionFunctions.h>
#include <base/reason.h>

static uint32_t references(const void *object)
{
	return atomic_load(&((const OSObject *)object)->refcount);
}

static bool equal(const void *one, const void *two)
{
	return OSObject_isEqualTo((OSObject *)(uintptr_t)one, two);
}

static OSObject *number(uint64_t value)
{
	return (OSObject *)OSNumber_withNumber(value, 32);
}

START_TEST(string_copies_its_bytes)
{
	char text[] = "bulk";
	OSString *string = OSString_withCString(text);
	OSString *part = OSString_withBytes("bulkhead", 4);
	OSString *empty = OSString_withBytes(NULL, 0);

	text[0] = 'h';
	ck_assert_str_eq(OSString_getCStringNoCopy(string), "bulk");
	ck_assert_uint_eq(OSString_getLength(string), 4);
	ck_assert(OSString_isEqualToCString(string, "bulk"));
	ck_assert(!OSString_isEqualToCString(string, "hulk"));
	ck_assert(!OSString_isEqualToCString(string, NULL));
	ck_assert(equal(string, part));
	ck_assert(!equal(string, empty));
	ck_assert_str_eq(OSString_getCStringNoCopy(empty), "");
	OSSafeReleaseNULL(string);
	OSSafeReleaseNULL(part);
	OSSafeReleaseNULL(empty);
}
END_TEST

START_TEST(string_refuses_what_it_cannot_hold)
{
	ck_assert_ptr_null(OSString_withBytes("a\0b", 3));
	ck_assert_ptr_nonnull(strstr(reason_last(), "NUL"));
	ck_assert_ptr_null(OSString_withCString(NULL));
	ck_assert_ptr_null(OSString_withBytes("x", kOSCollectionBytesMax + 1UL));
}
END_TEST

/* The examples of RFC 3629, section 10, and of the Unicode standard's table of ill-formed ones. */
START_TEST(string_is_utf8)
{
	static const char *const good[] = { "",
					    "plain",
					    "\xc2\x80",
					    "\xdf\xbf",
					    "\xe0\xa0\x80",
					    "\xed\x9f\xbf",
					    "\xee\x80\x80",
					    "\xef\xbf\xbf",
					    "\xf0\x90\x80\x80",
					    "\xf4\x8f\xbf\xbf" };
	static const char *const bad[] = { "\x80",
					   "a\xc2",
					   "\xc0\x80",
					   "\xc1\xbf",
					   "\xe0\x9f\xbf",
					   "\xed\xa0\x80",
					   "\xed\xbf\xbf",
					   "\xf0\x8f\xbf\xbf",
					   "\xf4\x90\x80\x80",
					   "\xf8\x88\x80\x80\x80",
					   "\xff",
					   "\xe2\x82",
					   "\xe2\x28\xa1" };
	OSDictionary *dictionary = OSDictionary_withCapacity(0);

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		OSString *string = OSString_withCString(good[i]);

		ck_assert_msg(string != NULL, "%zu: %s", i, reason_last());
		OSSafeReleaseNULL(string);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_msg(OSString_withCString(bad[i]) == NULL, "%zu", i);
		ck_assert_ptr_nonnull(strstr(reason_last(), "a string is not UTF-8 at byte "));
		ck_assert(!OSDictionary_setObject(dictionary, bad[i], (OSObject *)kOSBooleanTrue));
		ck_assert_ptr_nonnull(strstr(reason_last(), "a key is not UTF-8 at byte "));
	}
	OSSafeReleaseNULL(dictionary);
}
END_TEST

START_TEST(string_gives_its_parts)
{
	OSString *string = OSString_withCString("abc"), *copy = OSString_withString(string);

	ck_assert_int_eq(OSString_getChar(string, 1), 'b');
	ck_assert_int_eq(OSString_getChar(string, 3), '\0');
	ck_assert_int_eq(OSString_getChar(NULL, 0), '\0');
	ck_assert(equal(string, copy));
	ck_assert_ptr_null(OSString_withString(NULL));
	OSSafeReleaseNULL(string);
	OSSafeReleaseNULL(copy);
}
END_TEST

START_TEST(number_changes_within_its_width)
{
	OSNumber *number = OSNumber_withNumber(250, 8), *wide = OSNumber_withNumber(UINT64_MAX, 64);

	ck_assert_uint_eq(OSNumber_numberOfBytes(number), 1);
	ck_assert(OSNumber_addValue(number, 5));
	ck_assert(!OSNumber_addValue(number, 1));
	ck_assert_ptr_nonnull(strstr(reason_last(), "255 +1 does not fit 8 bits"));
	ck_assert(OSNumber_addValue(number, -255));
	ck_assert(!OSNumber_addValue(number, -1));
	ck_assert_uint_eq(OSNumber_unsigned8BitValue(number), 0);
	ck_assert(OSNumber_addValue(number, 0));
	ck_assert(OSNumber_setValue(number, (uint64_t)-1));
	ck_assert_uint_eq(OSNumber_unsigned64BitValue(number), 255);
	ck_assert(!OSNumber_setValue(number, 256));
	ck_assert_uint_eq(OSNumber_unsigned64BitValue(number), 255);
	ck_assert(!OSNumber_addValue(wide, 1));
	ck_assert(OSNumber_addValue(wide, INT64_MIN));
	ck_assert_uint_eq(OSNumber_unsigned64BitValue(wide), INT64_MAX);
	ck_assert(!OSNumber_addValue(wide, INT64_MIN));
	ck_assert(!OSNumber_setValue(NULL, 1));
	ck_assert(!OSNumber_addValue(NULL, 1));
	OSSafeReleaseNULL(number);
	OSSafeReleaseNULL(wide);
}
END_TEST

START_TEST(number_has_width_and_value)
{
	OSNumber *wide = OSNumber_withNumber(0x1122334455667788ULL, 64);
	OSNumber *minus = OSNumber_withNumber((uint64_t)-1, 16);
	OSNumber *narrow = OSNumber_withNumber(0x88, 8);
	OSNumber *same = OSNumber_withNumber(0x88, 32);

	ck_assert_uint_eq(OSNumber_numberOfBits(wide), 64);
	ck_assert_uint_eq(OSNumber_unsigned64BitValue(wide), 0x1122334455667788ULL);
	ck_assert_uint_eq(OSNumber_unsigned32BitValue(wide), 0x55667788U);
	ck_assert_uint_eq(OSNumber_unsigned16BitValue(wide), 0x7788U);
	ck_assert_uint_eq(OSNumber_unsigned8BitValue(wide), 0x88U);
	ck_assert_uint_eq(OSNumber_unsigned64BitValue(minus), 0xffffU);
	ck_assert(equal(narrow, same));
	ck_assert(!equal(narrow, wide));
	OSSafeReleaseNULL(wide);
	OSSafeReleaseNULL(minus);
	OSSafeReleaseNULL(narrow);
	OSSafeReleaseNULL(same);
}
END_TEST

/* Nothing is cut in silence: neither an odd width nor a value that is too large for its width. */
START_TEST(number_refuses_what_does_not_fit)
{
	ck_assert_ptr_null(OSNumber_withNumber(1, 12));
	ck_assert_ptr_null(OSNumber_withNumber(256, 8));
	ck_assert_ptr_null(OSNumber_withNumber(0x100000000ULL, 32));
	ck_assert_ptr_null(OSNumber_withNumber(~(uint64_t)0x80, 8)); // -129
	ck_assert_ptr_nonnull(strstr(reason_last(), "does not fit"));
}
END_TEST

START_TEST(data_grows)
{
	OSData *data = OSData_withCapacity(0);
	OSData *copy;
	uint8_t chunk[100];

	memset(chunk, 0x5a, sizeof(chunk));
	ck_assert_ptr_null(OSData_getBytesNoCopy(data));
	for (int i = 0; i < 50; i++)
		ck_assert(OSData_appendBytes(data, chunk, sizeof(chunk)));
	ck_assert_uint_eq(OSData_getLength(data), 5000);
	ck_assert_mem_eq((const uint8_t *)OSData_getBytesNoCopy(data) + 4900, chunk, 100);
	copy = OSData_withBytes(OSData_getBytesNoCopy(data), 5000);
	ck_assert(equal(data, copy));
	ck_assert(OSData_appendBytes(copy, "x", 1));
	ck_assert(OSData_appendBytes(copy, NULL, 0));
	ck_assert(!equal(data, copy));
	OSSafeReleaseNULL(data);
	OSSafeReleaseNULL(copy);
}
END_TEST

/* Appending its own bytes must not read what growing has freed. */
START_TEST(data_appends_itself)
{
	OSData *data = OSData_withBytes("0123456789abcdef0123456789abcdef", 32);

	for (int i = 0; i < 6; i++)
		ck_assert(OSData_appendData(data, data));
	ck_assert(OSData_appendBytes(data, (const char *)OSData_getBytesNoCopy(data) + 10, 6));
	ck_assert_uint_eq(OSData_getLength(data), 32 * 64 + 6);
	ck_assert_mem_eq(OSData_getSubrangeNoCopy(data, 32 * 63 + 28, 10), "cdefabcdef", 10);
	OSSafeReleaseNULL(data);
}
END_TEST

START_TEST(data_gives_parts)
{
	OSData *data = OSData_withBytes("abcdef", 6), *part = OSData_withSubrange(data, 2, 3);
	OSData *copy = OSData_withData(data), *empty = OSData_withSubrange(data, 6, 0);

	ck_assert(OSData_isEqualToBytes(part, "cde", 3));
	ck_assert(!OSData_isEqualToBytes(part, "cd", 2));
	ck_assert(!OSData_isEqualToBytes(part, NULL, 3));
	ck_assert(OSData_isEqualToBytes(empty, NULL, 0));
	ck_assert(equal(copy, data));
	ck_assert_ptr_null(OSData_withSubrange(data, 4, 3));
	ck_assert_ptr_nonnull(strstr(reason_last(), "of 6"));
	ck_assert_ptr_null(OSData_withSubrange(data, SIZE_MAX, 2));
	ck_assert_ptr_null(OSData_getSubrangeNoCopy(data, 7, 0));
	ck_assert_ptr_null(OSData_getSubrangeNoCopy(data, 1, SIZE_MAX));
	ck_assert(OSData_appendByte(part, '!', 3));
	ck_assert(OSData_appendByte(part, '?', 0));
	ck_assert(OSData_isEqualToBytes(part, "cde!!!", 6));
	ck_assert(!OSData_appendByte(part, '!', SIZE_MAX));
	ck_assert_uint_ge(OSData_ensureCapacity(part, 1000), 1000);
	ck_assert_uint_eq(OSData_getCapacity(part), OSData_ensureCapacity(part, 10));
	ck_assert_uint_eq(OSData_ensureCapacity(NULL, 1), 0);
	ck_assert_ptr_null(OSData_withData(NULL));
	OSSafeReleaseNULL(data);
	OSSafeReleaseNULL(part);
	OSSafeReleaseNULL(copy);
	OSSafeReleaseNULL(empty);
}
END_TEST

START_TEST(data_is_bounded)
{
	OSData *data = OSData_withBytes("x", 1);

	ck_assert(!OSData_appendBytes(data, "x", kOSCollectionBytesMax));
	ck_assert(!OSData_appendBytes(data, "x", SIZE_MAX));
	ck_assert(!OSData_appendBytes(data, NULL, 1));
	ck_assert_uint_eq(OSData_getLength(data), 1);
	ck_assert_ptr_null(OSData_withCapacity(SIZE_MAX));
	OSSafeReleaseNULL(data);
}
END_TEST

/* There are two booleans in a process, and no count of references can end them. */
START_TEST(booleans_are_shared_and_immortal)
{
	OSBoolean *yes = OSBoolean_withBoolean(true);

	ck_assert_ptr_eq(yes, kOSBooleanTrue);
	ck_assert_ptr_eq(OSBoolean_withBoolean(false), kOSBooleanFalse);
	ck_assert(OSBoolean_getValue(yes));
	ck_assert(!OSBoolean_getValue(kOSBooleanFalse));
	for (int i = 0; i < 3; i++)
		OSObjectRelease(yes);
	ck_assert_uint_eq(references(yes), 1);
	ck_assert(equal(yes, kOSBooleanTrue));
	ck_assert(!equal(yes, kOSBooleanFalse));
}
END_TEST

START_TEST(array_keeps_what_it_holds)
{
	OSArray *array = OSArray_withCapacity(0);
	OSObject *one = number(1), *two = number(2);

	ck_assert(OSArray_setObject(array, one));
	ck_assert(OSArray_setObject(array, two));
	ck_assert(OSArray_setObject(array, one));
	ck_assert_uint_eq(references(one), 3);
	ck_assert_uint_eq(OSArray_getCount(array), 3);
	ck_assert_ptr_eq(OSArray_getObject(array, 1), two);
	ck_assert_uint_eq(references(two), 2);
	ck_assert_ptr_null(OSArray_getObject(array, 3));
	OSArray_removeObject(array, 0);
	OSArray_removeObject(array, 7);
	ck_assert_uint_eq(references(one), 2);
	ck_assert_ptr_eq(OSArray_getObject(array, 0), two);
	ck_assert(!OSArray_setObject(array, NULL));
	OSSafeReleaseNULL(array);
	ck_assert_uint_eq(references(one), 1);
	ck_assert_uint_eq(references(two), 1);
	OSSafeReleaseNULL(one);
	OSSafeReleaseNULL(two);
}
END_TEST

START_TEST(array_is_bounded)
{
	OSArray *array = OSArray_withCapacity(3);

	for (uint32_t i = 0; i < kOSCollectionCountMax; i++)
		ck_assert(OSArray_setObject(array, (OSObject *)kOSBooleanTrue));
	ck_assert(!OSArray_setObject(array, (OSObject *)kOSBooleanTrue));
	ck_assert_uint_eq(OSArray_getCount(array), kOSCollectionCountMax);
	ck_assert_ptr_null(OSArray_withCapacity(kOSCollectionCountMax + 1));
	OSSafeReleaseNULL(array);
}
END_TEST

START_TEST(array_inserts_replaces_and_merges)
{
	OSObject *one = number(1), *two = number(2), *three = number(3);
	OSArray *array = OSArray_withObjects((OSObject *const[]){ one, three }, 2, 5), *copy;

	ck_assert_uint_eq(OSArray_getCapacity(array), 5);
	ck_assert(OSArray_setObjectAtIndex(array, 1, two));
	ck_assert(OSArray_setObjectAtIndex(array, 3, one));
	ck_assert(!OSArray_setObjectAtIndex(array, 5, one));
	ck_assert_ptr_nonnull(strstr(reason_last(), "place 5 in an array of 4 objects"));
	ck_assert_ptr_eq(OSArray_getObject(array, 1), two);
	ck_assert_ptr_eq(OSArray_getObject(array, 2), three);
	ck_assert_ptr_eq(OSArray_getLastObject(array), one);
	ck_assert(OSArray_replaceObject(array, 0, two));
	ck_assert(OSArray_replaceObject(array, 0, two)); // by itself
	ck_assert(!OSArray_replaceObject(array, 4, two));
	ck_assert(!OSArray_replaceObject(array, 0, NULL));
	ck_assert_uint_eq(references(one), 2);
	ck_assert_uint_eq(OSArray_getNextIndexOfObject(array, two, 0), 0);
	ck_assert_uint_eq(OSArray_getNextIndexOfObject(array, two, 1), 1);
	ck_assert_uint_eq(OSArray_getNextIndexOfObject(array, two, 2), UINT32_MAX);
	ck_assert_uint_eq(OSArray_getNextIndexOfObject(array, NULL, 0), UINT32_MAX);
	copy = OSArray_withArray(array);
	ck_assert(equal(array, copy));
	ck_assert(OSArray_merge(copy, copy));
	ck_assert_uint_eq(OSArray_getCount(copy), 8);
	ck_assert_ptr_eq(OSArray_getObject(copy, 7), one);
	ck_assert(!OSArray_merge(copy, NULL));
	ck_assert_ptr_null(OSArray_withArray(NULL));
	ck_assert_ptr_null(OSArray_withObjects(NULL, 1, 0));
	ck_assert_ptr_null(OSArray_getLastObject(NULL));
	OSSafeReleaseNULL(copy);
	OSSafeReleaseNULL(array);
	ck_assert_uint_eq(references(one), 1);
	OSSafeReleaseNULL(one);
	OSSafeReleaseNULL(two);
	OSSafeReleaseNULL(three);
}
END_TEST

START_TEST(dictionary_merges_and_gives_its_keys)
{
	OSObject *one = number(1), *two = number(2);
	const char *const names[] = { "b", "a", "b" };
	OSDictionary *dictionary =
		OSDictionary_withObjects((OSObject *const[]){ one, two, two }, names, 3, 0);
	OSDictionary *other = OSDictionary_withObjects((OSObject *const[]){ one, one },
						       (const char *const[]){ "a", "c" }, 2, 0);
	OSArray *keys;

	ck_assert_uint_eq(OSDictionary_getCount(dictionary), 2);
	ck_assert_ptr_eq(OSDictionary_getObject(dictionary, "b"), two);
	ck_assert(OSDictionary_merge(dictionary, other));
	ck_assert(OSDictionary_merge(dictionary, dictionary));
	ck_assert_ptr_eq(OSDictionary_getObject(dictionary, "a"), one);
	keys = OSDictionary_copyKeys(dictionary);
	ck_assert_uint_eq(OSArray_getCount(keys), 3);
	for (uint32_t i = 0; i < 3; i++) {
		static const char *const order[] = { "b", "a", "c" };

		ck_assert(OSString_isEqualToCString(
			OSRequiredCast(OSString, OSArray_getObject(keys, i)), order[i]));
	}
	ck_assert(!OSDictionary_merge(dictionary, NULL));
	ck_assert_ptr_null(OSDictionary_withObjects((OSObject *const[]){ one }, NULL, 1, 0));
	ck_assert_ptr_null(OSDictionary_withDictionary(NULL));
	OSSafeReleaseNULL(keys);
	OSSafeReleaseNULL(other);
	OSSafeReleaseNULL(dictionary);
	ck_assert_uint_eq(references(one), 1);
	OSSafeReleaseNULL(one);
	OSSafeReleaseNULL(two);
}
END_TEST

START_TEST(dictionary_has_shorthand_for_values)
{
	OSDictionary *dictionary = OSDictionary_withCapacity(0);

	ck_assert(OSDictionarySetUInt64Value(dictionary, "number", UINT64_MAX));
	ck_assert(OSDictionarySetStringValue(dictionary, "string", "text"));
	ck_assert(OSDictionarySetBoolValue(dictionary, "boolean", true));
	ck_assert(OSDictionaryGetUInt64Value(dictionary, "number") == UINT64_MAX);
	ck_assert_str_eq(OSDictionaryGetStringValue(dictionary, "string"), "text");
	ck_assert(OSDictionaryGetBoolValue(dictionary, "boolean"));
	ck_assert_uint_eq(OSDictionaryGetUInt64Value(dictionary, "string"), 0);
	ck_assert_ptr_null(OSDictionaryGetStringValue(dictionary, "number"));
	ck_assert(!OSDictionaryGetBoolValue(dictionary, "absent"));
	ck_assert(!OSDictionarySetUInt64Value(dictionary, NULL, 1));
	ck_assert(!OSDictionarySetStringValue(dictionary, "bad", "\xff"));
	ck_assert(!OSDictionarySetBoolValue(NULL, "x", true));
	ck_assert_uint_eq(OSDictionary_getCount(dictionary), 3);
	OSSafeReleaseNULL(dictionary);
}
END_TEST

START_TEST(booleans_say_what_they_are)
{
	ck_assert(OSBoolean_isTrue(kOSBooleanTrue) && !OSBoolean_isFalse(kOSBooleanTrue));
	ck_assert(OSBoolean_isFalse(kOSBooleanFalse) && !OSBoolean_isTrue(kOSBooleanFalse));
	ck_assert(!OSBoolean_isTrue(NULL) && !OSBoolean_isFalse(NULL));
}
END_TEST

START_TEST(dictionary_keeps_values_and_order)
{
	OSDictionary *dictionary = OSDictionary_withCapacity(1);
	OSObject *one = number(1), *two = number(2), *object;
	const char *key;
	char name[] = "b";

	ck_assert(OSDictionary_setObject(dictionary, name, one));
	name[0] = 'x'; // the key was copied
	ck_assert(OSDictionary_setObject(dictionary, "a", two));
	ck_assert(OSDictionary_setObject(dictionary, "c", one));
	ck_assert_uint_eq(references(one), 3);
	ck_assert_ptr_eq(OSDictionary_getObject(dictionary, "b"), one);
	ck_assert_ptr_null(OSDictionary_getObject(dictionary, "x"));
	ck_assert_ptr_null(OSDictionary_getObject(dictionary, NULL));

	ck_assert(OSDictionary_setObject(dictionary, "b", two)); // replaced in its place
	ck_assert_uint_eq(references(one), 2);
	ck_assert_uint_eq(OSDictionary_getCount(dictionary), 3);
	ck_assert(OSDictionary_getEntry(dictionary, 0, &key, &object));
	ck_assert_str_eq(key, "b");
	ck_assert_ptr_eq(object, two);
	ck_assert(OSDictionary_getEntry(dictionary, 2, &key, &object));
	ck_assert_str_eq(key, "c");
	ck_assert(!OSDictionary_getEntry(dictionary, 3, &key, &object));

	OSDictionary_removeObject(dictionary, "a");
	OSDictionary_removeObject(dictionary, "absent");
	ck_assert(OSDictionary_getEntry(dictionary, 1, &key, &object));
	ck_assert_str_eq(key, "c");
	ck_assert_ptr_eq(OSDictionary_getObject(dictionary, "c"), one);
	ck_assert_ptr_eq(OSDictionary_getObject(dictionary, "b"), two);
	ck_assert_ptr_null(OSDictionary_getObject(dictionary, "a"));
	ck_assert(!OSDictionary_setObject(dictionary, "z", NULL));
	ck_assert(!OSDictionary_setObject(dictionary, NULL, one));
	OSSafeReleaseNULL(dictionary);
	ck_assert_uint_eq(references(one), 1);
	ck_assert_uint_eq(references(two), 1);
	OSSafeReleaseNULL(one);
	OSSafeReleaseNULL(two);
}
END_TEST

/* Setting what is there already must not free it on the way. */
START_TEST(dictionary_replaces_a_value_by_itself)
{
	OSDictionary *dictionary = OSDictionary_withCapacity(0);
	OSObject *value = number(1);

	OSDictionary_setObject(dictionary, "k", value);
	OSObjectRelease(value);
	ck_assert(OSDictionary_setObject(dictionary, "k", value));
	ck_assert_uint_eq(references(value), 1);
	OSSafeReleaseNULL(dictionary);
}
END_TEST

START_TEST(dictionary_finds_among_many)
{
	OSDictionary *dictionary = OSDictionary_withCapacity(0);
	char key[16];

	for (unsigned i = 0; i < 2000; i++) {
		OSObject *value = number(i);

		snprintf(key, sizeof(key), "%u", i * 7919 % 2000);
		ck_assert(OSDictionary_setObject(dictionary, key, value));
		OSObjectRelease(value);
	}
	for (unsigned i = 0; i < 2000; i += 2) {
		snprintf(key, sizeof(key), "%u", i);
		OSDictionary_removeObject(dictionary, key);
	}
	ck_assert_uint_eq(OSDictionary_getCount(dictionary), 1000);
	for (unsigned i = 0; i < 2000; i++) {
		OSNumber *value;

		snprintf(key, sizeof(key), "%u", i * 7919 % 2000);
		value = OSDynamicCast(OSNumber, OSDictionary_getObject(dictionary, key));
		ck_assert(i * 7919 % 2 == 0 ? value == NULL
					    : OSNumber_unsigned32BitValue(value) == i);
	}
	OSSafeReleaseNULL(dictionary);
}
END_TEST

START_TEST(copy_of_a_dictionary_shares_values)
{
	OSDictionary *dictionary = OSDictionary_withCapacity(0), *copy;
	OSObject *value = number(5);

	OSDictionary_setObject(dictionary, "k", value);
	copy = OSDictionary_withDictionary(dictionary);
	ck_assert(equal(copy, dictionary));
	OSDictionary_setObject(copy, "l", value);
	ck_assert_uint_eq(OSDictionary_getCount(dictionary), 1);
	ck_assert_ptr_eq(OSDictionary_getObject(copy, "k"), value);
	ck_assert(!equal(copy, dictionary));
	OSSafeReleaseNULL(dictionary);
	OSSafeReleaseNULL(copy);
	ck_assert_uint_eq(references(value), 1);
	OSSafeReleaseNULL(value);
}
END_TEST

static OSDictionary *nested(const char *first, const char *second, uint64_t value)
{
	OSDictionary *dictionary = OSDictionary_withCapacity(2);
	OSArray *array = OSArray_withCapacity(1);
	OSObject *leaf = number(value);

	OSArray_setObject(array, leaf);
	OSDictionary_setObject(dictionary, first, (OSObject *)array);
	OSDictionary_setObject(dictionary, second, (OSObject *)array);
	OSObjectRelease(array);
	OSObjectRelease(leaf);
	return dictionary;
}

/* By value, all the way down, and whatever the order of the keys. */
START_TEST(equality_is_deep)
{
	OSDictionary *one = nested("a", "b", 1), *swapped = nested("b", "a", 1);
	OSDictionary *other = nested("a", "b", 2), *renamed = nested("a", "c", 1);

	ck_assert(equal(one, swapped));
	ck_assert(!equal(one, other));
	ck_assert(!equal(one, renamed));
	ck_assert(!equal(one, OSDictionary_getObject(one, "a")));
	ck_assert(!equal(one, NULL));
	OSSafeReleaseNULL(one);
	OSSafeReleaseNULL(swapped);
	OSSafeReleaseNULL(other);
	OSSafeReleaseNULL(renamed);
}
END_TEST

/* An author may allocate the class and forget the constructor. */
START_TEST(unmade_collections_are_empty)
{
	OSArray *array = OSTypeAlloc(OSArray);
	OSDictionary *dictionary = OSTypeAlloc(OSDictionary);
	OSString *string = OSTypeAlloc(OSString);
	OSData *data = OSTypeAlloc(OSData);

	ck_assert_uint_eq(OSArray_getCount(array), 0);
	ck_assert(!OSArray_setObject(array, (OSObject *)string));
	ck_assert(!OSDictionary_setObject(dictionary, "k", (OSObject *)string));
	ck_assert_ptr_null(OSDictionary_getObject(dictionary, "k"));
	ck_assert_str_eq(OSString_getCStringNoCopy(string), "");
	ck_assert(!OSData_appendBytes(data, "x", 1));
	ck_assert_uint_eq(OSDictionary_getCount(NULL), 0);
	OSSafeReleaseNULL(array);
	OSSafeReleaseNULL(dictionary);
	OSSafeReleaseNULL(string);
	OSSafeReleaseNULL(data);
}
END_TEST

UNIT_TESTS("collections", string_is_utf8, string_gives_its_parts, number_changes_within_its_width,
	   data_appends_itself, data_gives_parts, array_inserts_replaces_and_merges,
	   dictionary_merges_and_gives_its_keys, dictionary_has_shorthand_for_values,
	   booleans_say_what_they_are, string_copies_its_bytes, string_refuses_what_it_cannot_hold,
	   number_has_width_and_value, number_refuses_what_does_not_fit, data_grows,
	   data_is_bounded, booleans_are_shared_and_immortal, array_keeps_what_it_holds,
	   array_is_bounded, dictionary_keeps_values_and_order,
	   dictionary_replaces_a_value_by_itself, dictionary_finds_among_many,
	   copy_of_a_dictionary_shares_values, equality_is_deep, unmade_collections_are_empty)
