// SPDX-License-Identifier: Apache-2.0
/*
 * Three steps: check the raw bytes (check_xml, check_binary), let libplist parse, convert.
 *
 * check_xml walks the tags of the text and knows no more XML than that. check_binary walks the
 * object table as the parser will, counting every visit, so that a table whose objects are
 * referenced again and again is refused before it unfolds.
 */

#include <dextd/match/plist.h>

#include <errno.h>
#include <plist/plist.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/reason.h>
#include <dextd/properties.h>

static int bad(const char *what)
{
	(void)refuse(kIOReturnBadArgument, "not a usable property list: %s", what);
	return -EINVAL;
}

static int out_of_memory(void)
{
	(void)refuse(kIOReturnNoMemory, "out of memory while reading a property list");
	return -ENOMEM;
}

/* A value that could not be made, or kept: a limit, as its class says, or there is no memory. */
static int not_made(void)
{
	char why[REASON_MAX];
	if (reason_last()[0] == '\0' || reason_status() == kIOReturnNoMemory)
		return out_of_memory();
	memcpy(why, reason_last(), sizeof(why));
	return bad(why);
}

/* --- XML --- */

static bool starts(const char *text, const char *end, const char *prefix)
{
	size_t n = strlen(prefix);
	return (size_t)(end - text) >= n && memcmp(text, prefix, n) == 0;
}

static const char *find(const char *text, const char *end, const char *needle)
{
	return memmem(text, (size_t)(end - text), needle, strlen(needle));
}

/* "<integer>" up to its end tag: libplist would saturate a number beyond 64 bits. */
static int check_integer(const char *text, const char *end)
{
	char digits[32] = { 0 };
	const char *stop = memchr(text, '<', (size_t)(end - text));
	if (stop == NULL || (size_t)(stop - text) >= sizeof(digits))
		return bad("an integer has no end or is too long");
	memcpy(digits, text, (size_t)(stop - text));

	char *last;
	const char *first = digits + strspn(digits, " \t\r\n");
	errno = 0;
	if (*first == '-')
		(void)strtoll(first, &last, 0);
	else
		(void)strtoull(first, &last, 0);
	if (errno == ERANGE)
		return bad("an integer does not fit 64 bits");
	if (last == first || last[strspn(last, " \t\r\n")] != '\0')
		return bad("an integer is not a number");
	return 0;
}

/* One "<!…" or "<?…"; *next is set behind it. */
static int check_declaration(const char *tag, const char *end, const char **next)
{
	const char *close = starts(tag, end, "<!--")        ? find(tag, end, "-->")
			    : starts(tag, end, "<![CDATA[") ? find(tag, end, "]]>")
							    : memchr(tag, '>', (size_t)(end - tag));
	if (close == NULL)
		return bad("a declaration has no end");
	if (starts(tag, end, "<!DOCTYPE") && memchr(tag, '[', (size_t)(close - tag)) != NULL)
		return bad("it declares a document type of its own");
	if (starts(tag, end, "<!ENTITY"))
		return bad("it declares entities");
	*next = close + 1;
	return 0;
}

static int check_xml(const char *text, size_t size)
{
	const char *end = text + size;
	unsigned depth = 0, nodes = 0;

	if (memchr(text, '\0', size) != NULL)
		return bad("it has NUL bytes");
	for (const char *tag = text; (tag = memchr(tag, '<', (size_t)(end - tag))) != NULL;) {
		if (starts(tag, end, "<!") || starts(tag, end, "<?")) {
			int ret = check_declaration(tag, end, &tag);
			if (ret < 0)
				return ret;
			continue;
		}
		const char *close = memchr(tag, '>', (size_t)(end - tag));
		if (close == NULL)
			return bad("a tag has no end");
		bool container = starts(tag, end, "<dict") || starts(tag, end, "<array");
		if (container && close[-1] != '/' && ++depth > PLIST_DEPTH_MAX)
			return bad("it is nested more than 32 deep");
		if ((starts(tag, end, "</dict") || starts(tag, end, "</array")) && depth-- == 0)
			return bad("its tags do not pair");
		if (++nodes > 4 * PLIST_NODES_MAX)
			return bad("it has too many values");
		if (starts(tag, end, "<integer>")) {
			int ret = check_integer(close + 1, end);
			if (ret < 0)
				return ret;
		}
		tag = close + 1;
	}
	return 0;
}

