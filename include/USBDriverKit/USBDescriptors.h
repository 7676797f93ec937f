/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* USB descriptors as they are on the wire (USB 2.0, chapter 9.6), and how to walk them. */

#include <DriverKit/IOTypes.h>

enum {
	kIOUSBDescriptorTypeDevice = 1,
	kIOUSBDescriptorTypeConfiguration = 2,
	kIOUSBDescriptorTypeInterface = 4,
	kIOUSBDescriptorTypeEndpoint = 5,
};

enum { kIOUSBEndpointDirectionIn = 0x80 };
enum {
	kIOUSBEndpointTypeControl = 0,
	kIOUSBEndpointTypeIsochronous = 1,
	kIOUSBEndpointTypeBulk = 2,
	kIOUSBEndpointTypeInterrupt = 3,
};

enum { kIOUSBAbortAsynchronous = 0, kIOUSBAbortSynchronous = 1 };

typedef struct __attribute__((packed)) IOUSBDescriptorHeader {
	uint8_t bLength;
	uint8_t bDescriptorType;
} IOUSBDescriptorHeader;

typedef struct __attribute__((packed)) IOUSBDeviceDescriptor {
	uint8_t bLength;
	uint8_t bDescriptorType;
	uint16_t bcdUSB;
	uint8_t bDeviceClass;
	uint8_t bDeviceSubClass;
	uint8_t bDeviceProtocol;
	uint8_t bMaxPacketSize0;
	uint16_t idVendor;
	uint16_t idProduct;
	uint16_t bcdDevice;
	uint8_t iManufacturer;
	uint8_t iProduct;
	uint8_t iSerialNumber;
	uint8_t bNumConfigurations;
} IOUSBDeviceDescriptor;

typedef struct __attribute__((packed)) IOUSBConfigurationDescriptor {
	uint8_t bLength;
	uint8_t bDescriptorType;
	uint16_t wTotalLength;
	uint8_t bNumInterfaces;
	uint8_t bConfigurationValue;
	uint8_t iConfiguration;
	uint8_t bmAttributes;
	uint8_t bMaxPower;
} IOUSBConfigurationDescriptor;

typedef struct __attribute__((packed)) IOUSBInterfaceDescriptor {
	uint8_t bLength;
	uint8_t bDescriptorType;
	uint8_t bInterfaceNumber;
	uint8_t bAlternateSetting;
	uint8_t bNumEndpoints;
	uint8_t bInterfaceClass;
	uint8_t bInterfaceSubClass;
	uint8_t bInterfaceProtocol;
	uint8_t iInterface;
} IOUSBInterfaceDescriptor;

typedef struct __attribute__((packed)) IOUSBEndpointDescriptor {
	uint8_t bLength;
	uint8_t bDescriptorType;
	uint8_t bEndpointAddress;
	uint8_t bmAttributes;
	uint16_t wMaxPacketSize;
	uint8_t bInterval;
} IOUSBEndpointDescriptor;

#if !defined(__IIG)
#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)
/* The next endpoint of `interface` after `current` (NULL: the first); NULL: no more. Never leaves
 * the wTotalLength of `configuration`; stops at a malformed descriptor. */
const IOUSBEndpointDescriptor *
IOUSBGetNextEndpointDescriptor(const IOUSBConfigurationDescriptor *configuration,
			       const IOUSBInterfaceDescriptor *interface,
			       const IOUSBDescriptorHeader *current);

void IOUSBHostFreeDescriptor(const void *descriptor);
#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
