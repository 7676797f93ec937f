// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include <backends/usbredir/usbredir.h>
#include <base/cleanup.h>
#include <base/log.h>
#include <base/reason.h>
#include <runtime/queue.h>

enum {
	TRANSFER_MAX = STREAM_PACKET_MAX - 64, // a packet of it stays below the stream's limit
	OUTPUT_MAX = 8 << 20,                  // queued for a peer that does not read
	REQUEST_CLEAR_FEATURE = 1,
	TO_ENDPOINT_STANDARD = 0x02,
};

/* --- slots --- */

static unsigned endpoint_index(uint8_t endpoint)
{
	return (endpoint & 0x0fU) | (endpoint & 0x80U ? 16U : 0U);
}

struct redir_slot *redir_slot_take(struct usb_backend *backend, uint8_t endpoint, uint8_t type)
{
	unsigned index = endpoint_index(endpoint);
	if (backend->slots[index] == NULL)
		backend->slots[index] = calloc(REDIR_SLOTS, sizeof(struct redir_slot));
	if (backend->slots[index] == NULL)
		return NULL;
	for (unsigned i = 0; i < REDIR_SLOTS; i++) {
		struct redir_slot *slot = &backend->slots[index][i];
		if (slot->busy)
			continue;
		if (++backend->uses == 0)
			backend->uses = 1; // an id is never 0
		*slot = (struct redir_slot){
			.id = (uint32_t)backend->uses << 16 | index << 8 | i,
			.endpoint = endpoint,
			.type = type,
			.busy = true,
		};
		list_append(&backend->pending, &slot->link);
		return slot;
	}
	return NULL;
}

void redir_slot_release(struct redir_slot *slot)
{
	list_remove(&slot->link);
	slot->busy = false;
	slot->transfer = NULL;
}

/* The slot that an answer names; NULL: the peer is at fault, and it is noted. */
static struct redir_slot *find_slot(struct usb_backend *backend, uint64_t id, uint8_t endpoint,
				    uint8_t type)
{
	unsigned index = (unsigned)(id >> 8 & 0xff), i = (unsigned)(id & 0xff);
	struct redir_slot *slot = NULL;
	if (index < REDIR_ENDPOINTS && i < REDIR_SLOTS && backend->slots[index] != NULL)
		slot = &backend->slots[index][i];
	if (slot == NULL || !slot->busy || slot->id != id) {
		redir_stream_fail(&backend->stream, "the peer answered a request nobody made");
		return NULL;
	}
	if (slot->endpoint != endpoint || slot->type != type) {
		redir_stream_fail(&backend->stream, "the peer answered on the wrong endpoint");
		return NULL;
	}
	return slot;
}

/* --- answers --- */

static IOReturn from_status(uint8_t status)
{
	switch (status) {
	case usb_redir_success:
		return kIOReturnSuccess;
	case usb_redir_cancelled:
		return kIOReturnAborted;
	case usb_redir_inval:
		return kIOReturnDeviceError;
	case usb_redir_stall:
		return kUSBHostReturnPipeStalled;
	case usb_redir_timeout:
		return kIOReturnNotResponding;
	case usb_redir_babble:
		return kIOReturnOverrun;
	default:
		return kIOReturnIOError;
	}
}

static void finish(struct redir_slot *slot, IOReturn status, uint32_t actual)
{
	struct usb_transfer *transfer = slot->transfer;
	redir_slot_release(slot);
	if (transfer == NULL)
		return;
	transfer->status = status;
	transfer->actual = actual;
	transfer->done(transfer);
}

/* An answer to a transfer: of a read it has `data`, of a write only how much was written. */
static void on_transfer_answer(struct usb_backend *backend, uint64_t id, uint8_t endpoint,
			       uint8_t type, uint8_t status, uint32_t length, const uint8_t *data)
{
	struct redir_slot *slot = find_slot(backend, id, endpoint, type);
	if (slot == NULL)
		return;
	if (length > slot->transfer->length) {
		redir_stream_fail(&backend->stream, "the peer sent more than it was asked for");
		return;
	}
	if (data != NULL)
		memcpy(slot->transfer->data, data, length);
	else if ((endpoint & kIOUSBEndpointDirectionIn) != 0)
		length = 0;
	finish(slot, from_status(status), length);
}

