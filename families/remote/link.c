// SPDX-License-Identifier: Apache-2.0
/*
 * The conversation, in the event loop.
 *
 * The channel and all references belong to the link's queue, which never waits. A call of ours is
 * posted to it, and its caller waits for a word meanwhile, with the event loop handed over. A call
 * of the peer's becomes a job on the queue that the method is for; its answer comes back as a
 * further item. So two drivers may call each other at once; what would wait in a circle through
 * both ends with the time limit.
 */

#include <families/remote/link.h>

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include <DriverKit/IODispatchQueue.h>
#include <DriverKit/IOUserClient.h>
#include <DriverKit/OSAction.h>
#include <base/cleanup.h>
#include <base/clock.h>
#include <base/log.h>
#include <base/reason.h>
#include <base/text.h>
#include <families/remote/reference.h>
#include <objects/invoke.h>
#include <protocol/peer.h>
#include <runtime/action.h>

enum { CALL_TIMEOUT_MS = 30000 };
#define WAITING_MAX 65536U

/*
 * A message on its way. They go in the order in which they came; when the socket takes no more, the
 * rest waits, up to WAITING_MAX.
 */
struct message {
	struct queue_item item;
	struct list link;         // remote_link.waiting
	struct remote_link *from; // a reference
	uint64_t number;
	uint64_t deadline_ns; // to be sent
	const struct OSMethodShape *shape;
	void *msg;
	channel_reply_fn on_reply; // NULL: nobody waits
	/* It went (0), or never will. */
	void (*sent)(struct message *message, int error);
};

static void send_waiting(struct remote_link *link);

/* --- life --- */

struct remote_link *remote_link_ref(struct remote_link *link)
{
	atomic_fetch_add_explicit(&link->references, 1, memory_order_relaxed);
	return link;
}

void remote_link_unref(struct remote_link *link)
{
	if (atomic_fetch_sub_explicit(&link->references, 1, memory_order_acq_rel) != 1)
		return;
	OSObjectRelease(link->queue);
	OSObjectRelease(link->others);
	pthread_mutex_destroy(&link->lock);
	free(link);
}

static void end(struct remote_link *link)
{
	link->source = fd_source_close(link->source);
	link->expiry = timer_source_close(link->expiry);
	link->channel = channel_close(link->channel);
	export_release_all(link);
	send_waiting(link); // nowhere
}

static void run_close(void *context)
{
	struct remote_link *link = context;

	link->on_hangup = NULL;
	end(link);
}

struct remote_link *remote_link_close(struct remote_link *link)
{
	if (link == NULL)
		return NULL;
	if (queue_sync(link->queue, run_close, link) < 0)
		log_error("a conversation with another driver could not be closed");
	remote_link_unref(link);
	return NULL;
}

static uint64_t next_deadline(const struct remote_link *link)
{
	uint64_t answer_ns = channel_next_deadline(link->channel);
	if (list_empty(&link->waiting))
		return answer_ns;
	const struct message *m = container_of(link->waiting.next, struct message, link);
	return answer_ns != 0 && answer_ns < m->deadline_ns ? answer_ns : m->deadline_ns;
}

void remote_link_rearm(struct remote_link *link)
{
	send_waiting(link);
	if (link->channel == NULL)
		return;
	short wanted = channel_poll_events(link->channel);
	fd_source_set_events(link->source,
			     (wanted & POLLIN ? EPOLLIN : 0U) | (wanted & POLLOUT ? EPOLLOUT : 0U));
	timer_source_set(link->expiry, next_deadline(link));
}

static void on_ready(void *context, uint32_t ready)
{
	struct remote_link *link = remote_link_ref(context);

	(void)ready;
	if (link->channel != NULL)
		channel_dispatch(link->channel);
	remote_link_rearm(link);
	remote_link_unref(link);
}

static void on_expiry(void *context)
{
	struct remote_link *link = remote_link_ref(context);

	if (link->channel != NULL)
		channel_expire(link->channel, clock_now_ns());
	remote_link_rearm(link);
	remote_link_unref(link);
}

