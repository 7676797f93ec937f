/* SPDX-License-Identifier: Apache-2.0 */

/*
 * From a call to the queue it runs on.
 *
 * An object has no queues until one is set; then it gets one place for the default queue and one
 * for each name that its class and the classes above it know. A place, once made, stays; what is in
 * it changes under `lock`. A call that comes on the right queue compares one pointer and jumps; any
 * other takes a reference under the lock and waits for its turn (queue_sync).
 *
 * An object that stands for one in another process has no queue of its own for what it passes on.
 *
 * A LOCALONLY method runs at once on its caller's queue, unless it names a queue itself: init, free
 * and isEqualTo belong to whoever holds the object, and a driver's own helpers cost a jump.
 */

#include <runtime/route.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <DriverKit/OSObject.h>
#include <base/list.h>
#include <base/reason.h>
#include <objects/invoke.h>
#include <runtime/action_set.h>
#include <runtime/strand.h>

#define DEFAULT_NAME "Default"

struct place {
	const char *name;                 // the class's
	_Atomic(IODispatchQueue *) queue; // kept; changed under `lock`; NULL: none
};

struct OSObject_IVars {
	struct route_proxy *proxy;  // borrowed; constant; NULL: the object is here
	struct action_set *actions; // kept; of a service; set before it is used; NULL: none
	pthread_mutex_t lock;
	_Atomic bool has_named; // a queue was set in a place after the first
	uint32_t n_places;
	struct place places[]; // [0] is the default queue's
};

static struct OSObject_IVars *state_of(const OSObject *object)
{
	return __atomic_load_n(&object->ivars, __ATOMIC_ACQUIRE);
}

/* --- places --- */

/* A row names its queue by the very text that made the place, unless two classes know the name. */
static struct place *find_place(struct OSObject_IVars *state, const char *name)
{
	for (uint32_t i = 0; i < state->n_places; i++)
		if (state->places[i].name == name)
			return &state->places[i];
	for (uint32_t i = 0; i < state->n_places; i++)
		if (strcmp(state->places[i].name, name) == 0)
			return &state->places[i];
	return NULL;
}

static bool knows_name(const OSMetaClass *meta, const char *name)
{
	if (strcmp(name, DEFAULT_NAME) == 0)
		return true;
	for (; meta != NULL; meta = meta->super)
		for (uint32_t i = 0; i < meta->n_queue_names; i++)
			if (strcmp(meta->queue_names[i], name) == 0)
				return true;
	return false;
}

static void free_state(OSObject *object)
{
	struct OSObject_IVars *state = state_of(object);

	for (uint32_t i = 0; i < state->n_places; i++)
		OSObjectRelease(
			atomic_load_explicit(&state->places[i].queue, memory_order_relaxed));
	if (state->proxy != NULL)
		state->proxy->released(state->proxy);
	action_set_unref(state->actions);
	pthread_mutex_destroy(&state->lock);
	free(state);
}

static struct OSObject_IVars *make_state(const OSMetaClass *meta)
{
	uint32_t n_places = 1;

	for (const OSMetaClass *m = meta; m != NULL; m = m->super)
		n_places += m->n_queue_names;
	struct OSObject_IVars *state =
		calloc(1, sizeof(*state) + n_places * sizeof(state->places[0]));
	if (state == NULL)
		return NULL;
	pthread_mutex_init(&state->lock, NULL);
	state->places[state->n_places++].name = DEFAULT_NAME;
	for (const OSMetaClass *m = meta; m != NULL; m = m->super)
		for (uint32_t i = 0; i < m->n_queue_names; i++)
			if (find_place(state, m->queue_names[i]) == NULL)
				state->places[state->n_places++].name = m->queue_names[i];
	return state;
}

/* Two threads may set the first queue at once: one state wins. */
static struct OSObject_IVars *need_state(OSObject *object)
{
	struct OSObject_IVars *state = state_of(object);

