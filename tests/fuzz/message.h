/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A message that a peer made up: a byte whose lowest bit says that it is a reply, one that says how
 * many descriptors came with it, and its body. What can be decoded is encoded to the same bytes.
 */

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <wire/codec.h>

static inline void message_give_fds(struct wire_reader *r, unsigned n_fds)
{
	for (unsigned i = 0; i < n_fds; i++) {
		int fd = dup(STDIN_FILENO);

		wire_reader_give_fds(r, &fd, 1);
	}
}

static inline void message_encode(int (*put)(struct wire_writer *w, const void *msg),
				  const void *msg, const uint8_t *data, size_t size)
{
	struct wire_writer w;

	wire_writer_init(&w);
	assert(put(&w, msg) == 0);
	assert(w.size == size && (size == 0 || memcmp(w.data, data, size) == 0));
	wire_writer_deinit(&w);
	wire_message_dispose(put, msg);
}

/* There are two bytes at least. */
static inline void message_decode(const struct OSMethodShape *shape, const uint8_t *data,
				  size_t size)
{
	bool reply = (data[0] & 1) != 0;
	void *msg = malloc(shape->msg_size);
	struct wire_reader r;
	int ret;

	assert(msg != NULL);
	memset(msg, 0xa5, shape->msg_size); // what a decoder leaves as it was is seen
	wire_reader_init(&r, data + 2, size - 2);
	message_give_fds(&r, data[1] % 18);
	ret = reply ? shape->get_reply(&r, msg) : shape->get_request(&r, msg);
	if (ret == 0)
		ret = wire_reader_finish(&r);
	if (ret < 0)
		wire_reader_undo(&r);
	wire_reader_deinit(&r);
	if (ret == 0)
		message_encode(reply ? shape->put_reply : shape->put_request, msg, data + 2,
			       size - 2);
	free(msg);
}
