// SPDX-License-Identifier: Apache-2.0
/*
 * They hang on a list under a lock, since a driver may call Create and Terminate from any of its
 * queues. Whoever takes one off the list ends it:
 *
 *	end	dextd has the drivers stop that run on it (EndService), its Stop runs and reaches
 *		the super's, what it left open at the provider is closed, it leaves the registry
 *
 * What a service made is ended before it, the newest first. The last reference to it is let go of
 * when all that has happened, so it outlives those who used it.
 *
 * Neither wait has a limit here: dextd has one for each, and kills who is late.
 */

#include <families/service/child.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <DriverKit/IOUserClient.h>
#include <base/log.h>
#include <base/reason.h>
#include <families/service/host.h>
#include <families/service/hosted.h>
#include <families/service/service.h>
#include <families/service/user_client.h>
#include <protocol/dextd.h>
#include <runtime/queue.h>

struct child {
	struct list link;   // hosted.children, the newest last; ending.children, the newest first
	IOService *service; // owned
	const IOService *maker; // borrowed, to compare: what Create was called on
};

IOService *child_copy(struct hosted *h, uint64_t id)
{
	IOService *found = NULL;
	const struct child *c;
	pthread_mutex_lock(&h->lock);
	list_for_each(c, &h->children, link)
		if (service_id(c->service) == id)
			found = c->service;
	OSObjectRetain(found);
	pthread_mutex_unlock(&h->lock);
	return found;
}

/* --- the end --- */

/* Move `service` and what it made, and what that made, from the list to `taken`. What was made
 * comes later in the list than its maker. */
static void take_family(struct hosted *h, const IOService *service, struct list *taken)
{
	struct child *c, *next;
	const struct child *t;
	pthread_mutex_lock(&h->lock);
	list_for_each_safe(c, next, &h->children, link) {
		bool wanted = c->service == service;
		list_for_each(t, taken, link)
			wanted = wanted || c->maker == t->service;
		if (!wanted)
			continue;
		list_remove(&c->link);
		list_insert(taken, &c->link);
	}
	pthread_mutex_unlock(&h->lock);
}

static void end(struct hosted *h, struct child *c)
{
	uint64_t id = service_id(c->service);
	bool is_entry = OSDynamicCast(IOUserClient, c->service) == NULL && id != 0;
	list_remove(&c->link);
	if (is_entry) {
		struct DextRegistrar_EndService_Msg msg = { .service = id };
		(void)host_call_patiently(&DextRegistrar_EndService_Shape, &msg);
		hosted_end_drivers(h, id);
	}
	hosted_end_life(h, c->service);
	if (is_entry) {
		struct DextRegistrar_RemoveService_Msg msg = { .service = id };
		host_call(&DextRegistrar_RemoveService_Shape, &msg, NULL);
	}
	c->service->ivars->hosted = NULL;
	OSObjectRelease(c->service);
	free(c);
}

static bool end_family(struct hosted *h, struct list *family)
{
	bool any = !list_empty(family);
	while (!list_empty(family))
		end(h, container_of(family->next, struct child, link));
	return any;
}

bool child_end(struct hosted *h, IOService *service)
{
	struct list family;
	list_init(&family);
	take_family(h, service, &family);
	return end_family(h, &family);
}

static struct child *take_newest(struct hosted *h)
{
	struct child *found = NULL;
	pthread_mutex_lock(&h->lock);
	h->full = true;
	if (!list_empty(&h->children)) {
		found = container_of(h->children.prev, struct child, link);
		list_remove(&found->link);
		list_init(&found->link);
	}
	pthread_mutex_unlock(&h->lock);
	return found;
}

void child_end_all(struct hosted *h)
{
	struct child *c;
	while ((c = take_newest(h)) != NULL)
		end(h, c);
}

/* --- Create --- */

static void take_service(void *mine, void *reply)
{
	((struct DextRegistrar_AddService_Msg *)mine)->service =
		((struct DextRegistrar_AddService_Msg *)reply)->service;
}

