/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A connection outlives its driver: what dextd tells of that, and what follows from it here. Any
 * thread.
 */

#include <stdbool.h>
#include <stdint.h>

#include <IOKit/IOKitLib.h>

struct connection;

/* Who is told of a restart. */
struct restart_handler {
	struct IONotificationPort *port; // a reference; NULL: nobody is told
	io_connect_t connect;
	void (*callback)(void *refcon, io_connect_t connect, uint32_t generation);
	void *refcon;
	uint64_t serial; // changes with each handler
};

/* --- the life of a connection --- */

/* Around an open: news of a connection that is not known yet waits for its end. */
void restart_begin_open(void);
void restart_end_open(void);
void restart_register(struct connection *c);
void restart_unregister(struct connection *c);

/* With the lock held: the socket came to its end with `error`. 0: dextd will say what follows;
 * otherwise the error: the connection ends. */
int restart_lose_socket(struct connection *c, int error);
/* With no lock held, after the connection was looked at: is there news of it? */
void restart_look(struct connection *c);
/* Wait until the socket is that of the driver that serves the ring now, within the call time limit.
 * Fails with a reason: that, or the connection has ended. */
kern_return_t restart_catch_up(struct connection *c);

/* --- what dextd tells, with the directory's turn taken --- */

/* `socket_fd` is consumed when this returns true: the news was taken. False: the connection may be
 * one that is being opened; once more after the next restart_end_open. */
bool restart_told(uint64_t connection, uint32_t generation, int socket_fd);
bool restart_told_end(uint64_t connection);
/* dextd hung up. */
void restart_lost_directory(void);
