/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Memory descriptors from the inside: what families and backends need beyond the public calls.
 */

#include <stdbool.h>
#include <stdint.h>

#include <DriverKit/IOMemoryDescriptor.h>

/* What backs a descriptor. */
struct memory_backing {
	int fd;          // borrowed from the descriptor
	uint64_t offset; // of byte 0 in fd
	uint64_t length;
	uint32_t direction;  // kIOMemoryDirection…
	uint32_t cache_mode; // kIOMemoryMapCacheMode…
};

/* A descriptor over `fd`, which is consumed, also on failure. The range is checked against fstat
 * when fd is a regular file or memfd: a range beyond its end is refused with a reason. */
kern_return_t memory_descriptor_create(int fd, uint64_t offset, uint64_t length, uint32_t direction,
				       IOMemoryDescriptor **memory);
/* What a mapping of it is cached like; kIOMemoryMapCacheModeDefault until set. Before it is shared.
 */
void memory_set_cache_mode(IOMemoryDescriptor *memory, uint32_t cache_mode);
void memory_get_backing(IOMemoryDescriptor *memory, struct memory_backing *backing);

/*
 * Make ready to be given to a process that is not trusted: a holder of the descriptor can map all
 * of its file, so that must be no more than the memory; and with `read_only`, or a direction of
 * Out, nobody may be able to map it for writing from now on. Refused where that cannot be had. This
 * process's own mappings stay as they are.
 */
kern_return_t memory_share(IOMemoryDescriptor *memory, bool read_only);

/* The bytes of `memory` in this process, mapped once and kept until the descriptor is freed:
 * what a USB backend reads and writes. Fails with a reason. */
kern_return_t memory_get_bytes(IOMemoryDescriptor *memory, void **address, uint64_t *length);
/* Has the memory behind those bytes vanished? They are zeroes then, and what was read may be void.
 */
bool memory_is_lost(IOMemoryDescriptor *memory);
