// SPDX-License-Identifier: Apache-2.0
/*
 * The dext's conversation with dextd.
 *
 * The channel belongs to the `control` queue: everything that touches it runs there. A request is
 * never worked on there: it becomes a job on the life queue of the service it is about, and its
 * answer comes back to `control` as a further item. So Ping is answered while a driver starts.
 *
 * host_call() is the other direction: post to `control`, wait for a word.
 *
 * dextd hanging up is the end of this process: services are stopped in order, then the event loop.
 */

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include <DriverKit/IODispatchQueue.h>
#include <base/cleanup.h>
#include <base/clock.h>
#include <base/log.h>
#include <base/reason.h>
#include <families/service/connection.h>
#include <families/service/host.h>
#include <families/service/hosted.h>
#include <families/service/power.h>
#include <families/service/service.h>
#include <families/service/watch.h>
#include <protocol/dextd.h>
#include <runtime/confine.h>
#include <runtime/queue.h>
#include <runtime/worker.h>
#include <wire/channel.h>

enum { CALL_TIMEOUT_MS = 5000 };

static struct {
	IODispatchQueue *control;
	struct channel *channel;     // control
	struct fd_source *source;    // control
	struct timer_source *expiry; // control
	struct list services;        // control: hosted.link
	struct list routes;          // control: route.link
	bool ending;                 // control: dextd hung up
} host;

/* --- the channel in the event loop, all on `control` --- */

static void rearm(void)
{
	if (host.channel == NULL)
		return;
	short wanted = channel_poll_events(host.channel);
	fd_source_set_events(host.source,
			     (wanted & POLLIN ? EPOLLIN : 0U) | (wanted & POLLOUT ? EPOLLOUT : 0U));
	timer_source_set(host.expiry, channel_next_deadline(host.channel));
}

static void on_ready(void *context, uint32_t ready)
{
	(void)context;
	(void)ready;
	if (host.channel != NULL)
		channel_dispatch(host.channel);
	rearm();
}

static void on_expiry(void *context)
{
	(void)context;
	if (host.channel != NULL)
		channel_expire(host.channel, clock_now_ns());
	rearm();
}

/* --- calls to dextd --- */

struct outcall {
	struct queue_item item;
	const struct OSMethodShape *shape;
	void *msg;
	void (*take)(void *msg, void *reply);
	uint32_t timeout_ms; // 0: none
	kern_return_t status;
	char reason[REASON_MAX];
	_Atomic uint32_t done;
};

static void outcall_end(struct outcall *call, kern_return_t status, const char *reason)
{
	call->status = status;
	size_t size = strnlen(reason, sizeof(call->reason) - 1);
	memcpy(call->reason, reason, size);
	call->reason[size] = '\0';
	atomic_store(&call->done, 1);
	worker_wake(&call->done);
}

static void on_reply(void *context, kern_return_t status, const char *reason, void *msg)
{
	struct outcall *call = context;
	if (status == kIOReturnSuccess && call->take != NULL)
		call->take(call->msg, msg);
	outcall_end(call, status, reason);
}

static void outcall_run(struct queue_item *item)
{
	struct outcall *call = container_of(item, struct outcall, item);
	int ret = -ENOTCONN;
	if (host.channel != NULL)
		ret = channel_call(host.channel, call->shape, call->msg, call->timeout_ms, on_reply,
				   call);
	if (ret < 0)
		outcall_end(call, return_from_errno(ret), "dextd cannot be reached");
	rearm();
}

static kern_return_t call_dextd(const struct OSMethodShape *shape, void *msg,
				void (*take)(void *msg, void *reply), uint32_t timeout_ms)
{
	if (host.control == NULL)
		return refuse(kIOReturnNotReady, "%s: this process is not a running dext",
			      shape->name);
	struct outcall call = {
		.item.run = outcall_run,
		.shape = shape,
		.msg = msg,
		.take = take,
		.timeout_ms = timeout_ms,
	};
	if (!queue_post(host.control, &call.item))
		return refuse(kIOReturnOffline, "%s: this dext is ending", shape->name);
	while (atomic_load(&call.done) == 0)
		worker_wait(&call.done, 0, 0); // the call itself has a deadline, or dextd has one
	if (call.status != kIOReturnSuccess)
		reason_set(call.reason);
	return call.status;
}

kern_return_t host_call(const struct OSMethodShape *shape, void *msg,
			void (*take)(void *msg, void *reply))
{
	return call_dextd(shape, msg, take, CALL_TIMEOUT_MS);
}

