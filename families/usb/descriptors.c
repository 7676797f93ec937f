// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <stdlib.h>

#include <families/usb/descriptors.h>

enum { MIN_CONFIGURATION = 9, MIN_INTERFACE = 9, MIN_ENDPOINT = 7, MIN_DEVICE = 18 };

bool usb_device_descriptor_valid(const uint8_t *data, size_t size)
{
	const IOUSBDeviceDescriptor *device = (const void *)data;
	return size >= MIN_DEVICE && device->bLength >= MIN_DEVICE &&
	       device->bDescriptorType == kIOUSBDescriptorTypeDevice &&
	       device->bMaxPacketSize0 != 0 && device->bNumConfigurations != 0;
}

int usb_configuration_bound(uint8_t *data, size_t size)
{
	IOUSBConfigurationDescriptor *configuration = (void *)data;
	if (size < MIN_CONFIGURATION || configuration->bLength < MIN_CONFIGURATION ||
	    configuration->bDescriptorType != kIOUSBDescriptorTypeConfiguration ||
	    configuration->wTotalLength < configuration->bLength || configuration->bLength > size)
		return -EBADMSG;
	if (configuration->wTotalLength > size)
		configuration->wTotalLength = (uint16_t)size;
	return 0;
}

const IOUSBDescriptorHeader *usb_next_descriptor(const IOUSBConfigurationDescriptor *configuration,
						 const IOUSBDescriptorHeader *current)
{
	const uint8_t *base = (const uint8_t *)configuration;
	size_t total = configuration->wTotalLength;
	size_t at = current != NULL ? (size_t)((const uint8_t *)current - base) : 0;
	if (at + sizeof(*current) > total)
		return NULL;
	if (current != NULL) {
		if (current->bLength < sizeof(*current))
			return NULL;
		at += current->bLength;
	}
	if (at + sizeof(*current) > total)
		return NULL;
	const IOUSBDescriptorHeader *next = (const void *)(base + at);
	if (next->bLength < sizeof(*next) || at + next->bLength > total)
		return NULL;
	return next;
}

/* The next descriptor of a type, which must be at least `min` long. */
static const IOUSBDescriptorHeader *next_of(const IOUSBConfigurationDescriptor *configuration,
					    const IOUSBDescriptorHeader *current, uint8_t type,
					    uint8_t min)
{
	const IOUSBDescriptorHeader *d = current;
	while ((d = usb_next_descriptor(configuration, d)) != NULL)
		if (d->bDescriptorType == type)
			return d->bLength >= min ? d : NULL;
	return NULL;
}

const IOUSBInterfaceDescriptor *
usb_next_interface(const IOUSBConfigurationDescriptor *configuration,
		   const IOUSBInterfaceDescriptor *current)
{
	const IOUSBDescriptorHeader *d = (const void *)current;
	while ((d = next_of(configuration, d, kIOUSBDescriptorTypeInterface, MIN_INTERFACE)) !=
	       NULL) {
		const IOUSBInterfaceDescriptor *interface = (const void *)d;
		if (interface->bAlternateSetting == 0)
			return interface;
	}
	return NULL;
}

const IOUSBInterfaceDescriptor *
usb_find_interface(const IOUSBConfigurationDescriptor *configuration, uint8_t number)
{
	const IOUSBInterfaceDescriptor *interface = NULL;
	while ((interface = usb_next_interface(configuration, interface)) != NULL)
		if (interface->bInterfaceNumber == number)
			return interface;
	return NULL;
}

const IOUSBEndpointDescriptor *
IOUSBGetNextEndpointDescriptor(const IOUSBConfigurationDescriptor *configuration,
			       const IOUSBInterfaceDescriptor *interface,
			       const IOUSBDescriptorHeader *current)
{
	if (configuration == NULL || interface == NULL)
		return NULL;
	const uint8_t *base = (const uint8_t *)configuration;
	const uint8_t *from =
		current != NULL ? (const uint8_t *)current : (const uint8_t *)interface;
	if ((const uint8_t *)interface < base || from < (const uint8_t *)interface ||
	    from >= base + configuration->wTotalLength)
		return NULL;

	const IOUSBDescriptorHeader *d = (const void *)from;
	while ((d = usb_next_descriptor(configuration, d)) != NULL) {
		if (d->bDescriptorType == kIOUSBDescriptorTypeInterface)
			return NULL;
		if (d->bDescriptorType == kIOUSBDescriptorTypeEndpoint)
			return d->bLength >= MIN_ENDPOINT ? (const void *)d : NULL;
	}
	return NULL;
}

void IOUSBHostFreeDescriptor(const void *descriptor)
{
	free((void *)(uintptr_t)descriptor);
}
