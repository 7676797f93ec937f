// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <usbredirparser.h>

#include <base/cleanup.h>
#include <base/log.h>
#include <devices/usb_bulk/peer.h>

/* --- the socket --- */

static int on_read(void *context, uint8_t *data, int count)
{
	struct peer *peer = context;
	if (peer->over || usbredirparser_get_bufferered_output_size(peer->parser) > PEER_OUTPUT_MAX)
		return 0;
	ssize_t n = recv(peer->fd, data, (size_t)count, MSG_DONTWAIT);
	if (n > 0)
		return (int)n;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	peer->over = true;
	return -1;
}

static int on_write(void *context, uint8_t *data, int count)
{
	struct peer *peer = context;
	ssize_t n = send(peer->fd, data, (size_t)count, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n >= 0)
		return (int)n;
	if (errno == EAGAIN || errno == EINTR)
		return 0;
	peer->over = true;
	return -1;
}

static void on_log(void *context, int level, const char *msg)
{
	(void)context;
	if (level == usbredirparser_error)
		log_warn("%s", msg);
}

/* --- greeting --- */

static void send_interfaces(struct peer *peer)
{
	struct usb_redir_interface_info_header interfaces = { 0 };
	if (peer->device.configuration != 0) {
		interfaces.interface_count = 1;
		interfaces.interface_class[0] = 0xff;
		interfaces.interface_protocol[0] = peer->device.identity.sequence ? 1 : 0;
	}
	usbredirparser_send_interface_info(peer->parser, &interfaces);
}

/* Entry i is endpoint i for OUT, 16 + i for IN. */
static void send_endpoints(struct peer *peer)
{
	struct usb_redir_ep_info_header endpoints;
	memset(&endpoints, 0, sizeof(endpoints));
	memset(endpoints.type, usb_redir_type_invalid, sizeof(endpoints.type));
	endpoints.type[0] = endpoints.type[16] = usb_redir_type_control;
	endpoints.max_packet_size[0] = endpoints.max_packet_size[16] = 64;
	if (peer->device.configuration != 0) {
		endpoints.type[1] = endpoints.type[17] = usb_redir_type_bulk;
		endpoints.max_packet_size[1] = endpoints.max_packet_size[17] = BULK_PACKET;
	}
	usbredirparser_send_ep_info(peer->parser, &endpoints);
}

static void on_hello(void *context, struct usb_redir_hello_header *hello)
{
	struct peer *peer = context;
	struct usb_redir_device_connect_header device = {
		.speed = usb_redir_speed_high,
		.vendor_id = peer->device.identity.vendor,
		.product_id = peer->device.identity.product,
		.device_version_bcd = 0x0100,
	};
	(void)hello;
	send_interfaces(peer);
	send_endpoints(peer);
	usbredirparser_send_device_connect(peer->parser, &device);
}

/* --- control --- */

static void on_reset(void *context)
{
	struct peer *peer = context;
	peer->device.halted_in = peer->device.halted_out = false;
}

static void send_configuration(struct peer *peer, uint64_t id, uint8_t status)
{
	struct usb_redir_configuration_status_header header = {
		.status = status,
		.configuration = peer->device.configuration,
	};
	usbredirparser_send_configuration_status(peer->parser, id, &header);
}

static void on_set_configuration(void *context, uint64_t id,
				 struct usb_redir_set_configuration_header *header)
{
	struct peer *peer = context;
	bool known = bulk_device_configure(&peer->device, header->configuration);
	if (known) {
		send_interfaces(peer);
		send_endpoints(peer);
	}
	send_configuration(peer, id, known ? usb_redir_success : usb_redir_inval);
}

static void on_get_configuration(void *context, uint64_t id)
{
	send_configuration(context, id, usb_redir_success);
}

static void send_alt_setting(struct peer *peer, uint64_t id, uint8_t interface, bool known)
{
	struct usb_redir_alt_setting_status_header header = {
		.status = known ? usb_redir_success : usb_redir_inval,
		.interface = interface,
	};
	usbredirparser_send_alt_setting_status(peer->parser, id, &header);
}

