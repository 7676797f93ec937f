/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Real PCI functions, by libudev. A function stays with its kernel driver until a personality has
 * won it; then it is bound to vfio-pci, opened, and handed over with its container; at the end it
 * goes back to the driver it had.
 */

struct daemon;
struct device_pci_monitor;

int device_pci_start(struct device_pci_monitor **out, struct daemon *daemon);
struct device_pci_monitor *device_pci_stop(struct device_pci_monitor *monitor); // returns NULL
