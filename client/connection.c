/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A connection's life, and what arrives beside replies. Nothing here runs on a thread of its own:
 * the socket and the event ring are read by whoever dispatches a port, maps memory or, while a call
 * takes long, waits for it; what they announce goes to the ports it is for.
 *
 * A dispatch calls back straight from a copy of the event, without making a delivery of it, as long
 * as the next event in the ring is its own port's and no delivery is due there: those came before.
 * It takes a few events at a time under the lock, and calls back without it. The first event of
 * another kind, and all that follow it, go the way of deliveries, so each port's order is the
 * ring's.
 *
 * A dispatch that found much does not say that the reader sleeps: its ports stay readable, and the
 * next one looks again, so in a stream neither side sends or takes a wake. One that finds little
 * says so, and from then on a wake is what makes the ports readable.
 *
 * A driver that dies is replaced, and the connection goes on: restart.c.
 *
 * The end. Whoever learns of it closes the ring (so that all calls end, on all
 * threads), completes what the driver owes, and tells who asked for the service's end. It happens
 * once; IOServiceClose does the same.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/reason.h>
#include <client/async.h>
#include <client/connection.h>
#include <client/directory.h>
#include <client/entry.h>
#include <client/interest.h>
#include <client/port.h>
#include <opendext/client.h>

/* A turn is bounded: a driver cannot keep a dispatch busy for ever. */
enum {
	MESSAGES_PER_TURN = 64,
	EVENTS_PER_TURN = RING_EVENTS,
	EVENTS_PER_BATCH = 32,
	STREAM = 64, // events of one turn
};

static struct connection *connection_of(struct object *object)
{
	return container_of(object, struct connection, object);
}

struct connection *connection_get(io_connect_t handle)
{
	struct object *object = handle_get(handle, OBJECT_CONNECTION);
	return object != NULL ? connection_of(object) : NULL;
}

/* --- the end --- */

/* Calls end, completions come; once. False: it had ended before. */
static bool end_locked(struct connection *c, const char *reason)
{
	if (c->ended)
		return false;
	c->ended = true;
	ring_abort(c->memory_fd, kIOReturnAborted, reason);
	async_abort_all(c);
	return true;
}

/* With no lock held: nobody listens any more. */
static void leave_ports(struct connection *c)
{
	pthread_mutex_lock(&c->lock);
	struct IONotificationPort **ports = c->ports;
	uint32_t n_ports = c->n_ports;
	c->ports = NULL;
	c->n_ports = 0;
	pthread_mutex_unlock(&c->lock);
	for (uint32_t i = 0; i < n_ports; i++) {
		port_ignore(ports[i], c);
		object_unref(&ports[i]->object);
	}
	free(ports);
}

/* With the lock held. */
static kern_return_t add_port(struct connection *c, struct IONotificationPort *port)
{
	struct IONotificationPort **grown =
		realloc(c->ports, (c->n_ports + 1) * sizeof(struct IONotificationPort *));
	if (grown == NULL)
		return refuse(kIOReturnNoMemory, "out of memory");
	c->ports = grown;
	kern_return_t status = port_listen(port, c);
	if (status == kIOReturnSuccess) {
		object_ref(&port->object);
		c->ports[c->n_ports++] = port;
		if (c->socket_lost)
			port_deafen(port, c);
	}
	return status;
}

/* With the lock held. */
static bool has_port(const struct connection *c, const struct IONotificationPort *port)
{
	bool found = c->ended; // then there is nothing to hear
	for (uint32_t i = 0; i < c->n_ports && !found; i++)
		found = c->ports[i] == port;
	return found;
}

/* dextd tells of restarts, so the port hears it too. It is never called with the lock held. */
kern_return_t connection_join_port(struct connection *c, struct IONotificationPort *port)
{
	pthread_mutex_lock(&c->lock);
	bool joined = has_port(c, port);
	pthread_mutex_unlock(&c->lock);
	kern_return_t status = joined ? kIOReturnSuccess : port_hear_directory(port);
	if (joined || status != kIOReturnSuccess)
		return status;
	pthread_mutex_lock(&c->lock);
	if (!has_port(c, port))
		status = add_port(c, port);
	pthread_mutex_unlock(&c->lock);
	return status;
}

