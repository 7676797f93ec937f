/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * An application's open connection to a service. dextd makes the ring, the socket and the doorbell,
 * asks the dext to serve them, hands the application its ends, and keeps the ring's memory and its
 * doorbell: a dext that dies is replaced, and the next one is asked to go on with them.
 */

#include <stdbool.h>
#include <stdint.h>

#include <DriverKit/OSCollections.h>
#include <base/list.h>

struct channel_call;
struct client;
struct daemon;
struct dext;
struct DextDirectory_Open_Msg;
struct entry;
struct service;

#define CONNECTIONS_PER_CLIENT_MAX 8192U
#define CONNECTIONS_OPENING_MAX    64U // of one client, not answered yet
#define CONNECTIONS_RESUMING_MAX   32U // of one dext, not answered yet

struct connection {
	struct list client_link; // client.connections
	struct list dext_link;   // dext.connections; service.orphans, while there is no dext
	struct list news_link;   // client.news, while there is something to tell
	struct daemon *daemon;
	struct client *client;      // NULL: it has gone
	struct dext *dext;          // NULL: it has died, or the service has stopped
	struct entry *entry;        // NULL: it has ended
	uint64_t id;                // the entry's
	uint32_t type;              // of its user client
	uint32_t generation;        // of the ring: how many dexts were asked to serve it
	int memory_fd;              // owned
	int doorbell_fd;            // owned: the first worker's, whichever the dext
	int socket_fd;              // owned: the application's end, until it has it
	OSDictionary *entitlements; // owned: of the client, as they were when it opened
	bool awake;                 // idle CPUs are kept awake for it (awake.h)
	bool urgent;                // and its driver wishes for a raised priority
	/* While the dext is asked to open it: */
	struct channel_call *call;
	struct DextDirectory_Open_Msg *msg; // of the call
	bool resuming;                      // the dext is asked to go on with it
	bool closing;                       // the dext is asked to close it
	uint64_t deadline_ns;               // of what the dext is asked
};

/* Answers `call`, now or later. */
void connection_open(struct client *client, struct entry *service, struct channel_call *call,
		     struct DextDirectory_Open_Msg *msg);
/* Frees it, now or once the dext has answered. */
void connection_close(struct connection *connection);
struct connection *connection_find(struct client *client, uint64_t id); // NULL: none

/* End those below a service that a driver takes back. */
void connection_end_below(struct dext *dext, const struct entry *entry, const char *reason);
/* The service does not run in this dext any more. `keep`: it is to run in another, and its
 * connections wait for that; else they end: who waits in them gets kIOReturnAborted and `reason`.
 */
void connection_service_left(struct dext *dext, struct service *service, bool keep,
			     const char *reason);
/* A service of this dext has started: go on with what waited for that. */
void connection_resume_all(struct dext *dext);
/* The service will not run again. */
void connection_end_orphans(struct service *service, const char *reason);
