/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/unit_test.h>
#include <wire/ring.h>

static int ends[2];

static void open_ends(void)
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
}

static void close_ends(void)
{
	close_fdp(&ends[0]);
	close_fdp(&ends[1]);
}

static int receive(struct ring_socket_message *message, int *fd)
{
	*fd = -1;
	return ring_socket_receive(ends[1], message, fd);
}

START_TEST(a_message_arrives_with_its_descriptor)
{
	struct ring_socket_message message;
	int fd;
	open_ends();
	ck_assert_int_eq(receive(&message, &fd), 0);
	ck_assert_int_eq(ring_socket_send(ends[0], RING_SOCKET_WAKE, 0, -1), 0);
	ck_assert_int_eq(ring_socket_send(ends[0], RING_SOCKET_BUFFER, 7, ends[0]), 0);
	ck_assert_int_eq(receive(&message, &fd), 1);
	ck_assert_uint_eq(message.kind, RING_SOCKET_WAKE);
	ck_assert_int_eq(fd, -1);
	ck_assert_int_eq(receive(&message, &fd), 1);
	ck_assert_uint_eq(message.kind, RING_SOCKET_BUFFER);
	ck_assert_uint_eq(message.sequence, 7);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close_fdp(&fd);
	ck_assert_int_eq(receive(&message, &fd), 0);
	close_fdp(&ends[0]);
	ck_assert_int_eq(receive(&message, &fd), -ECONNRESET);
	ck_assert_int_eq(ring_socket_send(ends[1], RING_SOCKET_WAKE, 0, -1), -EPIPE);
	close_ends();
}
END_TEST

/* As a peer that breaks the rules: any size, any number of descriptors. */
static void send_raw(size_t size, unsigned n_fds)
{
	char bytes[64] = { 0 };
	struct iovec iov = { .iov_base = bytes, .iov_len = size };
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(16 * sizeof(int))];
	} control = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (n_fds > 0) {
		msg.msg_control = control.room;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		struct cmsghdr *head = CMSG_FIRSTHDR(&msg);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		for (unsigned i = 0; i < n_fds; i++)
			((int *)(void *)CMSG_DATA(head))[i] = ends[0];
	}
	ck_assert_int_eq(sendmsg(ends[0], &msg, MSG_NOSIGNAL), (ssize_t)size);
}

/* The fixture finds what was not closed. */
START_TEST(nothing_is_kept_of_garbage)
{
	struct ring_socket_message message;
	int fd;
	open_ends();
	static const size_t sizes[] = { 1, sizeof(message) - 1, sizeof(message) + 1 };
	for (unsigned i = 0; i < 3; i++) {
		for (unsigned n = 0; n < 3; n++) {
			send_raw(sizes[i], n);
			ck_assert_int_eq(receive(&message, &fd), -EBADMSG);
			ck_assert_int_eq(fd, -1);
		}
	}
	send_raw(sizeof(message), 16);
	ck_assert_int_eq(receive(&message, &fd), -EBADMSG);
	send_raw(sizeof(message), 2); // there is room for it, but only one is handed on
	ck_assert_int_eq(receive(&message, &fd), 1);
	close_fdp(&fd);
	close_ends();
}
END_TEST

START_TEST(a_full_socket_does_not_block)
{
	open_ends();
	int ret = 0;
	for (int i = 0; i < 1000000 && ret == 0; i++)
		ret = ring_socket_send(ends[0], RING_SOCKET_WAKE, 0, -1);
	ck_assert_int_eq(ret, -EAGAIN);
	close_ends();
}
END_TEST

UNIT_TESTS("wire-ring-socket", a_message_arrives_with_its_descriptor, nothing_is_kept_of_garbage,
	   a_full_socket_does_not_block)
