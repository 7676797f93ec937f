/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The conversation with one vfio-user device, which is not trusted: one command at a time, each
 * with a deadline for its whole reply. Commands of the device (DMA_READ, DMA_WRITE) are refused
 * where they turn up. The first violation, hang-up or missed deadline loses the peer for good:
 * every later call fails with -ENODEV. One thread at a time.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <backends/vfio_user/protocol.h>

enum {
	PEER_COMMAND_MS = 1000,
	PEER_FDS_MAX = 8,
	PEER_PAYLOAD_MAX = 64 * 1024 + 64, // the greeting's JSON is the largest there is
};

struct peer {
	int fd; // owned
	uint16_t next_id;
	bool lost;
	char reason[256]; // why it is lost
};

/* A received message. The owner takes descriptors by stealing them; deinit closes the rest. */
struct peer_message {
	struct vfio_user_header header;
	uint8_t *payload;      // owned; NULL when empty
	size_t size;           // of the payload
	int fds[PEER_FDS_MAX]; // owned; -1: none or taken
	unsigned n_fds;
};

/* Two pieces of a command's payload, the second may be empty, and what goes along. */
struct peer_payload {
	const void *head, *tail;
	size_t head_size, tail_size;
	const int *fd; // borrowed; NULL: none
};

void peer_init(struct peer *peer, int fd); // fd: consumed
void peer_deinit(struct peer *peer);

/* Send a command and wait for its reply. 0: `reply` is valid and the caller's to deinit. A positive
 * errno value: the device refused, and lives on. -ENODEV: the peer is lost. */
int peer_call(struct peer *peer, enum vfio_user_command command, const struct peer_payload *payload,
	      struct peer_message *reply);

/* Look at what came outside of a call. 0, or -ENODEV. */
int peer_dispatch(struct peer *peer);

/* Declare the peer lost for a reason that its user found. Returns -ENODEV. */
int peer_lose(struct peer *peer, const char *format, ...) __attribute__((format(printf, 2, 3)));

void peer_message_deinit(struct peer_message *message);
