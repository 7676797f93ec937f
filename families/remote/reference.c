// SPDX-License-Identifier: Apache-2.0
/*
 * References, written and read.
 *
 *	YOURS   number                          an object of the reader's, back home
 *	OBJECT  number, n, n class names        from the most derived class up
 *	ACTION  number
 *	MEMORY  offset, length, direction, fd
 *
 * Letting go may cross passing on: the reader says how often it was given the object, and the
 * writer keeps it as long as it has given it more often than that.
 *
 * An imported object is not kept by its entry, or it would never end. Whoever finds it there must
 * revive it: take a reference unless there is none left, under the lock under which `released`
 * takes it out. An object that is ending keeps its entry until the peer was told; a further entry
 * of the same number may be there by then.
 */

#include <families/remote/reference.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <DriverKit/IODispatchQueue.h>
#include <DriverKit/IOMemoryDescriptor.h>
#include <DriverKit/OSAction.h>
#include <DriverKit/OSCollections.h>
#include <base/log.h>
#include <base/reason.h>
#include <families/service/service.h>
#include <protocol/peer.h>
#include <runtime/action.h>
#include <runtime/memory.h>

enum reference { YOURS, OBJECT, ACTION, MEMORY, REFERENCES };

#define CLASS_NAME_MAX 128U
#define CLASSES_MAX    16U

/* --- ours --- */

struct exported *export_find(struct remote_link *link, uint64_t number)
{
	struct exported *e;

	list_for_each(e, &link->exports, link)
		if (e->number == number)
			return e;
	return NULL;
}

static struct exported *find_object(struct remote_link *link, const OSObject *object)
{
	struct exported *e;

	list_for_each(e, &link->exports, link)
		if (e->object == object)
			return e;
	return NULL;
}

static struct exported *export_new(struct remote_link *link, OSObject *object)
{
	struct exported *e;

	if (link->n_exports == REMOTE_REFERENCES_MAX) {
		refuse(kIOReturnNoResources, "the other driver holds %u objects of this one",
		       REMOTE_REFERENCES_MAX);
		return NULL;
	}
	e = calloc(1, sizeof(*e));
	if (e == NULL)
		return NULL;
	OSObjectRetain(object);
	if (OSDynamicCast(OSAction, object) != NULL)
		action_hold(OSDynamicCast(OSAction, object));
	e->object = object;
	e->number = ++link->last_number;
	list_append(&link->exports, &e->link);
	link->n_exports++;
	return e;
}

static void export_end(struct remote_link *link, struct exported *e)
{
	OSObject *object = e->object;

	list_remove(&e->link);
	link->n_exports--;
	free(e);
	if (OSDynamicCast(OSAction, object) != NULL)
		action_let_go(OSDynamicCast(OSAction, object));
	OSObjectRelease(object);
}

int export_root(struct remote_link *link, OSObject *object)
{
	struct exported *e = export_new(link, object);

	if (e == NULL)
		return -ENOMEM;
	e->sent = 1;
	return 0;
}

void export_release(struct remote_link *link, uint64_t number, uint64_t count)
{
	struct exported *e = export_find(link, number);

	if (e == NULL)
		return;
	e->sent -= count < e->sent ? count : e->sent;
	if (e->sent == 0)
		export_end(link, e);
}

void export_release_all(struct remote_link *link)
{
	while (!list_empty(&link->exports))
		export_end(link, container_of(link->exports.next, struct exported, link));
}

/* --- theirs --- */

static bool revive(struct remote_link *link, const struct imported *i)
{
	bool alive = false;

	pthread_mutex_lock(&link->lock);
	if (i->object != NULL) {
		uint32_t count = atomic_load_explicit(&i->object->refcount, memory_order_relaxed);
		while (count != 0 && !alive)
			alive = atomic_compare_exchange_weak_explicit(
				&i->object->refcount, &count, count + 1, memory_order_relaxed,
				memory_order_relaxed);
	}
	pthread_mutex_unlock(&link->lock);
	return alive;
}

