// SPDX-License-Identifier: Apache-2.0
/*
 * What is in flight on one endpoint, and why each of it ends exactly once.
 *
 * A request is on one list at a time. Its owner of the moment is the list's: `requests` and
 * `abandoned` mean the backend holds it, `spare` that nobody does. Only on_done takes it from the
 * backend, so a node is never used again while a backend could still write to its buffer.
 *
 * A backend may call done from within cancel (never from within submit), so no loop here holds on
 * to a list position across a cancel: it looks again from the head.
 */

#include <stdlib.h>

#include <base/clock.h>
#include <families/usb/device.h>
#include <runtime/memory.h>
#include <runtime/queue.h>

void endpoint_init(struct usb_endpoint *endpoint, struct usb_device *device,
		   const IOUSBEndpointDescriptor *descriptor)
{
	*endpoint = (struct usb_endpoint){
		.device = device,
		.address = descriptor->bEndpointAddress,
		.type = descriptor->bmAttributes & 3,
		.max_packet = descriptor->wMaxPacketSize & 0x7ff,
	};
	list_init(&endpoint->requests);
	list_init(&endpoint->abandoned);
	list_init(&endpoint->spare);
}

void endpoint_deinit(struct usb_endpoint *endpoint)
{
	struct usb_request *r, *tmp;
	list_for_each_safe(r, tmp, &endpoint->spare, link)
		free(r);
	list_init(&endpoint->spare);
}

static struct usb_request *take_spare(struct usb_endpoint *endpoint)
{
	if (list_empty(&endpoint->spare)) {
		struct usb_request *fresh = malloc(sizeof(*fresh));
		return fresh;
	}
	struct usb_request *r = container_of(endpoint->spare.next, struct usb_request, link);
	list_remove(&r->link);
	return r;
}

/* Tell whoever waits. The request holds no completion and no waiter after. */
static void complete(struct usb_request *r, IOReturn status, uint32_t actual)
{
	struct usb_device *device = r->endpoint->device;
	if (r->waiter != NULL) {
		r->waiter->status = status;
		r->waiter->actual = actual;
		atomic_store(&r->waiter->done, 1);
		worker_wake(&r->waiter->done);
		r->waiter = NULL;
	} else {
		IOUSBHostPipe_CompleteAsyncIO(NULL, r->completion, status, actual, clock_now_ns());
		OSSafeReleaseNULL(r->completion);
	}
	atomic_fetch_add(&device->settled, 1);
	worker_wake(&device->settled);
}

/* An error other than a timeout or an end that was asked for halts a pipe until it is cleared. */
static bool halts(IOReturn status)
{
	return status != kIOReturnSuccess && status != kIOReturnTimeout &&
	       status != kIOReturnAborted && status != kIOReturnNoDevice;
}

/* A cancelled request ends with what its cancel asked for, if the cancel is what ended it. */
static IOReturn final_status(const struct usb_request *r)
{
	if (r->transfer.status == kIOReturnAborted && r->ending != kIOReturnSuccess)
		return r->ending;
	if (r->transfer.status == kIOReturnSuccess && memory_is_lost(r->memory))
		return kIOReturnVMError;
	return r->transfer.status;
}

static void on_done(struct usb_transfer *transfer)
{
	struct usb_request *r = container_of(transfer, struct usb_request, transfer);
	struct usb_endpoint *endpoint = r->endpoint;

	list_remove(&r->link);
	if (!r->abandoned) {
		endpoint->n_requests--;
		if (halts(transfer->status))
			endpoint->halted = true;
		complete(r, final_status(r), transfer->actual);
	}
	OSSafeReleaseNULL(r->memory);
	list_append(&endpoint->spare, &r->link);
}

/* The backend did not give it back in time: end it without the backend. */
static void abandon(struct usb_request *r)
{
	struct usb_endpoint *endpoint = r->endpoint;
	list_remove(&r->link);
	list_append(&endpoint->abandoned, &r->link);
	endpoint->n_requests--;
	endpoint->dead = true;
	r->abandoned = true;
	r->deadline_ns = 0;
	complete(r, r->ending, 0);
}

static void cancel(struct usb_request *r, IOReturn status)
{
	struct usb_device *device = r->endpoint->device;
	r->ending = status;
	r->deadline_ns = clock_deadline_ns(USB_ABANDON_MS);
	usb_device_arm(device, r->deadline_ns);
	device->ops->cancel(device->backend, &r->transfer);
}

static kern_return_t usable(struct usb_endpoint *endpoint)
{
	if (endpoint->device->lost)
		return refuse(kIOReturnNoDevice, "the device is gone: %s",
			      endpoint->device->lost_reason);
	if (endpoint->dead)
		return refuse(
			kIOReturnNotResponding,
			"endpoint 0x%02x is dead: a cancelled transfer was not given back within %d ms; "
			"close the interface and open it again",
			endpoint->address, USB_ABANDON_MS);
	return kIOReturnSuccess;
}

