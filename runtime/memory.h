/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Memory descriptors from the inside: what families and backends need beyond the public calls.
 */

#include <stdbool.h>
#include <stdint.h>

#include <DriverKit/IOMemoryDescriptor.h>
#include <runtime/window.h>

enum { MEMORY_PARTS_MAX = 32, MEMORY_PIECES_MAX = 256 }; // of a concatenation; of all in it

/* What backs a descriptor. */
struct memory_backing {
	int fd;              // borrowed from the descriptor; -1: several, see memory_get_pieces
	uint64_t offset;     // of byte 0 in fd
	uint64_t length;     // now: SetLength changes it
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
/* It is another process's: a part of it with the direction Out can be mapped here read-only alone,
 * and no part can be made that allows more than the whole. Before it is shared. */
void memory_set_foreign(IOMemoryDescriptor *memory);
/* Run on_free when the last reference to it, and to all that was made of it, is gone. Before it is
 * shared. */
void memory_set_on_free(IOMemoryDescriptor *memory, void (*on_free)(void *context), void *context);
void memory_get_backing(IOMemoryDescriptor *memory, struct memory_backing *backing);
/* The ranges of files that hold `length` bytes from `offset`, in order, their descriptors borrowed;
 * `pieces` has room for MEMORY_PIECES_MAX. The range must be within the capacity. */
unsigned memory_get_pieces(IOMemoryDescriptor *memory, uint64_t offset, uint64_t length,
			   struct window_piece *pieces);
/* A concatenation of any number of descriptors up to MEMORY_PIECES_MAX, each kept: what
 * CreateWithMemoryDescriptors makes of 32. */
kern_return_t memory_concatenate(uint32_t direction, unsigned count,
				 IOMemoryDescriptor *const *memories, IOMemoryDescriptor **memory);

/*
 * Make ready to be given to a process that is not trusted: a holder of the descriptor can map all
 * of its file, so that must be no more than the memory; and with `read_only`, or a direction of
 * Out, nobody may be able to map it for writing from now on. Refused where that cannot be had. This
 * process's own mappings stay as they are.
 */
kern_return_t memory_share(IOMemoryDescriptor *memory, bool read_only);

/* The bytes of `memory` in this process, mapped once and kept until the descriptor is freed:
 * what a USB backend reads and writes. They can be written whatever its direction is: the caller
 * holds to that. Fails with a reason: a concatenation whose parts cannot lie side by side, too. */
kern_return_t memory_get_bytes(IOMemoryDescriptor *memory, void **address, uint64_t *length);
/* The bytes from `offset` in this process, and how many follow in one piece: what memory_get_bytes
 * cannot give of parts that do not lie side by side. */
kern_return_t memory_get_span(IOMemoryDescriptor *memory, uint64_t offset, uint8_t **bytes,
			      uint64_t *length);
/* May this process write to it? Not to what another one gave to be read. */
bool memory_is_writable(IOMemoryDescriptor *memory);
/* Has the memory behind those bytes vanished? They are zeroes then, and what was read may be void.
 */
bool memory_is_lost(IOMemoryDescriptor *memory);
