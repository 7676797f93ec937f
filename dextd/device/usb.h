/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Real USB devices: every interface that the kernel shows (hubs excepted), by libudev. An interface
 * stays with its kernel driver until a personality has won it; then the driver is detached, the
 * interface claimed, the descriptor narrowed to that interface, and all of it undone at the end.
 */

struct daemon;
struct device_usb_monitor;

/* Publish what is there, then follow plug and unplug. Negative errno with a reason. */
int device_usb_start(struct device_usb_monitor **out, struct daemon *daemon);
struct device_usb_monitor *device_usb_stop(struct device_usb_monitor *monitor); // returns NULL
