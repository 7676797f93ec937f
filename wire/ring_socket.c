/* SPDX-License-Identifier: Apache-2.0 */

/* The socket beside a ring: messages of one size, with at most one descriptor each. */

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include <base/cleanup.h>
#include <wire/ring.h>

union control {
	struct cmsghdr align;
	char room[CMSG_SPACE(sizeof(int))];
};

static void attach(struct msghdr *msg, union control *control, int fd)
{
	msg->msg_control = control->room;
	msg->msg_controllen = sizeof(control->room);
	struct cmsghdr *head = CMSG_FIRSTHDR(msg);
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(head), &fd, sizeof(fd));
}

int ring_socket_send(int socket_fd, uint32_t kind, uint64_t sequence, int fd)
{
	struct ring_socket_message message = { .kind = kind, .sequence = sequence };
	struct iovec iov = { .iov_base = &message, .iov_len = sizeof(message) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	union control control = { 0 };
	if (fd >= 0)
		attach(&msg, &control, fd);
	if (sendmsg(socket_fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return -errno;
	return 0;
}

/* The one descriptor of a message; what else came is closed. -1: none. */
static int take_descriptor(struct msghdr *msg)
{
	int taken = -1;
	for (struct cmsghdr *head = CMSG_FIRSTHDR(msg); head != NULL;
	     head = CMSG_NXTHDR(msg, head)) {
		if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(head) + i * sizeof(int), sizeof(fd));
			close_fdp(&taken);
			taken = fd;
		}
	}
	return taken;
}

int ring_socket_receive(int socket_fd, struct ring_socket_message *message, int *fd)
{
	struct iovec iov = { .iov_base = message, .iov_len = sizeof(*message) };
	union control control;
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.room,
		.msg_controllen = sizeof(control.room),
	};
	ssize_t size = recvmsg(socket_fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (size < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	CLEANUP(close_fdp) int taken = take_descriptor(&msg);
	if (size == 0)
		return -ECONNRESET;
	if (size != sizeof(*message) || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
		return -EBADMSG;
	*fd = steal_fd(&taken);
	return 1;
}
