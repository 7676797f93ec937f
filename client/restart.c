/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A driver that dies closes its socket, and nothing else happens here: calls stay in the ring, for
 * the next driver. When that has taken the ring over, dextd tells on its channel, and sends the new
 * socket. Calls need neither: a caller hears of the restart when it needs the socket (to share a
 * buffer, to map), when a port is dispatched, or when it waits long.
 *
 * The new socket takes the number of the old one (dup3), and so do doorbells, so a thread that uses
 * a number without the lock reaches the old file or the new one, and never a stranger's.
 *
 * What the old driver still owes is settled at that moment, once: what it had completed is read
 * from the ring, and what it had accepted and not completed ends as aborted. Which driver accepted
 * a call is in its reply; a call whose reply is on its way is settled when that comes.
 *
 * The end of a socket means the end of the connection when dextd, too, is gone, or when the ring
 * is closed.
 *
 * Locks: the directory's turn before `lock` below, before a connection's.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/log.h>
#include <base/reason.h>
#include <client/async.h>
#include <client/connection.h>
#include <client/directory.h>
#include <client/port.h>
#include <client/restart.h>
#include <opendext/client.h>

/* Another thread may take the news off the channel: one who waits for it looks again this often. */
enum { LOOK_MS = 20, TURNS_MAX = 16 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list connections = { &connections, &connections }; // lock
static uint32_t n_opening;                                       // lock

/* --- the connections of the process --- */

void restart_begin_open(void)
{
	pthread_mutex_lock(&lock);
	n_opening++;
	pthread_mutex_unlock(&lock);
}

void restart_end_open(void)
{
	pthread_mutex_lock(&lock);
	n_opening--;
	pthread_mutex_unlock(&lock);
	directory_settle();
}

void restart_register(struct connection *c)
{
	pthread_mutex_lock(&lock);
	list_append(&connections, &c->all);
	pthread_mutex_unlock(&lock);
}

void restart_unregister(struct connection *c)
{
	pthread_mutex_lock(&lock);
	list_remove(&c->all);
	pthread_mutex_unlock(&lock);
}

/* A reference; NULL: no such connection; then *opening says whether it may come. */
static struct connection *find(uint64_t id, bool *opening)
{
	struct connection *c, *found = NULL;
	pthread_mutex_lock(&lock);
	list_for_each(c, &connections, all)
		if (c->id == id && c->epoch == directory_epoch())
			found = connection_ref(c);
	*opening = n_opening > 0;
	pthread_mutex_unlock(&lock);
	return found;
}

/* --- the handler --- */

struct told {
	struct delivery delivery;
	struct connection *connection; // a reference
	uint64_t serial;
	uint32_t generation;
};

static void run(struct delivery *delivery, bool wanted)
{
	struct told *told = container_of(delivery, struct told, delivery);
	struct connection *c = told->connection;
	pthread_mutex_lock(&c->lock);
	struct restart_handler handler = c->restart_handler;
	bool valid = !c->ended && handler.port != NULL && handler.serial == told->serial;
	pthread_mutex_unlock(&c->lock);
	if (wanted && valid)
		handler.callback(handler.refcon, handler.connect, told->generation);
	connection_unref(c);
	free(told);
}

/* With the lock held. */
static void tell_application(struct connection *c)
{
	if (c->restart_handler.port == NULL)
		return;
	struct told *told = malloc(sizeof(*told));
	if (told == NULL) {
		log_error("out of memory: the application is not told of a restart");
		return;
	}
	*told = (struct told){
		.delivery.run = run,
		.connection = connection_ref(c),
		.serial = c->restart_handler.serial,
		.generation = c->generation,
	};
	if (!port_deliver(c->restart_handler.port, &told->delivery)) {
		free(told);
		connection_unref(c); // not the last: the caller has one
	}
}

kern_return_t dext_connect_set_restart_handler(io_connect_t connect, IONotificationPortRef notify,
					       dext_restart_callback callback, void *refcon)
{
	kern_return_t status = kIOReturnSuccess;
	reason_clear();
	if (callback != NULL && notify == NULL)
		return refuse(kIOReturnBadArgument, "a callback needs a notification port");
	struct connection *c = connection_get(connect);
	if (c == NULL)
		return kIOReturnBadArgument;
	if (callback != NULL)
		status = connection_join_port(c, notify);
	struct IONotificationPort *old = NULL;
	pthread_mutex_lock(&c->lock);
	if (status == kIOReturnSuccess) {
		uint64_t serial = c->restart_handler.serial + 1;
		old = c->restart_handler.port;
		c->restart_handler = (struct restart_handler){ .serial = serial };
		if (callback != NULL)
			c->restart_handler = (struct restart_handler){
				.port = object_ref(&notify->object),
				.connect = connect,
				.callback = callback,
				.refcon = refcon,
				.serial = serial,
			};
	}
	pthread_mutex_unlock(&c->lock);
	if (old != NULL)
		object_unref(&old->object);
	connection_unref(c);
	return status;
}

/* --- a restart --- */

/* With the lock held. Negative errno: the socket cannot be had. */
static int replace_socket(struct connection *c, int socket_fd)
{
	if (dup3(socket_fd, c->socket_fd, O_CLOEXEC) < 0)
		return -errno;
	c->socket_lost = false;
	for (uint32_t i = 0; i < c->n_ports; i++) {
		int ret = port_hear(c->ports[i], c);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* With the lock held, what the old driver sent having been read. */
static int go_on(struct connection *c, uint32_t generation, int socket_fd)
{
	int ret = replace_socket(c, socket_fd);
	c->generation = generation;
	async_abort_before(c, generation);
	tell_application(c);
	return ret;
}

/* What the old driver had sent and completed still counts. A socket holds so much and no more. */
static void read_to_the_end(struct connection *c)
{
	bool lost = false;
	for (int n = 0; n < TURNS_MAX && !lost; n++) {
		connection_drain(c);
		pthread_mutex_lock(&c->lock);
		lost = c->socket_lost || c->ended;
		pthread_mutex_unlock(&c->lock);
	}
}

bool restart_told(uint64_t connection, uint32_t generation, int attached)
{
	bool opening;
	struct connection *c = find(connection, &opening);
	if (c == NULL && opening)
		return false;
	CLEANUP(close_fdp) int socket_fd = attached;
	if (c == NULL)
		return true; // closed meanwhile
	read_to_the_end(c);
	pthread_mutex_lock(&c->lock);
	bool news = !c->ended && generation > c->generation && socket_fd >= 0;
	int ret = news ? go_on(c, generation, socket_fd) : 0;
	pthread_mutex_unlock(&c->lock);
	if (ret < 0) {
		char reason[128];
		snprintf(reason, sizeof(reason), "the new driver's socket is unusable: %s",
			 strerror(-ret));
		connection_end(c, reason);
	}
	connection_drain(c);
	connection_unref(c);
	return true;
}

bool restart_told_end(uint64_t connection)
{
	bool opening;
	struct connection *c = find(connection, &opening);
	if (c == NULL)
		return !opening;
	connection_drain(c);
	connection_end(c, "the driver's process has ended");
	connection_unref(c);
	return true;
}

/* --- the end of a socket --- */

int restart_lose_socket(struct connection *c, int error)
{
	if (ring_client_is_closed(c->ring) || c->epoch != directory_epoch())
		return error;
	c->socket_lost = true;
	for (uint32_t i = 0; i < c->n_ports; i++)
		port_deafen(c->ports[i], c);
	return 0;
}

/* One that lost its socket to the dextd that is gone; a reference. */
static struct connection *find_orphan(void)
{
	struct connection *c, *found = NULL;
	pthread_mutex_lock(&lock);
	list_for_each(c, &connections, all) {
		pthread_mutex_lock(&c->lock);
		if (found == NULL && c->socket_lost && !c->ended && c->epoch != directory_epoch())
			found = connection_ref(c);
		pthread_mutex_unlock(&c->lock);
	}
	pthread_mutex_unlock(&lock);
	return found;
}

void restart_lost_directory(void)
{
	struct connection *c;
	while ((c = find_orphan()) != NULL) {
		connection_end(c, "the driver's process has ended, and dextd is gone");
		connection_unref(c);
	}
}

static bool is_behind(struct connection *c)
{
	pthread_mutex_lock(&c->lock);
	bool behind =
		!c->ended && (c->socket_lost || c->generation < ring_client_generation(c->ring));
	pthread_mutex_unlock(&c->lock);
	return behind;
}

void restart_look(struct connection *c)
{
	if (is_behind(c))
		directory_dispatch();
}

/* --- waiting for one --- */

static kern_return_t wait_for_news(struct connection *c, int epoll_fd)
{
	uint32_t timeout_ms = dext_call_timeout_get();
	uint64_t deadline = clock_deadline_ns(timeout_ms);
	struct epoll_event event;
	for (;;) {
		connection_drain(c);
		if (!is_behind(c))
			break;
		if (clock_now_ns() >= deadline)
			return refuse(kIOReturnTimeout, "the driver was not replaced within %u ms",
				      timeout_ms);
		(void)epoll_wait(epoll_fd, &event, 1, LOOK_MS);
	}
	pthread_mutex_lock(&c->lock);
	bool ended = c->ended;
	pthread_mutex_unlock(&c->lock);
	return ended ? refuse(kIOReturnOffline, "the connection has ended") : kIOReturnSuccess;
}

kern_return_t restart_catch_up(struct connection *c)
{
	if (!is_behind(c))
		return kIOReturnSuccess;
	CLEANUP(close_fdp) int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		return refuse(return_from_errno(-errno), "no descriptor to wait with: %s",
			      strerror(errno));
	kern_return_t status = directory_attach(epoll_fd, 0);
	return status == kIOReturnSuccess ? wait_for_news(c, epoll_fd) : status;
}
