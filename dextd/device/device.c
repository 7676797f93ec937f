// SPDX-License-Identifier: Apache-2.0
/* A device from its publication to its end; what the buses differ in is behind its ops. */

#include <dextd/device/device.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/log.h>
#include <dextd/match/bundle.h>
#include <dextd/daemon.h>
#include <dextd/properties.h>
#include <dextd/process/service.h>

void device_fds_init(struct device_fds *fds)
{
	fds->n = 0;
	for (unsigned i = 0; i < DEVICE_FDS_MAX; i++)
		fds->fds[i] = -1;
}

void device_fds_close(struct device_fds *fds)
{
	for (unsigned i = 0; i < DEVICE_FDS_MAX; i++)
		close_fdp(&fds->fds[i]);
	fds->n = 0;
}

/* --- rejections --- */

static void rejection_free(struct rejection *r)
{
	list_remove(&r->link);
	free(r->bundle_path);
	free(r->personality);
	free(r);
}

int device_reject(struct device *device, const struct personality *personality, const char *reason)
{
	struct rejection *r = calloc(1, sizeof(*r));
	if (r == NULL)
		return -ENOMEM;
	list_append(&device->rejections, &r->link);
	r->bundle_path = strdup(personality->bundle->path);
	r->personality = strdup(personality->name);
	memcpy(r->reason, reason, strnlen(reason, sizeof(r->reason) - 1));
	if (r->bundle_path != NULL && r->personality != NULL)
		return 0;
	rejection_free(r);
	return -ENOMEM;
}

const struct rejection *device_rejection(const struct device *device,
					 const struct personality *personality)
{
	const struct rejection *r;
	list_for_each(r, &device->rejections, link) {
		if (strcmp(r->bundle_path, personality->bundle->path) == 0 &&
		    strcmp(r->personality, personality->name) == 0)
			return r;
	}
	return NULL;
}

void device_forget_rejections(struct device *device)
{
	struct rejection *r, *tmp;
	list_for_each_safe(r, tmp, &device->rejections, link)
		rejection_free(r);
}

/* --- life --- */

static void device_free(struct device *device)
{
	list_remove(&device->link);
	device_forget_rejections(device);
	if (device->entry != NULL)
		registry_remove(&device->daemon->registry, device->entry);
	device->ops->free(device);
}

int device_publish(struct daemon *daemon, struct device *device, const struct device_ops *ops,
		   const char *name, OSDictionary *properties)
{
	return device_publish_below(daemon, daemon->registry.root, device, ops, name, properties);
}

int device_publish_below(struct daemon *daemon, struct entry *parent, struct device *device,
			 const struct device_ops *ops, const char *name, OSDictionary *properties)
{
	device->daemon = daemon;
	device->ops = ops;
	device->entry = NULL;
	device->gone = false;
	list_init(&device->link);
	list_init(&device->services);
	list_init(&device->rejections);

	const char *class_name = properties_string(properties, "IOProviderClass");
	int ret = class_name != NULL ? 0 : -EINVAL;
	if (ret == 0 && ops->backend != NULL &&
	    !properties_set_string(properties, "OpenDextBackend", ops->backend))
		ret = -ENOMEM;
	if (ret == 0)
		ret = registry_add(&daemon->registry, parent, ENTRY_DEVICE, class_name, properties,
				   &device->entry);
	if (ret == 0)
		ret = registry_set_name(device->entry, name);
	if (ret < 0) {
		device_free(device);
		return ret;
	}
	device->entry->device = device;
	list_append(&daemon->devices, &device->link);
	log_info("device %llu: %s, a %s", (unsigned long long)device->entry->id, name, class_name);
	service_match(device);
	return 0;
}

void device_unplug(struct device *device, const char *reason)
{
	if (device->gone)
		return;
	log_info("device %llu: %s is gone: %s", (unsigned long long)device->entry->id,
		 device->entry->name, reason);
	device->gone = true;
	service_end_all(device, reason);
	device_service_ended(device);
}

void device_service_ended(struct device *device)
{
	if (!list_empty(&device->services))
		return;
	if (device->gone || device->daemon->stopping) {
		struct daemon *daemon = device->daemon;
		device_give_back(device);
		device_free(device);
		daemon_check_stopped(daemon);
		return;
	}
	device->entry->state = ENTRY_STATE_DEVICE;
}

void device_give_back(struct device *device)
{
	if (device->ops->give_back != NULL)
		device->ops->give_back(device);
}

void device_lost(struct device *device, const char *reason)
{
	if (device->gone || device->daemon->stopping)
		return;
	if (device->ops->lost != NULL)
		device->ops->lost(device, reason);
	else
		device_unplug(device, reason);
}

static bool has_text(struct device *device, const char *key, const char *text)
{
	const char *value = properties_string(device->entry->properties, key);
	return value != NULL && strcmp(value, text) == 0;
}

struct device *device_find(struct daemon *daemon, const char *text)
{
	char *end;
	unsigned long long id = strtoull(text, &end, 0);
	bool is_id = text[0] != '\0' && *end == '\0';
	struct device *device;

	list_for_each(device, &daemon->devices, link) {
		if ((is_id && device->entry->id == id) || strcmp(device->entry->name, text) == 0 ||
		    has_text(device, "OpenDextPath", text) ||
		    has_text(device, "OpenDextAddress", text) || has_text(device, "pcidebug", text))
			return device;
	}
	/* A service stands for its device too. */
	struct entry *entry = is_id ? registry_find(&daemon->registry, id) : NULL;
	return entry != NULL && entry->service != NULL ? entry->service->device : NULL;
}

/* --- IOUserResources: no bus, always there --- */

static void free_resources(struct device *device)
{
	free(device);
}

static const struct device_ops resources_ops = { .free = free_resources };

int device_publish_resources(struct daemon *daemon)
{
	struct device *device = calloc(1, sizeof(*device));
	if (device == NULL)
		return -ENOMEM;
	CLEANUP(properties_releasep) OSDictionary *properties = OSDictionary_withCapacity(2);
	if (properties == NULL ||
	    !properties_set_string(properties, "IOProviderClass", "IOUserResources") ||
	    !properties_set_string(properties, "IOResourceMatch", "IOKit")) {
		free(device);
		return -ENOMEM;
	}
	return device_publish(daemon, device, &resources_ops, "IOUserResources", properties);
}
