// SPDX-License-Identifier: Apache-2.0
/*
 * From a connected socket to a configured device: hello both ways, the peer's device_connect, the
 * descriptors, and a configuration if it has none. It runs before the socket is in the event loop
 * and waits for each answer with poll, all in all at most two seconds.
 */

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include <backends/usbredir/usbredir.h>
#include <base/cleanup.h>
#include <base/clock.h>
#include <base/reason.h>
#include <families/usb/descriptors.h>
#include <runtime/queue.h>

enum {
	REQUEST_GET_DESCRIPTOR = 6,
	TO_HOST_STANDARD_DEVICE = 0x80,
	CONFIGURATIONS_MAX = 8,
	DEVICE_SIZE = 18,
	CONFIGURATION_HEAD = 9,
};

static int wait_for(struct usb_backend *backend, const bool *flag, uint64_t deadline,
		    const char *what)
{
	struct redir_stream *stream = &backend->stream;
	for (;;) {
		redir_stream_write(stream);
		if (*flag)
			return 0;
		if (stream->fault != NULL) {
			refuse(kIOReturnNotResponding, "usbredir: %s, while waiting for %s",
			       stream->fault, what);
			return -EPROTO;
		}
		if (clock_now_ns() >= deadline) {
			refuse(kIOReturnTimeout, "usbredir: no %s from the peer within %d ms", what,
			       REDIR_GREETING_MS);
			return -ETIMEDOUT;
		}
		short events = redir_stream_has_output(stream) ? POLLIN | POLLOUT : POLLIN;
		int ready = worker_poll(stream->fd, events, deadline);
		if (ready < 0 && ready != -EINTR)
			return ready;
		if (ready > 0 && (ready & (POLLIN | POLLHUP | POLLERR)) != 0)
			redir_stream_read(stream);
	}
}

static int await(struct usb_backend *backend, uint64_t deadline, const char *what)
{
	int ret = wait_for(backend, &backend->answer.arrived, deadline, what);
	backend->answer.id = 0;
	if (ret == 0 && backend->answer.status != usb_redir_success) {
		refuse(kIOReturnDeviceError,
		       "usbredir: the device answered the request for %s with status %u", what,
		       backend->answer.status);
		return -EIO;
	}
	return ret;
}

static int read_descriptor(struct usb_backend *backend, uint8_t type, uint8_t index, uint8_t *data,
			   uint16_t size, uint32_t *actual, uint64_t deadline)
{
	struct redir_slot *slot =
		redir_slot_take(backend, TO_HOST_STANDARD_DEVICE, usb_redir_type_control);
	if (slot == NULL)
		return -ENOMEM;
	backend->answer = (struct redir_answer){ .id = slot->id, .data = data, .size = size };
	struct usb_redir_control_packet_header header = {
		.endpoint = TO_HOST_STANDARD_DEVICE,
		.request = REQUEST_GET_DESCRIPTOR,
		.requesttype = TO_HOST_STANDARD_DEVICE,
		.value = (uint16_t)(type << 8 | index),
		.length = size,
	};
	usbredirparser_send_control_packet(backend->stream.parser, slot->id, &header, NULL, 0);
	int ret = await(backend, deadline, "a descriptor");
	if (ret == 0)
		*actual = backend->answer.actual;
	return ret;
}