void connection_forget_port(struct connection *c, struct IONotificationPort *port)
{
	bool found = false;
	pthread_mutex_lock(&c->lock);
	for (uint32_t i = 0; i < c->n_ports && !found; i++) {
		found = c->ports[i] == port;
		if (found)
			c->ports[i] = c->ports[--c->n_ports];
	}
	pthread_mutex_unlock(&c->lock);
	if (found)
		object_unref(&port->object);
}

/* Once: by IOServiceClose, or when the last reference is given back. */
static void connection_close(struct object *object)
{
	struct connection *c = connection_of(object);
	struct DextDirectory_Close_Msg msg = { .connection = c->id };
	pthread_mutex_lock(&c->lock);
	bool again = c->closed;
	c->closed = true;
	pthread_mutex_unlock(&c->lock);
	if (again)
		return;
	restart_unregister(c);
	pthread_mutex_lock(&c->lock);
	end_locked(c, "the application closed the connection");
	pthread_mutex_unlock(&c->lock);
	leave_ports(c);
	connection_unmap_all(c);
	directory_tell(&DextDirectory_Close_Shape, &msg);
}

static void connection_free(struct object *object)
{
	struct connection *c = connection_of(object);
	connection_unmap_all(c); // what a map has made since the close
	arrivals_deinit(&c->arrivals);
	c->ring = ring_client_close(c->ring);
	close_fdp(&c->memory_fd);
	close_fdp(&c->socket_fd);
	for (unsigned i = 0; i < RING_DOORBELLS; i++)
		close_fdp(&c->doorbell_fds[i]);
	if (c->restart_handler.port != NULL)
		object_unref(&c->restart_handler.port->object);
	pthread_mutex_destroy(&c->lock);
	buffers_deinit(&c->buffers);
	submissions_free(c->submissions);
	turn_deinit(&c->maps);
	free(c->calls);
	free(c);
}

/* --- open and close --- */

static void look(void *context)
{
	connection_drain(context);
}

/* The descriptors are consumed, also on failure. The epoch was that of the open. */
static int connection_new(struct connection **out, const struct DextDirectory_Open_Msg *msg)
{
	CLEANUP(close_fdp) int memory_fd = msg->memory;
	CLEANUP(close_fdp) int socket_fd = msg->socket;
	CLEANUP(close_fdp) int doorbell_fd = msg->doorbell;
	struct ring_client *ring;
	if (memory_fd < 0 || socket_fd < 0 || doorbell_fd < 0)
		return -EBADMSG;
	int ret = ring_client_open(&ring, memory_fd, doorbell_fd);
	if (ret < 0)
		return ret;
	struct connection *c = calloc(1, sizeof(*c));
	if (c == NULL) {
		ring_client_close(ring);
		return -ENOMEM;
	}
	object_init(&c->object, OBJECT_CONNECTION, connection_close, connection_free);
	pthread_mutex_init(&c->lock, NULL);
	buffers_init(&c->buffers);
	turn_init(&c->maps);
	list_init(&c->answered);
	list_init(&c->mappings);
	list_init(&c->regions);
	c->id = msg->connection;
	c->entry = msg->entry;
	c->epoch = directory_epoch();
	c->generation = 1;
	list_init(&c->all);
	c->ring = ring;
	c->memory_fd = steal_fd(&memory_fd);
	c->socket_fd = steal_fd(&socket_fd);
	for (unsigned i = 1; i < RING_DOORBELLS; i++)
		c->doorbell_fds[i] = -1;
	c->doorbell_fds[0] = steal_fd(&doorbell_fd);
	ring_client_set_look(ring, look, c);
	ring_client_event_sleep(ring); // it is empty: the first event sends a wake
	*out = c;
	return 0;
}

static kern_return_t open_connection(struct connection **out, struct DextDirectory_Open_Msg *msg)
{
	uint64_t epoch = directory_epoch();
	kern_return_t status = directory_call(&DextDirectory_Open_Shape, msg);
	if (status != kIOReturnSuccess)
		return status;
	int ret = connection_new(out, msg);
	if (ret < 0) {
		struct DextDirectory_Close_Msg undo = { .connection = msg->connection };
		directory_tell(&DextDirectory_Close_Shape, &undo);
		return refuse(return_from_errno(ret), "dextd gave an unusable connection: %s",
			      strerror(-ret));
	}
	(*out)->epoch = epoch;
	restart_register(*out);
	return kIOReturnSuccess;
}

