/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One service that dextd matched and this dext runs: its provider, its clients, its life.
 *
 * What can take long - creating the provider, Start, NewUserClient, Stop - runs on the `life` queue
 * of the hosted service, one at a time, so that dextd's conversation stays answered.
 */

#include <pthread.h>

#include <base/list.h>
#include <families/family.h>
#include <wire/channel.h>

struct connection_ends;

struct hosted {
	struct list link;              // host.services, control queue
	uint64_t id;                   // registry entry
	bool stopping;                 // control queue: its stop is under way, nothing more begins
	bool keep;                     // set with it: a successor goes on with the connections
	IODispatchQueue *life;         // owned
	IODispatchQueue *device_queue; // owned: serves the backend's descriptors
	struct device_handover handover;
	OSDictionary *personality; // owned
	const struct family_ops *family;
	IOService *provider; // owned
	IOService *service;  // owned; NULL until started
	uint64_t opening;    // life queue: the connection that NewUserClient is called for
	pthread_mutex_t lock;
	OSDictionary *entitlements; // lock: of whom NewUserClient is called for; owned
	struct list connections;    // lock
	struct list children;       // lock: services made with Create
	struct list links;          // lock: drivers that run on one of these services
	bool held;                  // lock: its connections are
	bool full;                  // lock: it stops, and nothing more is made
	_Atomic uint32_t n_ending;  // ends under way, each on a queue of its own; a futex word
};

struct DextHost_StartService_Msg;

/* Takes over the message's objects and descriptors. */
int hosted_new(struct hosted **out, struct DextHost_StartService_Msg *msg);
struct hosted *hosted_free(struct hosted *hosted); // stopped before; returns NULL

/* On the life queue. Each leaves its reason with the thread. */
kern_return_t hosted_start(struct hosted *hosted);
void hosted_stop(struct hosted *hosted);
kern_return_t hosted_open(struct hosted *hosted, uint32_t type,
			  const struct connection_ends *ends); // descriptors are consumed
/* Of who opens, as dextd describes it; 0: it does not say. Any queue. */
uint64_t hosted_pid_of(OSDictionary *application);

/* Any queue: another driver runs on `service`, this one or one it made. `socket_fd` is consumed. */
kern_return_t hosted_serve_driver(struct hosted *hosted, uint64_t service, int socket_fd);
/* They have stopped: let go of what they were passed. */
void hosted_end_drivers(struct hosted *hosted, uint64_t service);
IOService *hosted_copy_service(struct hosted *hosted, uint64_t service); // returned; NULL: none
/* It is off, or is to be: calls that have not begun wait. Any queue, never blocks. */
void hosted_hold_calls(struct hosted *hosted, bool hold);
bool hosted_has_service(struct hosted *hosted, uint64_t service);

/* Any queue but the life queue. Stop a service, the hosted one or one that it made, and take back
 * what it left open at the provider. */
void hosted_end_life(struct hosted *hosted, IOService *service);

/* The end of a client or of another service that was made takes a queue of its own: one whose
 * method does not return keeps its own end waiting, and nobody else's open. hosted_stop waits for
 * what was announced. */
void hosted_announce_end(struct hosted *hosted);
void hosted_ended(struct hosted *hosted);
/* Announced before; on such a queue. */
kern_return_t hosted_close(struct hosted *hosted, uint64_t connection);
