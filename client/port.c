/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A port is an epoll descriptor over an eventfd, the sockets of connections and dextd's channel. A
 * wake that one thread takes off a socket, in the course of a call, say, reaches the others all the
 * same: what it announced was delivered to the port, whose eventfd is then readable. The eventfd is
 * written and read under the port's lock together with the list, so the two never disagree.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/reason.h>
#include <client/connection.h>
#include <client/directory.h>
#include <client/port.h>
#include <opendext/client.h>

enum { ID_EVENT = 0, ID_DIRECTORY = 1, ID_SOURCES = 2, READY_MAX = 16 };

/* A connection that the port listens to. */
struct source {
	struct list link; // port.sources
	uint64_t id;
	struct connection *connection; // a reference
};

static struct IONotificationPort *port_of(struct object *object)
{
	return container_of(object, struct IONotificationPort, object);
}

static void move_all(struct list *to, struct list *from)
{
	while (!list_empty(from)) {
		struct list *first = from->next;
		list_remove(first);
		list_append(to, first);
	}
}

/* --- life --- */

static void drop_pending(struct list *pending)
{
	struct delivery *delivery, *next;
	list_for_each_safe(delivery, next, pending, link) {
		list_remove(&delivery->link);
		delivery->run(delivery, false);
	}
}

static void source_free(struct source *source)
{
	connection_unref(source->connection);
	free(source);
}

static void port_free(struct object *object)
{
	struct IONotificationPort *port = port_of(object);
	close_fdp(&port->event_fd);
	close_fdp(&port->epoll_fd);
	pthread_mutex_destroy(&port->lock);
	free(port);
}

/* All of it ends here; only the memory stays until the last user has gone. */
static void port_close(struct object *object)
{
	struct IONotificationPort *port = port_of(object);
	struct list pending, sources;
	list_init(&pending);
	list_init(&sources);
	pthread_mutex_lock(&port->lock);
	port->destroyed = true;
	move_all(&pending, &port->pending);
	move_all(&sources, &port->sources);
	pthread_mutex_unlock(&port->lock);

	drop_pending(&pending);
	struct source *source, *next;
	list_for_each_safe(source, next, &sources, link) {
		list_remove(&source->link);
		connection_forget_port(source->connection, port);
		source_free(source);
	}
}

static int add_descriptor(int epoll_fd, int fd, uint64_t id)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = id };
	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

IONotificationPortRef IONotificationPortCreate(mach_port_t mainPort)
{
	(void)mainPort;
	reason_clear();
	CLEANUP(close_fdp) int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	CLEANUP(close_fdp) int event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (epoll_fd < 0 || event_fd < 0 || add_descriptor(epoll_fd, event_fd, ID_EVENT) < 0) {
		refuse(kIOReturnNoResources, "no descriptors for a port: %s", strerror(errno));
		return NULL;
	}
	struct IONotificationPort *port = calloc(1, sizeof(*port));
	if (port == NULL) {
		refuse(kIOReturnNoMemory, "out of memory");
		return NULL;
	}
	object_init(&port->object, OBJECT_PORT, port_close, port_free);
	pthread_mutex_init(&port->lock, NULL);
	list_init(&port->pending);
	list_init(&port->sources);
	port->last_source = ID_SOURCES;
	port->epoll_fd = steal_fd(&epoll_fd);
	port->event_fd = steal_fd(&event_fd);
	io_object_t handle = handle_new(&port->object);
	if (handle == IO_OBJECT_NULL)
		return NULL;
	port->handle = handle;
	return port;
}

void IONotificationPortDestroy(IONotificationPortRef port)
{
	if (port != NULL)
		handle_release(port->handle);
}

mach_port_t IONotificationPortGetMachPort(IONotificationPortRef port)
{
	return port != NULL ? port->handle : MACH_PORT_NULL;
}

int dext_notification_port_get_fd(IONotificationPortRef port)
{
	return port != NULL ? port->epoll_fd : -1;
}

/* --- deliveries --- */

/* With the lock held, after a change of what the eventfd tells. */
static void update_event(struct IONotificationPort *port)
{
	bool wanted = !list_empty(&port->pending) || port->look_again;
	uint64_t count = 1;
	ssize_t size = 0;
	if (wanted && !port->event_set)
		size = write(port->event_fd, &count, sizeof(count));
	else if (!wanted && port->event_set)
		size = read(port->event_fd, &count, sizeof(count));
	if (size >= 0) // it has one writer at a time, so neither can fail
		port->event_set = wanted;
}

bool port_deliver(struct IONotificationPort *port, struct delivery *delivery)
{
	pthread_mutex_lock(&port->lock);
	bool taken = !port->destroyed;
	if (taken) {
		list_append(&port->pending, &delivery->link);
		update_event(port);
	}
	pthread_mutex_unlock(&port->lock);
	return taken;
}

void port_look_again(struct IONotificationPort *port)
{
	pthread_mutex_lock(&port->lock);
	port->look_again = true;
	update_event(port);
	pthread_mutex_unlock(&port->lock);
}

bool port_is_idle(struct IONotificationPort *port)
{
	pthread_mutex_lock(&port->lock);
	bool idle = list_empty(&port->pending) && !port->destroyed;
	pthread_mutex_unlock(&port->lock);
	return idle;
}

/* --- sources --- */

/* With the lock held. */
static struct source *find_source(struct IONotificationPort *port, struct connection *connection)
{
	struct source *source;
	list_for_each(source, &port->sources, link)
		if (source->connection == connection)
			return source;
	return NULL;
}

