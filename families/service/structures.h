/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The structures of one call: as the ring brought them, and as a method is given them and gives
 * them back. On the connection's queue.
 */

#include <DriverKit/IOUserClient.h>
#include <wire/ring.h>

struct connection;

struct structures {
	OSData *input;                         // up to a block
	IOMemoryDescriptor *input_part, *room; // more than that
};

/* Those of a request; ended by structures_deinit, also on failure, which has a reason. */
kern_return_t structures_init(struct structures *s, const struct connection *c,
			      const struct ring_request *request);
void structures_deinit(struct structures *s);

/* What the method made of `args` becomes the reply's structure, or a file that is sent to the
 * application. Fails with a reason: it does not fit, or the memory where it lies has vanished. */
kern_return_t structures_take(const struct structures *s, struct connection *c,
			      const struct ring_request *request,
			      const IOUserClientMethodArguments *args, struct ring_reply *reply);
