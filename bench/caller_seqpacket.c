// SPDX-License-Identifier: Apache-2.0
/* A message each way over SOCK_SEQPACKET; the server sits in an event loop, as servers do. */

#include <bench/caller.h>

#include <sys/epoll.h>
#include <sys/socket.h>

#include <bench/server.h>

struct message {
	uint64_t number, method;
	uint64_t scalars[CALLER_SCALARS];
};

static int sockets[2];

static void serve(void *context)
{
	int fd = *(const int *)context;
	struct epoll_event event = { .events = EPOLLIN };
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		server_die("epoll");
	server_confine();
	for (;;) {
		struct message message;
		if (epoll_wait(epoll_fd, &event, 1, -1) < 1)
			continue;
		if (recv(fd, &message, sizeof(message), 0) != sizeof(message))
			return;
		caller_serve(message.scalars);
		if (send(fd, &message, sizeof(message), MSG_NOSIGNAL) < 0)
			return;
	}
}

static void open_sockets(struct caller *caller)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
		server_die("socketpair");
	caller->server = server_fork(serve, &sockets[1]);
}

static bool call(struct caller *caller, const uint64_t *in, uint64_t *out)
{
	struct message message = { .method = 1 };
	(void)caller;
	for (int i = 0; i < CALLER_SCALARS; i++)
		message.scalars[i] = in[i];
	if (send(sockets[0], &message, sizeof(message), MSG_NOSIGNAL) < 0 ||
	    recv(sockets[0], &message, sizeof(message), 0) != sizeof(message))
		return false;
	for (int i = 0; i < CALLER_SCALARS; i++)
		out[i] = message.scalars[i];
	return true;
}

struct caller caller_seqpacket = { .name = "seqpacket", .open = open_sockets, .call = call };
