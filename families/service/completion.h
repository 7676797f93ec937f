/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * An asynchronous call of an application, from its submission until the driver lets go of its
 * action: what completes it becomes an event of the connection's ring.
 */

#include <stdint.h>

#include <DriverKit/OSAction.h>

struct completion;
struct connection;

/* `async` is the application's number for the call. The action is returned; it keeps the
 * connection, and the completion lives as long as it. On the connection's queue. Fails with a
 * reason: the event ring has no place to promise. */
kern_return_t completion_new(struct connection *connection, uint64_t async,
			     struct completion **completion, OSAction **action);

/* ExternalMethod returned success. From now on an action that is dropped completes as aborted;
 * without this, it never completes. */
void completion_accept(struct completion *completion);

/* The application is gone: the actions that the driver still has are aborted. */
void completion_abort_all(struct connection *connection);