/* The object of that number, revived; NULL: a new one is needed. */
static struct imported *import_find(struct remote_link *link, uint64_t number)
{
	struct imported *i;

	list_for_each(i, &link->imports, link)
		if (i->number == number && revive(link, i))
			return i;
	return NULL;
}

static void import_end(struct queue_item *item)
{
	struct imported *i = container_of(item, struct imported, end);
	struct remote_link *link = i->of;
	struct DextPeer_Release_Msg msg = { .object = i->number, .count = i->received };
	bool is_root = i->is_root;

	if (!is_root && link->channel != NULL && // with the root goes the whole conversation
	    remote_send(link, 0, &DextPeer_Release_Shape, &msg) != kIOReturnSuccess)
		log_warn("an object of the other driver's is not let go of: %s", reason_last());
	list_remove(&i->link);
	link->n_imports--;
	free(i);
	if (is_root)
		remote_link_close(link);
	remote_link_unref(link);
}

/* The last reference is gone, on any thread. */
static void import_released(struct imported *i)
{
	struct remote_link *link = i->of;

	pthread_mutex_lock(&link->lock);
	i->object = NULL;
	pthread_mutex_unlock(&link->lock);
	i->end.run = import_end;
	queue_post(link->queue, &i->end);
}

static void proxy_released(struct route_proxy *proxy)
{
	import_released(container_of(proxy, struct imported, proxy));
}

static void action_released(void *context)
{
	import_released(context);
}

static kern_return_t call_proxy(struct route_proxy *proxy, const struct OSMethodShape *shape,
				void *msg)
{
	struct imported *i = container_of(proxy, struct imported, proxy);

	return remote_call(i->of, i->number, shape, msg);
}

static kern_return_t invoke_action(void *context, const struct OSMethodShape *shape,
				   const void *msg)
{
	struct imported *i = context;
	kern_return_t ret;

	pthread_mutex_lock(&i->of->lock); // which a cancel waits for
	if (i->cancelled)
		ret = refuse(kIOReturnOffline, "the action was cancelled");
	else
		ret = remote_send(i->of, i->number, shape, msg);
	pthread_mutex_unlock(&i->of->lock);
	return ret;
}

/* Here alone: who made it may be cancelling it, or not. */
static void action_cancelled(void *context)
{
	struct imported *i = context;

	pthread_mutex_lock(&i->of->lock);
	i->cancelled = true;
	pthread_mutex_unlock(&i->of->lock);
}

static const struct action_ops action_ops = {
	.deliver = invoke_action,
	.cancelled = action_cancelled,
	.released = action_released,
};

static struct imported *import_new(struct remote_link *link, uint64_t number)
{
	struct imported *i;

	if (link->n_imports == REMOTE_REFERENCES_MAX)
		return NULL;
	i = calloc(1, sizeof(*i));
	if (i == NULL)
		return NULL;
	i->of = remote_link_ref(link);
	i->number = number;
	i->received = 1;
	list_append(&link->imports, &i->link);
	link->n_imports++;
	return i;
}

static void import_undo(struct imported *i)
{
	list_remove(&i->link);
	i->of->n_imports--;
	remote_link_unref(i->of);
	free(i);
}

/* What an object of class `meta` can be a proxy of: classes of libdext with a state of their own
 * need it in this process. */
static bool can_be_proxy(const OSMetaClass *meta)
{
	const char *name = meta->name;

	return meta == OSTypeID(IOService) || meta == OSTypeID(OSObject) ||
	       (strncmp(name, "IO", 2) != 0 && strncmp(name, "OS", 2) != 0);
}

static int import_object(struct remote_link *link, uint64_t number, const OSMetaClass *meta,
			 struct imported **out)
{
	bool service = OSMetaClassIsSubclass(meta, OSTypeID(IOService));
	struct imported *i = import_new(link, number);

