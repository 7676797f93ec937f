// SPDX-License-Identifier: Apache-2.0
/*
 * The bare event ring: the memory of wire/ring.h, a message on a socket for a reader that sleeps,
 * and nothing else. The reader sleeps in epoll, as an application does.
 */

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bench/echo/flow.h>
#include <bench/server.h>
#include <bench/source.h>
#include <wire/ring_layout.h>

struct bare {
	struct ring_view view;
	struct flow *flow;
	int sockets[2]; // orders to the server, wakes from it
	int epoll_fd;
	uint64_t head; // of the reader
	uint64_t tail; // of the server
};

/* --- the server --- */

static void send_event(struct bare *bare, const uint64_t *scalars)
{
	struct ring_header *header = bare->view.header;
	struct ring_event_slot *slot = &bare->view.events[bare->tail & (bare->view.n_events - 1)];
	ring_store(slot->payload, scalars, EVENT_SCALARS * sizeof(*scalars));
	atomic_store(&slot->sequence, ++bare->tail);
	if (atomic_load(&header->client_sleeps) != 0 &&
	    atomic_exchange(&header->client_sleeps, 0) != 0) {
		struct ring_socket_message wake = { .kind = RING_SOCKET_WAKE };
		send(bare->sockets[1], &wake, sizeof(wake), MSG_NOSIGNAL | MSG_DONTWAIT);
	}
}

static void serve(void *context)
{
	struct bare *bare = context;
	struct event_order order;
	server_confine();
	while (recv(bare->sockets[1], &order, sizeof(order), 0) == sizeof(order)) {
		struct timespec next = { 0 };
		for (uint64_t number = 0; number < order.count; number++) {
			uint64_t scalars[EVENT_SCALARS];
			event_pace(&order, &next);
			flow_wait(bare->flow, (uint32_t)number);
			event_fill(scalars, number, &order);
			send_event(bare, scalars);
		}
	}
}

/* --- the reader --- */

static void open_ring(struct source *source)
{
	struct bare *bare = calloc(1, sizeof(*bare));
	struct epoll_event event = { .events = EPOLLIN };
	int memory_fd;
	if (bare == NULL || ring_create(&memory_fd) < 0 ||
	    ring_view_init(&bare->view, memory_fd) < 0)
		server_die("a ring");
	close(memory_fd);
	bare->flow = server_shared_memory(sizeof(*bare->flow));
	bare->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, bare->sockets) < 0 ||
	    epoll_ctl(bare->epoll_fd, EPOLL_CTL_ADD, bare->sockets[0], &event) < 0)
		server_die("a socket");
	source->state = bare;
	source->server = server_fork(serve, bare);
}

static bool take(struct bare *bare, struct sink *sink)
{
	const struct ring_event_slot *slot =
		&bare->view.events[bare->head & (bare->view.n_events - 1)];
	if (atomic_load_explicit(&slot->sequence, memory_order_acquire) != bare->head + 1)
		return false;
	uint64_t scalars[EVENT_SCALARS];
	ring_load(scalars, slot->payload, sizeof(scalars));
	bare->head++;
	atomic_store_explicit(&bare->view.header->event_head, bare->head, memory_order_release);
	sink_take(sink, scalars);
	return true;
}

static void wait_for_wake(struct bare *bare)
{
	const struct ring_event_slot *slot =
		&bare->view.events[bare->head & (bare->view.n_events - 1)];
	struct ring_socket_message wake;
	struct epoll_event event;
	atomic_store(&bare->view.header->client_sleeps, 1);
	if (atomic_load(&slot->sequence) == bare->head + 1) {
		atomic_store(&bare->view.header->client_sleeps, 0);
		return;
	}
	if (epoll_wait(bare->epoll_fd, &event, 1, -1) == 1)
		(void)!recv(bare->sockets[0], &wake, sizeof(wake), MSG_DONTWAIT);
}

static bool receive(struct source *source, const struct event_order *order, struct sink *sink)
{
	struct bare *bare = source->state;
	atomic_store(&bare->flow->read, 0);
	if (send(bare->sockets[0], order, sizeof(*order), MSG_NOSIGNAL) < 0)
		return false;
	for (;;) {
		while (take(bare, sink))
			;
		flow_tell(bare->flow, (uint32_t)sink->received);
		if (sink->received >= order->count)
			return true;
		wait_for_wake(bare);
	}
}

struct source source_ring = { .name = "ring", .open = open_ring, .receive = receive };