kern_return_t port_listen(struct IONotificationPort *port, struct connection *connection)
{
	CLEANUP(freep) struct source *source = calloc(1, sizeof(*source));
	if (source == NULL)
		return refuse(kIOReturnNoMemory, "out of memory");
	kern_return_t status = kIOReturnSuccess;
	pthread_mutex_lock(&port->lock);
	if (port->destroyed) {
		status = refuse(kIOReturnBadArgument, "the notification port was destroyed");
	} else if (find_source(port, connection) == NULL) {
		source->id = ++port->last_source;
		int ret = add_descriptor(port->epoll_fd, connection_fd(connection), source->id);
		if (ret < 0) {
			status = refuse(return_from_errno(ret), "epoll: %s", strerror(-ret));
		} else {
			source->connection = connection_ref(connection);
			list_append(&port->sources, &source->link);
			source = NULL;
		}
	}
	pthread_mutex_unlock(&port->lock);
	return status;
}

void port_ignore(struct IONotificationPort *port, struct connection *connection)
{
	pthread_mutex_lock(&port->lock);
	struct source *source = find_source(port, connection);
	if (source != NULL) {
		epoll_ctl(port->epoll_fd, EPOLL_CTL_DEL, connection_fd(connection), NULL);
		list_remove(&source->link);
	}
	pthread_mutex_unlock(&port->lock);
	if (source != NULL)
		source_free(source);
}

void port_deafen(struct IONotificationPort *port, struct connection *connection)
{
	(void)epoll_ctl(port->epoll_fd, EPOLL_CTL_DEL, connection_fd(connection), NULL);
}

int port_hear(struct IONotificationPort *port, struct connection *connection)
{
	pthread_mutex_lock(&port->lock);
	struct source *source = find_source(port, connection);
	int ret = 0;
	if (source != NULL)
		ret = add_descriptor(port->epoll_fd, connection_fd(connection), source->id);
	pthread_mutex_unlock(&port->lock);
	return ret == -EEXIST ? 0 : ret;
}

kern_return_t port_hear_directory(struct IONotificationPort *port)
{
	return directory_attach(port->epoll_fd, ID_DIRECTORY);
}

kern_return_t port_watch(struct IONotificationPort *port)
{
	kern_return_t status = directory_attach(port->epoll_fd, ID_DIRECTORY);
	if (status != kIOReturnSuccess)
		return status;
	pthread_mutex_lock(&port->lock);
	port->watch_epoch = directory_epoch();
	pthread_mutex_unlock(&port->lock);
	return kIOReturnSuccess;
}

/* --- dispatch --- */

/* The source with the lowest id from `first` on, which is stored: a reference; NULL: none. */
static struct connection *next_source(struct IONotificationPort *port, uint64_t first, uint64_t *id)
{
	struct connection *connection = NULL;
	struct source *source;
	pthread_mutex_lock(&port->lock);
	list_for_each(source, &port->sources, link)
		if (connection == NULL && source->id >= first) {
			connection = connection_ref(source->connection);
			*id = source->id;
		}
	pthread_mutex_unlock(&port->lock);
	return connection;
}

static void look_at(struct IONotificationPort *port, uint64_t wanted)
{
	uint64_t id;
	struct connection *connection = next_source(port, wanted, &id);
	if (connection == NULL)
		return; // ignored meanwhile
	if (id == wanted)
		connection_dispatch(connection, port, true);
	connection_unref(connection);
}

/* The eventfd stays as it is until the end of the dispatch: in a stream, set. */
static void look_at_all(struct IONotificationPort *port)
{
	struct connection *connection;
	uint64_t id = 0;
	pthread_mutex_lock(&port->lock);
	bool again = port->look_again;
	port->look_again = false;
	pthread_mutex_unlock(&port->lock);
	while (again && (connection = next_source(port, id + 1, &id)) != NULL) {
		connection_dispatch(connection, port, false);
		connection_unref(connection);
	}
}

static void run_pending(struct IONotificationPort *port)
{
	struct list due;
	struct delivery *delivery;
	list_init(&due);
	pthread_mutex_lock(&port->lock);
	move_all(&due, &port->pending);
	update_event(port);
	pthread_mutex_unlock(&port->lock);
	while (!list_empty(&due)) {
		delivery = container_of(due.next, struct delivery, link);
		list_remove(&delivery->link);
		delivery->run(delivery, !port_is_destroyed(port));
	}
}

static bool lost_directory(struct IONotificationPort *port)
{
	pthread_mutex_lock(&port->lock);
	bool lost = port->watch_epoch != 0 && port->watch_epoch != directory_epoch();
	pthread_mutex_unlock(&port->lock);
	return lost;
}

kern_return_t dext_notification_port_dispatch(IONotificationPortRef port)
{
	struct epoll_event ready[READY_MAX];
	reason_clear();
	if (port == NULL)
		return refuse(kIOReturnBadArgument, "the notification port is NULL");
	object_ref(&port->object);
	look_at_all(port); // what it leaves, the next dispatch looks at
	int n = epoll_wait(port->epoll_fd, ready, READY_MAX, 0);
	for (int i = 0; i < n; i++) {
		if (ready[i].data.u64 == ID_DIRECTORY)
			directory_dispatch();
		else if (ready[i].data.u64 != ID_EVENT)
			look_at(port, ready[i].data.u64);
	}
	run_pending(port);
	bool lost = lost_directory(port);
	object_unref(&port->object);
	if (lost)
		return refuse(kIOReturnOffline,
			      "dextd hung up: this port's notifications of services have ended");
	return kIOReturnSuccess;
}
