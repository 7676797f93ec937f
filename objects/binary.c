/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The binary form of collections: see binary.h.
 *
 * Both directions carry one small state through the recursion: how deep it is and how many nodes
 * there were. The reader believes no count before it has seen that so many nodes can be there: each
 * takes at least 8 bytes, so what is allocated is bounded by what was received.
 */

#include <objects/binary.h>

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <DriverKit/OSCollections.h>
#include <base/reason.h>
#include <objects/object.h>

enum node_kind {
	NODE_NONE,
	NODE_STRING,
	NODE_NUMBER,
	NODE_DATA,
	NODE_BOOLEAN,
	NODE_ARRAY,
	NODE_DICTIONARY,
};

#define NODE_HEAD 8U // bytes of a node without its payload

/* --- writing --- */

void binary_buffer_deinit(struct binary_buffer *buffer)
{
	free(buffer->data);
	buffer->data = NULL;
	buffer->size = buffer->capacity = 0;
}

int binary_buffer_extend(struct binary_buffer *buffer, size_t size, uint8_t **place)
{
	size_t capacity = buffer->capacity < 128 ? 128 : buffer->capacity;
	uint8_t *grown;

	if (size > buffer->limit - buffer->size)
		return -EMSGSIZE;
	if (size > buffer->capacity - buffer->size) {
		while (capacity - buffer->size < size)
			capacity *= 2;
		grown = realloc(buffer->data, capacity);
		if (grown == NULL)
			return -ENOMEM;
		buffer->data = grown;
		buffer->capacity = capacity;
	}
	*place = buffer->data + buffer->size;
	memset(*place, 0, size);
	buffer->size += size;
	return 0;
}

struct encoder {
	struct binary_buffer *buffer;
	unsigned depth, nodes;
};

static void store_u32(uint8_t *place, uint32_t value)
{
	value = htole32(value);
	memcpy(place, &value, sizeof(value));
}

/* A node of `payload` bytes, of which `size` come from `bytes`. */
static int put_node(struct encoder *e, enum node_kind kind, uint32_t head, const void *bytes,
		    size_t size)
{
	uint8_t *place;
	int ret;

	if (++e->nodes > BINARY_NODES_MAX)
		return -EMSGSIZE;
	ret = binary_buffer_extend(e->buffer, NODE_HEAD + binary_padded(size), &place);
	if (ret < 0)
		return ret;
	store_u32(place, kind);
	store_u32(place + 4, head);
	if (size != 0)
		memcpy(place + NODE_HEAD, bytes, size);
	return 0;
}

static int put_value(struct encoder *e, const OSObject *object);

static int put_text(struct encoder *e, const char *text, size_t length)
{
	return put_node(e, NODE_STRING, (uint32_t)length, text, length);
}

static int put_number(struct encoder *e, OSNumber *number)
{
	uint64_t value = htole64(OSNumber_unsigned64BitValue(number));

	return put_node(e, NODE_NUMBER, (uint32_t)OSNumber_numberOfBits(number), &value,
			sizeof(value));
}

static int put_array(struct encoder *e, OSArray *array)
{
	uint32_t count = OSArray_getCount(array);
	int ret = put_node(e, NODE_ARRAY, count, NULL, 0);

	for (uint32_t i = 0; ret == 0 && i < count; i++)
		ret = put_value(e, OSArray_getObject(array, i));
	return ret;
}

static int put_dictionary(struct encoder *e, OSDictionary *dictionary)
{
	int ret = put_node(e, NODE_DICTIONARY, OSDictionary_getCount(dictionary), NULL, 0);
	const char *key;
	OSObject *object;

	for (uint32_t i = 0; ret == 0 && OSDictionary_getEntry(dictionary, i, &key, &object); i++) {
		ret = put_text(e, key, strlen(key));
		if (ret == 0)
			ret = put_value(e, object);
	}
	return ret;
}

