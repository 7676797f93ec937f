/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One application's connection, the dext's side: its ring is served on the user client's queue.
 * An idle one is a few hundred bytes beside its ring. Several processes may serve it, one after the
 * other; what this one is given of it is here.
 */

#include <pthread.h>

#include <DriverKit/IOUserClient.h>
#include <base/list.h>
#include <runtime/queue.h>
#include <wire/ring.h>

enum { CONNECTION_MAPPINGS_MAX = 64 };

/* What wakes one worker for this connection. */
struct connection_bell {
	int fd; // owned; -1: none
	struct fd_source *source;
};

struct connection {
	struct list link;       // hosted.connections
	uint64_t id;            // registry entry of the user client
	uint64_t application;   // its process: what it shares is counted together
	_Atomic uint32_t refs;  // the connection's owner, and each asynchronous call under way
	IOUserClient *client;   // owned until close
	IODispatchQueue *queue; // owned: the client's default queue
	struct ring_server *ring;
	int socket_fd;                                // owned
	struct connection_bell bells[RING_DOORBELLS]; // queue; by worker
	uint32_t bells_tried;                         // queue; bit: it was made, or could not be
	struct queue_item turn;                       // more calls than one turn takes
	struct queue_item release;                    // they are not held any more
	_Atomic bool held, releasing;
	bool turning, serving, dead; // queue
	uint64_t looked_ns;          // queue: when last for others

	struct list mappings; // queue: what the application mapped
	uint32_t n_mappings;
	struct buffers *buffers; // queue; NULL: the application shared none

	pthread_mutex_t lock;    // guards what follows, and sends on the socket
	struct list completions; // completion.link: asynchronous calls that were not aborted
	uint32_t reserved;       // events promised to asynchronous calls that have not completed
	bool closed;             // nothing is sent any more
	bool overflowing;        // the last completion found no room, and was reported
};

/* What dextd gives of a connection. */
struct connection_ends {
	uint64_t id;                // registry entry of the user client
	uint64_t application;       // the process that opened it; 0: unknown
	OSDictionary *entitlements; // of who opened it; borrowed; NULL: unknown
	uint32_t generation;        // of the ring, as dextd counts it; 1: nobody served it before
	int memory_fd, socket_fd, doorbell_fd;
};

/* Begin to serve. `client` is kept; the descriptors are consumed, also on failure. */
kern_return_t connection_open(struct connection **out, const struct connection_ends *ends,
			      IOUserClient *client);
/* Before the client's Stop, when a successor is to go on: take no further call. */
void connection_pause(struct connection *connection);
/* Begin no call until this is called again without `hold`; those under way go on. Any queue, never
 * blocks. */
void connection_hold(struct connection *connection, bool hold);
/* After the client's Stop. Not on the client's queue: no call runs when it returns. `keep`: a
 * successor goes on with the ring, so it stays open. */
void connection_close(struct connection *connection, bool keep);
/* The method that is about to execute a call with these arguments may do so twice. */
void connection_note_idempotent(IOUserClient *client, const IOUserClientMethodArguments *arguments);
/* Of what keeps one beside its owner: an action of a call. */
void connection_unref(struct connection *connection);
