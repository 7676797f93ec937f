/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The socket to a usbredir peer, with libusbredirparser behind a gate.
 *
 * The parser would allocate up to 128 MiB on a peer's word and skip over what it does not like.
 * So the stream reads into a buffer of its own and looks at each packet's header before the parser
 * sees a byte of it: a hello first and only once, known types, at most STREAM_PACKET_MAX bytes.
 * Whatever is wrong becomes the stream's fault, a sentence; from then on it reads and writes
 * nothing, and its owner drops the peer. Nothing here blocks. Backend's queue.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <usbredirparser.h>

enum {
	STREAM_PACKET_MAX = 1 << 20,
	STREAM_BUFFER = 1 << 16,
};

struct redir_stream {
	int fd;                        // owned; -1: closed
	struct usbredirparser *parser; // owned; its callbacks are set by the owner of the stream
	uint32_t packet_left;          // bytes of the vetted packet that the parser may still have
	bool seen_hello;
	size_t start, end; // what of the buffer is not consumed
	const char *fault; // NULL: none; borrowed, constant
	uint8_t buffer[STREAM_BUFFER];
};

/* `stream` is zeroed; `fd` is consumed, also on failure. `set_callbacks` fills in the parser's
 * packet callbacks, which get `stream` as their context; a hello is queued then. */
int redir_stream_init(struct redir_stream *stream, int fd,
		      void (*set_callbacks)(struct usbredirparser *parser));
void redir_stream_deinit(struct redir_stream *stream); // harmless twice

/* Read and parse what there is, up to some bound. Packet callbacks run. */
void redir_stream_read(struct redir_stream *stream);

/* Write what is queued, as far as it goes. */
void redir_stream_write(struct redir_stream *stream);
bool redir_stream_has_output(const struct redir_stream *stream);

/* The first fault stays. */
void redir_stream_fail(struct redir_stream *stream, const char *fault);