static int put_by_class(struct encoder *e, const OSObject *object)
{
	OSString *string = OSDynamicCast(OSString, object);
	OSNumber *number = OSDynamicCast(OSNumber, object);
	OSData *data = OSDynamicCast(OSData, object);
	OSBoolean *boolean = OSDynamicCast(OSBoolean, object);
	OSArray *array = OSDynamicCast(OSArray, object);
	OSDictionary *dictionary = OSDynamicCast(OSDictionary, object);

	if (string != NULL)
		return put_text(e, OSString_getCStringNoCopy(string), OSString_getLength(string));
	if (number != NULL)
		return put_number(e, number);
	if (data != NULL)
		return put_node(e, NODE_DATA, (uint32_t)OSData_getLength(data),
				OSData_getBytesNoCopy(data), OSData_getLength(data));
	if (boolean != NULL)
		return put_node(e, NODE_BOOLEAN, OSBoolean_getValue(boolean), NULL, 0);
	if (array != NULL)
		return put_array(e, array);
	if (dictionary != NULL)
		return put_dictionary(e, dictionary);
	refuse(kIOReturnUnsupported, "a %s cannot leave its process: only collections can",
	       object->meta->name);
	return -EOPNOTSUPP;
}

static int put_value(struct encoder *e, const OSObject *object)
{
	int ret;

	if (++e->depth > BINARY_DEPTH_MAX)
		return -EMSGSIZE;
	ret = put_by_class(e, object);
	e->depth--;
	return ret;
}

int binary_put(struct binary_buffer *buffer, const OSObject *object)
{
	struct encoder e = { .buffer = buffer };
	size_t before = buffer->size;
	int ret = object != NULL ? put_value(&e, object) : put_node(&e, NODE_NONE, 0, NULL, 0);

	if (ret < 0)
		buffer->size = before;
	return ret;
}

/* --- reading --- */

struct decoder {
	const uint8_t *data;
	size_t left;
	unsigned depth, nodes;
};

struct node {
	uint32_t kind, size;
};

static uint32_t load_u32(const uint8_t *place)
{
	uint32_t value;

	memcpy(&value, place, sizeof(value));
	return le32toh(value);
}

static int get_node(struct decoder *d, struct node *node)
{
	if (d->left < NODE_HEAD || ++d->nodes > BINARY_NODES_MAX)
		return -EBADMSG;
	node->kind = load_u32(d->data);
	node->size = load_u32(d->data + 4);
	d->data += NODE_HEAD;
	d->left -= NODE_HEAD;
	return 0;
}

/* The payload of `size` bytes; its padding must be zero. */
static int get_payload(struct decoder *d, size_t size, const uint8_t **payload)
{
	size_t padded = binary_padded(size);

	if (padded > d->left)
		return -EBADMSG;
	for (size_t i = size; i < padded; i++)
		if (d->data[i] != 0)
			return -EBADMSG;
	*payload = d->data;
	d->data += padded;
	d->left -= padded;
	return 0;
}

static int get_value(struct decoder *d, OSObject **object);

/* What a constructor gave, or -ENOMEM: its arguments were checked before. */
static int constructed(void *made, OSObject **object)
{
	*object = made;
	return made != NULL ? 0 : -ENOMEM;
}

static int get_text(struct decoder *d, uint32_t size, const char **text)
{
	const uint8_t *payload;
	int ret = get_payload(d, size, &payload);

	if (ret < 0)
		return ret;
	if (memchr(payload, '\0', size) != NULL)
		return -EBADMSG;
	*text = (const char *)payload;
	return 0;
}

static int get_string(struct decoder *d, uint32_t size, OSObject **object)
{
	const char *text;
	int ret = get_text(d, size, &text);

	return ret < 0 ? ret : constructed(OSString_withBytes(text, size), object);
}

static int get_number(struct decoder *d, uint32_t bits, OSObject **object)
{
	const uint8_t *payload;
	uint64_t value;
	int ret = get_payload(d, sizeof(value), &payload);

	if (ret < 0)
		return ret;
	memcpy(&value, payload, sizeof(value));
	value = le64toh(value);
	if ((bits != 8 && bits != 16 && bits != 32 && bits != 64) ||
	    value > UINT64_MAX >> (64U - bits))
		return -EBADMSG;
	return constructed(OSNumber_withNumber(value, bits), object);
}

static int get_data(struct decoder *d, uint32_t size, OSObject **object)
{
	const uint8_t *payload;
	int ret = get_payload(d, size, &payload);

	return ret < 0 ? ret : constructed(OSData_withBytes(payload, size), object);
}

