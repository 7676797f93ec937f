// SPDX-License-Identifier: Apache-2.0
/* sd-bus, peer to peer: the fastest D-Bus there is, and with no broker between. */

#include <bench/caller.h>

#include <stdlib.h>
#include <sys/socket.h>

#include <bench/sdbus.h>
#include <bench/server.h>

struct flight {
	uint64_t *out;
	unsigned under_way;
	bool failed;
};

static int sockets[2];

static int on_call(sd_bus_message *message, void *context, sd_bus_error *error)
{
	uint64_t scalars[CALLER_SCALARS];
	int ret = sd_bus_message_read(message, SDBUS_TYPES, SDBUS_PLACES(scalars));
	(void)context;
	(void)error;
	if (ret < 0)
		return ret;
	caller_serve(scalars);
	return sd_bus_reply_method_return(message, SDBUS_TYPES, SDBUS_VALUES(scalars));
}

static const sd_bus_vtable methods[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("Call", SDBUS_TYPES, SDBUS_TYPES, on_call, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

static void serve(void *context)
{
	sd_bus *bus = sdbus_open_server(*(const int *)context);
	if (sd_bus_add_object_vtable(bus, NULL, SDBUS_PATH, SDBUS_INTERFACE, methods, NULL) < 0)
		server_die("sd-bus");
	server_confine();
	sdbus_loop(bus);
}

static void open_bus(struct caller *caller)
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
		server_die("socketpair");
	caller->server = server_fork(serve, &sockets[1]);
	caller->state = sdbus_open_client(sockets[0]);
}

static bool call(struct caller *caller, const uint64_t *in, uint64_t *out)
{
	sd_bus_message *reply = NULL;
	bool ok = sd_bus_call_method(caller->state, NULL, SDBUS_PATH, SDBUS_INTERFACE, "Call", NULL,
				     &reply, SDBUS_TYPES, SDBUS_VALUES(in)) >= 0 &&
		  sd_bus_message_read(reply, SDBUS_TYPES, SDBUS_PLACES(out)) >= 0;
	sd_bus_message_unref(reply);
	return ok;
}

/* Replies come in the order of the calls. */
static int on_reply(sd_bus_message *reply, void *context, sd_bus_error *error)
{
	struct flight *flight = context;
	(void)error;
	if (sd_bus_message_read(reply, SDBUS_TYPES, SDBUS_PLACES(flight->out)) < 0)
		flight->failed = true;
	flight->out += CALLER_SCALARS;
	flight->under_way--;
	return 1;
}

static bool call_many(struct caller *caller, const uint64_t *in, uint64_t *out)
{
	sd_bus *bus = caller->state;
	struct flight flight = { .out = out };
	for (; flight.under_way < CALLER_FLIGHT; in += CALLER_SCALARS, flight.under_way++)
		if (sd_bus_call_method_async(bus, NULL, NULL, SDBUS_PATH, SDBUS_INTERFACE, "Call",
					     on_reply, &flight, SDBUS_TYPES, SDBUS_VALUES(in)) < 0)
			return false;
	while (flight.under_way > 0) {
		int ret = sd_bus_process(bus, NULL);
		if (ret == 0)
			ret = sd_bus_wait(bus, UINT64_MAX);
		if (ret < 0)
			return false;
	}
	return !flight.failed;
}

struct caller caller_sdbus = {
	.name = "sdbus",
	.open = open_bus,
	.call = call,
	.call_many = call_many,
};