kern_return_t host_call_patiently(const struct OSMethodShape *shape, void *msg)
{
	return call_dextd(shape, msg, NULL, 0);
}

bool host_post(struct queue_item *item)
{
	return host.control != NULL && queue_post(host.control, item);
}

void host_reply(struct channel_call *call, kern_return_t status, const char *reason)
{
	channel_reply(call, status, reason);
	rearm();
}

struct outgoing {
	struct queue_item item;
	const struct OSMethodShape *shape;
	uint8_t msg[];
};

static void on_sent(void *context, kern_return_t status, const char *reason, void *msg)
{
	(void)context;
	(void)status;
	(void)reason;
	(void)msg;
}

static void outgoing_run(struct queue_item *item)
{
	struct outgoing *out = container_of(item, struct outgoing, item);
	if (host.channel != NULL)
		channel_call(host.channel, out->shape, out->msg, CALL_TIMEOUT_MS, on_sent, NULL);
	free(out);
	rearm();
}

void host_send(const struct OSMethodShape *shape, const void *msg)
{
	if (host.control == NULL)
		return;
	struct outgoing *out = malloc(sizeof(*out) + shape->msg_size);
	if (out == NULL)
		return;
	out->item.run = outgoing_run;
	out->shape = shape;
	memcpy(out->msg, msg, shape->msg_size);
	if (!queue_post(host.control, &out->item))
		free(out);
}

void provider_lost(IOService *provider, const char *format, ...)
{
	struct DextRegistrar_DeviceLost_Msg msg = { .provider = service_id(provider) };
	va_list args;
	va_start(args, format);
	vsnprintf(msg.reason, sizeof(msg.reason), format, args);
	va_end(args);
	log_warn("device lost: %s", msg.reason);
	host_send(&DextRegistrar_DeviceLost_Shape, &msg);
}

/* --- requests of dextd --- */

/* A connection that this dext was asked to open: which service it is of. */
struct route {
	struct list link; // host.routes
	uint64_t connection;
	struct hosted *hosted;
};

/* One request: worked on by the life queue of its service, answered by `control`. */
struct job {
	struct queue_item item;
	struct hosted *hosted;
	struct channel_call *call;               // owned until answered; NULL: dextd has hung up
	void *msg;                               // the call's
	kern_return_t (*work)(struct job *job);  // on the queue it was started on
	void (*answered)(const struct job *job); // control; may be NULL
	kern_return_t status;
	char reason[REASON_MAX];
};

static void host_check_end(void);

static void job_answer(struct queue_item *item)
{
	struct job *job = container_of(item, struct job, item);
	if (job->answered != NULL)
		job->answered(job);
	if (job->call != NULL)
		channel_reply(job->call, job->status, job->reason);
	free(job);
	rearm();
	host_check_end();
}

static void job_run(struct queue_item *item)
{
	struct job *job = container_of(item, struct job, item);
	job->status = job->work(job);
	if (job->status != kIOReturnSuccess) {
		const char *why = reason_last();
		memcpy(job->reason, why, strnlen(why, sizeof(job->reason) - 1));
	}
	job->item.run = job_answer;
	queue_post(host.control, &job->item);
}

static void job_start(struct hosted *hosted, IODispatchQueue *queue, struct channel_call *call,
		      void *msg, kern_return_t (*work)(struct job *),
		      void (*answered)(const struct job *))
{
	struct job *job = calloc(1, sizeof(*job));
	if (job == NULL) {
		if (call != NULL)
			channel_reply(call, kIOReturnNoMemory, "no memory for the request");
		return;
	}
	job->item.run = job_run;
	job->hosted = hosted;
	job->call = call;
	job->msg = msg;
	job->work = work;
	job->answered = answered;
	queue_post(queue, &job->item);
}

static void forget_route(uint64_t connection)
{
	struct route *r, *tmp;
	list_for_each_safe(r, tmp, &host.routes, link) {
		if (r->connection == connection) {
			list_remove(&r->link);
			free(r);
		}
	}
}

static struct hosted *find_route(uint64_t connection)
{
	struct route *r;
	list_for_each(r, &host.routes, link)
		if (r->connection == connection)
			return r->hosted;
	return NULL;
}

static struct hosted *find_service(uint64_t id)
{
	struct hosted *h;
	list_for_each(h, &host.services, link)
		if (h->id == id && !h->stopping)
			return h;
	return NULL;
}

static void end_service(struct hosted *h)
{
	struct route *r, *tmp;
	list_for_each_safe(r, tmp, &host.routes, link) {
		if (r->hosted == h) {
			list_remove(&r->link);
			free(r);
		}
	}
	power_forget(h);
	list_remove(&h->link);
	hosted_free(h);
}