static void on_set_alt_setting(void *context, uint64_t id,
			       struct usb_redir_set_alt_setting_header *header)
{
	send_alt_setting(context, id, header->interface,
			 header->interface == 0 && header->alt == 0);
}

static void on_get_alt_setting(void *context, uint64_t id,
			       struct usb_redir_get_alt_setting_header *header)
{
	send_alt_setting(context, id, header->interface, header->interface == 0);
}

static void on_control(void *context, uint64_t id, struct usb_redir_control_packet_header *header,
		       uint8_t *data, int size)
{
	struct peer *peer = context;
	const struct bulk_setup setup = {
		.request_type = header->requesttype,
		.request = header->request,
		.value = header->value,
		.index = header->index,
		.length = header->length,
	};
	(void)size; // no request of this device has data to read
	usbredirparser_free_packet_data(peer->parser, data);

	uint8_t reply[512];
	int length = bulk_device_control(&peer->device, &setup, reply);
	bool in = (header->endpoint & 0x80) != 0;
	header->status = length == BULK_STALL ? usb_redir_stall : usb_redir_success;
	if (length < 0 || (!in && length > 0))
		length = 0;
	if (in || header->status != usb_redir_success)
		header->length = (uint16_t)length;
	usbredirparser_send_control_packet(peer->parser, id, header, length > 0 ? reply : NULL,
					   length);
}

/* --- bulk --- */

static void send_bulk(struct peer *peer, uint64_t id, uint8_t endpoint, uint8_t status,
		      size_t length)
{
	bool in = (endpoint & 0x80) != 0;
	struct usb_redir_bulk_packet_header header = {
		.endpoint = endpoint,
		.status = status,
		.length = (uint16_t)length,
		.length_high = (uint16_t)(length >> 16),
	};
	usbredirparser_send_bulk_packet(peer->parser, id, &header,
					in && length > 0 ? peer->buffer : NULL,
					in ? (int)length : 0);
}

static void send_garbage(struct peer *peer)
{
	uint8_t noise[256];
	memset(noise, 0xa5, sizeof(noise));
	usbredirparser_do_write(peer->parser); // what was queued goes first
	on_write(peer, noise, sizeof(noise));
}

/* Whether this IN transfer was answered badly instead of well. */
static bool misbehave(struct peer *peer, uint64_t id, size_t length)
{
	const struct misbehaviour *m = &peer->misbehaviour;
	if (m->kind == BEHAVE || peer->transfers < m->after)
		return false;
	switch (m->kind) {
	case HANG_UP:
		peer->over = true;
		return true;
	case GARBAGE:
		send_garbage(peer);
		return true;
	case LONG_REPLY:
		memset(peer->buffer, 0, length + BULK_PACKET);
		send_bulk(peer, id, BULK_IN, usb_redir_success, length + BULK_PACKET);
		return true;
	case WRONG_ID:
		send_bulk(peer, id ^ 0x5a5a0000, BULK_IN, usb_redir_success, 0);
		return true;
	case STALL:
		if (peer->transfers == m->after)
			peer->device.halted_in = true;
		return false;
	case HOLD:
		if (peer->n_held < PEER_HELD_MAX)
			peer->held[peer->n_held++] = id;
		return true;
	default:
		return true;
	}
}

static void on_bulk_in(struct peer *peer, uint64_t id, size_t length)
{
	if (length + BULK_PACKET > sizeof(peer->buffer)) {
		send_bulk(peer, id, BULK_IN, usb_redir_inval, 0);
		return;
	}
	if (misbehave(peer, id, length))
		return;
	bool ok = bulk_device_read(&peer->device, peer->buffer, length);
	peer->transfers++;
	send_bulk(peer, id, BULK_IN, ok ? usb_redir_success : usb_redir_stall, ok ? length : 0);
}

