/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* 16 numbers in sd-bus's terms, and the two ends of a connection without a broker. */

#include <systemd/sd-bus.h>

#define SDBUS_TYPES "tttttttttttttttt"
#define SDBUS_VALUES(a)                                                                          \
	(a)[0], (a)[1], (a)[2], (a)[3], (a)[4], (a)[5], (a)[6], (a)[7], (a)[8], (a)[9], (a)[10], \
		(a)[11], (a)[12], (a)[13], (a)[14], (a)[15]
#define SDBUS_PLACES(a)                                                                           \
	&(a)[0], &(a)[1], &(a)[2], &(a)[3], &(a)[4], &(a)[5], &(a)[6], &(a)[7], &(a)[8], &(a)[9], \
		&(a)[10], &(a)[11], &(a)[12], &(a)[13], &(a)[14], &(a)[15]
#define SDBUS_PATH      "/bench"
#define SDBUS_INTERFACE "org.opendext.Bench"

/* fd is consumed. Exits on failure. */
sd_bus *sdbus_open_server(int fd);
sd_bus *sdbus_open_client(int fd);
/* Wait for messages and process them, until the peer hangs up. */
void sdbus_loop(sd_bus *bus);
