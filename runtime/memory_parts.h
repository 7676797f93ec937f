/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a memory descriptor is made of. Private to runtime/memory*.c. */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <runtime/memory.h>

enum { MEMORY_MARGIN = 4096 }; // on either side of a mapping: one page, whatever its size is

/* Exactly one of `fd`, `whole` and `parts` says where the bytes are. Constant once it is shared,
 * but for `length` and the windows. */
struct IOMemoryDescriptor_IVars {
	int fd;                     // owned; -1: none
	IOMemoryDescriptor *whole;  // kept: this is a part of that, which has no parts
	IOMemoryDescriptor **parts; // owned, each kept: this is their concatenation; each has a
				    // whole, and so a length that stays
	unsigned n_parts;
	uint64_t offset;   // of byte 0 in the file
	uint64_t capacity; // the most that `length` may be
	uint32_t direction;
	uint32_t cache_mode;
	uint64_t alignment;             // of byte 0 in this process; 0: as it comes
	void (*on_free)(void *context); // NULL: nobody asked
	void *context;
	bool is_foreign; // another process made it: its direction binds this one
	_Atomic uint64_t length;
	pthread_mutex_t lock;
	struct window window;    // guarded by lock until mapped, then constant
	struct window read_only; // the same; of foreign memory
};

static inline uint64_t length_of(const struct IOMemoryDescriptor_IVars *iv)
{
	return atomic_load_explicit(&iv->length, memory_order_relaxed);
}

static inline bool is_writable(const struct IOMemoryDescriptor_IVars *iv)
{
	return !iv->is_foreign || (iv->direction & kIOMemoryDirectionIn) != 0;
}

/* Give `object`, which is fresh, its state; `fd` is consumed on success. */
kern_return_t memory_set_up(IOMemoryDescriptor *object, int *fd, uint64_t offset, uint64_t length,
			    uint32_t direction);

/* Check a range; `length` 0 means to the end and is replaced. */
kern_return_t memory_check_range(const char *what, uint64_t room, uint64_t offset,
				 uint64_t *length);

/* The window of the nearest descriptor, from this one up, that is mapped, and where this one's
 * byte 0 is in it; NULL: none is. */
const struct window *memory_mapped(struct IOMemoryDescriptor_IVars *iv, char **bytes);

/* The same of a read-only window of foreign memory, which is made if there is none yet. */
kern_return_t memory_map_read_only(IOMemoryDescriptor *memory, const struct window **window,
				   char **bytes);
