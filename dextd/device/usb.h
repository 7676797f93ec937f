/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Real USB devices: every interface that the kernel shows (hubs excepted), by libudev. An interface
 * stays with its kernel driver until a personality has won it; then the driver is detached, the
 * interface claimed, the descriptor narrowed to that interface, and all of it undone at the end.
 */

#include <dextd/device/real.h>

extern const struct real_kind usb_devices;
