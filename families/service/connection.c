// SPDX-License-Identifier: Apache-2.0
/*
 * A ring is served on the default queue of its user client: a doorbell is an edge-triggered source
 * of that queue, so the worker that took the wake-up takes the calls off the ring and runs
 * ExternalMethod itself. A turn is bounded: when others wait, the connection queues up again behind
 * them, so one busy application cannot starve the rest.
 *
 * Doorbells. A connection comes with one, the first worker's. When a caller on another CPU has had
 * to ring that, the doorbell of its own worker is made, watched there, and sent on the socket; so
 * an idle connection, or one that is used from one CPU, costs one descriptor. Whether a doorbell
 * is heard by this worker or that, the queue is one.
 *
 * A connection whose dext died is given to the next. That serves what nobody had taken, and what
 * may be executed twice; the ring has ended the rest (wire/ring_server.c). What came by the dead
 * one's socket, a buffer, is gone: a call that names it is refused as stale, and the application
 * shares anew.
 *
 * A method may sleep and so give the queue up; `serving` keeps a second turn from entering.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/log.h>
#include <base/reason.h>
#include <families/service/buffers.h>
#include <families/service/completion.h>
#include <families/service/connection.h>
#include <families/service/regions.h>
#include <families/service/service.h>
#include <families/service/structures.h>
#include <runtime/memory.h>
#include <runtime/worker.h>

enum {
	CALLS_PER_TURN = 16,
};

/* Whether something waits for this worker, only a system call tells: with one in this time, no call
 * in a hundred meets it. */
#define LOOK_NS 50000

/* --- life --- */