/* --- binary: header, objects, offset table, 32 bytes of trailer --- */

struct binary {
	const uint8_t *data;
	size_t objects_end; // where the offset table begins
	uint64_t n_objects, table;
	uint8_t offset_size, ref_size;
	unsigned visits;
};

static uint64_t big_endian(const uint8_t *bytes, size_t n)
{
	uint64_t value = 0;
	for (size_t i = 0; i < n; i++)
		value = value << 8 | bytes[i];
	return value;
}

/* The count in an object's marker, or in the integer that follows it; *at is set behind. */
static int object_count(const struct binary *b, size_t *at, uint64_t *count)
{
	uint8_t marker = b->data[(*at)++];
	*count = marker & 0x0fU;
	if (*count != 0x0f)
		return 0;
	if (*at >= b->objects_end || b->data[*at] >> 4 != 1 || (b->data[*at] & 0x0fU) > 3)
		return bad("an object's size is not an integer");
	size_t n = (size_t)1 << (b->data[(*at)++] & 0x0fU);
	if (n > b->objects_end - *at)
		return bad("an object reaches beyond the end");
	*count = big_endian(b->data + *at, n);
	*at += n;
	return 0;
}

static int check_object(struct binary *b, uint64_t index, unsigned depth)
{
	if (depth > PLIST_DEPTH_MAX)
		return bad("it is nested more than 32 deep");
	if (++b->visits > PLIST_NODES_MAX)
		return bad("it has too many values");
	if (index >= b->n_objects)
		return bad("a reference leads nowhere");
	uint64_t offset = big_endian(b->data + b->table + index * b->offset_size, b->offset_size);
	if (offset < 8 || offset >= b->objects_end)
		return bad("an object lies outside");

	unsigned kind = b->data[offset] >> 4;
	if (kind != 0xa && kind != 0xc && kind != 0xd)
		return 0; // no references: libplist bounds it by the data
	size_t at = offset;
	uint64_t count;
	int ret = object_count(b, &at, &count);
	if (ret < 0)
		return ret;
	if (count > PLIST_NODES_MAX)
		return bad("it has too many values");
	uint64_t refs = kind == 0xd ? 2 * count : count;
	if (refs * b->ref_size > b->objects_end - at)
		return bad("an object reaches beyond the end");
	for (uint64_t i = 0; i < refs && ret == 0; i++)
		ret = check_object(b, big_endian(b->data + at + i * b->ref_size, b->ref_size),
				   depth + 1);
	return ret;
}

static int check_binary(const uint8_t *data, size_t size)
{
	if (size < 8 + 32)
		return bad("it is too short");
	const uint8_t *trailer = data + size - 32;
	struct binary b = {
		.data = data,
		.offset_size = trailer[6],
		.ref_size = trailer[7],
		.n_objects = big_endian(trailer + 8, 8),
		.table = big_endian(trailer + 24, 8),
	};
	if (b.offset_size == 0 || b.offset_size > 8 || b.ref_size == 0 || b.ref_size > 8)
		return bad("its integers have no usable size");
	if (b.table < 8 || b.table > size - 32 || b.n_objects > PLIST_SIZE_MAX ||
	    b.n_objects * b.offset_size > size - 32 - b.table)
		return bad("its table of objects lies outside");
	b.objects_end = b.table;
	return check_object(&b, big_endian(trailer + 16, 8), 0);
}

/* --- conversion --- */

static int convert(plist_t node, OSObject **out);

static int convert_string(plist_t node, OSObject **out)
{
	uint64_t length = 0;
	const char *text = plist_get_string_ptr(node, &length);
	if (text == NULL || !text_is_utf8(text, strlen(text)))
		return bad("a string is not UTF-8");
	OSString *string = OSString_withCString(text);
	*out = string == NULL ? NULL : OSString_as_OSObject(string);
	return *out == NULL ? not_made() : 0;
}

