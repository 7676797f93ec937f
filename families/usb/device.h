/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One interface of one device, as the family keeps it behind an IOUSBHostInterface: the backend,
 * the endpoints, and what is in flight on them.
 *
 * Everything here belongs to the backend's queue. A driver's call hops there with usb_device_run;
 * nothing on that queue ever calls a driver: results leave through OSActions or a waiter's word.
 *
 * A request lives from endpoint_submit until the backend's `done`, and completes exactly once:
 *
 *	flying     with the backend; ends with what the backend says
 *	ending     cancelled, by Abort, Close, ClearStall or its timeout; ends with that status and
 *	           the bytes that came, unless the backend finished it first
 *	abandoned  cancelled, and 2 s later still not done: it was completed then, its pipe is dead,
 *	           and its buffer stays untouched until the backend lets go of it
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <USBDriverKit/IOUSBHostInterface.h>
#include <base/list.h>
#include <base/reason.h>
#include <families/usb/usb_backend.h>

enum {
	USB_ENDPOINTS_MAX = 30,
	USB_REQUESTS_MAX = 64, // outstanding on one endpoint
	USB_ABANDON_MS = 2000, // from a cancel to giving up on the backend
};

struct timer_source;

/* Somebody who waits for one request: on the stack of the caller. */
struct usb_waiter {
	_Atomic uint32_t done; // futex word: 0 until the rest is valid
	IOReturn status;
	uint32_t actual;
};

struct usb_request {
	struct usb_transfer transfer;
	struct usb_endpoint *endpoint; // borrowed
	struct list link;              // endpoint.requests, .abandoned or .spare
	OSAction *completion;          // kept; NULL: `waiter` is told
	struct usb_waiter *waiter;     // borrowed until told
	IOMemoryDescriptor *memory;    // kept until the backend is done with it
	uint64_t deadline_ns;          // flying: its timeout; ending: when it is abandoned; 0: none
	IOReturn ending;               // what the cancel asked for; success: not cancelled
	bool abandoned;
};

struct usb_endpoint {
	struct usb_device *device; // borrowed
	uint8_t address;
	uint8_t type; // kIOUSBEndpointType…
	uint16_t max_packet;
	bool halted;           // until clear_stall
	bool dead;             // a request was abandoned: until a session that begins without any
	unsigned n_requests;   // on `requests`
	struct list requests;  // in order of submission
	struct list abandoned; // completed, not yet given back by the backend
	struct list spare;     // ready for use
};

struct usb_device {
	IOUSBHostInterface *provider; // borrowed: its owner
	IODispatchQueue *queue;       // kept
	const struct usb_backend_ops *ops;
	struct usb_backend *backend; // owned
	struct timer_source *timer;  // owned
	uint64_t armed_ns;           // when the timer fires; 0: it does not
	uint8_t *descriptors;        // owned: device, then configuration
	uint8_t interface_number;
	IOService *opener;        // kept; NULL: closed
	uint32_t session;         // raised by every Close: pipes of an older session are void
	_Atomic uint32_t settled; // futex word: raised whenever a request ends
	bool lost;
	char lost_reason[REASON_MAX];
	unsigned n_endpoints;
	struct usb_endpoint endpoints[USB_ENDPOINTS_MAX];
};

/* --- device.c --- */

/* Open the backend that the device's OpenDextBackend names and read the interface that its
 * bInterfaceNumber names. Not on the backend's queue; may block up to 2 s. Refuses with a reason.
 */
kern_return_t usb_device_new(struct usb_device **out, struct device_handover *handover,
			     IOUSBHostInterface *provider);
/* Ends all that is in flight. Any thread. Returns NULL. */
struct usb_device *usb_device_free(struct usb_device *device);

/* Run `fn` on the backend's queue and wait; its status and its reason are the result's. */
kern_return_t usb_device_run(struct usb_device *device, kern_return_t (*fn)(void *context),
			     void *context);

const IOUSBConfigurationDescriptor *usb_device_configuration(const struct usb_device *device);
struct usb_endpoint *usb_device_endpoint(struct usb_device *device, uint8_t address);

/* Have endpoints_check run at `deadline_ns` at the latest. */
void usb_device_arm(struct usb_device *device, uint64_t deadline_ns);

/* --- endpoint.c: on the backend's queue --- */

void endpoint_init(struct usb_endpoint *endpoint, struct usb_device *device,
		   const IOUSBEndpointDescriptor *descriptor);
void endpoint_deinit(struct usb_endpoint *endpoint); // nothing is in flight

struct usb_submission {
	IOMemoryDescriptor *memory; // kept if accepted
	uint8_t *data;              // its bytes
	uint32_t length;
	uint32_t timeout_ms;       // 0: none
	OSAction *completion;      // kept if accepted
	struct usb_waiter *waiter; // instead of it
};

/* Start a transfer. Success: it will complete once. Else it never does; refused with a reason. */
kern_return_t endpoint_submit(struct usb_endpoint *endpoint, const struct usb_submission *what);

/* Cancel all that flies; each ends with `status`. */
void endpoint_abort(struct usb_endpoint *endpoint, IOReturn status);
/* How many of the requests that endpoint_abort asked to end have not ended. */
unsigned endpoint_ending(const struct usb_endpoint *endpoint);

kern_return_t endpoint_clear_stall(struct usb_endpoint *endpoint, bool with_request);

/* Act on deadlines up to `now_ns`; returns the next one, or 0. */
uint64_t endpoint_expire(struct usb_endpoint *endpoint, uint64_t now_ns);

/* --- off the backend's queue --- */

/* Abort all endpoints (or the one given) and wait until they have ended, at most 3 s. */
void usb_device_abort(struct usb_device *device, struct usb_endpoint *only, IOReturn status);

/* family_ops.copy_identity: open the device, read it, close it. device.c */
kern_return_t usb_device_copy_identity(struct device_handover *handover, OSArray **identity);

/* One dictionary per interface in these descriptors. identity.c */
kern_return_t usb_identity_copy(uint8_t *descriptors, size_t size, const char *backend,
				OSArray **identity);

kern_return_t pipe_new(IOUSBHostInterface *interface, struct usb_endpoint *endpoint,
		       uint32_t session, IOUSBHostPipe **pipe);
