// SPDX-License-Identifier: Apache-2.0
/*
 * IOUSBHostPipe: a handle on an endpoint for the length of one session. It may be used from any
 * queue; what it asks for happens on the backend's queue.
 */

#include <stdlib.h>

#include <base/clock.h>
#include <families/usb/device.h>
#include <runtime/memory.h>
#include <runtime/queue.h>

struct IOUSBHostPipe_IVars {
	IOUSBHostInterface *interface; // kept: it owns the endpoint
	struct usb_endpoint *endpoint; // borrowed from it
	uint32_t session;
};

kern_return_t pipe_new(IOUSBHostInterface *interface, struct usb_endpoint *endpoint,
		       uint32_t session, IOUSBHostPipe **pipe)
{
	IOUSBHostPipe *made = OSTypeAlloc(IOUSBHostPipe);
	if (made == NULL || !IOUSBHostPipe_init(made) ||
	    (made->ivars = calloc(1, sizeof(*made->ivars))) == NULL) {
		OSObjectRelease(made);
		return refuse(kIOReturnNoMemory, "no memory for a pipe");
	}
	OSObjectRetain(interface);
	made->ivars->interface = interface;
	made->ivars->endpoint = endpoint;
	made->ivars->session = session;
	*pipe = made;
	return kIOReturnSuccess;
}

void IMPL(IOUSBHostPipe, free)
{
	if (self->ivars != NULL) {
		OSSafeReleaseNULL(self->ivars->interface);
		free(self->ivars);
		self->ivars = NULL;
	}
	IOUSBHostPipe_super_free(self);
}

/* A pipe that CopyPipe did not make has nothing behind it. */
static kern_return_t check_made(IOUSBHostPipe *self)
{
	if (self->ivars != NULL)
		return kIOReturnSuccess;
	return refuse(kIOReturnNotAttached, "pipes are made by IOUSBHostInterface's CopyPipe");
}

static struct usb_device *device_of(IOUSBHostPipe *self)
{
	return self->ivars->endpoint->device;
}

static kern_return_t check_session(IOUSBHostPipe *self)
{
	if (self->ivars->session == device_of(self)->session)
		return kIOReturnSuccess;
	return refuse(kIOReturnNotOpen,
		      "the interface was closed since endpoint 0x%02x's pipe was "
		      "copied: open it and copy the pipe again",
		      self->ivars->endpoint->address);
}

/* --- transfers --- */

static kern_return_t check_length(const struct usb_endpoint *endpoint, uint32_t length,
				  uint64_t available)
{
	if (length > available)
		return refuse(kIOReturnBadArgument, "%u bytes asked for, the buffer has %llu",
			      length, (unsigned long long)available);
	if (endpoint->max_packet == 0)
		return refuse(kIOReturnBadArgument, "endpoint 0x%02x has a packet size of 0",
			      endpoint->address);
	if ((endpoint->address & kIOUSBEndpointDirectionIn) != 0 &&
	    endpoint->type == kIOUSBEndpointTypeBulk && length % endpoint->max_packet != 0)
		return refuse(kIOReturnBadArgument,
			      "a bulk read of %u bytes on endpoint 0x%02x: the length must be a "
			      "multiple of the packet size, %u",
			      length, endpoint->address, endpoint->max_packet);
	return kIOReturnSuccess;
}

/* The device writes into the buffer of a read, so the buffer must allow it. */
static kern_return_t check_direction(const struct usb_endpoint *endpoint,
				     IOMemoryDescriptor *memory)
{
	struct memory_backing backing;
	memory_get_backing(memory, &backing);
	if ((endpoint->address & kIOUSBEndpointDirectionIn) != 0) {
		if ((backing.direction & kIOMemoryDirectionIn) == 0)
			return refuse(kIOReturnNotWritable,
				      "a read needs a buffer with kIOMemoryDirectionIn");
	} else if ((backing.direction & kIOMemoryDirectionOut) == 0) {
		return refuse(kIOReturnNotReadable,
			      "a write needs a buffer with kIOMemoryDirectionOut");
	}
	return kIOReturnSuccess;
}

struct submit_call {
	IOUSBHostPipe *pipe;
	struct usb_submission what;
};

static kern_return_t submit(void *context)
{
	struct submit_call *call = context;
	kern_return_t ret = check_session(call->pipe);
	if (ret != kIOReturnSuccess)
		return ret;
	return endpoint_submit(call->pipe->ivars->endpoint, &call->what);
}

