// SPDX-License-Identifier: Apache-2.0
/*
 * The life of a device behind an interface object, and the ways on and off the backend's queue.
 *
 * One timer serves all endpoints. It is set when a deadline is earlier than what it waits for, and
 * looks for the next when it fires: transfers with equal timeouts cost no system call each.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/log.h>
#include <families/usb/descriptors.h>
#include <families/usb/device.h>
#include <runtime/queue.h>

enum { DRAIN_MS = USB_ABANDON_MS + 1000 };

struct hop {
	kern_return_t (*fn)(void *context);
	void *context;
	kern_return_t ret;
	char reason[REASON_MAX]; // of `ret`, since reasons belong to threads
};

static void hop_run(void *context)
{
	struct hop *hop = context;
	hop->ret = hop->fn(hop->context);
	if (hop->ret != kIOReturnSuccess)
		snprintf(hop->reason, sizeof(hop->reason), "%s", reason_last());
}

/* Run `fn` on `queue` and wait; its status and its reason are the result's. */
static kern_return_t run_on(IODispatchQueue *queue, kern_return_t (*fn)(void *context),
			    void *context)
{
	struct hop hop;
	hop.fn = fn;
	hop.context = context;
	int error = queue_sync(queue, hop_run, &hop);
	if (error != 0)
		return refuse(return_from_errno(error), "the device's queue cannot be reached");
	if (hop.ret != kIOReturnSuccess)
		reason_set(hop.reason);
	return hop.ret;
}

kern_return_t usb_device_run(struct usb_device *device, kern_return_t (*fn)(void *context),
			     void *context)
{
	return run_on(device->queue, fn, context);
}

static void on_timer(void *context)
{
	struct usb_device *device = context;
	uint64_t now = clock_now_ns(), next = 0;
	device->armed_ns = 0;
	for (unsigned i = 0; i < device->n_endpoints; i++) {
		uint64_t deadline = endpoint_expire(&device->endpoints[i], now);
		if (deadline != 0 && (next == 0 || deadline < next))
			next = deadline;
	}
	if (next != 0)
		usb_device_arm(device, next);
}

void usb_device_arm(struct usb_device *device, uint64_t deadline_ns)
{
	if (device->armed_ns != 0 && device->armed_ns <= deadline_ns)
		return;
	device->armed_ns = deadline_ns;
	timer_source_set(device->timer, deadline_ns);
}

static void on_lost(void *context, const char *reason)
{
	struct usb_device *device = context;
	if (device->lost)
		return;
	device->lost = true;
	snprintf(device->lost_reason, sizeof(device->lost_reason), "%s", reason);
	provider_lost(IOUSBHostInterface_as_IOService(device->provider), "%s", reason);
}

const IOUSBConfigurationDescriptor *usb_device_configuration(const struct usb_device *device)
{
	return (const void *)(device->descriptors + sizeof(IOUSBDeviceDescriptor));
}

struct usb_endpoint *usb_device_endpoint(struct usb_device *device, uint8_t address)
{
	for (unsigned i = 0; i < device->n_endpoints; i++)
		if (device->endpoints[i].address == address)
			return &device->endpoints[i];
	return NULL;
}

/* Of two endpoints with one address the first counts; endpoint 0 is never a pipe. */
static kern_return_t read_endpoints(struct usb_device *device)
{
	const IOUSBConfigurationDescriptor *configuration = usb_device_configuration(device);
	const IOUSBInterfaceDescriptor *interface =
		usb_find_interface(configuration, device->interface_number);
	if (interface == NULL)
		return refuse(kIOReturnNotFound, "the device has no interface %u",
			      device->interface_number);

	const IOUSBEndpointDescriptor *e = NULL;
	while (device->n_endpoints < USB_ENDPOINTS_MAX &&
	       (e = IOUSBGetNextEndpointDescriptor(configuration, interface, (const void *)e))) {
		if ((e->bEndpointAddress & 0x0f) == 0 || (e->bEndpointAddress & 0x70) != 0 ||
		    usb_device_endpoint(device, e->bEndpointAddress) != NULL)
			continue;
		endpoint_init(&device->endpoints[device->n_endpoints++], device, e);
	}
	return kIOReturnSuccess;
}

static kern_return_t read_descriptors(struct usb_device *device)
{
	size_t size = 0;
	int error = device->ops->copy_descriptors(device->backend, &device->descriptors, &size);
	if (error != 0)
		return refuse(return_from_errno(error),
			      "%s: the device's descriptors cannot be read", device->ops->name);
	size_t head = sizeof(IOUSBDeviceDescriptor);
	if (!usb_device_descriptor_valid(device->descriptors, size))
		return refuse(kIOReturnDeviceError, "the device descriptor is malformed");
	if (usb_configuration_bound(device->descriptors + head, size - head) != 0)
		return refuse(kIOReturnDeviceError, "the configuration descriptor is malformed");
	return read_endpoints(device);
}

static uint8_t number_property(OSDictionary *properties, const char *key)
{
	OSNumber *number = OSDynamicCast(OSNumber, OSDictionary_getObject(properties, key));
	return number != NULL ? OSNumber_unsigned8BitValue(number) : 0;
}

struct opening {
	struct usb_device *device;
	struct device_handover *handover;
};