/* Device, then the configuration of `index`, its wTotalLength bounded by what came. */
static int read_configuration(struct usb_backend *backend, uint8_t index, uint64_t deadline)
{
	uint8_t head[CONFIGURATION_HEAD];
	uint32_t actual = 0;
	int ret = read_descriptor(backend, kIOUSBDescriptorTypeConfiguration, index, head,
				  sizeof(head), &actual, deadline);
	if (ret != 0)
		return ret;
	const IOUSBConfigurationDescriptor *configuration = (const void *)head;
	uint16_t total = configuration->wTotalLength;
	if (actual < sizeof(head) || total < sizeof(head)) {
		refuse(kIOReturnDeviceError, "usbredir: configuration %u is malformed", index);
		return -EBADMSG;
	}

	CLEANUP(freep) uint8_t *all = malloc(DEVICE_SIZE + (size_t)total);
	if (all == NULL)
		return -ENOMEM;
	memcpy(all, backend->descriptors, DEVICE_SIZE);
	ret = read_descriptor(backend, kIOUSBDescriptorTypeConfiguration, index, all + DEVICE_SIZE,
			      total, &actual, deadline);
	if (ret != 0)
		return ret;
	if (usb_configuration_bound(all + DEVICE_SIZE, actual) != 0) {
		refuse(kIOReturnDeviceError, "usbredir: configuration %u is malformed", index);
		return -EBADMSG;
	}
	free(backend->descriptors);
	backend->descriptors = all;
	all = NULL;
	backend->descriptors_size = DEVICE_SIZE + (size_t)actual;
	return 0;
}

static int read_device(struct usb_backend *backend, uint64_t deadline)
{
	uint32_t actual = 0;
	backend->descriptors = calloc(1, DEVICE_SIZE);
	if (backend->descriptors == NULL)
		return -ENOMEM;
	int ret = read_descriptor(backend, kIOUSBDescriptorTypeDevice, 0, backend->descriptors,
				  DEVICE_SIZE, &actual, deadline);
	if (ret == 0 && !usb_device_descriptor_valid(backend->descriptors, actual)) {
		refuse(kIOReturnDeviceError, "usbredir: the device descriptor is malformed");
		return -EBADMSG;
	}
	return ret;
}

static int ask_configuration(struct usb_backend *backend, uint8_t *value, uint64_t deadline)
{
	struct redir_slot *slot = redir_slot_take(backend, 0, usb_redir_type_control);
	if (slot == NULL)
		return -ENOMEM;
	backend->answer = (struct redir_answer){ .id = slot->id };
	usbredirparser_send_get_configuration(backend->stream.parser, slot->id);
	int ret = await(backend, deadline, "the configuration's number");
	*value = backend->answer.value;
	return ret;
}

static int set_configuration(struct usb_backend *backend, uint8_t value, uint64_t deadline)
{
	struct redir_slot *slot = redir_slot_take(backend, 0, usb_redir_type_control);
	if (slot == NULL)
		return -ENOMEM;
	backend->answer = (struct redir_answer){ .id = slot->id };
	struct usb_redir_set_configuration_header header = { .configuration = value };
	usbredirparser_send_set_configuration(backend->stream.parser, slot->id, &header);
	return await(backend, deadline, "a new configuration");
}

static uint8_t configuration_value(const struct usb_backend *backend)
{
	const IOUSBConfigurationDescriptor *configuration =
		(const void *)(backend->descriptors + DEVICE_SIZE);
	return configuration->bConfigurationValue;
}

/* The configuration in use is read; without one, the first is set. */
static int configure(struct usb_backend *backend, uint64_t deadline)
{
	uint8_t n = ((const IOUSBDeviceDescriptor *)(const void *)backend->descriptors)
			    ->bNumConfigurations;
	uint8_t current = 0;
	int ret = ask_configuration(backend, &current, deadline);
	for (uint8_t i = 0; ret == 0 && i < n && i < CONFIGURATIONS_MAX; i++) {
		ret = read_configuration(backend, i, deadline);
		if (ret == 0 && current == 0)
			return set_configuration(backend, configuration_value(backend), deadline);
		if (ret == 0 && current == configuration_value(backend))
			return 0;
	}
	if (ret == 0) {
		refuse(kIOReturnDeviceError, "usbredir: no descriptor for configuration %u",
		       current);
		ret = -EBADMSG;
	}
	return ret;
}

int redir_greet(struct usb_backend *backend)
{
	uint64_t deadline = clock_deadline_ns(REDIR_GREETING_MS);
	int ret = wait_for(backend, &backend->connected, deadline, "device");
	if (ret == 0)
		ret = read_device(backend, deadline);
	if (ret == 0)
		ret = configure(backend, deadline);
	return ret;
}