	if (i == NULL)
		return -ENOSPC;
	i->proxy = (struct route_proxy){
		.local = service ? OSTypeID(IOService) : OSTypeID(OSObject),
		.call = call_proxy,
		.released = proxy_released,
	};
	i->object = route_new_proxy(meta, &i->proxy);
	if (i->object == NULL) {
		import_undo(i);
		return -ENOMEM;
	}
	*out = i;
	return 0;
}

kern_return_t import_root(struct remote_link *link, OSArray *classes, IOService **service)
{
	const OSMetaClass *meta = OSTypeID(IOService);
	struct imported *i;

	for (uint32_t n = 0; classes != NULL && n < OSArray_getCount(classes); n++) {
		OSString *name = OSDynamicCast(OSString, OSArray_getObject(classes, n));
		const OSMetaClass *known =
			name != NULL ? OSMetaClassGetNamed(OSString_getCStringNoCopy(name)) : NULL;
		if (known == NULL || !can_be_proxy(known) ||
		    !OSMetaClassIsSubclass(known, OSTypeID(IOService)))
			continue;
		meta = known;
		break;
	}
	int ret = import_object(link, REMOTE_ROOT, meta, &i);
	if (ret < 0)
		return refuse(return_from_errno(ret), "no memory for the provider");
	i->is_root = true;
	*service = OSDynamicCast(IOService, i->object);
	return kIOReturnSuccess;
}

/* --- writing --- */

static int put_object(struct remote_link *link, struct wire_writer *w, OSObject *object,
		      enum reference kind)
{
	struct exported *e = find_object(link, object);
	const OSMetaClass *meta = object->meta;
	uint64_t n = 0;

	if (e == NULL)
		e = export_new(link, object);
	if (e == NULL)
		return -ENOSPC;
	e->sent++;
	wire_put_u64(w, kind);
	wire_put_u64(w, e->number);
	if (kind == ACTION)
		return w->error;
	for (const OSMetaClass *m = meta; m != NULL && n < CLASSES_MAX; m = m->super)
		n++;
	wire_put_u64(w, n);
	for (; n > 0; n--, meta = meta->super)
		wire_put_string(w, meta->name, CLASS_NAME_MAX);
	return w->error;
}

static int put_memory(struct wire_writer *w, IOMemoryDescriptor *memory)
{
	struct memory_backing backing;

	if (memory_share(memory, false) != kIOReturnSuccess)
		return -EOPNOTSUPP;
	memory_get_backing(memory, &backing);
	wire_put_u64(w, MEMORY);
	wire_put_u64(w, backing.offset);
	wire_put_u64(w, backing.length);
	wire_put_u64(w, backing.direction);
	return wire_put_fd(w, backing.fd);
}

static int put_reference(void *context, struct wire_writer *w, const OSObject *constant)
{
	struct remote_link *link = context;
	OSObject *object = (OSObject *)(uintptr_t)constant;
	const struct imported *i;

	list_for_each(i, &link->imports, link) {
		if (i->object != object)
			continue;
		wire_put_u64(w, YOURS);
		return wire_put_u64(w, i->number);
	}
	IOMemoryDescriptor *memory = OSDynamicCast(IOMemoryDescriptor, object);
	if (memory != NULL)
		return put_memory(w, memory);
	OSAction *action = OSDynamicCast(OSAction, object);
	if (action != NULL && action_prototype(action) != NULL)
		return put_object(link, w, object, ACTION);
	if (action != NULL || OSDynamicCast(IODispatchQueue, object) != NULL ||
	    OSDynamicCast(IOMemoryMap, object) != NULL) {
		refuse(kIOReturnUnsupported,
		       "an object of class %s cannot be passed to another driver%s",
		       object->meta->name,
		       action != NULL ? ": it completes another process's call" : "");
		return -EOPNOTSUPP;
	}
	return put_object(link, w, object, OBJECT);
}

/* --- reading --- */