static int get_boolean(uint32_t value, OSObject **object)
{
	return value > 1 ? -EBADMSG : constructed(OSBoolean_withBoolean(value != 0), object);
}

static int get_member(struct decoder *d, OSArray *array)
{
	OSObject *object;
	int ret = get_value(d, &object);

	if (ret < 0)
		return ret;
	if (!OSArray_setObject(array, object))
		ret = -ENOMEM;
	OSObjectRelease(object);
	return ret;
}

static int get_array(struct decoder *d, uint32_t count, OSObject **object)
{
	OSArray *array;
	int ret;

	if (count > d->left / NODE_HEAD || count > kOSCollectionCountMax)
		return -EBADMSG;
	array = OSArray_withCapacity(count);
	ret = constructed(array, object);
	for (uint32_t i = 0; ret == 0 && i < count; i++)
		ret = get_member(d, array);
	if (ret < 0)
		OSSafeReleaseNULL(*object);
	return ret;
}

/* A copy of a key, NUL-terminated, which the caller frees. */
static int get_key(struct decoder *d, char **key)
{
	struct node node;
	const char *text;
	int ret = get_node(d, &node);

	if (ret < 0)
		return ret;
	if (node.kind != NODE_STRING)
		return -EBADMSG;
	ret = get_text(d, node.size, &text);
	if (ret < 0)
		return ret;
	*key = strndup(text, node.size);
	return *key != NULL ? 0 : -ENOMEM;
}

static int get_entry(struct decoder *d, OSDictionary *dictionary)
{
	OSObject *object;
	char *key;
	int ret = get_key(d, &key);

	if (ret < 0)
		return ret;
	ret = get_value(d, &object);
	if (ret == 0) {
		if (OSDictionary_getObject(dictionary, key) != NULL)
			ret = -EBADMSG;
		else if (!OSDictionary_setObject(dictionary, key, object))
			ret = -ENOMEM;
		OSObjectRelease(object);
	}
	free(key);
	return ret;
}

static int get_dictionary(struct decoder *d, uint32_t count, OSObject **object)
{
	OSDictionary *dictionary;
	int ret;

	if (count > d->left / (2 * NODE_HEAD) || count > kOSCollectionCountMax)
		return -EBADMSG;
	dictionary = OSDictionary_withCapacity(count);
	ret = constructed(dictionary, object);
	for (uint32_t i = 0; ret == 0 && i < count; i++)
		ret = get_entry(d, dictionary);
	if (ret < 0)
		OSSafeReleaseNULL(*object);
	return ret;
}

static int get_by_kind(struct decoder *d, const struct node *node, OSObject **object)
{
	switch (node->kind) {
	case NODE_STRING:
		return get_string(d, node->size, object);
	case NODE_NUMBER:
		return get_number(d, node->size, object);
	case NODE_DATA:
		return get_data(d, node->size, object);
	case NODE_BOOLEAN:
		return get_boolean(node->size, object);
	case NODE_ARRAY:
		return get_array(d, node->size, object);
	case NODE_DICTIONARY:
		return get_dictionary(d, node->size, object);
	default:
		return -EBADMSG;
	}
}

static int get_value(struct decoder *d, OSObject **object)
{
	struct node node;
	int ret = get_node(d, &node);

	if (ret < 0)
		return ret;
	if (++d->depth > BINARY_DEPTH_MAX)
		return -EBADMSG;
	ret = get_by_kind(d, &node, object);
	d->depth--;
	return ret;
}

static bool is_none(const struct decoder *d)
{
	return d->left >= NODE_HEAD && load_u32(d->data) == NODE_NONE && load_u32(d->data + 4) == 0;
}

int binary_get(const void *data, size_t size, size_t *used, OSObject **object)
{
	struct decoder d = { .data = data, .left = size };
	OSObject *value = NULL;
	int ret = 0;

	if (is_none(&d))
		d.left -= NODE_HEAD;
	else
		ret = get_value(&d, &value);
	if (ret < 0)
		return ret;
	*used = size - d.left;
	*object = value;
	return 0;
}