static kern_return_t work_start(struct job *job)
{
	return hosted_start(job->hosted);
}

static void answered_start(const struct job *job)
{
	/* A StopService that came meanwhile ends it; otherwise a failed start does. */
	if (job->status != kIOReturnSuccess && !job->hosted->stopping)
		end_service(job->hosted);
}

static void serve_start(void *context, struct channel_call *call, void *message)
{
	(void)context;
	struct DextHost_StartService_Msg *msg = message;
	struct hosted *h = NULL;
	if (msg->personality == NULL || msg->device == NULL || find_service(msg->service) != NULL) {
		channel_reply(call, kIOReturnBadArgument,
			      "StartService: no dictionaries, or a service that runs already");
		return;
	}
	if (hosted_new(&h, msg) < 0) {
		channel_reply(call, kIOReturnNoMemory, "no memory for a service");
		return;
	}
	list_append(&host.services, &h->link);
	job_start(h, h->life, call, msg, work_start, answered_start);
}

static kern_return_t work_stop(struct job *job)
{
	hosted_stop(job->hosted);
	return kIOReturnSuccess;
}

static void answered_stop(const struct job *job)
{
	end_service(job->hosted);
}

static void stop_service(struct hosted *h, struct channel_call *call, bool keep)
{
	h->stopping = true;
	h->keep = keep;
	job_start(h, h->life, call, NULL, work_stop, answered_stop);
}

static void serve_stop(void *context, struct channel_call *call, void *message)
{
	(void)context;
	struct DextHost_StopService_Msg *msg = message;
	struct hosted *h = find_service(msg->service);
	if (h == NULL)
		channel_reply(call, kIOReturnNotFound, "StopService: no such service here");
	else
		stop_service(h, call, msg->keep != 0);
}

static kern_return_t work_open(struct job *job)
{
	struct DextHost_OpenConnection_Msg *msg = job->msg;
	const struct connection_ends ends = {
		.id = msg->connection,
		.application = hosted_pid_of(msg->client),
		.entitlements = OSDynamicCast(OSDictionary,
					      OSDictionary_getObject(msg->client, "entitlements")),
		.generation = msg->generation,
		.memory_fd = steal_fd(&msg->memory),
		.socket_fd = steal_fd(&msg->socket),
		.doorbell_fd = steal_fd(&msg->doorbell),
	};
	return hosted_open(job->hosted, msg->type, &ends);
}

static void answered_open(const struct job *job)
{
	const struct DextHost_OpenConnection_Msg *msg = job->msg;
	if (job->status != kIOReturnSuccess)
		forget_route(msg->connection);
}

static void serve_open(void *context, struct channel_call *call, void *message)
{
	(void)context;
	struct DextHost_OpenConnection_Msg *msg = message;
	struct hosted *h = find_service(msg->service);
	if (h == NULL) {
		channel_reply(call, kIOReturnNotFound, "OpenConnection: no such service here");
		return;
	}
	struct route *route = calloc(1, sizeof(*route));
	if (route == NULL) {
		channel_reply(call, kIOReturnNoMemory, "no memory for a connection");
		return;
	}
	route->connection = msg->connection;
	route->hosted = h;
	list_append(&host.routes, &route->link);
	job_start(h, h->life, call, msg, work_open, answered_open);
}

static kern_return_t work_close(struct job *job)
{
	struct DextHost_CloseConnection_Msg *msg = job->msg;
	return hosted_close(job->hosted, msg->connection);
}

static void serve_close(void *context, struct channel_call *call, void *message)
{
	(void)context;
	struct DextHost_CloseConnection_Msg *msg = message;
	struct hosted *h = find_route(msg->connection);
	IODispatchQueue *closing = NULL;
	if (h == NULL || h->stopping) {
		channel_reply(call, kIOReturnNotFound, "CloseConnection: no such connection here");
		return;
	}
	if (IODispatchQueue_Create("closing", 0, 0, &closing) != kIOReturnSuccess) {
		channel_reply(call, kIOReturnNoMemory, "no memory for the close");
		return;
	}
	forget_route(msg->connection);
	hosted_announce_end(h);
	job_start(h, closing, call, msg, work_close, NULL);
	OSObjectRelease(closing);
}

static kern_return_t work_serve_driver(struct job *job)
{
	struct DextHost_ServeDriver_Msg *msg = job->msg;
	return hosted_serve_driver(job->hosted, msg->service, steal_fd(&msg->socket));
}

