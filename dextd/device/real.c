// SPDX-License-Identifier: Apache-2.0
/*
 * A device is known by its path in sysfs, for what appears while the watch begins is told twice.
 * One that was unplugged leaves the list at once, and lives until its drivers have stopped.
 */

#include <dextd/device/real.h>

#include <errno.h>
#include <libudev.h>
#include <stdlib.h>
#include <string.h>

#include <base/log.h>
#include <base/reason.h>
#include <dextd/daemon.h>
#include <dextd/device/probe.h>
#include <dextd/device/udev.h>

struct real_devices {
	struct daemon *daemon;
	const struct real_kind *kind;
	struct list all; // real_device.link
	struct udev_watch watch;
};

static struct real_device *find(const struct real_devices *devices, const char *path)
{
	struct real_device *d;
	list_for_each(d, &devices->all, link) {
		if (strcmp(d->sysfs_path, path) == 0)
			return d;
	}
	return NULL;
}

static void on_added(void *context, struct udev_device *found)
{
	struct real_devices *devices = context;
	const char *path = udev_device_get_syspath(found);
	if (find(devices, path) != NULL)
		return;
	int ret = devices->kind->add(devices, found);
	if (ret < 0)
		log_error("%s cannot be published: %s", path, strerror(-ret));
}

static void on_removed(void *context, const char *path)
{
	struct real_devices *devices = context;
	struct real_device *d = find(devices, path);
	if (d == NULL)
		return;
	d->taken = false; // nothing is left to give back
	list_remove(&d->link);
	device_unplug(&d->device, devices->kind->farewell);
}

int real_devices_start(struct real_devices **out, struct daemon *daemon,
		       const struct real_kind *kind)
{
	struct real_devices *devices = calloc(1, sizeof(*devices));
	if (devices == NULL)
		return -ENOMEM;
	devices->daemon = daemon;
	devices->kind = kind;
	list_init(&devices->all);
	devices->watch.on_added = on_added;
	devices->watch.on_removed = on_removed;
	devices->watch.context = devices;
	int ret = udev_watch_start(&devices->watch, daemon->loop, kind->subsystem, kind->devtype);
	if (ret < 0) {
		(void)refuse(return_from_errno(ret), "%s devices cannot be watched: %s", kind->name,
			     strerror(-ret));
		real_devices_stop(devices);
		return ret;
	}
	*out = devices;
	return 0;
}

struct real_devices *real_devices_stop(struct real_devices *devices)
{
	if (devices == NULL)
		return NULL;
	udev_watch_stop(&devices->watch);
	while (!list_empty(&devices->all))
		list_remove(devices->all.next);
	free(devices);
	return NULL;
}

int real_device_publish(struct real_devices *devices, struct real_device *device,
			struct udev_device *found, const struct device_ops *ops,
			OSDictionary *properties)
{
	char name[64];
	list_append(&devices->all, &device->link);
	device->sysfs_path = strdup(udev_device_get_syspath(found));
	if (device->sysfs_path == NULL) {
		ops->free(&device->device);
		return -ENOMEM;
	}
	probe_name(properties, name, sizeof(name));
	return device_publish(devices->daemon, &device->device, ops, name, properties);
}

void real_device_deinit(struct real_device *device)
{
	list_remove(&device->link);
	free(device->sysfs_path);
}
