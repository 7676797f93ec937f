/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Bytes and descriptors of one message: a bounded writer and a strict reader. The functions that
 * iig generates use these and nothing else. Little-endian, 8-byte aligned fields.
 *
 * Errors are sticky: after the first failure every call fails with the same negative errno, so a
 * caller encodes or decodes all fields and tests once. A reader is done only when every byte and
 * every descriptor was taken (reader_finish): trailing data is an error.
 *
 * One thread at a time. A writer borrows its descriptors; a reader owns those it was given until
 * they are taken, and closes the rest at reader_deinit.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <DriverKit/OSMetaClass.h>

#define WIRE_BODY_MAX    (128U * 1024) // bytes of a message body
#define WIRE_FDS_MAX     16U
#define WIRE_OBJECTS_MAX 64U // of one message, not counting what they hold

struct wire_reader;
struct wire_writer;

/*
 * How objects cross that do not travel by value. Only a conversation between two drivers has it
 * (families/remote); elsewhere such an object is -EOPNOTSUPP.
 */
struct wire_references {
	int (*put)(void *context, struct wire_writer *w, const OSObject *object);
	/* Of class `meta` or derived from it. Returned. */
	int (*get)(void *context, struct wire_reader *r, const OSMetaClass *meta,
		   OSObject **object);
};

struct wire_writer {
	const struct wire_references *references; // borrowed; NULL: values only
	void *context;                            // of the references
	uint8_t *data;                            // owned
	size_t size, capacity;
	int fds[WIRE_FDS_MAX]; // borrowed
	unsigned n_fds;
	int error;     // 0 or negative errno
	bool disposes; // see wire_message_dispose
};

struct wire_reader {
	const struct wire_references *references; // borrowed; NULL: values only
	void *context;                            // of the references
	const uint8_t *data;                      // borrowed
	size_t size, offset;
	int fds[WIRE_FDS_MAX]; // from next_fd on owned, those before were taken
	unsigned n_fds, next_fd;
	OSObject *objects[WIRE_OBJECTS_MAX]; // that were taken
	unsigned n_objects;
	int error;
};

void wire_writer_init(struct wire_writer *w);
void wire_writer_deinit(struct wire_writer *w);

/* Release the objects and close the descriptors in the fields of `msg` that `put` would encode. */
void wire_message_dispose(int (*put)(struct wire_writer *w, const void *msg), const void *msg);

void wire_reader_init(struct wire_reader *r, const void *data, size_t size);
void wire_reader_give_fds(struct wire_reader *r, const int *fds, unsigned n_fds);
/* Give up a message half read: release and close what was taken from the reader too. */
void wire_reader_undo(struct wire_reader *r);
void wire_reader_deinit(struct wire_reader *r);

/* Generated code of drivers calls what follows. */
#pragma GCC visibility push(default)

/* Each returns 0 or the sticky error. Integers take 8 bytes whatever their type; one above `max` is
 * -EBADMSG on decode. A body that outgrows WIRE_BODY_MAX is -EMSGSIZE. A count above its array's
 * `room` is -EOVERFLOW on both sides. */
int wire_put_u64(struct wire_writer *w, uint64_t value);
int wire_put_bytes(struct wire_writer *w, const void *data, size_t size);  // exact, no length
int wire_put_string(struct wire_writer *w, const char *text, size_t room); // -EOVERFLOW: too long
int wire_put_object(struct wire_writer *w, const OSObject *object);        // may be NULL
int wire_put_fd(struct wire_writer *w, int fd);                            // -1: none
int wire_put_count(struct wire_writer *w, uint64_t count, uint64_t room);  // 0: the array follows

/* Structures: integers of 1, 2, 4 or 8 bytes, one behind the other without padding, then wire_*_end
 * to the next multiple of 8. */
int wire_put_packed(struct wire_writer *w, uint64_t value, size_t size);
int wire_put_end(struct wire_writer *w);

int wire_get_u64(struct wire_reader *r, uint64_t max, uint64_t *value);
int wire_get_bytes(struct wire_reader *r, void *data, size_t size);
int wire_get_string(struct wire_reader *r, char *text, size_t room); // NUL-terminated, zero filled
int wire_get_object(struct wire_reader *r, const OSMetaClass *meta,
		    OSObject **object);          // returned, or NULL
int wire_get_fd(struct wire_reader *r, int *fd); // consumed by the caller
int wire_get_count(struct wire_reader *r, uint64_t room, uint64_t *count);
int wire_get_packed(struct wire_reader *r, size_t size, uint64_t max, uint64_t *value);
int wire_get_end(struct wire_reader *r); // what is skipped must be zero

#pragma GCC visibility pop

int wire_reader_finish(struct wire_reader *r);
