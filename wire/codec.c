/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Bytes and descriptors of one message: see codec.h.
 *
 * Every field takes a multiple of 8 bytes; what a field does not fill is zero, and a reader refuses
 * anything else, so that each message has exactly one form. A string is its length and its bytes, a
 * descriptor is one word that says whether there is one, an object is the value of
 * objects/binary.h. A structure, or an array of them, is one field: its integers follow each other
 * in their own sizes, so that no padding of the C structure is ever sent.
 *
 * A conversation with references puts one word before each object, which says whether its value
 * follows or a reference to it; one without has values only, and no such word.
 *
 * A put function visits every object and descriptor of a message. wire_message_dispose uses that:
 * its writer keeps nothing and gives back what it is shown, so that a message needs no second
 * description of what it owns.
 */

#include <wire/codec.h>

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <DriverKit/OSCollections.h>
#include <base/cleanup.h>
#include <objects/binary.h>

/* --- writer --- */

void wire_writer_init(struct wire_writer *w)
{
	*w = (struct wire_writer){ 0 };
}

void wire_writer_deinit(struct wire_writer *w)
{
	free(w->data);
	wire_writer_init(w);
}

void wire_message_dispose(int (*put)(struct wire_writer *w, const void *msg), const void *msg)
{
	struct wire_writer w = { .disposes = true };

	put(&w, msg);
}

static int put_failed(struct wire_writer *w, int error)
{
	if (w->error == 0)
		w->error = error;
	return w->error;
}

/* The writer's bytes as objects/binary.h sees them, and back. */
static struct binary_buffer borrow_buffer(const struct wire_writer *w)
{
	return (struct binary_buffer){
		.data = w->data, .size = w->size, .capacity = w->capacity, .limit = WIRE_BODY_MAX
	};
}

static int return_buffer(struct wire_writer *w, const struct binary_buffer *buffer, int ret)
{
	w->data = buffer->data;
	w->size = buffer->size;
	w->capacity = buffer->capacity;
	return ret < 0 ? put_failed(w, ret) : 0;
}

int wire_put_bytes(struct wire_writer *w, const void *data, size_t size)
{
	struct binary_buffer buffer = borrow_buffer(w);
	uint8_t *place;
	int ret;

	if (w->error < 0 || w->disposes)
		return w->error;
	if (size > WIRE_BODY_MAX)
		return put_failed(w, -EMSGSIZE);
	ret = binary_buffer_extend(&buffer, binary_padded(size), &place);
	if (ret == 0 && size != 0)
		memcpy(place, data, size);
	return return_buffer(w, &buffer, ret);
}

int wire_put_u64(struct wire_writer *w, uint64_t value)
{
	value = htole64(value);
	return wire_put_bytes(w, &value, sizeof(value));
}

int wire_put_string(struct wire_writer *w, const char *text, size_t room)
{
	size_t length;

	if (w->error < 0 || w->disposes)
		return w->error;
	if (text == NULL)
		return put_failed(w, -EINVAL);
	length = strnlen(text, room);
	if (length == room)
		return put_failed(w, -EOVERFLOW);
	wire_put_u64(w, length);
	return wire_put_bytes(w, text, length);
}

static bool is_value(const OSObject *object)
{
	return object == NULL || OSMetaClassIsSubclass(object->meta, OSTypeID(OSContainer));
}

int wire_put_object(struct wire_writer *w, const OSObject *object)
{
	if (w->disposes)
		OSObjectRelease(object);
	if (w->error < 0 || w->disposes)
		return w->error;
	if (w->references != NULL && wire_put_u64(w, is_value(object) ? 0 : 1) < 0)
		return w->error;
	if (w->references != NULL && !is_value(object)) {
		int ret = w->references->put(w->context, w, object);
		return ret < 0 ? put_failed(w, ret) : 0;
	}
	struct binary_buffer buffer = borrow_buffer(w);
	return return_buffer(w, &buffer, binary_put(&buffer, object));
}

int wire_put_fd(struct wire_writer *w, int fd)
{
	if (w->disposes)
		close_fdp(&fd);
	if (w->error < 0 || w->disposes)
		return w->error;
	if (fd < 0)
		return wire_put_u64(w, 0);
	if (w->n_fds == WIRE_FDS_MAX)
		return put_failed(w, -EMSGSIZE);
	w->fds[w->n_fds++] = fd;
	return wire_put_u64(w, 1);
}

int wire_put_count(struct wire_writer *w, uint64_t count, uint64_t room)
{
	if (count > room)
		return w->disposes ? -EOVERFLOW : put_failed(w, -EOVERFLOW);
	return wire_put_u64(w, count);
}

/* `size` more bytes, zero, without regard to the next multiple of 8. NULL: the writer has failed,
 * or keeps nothing. */
static uint8_t *extend(struct wire_writer *w, size_t size)
{
	struct binary_buffer buffer = borrow_buffer(w);
	uint8_t *place = NULL;

	if (w->error < 0 || w->disposes)
		return NULL;
	return return_buffer(w, &buffer, binary_buffer_extend(&buffer, size, &place)) == 0 ? place
											   : NULL;
}

int wire_put_packed(struct wire_writer *w, uint64_t value, size_t size)
{
	uint8_t *place = extend(w, size);

	value = htole64(value);
	if (place != NULL)
		memcpy(place, &value, size);
	return w->error;
}

int wire_put_end(struct wire_writer *w)
{
	extend(w, binary_padded(w->size) - w->size);
	return w->error;
}

/* --- reader --- */

void wire_reader_init(struct wire_reader *r, const void *data, size_t size)
{
	/* Never NULL, which is what take() gives for a failure. */
	*r = (struct wire_reader){ .data = size != 0 ? data : (const void *)"", .size = size };
}

