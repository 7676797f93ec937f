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
#include <dextd/properties.h>
#include <dextd/device/udev.h>

enum { USB_CLASS_HUB = 9, NUMBER_MAX = 31 };

struct usb_device {
	struct real_device real;
	char *node;      // owned
	unsigned number; // bInterfaceNumber
};

static struct usb_device *usb_device_of(struct device *device)
{
	return container_of(device, struct usb_device, real.device);
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
	d->real.taken = true;
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
	if (!d->real.taken)
		return;
	d->real.taken = false;
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
	real_device_deinit(&d->real);
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

static int publish(struct real_devices *devices, struct udev_device *interface, const char *node,
		   unsigned number, OSDictionary *properties)
{
	struct usb_device *d = calloc(1, sizeof(*d));
	if (d == NULL)
		return -ENOMEM;
	d->number = number;
	d->node = strdup(node);
	if (d->node == NULL) {
		free(d);
		return -ENOMEM;
	}
	return real_device_publish(devices, &d->real, interface, &usbfs_ops, properties);
}

static int add(struct real_devices *devices, struct udev_device *interface)
{
	uint64_t number, class_code;
	struct udev_device *parent =
		udev_device_get_parent_with_subsystem_devtype(interface, "usb", "usb_device");
	const char *node = parent != NULL ? udev_device_get_devnode(parent) : NULL;
	if (node == NULL || !udev_number(interface, "bInterfaceNumber", 16, &number) ||
	    number > NUMBER_MAX || !udev_number(interface, "bInterfaceClass", 16, &class_code) ||
	    class_code == USB_CLASS_HUB)
		return 0;
	CLEANUP(properties_releasep)
	OSDictionary *properties = read_properties(interface, parent);
	if (properties == NULL)
		return -ENOMEM;
	return publish(devices, interface, node, (unsigned)number, properties);
}

const struct real_kind usb_devices = {
	.name = "USB",
	.subsystem = "usb",
	.devtype = "usb_interface",
	.farewell = "it was unplugged",
	.add = add,
};
