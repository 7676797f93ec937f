// SPDX-License-Identifier: Apache-2.0
/*
 * IOUSBHostInterface: one session at a time, and pipes while it lasts.
 *
 * The object's methods run on its own default queue, so Open, Close and CopyPipe follow each other;
 * each hops to the backend's queue for what it touches there. Close waits for what it cancels,
 * which the backend's queue must be free to deliver.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <base/reason.h>
#include <families/family.h>
#include <families/service/service.h>
#include <families/usb/descriptors.h>
#include <families/usb/device.h>

struct IOUSBHostInterface_IVars {
	struct usb_device *device; // owned; NULL until the family has opened it
};

bool IMPL(IOUSBHostInterface, init)
{
	if (!IOUSBHostInterface_super_init(self))
		return false;
	self->ivars = calloc(1, sizeof(*self->ivars));
	return self->ivars != NULL;
}

void IMPL(IOUSBHostInterface, free)
{
	if (self->ivars != NULL) {
		usb_device_free(self->ivars->device);
		free(self->ivars);
		self->ivars = NULL;
	}
	IOUSBHostInterface_super_free(self);
}

/* --- sessions --- */

struct session_call {
	struct usb_device *device;
	IOService *client;
};

static kern_return_t session_begin(void *context)
{
	struct session_call *call = context;
	struct usb_device *device = call->device;
	if (device->lost)
		return refuse(kIOReturnNoDevice, "the device is gone: %s", device->lost_reason);
	if (device->opener != NULL)
		return refuse(kIOReturnExclusiveAccess, "interface %u is open already, for %s",
			      device->interface_number,
			      device->opener == call->client ? "this service" : "another service");
	kern_return_t may =
		service_may_open(call->client); // if so, its end comes to this queue later
	if (may != kIOReturnSuccess)
		return may;
	reason_clear();
	int error = device->ops->claim(device->backend, device->interface_number);
	if (error != 0) {
		kern_return_t ret =
			error == -EBUSY ? kIOReturnExclusiveAccess : return_from_errno(error);
		if (reason_last()[0] != '\0')
			return ret;
		return refuse(ret, "%s: interface %u cannot be claimed", device->ops->name,
			      device->interface_number);
	}
	OSObjectRetain(call->client);
	device->opener = call->client;
	return kIOReturnSuccess;
}

/* From here on no pipe of the session submits. */
static kern_return_t session_shut(void *context)
{
	struct session_call *call = context;
	if (call->client == NULL || call->device->opener != call->client)
		return kIOReturnNotOpen;
	call->device->session++;
	return kIOReturnSuccess;
}

static kern_return_t session_end(void *context)
{
	struct session_call *call = context;
	struct usb_device *device = call->device;
	if (!device->lost)
		device->ops->release(device->backend, device->interface_number);
	for (unsigned i = 0; i < device->n_endpoints; i++)
		device->endpoints[i].dead = !list_empty(&device->endpoints[i].abandoned);
	OSSafeReleaseNULL(device->opener);
	return kIOReturnSuccess;
}

/* One that the family did not make has nothing behind it. */
static kern_return_t check_made(IOUSBHostInterface *self)
{
	if (self->ivars->device != NULL)
		return kIOReturnSuccess;
	return refuse(kIOReturnNotAttached,
		      "an IOUSBHostInterface is given to Start, not allocated");
}

kern_return_t IMPL(IOUSBHostInterface, Open)
{
	kern_return_t ret = check_made(self);
	if (ret != kIOReturnSuccess)
		return ret;
	if (forClient == NULL)
		return refuse(kIOReturnBadArgument, "Open: forClient is NULL");
	if (options != 0 || arg != NULL)
		return refuse(kIOReturnUnsupported,
			      "Open: options must be 0 and arg NULL (no alternate settings yet)");
	struct session_call call = { .device = self->ivars->device, .client = forClient };
	return usb_device_run(self->ivars->device, session_begin, &call);
}

static kern_return_t close_session(struct usb_device *device, IOService *client)
{
	struct session_call call = { .device = device, .client = client };
	kern_return_t ret = usb_device_run(device, session_shut, &call);
	if (ret != kIOReturnSuccess)
		return ret;
	usb_device_abort(device, NULL, kIOReturnAborted);
	return usb_device_run(device, session_end, &call);
}