void wire_reader_give_fds(struct wire_reader *r, const int *fds, unsigned n_fds)
{
	for (unsigned i = 0; i < n_fds; i++) {
		int fd = fds[i];

		if (r->n_fds < WIRE_FDS_MAX) {
			r->fds[r->n_fds++] = fd;
			continue;
		}
		close_fdp(&fd);
		r->error = -EBADMSG;
	}
}

void wire_reader_undo(struct wire_reader *r)
{
	for (unsigned i = 0; i < r->next_fd; i++)
		close_fdp(&r->fds[i]);
	for (unsigned i = 0; i < r->n_objects; i++)
		OSObjectRelease(r->objects[i]);
	r->n_objects = 0;
}

void wire_reader_deinit(struct wire_reader *r)
{
	for (unsigned i = r->next_fd; i < r->n_fds; i++)
		close_fdp(&r->fds[i]);
	r->n_fds = r->next_fd = 0;
}

static int get_failed(struct wire_reader *r, int error)
{
	if (r->error == 0)
		r->error = error;
	return r->error;
}

static bool is_padded(const uint8_t *bytes, size_t size)
{
	for (size_t i = size; i < binary_padded(size); i++)
		if (bytes[i] != 0)
			return false;
	return true;
}

/* The next `size` bytes; the padding behind them must be zero. NULL: the reader has failed. */
static const uint8_t *take(struct wire_reader *r, size_t size)
{
	const uint8_t *bytes = r->data + r->offset;
	size_t left = r->size - r->offset;

	if (r->error < 0)
		return NULL;
	if (size > left || binary_padded(size) > left || !is_padded(bytes, size)) {
		get_failed(r, -EBADMSG);
		return NULL;
	}
	r->offset += binary_padded(size);
	return bytes;
}

int wire_get_bytes(struct wire_reader *r, void *data, size_t size)
{
	const uint8_t *bytes = take(r, size);

	if (bytes == NULL)
		return r->error;
	if (size != 0)
		memcpy(data, bytes, size);
	return 0;
}

int wire_get_u64(struct wire_reader *r, uint64_t max, uint64_t *value)
{
	uint64_t word = 0;
	int ret = wire_get_bytes(r, &word, sizeof(word));

	if (ret < 0)
		return ret;
	word = le64toh(word);
	if (word > max)
		return get_failed(r, -EBADMSG);
	*value = word;
	return 0;
}

int wire_get_string(struct wire_reader *r, char *text, size_t room)
{
	const uint8_t *bytes;
	uint64_t length = 0;

	if (room == 0)
		return get_failed(r, -EINVAL);
	wire_get_u64(r, room - 1, &length);
	bytes = take(r, length);
	if (bytes == NULL)
		return r->error;
	if (memchr(bytes, '\0', length) != NULL)
		return get_failed(r, -EBADMSG);
	memcpy(text, bytes, length);
	memset(text + length, 0, room - length);
	return 0;
}

static int get_value(struct wire_reader *r, OSObject **value)
{
	size_t used;
	int ret = binary_get(r->data + r->offset, r->size - r->offset, &used, value);

	if (ret == 0)
		r->offset += used;
	return ret;
}

int wire_get_object(struct wire_reader *r, const OSMetaClass *meta, OSObject **object)
{
	uint64_t is_reference = 0;
	OSObject *value;
	int ret;

	if (r->references != NULL)
		wire_get_u64(r, 1, &is_reference);
	if (r->error < 0)
		return r->error;
	if (r->n_objects == WIRE_OBJECTS_MAX)
		return get_failed(r, -EBADMSG);
	if (is_reference != 0)
		ret = r->references->get(r->context, r, meta, &value);
	else
		ret = get_value(r, &value);
	if (ret < 0)
		return get_failed(r, ret);
	if (value != NULL && OSMetaClassCast(meta, value) == NULL) {
		OSObjectRelease(value);
		return get_failed(r, -EBADMSG);
	}
	r->objects[r->n_objects++] = value;
	*object = value;
	return 0;
}

int wire_get_fd(struct wire_reader *r, int *fd)
{
	uint64_t present;
	int ret = wire_get_u64(r, 1, &present);

	if (ret < 0)
		return ret;
	if (present != 0 && r->next_fd == r->n_fds)
		return get_failed(r, -EBADMSG);
	*fd = present != 0 ? r->fds[r->next_fd++] : -1;
	return 0;
}

int wire_get_count(struct wire_reader *r, uint64_t room, uint64_t *count)
{
	uint64_t value = 0;
	int ret = wire_get_u64(r, UINT64_MAX, &value);

	if (ret < 0)
		return ret;
	if (value > room)
		return get_failed(r, -EOVERFLOW);
	*count = value;
	return 0;
}

int wire_get_packed(struct wire_reader *r, size_t size, uint64_t max, uint64_t *value)
{
	uint64_t word = 0;

	if (r->error < 0)
		return r->error;
	if (size > r->size - r->offset)
		return get_failed(r, -EBADMSG);
	memcpy(&word, r->data + r->offset, size);
	r->offset += size;
	word = le64toh(word);
	if (word > max)
		return get_failed(r, -EBADMSG);
	*value = word;
	return 0;
}

int wire_get_end(struct wire_reader *r)
{
	size_t skipped = binary_padded(r->offset) - r->offset;

	if (r->error < 0)
		return r->error;
	if (skipped > r->size - r->offset)
		return get_failed(r, -EBADMSG);
	for (; skipped > 0; skipped--)
		if (r->data[r->offset++] != 0)
			return get_failed(r, -EBADMSG);
	return 0;
}

int wire_reader_finish(struct wire_reader *r)
{
	if (r->offset != r->size || r->next_fd != r->n_fds)
		return get_failed(r, -EBADMSG);
	return r->error;
}
