// SPDX-License-Identifier: Apache-2.0

#include <backends/usbredir/scripted_peer.h>

#include <base/cleanup.h>
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <usbredirproto.h>

enum { HELD_MAX = 256, ROOM = 1 << 17 };

struct packet {
	uint32_t type;
	uint64_t id;
	uint8_t body[ROOM];
	size_t size;
};

struct script_run {
	struct scripted_peer *peer;
	struct packet in, out;
	bool greeted; // ids have 64 bits
	bool over, halted;
	uint8_t configuration;
	uint64_t chance;
	uint64_t held[HELD_MAX];
	unsigned n_held;
};

/* --- raw packets --- */

static bool receive(int fd, void *data, size_t size)
{
	return size == 0 || recv(fd, data, size, MSG_WAITALL) == (ssize_t)size;
}

static bool receive_packet(struct script_run *run)
{
	uint32_t head[2];
	uint64_t id = 0;
	struct packet *in = &run->in;
	if (!receive(run->peer->fd, head, sizeof(head)) ||
	    !receive(run->peer->fd, &id, run->greeted ? 8 : 4) || head[1] > sizeof(in->body) ||
	    !receive(run->peer->fd, in->body, head[1]))
		return false;
	in->type = head[0];
	in->size = head[1];
	in->id = id;
	return true;
}

static void put(struct packet *packet, const void *data, size_t size)
{
	memcpy(packet->body + packet->size, data, size);
	packet->size += size;
}

static struct packet *begin(struct script_run *run, uint32_t type, uint64_t id)
{
	run->out.type = type;
	run->out.id = id;
	run->out.size = 0;
	return &run->out;
}

static size_t flatten(const struct script_run *run, const struct packet *packet, uint32_t length,
		      uint8_t *bytes)
{
	size_t id_size = run->greeted ? 8 : 4;
	memcpy(bytes, &packet->type, 4);
	memcpy(bytes + 4, &length, 4);
	memcpy(bytes + 8, &packet->id, id_size);
	memcpy(bytes + 8 + id_size, packet->body, packet->size);
	return 8 + id_size + packet->size;
}

static void send_bytes(struct script_run *run, const uint8_t *bytes, size_t size)
{
	for (size_t done = 0; done < size && !run->over;) {
		ssize_t n = send(run->peer->fd, bytes + done, size - done, MSG_NOSIGNAL);
		if (n <= 0)
			run->over = true;
		else
			done += (size_t)n;
	}
}

static void send_packet(struct script_run *run)
{
	uint8_t *bytes = malloc(ROOM + 32);
	size_t size = flatten(run, &run->out, (uint32_t)run->out.size, bytes);
	send_bytes(run, bytes, size);
	free(bytes);
}

static void send_with_length(struct script_run *run, uint32_t length)
{
	uint8_t *bytes = malloc(ROOM + 32);
	size_t size = flatten(run, &run->out, length, bytes);
	send_bytes(run, bytes, size);
	free(bytes);
}

/* --- what a device says of itself --- */

static void send_hello(struct script_run *run)
{
	char version[64] = "scripted";
	uint32_t caps = 1U << usb_redir_cap_connect_device_version |
			1U << usb_redir_cap_device_disconnect_ack |
			1U << usb_redir_cap_ep_info_max_packet_size |
			1U << usb_redir_cap_64bits_ids | 1U << usb_redir_cap_32bits_bulk_length;
	struct packet *out = begin(run, usb_redir_hello, 0);
	put(out, version, sizeof(version));
	put(out, &caps, sizeof(caps));
	send_packet(run);
}

static void begin_connect(struct script_run *run)
{
	struct usb_redir_device_connect_header connect = {
		.speed = usb_redir_speed_high,
		.vendor_id = 0x1d6b,
		.product_id = 0x0104,
	};
	put(begin(run, usb_redir_device_connect, 0), &connect, sizeof(connect));
}

static const uint8_t device_bytes[] = { 18,   1,    0,    2, 0, 0, 0, 64, 0x6b,
					0x1d, 0x04, 0x01, 0, 1, 0, 0, 0,  1 };

static const uint8_t configuration_bytes[] = {
	9, 2, 32,   0, 1, 7,    0, 0x80, 50, // value 7
	9, 4, 0,    0, 2, 0xff, 0, 0,    0,  //
	7, 5, 0x81, 2, 0, 2,    0,           //
	7, 5, 0x01, 2, 0, 2,    0,
};