static void on_bulk(void *context, uint64_t id, struct usb_redir_bulk_packet_header *header,
		    uint8_t *data, int size)
{
	struct peer *peer = context;
	size_t length = (size_t)header->length_high << 16 | header->length;
	if (header->endpoint == BULK_IN) {
		on_bulk_in(peer, id, length);
	} else if (header->endpoint == BULK_OUT) {
		bool ok = bulk_device_write(&peer->device, data, (size_t)size);
		send_bulk(peer, id, BULK_OUT, ok ? usb_redir_success : usb_redir_stall,
			  ok ? (size_t)size : 0);
	} else {
		send_bulk(peer, id, header->endpoint, usb_redir_inval, 0);
	}
	usbredirparser_free_packet_data(peer->parser, data);
}

/* Only a held request can be cancelled: all others have their answer on the way. */
static void on_cancel(void *context, uint64_t id)
{
	struct peer *peer = context;
	for (unsigned i = 0; i < peer->n_held; i++) {
		if (peer->held[i] != id)
			continue;
		peer->held[i] = peer->held[--peer->n_held];
		send_bulk(peer, id, BULK_IN, usb_redir_cancelled, 0);
		return;
	}
}

/* --- what this device does not have --- */

static void on_iso_start(void *context, uint64_t id,
			 struct usb_redir_start_iso_stream_header *header)
{
	struct peer *peer = context;
	struct usb_redir_iso_stream_status_header reply = { usb_redir_inval, header->endpoint };
	usbredirparser_send_iso_stream_status(peer->parser, id, &reply);
}

static void on_iso_stop(void *context, uint64_t id, struct usb_redir_stop_iso_stream_header *header)
{
	struct peer *peer = context;
	struct usb_redir_iso_stream_status_header reply = { usb_redir_inval, header->endpoint };
	usbredirparser_send_iso_stream_status(peer->parser, id, &reply);
}

static void on_interrupt_start(void *context, uint64_t id,
			       struct usb_redir_start_interrupt_receiving_header *header)
{
	struct peer *peer = context;
	struct usb_redir_interrupt_receiving_status_header reply = { usb_redir_inval,
								     header->endpoint };
	usbredirparser_send_interrupt_receiving_status(peer->parser, id, &reply);
}

static void on_interrupt_stop(void *context, uint64_t id,
			      struct usb_redir_stop_interrupt_receiving_header *header)
{
	struct peer *peer = context;
	struct usb_redir_interrupt_receiving_status_header reply = { usb_redir_inval,
								     header->endpoint };
	usbredirparser_send_interrupt_receiving_status(peer->parser, id, &reply);
}

static void send_streams(struct peer *peer, uint64_t id, uint32_t endpoints)
{
	struct usb_redir_bulk_streams_status_header reply = {
		.endpoints = endpoints,
		.status = usb_redir_inval,
	};
	usbredirparser_send_bulk_streams_status(peer->parser, id, &reply);
}

static void on_streams_alloc(void *context, uint64_t id,
			     struct usb_redir_alloc_bulk_streams_header *header)
{
	send_streams(context, id, header->endpoints);
}

static void on_streams_free(void *context, uint64_t id,
			    struct usb_redir_free_bulk_streams_header *header)
{
	send_streams(context, id, header->endpoints);
}

static void on_iso(void *context, uint64_t id, struct usb_redir_iso_packet_header *header,
		   uint8_t *data, int size)
{
	struct peer *peer = context;
	(void)id;
	(void)header;
	(void)size;
	usbredirparser_free_packet_data(peer->parser, data);
}

static void on_interrupt(void *context, uint64_t id,
			 struct usb_redir_interrupt_packet_header *header, uint8_t *data, int size)
{
	struct peer *peer = context;
	(void)size;
	usbredirparser_free_packet_data(peer->parser, data);
	header->status = usb_redir_inval;
	header->length = 0;
	usbredirparser_send_interrupt_packet(peer->parser, id, header, NULL, 0);
}

static void on_nothing(void *context)
{
	(void)context;
}

static void on_filter(void *context, struct usbredirfilter_rule *rules, int count)
{
	(void)context;
	(void)count;
	free(rules);
}

static void on_receiving_start(void *context, uint64_t id,
			       struct usb_redir_start_bulk_receiving_header *header)
{
	(void)context; // refused by the parser: the capability was not announced
	(void)id;
	(void)header;
}

static void on_receiving_stop(void *context, uint64_t id,
			      struct usb_redir_stop_bulk_receiving_header *header)
{
	(void)context;
	(void)id;
	(void)header;
}