static int get_yours(struct remote_link *link, struct wire_reader *r, OSObject **object)
{
	struct exported *e;
	uint64_t number;

	if (wire_get_u64(r, UINT64_MAX, &number) < 0)
		return r->error;
	e = export_find(link, number);
	if (e == NULL)
		return -EBADMSG;
	OSObjectRetain(e->object);
	*object = e->object;
	return 0;
}

/* The first name that is known and fits decides. */
static int get_class(struct wire_reader *r, const OSMetaClass *wanted, const OSMetaClass **meta)
{
	char name[CLASS_NAME_MAX];
	uint64_t n;

	*meta = NULL;
	if (wire_get_u64(r, CLASSES_MAX, &n) < 0)
		return r->error;
	for (uint64_t i = 0; i < n; i++) {
		if (wire_get_string(r, name, sizeof(name)) < 0)
			return r->error;
		const OSMetaClass *known = OSMetaClassGetNamed(name);
		if (*meta == NULL && known != NULL && can_be_proxy(known) &&
		    OSMetaClassIsSubclass(known, wanted))
			*meta = known;
	}
	return *meta != NULL ? 0 : -EBADMSG;
}

static int get_object(struct remote_link *link, struct wire_reader *r, const OSMetaClass *wanted,
		      OSObject **object)
{
	const OSMetaClass *meta;
	uint64_t number;
	int ret;

	wire_get_u64(r, UINT64_MAX, &number);
	ret = get_class(r, wanted, &meta);
	if (ret < 0)
		return ret;
	struct imported *i = import_find(link, number);
	if (i != NULL)
		i->received++;
	else if ((ret = import_object(link, number, meta, &i)) < 0)
		return ret;
	*object = i->object;
	return 0;
}

static int get_action(struct remote_link *link, struct wire_reader *r, OSObject **object)
{
	OSAction *action = NULL;
	uint64_t number;

	if (wire_get_u64(r, UINT64_MAX, &number) < 0)
		return r->error;
	struct imported *i = import_find(link, number);
	if (i != NULL) {
		i->received++;
		*object = i->object;
		return 0;
	}
	i = import_new(link, number);
	if (i == NULL)
		return -ENOSPC;
	if (action_create_custom(&action_ops, i, &action) != kIOReturnSuccess) {
		import_undo(i);
		return -ENOMEM;
	}
	i->object = OSAction_as_OSObject(action);
	*object = i->object;
	return 0;
}

static int get_memory(struct wire_reader *r, OSObject **object)
{
	uint64_t offset, length, direction;
	IOMemoryDescriptor *memory = NULL;
	int fd = -1;

	wire_get_u64(r, UINT64_MAX, &offset);
	wire_get_u64(r, UINT64_MAX, &length);
	wire_get_u64(r, UINT32_MAX, &direction);
	if (wire_get_fd(r, &fd) < 0)
		return r->error;
	if (fd < 0)
		return -EBADMSG;
	r->fds[r->next_fd - 1] = -1; // the descriptor's from here on
	if (memory_descriptor_create(fd, offset, length, (uint32_t)direction, &memory) !=
	    kIOReturnSuccess)
		return -EBADMSG;
	*object = IOMemoryDescriptor_as_OSObject(memory);
	return 0;
}

static int get_reference(void *context, struct wire_reader *r, const OSMetaClass *meta,
			 OSObject **object)
{
	uint64_t kind;

	if (wire_get_u64(r, REFERENCES - 1, &kind) < 0)
		return r->error;
	switch ((enum reference)kind) {
	case YOURS:
		return get_yours(context, r, object);
	case OBJECT:
		return get_object(context, r, meta, object);
	case ACTION:
		return get_action(context, r, object);
	case MEMORY:
		return get_memory(r, object);
	case REFERENCES:
		break;
	}
	return -EBADMSG;
}

const struct wire_references remote_references = { .put = put_reference, .get = get_reference };
