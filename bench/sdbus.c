// SPDX-License-Identifier: Apache-2.0
/* An sd-bus connection, peer to peer. */

#include <bench/sdbus.h>

#include <errno.h>
#include <stdint.h>
#include <systemd/sd-id128.h>

#include <bench/server.h>

static void need(int ret, const char *what)
{
	if (ret >= 0)
		return;
	errno = -ret;
	server_die(what);
}

static sd_bus *open_end(int fd)
{
	sd_bus *bus = NULL;
	need(sd_bus_new(&bus), "sd-bus");
	need(sd_bus_set_fd(bus, fd, fd), "sd-bus");
	need(sd_bus_set_anonymous(bus, 1), "sd-bus");
	return bus;
}

sd_bus *sdbus_open_server(int fd)
{
	sd_bus *bus = open_end(fd);
	sd_id128_t id;
	need(sd_id128_randomize(&id), "sd-bus");
	need(sd_bus_set_server(bus, 1, id), "sd-bus");
	need(sd_bus_start(bus), "sd-bus");
	return bus;
}

sd_bus *sdbus_open_client(int fd)
{
	sd_bus *bus = open_end(fd);
	need(sd_bus_start(bus), "sd-bus");
	return bus;
}

void sdbus_loop(sd_bus *bus)
{
	for (;;) {
		int ret = sd_bus_process(bus, NULL);
		if (ret == 0)
			ret = sd_bus_wait(bus, UINT64_MAX);
		if (ret < 0)
			return;
	}
}
