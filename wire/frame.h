/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One frame of a channel on its socket: a 48-byte header, a reason text padded to 8 bytes, a body,
 * and descriptors; one packet each. All words are little-endian.
 *
 *	offset  size
 *	     0     4  magic
 *	     4     4  size of the whole frame
 *	     8     8  method id
 *	    16     8  transaction; 0: oneway
 *	    24     4  flags: FRAME_REPLY
 *	    28     4  status; 0 in a request
 *	    32     4  size of the reason; 0 in a request
 *	    36     4  number of descriptors
 *	    40     8  the object called, in a conversation that has several; else, and in a reply, 0
 *
 * Nothing here blocks, and nothing changes the socket's flags.
 */

#include <stddef.h>
#include <stdint.h>

#include <wire/channel.h>
#include <wire/codec.h>

#define FRAME_MAGIC  0x4d525844U // "DXRM"
#define FRAME_HEADER 48U
#define FRAME_MAX    (FRAME_HEADER + CHANNEL_REASON_MAX + WIRE_BODY_MAX)

enum { FRAME_REPLY = 1U << 0 };

/* As sent: all borrowed. As received: `body` points into the receive buffer, `fds` are owned. */
struct frame {
	uint64_t method, transaction, object;
	uint32_t flags;
	int32_t status;
	char reason[CHANNEL_REASON_MAX]; // NUL-terminated
	const void *body;
	size_t body_size;
	int fds[WIRE_FDS_MAX];
	unsigned n_fds;
};

/* A frame as it lies on the socket, with copies of all it needs. */
struct packet {
	struct packet *next;
	int fds[WIRE_FDS_MAX]; // owned
	unsigned n_fds;
	size_t size;
	uint8_t bytes[];
};

/* 0; -EAGAIN: the socket is full; other negative errno. */
int frame_send(int socket_fd, const struct frame *frame);

/* `buffer` has FRAME_MAX bytes. 1: a frame. 0: the peer is gone. -EAGAIN: none waits. -EBADMSG: not
 * a frame; its descriptors were closed. Other negative errno. */
int frame_receive(int socket_fd, uint8_t *buffer, struct frame *frame);

/* The header and its reason against the rules; descriptors were counted by the caller. */
int frame_parse(const uint8_t *bytes, size_t size, struct frame *frame);

int packet_new(struct packet **out, const struct frame *frame);
int packet_send(int socket_fd, const struct packet *packet); // as frame_send
struct packet *packet_free(struct packet *packet);           // returns what was next
