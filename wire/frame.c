/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Frames on a socket: see frame.h.
 *
 * A received packet is believed only after every word of its header agreed with what arrived: its
 * size with the packet's, its count of descriptors with those received. A packet that the kernel
 * cut (MSG_TRUNC, MSG_CTRUNC) is not a frame. Whatever is refused, its descriptors are closed
 * first.
 */

#include <wire/frame.h>

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <base/cleanup.h>
#include <objects/binary.h>

/* Room for as many descriptors as a frame may carry; more are cut by the kernel. */
union control {
	char bytes[CMSG_SPACE(sizeof(int) * WIRE_FDS_MAX)];
	struct cmsghdr align;
};

/* --- sending --- */

static void store_u32(uint8_t *place, uint32_t value)
{
	value = htole32(value);
	memcpy(place, &value, sizeof(value));
}

static void store_u64(uint8_t *place, uint64_t value)
{
	value = htole64(value);
	memcpy(place, &value, sizeof(value));
}

/* Write header and reason; the number of their bytes. */
static size_t store_head(uint8_t *head, const struct frame *frame)
{
	size_t reason_size = strlen(frame->reason);
	size_t size = FRAME_HEADER + binary_padded(reason_size);

	memset(head, 0, size);
	store_u32(head, FRAME_MAGIC);
	store_u32(head + 4, (uint32_t)(size + frame->body_size));
	store_u64(head + 8, frame->method);
	store_u64(head + 16, frame->transaction);
	store_u32(head + 24, frame->flags);
	store_u32(head + 28, (uint32_t)frame->status);
	store_u32(head + 32, (uint32_t)reason_size);
	store_u32(head + 36, frame->n_fds);
	store_u64(head + 40, frame->object);
	memcpy(head + FRAME_HEADER, frame->reason, reason_size);
	return size;
}

