// SPDX-License-Identifier: Apache-2.0
/*
 * usbfs gives one descriptor per open of the whole device. What a dext gets is narrowed twice: the
 * interface is claimed on it, and USBDEVFS_DROP_PRIVILEGES (which cannot be undone) takes away
 * every other interface, detaching kernel drivers, and configurations. Claims end with the
 * descriptor, so at the end there is one thing to do, on a fresh descriptor: let the kernel bind
 * its driver again.
 */

#include <dextd/device/usb.h>

#include <errno.h>
#include <fcntl.h>
#include <libudev.h>
#include <linux/usbdevice_fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/log.h>
#include <base/text.h>
#include <dextd/daemon.h>
#include <dextd/device/device.h>
#include <dextd/device/probe.h>
#include <dextd/properties.h>
#include <dextd/device/udev.h>

enum { USB_CLASS_HUB = 9, NUMBER_MAX = 31 };

struct device_usb_monitor {
	struct daemon *daemon;
	struct list devices; // usb_device.link
	struct udev_watch watch;
};

struct usb_device {
	struct device device;
	struct list link;        // device_usb_monitor.devices
	char *sysfs_path, *node; // owned
	unsigned number;         // bInterfaceNumber
	bool taken;              // from the kernel's driver
};

static struct usb_device *usb_device_of(struct device *device)
{
	return container_of(device, struct usb_device, device);
}

/* --- the node --- */

static int fail(const struct usb_device *d, const char *what, int error)
{
	(void)refuse(return_from_errno(-error), "%s: %s: %s", d->node, what, strerror(error));
	return error == ENOENT ? -ENODEV : -error;
}

static int narrow(const struct usb_device *d, int fd)
{
	uint32_t mask = 1U << d->number;
	struct usbdevfs_disconnect_claim claim = { .interface = d->number };
	if (ioctl(fd, USBDEVFS_DISCONNECT_CLAIM, &claim) < 0)
		return fail(d, "the interface cannot be claimed", errno);
	if (ioctl(fd, USBDEVFS_DROP_PRIVILEGES, &mask) < 0)
		return fail(d, "the descriptor cannot be narrowed", errno);
	return 0;
}

static int usb_open(struct device *device, const struct personality *personality,
		    struct device_fds *fds)
{
	struct usb_device *d = usb_device_of(device);
	(void)personality;
	CLEANUP(close_fdp) int fd = open(d->node, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return fail(d, "it cannot be opened", errno);
	d->taken = true;
	int ret = narrow(d, fd);
	if (ret < 0)
		return ret;
	fds->fds[0] = steal_fd(&fd);
	fds->n = 1;
	return 0;
}

static void usb_give_back(struct device *device)
{
	struct usb_device *d = usb_device_of(device);
	if (!d->taken)
		return;
	d->taken = false;
	CLEANUP(close_fdp) int fd = open(d->node, O_RDWR | O_CLOEXEC);
	struct usbdevfs_ioctl connect = {
		.ifno = (int)d->number,
		.ioctl_code = USBDEVFS_CONNECT,
	};
	if (fd >= 0)
		(void)ioctl(fd, USBDEVFS_IOCTL, &connect); // no kernel driver may want it: fine
}

static void usb_free(struct device *device)
{
	struct usb_device *d = usb_device_of(device);
	list_remove(&d->link);
	free(d->sysfs_path);
	free(d->node);
	free(d);
}

static const struct device_ops usbfs_ops = {
	.backend = "usbfs",
	.open = usb_open,
	.give_back = usb_give_back,
	.free = usb_free,
};

/* --- discovery --- */

static bool copy_numbers(OSDictionary *properties, struct udev_device *device,
			 const char *const *names, size_t n, int base)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t value;
		if (udev_number(device, names[i], base, &value) &&
		    !properties_set_number(properties, names[i], value))
			return false;
	}
	return true;
}

