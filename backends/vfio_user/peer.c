/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Messages over a stream. A header comes first and says how long the message is; both are read
 * against the same deadline, so a peer that sends a byte now and then gains nothing. Descriptors
 * may come with any part of a message; the kernel closes what exceeds PEER_FDS_MAX and says so with
 * MSG_CTRUNC, which is a violation.
 *
 * The socket is never left waiting for the peer without poll() and the deadline: every send and
 * receive is MSG_DONTWAIT.
 */

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <backends/vfio_user/peer.h>
#include <base/cleanup.h>
#include <base/clock.h>
#include <runtime/queue.h>

void peer_init(struct peer *peer, int fd)
{
	*peer = (struct peer){ .fd = fd };
}

void peer_deinit(struct peer *peer)
{
	close_fdp(&peer->fd);
	peer->lost = true;
}

void peer_message_deinit(struct peer_message *message)
{
	for (unsigned i = 0; i < message->n_fds; i++)
		close_fdp(&message->fds[i]);
	free(message->payload);
	message->payload = NULL;
}

int peer_lose(struct peer *peer, const char *format, ...)
{
	if (!peer->lost) {
		va_list arguments;
		va_start(arguments, format);
		vsnprintf(peer->reason, sizeof(peer->reason), format, arguments);
		va_end(arguments);
		peer->lost = true;
	}
	return -ENODEV;
}

/* Wait for the socket until the deadline, while other queues go on. 0 or -ENODEV. */
static int wait_ready(struct peer *peer, short events, uint64_t deadline)
{
	for (;;) {
		if (clock_now_ns() >= deadline)
			return peer_lose(peer, "the device did not answer within %d ms",
					 PEER_COMMAND_MS);
		int ret = worker_poll(peer->fd, events, deadline);
		if (ret > 0)
			return 0;
		if (ret < 0 && ret != -EINTR)
			return peer_lose(peer, "polling the device's socket: %s", strerror(-ret));
	}
}

/* The descriptor, if there is one, goes with the first byte. */
static int send_all(struct peer *peer, struct iovec *iov, size_t n_iov, const int *fd,
		    uint64_t deadline)
{
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { .room = { 0 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = n_iov };
	if (fd != NULL) {
		msg.msg_control = control.room;
		msg.msg_controllen = sizeof(control.room);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), fd, sizeof(int));
	}
	while (msg.msg_iovlen > 0) {
		ssize_t n = sendmsg(peer->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			int ret = wait_ready(peer, POLLOUT, deadline);
			if (ret < 0)
				return ret;
			continue;
		}
		if (n < 0)
			return peer_lose(peer, "the device hung up: %s", strerror(errno));
		msg.msg_control = NULL;
		msg.msg_controllen = 0;
		size_t sent = (size_t)n;
		while (msg.msg_iovlen > 0 && sent >= msg.msg_iov->iov_len) {
			sent -= msg.msg_iov->iov_len;
			msg.msg_iov++;
			msg.msg_iovlen--;
		}
		if (sent > 0) {
			msg.msg_iov->iov_base = (char *)msg.msg_iov->iov_base + sent;
			msg.msg_iov->iov_len -= sent;
		}
	}
	return 0;
}

/* Move the descriptors of one recvmsg into the message; those beyond its room are closed. */
static bool keep_fds(struct peer_message *message, struct msghdr *msg)
{
	bool fits = (msg->msg_flags & MSG_CTRUNC) == 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n_fds; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (message->n_fds < PEER_FDS_MAX) {
				message->fds[message->n_fds++] = fd;
			} else {
				close_fdp(&fd);
				fits = false;
			}
		}
	}
	return fits;
}

/* Fill `data`. With `idle`, nothing there at the start is -EAGAIN and no loss. */
static int receive_exact(struct peer *peer, struct peer_message *message, void *data, size_t size,
			 uint64_t deadline, bool idle)
{
	for (size_t done = 0; done < size;) {
		union {
			char room[CMSG_SPACE(PEER_FDS_MAX * sizeof(int))];
			struct cmsghdr align;
		} control;
		struct iovec iov = { .iov_base = (char *)data + done, .iov_len = size - done };
		struct msghdr msg = { .msg_iov = &iov,
				      .msg_iovlen = 1,
				      .msg_control = control.room,
				      .msg_controllen = sizeof(control.room) };
		ssize_t n = recvmsg(peer->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			if (idle && done == 0)
				return -EAGAIN;
			int ret = wait_ready(peer, POLLIN, deadline);
			if (ret < 0)
				return ret;
			continue;
		}
		if (n < 0)
			return peer_lose(peer, "the device hung up: %s", strerror(errno));
		if (!keep_fds(message, &msg))
			return peer_lose(peer, "a message of the device has over %d descriptors",
					 PEER_FDS_MAX);
		if (n == 0)
			return peer_lose(peer, done > 0 ? "the device hung up inside a message"
							: "the device hung up");
		done += (size_t)n;
	}
	return 0;
}