static int convert_scalar(plist_t node, plist_type type, OSObject **out)
{
	if (type == PLIST_BOOLEAN) {
		uint8_t value = 0;
		plist_get_bool_val(node, &value);
		*out = OSBoolean_as_OSObject(OSBoolean_withBoolean(value != 0));
		return 0;
	}
	if (type == PLIST_UINT) {
		uint64_t value = 0;
		plist_get_uint_val(node, &value);
		OSNumber *number = OSNumber_withNumber(value, 64);
		*out = number == NULL ? NULL : OSNumber_as_OSObject(number);
	} else {
		uint64_t length = 0;
		const char *bytes = plist_get_data_ptr(node, &length);
		OSData *data = OSData_withBytes(bytes, length);
		*out = data == NULL ? NULL : OSData_as_OSObject(data);
	}
	return *out == NULL ? not_made() : 0;
}

static int convert_array(plist_t node, OSObject **out)
{
	uint32_t n = plist_array_get_size(node);
	CLEANUP(properties_release_arrayp) OSArray *array = OSArray_withCapacity(n);
	if (array == NULL)
		return not_made();
	for (uint32_t i = 0; i < n; i++) {
		OSObject *value;
		int ret = convert(plist_array_get_item(node, i), &value);
		if (ret < 0)
			return ret;
		if (!properties_append_consumed(array, value))
			return not_made();
	}
	*out = OSArray_as_OSObject(array);
	array = NULL;
	return 0;
}

static int convert_entry(OSDictionary *dictionary, const char *key, plist_t node)
{
	OSObject *value;
	if (!text_is_utf8(key, strlen(key)))
		return bad("a key is not UTF-8");
	int ret = convert(node, &value);
	if (ret < 0)
		return ret;
	return properties_set_consumed(dictionary, key, value) ? 0 : not_made();
}

static int convert_dictionary(plist_t node, OSObject **out)
{
	CLEANUP(properties_releasep)
	OSDictionary *dictionary = OSDictionary_withCapacity(plist_dict_get_size(node));
	CLEANUP(freep) plist_dict_iter iterator = NULL;
	if (dictionary == NULL)
		return not_made();
	plist_dict_new_iter(node, &iterator);
	if (iterator == NULL)
		return not_made();
	for (;;) {
		CLEANUP(freep) char *key = NULL;
		plist_t value = NULL;
		plist_dict_next_item(node, iterator, &key, &value);
		if (key == NULL || value == NULL)
			break;
		int ret = convert_entry(dictionary, key, value);
		if (ret < 0)
			return ret;
	}
	*out = OSDictionary_as_OSObject(dictionary);
	dictionary = NULL;
	return 0;
}

/* The depth was bounded by the checks. */
static int convert(plist_t node, OSObject **out)
{
	plist_type type = plist_get_node_type(node);
	switch (type) {
	case PLIST_DICT:
		return convert_dictionary(node, out);
	case PLIST_ARRAY:
		return convert_array(node, out);
	case PLIST_STRING:
		return convert_string(node, out);
	case PLIST_BOOLEAN:
	case PLIST_UINT:
	case PLIST_DATA:
		return convert_scalar(node, type, out);
	default:
		return bad("it holds a date, a real number or a UID");
	}
}

static void plist_freep(plist_t *node)
{
	if (*node != NULL)
		plist_free(*node);
}

int plist_read(const void *data, size_t size, OSDictionary **out)
{
	if (size > PLIST_SIZE_MAX)
		return bad("it is larger than 1 MiB");
	reason_clear();
	bool binary = size >= 8 && memcmp(data, "bplist00", 8) == 0;
	int ret = binary ? check_binary(data, size) : check_xml(data, size);
	if (ret < 0)
		return ret;

	CLEANUP(plist_freep) plist_t root = NULL;
	if (binary)
		plist_from_bin(data, (uint32_t)size, &root);
	else
		plist_from_xml(data, (uint32_t)size, &root);
	if (root == NULL)
		return bad("it is neither XML nor binary, or is malformed");
	if (plist_get_node_type(root) != PLIST_DICT)
		return bad("its top is not a dictionary");
	OSObject *top;
	ret = convert_dictionary(root, &top);
	if (ret == 0)
		*out = OSDynamicCast(OSDictionary, top);
	return ret;
}
