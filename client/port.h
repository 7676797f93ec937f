/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A notification port from the inside: who has something for the application delivers it here, from
 * any thread, and the application's dispatch runs it. The port's descriptor is readable while a
 * delivery waits, or while a descriptor that it listens to is.
 *
 * Locks: a connection's before a port's; a notifier's before a port's.
 */

#include <pthread.h>

#include <base/list.h>
#include <client/handle.h>

struct connection;

/* One callback that is due. */
struct delivery {
	struct list link; // port.pending
	/* Run on the dispatching thread, with no lock held, and let go of the delivery; `wanted` is
	 * false when the port was destroyed meanwhile: then only let go. */
	void (*run)(struct delivery *delivery, bool wanted);
};

struct IONotificationPort {
	struct object object;
	io_object_t handle; // of the port as a wakePort
	int epoll_fd;       // the application polls it
	int event_fd;       // in epoll_fd: readable while `pending` is not empty, or `look_again`
	_Atomic bool destroyed; // set with the lock held

	pthread_mutex_t lock; // guards what follows
	bool event_set;
	bool look_again;      // a connection has more to read than one turn takes
	uint64_t watch_epoch; // of the directory, when a watch was added; 0: none
	uint64_t last_source; // id
	struct list pending;  // of struct delivery
	struct list sources;  // of struct source: connections it listens to
};

/* Deliver. False: the port is destroyed, nothing was taken. */
bool port_deliver(struct IONotificationPort *port, struct delivery *delivery);

/* No delivery is due. */
bool port_is_idle(struct IONotificationPort *port);

static inline bool port_is_destroyed(const struct IONotificationPort *port)
{
	return atomic_load_explicit(&port->destroyed, memory_order_acquire);
}

/* Listen to the connection's socket; once, however often it is asked. */
kern_return_t port_listen(struct IONotificationPort *port, struct connection *connection);
void port_ignore(struct IONotificationPort *port, struct connection *connection);
/* The connection's socket is at its end: it is not listened to until port_hear, when its number is
 * another socket's. Negative errno. */
void port_deafen(struct IONotificationPort *port, struct connection *connection);
int port_hear(struct IONotificationPort *port, struct connection *connection);
/* Listen to what dextd tells of connections. */
kern_return_t port_hear_directory(struct IONotificationPort *port);
/* Have every connection looked at in the next dispatch. */
void port_look_again(struct IONotificationPort *port);

/* Listen to dextd. */
kern_return_t port_watch(struct IONotificationPort *port);
