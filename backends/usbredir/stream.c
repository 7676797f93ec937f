// SPDX-License-Identifier: Apache-2.0

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include <backends/usbredir/stream.h>
#include <base/cleanup.h>
#include <base/log.h>

enum {
	HEADER_SHORT = 12, // 32-bit ids, and always the hello
	HEADER_LONG = 16,
	HELLO_MAX = 64 + 16 * 4,
	READS_PER_CALL = 32,
};

void redir_stream_fail(struct redir_stream *stream, const char *fault)
{
	if (stream->fault == NULL)
		stream->fault = fault;
}

static bool known_type(uint32_t type)
{
	return type <= usb_redir_bulk_receiving_status ||
	       (type >= usb_redir_control_packet && type <= usb_redir_buffered_bulk_packet);
}

static size_t header_size(struct redir_stream *stream)
{
	if (!stream->seen_hello ||
	    !usbredirparser_peer_has_cap(stream->parser, usb_redir_cap_64bits_ids))
		return HEADER_SHORT;
	return HEADER_LONG;
}

/* Why a packet with this header must not reach the parser; NULL: it may. */
static const char *vet(const struct redir_stream *stream, uint32_t type, uint32_t length)
{
	if (!stream->seen_hello && type != usb_redir_hello)
		return "the peer sent a packet before its hello";
	if (stream->seen_hello && type == usb_redir_hello)
		return "the peer said hello twice";
	if (!known_type(type))
		return "the peer sent a packet of an unknown type";
	if (type == usb_redir_hello && length > HELLO_MAX)
		return "the peer's hello is too long";
	if (length > STREAM_PACKET_MAX)
		return "the peer sent a packet of more than 1 MiB";
	return NULL;
}

/* Look at the next packet's header. False: it is not all here yet, or it is refused. */
static bool admit_packet(struct redir_stream *stream)
{
	size_t size = header_size(stream);
	if (stream->end - stream->start < size)
		return false;
	uint32_t type, length;
	memcpy(&type, stream->buffer + stream->start, sizeof(type));
	memcpy(&length, stream->buffer + stream->start + sizeof(type), sizeof(length));
	const char *refusal = vet(stream, type, length);
	if (refusal != NULL) {
		redir_stream_fail(stream, refusal);
		return false;
	}
	stream->seen_hello = true;
	stream->packet_left = (uint32_t)size + length;
	return true;
}

/* The parser asks for bytes: never more than what is left of an admitted packet. */
static int on_parser_read(void *context, uint8_t *data, int count)
{
	struct redir_stream *stream = context;
	if (stream->fault == NULL && stream->packet_left == 0)
		admit_packet(stream);
	if (stream->fault != NULL)
		return -1;
	size_t n = stream->end - stream->start;
	if (n > stream->packet_left)
		n = stream->packet_left;
	if (n > (size_t)count)
		n = (size_t)count;
	memcpy(data, stream->buffer + stream->start, n);
	stream->start += n;
	stream->packet_left -= (uint32_t)n;
	return (int)n;
}

static int on_parser_write(void *context, uint8_t *data, int count)
{
	struct redir_stream *stream = context;
	if (stream->fault != NULL)
		return -1;
	ssize_t n = send(stream->fd, data, (size_t)count, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n >= 0)
		return (int)n;
	if (errno == EAGAIN || errno == EINTR)
		return 0;
	redir_stream_fail(stream, "the peer hung up");
	return -1;
}

static void on_parser_log(void *context, int level, const char *msg)
{
	(void)context;
	if (level == usbredirparser_error)
		log_debug("usbredir: %s", msg);
}

/* What this side can do; bulk receiving, streams and filters it does not ask for. */
static void announce(struct usbredirparser *parser)
{
	uint32_t caps[USB_REDIR_CAPS_SIZE] = { 0 };
	usbredirparser_caps_set_cap(caps, usb_redir_cap_connect_device_version);
	usbredirparser_caps_set_cap(caps, usb_redir_cap_device_disconnect_ack);
	usbredirparser_caps_set_cap(caps, usb_redir_cap_ep_info_max_packet_size);
	usbredirparser_caps_set_cap(caps, usb_redir_cap_64bits_ids);
	usbredirparser_caps_set_cap(caps, usb_redir_cap_32bits_bulk_length);
	usbredirparser_init(parser, "OpenDext", caps, USB_REDIR_CAPS_SIZE, 0);
}

int redir_stream_init(struct redir_stream *stream, int fd,
		      void (*set_callbacks)(struct usbredirparser *parser))
{
	stream->fd = fd;
	stream->parser = usbredirparser_create();
	if (stream->parser == NULL) {
		close_fdp(&stream->fd);
		return -ENOMEM;
	}
	stream->parser->priv = stream;
	stream->parser->log_func = on_parser_log;
	stream->parser->read_func = on_parser_read;
	stream->parser->write_func = on_parser_write;
	set_callbacks(stream->parser);
	announce(stream->parser);
	return 0;
}

void redir_stream_deinit(struct redir_stream *stream)
{
	if (stream->parser != NULL)
		usbredirparser_destroy(stream->parser);
	stream->parser = NULL;
	close_fdp(&stream->fd);
}

static void parse(struct redir_stream *stream)
{
	if (usbredirparser_do_read(stream->parser) == usbredirparser_read_parse_error)
		redir_stream_fail(stream, "the peer sent a malformed packet");
	if (stream->start == stream->end) {
		stream->start = stream->end = 0;
		return;
	}
	/* The rest of a header: begin the buffer with it. */
	memmove(stream->buffer, stream->buffer + stream->start, stream->end - stream->start);
	stream->end -= stream->start;
	stream->start = 0;
}

void redir_stream_read(struct redir_stream *stream)
{
	for (int i = 0; i < READS_PER_CALL && stream->fault == NULL; i++) {
		size_t room = sizeof(stream->buffer) - stream->end;
		ssize_t n = recv(stream->fd, stream->buffer + stream->end, room, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			redir_stream_fail(stream, "the peer hung up");
			return;
		}
		stream->end += (size_t)n;
		parse(stream);
		if ((size_t)n < room)
			return; // there was no more
	}
}

void redir_stream_write(struct redir_stream *stream)
{
	if (stream->fault == NULL && redir_stream_has_output(stream))
		usbredirparser_do_write(stream->parser);
}

bool redir_stream_has_output(const struct redir_stream *stream)
{
	return usbredirparser_has_data_to_write(stream->parser) > 0;
}
