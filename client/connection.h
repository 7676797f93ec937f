/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * An open user client: its ring, its socket, the asynchronous calls that the driver still owes, and
 * what is mapped. The calls themselves need no lock here.
 *
 * Locks: the turn at `maps` before `lock` before a port's.
 */

#include <pthread.h>

#include <base/list.h>
#include <client/arrivals.h>
#include <client/buffer.h>
#include <client/handle.h>
#include <client/restart.h>
#include <client/submission.h>
#include <client/turn.h>
#include <wire/ring.h>

struct IONotificationPort;
struct async_call;

struct connection {
	struct object object;
	struct list all; // restart.c
	uint64_t id;     // dextd's
	uint64_t epoch;  // of dextd's conversation that it was opened in
	uint64_t entry;  // the service
	struct ring_client *ring;
	int memory_fd;                    // owned
	int socket_fd;                    // owned; its number stays, whatever becomes of the driver
	int doorbell_fds[RING_DOORBELLS]; // owned; those after the first come with the lock held

	pthread_mutex_t lock; // guards what follows, and reading of socket and events
	bool closed;          // by IOServiceClose, though others may still hold it
	bool ended;           // closed, or the driver is gone and is not replaced
	bool socket_lost;     // the driver is gone, and dextd will say what follows
	uint32_t generation;  // of the driver at the other end of the socket
	uint32_t doorbell_generations[RING_DOORBELLS]; // whose they are
	struct restart_handler restart_handler;
	struct arrivals arrivals;
	struct async_call **calls; // by place; NULL: free
	uint32_t n_calls, room_calls, last_serial;
	struct list answered; // of struct async_call, completed once, the oldest first
	uint32_t n_answered;
	struct IONotificationPort **ports; // references: who listens
	uint32_t n_ports;

	struct buffers buffers;
	_Atomic(struct submissions *) submissions; // owned; NULL: none was ever made

	struct turn maps;      // one map or unmap at a time; guards what follows
	bool unmapped;         // closed: nothing may be mapped any more
	struct list mappings;  // of struct mapping
	struct list regions;   // of struct region; looked through with `lock` alone
	uint64_t n_registered; // regions so far

	_Atomic uint32_t n_regions;          // that a driver knows of; written with the turn
	_Atomic uint32_t regions_generation; // of the driver that knows of them all; 0: none does
};

static inline struct connection *connection_ref(struct connection *c)
{
	return object_ref(&c->object);
}

static inline void connection_unref(struct connection *c)
{
	object_unref(&c->object);
}

/* A use that ends on this thread: handle.h. NULL and a reason: `handle` is no connection. */
static inline struct connection *connection_borrow(io_connect_t handle)
{
	struct object *object = handle_borrow(handle, OBJECT_CONNECTION);
	return object != NULL ? container_of(object, struct connection, object) : NULL;
}

static inline void connection_return(struct connection *c)
{
	handle_return(&c->object);
}

static inline int connection_fd(const struct connection *c)
{
	return c->socket_fd;
}

struct connection *connection_get(io_connect_t handle); // returned; NULL and a reason

/* Submit and wait, within the call time limit. On failure there is a reason. */
kern_return_t connection_call(struct connection *c, struct ring_request *request,
			      struct ring_reply *reply);

/* Read socket and events, without blocking, and deliver what came to the ports it is for. When the
 * driver is gone, its end is carried out here. */
void connection_drain(struct connection *c);
/* The same on the thread that dispatches `port`: what is for it calls back here and now. The socket
 * is looked at only if it is readable. */
void connection_dispatch(struct connection *c, struct IONotificationPort *port, bool readable);

/* It ends here and now, if it has not: calls end, and completions come, as aborted. */
void connection_end(struct connection *c, const char *reason);

/* The descriptor that came with the call of that number, from the driver of that generation;
 * consumed by the caller; -1: none came. */
int connection_take_descriptor(struct connection *c, uint64_t sequence, uint32_t generation);
/* Nobody waits any more for the one that comes with that call. */
void connection_forsake_descriptor(struct connection *c, uint64_t sequence);

/* `port` hears of this connection from now on; once, however often it is asked. */
kern_return_t connection_join_port(struct connection *c, struct IONotificationPort *port);
/* The port is destroyed. */
void connection_forget_port(struct connection *c, struct IONotificationPort *port);

/* mapping.c: the connection is closed. A map that does not end in time is left to the next call. */
void connection_unmap_all(struct connection *c);
