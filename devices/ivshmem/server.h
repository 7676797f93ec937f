/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The card behind a vfio-user socket: answers the commands of one client at a time. It can be told
 * to misbehave, for the tests of those who must not trust a device.
 */

#include <stdbool.h>
#include <stdint.h>

#include <devices/ivshmem/card.h>

enum misbehaviour {
	BEHAVE,
	BAR_LARGER_THAN_FILE, // BAR2 is announced twice as large as FILE
	TRUNCATE_AFTER_MAP,   // FILE is cut to nothing when the doorbell is rung
	HANG_UP,              // the connection is closed where an answer is due
	GARBAGE,              // bytes that mean nothing are the answer
	SILENT,               // there is no answer
};

struct server {
	struct card card;
	enum misbehaviour misbehaviour;
	bool on_doorbell;  // misbehave only once the doorbell was rung, not from the start
	int connection_fd; // owned; -1: none
};

void server_init(struct server *server, int memory_fd, uint64_t memory_size);
/* A client came: `fd` is consumed. */
void server_attach(struct server *server, int fd);
/* The connection is readable: serve one message. A broken client is hung up on. */
void server_dispatch(struct server *server);
void server_detach(struct server *server); // twice is harmless

/* Set what --misbehave names. False: there is no such name. */
bool server_misbehave(struct server *server, const char *name);
/* The next name of the list; NULL: no more. */
const char *server_misbehaviour_name(unsigned index);
