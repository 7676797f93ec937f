/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The conversation between two drivers, one of which is the other's provider: each calls objects
 * that live in the other's process. dextd makes the socket and gives an end to each; it is not in
 * the way of a call.
 *
 * An object that is passed gets a number and stays alive until the other side has let go of it;
 * there it is a proxy (runtime/route.h) of the nearest class that is known. An OSAction passed can
 * be invoked there, any number of times, and is delivered here. A memory descriptor is passed with
 * its file. Values (OSContainer) are copied.
 *
 * Nothing that the peer says is believed: it may call what it was given a reference to, and of that
 * what its interface says; a malformed message ends the conversation, and nothing else.
 */

#include <DriverKit/IOService.h>

struct remote_link;

#define REMOTE_ROOT 1U // the number of a side's first object

/*
 * `fd` is consumed, also on failure. `root` is kept: what the peer may call from the start; NULL:
 * nothing. on_hangup is called once, on a queue of the link's, if the peer ends it; may be NULL.
 */
int remote_link_open(struct remote_link **out, int fd, OSObject *root,
		     void (*on_hangup)(void *context), void *context);
/* From any queue. Calls under way end with kIOReturnOffline, proxies answer so from now on, what
 * was passed is let go of. on_hangup is not called any more. Returns NULL. */
struct remote_link *remote_link_close(struct remote_link *link);

/* The peer's root, as the nearest class known here of `classes`, the names of its class and those
 * above, that is an IOService. When its last reference goes, so does the link. Returned. */
kern_return_t remote_link_take_root(struct remote_link *link, OSArray *classes,
				    IOService **service);

/* A service of another driver, which serves `fd` (consumed): a proxy of the nearest class of
 * `classes` that is known here. Returned. */
kern_return_t remote_open_service(int fd, OSArray *classes, IOService **service);
