/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Asynchronous calls: which callback an event of the ring is for. The ring carries a number, never
 * a pointer, so that a driver can only ever complete what this process asked for.
 *
 * All but async_begin and async_refused are called with the connection's lock held.
 */

#include <stdint.h>

#include <client/connection.h>
#include <wire/ring.h>

/* Before the call is submitted: *number goes into the request. */
kern_return_t async_begin(struct connection *c, struct IONotificationPort *port, uint64_t callback,
			  uint64_t refcon, uint64_t *number);
/* The call was refused: it never calls back. */
void async_refused(struct connection *c, uint64_t number);

/* An event came. `completion` was made before it was taken off the ring, and is consumed. */
struct completion;
struct completion *completion_new(void); // NULL: out of memory
void completion_free(struct completion *completion);
struct ring_event *completion_event(struct completion *completion);
void async_completed(struct connection *c, struct completion *completion);

/* The driver is gone: complete all that it still owes with kIOReturnAborted, and forget all. */
void async_abort_all(struct connection *c);
