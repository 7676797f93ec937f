// SPDX-License-Identifier: Apache-2.0
#include <dextd/device/published.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <base/cleanup.h>
#include <base/log.h>
#include <dextd/daemon.h>
#include <dextd/process/dext.h>
#include <dextd/process/service.h>
#include <dextd/properties.h>
#include <protocol/dextd.h>

static struct published *published_of(struct device *device)
{
	return container_of(device, struct published, device);
}

/* --- handing it over --- */

static void on_served(void *context, kern_return_t status, const char *reason, void *msg)
{
	struct dext *dext = context;
	(void)msg;
	dext_answered(dext);
	if (status != kIOReturnSuccess)
		log_warn("a driver was not let at its provider: %s", reason);
}

/* Have the service's driver serve a further socket, and give out the other end. */
static int serve(const struct published *p, int *out)
{
	struct dext *dext = p->service != NULL ? p->service->dext : NULL;
	int pair[2];

	if (dext == NULL || dext->ending) {
		(void)refuse(kIOReturnOffline, "its driver is ending");
		return -ENODEV;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return -errno;
	CLEANUP(close_fdp) int theirs = pair[1];
	CLEANUP(close_fdp) int ours = pair[0];
	const struct DextHost_ServeDriver_Msg msg = {
		.service = p->entry->id,
		.socket = theirs,
	};
	int ret = dext_request(dext, &DextHost_ServeDriver_Shape, &msg,
			       p->device.daemon->options.start_timeout_ms, on_served, dext);
	if (ret == 0)
		*out = steal_fd(&ours);
	return ret;
}

static int open_published(struct device *device, const struct personality *personality,
			  struct device_fds *fds)
{
	(void)personality;
	int ret = serve(published_of(device), &fds->fds[0]);
	fds->n = ret == 0 ? 1 : 0;
	return ret;
}

static void free_published(struct device *device)
{
	struct published *p = published_of(device);
	struct service *service = p->service;
	list_remove(&p->link);
	free(p);
	if (service != NULL)
		service_lost_driver(service);
}

static const struct device_ops published_ops = {
	.backend = "dext",
	.open = open_published,
	.free = free_published,
};

struct entry *published_entry(struct device *device)
{
	return device->ops == &published_ops ? published_of(device)->entry : NULL;
}

/* --- life --- */

static struct published *find(const struct service *service, const struct entry *entry)
{
	struct published *p;
	list_for_each(p, &service->published, link)
		if (p->entry == entry && !p->device.gone)
			return p;
	return NULL;
}

/* A driver cannot pass for what libdext's own families provide. */
static bool is_own_class(const char *name)
{
	return strncmp(name, "IO", 2) != 0 && strncmp(name, "OS", 2) != 0 && name[0] != '\0';
}

bool published_is_possible(const struct entry *entry)
{
	return is_own_class(entry->user_class);
}

int published_observe(struct service *service, const struct entry *entry, int *socket_fd,
		      OSArray **classes)
{
	const struct published *p = find(service, entry);
	if (p == NULL) {
		(void)refuse(kIOReturnNotFound, "%s has ended", entry->name);
		return -ENOENT;
	}
	*classes = properties_array(p->device.entry->properties, "IOUserClasses");
	return serve(p, socket_fd);
}

/* The names by which personalities may ask for it. */
static OSArray *copy_classes(const struct entry *entry)
{
	OSArray *claimed = properties_array(entry->properties, "IOUserClasses");
	OSArray *classes = OSArray_withCapacity(4);
	if (classes == NULL || !properties_append_string(classes, entry->user_class))
		goto fail;
	for (uint32_t i = 0; claimed != NULL && i < OSArray_getCount(claimed); i++) {
		OSString *name = OSDynamicCast(OSString, OSArray_getObject(claimed, i));
		if (name == NULL || !is_own_class(OSString_getCStringNoCopy(name)) ||
		    OSString_isEqualToCString(name, entry->user_class))
			continue;
		if (!properties_append_string(classes, OSString_getCStringNoCopy(name)))
			goto fail;
	}
	return classes;
fail:
	OSObjectRelease(classes);
	return NULL;
}

static OSDictionary *copy_properties(const struct entry *entry)
{
	OSDictionary *properties = OSDictionary_withDictionary(entry->properties);
	if (properties != NULL &&
	    properties_set_string(properties, "IOProviderClass", entry->user_class) &&
	    properties_set_consumed(properties, "IOUserClasses", copy_classes(entry)))
		return properties;
	OSObjectRelease(properties);
	return NULL;
}

int published_add(struct service *service, struct entry *entry)
{
	if (!is_own_class(entry->user_class) || find(service, entry) != NULL)
		return 0;
	CLEANUP(properties_releasep) OSDictionary *properties = copy_properties(entry);
	struct published *p = calloc(1, sizeof(*p));
	if (p == NULL || properties == NULL) {
		free(p);
		return -ENOMEM;
	}
	p->service = service;
	p->entry = entry;
	p->id = entry->id;
	list_append(&service->published, &p->link);
	return device_publish_below(service->device->daemon, entry, &p->device, &published_ops,
				    entry->name, properties);
}

void published_end(struct service *service, const struct entry *entry, const char *reason)
{
	struct published *p, *tmp;
	list_for_each_safe(p, tmp, &service->published, link) {
		if (p->entry == NULL || (entry != NULL && !registry_is_below(p->entry, entry)))
			continue;
		struct registry *registry = &service->device->daemon->registry;
		registry_move(registry, p->device.entry, registry->root);
		p->entry = NULL;
		device_unplug(&p->device, reason);
	}
}

bool published_below(const struct service *service, const struct entry *entry)
{
	const struct published *p;
	list_for_each(p, &service->published, link) {
		const struct entry *of = registry_find(&service->device->daemon->registry, p->id);
		if (of != NULL && registry_is_below(of, entry))
			return true;
	}
	return false;
}

void published_orphan(struct service *service)
{
	struct published *p, *tmp;
	list_for_each_safe(p, tmp, &service->published, link) {
		list_remove(&p->link);
		p->service = NULL;
	}
}