static int send_parts(int socket_fd, struct iovec *parts, size_t n_parts, const int *fds,
		      unsigned n_fds)
{
	union control control = { 0 };
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = n_parts };
	ssize_t sent;

	if (n_fds != 0) {
		struct cmsghdr *rights;

		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		rights = CMSG_FIRSTHDR(&message);
		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(rights), fds, sizeof(int) * n_fds);
	}
	do
		sent = sendmsg(socket_fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

int frame_send(int socket_fd, const struct frame *frame)
{
	uint8_t head[FRAME_HEADER + CHANNEL_REASON_MAX];
	size_t head_size = store_head(head, frame);
	struct iovec parts[] = {
		{ .iov_base = head, .iov_len = head_size },
		{ .iov_base = (void *)(uintptr_t)frame->body, .iov_len = frame->body_size },
	};

	return send_parts(socket_fd, parts, 2, frame->fds, frame->n_fds);
}

struct packet *packet_free(struct packet *packet)
{
	struct packet *next = packet->next;

	for (unsigned i = 0; i < packet->n_fds; i++)
		close_fdp(&packet->fds[i]);
	free(packet);
	return next;
}

static int copy_fds(struct packet *packet, const struct frame *frame)
{
	for (unsigned i = 0; i < frame->n_fds; i++) {
		packet->fds[i] = fcntl(frame->fds[i], F_DUPFD_CLOEXEC, 0);
		if (packet->fds[i] < 0)
			return -errno;
		packet->n_fds++;
	}
	return 0;
}

int packet_new(struct packet **out, const struct frame *frame)
{
	uint8_t head[FRAME_HEADER + CHANNEL_REASON_MAX];
	size_t head_size = store_head(head, frame);
	struct packet *packet = malloc(sizeof(*packet) + head_size + frame->body_size);
	int ret;

	if (packet == NULL)
		return -ENOMEM;
	*packet = (struct packet){ .size = head_size + frame->body_size };
	memcpy(packet->bytes, head, head_size);
	if (frame->body_size != 0)
		memcpy(packet->bytes + head_size, frame->body, frame->body_size);
	ret = copy_fds(packet, frame);
	if (ret < 0) {
		packet_free(packet);
		return ret;
	}
	*out = packet;
	return 0;
}

int packet_send(int socket_fd, const struct packet *packet)
{
	struct iovec part = { .iov_base = (void *)(uintptr_t)packet->bytes,
			      .iov_len = packet->size };

	return send_parts(socket_fd, &part, 1, packet->fds, packet->n_fds);
}

/* --- receiving --- */

static uint32_t load_u32(const uint8_t *place)
{
	uint32_t value;

	memcpy(&value, place, sizeof(value));
	return le32toh(value);
}

static uint64_t load_u64(const uint8_t *place)
{
	uint64_t value;

	memcpy(&value, place, sizeof(value));
	return le64toh(value);
}

/* The reason behind the header; its padded size, or -EBADMSG. */
static int parse_reason(const uint8_t *bytes, size_t size, size_t reason_size, char *reason)
{
	size_t padded = binary_padded(reason_size);

	if (reason_size >= CHANNEL_REASON_MAX || padded > size ||
	    memchr(bytes, '\0', reason_size) != NULL)
		return -EBADMSG;
	for (size_t i = reason_size; i < padded; i++)
		if (bytes[i] != 0)
			return -EBADMSG;
	memcpy(reason, bytes, reason_size);
	reason[reason_size] = '\0';
	return (int)padded;
}

/* A request has neither status nor reason; a refusal has neither body nor descriptors. */
static int check_roles(const struct frame *frame)
{
	if ((frame->flags & ~(uint32_t)FRAME_REPLY) != 0)
		return -EBADMSG;
	if ((frame->flags & FRAME_REPLY) == 0)
		return frame->status == 0 && frame->reason[0] == '\0' ? 0 : -EBADMSG;
	if (frame->transaction == 0 || frame->object != 0)
		return -EBADMSG;
	if (frame->status != 0 && (frame->body_size != 0 || frame->n_fds != 0))
		return -EBADMSG;
	return 0;
}

int frame_parse(const uint8_t *bytes, size_t size, struct frame *frame)
{
	int reason;

	if (size < FRAME_HEADER || load_u32(bytes) != FRAME_MAGIC || load_u32(bytes + 4) != size ||
	    load_u32(bytes + 36) != frame->n_fds)
		return -EBADMSG;
	reason = parse_reason(bytes + FRAME_HEADER, size - FRAME_HEADER, load_u32(bytes + 32),
			      frame->reason);
	if (reason < 0)
		return reason;
	frame->method = load_u64(bytes + 8);
	frame->transaction = load_u64(bytes + 16);
	frame->flags = load_u32(bytes + 24);
	frame->status = (int32_t)load_u32(bytes + 28);
	frame->object = load_u64(bytes + 40);
	frame->body = bytes + FRAME_HEADER + (size_t)reason;
	frame->body_size = size - FRAME_HEADER - (size_t)reason;
	return check_roles(frame);
}

static void close_fds(struct frame *frame)
{
	for (unsigned i = 0; i < frame->n_fds; i++)
		close_fdp(&frame->fds[i]);
	frame->n_fds = 0;
}

/* Own the descriptors of one control message; false when there are more than a frame may have. */
static bool collect_fds(struct frame *frame, const struct cmsghdr *rights)
{
	size_t n_fds = (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	bool fits = true;

	for (size_t i = 0; i < n_fds; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(rights) + i * sizeof(int), sizeof(int));
		if (frame->n_fds < WIRE_FDS_MAX) {
			frame->fds[frame->n_fds++] = fd;
		} else {
			close_fdp(&fd);
			fits = false;
		}
	}
	return fits;
}

static bool collect_all_fds(struct frame *frame, struct msghdr *message)
{
	bool fits = (message->msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0;

	for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control != NULL;
	     control = CMSG_NXTHDR(message, control))
		if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_RIGHTS)
			fits = collect_fds(frame, control) && fits;
	return fits;
}

/* A peer that left while we had sent it something it did not read: the kernel says so once, before
 * it gives us what the peer sent last. */
static ssize_t receive_packet(int socket_fd, struct msghdr *message)
{
	bool reset = false;

	for (;;) {
		ssize_t size = recvmsg(socket_fd, message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

		if (size >= 0)
			return size;
		if (errno == ECONNRESET && !reset)
			reset = true;
		else if (errno != EINTR)
			return errno == ECONNRESET ? 0 : -errno;
	}
}

int frame_receive(int socket_fd, uint8_t *buffer, struct frame *frame)
{
	union control control;
	struct iovec part = { .iov_base = buffer, .iov_len = FRAME_MAX };
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	ssize_t size = receive_packet(socket_fd, &message);
	int ret;

	frame->n_fds = 0;
	if (size < 0)
		return (int)size;
	ret = collect_all_fds(frame, &message) ? 0 : -EBADMSG;
	if (ret == 0 && size != 0)
		ret = frame_parse(buffer, (size_t)size, frame);
	if (ret < 0 || size == 0)
		close_fds(frame);
	return ret < 0 ? ret : size != 0;
}
