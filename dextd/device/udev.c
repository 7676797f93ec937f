// SPDX-License-Identifier: Apache-2.0
/*
 * The monitor is opened before the enumeration, so nothing is missed between the two; what appears
 * in both is told twice, and the receiver knows it by its path. Where no udevd runs (a small
 * initrd) the kernel's own events are used.
 */

#include <dextd/device/udev.h>

#include <errno.h>
#include <libudev.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

bool udev_number(struct udev_device *device, const char *attribute, int base, uint64_t *value)
{
	const char *text = udev_device_get_sysattr_value(device, attribute);
	char *end;
	if (text == NULL)
		return false;
	errno = 0;
	*value = strtoull(text, &end, base);
	return errno == 0 && end != text;
}

static void on_event(void *context, uint32_t events)
{
	struct udev_watch *watch = context;
	(void)events;
	struct udev_device *device = udev_monitor_receive_device(watch->monitor);
	if (device == NULL)
		return;
	const char *action = udev_device_get_action(device);
	const char *path = udev_device_get_syspath(device);
	if (action != NULL && strcmp(action, "add") == 0)
		watch->on_added(watch->context, device);
	else if (action != NULL && path != NULL && strcmp(action, "remove") == 0)
		watch->on_removed(watch->context, path);
	udev_device_unref(device);
}

static void add_existing(struct udev_watch *watch, const char *path, const char *devtype)
{
	struct udev_device *device = udev_device_new_from_syspath(watch->udev, path);
	if (device == NULL)
		return; // gone already
	const char *type = udev_device_get_devtype(device);
	if (devtype == NULL || (type != NULL && strcmp(type, devtype) == 0))
		watch->on_added(watch->context, device);
	udev_device_unref(device);
}

static int enumerate(struct udev_watch *watch, const char *subsystem, const char *devtype)
{
	struct udev_enumerate *all = udev_enumerate_new(watch->udev);
	if (all == NULL)
		return -ENOMEM;
	int ret = udev_enumerate_add_match_subsystem(all, subsystem);
	if (ret >= 0)
		ret = udev_enumerate_scan_devices(all);
	if (ret >= 0) {
		struct udev_list_entry *entry;
		udev_list_entry_foreach(entry, udev_enumerate_get_list_entry(all))
			add_existing(watch, udev_list_entry_get_name(entry), devtype);
	}
	udev_enumerate_unref(all);
	return ret < 0 ? ret : 0;
}

static int open_monitor(struct udev_watch *watch, struct loop *loop, const char *subsystem,
			const char *devtype)
{
	bool udevd = access("/run/udev/control", F_OK) == 0;
	watch->monitor = udev_monitor_new_from_netlink(watch->udev, udevd ? "udev" : "kernel");
	if (watch->monitor == NULL)
		return -errno;
	int ret =
		udev_monitor_filter_add_match_subsystem_devtype(watch->monitor, subsystem, devtype);
	if (ret >= 0)
		ret = udev_monitor_enable_receiving(watch->monitor);
	if (ret < 0)
		return ret;
	return loop_fd_add(loop, &watch->source, udev_monitor_get_fd(watch->monitor), EPOLLIN,
			   on_event, watch);
}

int udev_watch_start(struct udev_watch *watch, struct loop *loop, const char *subsystem,
		     const char *devtype)
{
	watch->udev = udev_new();
	if (watch->udev == NULL)
		return -ENOMEM;
	int ret = open_monitor(watch, loop, subsystem, devtype);
	if (ret == 0)
		ret = enumerate(watch, subsystem, devtype);
	if (ret < 0)
		udev_watch_stop(watch);
	return ret;
}

void udev_watch_stop(struct udev_watch *watch)
{
	loop_fd_remove(&watch->source);
	if (watch->monitor != NULL)
		udev_monitor_unref(watch->monitor);
	if (watch->udev != NULL)
		udev_unref(watch->udev);
	watch->monitor = NULL;
	watch->udev = NULL;
}
