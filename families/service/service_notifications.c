// SPDX-License-Identifier: Apache-2.0
/*
 * Services that come and go, for drivers.
 *
 * dextd says that something changed, once until it was asked (dextd/process/watches.c), and that is
 * the source's event. What changed is asked for by who delivers it, and what was asked for and not
 * delivered, because memory ran out, say, stays for the next time. So here is kept what the driver
 * was told of, and one answer of dextd's.
 *
 * While one delivers, what is known is that thread's alone; else it is guarded by the lock. The
 * services that are kept may keep the source: Cancel lets go of them.
 */

#include <DriverKit/IOServiceNotificationDispatchSource.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <base/reason.h>
#include <families/remote/link.h>
#include <families/service/host.h>
#include <families/service/service.h>
#include <families/service/watch.h>
#include <protocol/dextd.h>
#include <runtime/dispatch_source.h>

/* A service that dextd told of. */
struct known {
	struct list link; // notifications.known
	uint64_t id;
	IOService *service; // kept: it was delivered; NULL: not yet
};

/* One answer of dextd's, and how far it was worked off. */
struct answer {
	OSArray *ended, *begun; // owned; NULL: nothing was asked
	uint32_t n_ended, n_begun;
	bool more;
};

struct notifications {
	struct watch watch;
	struct IODispatchSource_IVars *state; // a reference, until it is stopped
	_Atomic bool changed;                 // dextd said so, and was not asked since
	pthread_mutex_t lock;
	bool delivering, ended; // lock
	struct list known;      // known.link
	struct answer answer;   // who delivers
};

struct IOServiceNotificationDispatchSource_IVars {
	struct notifications *notifications; // the state's, as long as the object lives
};

static void answer_end(struct answer *answer)
{
	OSSafeReleaseNULL(answer->ended);
	OSSafeReleaseNULL(answer->begun);
	*answer = (struct answer){ 0 };
}

static void forget(struct known *known)
{
	list_remove(&known->link);
	OSObjectRelease(known->service);
	free(known);
}

static void forget_all(struct notifications *n)
{
	while (!list_empty(&n->known))
		forget(container_of(n->known.next, struct known, link));
	answer_end(&n->answer);
}

/* --- as a source --- */

static void on_changed(void *context)
{
	struct notifications *n = context;

	atomic_store(&n->changed, true);
	source_signal(n->state, 0);
}

static void fill(void *context, unsigned line, OSAction *handler, void *room)
{
	struct IOServiceNotificationDispatchSource_ServiceNotificationReady_Msg *msg = room;

	(void)context;
	(void)line;
	msg->action = handler;
}

static void check_now(void *context)
{
	struct notifications *n = context;

	if (atomic_load(&n->changed))
		source_deliver(n->state, 0);
}

static void stop(void *context)
{
	struct notifications *n = context;

	watch_end(&n->watch);
	source_unref(n->state);
}

static void let_go(void *context)
{
	struct notifications *n = context;

	pthread_mutex_lock(&n->lock);
	n->ended = true;
	bool idle = !n->delivering; // else who delivers does it
	pthread_mutex_unlock(&n->lock);
	if (idle)
		forget_all(n);
}

static void notifications_free(void *context)
{
	struct notifications *n = context;

	forget_all(n);
	pthread_mutex_destroy(&n->lock);
	free(n);
}

static const struct source_ops notification_ops = {
	.name = "IOServiceNotificationDispatchSource",
	.n_lines = 1,
	.shapes = { &IOServiceNotificationDispatchSource_ServiceNotificationReady_Shape },
	.fill = fill,
	.stop = stop,
	.let_go = let_go,
	.check = check_now,
	.free = notifications_free,
};

_Static_assert(sizeof(struct IOServiceNotificationDispatchSource_ServiceNotificationReady_Msg) <=
		       SOURCE_MESSAGE_MAX,
	       "the message fits");

/* --- making --- */

static kern_return_t set_up(IOServiceNotificationDispatchSource *self, OSDictionary *matching,
			    IODispatchQueue *queue)
{
	struct notifications *n = calloc(1, sizeof(*n));

	self->ivars = calloc(1, sizeof(*self->ivars));
	if (n == NULL || self->ivars == NULL) {
		free(n);
		return refuse(kIOReturnNoMemory, "out of memory for notifications");
	}
	pthread_mutex_init(&n->lock, NULL);
	list_init(&n->known);
	kern_return_t ret = source_init(&self->super, &notification_ops, n, queue, true);
	if (ret != kIOReturnSuccess) {
		notifications_free(n);
		return ret;
	}
	self->ivars->notifications = n;
	n->state = source_ref(self->super.ivars);
	watch_begin(&n->watch, on_changed, n);
	struct DextRegistrar_WatchServices_Msg msg = {
		.cookie = n->watch.cookie,
		.matching = matching,
	};
	return host_call(&DextRegistrar_WatchServices_Shape, &msg, NULL);
}