kern_return_t IOServiceOpen(io_service_t service, task_port_t owningTask, uint32_t type,
			    io_connect_t *connect)
{
	struct DextDirectory_Open_Msg msg = {
		.type = type, .memory = -1, .socket = -1, .doorbell = -1
	};
	reason_clear();
	if (connect == NULL)
		return refuse(kIOReturnBadArgument, "connect is NULL");
	*connect = IO_OBJECT_NULL;
	if (owningTask != mach_task_self())
		return refuse(kIOReturnBadArgument, "owningTask must be mach_task_self()");
	kern_return_t status = entry_get_id(service, &msg.entry);
	if (status != kIOReturnSuccess)
		return status;
	restart_begin_open();
	struct connection *c = NULL;
	status = open_connection(&c, &msg);
	restart_end_open();
	if (status != kIOReturnSuccess)
		return status;
	*connect = handle_new(&c->object);
	return *connect != IO_OBJECT_NULL ? kIOReturnSuccess : kIOReturnNoMemory;
}

int IOServiceOpenAsFileDescriptor(io_service_t service, int oflag)
{
	uint64_t id;
	(void)oflag;
	reason_clear();
	kern_return_t status = entry_get_id(service, &id);
	if (status != kIOReturnSuccess)
		return status;
	return refuse(kIOReturnUnsupported,
		      "no one descriptor is a connection: use IOServiceOpen, and wait with "
		      "dext_notification_port_get_fd");
}

kern_return_t IOServiceClose(io_connect_t connect)
{
	reason_clear();
	struct connection *c = connection_get(connect);
	if (c == NULL)
		return kIOReturnBadArgument;
	/* First, so that a call that the close ends finds its number gone already. */
	kern_return_t status = handle_release(connect);
	connection_close(&c->object);
	connection_unref(c);
	return status;
}

kern_return_t IOConnectAddRef(io_connect_t connect)
{
	reason_clear();
	struct connection *c = connection_get(connect);
	if (c == NULL)
		return kIOReturnBadArgument;
	connection_unref(c);
	return handle_retain(connect);
}

kern_return_t IOConnectRelease(io_connect_t connect)
{
	reason_clear();
	struct connection *c = connection_get(connect);
	if (c == NULL)
		return kIOReturnBadArgument;
	connection_unref(c);
	return handle_release(connect);
}

kern_return_t IOConnectGetService(io_connect_t connect, io_service_t *service)
{
	reason_clear();
	if (service == NULL)
		return refuse(kIOReturnBadArgument, "service is NULL");
	*service = IO_OBJECT_NULL;
	struct connection *c = connection_get(connect);
	if (c == NULL)
		return kIOReturnBadArgument;
	*service = entry_new(c->entry);
	connection_unref(c);
	return *service != IO_OBJECT_NULL ? kIOReturnSuccess : kIOReturnNoMemory;
}

/* --- latency --- */

_Static_assert((int)DEXT_LATENCY_BALANCED == (int)WAITING_BALANCED &&
		       (int)DEXT_LATENCY_BUSY_POLL == (int)WAITING_BUSY_POLL &&
		       (int)DEXT_LATENCY_POWER_SAVER == (int)WAITING_POWER_SAVER,
	       "the public names are the ring's");

kern_return_t dext_connect_set_latency(io_connect_t connect, enum dext_latency latency)
{
	reason_clear();
	if ((unsigned)latency >= WAITING_POLICIES)
		return refuse(kIOReturnBadArgument, "no latency has the number %d", (int)latency);
	struct connection *c = connection_get(connect);
	if (c == NULL)
		return kIOReturnBadArgument;
	ring_client_set_waiting(c->ring, (enum waiting_policy)latency);
	struct DextDirectory_KeepAwake_Msg msg = { .connection = c->id };
	if (latency == DEXT_LATENCY_BUSY_POLL) {
		msg.keep = 1;
		directory_call(&DextDirectory_KeepAwake_Shape, &msg);
	} else {
		directory_tell(&DextDirectory_KeepAwake_Shape, &msg);
	}
	connection_unref(c);
	return kIOReturnSuccess;
}

/* --- the socket --- */

/* To write to a pipe or a socket could kill this process: an anonymous file has no type. */
static bool may_be_eventfd(int fd)
{
	struct stat st;
	return fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == 0;
}