static void on_hangup(void *context, struct channel *channel, int error)
{
	struct remote_link *link = context;
	void (*tell)(void *) = link->on_hangup;

	(void)channel;
	if (error < 0)
		log_warn("the conversation with another driver failed (%d)", error);
	link->on_hangup = NULL;
	end(link);
	if (tell != NULL)
		tell(link->context);
}

/* --- calls of ours --- */

/* Why a message did not go: the encoder's own words, or the errno's. */
static const char *why_not(int error)
{
	if (error == -EPIPE)
		return "the other driver has gone";
	if (error == -ENOBUFS)
		return "the other driver does not read its messages";
	return reason_last()[0] != '\0' ? reason_last() : strerror(-error);
}

static kern_return_t status_of(int error)
{
	return error == -EPIPE     ? kIOReturnOffline
	       : error == -ENOBUFS ? kIOReturnTimeout
				   : return_from_errno(error);
}

static void send_waiting(struct remote_link *link)
{
	while (!list_empty(&link->waiting)) {
		struct message *m = container_of(link->waiting.next, struct message, link);
		int ret = -EPIPE;
		reason_clear();
		if (link->channel != NULL)
			ret = channel_call_object(link->channel, m->number, m->shape, m->msg,
						  m->on_reply != NULL ? m->msg : NULL,
						  m->on_reply != NULL ? CALL_TIMEOUT_MS : 0,
						  m->on_reply, m);
		if (ret == -ENOBUFS && clock_now_ns() < m->deadline_ns)
			return;
		list_remove(&m->link);
		atomic_fetch_sub(&link->n_waiting, 1);
		m->sent(m, ret);
	}
}

static void message_run(struct queue_item *item)
{
	struct message *m = container_of(item, struct message, item);
	struct remote_link *link = remote_link_ref(m->from);

	list_append(&link->waiting, &m->link);
	remote_link_rearm(link);
	remote_link_unref(link);
}

static kern_return_t message_post(struct message *m)
{
	struct remote_link *link = m->from;

	if (atomic_fetch_add(&link->n_waiting, 1) >= WAITING_MAX) {
		atomic_fetch_sub(&link->n_waiting, 1);
		return refuse(kIOReturnNoSpace,
			      "%s: %u messages wait for the other driver, which does not read them",
			      m->shape->name, WAITING_MAX);
	}
	m->deadline_ns = clock_deadline_ns(CALL_TIMEOUT_MS);
	m->item.run = message_run;
	queue_post(link->queue, &m->item); // which is never cancelled
	return kIOReturnSuccess;
}

/* A call whose caller waits. */
struct outcall {
	struct message message;
	kern_return_t status;
	char reason[REASON_MAX];
	_Atomic uint32_t done;
};

static void outcall_end(struct outcall *call, kern_return_t status, const char *reason)
{
	call->status = status;
	text_copy(call->reason, sizeof(call->reason), reason);
	atomic_store(&call->done, 1);
	worker_wake(&call->done);
}

static void on_reply(void *context, kern_return_t status, const char *reason, void *msg)
{
	struct message *message = context;

	(void)msg;
	outcall_end(container_of(message, struct outcall, message), status, reason);
}

static void outcall_sent(struct message *message, int error)
{
	if (error < 0)
		outcall_end(container_of(message, struct outcall, message), status_of(error),
			    why_not(error));
}

kern_return_t remote_call(struct remote_link *link, uint64_t number,
			  const struct OSMethodShape *shape, void *msg)
{
	if ((shape->flags & kOSMethodOneway) != 0)
		return remote_send(link, number, shape, msg);
	struct outcall call = {
		.message = {
			.from = remote_link_ref(link),
			.number = number,
			.shape = shape,
			.msg = msg,
			.on_reply = on_reply,
			.sent = outcall_sent,
		},
	};
	kern_return_t ret = message_post(&call.message);
	while (ret == kIOReturnSuccess && atomic_load(&call.done) == 0)
		worker_wait(&call.done, 0, 0); // the call itself has a deadline
	remote_link_unref(link);
	if (ret != kIOReturnSuccess)
		return ret;
	if (call.status != kIOReturnSuccess)
		reason_set(call.reason);
	memcpy((char *)msg + shape->ret, &call.status, sizeof(call.status));
	return kIOReturnSuccess;
}

