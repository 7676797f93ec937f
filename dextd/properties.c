// SPDX-License-Identifier: Apache-2.0
/* Thin wrappers over the collections; every setter gives its own reference away. */

#include <dextd/properties.h>

#include <string.h>

#include <wire/codec.h>

bool properties_set_consumed(OSDictionary *dictionary, const char *key, void *value)
{
	bool ok = value != NULL && OSDictionary_setObject(dictionary, key, value);
	OSObjectRelease(value);
	return ok;
}

bool properties_set_string(OSDictionary *dictionary, const char *key, const char *value)
{
	return properties_set_consumed(dictionary, key, OSString_withCString(value));
}

bool properties_set_number(OSDictionary *dictionary, const char *key, uint64_t value)
{
	return properties_set_consumed(dictionary, key, OSNumber_withNumber(value, 64));
}

bool properties_set_boolean(OSDictionary *dictionary, const char *key, bool value)
{
	return properties_set_consumed(dictionary, key, OSBoolean_withBoolean(value));
}

bool properties_append_consumed(OSArray *array, void *value)
{
	bool ok = value != NULL && OSArray_setObject(array, value);
	OSObjectRelease(value);
	return ok;
}

bool properties_append_string(OSArray *array, const char *value)
{
	return properties_append_consumed(array, OSString_withCString(value));
}

bool properties_append_number(OSArray *array, uint64_t value)
{
	return properties_append_consumed(array, OSNumber_withNumber(value, 64));
}

bool properties_merge(OSDictionary *into, OSDictionary *from)
{
	const char *key;
	OSObject *value;
	for (uint32_t i = 0; OSDictionary_getEntry(from, i, &key, &value); i++) {
		if (!OSDictionary_setObject(into, key, value))
			return false;
	}
	return true;
}

const char *properties_string(OSDictionary *dictionary, const char *key)
{
	OSString *string = OSDynamicCast(OSString, OSDictionary_getObject(dictionary, key));
	return string == NULL ? NULL : OSString_getCStringNoCopy(string);
}

bool properties_number(OSDictionary *dictionary, const char *key, uint64_t *value)
{
	OSNumber *number = OSDynamicCast(OSNumber, OSDictionary_getObject(dictionary, key));
	if (number == NULL)
		return false;
	*value = OSNumber_unsigned64BitValue(number);
	return true;
}

bool properties_boolean(OSDictionary *dictionary, const char *key)
{
	OSBoolean *boolean = OSDynamicCast(OSBoolean, OSDictionary_getObject(dictionary, key));
	return boolean != NULL && OSBoolean_getValue(boolean);
}

OSArray *properties_array(OSDictionary *dictionary, const char *key)
{
	return OSDynamicCast(OSArray, OSDictionary_getObject(dictionary, key));
}

OSDictionary *properties_dictionary(OSDictionary *dictionary, const char *key)
{
	return OSDynamicCast(OSDictionary, OSDictionary_getObject(dictionary, key));
}

bool properties_equal(OSObject *a, OSObject *b)
{
	OSNumber *x = OSDynamicCast(OSNumber, a), *y = OSDynamicCast(OSNumber, b);
	if (x != NULL && y != NULL)
		return OSNumber_unsigned64BitValue(x) == OSNumber_unsigned64BitValue(y);
	return a != NULL && b != NULL && OSObject_isEqualTo(a, b);
}

size_t properties_size(OSDictionary *dictionary)
{
	struct wire_writer writer;
	wire_writer_init(&writer);
	int ret = wire_put_object(&writer, OSDictionary_as_OSObject(dictionary));
	size_t size = ret == 0 ? writer.size : SIZE_MAX;
	wire_writer_deinit(&writer);
	return size;
}

/* Bytes that follow the first one of a sequence; -1: it cannot begin one. */
static int continuation_bytes(unsigned char first)
{
	if (first < 0x80)
		return 0;
	if (first >= 0xc2 && first < 0xe0)
		return 1;
	if (first >= 0xe0 && first < 0xf0)
		return 2;
	return first >= 0xf0 && first < 0xf5 ? 3 : -1;
}

bool text_is_utf8(const char *text, size_t size)
{
	const unsigned char *p = (const unsigned char *)text;
	for (size_t i = 0; i < size;) {
		int more = continuation_bytes(p[i]);
		if (more < 0 || (size_t)more >= size - i)
			return false;
		/* Overlong forms, surrogates, beyond U+10FFFF: told by the second byte. */
		unsigned char second = more > 0 ? p[i + 1] : 0x80;
		if ((p[i] == 0xe0 && second < 0xa0) || (p[i] == 0xed && second > 0x9f) ||
		    (p[i] == 0xf0 && second < 0x90) || (p[i] == 0xf4 && second > 0x8f))
			return false;
		for (int k = 1; k <= more; k++) {
			if ((p[i + (size_t)k] & 0xc0) != 0x80)
				return false;
		}
		i += 1 + (size_t)more;
	}
	return true;
}

void properties_releasep(OSDictionary **dictionary)
{
	OSObjectRelease(*dictionary);
}

void properties_release_arrayp(OSArray **array)
{
	OSObjectRelease(*array);
}