kern_return_t
IOServiceNotificationDispatchSource_Create(OSDictionary *matching, uint64_t options,
					   IODispatchQueue *queue,
					   IOServiceNotificationDispatchSource **source)
{
	if (matching == NULL || queue == NULL || source == NULL)
		return refuse(kIOReturnBadArgument,
			      "notifications need a matching dictionary, a queue and a place");
	if (options != 0)
		return refuse(kIOReturnUnsupported, "notifications: options must be 0");
	IOServiceNotificationDispatchSource *made =
		OSTypeAlloc(IOServiceNotificationDispatchSource);
	if (made == NULL)
		return refuse(kIOReturnNoMemory, "out of memory for notifications");
	kern_return_t ret = set_up(made, matching, queue);
	if (ret != kIOReturnSuccess) {
		OSObjectRelease(made);
		return ret;
	}
	*source = made;
	return kIOReturnSuccess;
}

void IMPL(IOServiceNotificationDispatchSource, free)
{
	free(self->ivars);
	self->ivars = NULL;
	IOServiceNotificationDispatchSource_super_free(self);
}

kern_return_t
IOServiceNotificationDispatchSource_SetHandler(IOServiceNotificationDispatchSource *self,
					       OSAction *action)
{
	return source_set_handler(IOServiceNotificationDispatchSource_as_IODispatchSource(self), 0,
				  action);
}

/* --- the service of a registry entry --- */

static void take_opened(void *mine, void *reply)
{
	struct DextRegistrar_OpenWatched_Msg *to = mine, *from = reply;

	to->classes = from->classes;
	OSObjectRetain(to->classes);
	to->socket = from->socket;
	from->socket = -1;
}

static kern_return_t open_remote(const struct notifications *n, uint64_t id, IOService **service)
{
	struct DextRegistrar_OpenWatched_Msg msg = { .cookie = n->watch.cookie, .service = id };
	kern_return_t ret = host_call(&DextRegistrar_OpenWatched_Shape, &msg, take_opened);

	if (ret != kIOReturnSuccess)
		return ret;
	ret = remote_open_service(msg.socket, msg.classes, service);
	OSObjectRelease(msg.classes);
	if (ret == kIOReturnSuccess)
		service_identify(*service, id, NULL);
	return ret;
}

/* It is its own, or a proxy. Returned. kIOReturnNotFound: it has ended meanwhile. */
static kern_return_t find_service(const struct notifications *n, uint64_t id, IOService **service)
{
	*service = host_copy_service(id);
	return *service != NULL ? kIOReturnSuccess : open_remote(n, id, service);
}

/* --- delivering --- */

struct delivery {
	struct notifications *n;
	void *context;
	IOServiceNotificationFunction function;
	kern_return_t failed; // of the last service that could not be given
};

struct asking {
	struct DextRegistrar_CopyServiceChanges_Msg msg;
	struct notifications *n;
};

/* Where dextd's messages come in order: what was told before the answer is in it, and what is told
 * after it is a further event. */
static void take_changes(void *mine, void *reply)
{
	struct DextRegistrar_CopyServiceChanges_Msg *to = mine, *from = reply;
	struct notifications *n = container_of(to, struct asking, msg)->n;

	atomic_store(&n->changed, false);
	source_forget(n->state, 0);
	to->ended = from->ended;
	to->begun = from->begun;
	to->more = from->more;
	OSObjectRetain(to->ended);
	OSObjectRetain(to->begun);
}

static bool has_answer(const struct answer *answer)
{
	return answer->ended != NULL && (answer->n_ended < OSArray_getCount(answer->ended) ||
					 answer->n_begun < OSArray_getCount(answer->begun));
}

static kern_return_t ask(struct notifications *n)
{
	struct asking a = { .msg.cookie = n->watch.cookie, .n = n };
	kern_return_t ret =
		host_call(&DextRegistrar_CopyServiceChanges_Shape, &a.msg, take_changes);

	if (ret != kIOReturnSuccess)
		return ret;
	answer_end(&n->answer);
	n->answer = (struct answer){
		.ended = a.msg.ended,
		.begun = a.msg.begun,
		.more = a.msg.more,
	};
	if (a.msg.ended != NULL && a.msg.begun != NULL)
		return kIOReturnSuccess;
	answer_end(&n->answer);
	return refuse(kIOReturnInternalError, "dextd gave no changes");
}

