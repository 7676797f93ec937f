/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the kernel shows of one subsystem: what is there now, and every later change. */

#include <stdbool.h>
#include <stdint.h>

#include <dextd/loop.h>

struct udev;
struct udev_device;
struct udev_monitor;

struct udev_watch {
	struct udev *udev;            // owned
	struct udev_monitor *monitor; // owned
	struct loop_fd source;
	void (*on_added)(void *context, struct udev_device *device);
	void (*on_removed)(void *context, const char *sysfs_path);
	void *context;
};

/* devtype NULL: any. on_added is called for all that is there before this returns. */
int udev_watch_start(struct udev_watch *watch, struct loop *loop, const char *subsystem,
		     const char *devtype);
void udev_watch_stop(struct udev_watch *watch); // harmless when not started

/* An attribute as a number, decimal or hexadecimal as sysfs has it. */
bool udev_number(struct udev_device *device, const char *attribute, int base, uint64_t *value);