static struct usb_backend *backend_of(void *context)
{
	struct redir_stream *stream = context;
	return container_of(stream, struct usb_backend, stream);
}

static void on_bulk_packet(void *context, uint64_t id, struct usb_redir_bulk_packet_header *header,
			   uint8_t *data, int size)
{
	struct usb_backend *backend = backend_of(context);
	uint32_t length = data != NULL ? (uint32_t)size
				       : (uint32_t)header->length_high << 16 | header->length;
	on_transfer_answer(backend, id, header->endpoint, usb_redir_type_bulk, header->status,
			   length, data);
	usbredirparser_free_packet_data(backend->stream.parser, data);
}

static void on_interrupt_packet(void *context, uint64_t id,
				struct usb_redir_interrupt_packet_header *header, uint8_t *data,
				int size)
{
	struct usb_backend *backend = backend_of(context);
	uint32_t length = data != NULL ? (uint32_t)size : header->length;
	on_transfer_answer(backend, id, header->endpoint, usb_redir_type_interrupt, header->status,
			   length, data);
	usbredirparser_free_packet_data(backend->stream.parser, data);
}

/* The greeting waits for this answer; afterwards only a failure is of interest. */
static void on_own_answer(struct usb_backend *backend, uint64_t id, uint8_t status, uint8_t value,
			  const uint8_t *data, uint32_t size)
{
	struct redir_answer *answer = &backend->answer;
	if (answer->id != id) {
		if (status != usb_redir_success)
			log_warn("usbredir: the device refused to clear a halt (status %u)",
				 status);
		return;
	}
	if (size > answer->size) {
		redir_stream_fail(&backend->stream, "the peer sent more than it was asked for");
		return;
	}
	if (size > 0)
		memcpy(answer->data, data, size);
	answer->actual = size;
	answer->status = status;
	answer->value = value;
	answer->arrived = true;
}

static void on_control_packet(void *context, uint64_t id,
			      struct usb_redir_control_packet_header *header, uint8_t *data,
			      int size)
{
	struct usb_backend *backend = backend_of(context);
	struct redir_slot *slot = find_slot(backend, id, header->endpoint, usb_redir_type_control);
	if (slot != NULL) {
		redir_slot_release(slot);
		on_own_answer(backend, id, header->status, 0, data,
			      data != NULL ? (uint32_t)size : 0);
	}
	usbredirparser_free_packet_data(backend->stream.parser, data);
}

static void on_configuration_status(void *context, uint64_t id,
				    struct usb_redir_configuration_status_header *header)
{
	struct usb_backend *backend = backend_of(context);
	struct redir_slot *slot = find_slot(backend, id, 0, usb_redir_type_control);
	if (slot == NULL)
		return;
	redir_slot_release(slot);
	on_own_answer(backend, id, header->status, header->configuration, NULL, 0);
}

/* --- what else a peer may say --- */

static void on_device_connect(void *context, struct usb_redir_device_connect_header *header)
{
	struct usb_backend *backend = backend_of(context);
	(void)header; // the descriptors say the same, and more
	if (backend->connected)
		redir_stream_fail(&backend->stream, "the peer connected a second device");
	backend->connected = true;
}

static void on_device_disconnect(void *context)
{
	redir_stream_fail(context, "the device was unplugged");
}

static void on_interface_info(void *context, struct usb_redir_interface_info_header *header)
{
	(void)context;
	(void)header;
}

static void on_ep_info(void *context, struct usb_redir_ep_info_header *header)
{
	(void)context;
	(void)header;
}

