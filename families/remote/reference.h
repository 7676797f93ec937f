/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Both sides of a reference: `exported` is an object of ours that the peer has, `imported` one of
 * the peer's that we have. All of it belongs to the link's queue, but for what `lock` guards.
 */

#include <pthread.h>
#include <stdatomic.h>

#include <base/list.h>
#include <families/remote/link.h>
#include <runtime/queue.h>
#include <runtime/route.h>
#include <wire/channel.h>
#include <wire/codec.h>

#define REMOTE_REFERENCES_MAX 4096U // exports, imports

struct remote_link {
	_Atomic uint32_t references; // the owner's, imports', calls'
	IODispatchQueue *queue;      // owned
	IODispatchQueue *others;     // owned: runs the methods of objects without a queue
	_Atomic uint32_t n_waiting;  // messages
	pthread_mutex_t lock;        // imported.object, .cancelled
	/* The queue's: */
	struct channel *channel; // NULL: it is over
	struct fd_source *source;
	struct timer_source *expiry;
	struct list waiting; // message.link: to be sent
	struct list exports, imports;
	unsigned n_exports, n_imports;
	uint64_t last_number;
	void (*on_hangup)(void *context); // NULL: not wanted any more
	void *context;
};

struct exported {
	struct list link; // remote_link.exports
	uint64_t number;
	uint64_t sent;    // times that the peer was given it and has not said that it let go
	OSObject *object; // kept
};

struct imported {
	struct list link; // remote_link.imports
	struct route_proxy proxy;
	struct queue_item end;
	struct remote_link *of; // a reference
	uint64_t number;
	uint64_t received;
	bool is_root;
	bool cancelled;   // lock: an action that is cancelled here
	OSObject *object; // lock; not kept; NULL: it is being freed
};

extern const struct wire_references remote_references; // context: the link

int export_root(struct remote_link *link, OSObject *object);
struct exported *export_find(struct remote_link *link, uint64_t number); // NULL: none
void export_release(struct remote_link *link, uint64_t number, uint64_t count);
void export_release_all(struct remote_link *link);

/* A proxy of the peer's root. */
kern_return_t import_root(struct remote_link *link, OSArray *classes, IOService **service);

/* link.c: */
struct remote_link *remote_link_ref(struct remote_link *link);
void remote_link_unref(struct remote_link *link);
/* Any queue but the link's. A proxy's call: waits. */
kern_return_t remote_call(struct remote_link *link, uint64_t number,
			  const struct OSMethodShape *shape, void *msg);
/* Any queue. An action's invocation, or with number 0 DextPeer's: the message is copied, nothing
 * waits. */
kern_return_t remote_send(struct remote_link *link, uint64_t number,
			  const struct OSMethodShape *shape, const void *msg);
/* The link's queue: send what waits, and wait for what is to come. */
void remote_link_rearm(struct remote_link *link);