static kern_return_t add_service(const IOService *parent, const char *class_name, uint64_t *id)
{
	struct DextRegistrar_AddService_Msg msg = { .parent = parent->ivars->id };
	size_t size = strlen(class_name);
	if (size >= sizeof(msg.userClass))
		return refuse(
			kIOReturnOverrun,
			"Create: the name of class %.32s… has %zu bytes; the registry's names "
			"have %zu",
			class_name, size, sizeof(msg.userClass) - 1);
	memcpy(msg.userClass, class_name, size);
	kern_return_t ret = host_call(&DextRegistrar_AddService_Shape, &msg, take_service);
	if (ret == kIOReturnSuccess)
		*id = msg.service;
	return ret;
}

static kern_return_t identify(struct hosted *h, const IOService *parent, IOService *made)
{
	uint64_t id = h->opening;
	IOUserClient *client = OSDynamicCast(IOUserClient, made);
	if (client != NULL) {
		pthread_mutex_lock(&h->lock);
		user_client_set_entitlements(client, h->entitlements);
		pthread_mutex_unlock(&h->lock);
	} else {
		const char *name = IOService_as_OSObject(made)->meta->name;
		kern_return_t ret = add_service(parent, name, &id);
		if (ret != kIOReturnSuccess)
			return ret;
	}
	service_identify(made, id, made->ivars->properties);
	return kIOReturnSuccess;
}

/* Below one that is ending nothing is made. */
static bool append(struct hosted *h, struct child *c)
{
	const struct child *other;
	pthread_mutex_lock(&h->lock);
	bool lives = c->maker == h->service;
	list_for_each(other, &h->children, link)
		lives = lives || other->service == c->maker;
	lives = lives && !h->full;
	if (lives)
		list_append(&h->children, &c->link);
	pthread_mutex_unlock(&h->lock);
	return lives;
}

kern_return_t host_adopt(IOService *parent, IOService *made)
{
	struct hosted *h = parent->ivars->hosted;
	struct child *c = calloc(1, sizeof(*c));
	if (c == NULL)
		return kIOReturnNoMemory;
	kern_return_t ret = identify(h, parent, made);
	if (ret != kIOReturnSuccess) {
		free(c);
		return ret;
	}
	OSObjectRetain(made);
	list_init(&c->link);
	c->service = made;
	c->maker = parent;
	made->ivars->hosted = h;
	if (!append(h, c)) {
		end(h, c);
		return refuse(kIOReturnOffline, "Create: %s is ending",
			      IOService_as_OSObject(parent)->meta->name);
	}
	ret = service_start(made, parent);
	if (ret != kIOReturnSuccess)
		(void)child_end(h, made);
	return ret;
}

/* --- Terminate --- */

struct ending {
	struct queue_item item;
	struct hosted *hosted; // announced to it
	struct list children;  // child.link
};

static void on_ending(struct queue_item *item)
{
	struct ending *e = container_of(item, struct ending, item);
	(void)end_family(e->hosted, &e->children);
	hosted_ended(e->hosted);
	free(e);
}

kern_return_t host_terminate(IOService *service)
{
	struct hosted *h = service->ivars->hosted;
	struct ending *e = calloc(1, sizeof(*e));
	IODispatchQueue *queue = NULL;
	kern_return_t ret = e != NULL ? IODispatchQueue_Create("ending", 0, 0, &queue)
				      : refuse(kIOReturnNoMemory, "no memory to terminate");
	if (ret != kIOReturnSuccess) {
		free(e);
		return ret;
	}
	list_init(&e->children);
	e->hosted = h;
	e->item.run = on_ending;
	hosted_announce_end(h); // before it is taken: hosted_stop looks for it here or there
	take_family(h, service, &e->children);
	if (list_empty(&e->children)) {
		hosted_ended(h);
		free(e);
		ret = refuse(kIOReturnNotPermitted,
			     "Terminate: only a service made with Create, and once");
	} else {
		queue_post(queue, &e->item); // which is never cancelled
	}
	OSObjectRelease(queue);
	return ret;
}