static void on_hello(void *context, struct usb_redir_hello_header *header)
{
	(void)context;
	(void)header;
}

static void unasked(void *context)
{
	redir_stream_fail(context, "the peer answered a request nobody made");
}

static void on_alt_setting_status(void *context, uint64_t id,
				  struct usb_redir_alt_setting_status_header *header)
{
	(void)id;
	(void)header;
	unasked(context);
}

static void on_iso_stream_status(void *context, uint64_t id,
				 struct usb_redir_iso_stream_status_header *header)
{
	(void)id;
	(void)header;
	unasked(context);
}

static void
on_interrupt_receiving_status(void *context, uint64_t id,
			      struct usb_redir_interrupt_receiving_status_header *header)
{
	(void)id;
	(void)header;
	unasked(context);
}

static void on_bulk_streams_status(void *context, uint64_t id,
				   struct usb_redir_bulk_streams_status_header *header)
{
	(void)id;
	(void)header;
	unasked(context);
}

static void on_bulk_receiving_status(void *context, uint64_t id,
				     struct usb_redir_bulk_receiving_status_header *header)
{
	(void)id;
	(void)header;
	unasked(context);
}

static void on_filter(void *context, struct usbredirfilter_rule *rules, int count)
{
	(void)count;
	free(rules);
	unasked(context);
}

static void on_iso_packet(void *context, uint64_t id, struct usb_redir_iso_packet_header *header,
			  uint8_t *data, int size)
{
	(void)id;
	(void)header;
	(void)size;
	usbredirparser_free_packet_data(backend_of(context)->stream.parser, data);
	unasked(context);
}

static void on_buffered_bulk_packet(void *context, uint64_t id,
				    struct usb_redir_buffered_bulk_packet_header *header,
				    uint8_t *data, int size)
{
	(void)id;
	(void)header;
	(void)size;
	usbredirparser_free_packet_data(backend_of(context)->stream.parser, data);
	unasked(context);
}

/* Every packet that the parser lets through to this side has a callback: it calls them unchecked.
 */
static void set_callbacks(struct usbredirparser *parser)
{
	parser->hello_func = on_hello;
	parser->device_connect_func = on_device_connect;
	parser->device_disconnect_func = on_device_disconnect;
	parser->interface_info_func = on_interface_info;
	parser->ep_info_func = on_ep_info;
	parser->configuration_status_func = on_configuration_status;
	parser->alt_setting_status_func = on_alt_setting_status;
	parser->iso_stream_status_func = on_iso_stream_status;
	parser->interrupt_receiving_status_func = on_interrupt_receiving_status;
	parser->bulk_streams_status_func = on_bulk_streams_status;
	parser->bulk_receiving_status_func = on_bulk_receiving_status;
	parser->filter_filter_func = on_filter;
	parser->control_packet_func = on_control_packet;
	parser->bulk_packet_func = on_bulk_packet;
	parser->interrupt_packet_func = on_interrupt_packet;
	parser->iso_packet_func = on_iso_packet;
	parser->buffered_bulk_packet_func = on_buffered_bulk_packet;
}

/* --- events --- */

static void end_pending(struct usb_backend *backend, IOReturn status)
{
	while (!list_empty(&backend->pending))
		finish(container_of(backend->pending.next, struct redir_slot, link), status, 0);
}

static void wait_for_events(struct usb_backend *backend)
{
	uint32_t events = redir_stream_has_output(&backend->stream) ? EPOLLIN | EPOLLOUT : EPOLLIN;
	if (events != backend->events)
		fd_source_set_events(backend->source, events);
	backend->events = events;
}