static uint64_t number_at(OSArray *ids, uint32_t i)
{
	OSNumber *id = OSDynamicCast(OSNumber, OSArray_getObject(ids, i));

	return id != NULL ? OSNumber_unsigned64BitValue(id) : 0;
}

static void deliver_end(const struct delivery *d, uint64_t id)
{
	struct known *k, *found = NULL;

	list_for_each(k, &d->n->known, link)
		if (k->id == id)
			found = k;
	if (found == NULL)
		return;
	if (found->service != NULL)
		d->function(d->context, kIOServiceNotificationTypeTerminated, found->service, 0);
	forget(found);
}

/* One that ends before it is found is none; of that dextd tells too. */
static void deliver_begin(struct delivery *d, struct known *k)
{
	IOService *service = NULL;
	kern_return_t ret = find_service(d->n, k->id, &service);

	if (ret == kIOReturnSuccess) {
		k->service = service;
		d->function(d->context, kIOServiceNotificationTypeMatched, service, 0);
	} else if (ret != kIOReturnNotFound) {
		d->failed = ret;
	}
}

static struct known *known_new(struct notifications *n, uint64_t id)
{
	struct known *k = calloc(1, sizeof(*k));

	if (k == NULL)
		return NULL;
	k->id = id;
	list_append(&n->known, &k->link);
	return k;
}

/* Cancelled meanwhile: no more. */
static bool is_ended(struct notifications *n)
{
	pthread_mutex_lock(&n->lock);
	bool ended = n->ended;
	pthread_mutex_unlock(&n->lock);
	return ended;
}

static kern_return_t deliver_answer(struct delivery *d)
{
	struct answer *answer = &d->n->answer;

	while (answer->n_ended < OSArray_getCount(answer->ended) && !is_ended(d->n))
		deliver_end(d, number_at(answer->ended, answer->n_ended++));
	while (answer->n_begun < OSArray_getCount(answer->begun) && !is_ended(d->n)) {
		struct known *k = known_new(d->n, number_at(answer->begun, answer->n_begun));
		if (k == NULL)
			return refuse(kIOReturnNoMemory, "out of memory for a notification");
		answer->n_begun++;
		deliver_begin(d, k);
	}
	return kIOReturnSuccess;
}

/* Those that could not be given the last time. */
static void deliver_late(struct delivery *d)
{
	struct known *k;

	list_for_each(k, &d->n->known, link)
		if (k->service == NULL && !is_ended(d->n))
			deliver_begin(d, k);
}

static kern_return_t deliver_all(struct delivery *d)
{
	struct notifications *n = d->n;
	kern_return_t ret = kIOReturnSuccess;
	bool more = true;

	deliver_late(d);
	while (more && ret == kIOReturnSuccess && !is_ended(n)) {
		if (!has_answer(&n->answer))
			ret = ask(n);
		if (ret == kIOReturnSuccess)
			ret = deliver_answer(d);
		more = n->answer.more;
	}
	ret = ret != kIOReturnSuccess ? ret : d->failed;
	if (ret != kIOReturnSuccess)
		atomic_store(&n->changed, true); // for CheckForWork
	return ret;
}

static bool begin_delivering(struct notifications *n)
{
	pthread_mutex_lock(&n->lock);
	bool begun = !n->delivering && !n->ended;
	n->delivering = n->delivering || begun;
	pthread_mutex_unlock(&n->lock);
	return begun;
}

static void end_delivering(struct notifications *n)
{
	pthread_mutex_lock(&n->lock);
	n->delivering = false;
	bool ended = n->ended;
	pthread_mutex_unlock(&n->lock);
	if (ended)
		forget_all(n);
}

kern_return_t IOServiceNotificationDispatchSource_DeliverNotifications_f(
	IOServiceNotificationDispatchSource *self, void *context,
	IOServiceNotificationFunction function)
{
	kern_return_t ret =
		source_check(IOServiceNotificationDispatchSource_as_IODispatchSource(self),
			     "DeliverNotifications");

	if (ret != kIOReturnSuccess)
		return ret;
	if (function == NULL)
		return refuse(kIOReturnBadArgument, "DeliverNotifications: nothing to call");
	struct notifications *n = self->ivars->notifications;
	if (!begin_delivering(n))
		return refuse(kIOReturnBusy, "DeliverNotifications is under way");
	OSObjectRetain(self);
	struct delivery d = { .n = n, .context = context, .function = function };
	ret = deliver_all(&d);
	end_delivering(n);
	OSObjectRelease(self);
	return ret;
}
