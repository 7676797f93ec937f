/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Real PCI functions, by libudev. A function stays with its kernel driver until a personality has
 * won it; then it is bound to vfio-pci, opened, and handed over with its container; at the end it
 * goes back to the driver it had.
 */

#include <dextd/device/real.h>

extern const struct real_kind pci_devices;
