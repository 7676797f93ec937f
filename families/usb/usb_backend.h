/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a USB backend does: move bytes between a pipe's buffers and one device. usbfs and usbredir
 * implement it. All entries run on the backend's queue (device_handover.queue) and never block;
 * a backend calls back on the same queue.
 *
 * The family owns exactly-once: it keeps a transfer from submit until `done`, which a backend calls
 * once for every transfer it accepted, also when the device goes away.
 */

#include <stdbool.h>
#include <stdint.h>

#include <families/family.h>
#include <USBDriverKit/USBDescriptors.h>

struct usb_transfer {
	uint8_t endpoint; // bEndpointAddress
	uint8_t type;     // kIOUSBEndpointType…
	uint8_t *data;    // borrowed until done
	uint32_t length;
	uint32_t actual; // set by the backend before done
	IOReturn status;
	void (*done)(struct usb_transfer *transfer);
	void *backend; // the backend's own
};

struct usb_backend; // a backend's state for one device

struct usb_backend_ops {
	const char *name; // "usbfs", "usbredir": the device's OpenDextBackend property
	/* Required. Consumes the descriptors it takes. May block up to 2 s (greeting a peer).
	 * on_lost: the device went; called once, after all transfers were ended. */
	int (*open)(struct usb_backend **out, struct device_handover *handover,
		    void (*on_lost)(void *context, const char *reason), void *context);
	void (*close)(struct usb_backend *backend); // ends all transfers first
	/* Required. The device's descriptors: 18 bytes, then the active configuration with
	 * wTotalLength bytes. Returned as heap memory, freed with free(). */
	int (*copy_descriptors)(struct usb_backend *backend, uint8_t **data, size_t *size);
	/* Required. Claim / release an interface; begin and end of a session. */
	int (*claim)(struct usb_backend *backend, uint8_t interface);
	int (*release)(struct usb_backend *backend, uint8_t interface);
	/* Required. 0: accepted, done will be called, after this returns. Negative errno: not
	 * accepted; a reason may be left with refuse(). */
	int (*submit)(struct usb_backend *backend, struct usb_transfer *transfer);
	/* Required. Ask for an end; done still comes, with kIOReturnAborted or what happened, and
	 * may come before this returns. */
	void (*cancel)(struct usb_backend *backend, struct usb_transfer *transfer);
	/* Required. CLEAR_FEATURE(ENDPOINT_HALT) and toggle reset. */
	int (*clear_halt)(struct usb_backend *backend, uint8_t endpoint);
};

void usb_backend_register(const struct usb_backend_ops *ops); // asserts the required entries
const struct usb_backend_ops *usb_backend_find(const char *name);
