/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Parts of files, side by side in this process's address space, guarded where one may shrink. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <DriverKit/IOReturn.h>
#include <base/fault.h>

/* A range of a file, which need not be aligned. */
struct window_piece {
	int fd; // borrowed for the call
	uint64_t offset, length;
};

struct window_shape {
	const struct window_piece *pieces; // in order; between two of them a page must end
	unsigned n_pieces;                 // at least 1
	bool writable;
	uint64_t address;   // where byte 0 is to be, where nothing else may be; 0: anywhere
	uint64_t alignment; // of the page that holds byte 0: a power of two; 0: a page
	uint64_t margin;    // bytes on either side that nobody can touch, rounded up to pages
};

struct window {
	void *bytes;    // byte 0 of what was asked for; NULL: not mapped
	void *reserved; // the mapping and its margins
	size_t reserved_size;
	bool guarded;
	struct fault_guard guard; // its range is the mapping, in whole pages
};

/* The window is embedded where it stays: the guard is registered by address. Fails with a reason:
 * kIOReturnNotAligned names the piece. */
kern_return_t window_open(struct window *window, const struct window_shape *shape);
void window_close(struct window *window); // harmless when it is not mapped

/* Has the memory behind it vanished? */
bool window_is_lost(const struct window *window);