static kern_return_t start_transfer(IOUSBHostPipe *self, struct usb_submission what)
{
	kern_return_t ret = check_made(self);
	if (ret != kIOReturnSuccess)
		return ret;
	struct usb_endpoint *endpoint = self->ivars->endpoint;
	if (what.memory == NULL)
		return refuse(kIOReturnBadArgument, "dataBuffer is NULL");
	if (what.timeout_ms != 0 && endpoint->type == kIOUSBEndpointTypeInterrupt)
		return refuse(kIOReturnBadArgument,
			      "endpoint 0x%02x is an interrupt endpoint: its timeout must be 0",
			      endpoint->address);
	void *data = NULL;
	uint64_t available = 0;
	ret = check_direction(endpoint, what.memory);
	if (ret == kIOReturnSuccess)
		ret = memory_get_bytes(what.memory, &data, &available);
	if (ret == kIOReturnSuccess)
		ret = check_length(endpoint, what.length, available);
	if (ret != kIOReturnSuccess)
		return ret;
	what.data = data;
	struct submit_call call = { .pipe = self, .what = what };
	return usb_device_run(endpoint->device, submit, &call);
}

kern_return_t IMPL(IOUSBHostPipe, AsyncIO)
{
	if (completion == NULL)
		return refuse(kIOReturnBadArgument, "completion is NULL: use IO to wait");
	struct usb_submission what = {
		.memory = dataBuffer,
		.length = dataBufferLength,
		.completion = completion,
		.timeout_ms = completionTimeoutMs,
	};
	return start_transfer(self, what);
}

kern_return_t IMPL(IOUSBHostPipe, IO)
{
	struct usb_waiter waiter = { .status = kIOReturnSuccess };
	struct usb_submission what = {
		.memory = dataBuffer,
		.length = dataBufferLength,
		.waiter = &waiter,
		.timeout_ms = completionTimeoutMs,
	};
	if (bytesTransferred != NULL)
		*bytesTransferred = 0;
	kern_return_t ret = start_transfer(self, what);
	if (ret != kIOReturnSuccess)
		return ret;
	/* Ends with the device, its timeout, an Abort or a Close: the family sees to it. */
	while (atomic_load(&waiter.done) == 0)
		worker_wait(&waiter.done, 0, 0);
	if (bytesTransferred != NULL)
		*bytesTransferred = waiter.actual;
	return waiter.status;
}

/* --- ending and clearing --- */

static kern_return_t in_session(void *context)
{
	IOUSBHostPipe *self = *(IOUSBHostPipe **)context;
	return check_session(self);
}

struct abort_call {
	IOUSBHostPipe *pipe;
	IOReturn status;
};

static kern_return_t abort_later(void *context)
{
	struct abort_call *call = context;
	kern_return_t ret = check_session(call->pipe);
	if (ret == kIOReturnSuccess)
		endpoint_abort(call->pipe->ivars->endpoint, call->status);
	return ret;
}

kern_return_t IMPL(IOUSBHostPipe, Abort)
{
	(void)forClient; // a pipe has one session, hence one client
	if (options != kIOUSBAbortAsynchronous && options != kIOUSBAbortSynchronous)
		return refuse(kIOReturnBadArgument, "Abort: unknown options 0x%x", options);
	if (withError == kIOReturnSuccess)
		return refuse(kIOReturnBadArgument, "Abort: withError must be an error");
	kern_return_t ret = check_made(self);
	if (ret != kIOReturnSuccess)
		return ret;
	struct abort_call call = { .pipe = self, .status = withError };
	ret = usb_device_run(device_of(self), abort_later, &call);
	if (ret == kIOReturnSuccess && options == kIOUSBAbortSynchronous)
		usb_device_abort(device_of(self), self->ivars->endpoint, withError);
	return ret;
}

struct clear_call {
	IOUSBHostPipe *pipe;
	bool with_request;
};

static kern_return_t clear(void *context)
{
	struct clear_call *call = context;
	kern_return_t ret = check_session(call->pipe);
	if (ret != kIOReturnSuccess)
		return ret;
	return endpoint_clear_stall(call->pipe->ivars->endpoint, call->with_request);
}

kern_return_t IMPL(IOUSBHostPipe, ClearStall)
{
	kern_return_t ret = check_made(self);
	if (ret == kIOReturnSuccess)
		ret = usb_device_run(device_of(self), in_session, &self);
	if (ret != kIOReturnSuccess)
		return ret;
	usb_device_abort(device_of(self), self->ivars->endpoint, kIOReturnAborted);
	struct clear_call call = { .pipe = self, .with_request = withRequest };
	return usb_device_run(device_of(self), clear, &call);
}
