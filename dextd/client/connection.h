/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * An application's open connection to a service. dextd makes the ring, the socket and the doorbell,
 * asks the dext to serve them, hands the application its ends, and keeps the ring's memory: with it
 * everybody who waits is told when the dext dies.
 */

#include <stdbool.h>
#include <stdint.h>

#include <base/list.h>

struct channel_call;
struct client;
struct daemon;
struct dext;
struct DextDirectory_Open_Msg;
struct entry;

#define CONNECTIONS_PER_CLIENT_MAX 8192U
#define CONNECTIONS_OPENING_MAX    64U // of one client, not answered yet

struct connection {
	struct list client_link; // client.connections
	struct list dext_link;   // dext.connections
	struct daemon *daemon;
	struct client *client; // NULL: it has gone
	struct dext *dext;     // NULL: it has died, or the service has stopped
	struct entry *entry;   // NULL: likewise
	uint64_t id;           // the entry's
	int memory_fd;         // owned
	bool awake;            // idle CPUs are kept awake for it (awake.h)
	bool urgent;           // and its driver wishes for a raised priority
	/* While the dext is asked to open it: */
	struct channel_call *call;
	struct DextDirectory_Open_Msg *msg; // of the call
	int socket_fd, doorbell_fd;         // owned: the application's ends
	bool closing;                       // the dext is asked to close it
	uint64_t deadline_ns;               // of what the dext is asked
};

/* Answers `call`, now or later. */
void connection_open(struct client *client, struct entry *service, struct channel_call *call,
		     struct DextDirectory_Open_Msg *msg);
/* Frees it, now or once the dext has answered. */
void connection_close(struct connection *connection);
struct connection *connection_find(struct client *client, uint64_t id); // NULL: none

/* End all connections of a dext, or those of one of its services: who waits in them gets
 * kIOReturnAborted and `reason`. */
void connection_dext_died(struct dext *dext, const char *reason);
void connection_end_below(struct dext *dext, const struct entry *entry, const char *reason);