	if (state != NULL)
		return state;
	state = make_state(object->meta);
	struct OSObject_IVars *winner = NULL;
	if (state == NULL || __atomic_compare_exchange_n(&object->ivars, &winner, state, false,
							 __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return state;
	pthread_mutex_destroy(&state->lock);
	free(state);
	return winner;
}

static IODispatchQueue *copy_from(struct OSObject_IVars *state, struct place *place)
{
	pthread_mutex_lock(&state->lock);
	IODispatchQueue *queue = atomic_load_explicit(&place->queue, memory_order_relaxed);
	OSObjectRetain(queue);
	pthread_mutex_unlock(&state->lock);
	return queue;
}

kern_return_t OSObject_SetDispatchQueue(OSObject *self, const char *name, IODispatchQueue *queue)
{
	if (self == NULL || name == NULL || queue == NULL)
		return refuse(kIOReturnBadArgument,
			      "SetDispatchQueue: an object, a name and a queue are needed");
	if (!knows_name(self->meta, name))
		return refuse(kIOReturnBadArgument,
			      "SetDispatchQueue: no method of %s is declared QUEUENAME(%s)",
			      self->meta->name, name);
	struct OSObject_IVars *state = need_state(self);
	if (state == NULL)
		return refuse(kIOReturnNoMemory, "SetDispatchQueue: out of memory");
	struct place *place = find_place(state, name);
	OSObjectRetain(queue);
	pthread_mutex_lock(&state->lock);
	IODispatchQueue *old = atomic_exchange_explicit(&place->queue, queue, memory_order_acq_rel);
	if (place != &state->places[0])
		atomic_store_explicit(&state->has_named, true, memory_order_release);
	pthread_mutex_unlock(&state->lock);
	OSObjectRelease(old);
	return kIOReturnSuccess;
}

int object_set_actions(OSObject *object, struct action_set *set)
{
	struct OSObject_IVars *state = need_state(object);

	if (state == NULL)
		return -ENOMEM;
	state->actions = action_set_ref(set);
	return 0;
}

struct action_set *object_actions(OSObject *object)
{
	struct OSObject_IVars *state = state_of(object);

	return state != NULL ? state->actions : NULL;
}

static const struct route_service_ops *services;

void route_set_services(const struct route_service_ops *ops)
{
	services = ops;
}

static kern_return_t copy_queue(OSObject *object, const char *name, IODispatchQueue **queue)
{
	if (services != NULL && services->has_stopped(object))
		return refuse(kIOReturnError, "CopyDispatchQueue: %s has stopped",
			      object->meta->name);
	if (!knows_name(object->meta, name)) {
		OSObject *provider = services != NULL ? services->provider(object) : NULL;
		if (provider != NULL)
			return copy_queue(provider, name, queue);
		return refuse(kIOReturnBadArgument,
			      "CopyDispatchQueue: no method of %s is declared QUEUENAME(%s)",
			      object->meta->name, name);
	}
	struct OSObject_IVars *state = state_of(object);
	IODispatchQueue *found = state != NULL ? copy_from(state, find_place(state, name)) : NULL;
	if (found == NULL)
		return refuse(kIOReturnNotFound, "%s: no queue was set under the name %s",
			      object->meta->name, name);
	*queue = found;
	return kIOReturnSuccess;
}

kern_return_t OSObject_CopyDispatchQueue(OSObject *self, const char *name, IODispatchQueue **queue)
{
	if (self == NULL || name == NULL || queue == NULL)
		return refuse(kIOReturnBadArgument,
			      "CopyDispatchQueue: an object, a name and a place are needed");
	return copy_queue(self, name, queue);
}

/* --- routing --- */

/* The name of the queue that a row gives; NULL: none. A row's index counts in the class it is of.
 */
static const char *queue_name_of(const OSMetaClass *meta, const struct OSMethod *method)
{
	for (; meta != NULL; meta = meta->super)
		if (method >= meta->methods && method < meta->methods + meta->n_methods)
			return method->queue <= meta->n_queue_names
				       ? meta->queue_names[method->queue - 1]
				       : NULL;
	return NULL;
}

/* Where the queue for `method` stands; NULL: the object has none for it. */
static struct place *place_for(OSObject *object, struct OSObject_IVars *state,
			       const struct OSMethod *method)
{
	if (method->queue == 0 || !atomic_load_explicit(&state->has_named, memory_order_acquire))
		return &state->places[0];
	const char *name = queue_name_of(object->meta, method);
	struct place *place = name != NULL ? find_place(state, name) : NULL;

	if (place != NULL && atomic_load_explicit(&place->queue, memory_order_relaxed) != NULL)
		return place;
	return &state->places[0];
}

IODispatchQueue *route_copy_queue(OSObject *object, const struct OSMethod *method)
{
	struct OSObject_IVars *state = state_of(object);

	return state != NULL ? copy_from(state, place_for(object, state, method)) : NULL;
}

struct call {
	OSObject *self;
	const struct OSMethod *method;
	void *msg;
};

static void make_call(void *context)
{
	const struct call *call = context;

	call->method->invoke(call->self, call->msg);
}

static kern_return_t call_elsewhere(struct OSObject_IVars *state, struct place *place,
				    struct call *call)
{
	IODispatchQueue *queue = copy_from(state, place);

	if (queue == NULL || queue_is_unsynchronized(queue)) {
		OSObjectRelease(queue);
		make_call(call);
		return kIOReturnSuccess;
	}
	int error = queue_sync_unless_cancelled(queue, make_call, call);
	kern_return_t ret = error < 0 ? queue_refusal(queue, error) : kIOReturnSuccess;
	OSObjectRelease(queue);
	return ret;
}

static kern_return_t route_here(OSObject *self, struct OSObject_IVars *state,
				const struct OSMethod *method, void *msg)
{
	bool stays = method->queue == 0 && (method->shape->flags & kOSMethodLocalOnly) != 0;

	if (state != NULL && !stays) {
		struct place *place = place_for(self, state, method);
		if (atomic_load_explicit(&place->queue, memory_order_relaxed) != queue_current()) {
			struct call call = { .self = self, .method = method, .msg = msg };
			return call_elsewhere(state, place, &call);
		}
	}
	method->invoke(self, msg);
	return kIOReturnSuccess;
}

__attribute__((noinline)) static kern_return_t
route_away(OSObject *self, struct OSObject_IVars *state, const struct OSMethod *method, void *msg)
{
	const struct OSMethodShape *shape = method->shape;
	const struct OSMethod *here = OSMetaClassFindMethod(state->proxy->local, shape->id);

	if (here != NULL)
		return route_here(self, state, here, msg);
	if (shape->put_request == NULL)
		return refuse(kIOReturnUnsupported,
			      "%s::%s is LOCALONLY, and the object is in another process",
			      shape->class_name, shape->name);
	return state->proxy->call(state->proxy, shape, msg);
}

static kern_return_t route(OSObject *self, const struct OSMethod *method, void *msg)
{
	struct OSObject_IVars *state = state_of(self);

	if (__builtin_expect(state != NULL && state->proxy != NULL, 0))
		return route_away(self, state, method, msg);
	return route_here(self, state, method, msg);
}

/* --- proxies --- */

/* A class derived from `meta` whose instances are proxies: it takes free() to what is local. */
struct proxy_class {
	OSMetaClass meta;
	struct OSMethod row;
	const OSMetaClass *local;
	struct proxy_class *next;
};

static struct {
	pthread_mutex_t lock;
	struct proxy_class *first; // never freed: as many as there are classes
} proxy_classes = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void free_proxy(OSObject *self, void *msg)
{
	const struct proxy_class *class = (const void *)self->meta; // its first member

	OSObjectInvokeSuper(class->local, self, &OSObject_free_Shape, msg);
}

static struct proxy_class *make_class(const OSMetaClass *meta, const OSMetaClass *local)
{
	struct proxy_class *class = calloc(1, sizeof(*class));

	if (class == NULL)
		return NULL;
	class->row = (struct OSMethod){ .shape = &OSObject_free_Shape, .invoke = free_proxy };
	class->meta = (OSMetaClass){
		.name = meta->name,
		.super = meta,
		.instance_size = meta->instance_size,
		.n_methods = 1,
		.methods = &class->row,
		.construct = meta->construct,
	};
	class->local = local;
	return class;
}

static const OSMetaClass *need_class(const OSMetaClass *meta, const OSMetaClass *local)
{
	struct proxy_class *class;

	pthread_mutex_lock(&proxy_classes.lock);
	class = proxy_classes.first;
	while (class != NULL && (class->meta.super != meta || class->local != local))
		class = class->next;
	if (class == NULL && (class = make_class(meta, local)) != NULL) {
		class->next = proxy_classes.first;
		proxy_classes.first = class;
	}
	pthread_mutex_unlock(&proxy_classes.lock);
	return class != NULL ? &class->meta : NULL;
}

OSObject *route_new_proxy(const OSMetaClass *meta, struct route_proxy *proxy)
{
	const OSMetaClass *class = need_class(meta, proxy->local);
	OSObject *object = class != NULL ? OSObjectAllocate(class) : NULL;
	struct OSObject_init_Msg msg = { 0 };

	if (object == NULL)
		return NULL;
	struct OSObject_IVars *state = need_state(object);
	if (state == NULL ||
	    OSObjectInvokeSuper(proxy->local, object, &OSObject_init_Shape, &msg) !=
		    kIOReturnSuccess ||
	    !msg.ret) {
		OSObjectRelease(object);
		return NULL;
	}
	state->proxy = proxy;
	return object;
}

struct route_proxy *route_proxy_of(const OSObject *object)
{
	struct OSObject_IVars *state = object != NULL ? state_of(object) : NULL;

	return state != NULL ? state->proxy : NULL;
}

__attribute__((constructor)) static void set_hooks(void)
{
	object_router_set(route);
	object_state_free_set(free_state);
}
