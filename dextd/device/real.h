/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Real devices: what the kernel shows of one subsystem, each published when it appears and
 * unplugged when it goes. usb.c and pci.c say which of them are devices of ours, and how to open
 * one.
 */

#include <stdbool.h>

#include <base/list.h>
#include <dextd/device/device.h>

struct daemon;
struct real_devices;
struct udev_device;

/* Part of each such device. */
struct real_device {
	struct device device;
	struct list link; // real_devices.all
	char *sysfs_path; // owned
	bool taken;       // from the kernel's driver: to be given back, unless the device is gone
};

struct real_kind {
	const char *name; // of such devices, in messages: "USB"
	const char *subsystem;
	const char *devtype;  // NULL: any
	const char *farewell; // why one ends that is gone
	/* Publish what the kernel shows (real_device_publish), unless it is no device of this kind.
	 * Negative errno. */
	int (*add)(struct real_devices *devices, struct udev_device *found);
};

/* Publish what is there, then follow what comes and goes. Negative errno with a reason. */
int real_devices_start(struct real_devices **out, struct daemon *daemon,
		       const struct real_kind *kind);
/* The devices stay till they are unplugged. NULL is ignored; returns NULL. */
struct real_devices *real_devices_stop(struct real_devices *devices);

/* `device` is consumed: it is zeroed memory, and ops->free, which calls real_device_deinit, frees
 * it, here if it fails. `properties` is kept. Negative errno. */
int real_device_publish(struct real_devices *devices, struct real_device *device,
			struct udev_device *found, const struct device_ops *ops,
			OSDictionary *properties);
void real_device_deinit(struct real_device *device);