static void on_ready(void *context, uint32_t ready)
{
	struct usb_backend *backend = context;
	if (ready & EPOLLOUT)
		redir_stream_write(&backend->stream);
	if (ready & (EPOLLIN | EPOLLHUP | EPOLLERR))
		redir_stream_read(&backend->stream);
	redir_stream_write(&backend->stream); // what the callbacks queued
	if (backend->stream.fault == NULL) {
		wait_for_events(backend);
		return;
	}
	backend->lost = true;
	backend->source = fd_source_close(backend->source);
	end_pending(backend, kIOReturnNoDevice);
	char reason[REASON_MAX];
	snprintf(reason, sizeof(reason), "usbredir: %s", backend->stream.fault);
	redir_stream_deinit(&backend->stream);
	backend->on_lost(backend->context, reason);
}

/* --- the backend --- */

static void redir_close(struct usb_backend *backend)
{
	if (backend->source != NULL)
		backend->source = fd_source_close(backend->source);
	end_pending(backend, kIOReturnAborted);
	redir_stream_deinit(&backend->stream);
	for (unsigned i = 0; i < REDIR_ENDPOINTS; i++)
		free(backend->slots[i]);
	free(backend->descriptors);
	OSSafeReleaseNULL(backend->queue);
	free(backend);
}

static int begin(struct usb_backend *backend, int fd)
{
	int ret = redir_stream_init(&backend->stream, fd, set_callbacks);
	if (ret == 0)
		ret = redir_greet(backend);
	if (ret == 0)
		ret = fd_source_open(&backend->source, backend->stream.fd, EPOLLIN, backend->queue,
				     on_ready, backend);
	backend->events = EPOLLIN;
	return ret;
}

static int redir_open(struct usb_backend **out, struct device_handover *handover,
		      void (*on_lost)(void *context, const char *reason), void *context)
{
	int fd = handover_take_fd(handover, 0);
	if (fd < 0) {
		refuse(kIOReturnBadArgument, "usbredir: no socket was handed over");
		return -EBADF;
	}
	struct usb_backend *backend = calloc(1, sizeof(*backend));
	if (backend == NULL) {
		close_fdp(&fd);
		return -ENOMEM;
	}
	list_init(&backend->pending);
	backend->on_lost = on_lost;
	backend->context = context;
	OSObjectRetain(handover->queue);
	backend->queue = handover->queue;
	int ret = begin(backend, fd);
	if (ret != 0) {
		redir_close(backend);
		return ret;
	}
	*out = backend;
	return 0;
}

static int redir_copy_descriptors(struct usb_backend *backend, uint8_t **data, size_t *size)
{
	uint8_t *copy = malloc(backend->descriptors_size);
	if (copy == NULL)
		return -ENOMEM;
	memcpy(copy, backend->descriptors, backend->descriptors_size);
	*data = copy;
	*size = backend->descriptors_size;
	return 0;
}

/* The connection is the claim: a peer serves one user. */
static int redir_claim(struct usb_backend *backend, uint8_t interface)
{
	(void)interface;
	return backend->lost ? -ENODEV : 0;
}

static int redir_release(struct usb_backend *backend, uint8_t interface)
{
	(void)backend;
	(void)interface;
	return 0;
}

static int check_transfer(struct usb_backend *backend, const struct usb_transfer *transfer)
{
	bool in = (transfer->endpoint & kIOUSBEndpointDirectionIn) != 0;
	bool interrupt = transfer->type == kIOUSBEndpointTypeInterrupt;
	if (backend->lost || backend->stream.fault != NULL) {
		refuse(kIOReturnNoDevice, "usbredir: %s",
		       backend->lost ? "the device is gone" : backend->stream.fault);
		return -ENODEV;
	}
	if (interrupt && in) {
		refuse(kIOReturnUnsupported,
		       "usbredir: reading from interrupt endpoints is not supported yet");
		return -EOPNOTSUPP;
	}
	uint32_t max = TRANSFER_MAX;
	if (interrupt ||
	    !usbredirparser_peer_has_cap(backend->stream.parser, usb_redir_cap_32bits_bulk_length))
		max = UINT16_MAX;
	if (transfer->length > max) {
		refuse(kIOReturnMessageTooLarge,
		       "usbredir: %u bytes in one transfer, this peer takes at most %u",
		       transfer->length, max);
		return -EMSGSIZE;
	}
	if (usbredirparser_get_bufferered_output_size(backend->stream.parser) > OUTPUT_MAX) {
		refuse(kIOReturnNoResources, "usbredir: the peer does not read what it is sent");
		return -ENOBUFS;
	}
	return 0;
}