static int receive_body(struct peer *peer, struct peer_message *message, uint64_t deadline)
{
	uint32_t total = message->header.size;
	if (total < sizeof(message->header) || total > sizeof(message->header) + PEER_PAYLOAD_MAX)
		return peer_lose(peer, "the device announced a message of %u bytes", total);
	message->size = total - sizeof(message->header);
	if (message->size == 0)
		return 0;
	message->payload = malloc(message->size);
	if (message->payload == NULL)
		return peer_lose(peer, "out of memory for a message of %u bytes", total);
	return receive_exact(peer, message, message->payload, message->size, deadline, false);
}

static int receive(struct peer *peer, struct peer_message *message, uint64_t deadline, bool idle)
{
	*message = (struct peer_message){ .n_fds = 0 };
	int ret = receive_exact(peer, message, &message->header, sizeof(message->header), deadline,
				idle);
	if (ret == 0)
		ret = receive_body(peer, message, deadline);
	if (ret < 0)
		peer_message_deinit(message);
	return ret;
}

/* The device may ask for DMA by message. It has the file of whatever is mapped for it and needs no
 * message, so the answer is no. */
static int refuse_command(struct peer *peer, const struct vfio_user_header *command,
			  uint64_t deadline)
{
	if ((command->flags & VFIO_USER_NO_REPLY) != 0)
		return 0;
	struct vfio_user_header refusal = { .id = command->id,
					    .command = command->command,
					    .size = sizeof(refusal),
					    .flags = VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR,
					    .error = EINVAL };
	struct iovec iov = { .iov_base = &refusal, .iov_len = sizeof(refusal) };
	return send_all(peer, &iov, 1, NULL, deadline);
}

static bool is_command(const struct vfio_user_header *header)
{
	return (header->flags & VFIO_USER_TYPE_MASK) == VFIO_USER_TYPE_COMMAND;
}

/* The next reply; commands on the way are refused. */
static int receive_reply(struct peer *peer, struct peer_message *reply, uint64_t deadline)
{
	for (;;) {
		int ret = receive(peer, reply, deadline, false);
		if (ret < 0 || !is_command(&reply->header))
			return ret;
		ret = refuse_command(peer, &reply->header, deadline);
		peer_message_deinit(reply);
		if (ret < 0)
			return ret;
		if (clock_now_ns() >= deadline)
			return peer_lose(peer, "the device did not answer within %d ms",
					 PEER_COMMAND_MS);
	}
}

/* Does `reply` answer `sent`? 0, a positive errno of the device, or -ENODEV. */
static int check_reply(struct peer *peer, const struct vfio_user_header *sent,
		       const struct peer_message *reply)
{
	const struct vfio_user_header *header = &reply->header;
	if ((header->flags & VFIO_USER_TYPE_MASK) != VFIO_USER_TYPE_REPLY)
		return peer_lose(peer, "the device sent a message of type %u",
				 header->flags & VFIO_USER_TYPE_MASK);
	if (header->id != sent->id || header->command != sent->command)
		return peer_lose(peer,
				 "the device answered command %u, id %u, where %u, id %u was asked",
				 header->command, header->id, sent->command, sent->id);
	if ((header->flags & VFIO_USER_ERROR) == 0)
		return 0;
	if (header->error == 0 || header->error > 4095 || reply->n_fds > 0)
		return peer_lose(peer, "the device sent a malformed refusal (errno %u)",
				 header->error);
	return (int)header->error;
}

int peer_call(struct peer *peer, enum vfio_user_command command, const struct peer_payload *payload,
	      struct peer_message *reply)
{
	if (peer->lost)
		return -ENODEV;
	uint64_t deadline = clock_deadline_ns(PEER_COMMAND_MS);
	struct vfio_user_header header = { .id = peer->next_id++, .command = (uint16_t)command };
	header.size = (uint32_t)(sizeof(header) + payload->head_size + payload->tail_size);
	union { // sendmsg takes its pieces without const
		const void *given;
		void *wanted;
	} head = { payload->head }, tail = { payload->tail };
	struct iovec iov[] = { { &header, sizeof(header) },
			       { head.wanted, payload->head_size },
			       { tail.wanted, payload->tail_size } };
	int ret = send_all(peer, iov, sizeof(iov) / sizeof(iov[0]), payload->fd, deadline);
	if (ret < 0)
		return ret;
	ret = receive_reply(peer, reply, deadline);
	if (ret < 0)
		return ret;
	ret = check_reply(peer, &header, reply);
	if (ret != 0)
		peer_message_deinit(reply);
	return ret;
}

int peer_dispatch(struct peer *peer)
{
	if (peer->lost)
		return -ENODEV;
	struct peer_message message;
	uint64_t deadline = clock_deadline_ns(PEER_COMMAND_MS);
	int ret = receive(peer, &message, deadline, true);
	if (ret == -EAGAIN)
		return 0;
	if (ret < 0)
		return ret;
	if (is_command(&message.header))
		ret = refuse_command(peer, &message.header, deadline);
	else
		ret = peer_lose(peer, "the device sent a reply that nobody asked for");
	peer_message_deinit(&message);
	return ret;
}