static OSDictionary *read_properties(struct udev_device *interface, struct udev_device *parent)
{
	static const char *const of_device[] = { "idVendor",        "idProduct",
						 "bcdDevice",       "bDeviceClass",
						 "bDeviceSubClass", "bDeviceProtocol" };
	static const char *const of_interface[] = { "bInterfaceNumber", "bInterfaceClass",
						    "bInterfaceSubClass", "bInterfaceProtocol",
						    "bAlternateSetting" };
	static const char *const decimal[] = { "bConfigurationValue", "busnum", "devnum" };
	const char *speed = udev_device_get_sysattr_value(parent, "speed");
	OSDictionary *p = OSDictionary_withCapacity(20);
	if (p != NULL && properties_set_string(p, "IOProviderClass", "IOUSBHostInterface") &&
	    properties_set_string(p, "OpenDextAddress", udev_device_get_sysname(interface)) &&
	    copy_numbers(p, parent, of_device, sizeof(of_device) / sizeof(of_device[0]), 16) &&
	    copy_numbers(p, parent, decimal, sizeof(decimal) / sizeof(decimal[0]), 10) &&
	    copy_numbers(p, interface, of_interface, sizeof(of_interface) / sizeof(of_interface[0]),
			 16) &&
	    (speed == NULL || properties_set_string(p, "speed", speed)))
		return p;
	OSObjectRelease(p);
	return NULL;
}

static struct usb_device *find(const struct device_usb_monitor *monitor, const char *path)
{
	struct usb_device *d;
	list_for_each(d, &monitor->devices, link) {
		if (strcmp(d->sysfs_path, path) == 0)
			return d;
	}
	return NULL;
}

static int publish(struct device_usb_monitor *monitor, struct udev_device *interface,
		   struct udev_device *parent, OSDictionary *properties)
{
	char name[64];
	uint64_t number = 0;
	(void)properties_number(properties, "bInterfaceNumber", &number);
	struct usb_device *d = calloc(1, sizeof(*d));
	if (d == NULL)
		return -ENOMEM;
	list_append(&monitor->devices, &d->link);
	d->number = (unsigned)number;
	d->sysfs_path = strdup(udev_device_get_syspath(interface));
	d->node = strdup(udev_device_get_devnode(parent));
	if (d->sysfs_path == NULL || d->node == NULL) {
		usb_free(&d->device);
		return -ENOMEM;
	}
	probe_name(properties, name, sizeof(name));
	return device_publish(monitor->daemon, &d->device, &usbfs_ops, name, properties);
}

static void on_added(void *context, struct udev_device *interface)
{
	struct device_usb_monitor *monitor = context;
	uint64_t number, class_code;
	struct udev_device *parent =
		udev_device_get_parent_with_subsystem_devtype(interface, "usb", "usb_device");
	if (parent == NULL || udev_device_get_devnode(parent) == NULL ||
	    !udev_number(interface, "bInterfaceNumber", 16, &number) || number > NUMBER_MAX ||
	    !udev_number(interface, "bInterfaceClass", 16, &class_code) ||
	    class_code == USB_CLASS_HUB ||
	    find(monitor, udev_device_get_syspath(interface)) != NULL)
		return;
	CLEANUP(properties_releasep)
	OSDictionary *properties = read_properties(interface, parent);
	int ret = properties != NULL ? publish(monitor, interface, parent, properties) : -ENOMEM;
	if (ret < 0)
		log_error("%s cannot be published: %s", udev_device_get_syspath(interface),
			  strerror(-ret));
}

static void on_removed(void *context, const char *path)
{
	struct usb_device *d = find(context, path);
	if (d == NULL)
		return;
	d->taken = false; // nothing is left to give back
	list_remove(&d->link);
	device_unplug(&d->device, "it was unplugged");
}

int device_usb_start(struct device_usb_monitor **out, struct daemon *daemon)
{
	struct device_usb_monitor *monitor = calloc(1, sizeof(*monitor));
	if (monitor == NULL)
		return -ENOMEM;
	monitor->daemon = daemon;
	list_init(&monitor->devices);
	monitor->watch.on_added = on_added;
	monitor->watch.on_removed = on_removed;
	monitor->watch.context = monitor;
	int ret = udev_watch_start(&monitor->watch, daemon->loop, "usb", "usb_interface");
	if (ret < 0) {
		(void)refuse(return_from_errno(ret), "USB devices cannot be watched: %s",
			     strerror(-ret));
		free(monitor);
		return ret;
	}
	*out = monitor;
	return 0;
}

struct device_usb_monitor *device_usb_stop(struct device_usb_monitor *monitor)
{
	if (monitor == NULL)
		return NULL;
	udev_watch_stop(&monitor->watch);
	/* The devices live until their drivers have stopped: they leave the list on their own. */
	while (!list_empty(&monitor->devices))
		list_remove(monitor->devices.next);
	free(monitor);
	return NULL;
}