kern_return_t IMPL(IOUSBHostInterface, Close)
{
	kern_return_t ret = check_made(self);
	if (ret != kIOReturnSuccess)
		return ret;
	if (options != 0)
		return refuse(kIOReturnUnsupported, "Close: options must be 0");
	ret = close_session(self->ivars->device, forClient);
	if (ret == kIOReturnNotOpen)
		return refuse(ret, "interface %u is not open for this service",
			      self->ivars->device->interface_number);
	return ret;
}

/* The default queue is left alone: the service has stopped, so nobody else opens or closes. */
static void on_client_stopped(IOService *provider, IOService *client)
{
	IOUSBHostInterface *self = OSDynamicCast(IOUSBHostInterface, provider);
	close_session(self->ivars->device, client);
}

/* --- pipes and descriptors --- */

struct pipe_search {
	struct usb_device *device;
	uint8_t address;
	struct usb_endpoint *endpoint;
	uint32_t session;
};

static kern_return_t find_pipe(void *context)
{
	struct pipe_search *search = context;
	struct usb_device *device = search->device;
	if (device->lost)
		return refuse(kIOReturnNoDevice, "the device is gone: %s", device->lost_reason);
	if (device->opener == NULL)
		return refuse(kIOReturnNotOpen,
			      "interface %u is not open: call Open before CopyPipe",
			      device->interface_number);
	struct usb_endpoint *endpoint = usb_device_endpoint(device, search->address);
	if (endpoint == NULL)
		return refuse(kIOReturnNotFound, "interface %u has no endpoint 0x%02x (it has %u)",
			      device->interface_number, search->address, device->n_endpoints);
	if (endpoint->type != kIOUSBEndpointTypeBulk &&
	    endpoint->type != kIOUSBEndpointTypeInterrupt)
		return refuse(kIOReturnUnsupported,
			      "endpoint 0x%02x is neither bulk nor interrupt: not supported yet",
			      search->address);
	search->endpoint = endpoint;
	search->session = device->session;
	return kIOReturnSuccess;
}

kern_return_t IMPL(IOUSBHostInterface, CopyPipe)
{
	kern_return_t ret = check_made(self);
	if (ret != kIOReturnSuccess)
		return ret;
	struct pipe_search search = { .device = self->ivars->device, .address = address };
	ret = usb_device_run(self->ivars->device, find_pipe, &search);
	if (ret != kIOReturnSuccess)
		return ret;
	return pipe_new(self, search.endpoint, search.session, pipe);
}

const IOUSBConfigurationDescriptor *
IOUSBHostInterface_CopyConfigurationDescriptor(IOUSBHostInterface *self)
{
	if (self == NULL || self->ivars->device == NULL)
		return NULL;
	const IOUSBConfigurationDescriptor *configuration =
		usb_device_configuration(self->ivars->device);
	void *copy = malloc(configuration->wTotalLength);
	if (copy != NULL)
		memcpy(copy, configuration, configuration->wTotalLength);
	return copy;
}

const IOUSBInterfaceDescriptor *
IOUSBHostInterface_GetInterfaceDescriptor(IOUSBHostInterface *self,
					  const IOUSBConfigurationDescriptor *configuration)
{
	if (self == NULL || self->ivars->device == NULL || configuration == NULL)
		return NULL;
	return usb_find_interface(configuration, self->ivars->device->interface_number);
}

/* --- the family --- */

static kern_return_t create_provider(struct device_handover *handover, IOService **provider)
{
	IOUSBHostInterface *interface = OSTypeAlloc(IOUSBHostInterface);
	if (interface == NULL)
		return refuse(kIOReturnNoMemory, "no memory for an interface");
	kern_return_t ret = kIOReturnNoMemory;
	if (IOUSBHostInterface_init(interface)) {
		provider_identify(IOUSBHostInterface_as_IOService(interface), handover);
		ret = usb_device_new(&interface->ivars->device, handover, interface);
	}
	if (ret != kIOReturnSuccess) {
		OSObjectRelease(interface);
		return ret;
	}
	*provider = IOUSBHostInterface_as_IOService(interface);
	return kIOReturnSuccess;
}

static const struct family_ops usb_family = {
	.provider_class = "IOUSBHostInterface",
	.create_provider = create_provider,
	.copy_identity = usb_device_copy_identity,
	.client_stopped = on_client_stopped,
};

__attribute__((constructor)) static void register_family(void)
{
	family_register(&usb_family);
}