/* --- spoiling --- */

static void spoil(struct script_run *run, enum peer_spoil how)
{
	uint8_t noise[256];
	struct packet kept = { .type = run->out.type, .id = run->out.id };
	memset(noise, 0xa5, sizeof(noise));
	switch (how) {
	case SPOIL_HANG_UP:
		run->over = true;
		return;
	case SPOIL_TRUNCATE:
		run->out.size /= 2;
		send_with_length(run, (uint32_t)run->out.size * 2 + 8);
		run->over = true;
		return;
	case SPOIL_GARBAGE:
		send_bytes(run, noise, sizeof(noise));
		return;
	case SPOIL_HUGE:
		send_with_length(run, UINT32_MAX);
		return;
	case SPOIL_BIG:
		send_with_length(run, (1U << 20) + 1);
		return;
	case SPOIL_TYPE:
		run->out.type = 77;
		send_packet(run);
		return;
	case SPOIL_ID:
		run->out.id ^= 0x10000;
		send_packet(run);
		return;
	case SPOIL_HELLO:
		send_hello(run);
		return;
	case SPOIL_CONNECT:
		begin_connect(run);
		send_packet(run);
		if (kept.type != usb_redir_device_connect)
			return;
		begin_connect(run);
		send_packet(run);
		return;
	case SPOIL_UNPLUG:
		begin(run, usb_redir_device_disconnect, 0);
		send_packet(run);
		return;
	default:
		return;
	}
}

/* Send what was begun, unless it is this answer that the test spoils. */
static void answer(struct script_run *run, enum peer_step step)
{
	const struct peer_script *script = &run->peer->script;
	if (script->step == step && script->spoil != SPOIL_OVERLONG)
		spoil(run, script->spoil);
	else
		send_packet(run);
}

/* --- control --- */

static enum peer_step step_of_descriptor(uint8_t type, uint16_t length)
{
	if (type == 1)
		return STEP_DEVICE;
	return length == 9 ? STEP_CONFIGURATION_HEAD : STEP_CONFIGURATION;
}

static void on_control(struct script_run *run)
{
	struct usb_redir_control_packet_header header;
	memcpy(&header, run->in.body, sizeof(header));
	struct packet *out = begin(run, usb_redir_control_packet, run->in.id);
	if (header.request == 1) { // CLEAR_FEATURE
		atomic_fetch_add(&run->peer->n_clears, 1);
		run->halted = false;
		put(out, &header, sizeof(header));
		send_packet(run);
		return;
	}
	uint8_t type = (uint8_t)(header.value >> 8);
	enum peer_step step = step_of_descriptor(type, header.length);
	uint8_t data[128] = { 0 };
	const uint8_t *source = type == 1 ? device_bytes : configuration_bytes;
	memcpy(data, source, type == 1 ? sizeof(device_bytes) : sizeof(configuration_bytes));
	if (type == 2)
		data[16] = run->peer->script.protocol;
	if (run->peer->script.step == step && run->peer->script.spoil == SPOIL_OVERLONG)
		header.length = (uint16_t)(header.length + 1);
	put(out, &header, sizeof(header));
	put(out, data, header.length);
	answer(run, step);
}

static void on_configuration(struct script_run *run, enum peer_step step)
{
	if (step == STEP_SET_CONFIGURATION) {
		atomic_fetch_add(&run->peer->n_set_configurations, 1);
		run->configuration = run->in.body[0];
	}
	struct usb_redir_configuration_status_header status = {
		.status = usb_redir_success,
		.configuration = run->configuration,
	};
	put(begin(run, usb_redir_configuration_status, run->in.id), &status, sizeof(status));
	answer(run, step);
}

/* --- bulk --- */

static void answer_bulk(struct script_run *run, uint64_t id, uint8_t endpoint, uint8_t status,
			uint32_t length, bool with_data)
{
	struct usb_redir_bulk_packet_header header = {
		.endpoint = endpoint,
		.status = status,
		.length = (uint16_t)length,
		.length_high = (uint16_t)(length >> 16),
	};
	struct packet *out = begin(run, usb_redir_bulk_packet, id);
	put(out, &header, sizeof(header));
	for (uint32_t i = 0; with_data && i < length; i++)
		out->body[out->size++] = (uint8_t)(i % 63);
	answer(run, STEP_BULK);
}