static kern_return_t accepts(struct usb_endpoint *endpoint)
{
	kern_return_t ret = usable(endpoint);
	if (ret != kIOReturnSuccess)
		return ret;
	if (endpoint->halted)
		return refuse(kUSBHostReturnPipeStalled,
			      "endpoint 0x%02x is halted since an error: call ClearStall",
			      endpoint->address);
	if (endpoint->n_requests == USB_REQUESTS_MAX)
		return refuse(kIOReturnNoResources,
			      "endpoint 0x%02x has %d transfers in flight already",
			      endpoint->address, USB_REQUESTS_MAX);
	return kIOReturnSuccess;
}

kern_return_t endpoint_submit(struct usb_endpoint *endpoint, const struct usb_submission *what)
{
	struct usb_device *device = endpoint->device;
	kern_return_t ret = accepts(endpoint);
	if (ret != kIOReturnSuccess)
		return ret;
	struct usb_request *r = take_spare(endpoint);
	if (r == NULL)
		return refuse(kIOReturnNoMemory, "no memory for a transfer");

	*r = (struct usb_request){
		.transfer = { .endpoint = endpoint->address,
			      .type = endpoint->type,
			      .data = what->data,
			      .length = what->length,
			      .done = on_done },
		.endpoint = endpoint,
		.completion = what->completion,
		.waiter = what->waiter,
		.memory = what->memory,
		.deadline_ns = what->timeout_ms != 0 ? clock_deadline_ns(what->timeout_ms) : 0,
	};
	reason_clear();
	int error = device->ops->submit(device->backend, &r->transfer);
	if (error != 0) {
		list_append(&endpoint->spare, &r->link);
		ret = return_from_errno(error);
		if (reason_last()[0] != '\0')
			return ret;
		return refuse(ret, "%s did not accept the transfer on endpoint 0x%02x: %s",
			      device->ops->name, endpoint->address, IOReturnString(ret));
	}
	OSObjectRetain(r->memory);
	OSObjectRetain(r->completion);
	list_append(&endpoint->requests, &r->link);
	endpoint->n_requests++;
	if (r->deadline_ns != 0)
		usb_device_arm(device, r->deadline_ns);
	return kIOReturnSuccess;
}

static struct usb_request *first_flying(struct usb_endpoint *endpoint)
{
	struct usb_request *r;
	list_for_each(r, &endpoint->requests, link)
		if (r->ending == kIOReturnSuccess)
			return r;
	return NULL;
}

void endpoint_abort(struct usb_endpoint *endpoint, IOReturn status)
{
	struct usb_request *r;
	while ((r = first_flying(endpoint)) != NULL)
		cancel(r, status);
}

unsigned endpoint_ending(const struct usb_endpoint *endpoint)
{
	unsigned n = 0;
	struct usb_request *r;
	list_for_each(r, &endpoint->requests, link)
		n += r->ending != kIOReturnSuccess;
	return n;
}

kern_return_t endpoint_clear_stall(struct usb_endpoint *endpoint, bool with_request)
{
	struct usb_device *device = endpoint->device;
	kern_return_t ret = usable(endpoint);
	if (ret != kIOReturnSuccess)
		return ret;
	if (!with_request)
		return refuse(kIOReturnUnsupported,
			      "ClearStall(false): the host's toggle alone cannot be reset here; "
			      "use ClearStall(true)");
	int error = device->ops->clear_halt(device->backend, endpoint->address);
	if (error != 0)
		return refuse(return_from_errno(error),
			      "clearing the halt of endpoint 0x%02x failed", endpoint->address);
	endpoint->halted = false;
	return kIOReturnSuccess;
}

static struct usb_request *first_expired(struct usb_endpoint *endpoint, uint64_t now_ns)
{
	struct usb_request *r;
	list_for_each(r, &endpoint->requests, link)
		if (r->deadline_ns != 0 && r->deadline_ns <= now_ns)
			return r;
	return NULL;
}

uint64_t endpoint_expire(struct usb_endpoint *endpoint, uint64_t now_ns)
{
	struct usb_request *r;
	while ((r = first_expired(endpoint, now_ns)) != NULL) {
		if (r->ending == kIOReturnSuccess)
			cancel(r, kIOReturnTimeout);
		else
			abandon(r);
	}
	uint64_t next = 0;
	list_for_each(r, &endpoint->requests, link)
		if (r->deadline_ns != 0 && (next == 0 || r->deadline_ns < next))
			next = r->deadline_ns;
	return next;
}
