/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Memory that an application shares with a connection by address: dext_buffer_create. */

#include <client/connection.h>

/* Unmap all of them. With the turn at the maps, or by the last who has the connection. */
void connection_free_regions(struct connection *c);

static inline bool connection_has_regions(const struct connection *c)
{
	return atomic_load_explicit(&c->n_regions, memory_order_relaxed) > 0;
}

/* Does a driver know of one that holds this range? */
bool connection_has_region(struct connection *c, const void *address, size_t size);

/* Register with the driver that serves the ring now what its predecessor knew, within the call time
 * limit. Fails with a reason. */
kern_return_t connection_renew_regions(struct connection *c);

/* Before a call: does its driver know of them all? *n: how many those are. */
static inline kern_return_t connection_check_regions(struct connection *c, uint32_t *n)
{
	*n = atomic_load_explicit(&c->n_regions, memory_order_relaxed);
	if (*n == 0 || atomic_load_explicit(&c->regions_generation, memory_order_relaxed) ==
			       ring_client_generation(c->ring))
		return kIOReturnSuccess;
	kern_return_t status = connection_renew_regions(c);
	*n = atomic_load_explicit(&c->n_regions, memory_order_relaxed);
	return status;
}