/* From now on this process's callers on the worker's CPUs ring it. */
static int keep_doorbell(struct connection *c, uint64_t worker, int doorbell_fd)
{
	CLEANUP(close_fdp) int fd = doorbell_fd;
	if (worker == 0 || worker >= RING_DOORBELLS ||
	    c->doorbell_generations[worker] == c->generation || !may_be_eventfd(fd))
		return -EBADMSG;
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	if (c->doorbell_fds[worker] < 0)
		c->doorbell_fds[worker] = steal_fd(&fd);
	else if (dup3(fd, c->doorbell_fds[worker], O_CLOEXEC) < 0)
		return -errno;
	c->doorbell_generations[worker] = c->generation;
	ring_client_set_doorbell(c->ring, (uint32_t)worker, c->doorbell_fds[worker], c->generation);
	return 0;
}

/* A whole message; `fd` is consumed. */
static int take_message(struct connection *c, const struct ring_socket_message *message,
			int attached)
{
	CLEANUP(close_fdp) int fd = attached;
	switch (message->kind) {
	case RING_SOCKET_WAKE:
		return 0;
	case RING_SOCKET_DESCRIPTOR:
		if (fd < 0)
			return -EBADMSG;
		arrivals_add(&c->arrivals, message->sequence, c->generation, steal_fd(&fd));
		return 0;
	case RING_SOCKET_DOORBELL:
		return fd >= 0 ? keep_doorbell(c, message->sequence, steal_fd(&fd)) : -EBADMSG;
	default:
		return -EBADMSG;
	}
}

/* 1: a message of that kind was taken; 0: none waits; negative: the driver hung up or sent garbage.
 */
static int read_message(struct connection *c, uint32_t *kind)
{
	struct ring_socket_message message;
	int fd;
	if (c->socket_lost)
		return 0;
	int ret = ring_socket_receive(c->socket_fd, &message, &fd);
	if (ret < 0 && ret != -EBADMSG)
		return restart_lose_socket(c, ret);
	if (ret != 1)
		return ret;
	*kind = message.kind;
	ret = take_message(c, &message, fd);
	return ret < 0 ? ret : 1;
}

/* --- reading all there is, with the lock held: 1: there is more; 0; negative: it is over --- */

static int read_socket(struct connection *c)
{
	uint32_t kind;
	int ret = 1;
	for (int n = 0; n < MESSAGES_PER_TURN && ret == 1; n++)
		ret = read_message(c, &kind);
	return ret;
}

/* As far as the wake that most often is all there is: a port's descriptor stays readable while
 * there is more. */
static int read_wake(struct connection *c)
{
	uint32_t kind = 0;
	int ret = 1;
	for (int n = 0; n < MESSAGES_PER_TURN && ret == 1 && kind != RING_SOCKET_WAKE; n++)
		ret = read_message(c, &kind);
	return ret;
}

static int read_event(struct connection *c)
{
	struct ring_event event;
	int ret = ring_client_look_event(c->ring, 0, &event);
	if (ret != 1)
		return ret;
	struct completion *completion = completion_new();
	if (completion == NULL)
		return -ENOMEM;
	*completion_event(completion) = event;
	ring_client_take_events(c->ring, 1);
	async_completed(c, completion);
	return 1;
}

static int read_events(struct connection *c, unsigned limit)
{
	for (unsigned n = 0; n < limit; n++) {
		int ret = read_event(c);
		if (ret < 0)
			return ret == -ENOMEM ? 1 : ret; // it stays in the ring
		if (ret == 0 && ring_client_event_sleep(c->ring))
			return 0;
	}
	return 1;
}

static const char *why_ended(int error)
{
	if (error == -EBADMSG)
		return "the driver's process sent a malformed message";
	return "the driver's process has ended";
}

/* True: the connection ended here and now. */
static bool deliver_events(struct connection *c, int more_messages, unsigned limit)
{
	if (c->ended)
		return false;
	int more_events = read_events(c, limit); // first: what was completed in time was completed
	if (more_messages < 0 || more_events < 0)
		return end_locked(c, why_ended(more_messages < 0 ? more_messages : more_events));
	for (uint32_t i = 0; more_events != 0 && i < c->n_ports; i++)
		port_look_again(c->ports[i]);
	return false;
}

