// SPDX-License-Identifier: Apache-2.0
/* A message per event over SOCK_SEQPACKET, to a reader in an event loop. */

#include <sys/epoll.h>
#include <sys/socket.h>

#include <bench/server.h>
#include <bench/source.h>

static int sockets[2], epoll_fd;

static void serve(void *context)
{
	int fd = *(const int *)context;
	struct event_order order;
	server_confine();
	while (recv(fd, &order, sizeof(order), 0) == sizeof(order)) {
		struct timespec next = { 0 };
		for (uint64_t number = 0; number < order.count; number++) {
			uint64_t scalars[EVENT_SCALARS];
			event_pace(&order, &next);
			event_fill(scalars, number, &order);
			if (send(fd, scalars, sizeof(scalars), MSG_NOSIGNAL) < 0)
				return;
		}
	}
}

static void open_sockets(struct source *source)
{
	struct epoll_event event = { .events = EPOLLIN };
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0 ||
	    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, sockets[0], &event) < 0)
		server_die("a socket");
	source->server = server_fork(serve, &sockets[1]);
}

static bool receive(struct source *source, const struct event_order *order, struct sink *sink)
{
	(void)source;
	if (send(sockets[0], order, sizeof(*order), MSG_NOSIGNAL) < 0)
		return false;
	while (sink->received < order->count) {
		uint64_t scalars[EVENT_SCALARS];
		struct epoll_event event;
		if (epoll_wait(epoll_fd, &event, 1, -1) < 1)
			continue;
		while (recv(sockets[0], scalars, sizeof(scalars), MSG_DONTWAIT) == sizeof(scalars))
			sink_take(sink, scalars);
	}
	return true;
}

struct source source_seqpacket = {
	.name = "seqpacket",
	.open = open_sockets,
	.receive = receive,
};
