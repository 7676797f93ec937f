// SPDX-License-Identifier: Apache-2.0
/*
 * What a device is, as registry properties: what udev would say of it if it had a bus.
 */

#include <base/reason.h>
#include <families/usb/descriptors.h>
#include <families/usb/device.h>

struct number {
	const char *key;
	uint16_t value;
	uint8_t bits;
};

static bool put(OSDictionary *to, const char *key, OSObject *value)
{
	bool ok = value != NULL && OSDictionary_setObject(to, key, value);
	OSObjectRelease(value);
	return ok;
}

static bool put_numbers(OSDictionary *to, const struct number *numbers, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		OSNumber *number = OSNumber_withNumber(numbers[i].value, numbers[i].bits);
		if (!put(to, numbers[i].key, (OSObject *)number))
			return false;
	}
	return true;
}

static bool put_string(OSDictionary *to, const char *key, const char *text)
{
	return put(to, key, (OSObject *)OSString_withCString(text));
}

static OSDictionary *interface_properties(const IOUSBDeviceDescriptor *device,
					  const IOUSBConfigurationDescriptor *configuration,
					  const IOUSBInterfaceDescriptor *interface,
					  const char *backend)
{
	const struct number numbers[] = {
		{ "idVendor", device->idVendor, 16 },
		{ "idProduct", device->idProduct, 16 },
		{ "bcdDevice", device->bcdDevice, 16 },
		{ "bDeviceClass", device->bDeviceClass, 8 },
		{ "bDeviceSubClass", device->bDeviceSubClass, 8 },
		{ "bDeviceProtocol", device->bDeviceProtocol, 8 },
		{ "bConfigurationValue", configuration->bConfigurationValue, 8 },
		{ "bInterfaceNumber", interface->bInterfaceNumber, 8 },
		{ "bInterfaceClass", interface->bInterfaceClass, 8 },
		{ "bInterfaceSubClass", interface->bInterfaceSubClass, 8 },
		{ "bInterfaceProtocol", interface->bInterfaceProtocol, 8 },
	};
	OSDictionary *properties = OSDictionary_withCapacity(16);
	if (properties != NULL && put_string(properties, "IOProviderClass", "IOUSBHostInterface") &&
	    put_string(properties, "OpenDextBackend", backend) &&
	    put_numbers(properties, numbers, sizeof(numbers) / sizeof(numbers[0])))
		return properties;
	OSObjectRelease(properties);
	return NULL;
}

/* Was this interface's number seen before it? The first of a number counts. */
static bool is_repeat(const IOUSBConfigurationDescriptor *configuration,
		      const IOUSBInterfaceDescriptor *interface)
{
	return usb_find_interface(configuration, interface->bInterfaceNumber) != interface;
}

kern_return_t usb_identity_copy(uint8_t *descriptors, size_t size, const char *backend,
				OSArray **identity)
{
	const IOUSBDeviceDescriptor *device = (const void *)descriptors;
	const IOUSBConfigurationDescriptor *configuration =
		(const void *)(descriptors + sizeof(*device));
	if (!usb_device_descriptor_valid(descriptors, size))
		return refuse(kIOReturnDeviceError, "the device descriptor is malformed");
	if (usb_configuration_bound(descriptors + sizeof(*device), size - sizeof(*device)) != 0)
		return refuse(kIOReturnDeviceError, "the configuration descriptor is malformed");

	OSArray *all = OSArray_withCapacity(4);
	if (all == NULL)
		return kIOReturnNoMemory;
	const IOUSBInterfaceDescriptor *interface = NULL;
	while ((interface = usb_next_interface(configuration, interface)) != NULL) {
		if (is_repeat(configuration, interface))
			continue;
		OSDictionary *one = interface_properties(device, configuration, interface, backend);
		if (one == NULL || !OSArray_setObject(all, (OSObject *)one)) {
			OSObjectRelease(one);
			OSObjectRelease(all);
			return kIOReturnNoMemory;
		}
		OSObjectRelease(one);
	}
	*identity = all;
	return kIOReturnSuccess;
}