static void carry_out_end(struct connection *c)
{
	leave_ports(c);
	interest_service_gone(c->entry);
}

void connection_drain(struct connection *c)
{
	pthread_mutex_lock(&c->lock);
	int messages = c->ended ? 0 : read_socket(c);
	bool ended = deliver_events(c, messages, EVENTS_PER_TURN);
	pthread_mutex_unlock(&c->lock);
	if (ended)
		carry_out_end(c);
	else
		restart_look(c);
}

/* --- calling back straight from the ring --- */

/* Events taken off the ring, whose callbacks are due. Neighbours of one call share a reference. */
struct batch {
	unsigned n;
	struct {
		struct async_call *call;
		struct ring_event event;
	} taken[EVENTS_PER_BATCH];
};

/* With the lock held. False: none is next that may call back here. */
static bool take_batch(struct connection *c, struct IONotificationPort *port, struct batch *batch)
{
	struct async_call *last = NULL;
	batch->n = 0;
	if (c->ended || !port_is_idle(port))
		return false;
	while (batch->n < EVENTS_PER_BATCH) {
		struct ring_event *event = &batch->taken[batch->n].event;
		if (ring_client_look_event(c->ring, batch->n, event) != 1)
			break;
		struct async_call *call = async_direct(c, port, event);
		if (call == NULL)
			break;
		if (call != last)
			last = async_ref(call);
		batch->taken[batch->n++].call = call;
	}
	ring_client_take_events(c->ring, batch->n);
	return batch->n > 0;
}

/* Any of the callbacks may close the connection or destroy the port. */
static void run_batch(struct batch *batch, const struct IONotificationPort *port)
{
	for (unsigned i = 0; i < batch->n; i++) {
		struct async_call *call = batch->taken[i].call;
		if (!port_is_destroyed(port))
			async_call_back(call, &batch->taken[i].event);
		if (i + 1 == batch->n || batch->taken[i + 1].call != call)
			async_unref(call);
	}
}

void connection_dispatch(struct connection *c, struct IONotificationPort *port, bool readable)
{
	struct batch batch;
	unsigned n = 0;
	pthread_mutex_lock(&c->lock);
	int messages = readable && !c->ended ? read_wake(c) : 0;
	while (messages >= 0 && n < EVENTS_PER_TURN && take_batch(c, port, &batch)) {
		pthread_mutex_unlock(&c->lock);
		run_batch(&batch, port);
		n += batch.n;
		pthread_mutex_lock(&c->lock);
	}
	bool ended = deliver_events(c, messages, n < STREAM ? EVENTS_PER_TURN - n : 0);
	pthread_mutex_unlock(&c->lock);
	if (ended)
		carry_out_end(c);
	else
		restart_look(c);
}

void connection_end(struct connection *c, const char *reason)
{
	pthread_mutex_lock(&c->lock);
	bool ended = end_locked(c, reason);
	pthread_mutex_unlock(&c->lock);
	if (ended)
		carry_out_end(c);
}

/* It was sent before the reply that the caller has, so the socket is read no further than that.
 * What is wrong with the socket is left to connection_drain, and so is what a wake announced that
 * was on the way: nobody else will hear of it. */
int connection_take_descriptor(struct connection *c, uint64_t sequence, uint32_t generation)
{
	bool woken = false;
	uint32_t kind;
	pthread_mutex_lock(&c->lock);
	bool behind = c->generation < generation;
	pthread_mutex_unlock(&c->lock);
	if (behind && restart_catch_up(c) != kIOReturnSuccess)
		return -1;
	pthread_mutex_lock(&c->lock);
	int fd = arrivals_take(&c->arrivals, sequence, generation);
	for (int n = 0; n < MESSAGES_PER_TURN && fd < 0 && !c->ended; n++) {
		if (read_message(c, &kind) != 1)
			break;
		woken = woken || kind == RING_SOCKET_WAKE;
		fd = arrivals_take(&c->arrivals, sequence, generation);
	}
	pthread_mutex_unlock(&c->lock);
	if (fd < 0 || woken)
		connection_drain(c);
	return fd;
}

void connection_forsake_descriptor(struct connection *c, uint64_t sequence)
{
	pthread_mutex_lock(&c->lock);
	arrivals_forsake(&c->arrivals, sequence);
	pthread_mutex_unlock(&c->lock);
}