static kern_return_t open_backend(void *context)
{
	struct opening *opening = context;
	struct usb_device *device = opening->device;
	int error = timer_source_open(&device->timer, device->queue, on_timer, device);
	if (error != 0)
		return return_from_errno(error);
	reason_clear();
	error = device->ops->open(&device->backend, opening->handover, on_lost, device);
	if (error == 0)
		return read_descriptors(device);
	kern_return_t ret = return_from_errno(error);
	if (reason_last()[0] != '\0')
		return ret;
	return refuse(ret, "%s: the device cannot be opened", device->ops->name);
}

static kern_return_t find_backend(OSDictionary *properties, const struct usb_backend_ops **ops)
{
	OSString *name =
		OSDynamicCast(OSString, OSDictionary_getObject(properties, "OpenDextBackend"));
	if (name == NULL)
		return refuse(kIOReturnBadArgument, "the device has no string OpenDextBackend");
	*ops = usb_backend_find(OSString_getCStringNoCopy(name));
	if (*ops == NULL)
		return refuse(kIOReturnUnsupported, "this build has no USB backend %s",
			      OSString_getCStringNoCopy(name));
	return kIOReturnSuccess;
}

kern_return_t usb_device_new(struct usb_device **out, struct device_handover *handover,
			     IOUSBHostInterface *provider)
{
	struct usb_device *device = calloc(1, sizeof(*device));
	if (device == NULL)
		return refuse(kIOReturnNoMemory, "no memory for a device");
	device->provider = provider;
	OSObjectRetain(handover->queue);
	device->queue = handover->queue;
	device->session = 1;
	device->interface_number = number_property(handover->properties, "bInterfaceNumber");

	struct opening opening = { .device = device, .handover = handover };
	kern_return_t ret = find_backend(handover->properties, &device->ops);
	if (ret == kIOReturnSuccess)
		ret = usb_device_run(device, open_backend, &opening);
	if (ret != kIOReturnSuccess) {
		usb_device_free(device);
		return ret;
	}
	*out = device;
	return kIOReturnSuccess;
}

static void shut(void *context)
{
	struct usb_device *device = context;
	device->lost = true; // closing a backend is not a loss to report
	if (device->backend != NULL)
		device->ops->close(device->backend);
	device->timer = timer_source_close(device->timer);
}

struct usb_device *usb_device_free(struct usb_device *device)
{
	if (device == NULL)
		return NULL;
	if (queue_sync(device->queue, shut, device) != 0) {
		log_error("usb: a device could not be closed: its queue cannot be reached");
		return NULL; // the backend may still use it
	}
	for (unsigned i = 0; i < device->n_endpoints; i++)
		endpoint_deinit(&device->endpoints[i]);
	OSSafeReleaseNULL(device->opener);
	OSSafeReleaseNULL(device->queue);
	free(device->descriptors);
	free(device);
	return NULL;
}

/* --- ending what is in flight --- */

struct abort_call {
	struct usb_device *device;
	struct usb_endpoint *only; // NULL: all
	IOReturn status;
	unsigned n_ending;
};

static void count_ending(void *context)
{
	struct abort_call *call = context;
	call->n_ending = 0;
	for (unsigned i = 0; i < call->device->n_endpoints; i++) {
		struct usb_endpoint *endpoint = &call->device->endpoints[i];
		if (call->only == NULL || call->only == endpoint)
			call->n_ending += endpoint_ending(endpoint);
	}
}

static void begin_abort(void *context)
{
	struct abort_call *call = context;
	for (unsigned i = 0; i < call->device->n_endpoints; i++) {
		struct usb_endpoint *endpoint = &call->device->endpoints[i];
		if (call->only == NULL || call->only == endpoint)
			endpoint_abort(endpoint, call->status);
	}
}

void usb_device_abort(struct usb_device *device, struct usb_endpoint *only, IOReturn status)
{
	struct abort_call call = { .device = device, .only = only, .status = status };
	uint64_t deadline = clock_deadline_ns(DRAIN_MS);
	int ret = queue_sync(device->queue, begin_abort, &call);
	while (ret == 0) {
		uint32_t seen = atomic_load(&device->settled);
		ret = queue_sync(device->queue, count_ending, &call);
		if (ret != 0 || call.n_ending == 0)
			return;
		ret = worker_wait(&device->settled, seen, deadline);
	}
}

/* --- who are you? --- */

struct identity_call {
	const struct usb_backend_ops *ops;
	struct device_handover *handover;
	OSArray **identity;
};

static void ignore_loss(void *context, const char *reason)
{
	(void)context;
	(void)reason;
}

static kern_return_t identify(void *context)
{
	struct identity_call *call = context;
	struct usb_backend *backend = NULL;
	reason_clear();
	int error = call->ops->open(&backend, call->handover, ignore_loss, NULL);
	if (error != 0)
		return return_from_errno(error);
	uint8_t *descriptors = NULL;
	size_t size = 0;
	error = call->ops->copy_descriptors(backend, &descriptors, &size);
	kern_return_t ret =
		error == 0 ? usb_identity_copy(descriptors, size, call->ops->name, call->identity)
			   : return_from_errno(error);
	free(descriptors);
	call->ops->close(backend);
	return ret;
}

kern_return_t usb_device_copy_identity(struct device_handover *handover, OSArray **identity)
{
	struct identity_call call = { .handover = handover, .identity = identity };
	kern_return_t ret = find_backend(handover->properties, &call.ops);
	if (ret != kIOReturnSuccess)
		return ret;
	return run_on(handover->queue, identify, &call);
}
