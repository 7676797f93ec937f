/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A result whose size the driver chose: memory that is made here, and the caller's to release.
 */

#include <DriverKit/IOReturn.h>
#include <wire/ring.h>

struct connection;

/* That of a call which succeeded, in whole pages of the caller's own; NULL if there is none. Fails
 * with a reason: the driver sent no memory that can be trusted to stay as it is. */
kern_return_t output_new(struct connection *c, uint64_t sequence, const struct ring_reply *reply,
			 void **address);
