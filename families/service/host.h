/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The dext as a process: its conversation with dextd, the services it runs, and their life.
 */

#include <DriverKit/IOService.h>

struct channel_call;

/* Call dextd and wait, at most 5 s, with the event loop handed over; from any thread but the
 * control queue's. `take` moves what the caller wants to own from the reply into `msg`; NULL:
 * nothing. Without a channel (a unit test): kIOReturnNotReady. */
kern_return_t host_call(const struct OSMethodShape *shape, void *msg,
			void (*take)(void *msg, void *reply));
/* The same for what dextd itself bounds, however long that takes. */
kern_return_t host_call_patiently(const struct OSMethodShape *shape, void *msg);

/* Send a oneway message to dextd; never blocks. `msg` holds no objects. */
void host_send(const struct OSMethodShape *shape, const void *msg);

/* The service of this process with that registry entry; NULL: none, or it stops. Returned. Any
 * queue but the control queue. */
IOService *host_copy_service(uint64_t id);

/* Run `item` on the control queue. False: this is no dext, or it is ending. */
struct queue_item;
bool host_post(struct queue_item *item);
/* On the control queue. `call` is consumed. */
void host_reply(struct channel_call *call, kern_return_t status, const char *reason);

/* A service that a driver made with Create: give it an identity and start it below `parent`. A user
 * client gets its identity from the connection that is being opened. */
kern_return_t host_adopt(IOService *parent, IOService *made);

/* Stop an adopted service, later, and remove it. */
kern_return_t host_terminate(IOService *service);

/* Serve dextd on `channel_fd` (consumed) until it hangs up. The process's exit status. */
int host_run(int channel_fd);
