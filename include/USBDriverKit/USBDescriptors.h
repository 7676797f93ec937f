/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* USB descriptors as they are on the wire (USB 2.0, chapter 9.6), and how to walk them. */

#include <DriverKit/IOTypes.h>

/* bDescriptorType (USB 2.0, table 9-5). */
enum {
	kIOUSBDescriptorTypeDevice = 1,
	kIOUSBDescriptorTypeConfiguration = 2,
	kIOUSBDescriptorTypeInterface = 4,
	kIOUSBDescriptorTypeEndpoint = 5,
};

/* Bit 7 of bEndpointAddress: to the host (USB 2.0, table 9-13). */
enum { kIOUSBEndpointDirectionIn = 0x80 };

/* Bits 1..0 of an endpoint's bmAttributes (USB 2.0, table 9-13). */
enum {
	kIOUSBEndpointTypeControl = 0,
	kIOUSBEndpointTypeIsochronous = 1,
	kIOUSBEndpointTypeBulk = 2,
	kIOUSBEndpointTypeInterrupt = 3,
};

/* Options of IOUSBHostPipe::Abort: return at once, or when all that was queued is over. */
enum { kIOUSBAbortAsynchronous = 0, kIOUSBAbortSynchronous = 1 };

/* How every descriptor begins: its length in bytes, and its type (USB 2.0, 9.5). Numbers of 16 bits
 * are little-endian in all of them. */
typedef struct __attribute__((packed)) IOUSBDescriptorHeader {
	uint8_t bLength;
	uint8_t bDescriptorType;
} IOUSBDescriptorHeader;

/* USB 2.0, table 9-8. */
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

/* USB 2.0, table 9-10. wTotalLength bytes are behind it, itself included; bMaxPower: 2 mA each. */
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

/* USB 2.0, table 9-12. */
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

/* USB 2.0, table 9-13. wMaxPacketSize: bits 10..0 are bytes. */
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
 * the wTotalLength of `configuration`; stops at a malformed descriptor. Borrowed from
 * `configuration`. Any thread. */
const IOUSBEndpointDescriptor *
IOUSBGetNextEndpointDescriptor(const IOUSBConfigurationDescriptor *configuration,
			       const IOUSBInterfaceDescriptor *interface,
			       const IOUSBDescriptorHeader *current);

/* Free what IOUSBHostInterface::CopyConfigurationDescriptor returned. NULL is ignored. */
void IOUSBHostFreeDescriptor(const void *descriptor);
#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
