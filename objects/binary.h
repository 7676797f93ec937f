/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The one binary form of the collection classes: on the wire, and wherever objects are stored.
 *
 * A value is a sequence of nodes in depth-first order. A node is a head of two little-endian 32-bit
 * words, kind and size, and a payload, padded with zeroes to 8 bytes:
 *
 *	none        size 0
 *	string      size bytes of UTF-8, no NUL among them
 *	number      size 8, 16, 32 or 64 is its width; one 64-bit word
 *	data        size bytes
 *	boolean     size 0 or 1 is its value
 *	array       size nodes follow
 *	dictionary  size pairs of nodes follow: a string, which is the key, and its value
 *	set         size nodes follow, of which no two are equal
 *	ordered set the same, in order
 *
 * The kinds are 0 to 8, in this order. None stands for a missing object and only ever alone.
 *Members come in the order in which they lie in their collection, so an object has one form, and a
 *form makes one object: an unknown kind, a bit set in a padding, a number beyond its width, a key
 *or a member of a set that comes twice, and whatever passes a limit are -EBADMSG, and the reason
 *says which. Any thread.
 */

#include <stddef.h>
#include <stdint.h>

#include <DriverKit/OSMetaClass.h>

#define BINARY_DEPTH_MAX 32U    // nodes within each other
#define BINARY_NODES_MAX 65536U // in one value, keys among them
/* A string, data, and how many members: kOSCollectionBytesMax, kOSCollectionCountMax. All of a
 * value: the limit of its buffer; what is read costs memory in proportion to what was received. */

/* Bytes that grow up to a limit. */
struct binary_buffer {
	uint8_t *data; // owned
	size_t size, capacity;
	size_t limit; // of size
};

void binary_buffer_deinit(struct binary_buffer *buffer);
/* Append `size` zeroed bytes, at *place until the next append. -EMSGSIZE: over the limit; -ENOMEM.
 */
int binary_buffer_extend(struct binary_buffer *buffer, size_t size, uint8_t **place);

/* Append `object`, which may be NULL. -EOPNOTSUPP: one of its values is not a collection class;
 * -EMSGSIZE: too deep, too many, or over the limit; with the reason. The buffer is unchanged on
 * failure. */
int binary_put(struct binary_buffer *buffer, const OSObject *object);

/* Read one value from the first bytes of `data`; *used of them were it. *object is returned, or
 * NULL for none. -EBADMSG, -ENOMEM: nothing is returned. Trailing bytes are the caller's to refuse.
 */
int binary_get(const void *data, size_t size, size_t *used, OSObject **object);

static inline size_t binary_padded(size_t size)
{
	return (size + 7U) & ~(size_t)7U;
}