/* One that nobody waits for, with a copy of its fields. */
struct outgoing {
	struct message message;
	max_align_t msg[];
};

static void outgoing_free(struct outgoing *out)
{
	const struct message *m = &out->message;

	message_release_objects(m->shape, m->msg);
	remote_link_unref(m->from);
	free(out);
}

static void outgoing_sent(struct message *m, int error)
{
	if (error < 0)
		log_warn("%s::%s was not sent: %s", m->shape->class_name, m->shape->name,
			 why_not(error));
	outgoing_free(container_of(m, struct outgoing, message));
}

kern_return_t remote_send(struct remote_link *link, uint64_t number,
			  const struct OSMethodShape *shape, const void *msg)
{
	struct outgoing *out = malloc(sizeof(*out) + shape->msg_size);

	if (out == NULL)
		return refuse(kIOReturnNoMemory, "%s: out of memory for the message", shape->name);
	out->message = (struct message){
		.from = remote_link_ref(link),
		.number = number,
		.shape = shape,
		.msg = out->msg,
		.sent = outgoing_sent,
	};
	memcpy(out->msg, msg, shape->msg_size);
	message_keep_objects(shape, msg);
	kern_return_t ret = message_post(&out->message);
	if (ret != kIOReturnSuccess)
		outgoing_free(out);
	return ret;
}

/* --- calls of the peer's --- */

struct job {
	struct queue_item item;
	struct remote_link *link;  // a reference
	struct channel_call *call; // owned
	const struct OSMethodShape *shape;
	OSObject *object; // kept
	void *msg;        // the call's
	kern_return_t status;
	char reason[REASON_MAX];
};

static void job_answer(struct queue_item *item)
{
	struct job *job = container_of(item, struct job, item);
	struct remote_link *link = job->link;

	channel_reply(job->call, job->status, job->reason);
	OSObjectRelease(job->object);
	free(job);
	remote_link_rearm(link);
	remote_link_unref(link);
}

static void job_run(struct queue_item *item)
{
	struct job *job = container_of(item, struct job, item);

	reason_clear();
	job->status = OSObjectInvoke(job->object, job->shape, job->msg);
	if (job->status == kIOReturnSuccess && job->shape->ret != 0)
		memcpy(&job->status, (const char *)job->msg + job->shape->ret, sizeof(job->status));
	if (job->status != kIOReturnSuccess)
		text_copy(job->reason, sizeof(job->reason), reason_last());
	job->item.run = job_answer;
	queue_post(job->link->queue, &job->item);
}

/* What one driver may not ask of another's object: its life, and what its host asks it. */
static bool is_private(uint64_t method)
{
	return OSMetaClassFindMethod(OSTypeID(IOService), method) != NULL ||
	       OSMetaClassFindMethod(OSTypeID(IOUserClient), method) != NULL;
}

static const struct OSMethodShape *find(void *context, uint64_t number, uint64_t method)
{
	const struct exported *e = export_find(context, number);

	if (e == NULL) {
		refuse(kIOReturnNotFound, "the driver has passed no such object");
		return NULL;
	}
	OSAction *action = OSDynamicCast(OSAction, e->object);
	if (action != NULL) {
		const struct OSMethodShape *shape = action_prototype(action);
		if (shape != NULL && shape->id == method && shape->put_request != NULL)
			return shape;
		refuse(kIOReturnBadMessageID, "the action was not made for that method");
		return NULL;
	}
	const struct OSMethod *row = OSMetaClassFindMethod(e->object->meta, method);
	if (row == NULL || row->shape->put_request == NULL || is_private(method) ||
	    (row->shape->flags & kOSMethodTarget) != 0) {
		refuse(kIOReturnUnsupported, "%s has no such method for other drivers",
		       e->object->meta->name);
		return NULL;
	}
	return row->shape;
}

static void serve_action(OSAction *action, struct channel_call *call, const void *msg)
{
	kern_return_t ret = OSActionInvoke(action, channel_call_shape(call), msg);

	if (ret != kIOReturnSuccess)
		log_warn("an invocation by another driver was dropped: %s", reason_last());
	channel_reply(call, ret, reason_last());
}