void connection_unref(struct connection *c)
{
	if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	c->ring = ring_server_close(c->ring);
	close_fdp(&c->socket_fd);
	for (unsigned i = 0; i < RING_DOORBELLS; i++)
		close_fdp(&c->bells[i].fd);
	OSSafeReleaseNULL(c->queue);
	OSSafeReleaseNULL(c->client);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* The ring is no ring any more: the application's fault, and its alone. */
static void give_up(struct connection *c, int error)
{
	c->dead = true;
	log_warn("connection %llu: its ring is corrupt (%d): ended", (unsigned long long)c->id,
		 error);
	ring_server_abort(c->ring, kIOReturnIPCError, "the connection's shared memory is corrupt");
	shutdown(c->socket_fd, SHUT_RDWR);
}

/* --- calls --- */

/* What ExternalMethod of the super class finds the call by. */
struct served_call {
	struct ring_server *ring;
	const struct ring_request *request;
	const IOUserClientMethodArguments *arguments;
};

static void set_served_call(struct connection *c, struct served_call *call)
{
	atomic_store_explicit(&IOUserClient_as_IOService(c->client)->ivars->call, call,
			      memory_order_release);
}

/* An asynchronous call may have completed before its process died. */
void connection_note_idempotent(IOUserClient *client, const IOUserClientMethodArguments *arguments)
{
	const struct served_call *call = atomic_load_explicit(
		&IOUserClient_as_IOService(client)->ivars->call, memory_order_acquire);
	if (call != NULL && call->arguments == arguments && call->request->async == 0)
		ring_server_note_replayable(call->ring, call->request);
}

static kern_return_t run_method(struct connection *c, const struct ring_request *request,
				const struct structures *s, IOUserClientMethodArguments *args,
				struct ring_reply *reply)
{
	struct served_call call = { .ring = c->ring, .request = request, .arguments = args };
	args->structureInput = s->input;
	args->structureInputDescriptor = s->input_part;
	args->structureOutputDescriptor = s->room;
	set_served_call(c, &call);
	kern_return_t ret =
		IOUserClient_ExternalMethod(c->client, request->selector, args, NULL, NULL, NULL);
	set_served_call(c, NULL);
	if (ret != kIOReturnSuccess)
		return ret;
	if (args->scalarOutputCount > request->n_scalars_out)
		return refuse(kIOReturnOverrun, "the method returned %u scalars, room is for %u",
			      args->scalarOutputCount, request->n_scalars_out);
	reply->n_scalars = args->scalarOutputCount;
	return structures_take(s, c, request, args, reply);
}

static void serve_call(struct connection *c, const struct ring_request *request,
		       struct ring_reply *reply)
{
	IOUserClientMethodArguments args = {
		.version = 1,
		.selector = request->selector,
		.scalarInput = request->scalars,
		.scalarInputCount = request->n_scalars,
		.scalarOutput = reply->scalars,
		.scalarOutputCount = request->n_scalars_out,
		.structureOutputMaximumSize = request->structure_out_max,
	};
	struct completion *completion = NULL;
	OSAction *action = NULL;
	_Static_assert(RING_VARIABLE == kIOUserClientVariableStructureSize,
		       "what the ring says is what the method is told");
	if (request->async != 0 && request->structure_out_max == RING_VARIABLE) {
		reply->status = refuse(kIOReturnBadArgument,
				       "an asynchronous call takes no result of variable size");
		return;
	}
	if (request->async != 0) {
		reply->status = completion_new(c, request->async, &completion, &action);
		if (reply->status != kIOReturnSuccess)
			return;
		args.completion = action;
	}
	struct structures s;
	reply->status = structures_init(&s, c, request);
	if (reply->status == kIOReturnSuccess)
		reply->status = run_method(c, request, &s, &args, reply);
	if (action != NULL && reply->status == kIOReturnSuccess)
		completion_accept(completion);
	OSObjectRelease(action);
	OSObjectRelease(args.structureOutput);
	if (args.structureOutputDescriptor != s.room)
		OSObjectRelease(args.structureOutputDescriptor);
	structures_deinit(&s);
}

/* --- memory --- */

/* What the application mapped, kept so that a type stays what it was. */
struct mapping {
	struct list link; // connection.mappings
	uint64_t type;
	IOMemoryDescriptor *memory; // owned
};

static struct mapping *find_mapping(const struct connection *c, uint64_t type)
{
	struct mapping *m;
	list_for_each(m, &c->mappings, link)
		if (m->type == type)
			return m;
	return NULL;
}

/* For now without memory. NULL and a reason: there is no room. */
static struct mapping *add_mapping(struct connection *c, uint64_t type)
{
	struct mapping *made = NULL;
	if (c->n_mappings < CONNECTION_MAPPINGS_MAX)
		made = calloc(1, sizeof(*made));
	if (made == NULL) {
		refuse(kIOReturnNoResources, "a connection maps at most %d types",
		       CONNECTION_MAPPINGS_MAX);
		return NULL;
	}
	made->type = type;
	list_append(&c->mappings, &made->link);
	c->n_mappings++;
	return made;
}

static void remove_mapping(struct connection *c, struct mapping *mapping)
{
	list_remove(&mapping->link);
	c->n_mappings--;
	OSObjectRelease(mapping->memory);
	free(mapping);
}

static kern_return_t ask_for_memory(struct connection *c, uint64_t type, uint64_t *options,
				    IOMemoryDescriptor **memory)
{
	kern_return_t ret = IOUserClient_CopyClientMemoryForType(c->client, type, options, memory);
	if (ret == kIOReturnSuccess && *memory == NULL)
		ret = refuse(kIOReturnError, "CopyClientMemoryForType(%llu) gave no memory",
			     (unsigned long long)type);
	return ret;
}

/* The memory of a type, asked of the driver for each mapping; the last is kept. */
static kern_return_t look_up_memory(struct connection *c, uint64_t type, uint64_t *options,
				    IOMemoryDescriptor **memory)
{
	kern_return_t ret = ask_for_memory(c, type, options, memory);
	if (ret != kIOReturnSuccess)
		return ret;
	struct mapping *m = find_mapping(c, type);
	if (m == NULL)
		m = add_mapping(c, type);
	if (m == NULL) {
		OSSafeReleaseNULL(*memory);
		return kIOReturnNoResources;
	}
	OSObjectRelease(m->memory);
	m->memory = *memory;
	return kIOReturnSuccess;
}

static void serve_map(struct connection *c, const struct ring_request *request,
		      struct ring_reply *reply)
{
	if (request->n_scalars != 2) {
		reply->status = refuse(kIOReturnBadArgument, "a map call has 2 scalars");
		return;
	}
	uint64_t options = 0; // the driver's own: what the application asked for binds only itself
	IOMemoryDescriptor *memory = NULL;
	reply->status = look_up_memory(c, request->scalars[0], &options, &memory);
	if (reply->status == kIOReturnSuccess)
		reply->status = memory_share(memory, (options & kIOUserClientMemoryReadOnly) != 0);
	if (reply->status != kIOReturnSuccess)
		return;

	struct memory_backing backing;
	memory_get_backing(memory, &backing);
	pthread_mutex_lock(&c->lock);
	int ret = ring_socket_send(c->socket_fd, RING_SOCKET_DESCRIPTOR, request->sequence,
				   backing.fd);
	pthread_mutex_unlock(&c->lock);
	if (ret < 0) {
		reply->status = refuse(return_from_errno(ret),
				       "the descriptor could not be sent: the application does not "
				       "read its connection's socket");
		return;
	}
	reply->n_scalars = 3;
	reply->scalars[0] = backing.offset;
	reply->scalars[1] = backing.length;
	reply->scalars[2] = options | request->scalars[1];
}

static void serve_unmap(struct connection *c, const struct ring_request *request,
			struct ring_reply *reply)
{
	struct mapping *m = request->n_scalars == 1 ? find_mapping(c, request->scalars[0]) : NULL;
	if (m == NULL)
		reply->status = refuse(kIOReturnNotFound, "that type is not mapped");
	else
		remove_mapping(c, m);
}

static bool need_buffers(struct connection *c)
{
	if (c->buffers == NULL)
		c->buffers = buffers_new(c->application);
	return c->buffers != NULL;
}

static void serve_share(struct connection *c, const struct ring_request *request,
			struct ring_reply *reply)
{
	if (request->n_scalars != 2)
		reply->status = refuse(kIOReturnBadArgument, "a share call has 2 scalars");
	else if (!need_buffers(c))
		reply->status = refuse(kIOReturnNoMemory, "out of memory");
	else
		reply->status = buffers_share(c->buffers, c->socket_fd, request->scalars[0],
					      request->scalars[1]);
}

static void serve_register(struct connection *c, const struct ring_request *request,
			   struct ring_reply *reply)
{
	const uint64_t *scalars = request->scalars;
	struct regions *regions = user_client_regions(c->client);
	IOMemoryDescriptor *memory = NULL;
	if (request->n_scalars != 3) {
		reply->status = refuse(kIOReturnBadArgument, "a register call has 3 scalars");
		return;
	}
	if (regions == NULL || !need_buffers(c)) {
		reply->status = refuse(kIOReturnNoMemory, "the user client has no regions");
		return;
	}
	reply->status =
		buffers_take_region(c->buffers, c->socket_fd, scalars[1], scalars[2], &memory);
	if (reply->status == kIOReturnSuccess)
		reply->status = regions_add(regions, scalars[0], scalars[1], memory);
	OSObjectRelease(memory);
}

static void serve_unregister(struct connection *c, const struct ring_request *request,
			     struct ring_reply *reply)
{
	struct regions *regions = user_client_regions(c->client);
	if (request->n_scalars != 1 || regions == NULL)
		reply->status = refuse(kIOReturnBadArgument, "an unregister call has 1 scalar");
	else
		reply->status = regions_remove(regions, request->scalars[0]);
}

/* --- turns --- */

/* It relies on memory that a predecessor was given, and the application has yet to give here. */
static bool is_stale(const struct connection *c, const struct ring_request *request)
{
	if (ring_server_generation(c->ring) == 1 || request->kind != RING_CALL)
		return false;
	if (ring_needs_buffer(request) && !buffers_has(c->buffers, request->buffer - 1))
		return true;
	return request->n_regions > 0 &&
	       regions_count(user_client_regions(c->client)) < request->n_regions;
}

/* A buffer that was sent to a predecessor. */
static bool came_too_late(const struct connection *c, const struct ring_request *request,
			  const struct ring_reply *reply)
{
	bool came = request->kind == RING_SHARE || request->kind == RING_REGISTER;
	return came && ring_server_generation(c->ring) > 1 && reply->status == kIOReturnNotFound;
}

static void put_reason(struct ring_reply *reply)
{
	const char *why = reason_last();
	size_t i = 0;
	for (; why[i] != '\0' && i + 1 < sizeof(reply->reason); i++)
		reply->reason[i] = why[i];
	reply->reason[i] = '\0';
}

static void serve(struct connection *c, const struct ring_request *request)
{
	static void (*const serve_kind[])(struct connection *, const struct ring_request *,
					  struct ring_reply *) = {
		[RING_CALL] = serve_call,         [RING_MAP] = serve_map,
		[RING_UNMAP] = serve_unmap,       [RING_SHARE] = serve_share,
		[RING_REGISTER] = serve_register, [RING_UNREGISTER] = serve_unregister,
	};
	struct ring_reply reply;
	reply.status = kIOReturnSuccess;
	reply.n_scalars = 0;
	reply.structure_size = 0;
	reply.reason[0] = '\0';

	reason_clear();
	bool stale = is_stale(c, request);
	if (request->kind < RING_CALL || request->kind >= RING_KINDS)
		reply.status = refuse(kIOReturnBadMessageID, "no call of kind %u", request->kind);
	else if (!stale)
		serve_kind[request->kind](c, request, &reply);
	if (reply.status != kIOReturnSuccess)
		put_reason(&reply);
	int ret = stale || came_too_late(c, request, &reply)
			  ? ring_server_refuse_stale(c->ring, request->slot)
			  : ring_server_reply(c->ring, request->slot, &reply);
	if (ret < 0)
		give_up(c, ret);
}

static void post_turn(struct connection *c)
{
	if (c->dead || c->turning)
		return;
	c->turning = true;
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	if (queue_post(c->queue, &c->turn)) {
		queue_yield(c->queue);
		return;
	}
	c->turning = false;
	connection_unref(c);
}

/* Something else waits for this queue, or, looked at more rarely, for this worker. */
static bool is_wanted(void *context, uint64_t now_ns)
{
	struct connection *c = context;
	if (queue_is_wanted(c->queue))
		return true;
	if (now_ns - c->looked_ns < LOOK_NS)
		return false;
	c->looked_ns = now_ns;
	return worker_is_wanted();
}

static bool may_begin(const struct connection *c)
{
	return !c->dead && !atomic_load_explicit(&c->held, memory_order_relaxed);
}

/* Every call there is, until the ring sleeps. False: there may be more, and others have waited for
 * as many as a turn takes. */
static bool serve_batch(struct connection *c)
{
	struct ring_request request;
	for (int n = 0; may_begin(c);) {
		if (n == CALLS_PER_TURN && is_wanted(c, clock_now_ns()))
			return false;
		n %= CALLS_PER_TURN;
		int ret = ring_server_next(c->ring, &request);
		if (ret < 0)
			give_up(c, ret);
		else if (ret > 0)
			serve(c, &request);
		else if (!ring_server_linger(c->ring, is_wanted, c) && ring_server_sleep(c->ring))
			return true;
		n += ret > 0 ? 1 : 0;
	}
	return true;
}

static void take_turn(struct connection *c)
{
	if (c->serving)
		return;
	c->serving = true;
	bool done = serve_batch(c);
	c->serving = false;
	if (!done)
		post_turn(c);
}

static void on_turn(struct queue_item *item)
{
	struct connection *c = container_of(item, struct connection, turn);
	c->turning = false;
	take_turn(c);
	connection_unref(c);
}

/* --- doorbells --- */

static void on_bell(void *context, uint32_t ready);

static int watch_bell(struct connection *c, uint32_t worker)
{
	struct connection_bell *bell = &c->bells[worker];
	return fd_source_open_on(&bell->source, worker, bell->fd, EPOLLIN | EPOLLET, c->queue,
				 on_bell, c);
}

/* Give the application the doorbell of another worker. Without it all goes on as before. */
static void add_bell(struct connection *c, uint32_t worker)
{
	struct connection_bell *bell = &c->bells[worker];
	c->bells_tried |= 1U << worker;
	bell->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int ret = bell->fd < 0 ? -errno : watch_bell(c, worker);
	if (ret == 0) {
		pthread_mutex_lock(&c->lock);
		ret = ring_socket_send(c->socket_fd, RING_SOCKET_DOORBELL, worker, bell->fd);
		pthread_mutex_unlock(&c->lock);
	}
	if (ret == 0)
		ring_server_announce_doorbell(c->ring, worker);
	else
		/* The application has just closed, more often than not. */
		log_debug("connection %llu: no doorbell for worker %u (%d)",
			  (unsigned long long)c->id, worker, ret);
}

static void on_bell(void *context, uint32_t ready)
{
	struct connection *c = context;
	(void)ready;
	take_turn(c);
	uint32_t worker = ring_server_caller_worker(c->ring);
	if ((c->bells_tried >> worker & 1) == 0 && !c->dead)
		add_bell(c, worker);
}

struct begin {
	struct connection *connection;
	int result;
};

/* On the queue: the first turn says that the ring sleeps, after the bell can be heard. With calls
 * in the ring already it comes later, for whoever opens must not wait for methods. */
static void begin(void *context)
{
	struct begin *b = context;
	struct connection *c = b->connection;
	c->bells_tried = 1;
	b->result = watch_bell(c, 0);
	if (b->result == 0 && ring_server_generation(c->ring) > 1)
		post_turn(c);
	else if (b->result == 0)
		take_turn(c);
}

static void on_release(struct queue_item *item)
{
	struct connection *c = container_of(item, struct connection, release);
	atomic_store(&c->releasing, false);
	take_turn(c);
	connection_unref(c);
}

void connection_hold(struct connection *c, bool hold)
{
	bool held = atomic_exchange(&c->held, hold);
	if (!held || hold || atomic_exchange(&c->releasing, true))
		return;
	atomic_fetch_add(&c->refs, 1);
	c->release.run = on_release;
	if (!queue_post(c->queue, &c->release))
		connection_unref(c);
}

static void stop_taking(void *context)
{
	((struct connection *)context)->dead = true;
}

void connection_pause(struct connection *c)
{
	(void)queue_sync(c->queue, stop_taking, c); // else connection_close says so
}

static void end(void *context)
{
	struct connection *c = context;
	c->dead = true;
	for (unsigned i = 0; i < RING_DOORBELLS; i++)
		c->bells[i].source = fd_source_close(c->bells[i].source);
	struct mapping *m, *next;
	list_for_each_safe(m, next, &c->mappings, link)
		remove_mapping(c, m);
	c->buffers = buffers_free(c->buffers);
	if (user_client_regions(c->client) != NULL)
		regions_clear(user_client_regions(c->client));
}

/* The ring's memory stays mapped without its descriptor, so an idle connection has two: with
 * thousands of them, descriptors are what is scarce. */
static kern_return_t start_serving(struct connection *c, int memory_fd, uint32_t generation)
{
	struct begin b = { .connection = c };
	kern_return_t ret = OSObject_CopyDispatchQueue(IOUserClient_as_OSObject(c->client),
						       "Default", &c->queue);
	if (ret != kIOReturnSuccess)
		return ret;
	int error = ring_server_open(&c->ring, memory_fd);
	if (error == 0 && ring_server_generation(c->ring) != generation)
		return refuse(kIOReturnIPCError, "the ring is of generation %u, not of %u",
			      ring_server_generation(c->ring), generation);
	if (error == 0) {
		ring_server_set_workers(c->ring, worker_limit());
		error = queue_sync(c->queue, begin, &b);
	}
	if (error == 0)
		error = b.result;
	if (error < 0)
		return refuse(return_from_errno(error), "the ring cannot be served");
	return kIOReturnSuccess;
}

kern_return_t connection_open(struct connection **out, const struct connection_ends *ends,
			      IOUserClient *client)
{
	CLEANUP(close_fdp) int memory = ends->memory_fd;
	int socket_fd = ends->socket_fd, doorbell_fd = ends->doorbell_fd;
	struct connection *c = calloc(1, sizeof(*c));
	if (c == NULL) {
		close_fdp(&socket_fd);
		close_fdp(&doorbell_fd);
		return kIOReturnNoMemory;
	}
	list_init(&c->link);
	atomic_init(&c->refs, 1);
	pthread_mutex_init(&c->lock, NULL);
	c->id = ends->id;
	c->application = ends->application;
	c->socket_fd = socket_fd;
	for (unsigned i = 0; i < RING_DOORBELLS; i++)
		c->bells[i].fd = -1;
	c->bells[0].fd = doorbell_fd;
	list_init(&c->mappings);
	list_init(&c->completions);
	c->turn.run = on_turn;
	OSObjectRetain(client);
	c->client = client;

	kern_return_t ret = start_serving(c, memory, ends->generation);
	if (ret != kIOReturnSuccess) {
		connection_unref(c);
		return ret;
	}
	*out = c;
	return kIOReturnSuccess;
}

void connection_close(struct connection *c, bool keep)
{
	pthread_mutex_lock(&c->lock);
	c->closed = true;
	pthread_mutex_unlock(&c->lock);
	if (!keep)
		ring_server_abort(c->ring, kIOReturnOffline, "the connection was closed");
	int ret = queue_sync(c->queue, end, c);
	if (keep && (ret < 0 || c->serving)) // a successor must not answer the same call
		ring_server_abort(c->ring, kIOReturnAborted,
				  "a method of the driver did not return when it was stopped");
	if (ret < 0) // a method of the client holds the queue for good: what it uses stays
		log_error("connection %llu: its queue cannot be had (%d): it is left as it is",
			  (unsigned long long)c->id, ret);
	else
		connection_unref(c);
}
