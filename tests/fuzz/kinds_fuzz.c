/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What iig's decoders make of bytes that no encoder wrote: a message of every kind of parameter
 * (kinds.iig). The first byte chooses a method, and request or reply; the second how many
 * descriptors come along; the rest is the body.
 *
 * What decodes must encode to the same bytes again, and hold what it took exactly once: each
 * message has one form, and a structure's padding is no part of it.
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <wire/codec.h>

#include "kinds.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct OSMethodShape *const shapes[] = {
	&Kinds_Numbers_Shape,    &Kinds_Structures_Shape, &Kinds_Arrays_Shape,
	&Kinds_ArraysBack_Shape, &Kinds_Objects_Shape,    &Kinds_Descriptors_Shape,
	&Kinds_Tell_Shape,
};

#define N_SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static void give_fds(struct wire_reader *r, unsigned n_fds)
{
	for (unsigned i = 0; i < n_fds; i++) {
		int fd = dup(STDIN_FILENO);

		wire_reader_give_fds(r, &fd, 1);
	}
}

static void encode_again(int (*put)(struct wire_writer *w, const void *msg), const void *msg,
			 const uint8_t *data, size_t size)
{
	struct wire_writer w;

	wire_writer_init(&w);
	assert(put(&w, msg) == 0);
	assert(w.size == size && (size == 0 || memcmp(w.data, data, size) == 0));
	wire_writer_deinit(&w);
	wire_message_dispose(put, msg);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct OSMethodShape *shape;
	struct wire_reader r;
	bool reply;
	void *msg;
	int ret;

	if (size < 2)
		return 0;
	shape = shapes[(data[0] >> 1) % N_SHAPES];
	reply = (data[0] & 1) != 0;
	msg = malloc(shape->msg_size);
	assert(msg != NULL);
	memset(msg, 0xa5, shape->msg_size); // what a decoder leaves as it was is seen
	wire_reader_init(&r, data + 2, size - 2);
	give_fds(&r, data[1] % 18);
	ret = reply ? shape->get_reply(&r, msg) : shape->get_request(&r, msg);
	if (ret == 0)
		ret = wire_reader_finish(&r);
	if (ret < 0)
		wire_reader_undo(&r);
	wire_reader_deinit(&r);
	if (ret == 0)
		encode_again(reply ? shape->put_reply : shape->put_request, msg, data + 2,
			     size - 2);
	free(msg);
	return 0;
}