static void serve(void *context, uint64_t number, struct channel_call *call, void *msg)
{
	struct remote_link *link = context;
	OSObject *object = export_find(link, number)->object;
	OSAction *action = OSDynamicCast(OSAction, object);

	if (action != NULL) {
		serve_action(action, call, msg);
		return;
	}
	struct job *job = calloc(1, sizeof(*job));
	if (job == NULL) {
		channel_reply(call, kIOReturnNoMemory, "no memory for the call");
		return;
	}
	OSObjectRetain(object);
	*job = (struct job){
		.item.run = job_run,
		.link = remote_link_ref(link),
		.call = call,
		.shape = channel_call_shape(call),
		.object = object,
		.msg = msg,
	};
	IODispatchQueue *queue =
		route_copy_queue(object, OSMetaClassFindMethod(object->meta, job->shape->id));
	if (!queue_post(queue != NULL ? queue : link->others, &job->item)) {
		job->status = kIOReturnOffline;
		text_copy(job->reason, sizeof(job->reason),
			  "the object's queue is gone: its service has stopped");
		job_answer(&job->item);
	}
	OSObjectRelease(queue);
}

static void serve_release(void *context, struct channel_call *call, void *message)
{
	const struct DextPeer_Release_Msg *msg = message;

	(void)call;
	export_release(context, msg->object, msg->count);
}

static const struct channel_method methods[] = {
	{ &DextPeer_Release_Shape, serve_release },
	{ NULL, NULL },
};
static const struct channel_events events = { .on_hangup = on_hangup };
static const struct channel_objects objects = {
	.references = &remote_references,
	.find = find,
	.serve = serve,
};

/* --- begin --- */

struct begin {
	struct remote_link *link;
	int fd;
	OSObject *root;
	int result;
};

static void begin(void *context)
{
	struct begin *b = context;
	struct remote_link *link = b->link;

	b->result = channel_open(&link->channel, b->fd, methods, &events, link);
	if (b->result < 0)
		return;
	channel_serve_objects(link->channel, &objects);
	if (b->root != NULL)
		b->result = export_root(link, b->root);
	if (b->result == 0)
		b->result = timer_source_open(&link->expiry, link->queue, on_expiry, link);
	if (b->result == 0)
		b->result = fd_source_open(&link->source, channel_fd(link->channel), EPOLLIN,
					   link->queue, on_ready, link);
	if (b->result < 0)
		end(link);
}

int remote_link_open(struct remote_link **out, int fd, OSObject *root,
		     void (*hangup)(void *context), void *context)
{
	CLEANUP(close_fdp) int owned = fd;
	struct remote_link *link = calloc(1, sizeof(*link));

	if (link == NULL)
		return -ENOMEM;
	atomic_init(&link->references, 1);
	pthread_mutex_init(&link->lock, NULL);
	list_init(&link->exports);
	list_init(&link->imports);
	list_init(&link->waiting);
	link->on_hangup = hangup;
	link->context = context;
	if (IODispatchQueue_Create("link", 0, 0, &link->queue) != kIOReturnSuccess ||
	    IODispatchQueue_Create("passed", 0, 0, &link->others) != kIOReturnSuccess) {
		remote_link_unref(link);
		return -ENOMEM;
	}
	struct begin b = { .link = link, .fd = steal_fd(&owned), .root = root };
	int ret = queue_sync(link->queue, begin, &b);
	if (ret == 0)
		ret = b.result;
	if (ret < 0) {
		remote_link_unref(link);
		return ret;
	}
	*out = link;
	return 0;
}

struct taking {
	struct remote_link *link;
	OSArray *classes;
	IOService **service;
	kern_return_t result;
};

static void take_root(void *context)
{
	struct taking *t = context;

	t->result = import_root(t->link, t->classes, t->service);
}

kern_return_t remote_link_take_root(struct remote_link *link, OSArray *classes, IOService **service)
{
	struct taking t = { .link = link, .classes = classes, .service = service };
	int ret = queue_sync(link->queue, take_root, &t);

	return ret < 0 ? refuse(return_from_errno(ret), "no worker for the conversation")
		       : t.result;
}
