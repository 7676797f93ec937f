/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Descriptors as a device sent them: untrusted bytes. Any thread; nothing here keeps a pointer.
 *
 * A configuration is usable when its own nine bytes are sound; its wTotalLength is then lowered to
 * what was received, so that nobody who walks it later has to know how much that was. A walk stops
 * at the first descriptor that is shorter than its header or runs past the end: what came before
 * it counts, what follows does not.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <USBDriverKit/USBDescriptors.h>

/* Is there a device descriptor in these bytes? */
bool usb_device_descriptor_valid(const uint8_t *data, size_t size);

/* Check the configuration that begins at `data` and bound its wTotalLength by `size`, in place.
 * 0, or -EBADMSG: not a configuration. */
int usb_configuration_bound(uint8_t *data, size_t size);

/* The descriptor after `current` (NULL: the configuration itself); NULL: the end. */
const IOUSBDescriptorHeader *usb_next_descriptor(const IOUSBConfigurationDescriptor *configuration,
						 const IOUSBDescriptorHeader *current);

/* The interface after `current` (NULL: the first) in its first alternate setting; NULL: no more. */
const IOUSBInterfaceDescriptor *
usb_next_interface(const IOUSBConfigurationDescriptor *configuration,
		   const IOUSBInterfaceDescriptor *current);

/* The first descriptor of interface `number`; NULL: none. */
const IOUSBInterfaceDescriptor *
usb_find_interface(const IOUSBConfigurationDescriptor *configuration, uint8_t number);
