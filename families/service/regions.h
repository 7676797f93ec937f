/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Memory that an application registered with its connection, under the addresses that it has
 * there: what CreateMemoryDescriptorFromClient finds. A user client has one set of regions, as long
 * as it lives. Any thread.
 */

#include <stdint.h>

#include <DriverKit/IOUserClient.h>

struct regions;

enum { REGIONS_MAX = 64 }; // of a connection

struct regions *regions_new(void);                     // NULL: out of memory
struct regions *regions_free(struct regions *regions); // may be NULL; returns NULL

/* `memory` is kept. Fails with a reason: the range is none, is taken, or there are too many. */
kern_return_t regions_add(struct regions *regions, uint64_t address, uint64_t size,
			  IOMemoryDescriptor *memory);
/* Forget the one that begins at `address`; what was made of it stays. */
kern_return_t regions_remove(struct regions *regions, uint64_t address);
unsigned regions_count(struct regions *regions); // may be NULL: 0
/* The connection has ended: forget all. */
void regions_clear(struct regions *regions);

/* A part of the one region that holds the range. Returned. kIOReturnBadArgument with a reason. */
kern_return_t regions_part(struct regions *regions, uint64_t address, uint64_t length,
			   uint32_t direction, IOMemoryDescriptor **memory);

/* Those of a user client; NULL: its init was never reached. */
struct regions *user_client_regions(IOUserClient *client);