/* The parser calls what a packet names unchecked, so every packet to this side has a callback. */
static void set_callbacks(struct usbredirparser *parser)
{
	parser->log_func = on_log;
	parser->read_func = on_read;
	parser->write_func = on_write;
	parser->hello_func = on_hello;
	parser->reset_func = on_reset;
	parser->set_configuration_func = on_set_configuration;
	parser->get_configuration_func = on_get_configuration;
	parser->set_alt_setting_func = on_set_alt_setting;
	parser->get_alt_setting_func = on_get_alt_setting;
	parser->control_packet_func = on_control;
	parser->bulk_packet_func = on_bulk;
	parser->cancel_data_packet_func = on_cancel;
	parser->start_iso_stream_func = on_iso_start;
	parser->stop_iso_stream_func = on_iso_stop;
	parser->iso_packet_func = on_iso;
	parser->start_interrupt_receiving_func = on_interrupt_start;
	parser->stop_interrupt_receiving_func = on_interrupt_stop;
	parser->interrupt_packet_func = on_interrupt;
	parser->alloc_bulk_streams_func = on_streams_alloc;
	parser->free_bulk_streams_func = on_streams_free;
	parser->start_bulk_receiving_func = on_receiving_start;
	parser->stop_bulk_receiving_func = on_receiving_stop;
	parser->filter_reject_func = on_nothing;
	parser->filter_filter_func = on_filter;
	parser->device_disconnect_ack_func = on_nothing;
}

/* --- life --- */

struct peer *peer_new(int fd, const struct bulk_identity *identity,
		      const struct misbehaviour *misbehaviour)
{
	struct peer *peer = calloc(1, sizeof(*peer));
	struct usbredirparser *parser = peer != NULL ? usbredirparser_create() : NULL;
	if (parser == NULL) {
		free(peer);
		close_fdp(&fd);
		return NULL;
	}
	peer->fd = fd;
	peer->parser = parser;
	peer->misbehaviour = *misbehaviour;
	bulk_device_init(&peer->device, identity);

	uint32_t caps[USB_REDIR_CAPS_SIZE] = { 0 };
	usbredirparser_caps_set_cap(caps, usb_redir_cap_connect_device_version);
	usbredirparser_caps_set_cap(caps, usb_redir_cap_device_disconnect_ack);
	usbredirparser_caps_set_cap(caps, usb_redir_cap_ep_info_max_packet_size);
	usbredirparser_caps_set_cap(caps, usb_redir_cap_64bits_ids);
	usbredirparser_caps_set_cap(caps, usb_redir_cap_32bits_bulk_length);
	parser->priv = peer;
	set_callbacks(parser);
	usbredirparser_init(parser, "OpenDext bulk device", caps, USB_REDIR_CAPS_SIZE,
			    usbredirparser_fl_usb_host);
	return peer;
}

struct peer *peer_free(struct peer *peer)
{
	if (peer == NULL)
		return NULL;
	log_info("connection over: %llu transfers read, %llu bytes written, %llu of them wrong",
		 (unsigned long long)peer->transfers, (unsigned long long)peer->device.bytes_out,
		 (unsigned long long)peer->device.errors_out);
	usbredirparser_destroy(peer->parser);
	close_fdp(&peer->fd);
	free(peer);
	return NULL;
}

short peer_poll_events(const struct peer *peer)
{
	short events = 0;
	if (usbredirparser_get_bufferered_output_size(peer->parser) <= PEER_OUTPUT_MAX)
		events |= POLLIN;
	if (usbredirparser_has_data_to_write(peer->parser) > 0)
		events |= POLLOUT;
	return events;
}

bool peer_serve(struct peer *peer, short ready)
{
	if (ready & (POLLIN | POLLHUP | POLLERR)) {
		int ret = usbredirparser_do_read(peer->parser);
		if (ret == usbredirparser_read_parse_error)
			peer->over = true;
	}
	if (!peer->over && usbredirparser_has_data_to_write(peer->parser) > 0)
		usbredirparser_do_write(peer->parser);
	return !peer->over;
}
