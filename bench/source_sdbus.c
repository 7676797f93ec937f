// SPDX-License-Identifier: Apache-2.0
/* A signal per event over sd-bus, peer to peer. */

#include <sys/socket.h>

#include <bench/sdbus.h>
#include <bench/server.h>
#include <bench/source.h>

enum { SIGNALS_PER_FLUSH = 64 };

static int orders[2], buses[2];
static sd_bus *client;
static struct sink *hearer; // of the burst under way

static bool emit(sd_bus *bus, const struct event_order *order)
{
	struct timespec next = { 0 };
	for (uint64_t number = 0; number < order->count; number++) {
		uint64_t scalars[EVENT_SCALARS];
		event_pace(order, &next);
		event_fill(scalars, number, order);
		if (sd_bus_emit_signal(bus, SDBUS_PATH, SDBUS_INTERFACE, "Event", SDBUS_TYPES,
				       SDBUS_VALUES(scalars)) < 0)
			return false;
		if ((order->interval_ns != 0 || number % SIGNALS_PER_FLUSH == 0) &&
		    sd_bus_flush(bus) < 0)
			return false;
	}
	return sd_bus_flush(bus) >= 0;
}

static void serve(void *context)
{
	sd_bus *bus = sdbus_open_server(buses[1]);
	struct event_order order;
	(void)context;
	server_confine();
	while (recv(orders[1], &order, sizeof(order), 0) == sizeof(order)) {
		/* The first time, this answers the client's greeting. */
		while (sd_bus_is_ready(bus) == 0)
			if (sd_bus_process(bus, NULL) == 0 && sd_bus_wait(bus, UINT64_MAX) < 0)
				return;
		if (!emit(bus, &order))
			return;
	}
}

static int on_signal(sd_bus_message *message, void *context, sd_bus_error *error)
{
	uint64_t scalars[EVENT_SCALARS];
	(void)context;
	(void)error;
	if (sd_bus_message_is_signal(message, SDBUS_INTERFACE, "Event") <= 0)
		return 0;
	if (sd_bus_message_read(message, SDBUS_TYPES, SDBUS_PLACES(scalars)) >= 0)
		sink_take(hearer, scalars);
	return 1;
}

static void open_bus(struct source *source)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, orders) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, buses) < 0)
		server_die("socketpair");
	source->server = server_fork(serve, NULL);
	client = sdbus_open_client(buses[0]);
	if (sd_bus_add_filter(client, NULL, on_signal, NULL) < 0)
		server_die("sd-bus");
}

static bool receive(struct source *source, const struct event_order *order, struct sink *sink)
{
	(void)source;
	hearer = sink;
	if (send(orders[0], order, sizeof(*order), MSG_NOSIGNAL) < 0)
		return false;
	while (sink->received < order->count) {
		int ret = sd_bus_process(client, NULL);
		if (ret == 0)
			ret = sd_bus_wait(client, UINT64_MAX);
		if (ret < 0)
			return false;
	}
	return true;
}

struct source source_sdbus = { .name = "sdbus", .open = open_bus, .receive = receive };