static bool by_chance(struct script_run *run)
{
	run->chance = run->chance * 6364136223846793005ULL + 1442695040888963407ULL;
	return (run->chance >> 40) % 4 != 0;
}

static void hold(struct script_run *run)
{
	ck_assert_uint_lt(run->n_held, HELD_MAX);
	run->held[run->n_held++] = run->in.id;
}

static void on_bulk_in(struct script_run *run, uint32_t length)
{
	const struct peer_script *script = &run->peer->script;
	if (script->step == STEP_BULK && script->spoil == SPOIL_OVERLONG)
		length += 512;
	switch (script->bulk) {
	case BULK_HOLD:
		hold(run);
		return;
	case BULK_DEAF:
		return;
	case BULK_STALL:
		if (run->halted || atomic_load(&run->peer->n_clears) == 0) {
			run->halted = true;
			answer_bulk(run, run->in.id, 0x81, usb_redir_stall, 0, true);
			return;
		}
		break;
	case BULK_BABBLE:
		answer_bulk(run, run->in.id, 0x81, usb_redir_babble, length, true);
		return;
	case BULK_CHANCE:
		if (!by_chance(run)) {
			hold(run);
			return;
		}
		break;
	default:
		break;
	}
	answer_bulk(run, run->in.id, 0x81, usb_redir_success, length, true);
}

static void on_bulk(struct script_run *run)
{
	struct usb_redir_bulk_packet_header header;
	memcpy(&header, run->in.body, sizeof(header));
	uint32_t length = (uint32_t)header.length_high << 16 | header.length;
	unsigned n = atomic_fetch_add(&run->peer->n_bulk, 1) + 1;
	if (run->peer->script.hang_up_after != 0 && n > run->peer->script.hang_up_after)
		run->over = true;
	else if (header.endpoint == 0x81)
		on_bulk_in(run, length);
	else
		answer_bulk(run, run->in.id, header.endpoint, usb_redir_success, length, false);
}

static void on_cancel(struct script_run *run)
{
	atomic_fetch_add(&run->peer->n_cancels, 1);
	for (unsigned i = 0; i < run->n_held; i++) {
		if (run->held[i] != run->in.id)
			continue;
		run->held[i] = run->held[--run->n_held];
		answer_bulk(run, run->in.id, 0x81, usb_redir_cancelled, 512, true);
		return;
	}
}

/* --- the conversation --- */

static void serve(struct script_run *run)
{
	switch (run->in.type) {
	case usb_redir_control_packet:
		on_control(run);
		return;
	case usb_redir_get_configuration:
		on_configuration(run, STEP_GET_CONFIGURATION);
		return;
	case usb_redir_set_configuration:
		on_configuration(run, STEP_SET_CONFIGURATION);
		return;
	case usb_redir_bulk_packet:
		on_bulk(run);
		return;
	case usb_redir_cancel_data_packet:
		on_cancel(run);
		return;
	default:
		return;
	}
}

static void converse(struct script_run *run)
{
	const struct peer_script *script = &run->peer->script;
	if (script->step == STEP_HELLO && script->spoil != SPOIL_HELLO) {
		begin(run, usb_redir_hello, 0)->size = 68;
		spoil(run, script->spoil);
	} else {
		send_hello(run);
	}
	if (run->over || !receive_packet(run))
		return;
	run->greeted = true;
	if (script->step == STEP_HELLO && script->spoil == SPOIL_HELLO)
		send_hello(run);
	begin_connect(run);
	answer(run, STEP_CONNECT);
	while (!run->over && receive_packet(run))
		serve(run);
}

static void *peer_main(void *context)
{
	struct scripted_peer *peer = context;
	struct script_run *run = calloc(1, sizeof(*run));
	run->peer = peer;
	run->configuration = peer->script.unconfigured ? 0 : 7;
	run->chance = peer->script.seed;
	converse(run);
	free(run);
	close_fdp(&peer->fd);
	return NULL;
}

int scripted_peer_start(struct scripted_peer *peer, const struct peer_script *script)
{
	int fds[2];
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	*peer = (struct scripted_peer){ .script = *script, .fd = fds[0] };
	ck_assert_int_eq(pthread_create(&peer->thread, NULL, peer_main, peer), 0);
	return fds[1];
}

void scripted_peer_join(struct scripted_peer *peer)
{
	ck_assert_int_eq(pthread_join(peer->thread, NULL), 0);
}
