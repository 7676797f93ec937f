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
#include <objects/text.h>

enum node_kind {
	NODE_NONE,
	NODE_STRING,
	NODE_NUMBER,
	NODE_DATA,
	NODE_BOOLEAN,
	NODE_ARRAY,
	NODE_DICTIONARY,
	NODE_SET,
	NODE_ORDERED_SET,
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

static int too_large(const char *what, size_t limit)
{
	refuse(kIOReturnMessageTooLarge, "a value to send is too large: %s %zu", what, limit);
	return -EMSGSIZE;
}

/* A node of `payload` bytes, of which `size` come from `bytes`. */
static int put_node(struct encoder *e, enum node_kind kind, uint32_t head, const void *bytes,
		    size_t size)
{
	uint8_t *place;
	int ret;

	if (++e->nodes > BINARY_NODES_MAX)
		return too_large("its values and keys are more than", BINARY_NODES_MAX);
	ret = binary_buffer_extend(e->buffer, NODE_HEAD + binary_padded(size), &place);
	if (ret == -EMSGSIZE)
		return too_large("its bytes are more than", e->buffer->limit);
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

/* A member of a set, which must differ from those that were `seen`: one that was changed since it
 * was added may not. */
static int put_member(struct encoder *e, OSSet *seen, OSObject *member)
{
	if (OSSet_setObject(seen, member))
		return put_value(e, member);
	if (!OSSet_containsObject(seen, member))
		return -EMSGSIZE; // the reason is there
	refuse(kIOReturnBadArgument, "a member of a set was changed, and is equal to another");
	return -EINVAL;
}

static int put_set(struct encoder *e, OSSet *set)
{
	uint32_t count = OSSet_getCount(set);
	OSSet *seen = OSSet_withCapacity(count);
	int ret = seen != NULL ? put_node(e, NODE_SET, count, NULL, 0) : -ENOMEM;

	for (uint32_t i = 0; ret == 0 && i < count; i++)
		ret = put_member(e, seen, OSSet_getObject(set, i));
	OSObjectRelease(seen);
	return ret;
}

static int put_ordered_set(struct encoder *e, OSOrderedSet *set)
{
	uint32_t count = OSOrderedSet_getCount(set);
	OSSet *seen = OSSet_withCapacity(count);
	int ret = seen != NULL ? put_node(e, NODE_ORDERED_SET, count, NULL, 0) : -ENOMEM;

	for (uint32_t i = 0; ret == 0 && i < count; i++)
		ret = put_member(e, seen, OSOrderedSet_getObject(set, i));
	OSObjectRelease(seen);
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
	OSSet *set = OSDynamicCast(OSSet, object);
	OSOrderedSet *ordered = OSDynamicCast(OSOrderedSet, object);

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
	if (set != NULL)
		return put_set(e, set);
	if (ordered != NULL)
		return put_ordered_set(e, ordered);
	refuse(kIOReturnUnsupported, "a %s cannot leave its process: only collections can",
	       object->meta->name);
	return -EOPNOTSUPP;
}

static int put_value(struct encoder *e, const OSObject *object)
{
	int ret;

	if (++e->depth > BINARY_DEPTH_MAX)
		return too_large("does it hold itself? It is deeper than", BINARY_DEPTH_MAX);
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

/* The refusal of what was received. */
static int bad(const struct decoder *d, const char *why)
{
	refuse(kIOReturnIPCError, "the binary form of a value, %zu bytes before its end: %s",
	       d->left, why);
	return -EBADMSG;
}

static uint32_t load_u32(const uint8_t *place)
{
	uint32_t value;

	memcpy(&value, place, sizeof(value));
	return le32toh(value);
}

static int get_node(struct decoder *d, struct node *node)
{
	if (d->left < NODE_HEAD)
		return bad(d, "a node is missing, or cut off");
	if (++d->nodes > BINARY_NODES_MAX)
		return bad(d, "more than 65536 nodes");
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
		return bad(d, "a node is larger than what is left");
	for (size_t i = size; i < padded; i++)
		if (d->data[i] != 0)
			return bad(d, "a padding is not zero");
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
	if (!text_may_hold("a string in the binary form of a value", (const char *)payload, size))
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
	if (bits != 8 && bits != 16 && bits != 32 && bits != 64)
		return bad(d, "the width of a number is not 8, 16, 32 or 64 bits");
	if (value > UINT64_MAX >> (64U - bits))
		return bad(d, "a number is larger than its width");
	return constructed(OSNumber_withNumber(value, bits), object);
}

static int get_data(struct decoder *d, uint32_t size, OSObject **object)
{
	const uint8_t *payload;
	int ret = get_payload(d, size, &payload);

	return ret < 0 ? ret : constructed(OSData_withBytes(payload, size), object);
}

static int get_boolean(struct decoder *d, uint32_t value, OSObject **object)
{
	if (value > 1)
		return bad(d, "a boolean is neither 0 nor 1");
	return constructed(OSBoolean_withBoolean(value != 0), object);
}

/* May there be `count` members of `size` bytes at least? */
static int check_count(struct decoder *d, uint32_t count, size_t size)
{
	if (count > d->left / size)
		return bad(d, "a collection has more members than there are bytes for");
	return count > kOSCollectionCountMax ? bad(d, "a collection has more than 65536 members")
					     : 0;
}

static int add_to_array(struct decoder *d, void *array, OSObject *object)
{
	(void)d;
	return OSArray_setObject(array, object) ? 0 : -ENOMEM;
}

static int add_to_set(struct decoder *d, void *set, OSObject *object)
{
	if (OSSet_containsObject(set, object))
		return bad(d, "a set holds a value twice");
	return OSSet_setObject(set, object) ? 0 : -ENOMEM;
}

static int add_to_ordered_set(struct decoder *d, void *set, OSObject *object)
{
	if (OSOrderedSet_containsObject(set, object))
		return bad(d, "a set holds a value twice");
	return OSOrderedSet_setLastObject(set, object) ? 0 : -ENOMEM;
}

/* `count` members into the collection that was `made` for them, which may be NULL. */
static int get_members(struct decoder *d, uint32_t count, void *made,
		       int (*add)(struct decoder *d, void *into, OSObject *object),
		       OSObject **object)
{
	int ret = constructed(made, object);

	for (uint32_t i = 0; ret == 0 && i < count; i++) {
		OSObject *member = NULL;

		ret = get_value(d, &member);
		if (ret == 0)
			ret = add(d, made, member);
		OSObjectRelease(member);
	}
	if (ret < 0)
		OSSafeReleaseNULL(*object);
	return ret;
}

static int get_array(struct decoder *d, uint32_t count, OSObject **object)
{
	int ret = check_count(d, count, NODE_HEAD);

	return ret < 0 ? ret
		       : get_members(d, count, OSArray_withCapacity(count), add_to_array, object);
}

static int get_set(struct decoder *d, uint32_t count, OSObject **object)
{
	int ret = check_count(d, count, NODE_HEAD);

	return ret < 0 ? ret : get_members(d, count, OSSet_withCapacity(count), add_to_set, object);
}

static int get_ordered_set(struct decoder *d, uint32_t count, OSObject **object)
{
	int ret = check_count(d, count, NODE_HEAD);

	return ret < 0 ? ret
		       : get_members(d, count, OSOrderedSet_withCapacity(count, NULL, NULL),
				     add_to_ordered_set, object);
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
		return bad(d, "a key is no string");
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
			ret = bad(d, "a key comes twice");
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

	ret = check_count(d, count, 2 * NODE_HEAD);
	if (ret < 0)
		return ret;
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
		return get_boolean(d, node->size, object);
	case NODE_ARRAY:
		return get_array(d, node->size, object);
	case NODE_DICTIONARY:
		return get_dictionary(d, node->size, object);
	case NODE_SET:
		return get_set(d, node->size, object);
	case NODE_ORDERED_SET:
		return get_ordered_set(d, node->size, object);
	default:
		return bad(d, "a node of a kind that is not known");
	}
}

static int get_value(struct decoder *d, OSObject **object)
{
	struct node node;
	int ret = get_node(d, &node);

	if (ret < 0)
		return ret;
	if (++d->depth > BINARY_DEPTH_MAX)
		return bad(d, "deeper than 32");
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