static void serve_driver(void *context, struct channel_call *call, void *message)
{
	(void)context;
	struct DextHost_ServeDriver_Msg *msg = message;
	struct hosted *h;
	list_for_each(h, &host.services, link) {
		if (h->stopping || !hosted_has_service(h, msg->service))
			continue;
		job_start(h, h->life, call, msg, work_serve_driver, NULL);
		return;
	}
	channel_reply(call, kIOReturnNotFound, "ServeDriver: no such service here");
}

static void serve_watch_changed(void *context, struct channel_call *call, void *message)
{
	const struct DextHost_WatchChanged_Msg *msg = message;
	(void)context;
	(void)call;
	watch_tell(msg->cookie);
}

static void serve_power(void *context, struct channel_call *call, void *message)
{
	(void)context;
	struct DextHost_SetPowerState_Msg *msg = message;
	struct hosted *h;
	list_for_each(h, &host.services, link) {
		IOService *service = h->stopping ? NULL : hosted_copy_service(h, msg->service);
		if (service == NULL)
			continue;
		power_serve(h, service, call, msg->flags);
		OSObjectRelease(service);
		return;
	}
	channel_reply(call, kIOReturnNotFound, "SetPowerState: no such service here");
}

static void serve_ping(void *context, struct channel_call *call, void *message)
{
	(void)context;
	(void)message;
	channel_reply(call, kIOReturnSuccess, NULL);
}

static const struct channel_method methods[] = {
	{ &DextHost_StartService_Shape, serve_start },
	{ &DextHost_StopService_Shape, serve_stop },
	{ &DextHost_OpenConnection_Shape, serve_open },
	{ &DextHost_CloseConnection_Shape, serve_close },
	{ &DextHost_ServeDriver_Shape, serve_driver },
	{ &DextHost_WatchChanged_Shape, serve_watch_changed },
	{ &DextHost_SetPowerState_Shape, serve_power },
	{ &DextHost_Ping_Shape, serve_ping },
	{ NULL, NULL },
};

/* --- services of this process --- */

struct finding {
	uint64_t id;
	IOService *service;
};

static void find_on_control(void *context)
{
	struct finding *f = context;
	struct hosted *h;
	list_for_each(h, &host.services, link)
		if (f->service == NULL && !h->stopping)
			f->service = hosted_copy_service(h, f->id);
}

IOService *host_copy_service(uint64_t id)
{
	struct finding f = { .id = id };
	if (host.control == NULL || queue_sync(host.control, find_on_control, &f) < 0)
		return NULL;
	return f.service;
}

/* --- begin and end --- */

/* dextd is gone and everything has stopped: leave the event loop. */
static void host_check_end(void)
{
	if (!host.ending || !list_empty(&host.services))
		return;
	host.ending = false;
	worker_stop();
}

static void on_hangup(void *context, struct channel *channel, int error)
{
	(void)context;
	if (error < 0)
		log_error("dextd's channel failed (%d): ending", error);
	host.source = fd_source_close(host.source);
	host.expiry = timer_source_close(host.expiry);
	host.channel = channel_close(channel);
	host.ending = true;
	struct hosted *h;
	list_for_each(h, &host.services, link)
		if (!h->stopping)
			stop_service(h, NULL, false);
	host_check_end();
}

static const struct channel_events events = { .on_hangup = on_hangup };

struct host_begin {
	int fd, result;
};

static void host_begin(void *context)
{
	struct host_begin *begin = context;
	begin->result = channel_open(&host.channel, begin->fd, methods, &events, NULL);
	if (begin->result == 0)
		begin->result = fd_source_open(&host.source, channel_fd(host.channel), EPOLLIN,
					       host.control, on_ready, NULL);
	if (begin->result == 0)
		begin->result = timer_source_open(&host.expiry, host.control, on_expiry, NULL);
	if (begin->result == 0 && confine_installed()) {
		struct DextRegistrar_Confined_Msg msg = { .layer = "seccomp" };
		host_send(&DextRegistrar_Confined_Shape, &msg);
	}
}

int host_run(int channel_fd)
{
	list_init(&host.services);
	list_init(&host.routes);
	if (IODispatchQueue_Create("control", 0, 0, &host.control) != kIOReturnSuccess)
		return EXIT_FAILURE;
	struct host_begin begin = { .fd = channel_fd };
	int ret = queue_sync(host.control, host_begin, &begin);
	if (ret < 0 || begin.result < 0) {
		log_error("the channel to dextd cannot be used (%d)", begin.result);
		return EXIT_FAILURE;
	}
	ret = worker_run();
	OSSafeReleaseNULL(host.control);
	return ret == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