static void send_transfer(struct usb_backend *backend, const struct redir_slot *slot)
{
	struct usb_transfer *transfer = slot->transfer;
	bool out = (transfer->endpoint & kIOUSBEndpointDirectionIn) == 0;
	uint8_t *data = out && transfer->length > 0 ? transfer->data : NULL;
	int size = data != NULL ? (int)transfer->length : 0;
	if (slot->type == usb_redir_type_interrupt) {
		struct usb_redir_interrupt_packet_header header = {
			.endpoint = transfer->endpoint,
			.length = (uint16_t)transfer->length,
		};
		usbredirparser_send_interrupt_packet(backend->stream.parser, slot->id, &header,
						     data, size);
		return;
	}
	struct usb_redir_bulk_packet_header header = {
		.endpoint = transfer->endpoint,
		.length = (uint16_t)transfer->length,
		.length_high = (uint16_t)(transfer->length >> 16),
	};
	usbredirparser_send_bulk_packet(backend->stream.parser, slot->id, &header, data, size);
}

static int redir_submit(struct usb_backend *backend, struct usb_transfer *transfer)
{
	int ret = check_transfer(backend, transfer);
	if (ret != 0)
		return ret;
	struct redir_slot *slot = redir_slot_take(backend, transfer->endpoint, transfer->type);
	if (slot == NULL) {
		refuse(kIOReturnNoResources, "usbredir: endpoint 0x%02x has %d packets outstanding",
		       transfer->endpoint, REDIR_SLOTS);
		return -ENOBUFS;
	}
	slot->transfer = transfer;
	transfer->backend = slot;
	int queued = usbredirparser_has_data_to_write(backend->stream.parser);
	send_transfer(backend, slot);
	if (usbredirparser_has_data_to_write(backend->stream.parser) == queued) {
		redir_slot_release(slot); // the parser drops what it has no memory for
		return -ENOMEM;
	}
	redir_stream_write(&backend->stream);
	wait_for_events(backend);
	return 0;
}

static void redir_cancel(struct usb_backend *backend, struct usb_transfer *transfer)
{
	struct redir_slot *slot = transfer->backend;
	if (backend->lost || slot->cancelled)
		return;
	slot->cancelled = true;
	usbredirparser_send_cancel_data_packet(backend->stream.parser, slot->id);
	redir_stream_write(&backend->stream);
	wait_for_events(backend);
}

/* The peer clears the halt before it takes what is sent after: packets are in order. */
static int redir_clear_halt(struct usb_backend *backend, uint8_t endpoint)
{
	if (backend->lost)
		return -ENODEV;
	struct redir_slot *slot = redir_slot_take(backend, 0, usb_redir_type_control);
	if (slot == NULL)
		return -ENOBUFS;
	struct usb_redir_control_packet_header header = {
		.request = REQUEST_CLEAR_FEATURE,
		.requesttype = TO_ENDPOINT_STANDARD,
		.index = endpoint,
	};
	usbredirparser_send_control_packet(backend->stream.parser, slot->id, &header, NULL, 0);
	redir_stream_write(&backend->stream);
	wait_for_events(backend);
	return 0;
}

static const struct usb_backend_ops usbredir_backend = {
	.name = "usbredir",
	.open = redir_open,
	.close = redir_close,
	.copy_descriptors = redir_copy_descriptors,
	.claim = redir_claim,
	.release = redir_release,
	.submit = redir_submit,
	.cancel = redir_cancel,
	.clear_halt = redir_clear_halt,
};

__attribute__((constructor)) static void register_backend(void)
{
	usb_backend_register(&usbredir_backend);
}
