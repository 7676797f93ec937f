/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Asynchronous calls: which callback an event of the ring is for. The ring carries a number, never
 * a pointer, so that a driver can only ever complete what this process asked for.
 *
 * What an event or the end does is called with the connection's lock held.
 */

#include <stdbool.h>
#include <stdint.h>

#include <client/connection.h>
#include <wire/ring.h>

/* Before the call is submitted; its number goes into the request. The reference is consumed by one
 * of the next two. */
struct async_call;
kern_return_t async_begin(struct connection *c, struct IONotificationPort *port, uint64_t callback,
			  uint64_t refcon, struct async_call **call);
uint64_t async_number(const struct async_call *call);
/* The driver of that generation took it on. */
void async_accepted(struct connection *c, struct async_call *call, uint32_t generation);
/* The call was refused, or its connection ended: it never calls back. False: it has done so
 * already, on another thread, and must pass for accepted. */
bool async_refused(struct connection *c, struct async_call *call);

/* An event came, on the thread that dispatches `port`: the call it is for, borrowed, if that calls
 * back there, and then the completion is counted; else NULL, and nothing has happened. */
struct async_call *async_direct(struct connection *c, const struct IONotificationPort *port,
				const struct ring_event *event);
struct async_call *async_ref(struct async_call *call);
void async_unref(struct async_call *call);
/* Run the callback, unless the call was refused; `event` is its to change. With no lock held. */
void async_call_back(struct async_call *call, struct ring_event *event);

/* An event came. `completion` was made before it was taken off the ring, and is consumed. */
struct completion;
struct completion *completion_new(void); // NULL: out of memory
void completion_free(struct completion *completion);
struct ring_event *completion_event(struct completion *completion);
void async_completed(struct connection *c, struct completion *completion);

/* The driver was replaced by that of `generation`: complete with kIOReturnAborted what those before
 * still owe, and forget it. */
void async_abort_before(struct connection *c, uint32_t generation);
/* The driver is gone: complete all that it still owes with kIOReturnAborted, and forget all. */
void async_abort_all(struct connection *c);
