/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A part of a file in this process's address space, guarded where the file may shrink. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <DriverKit/IOReturn.h>
#include <base/fault.h>

struct window {
	void *bytes; // byte 0 of what was asked for; NULL: not mapped
	size_t size;
	bool guarded;
	struct fault_guard guard; // its range is the mapping, in whole pages
};

/* Map `length` bytes of `fd` from `offset`, which need not be aligned. The window is embedded where
 * it stays: the guard is registered by address. Fails with a reason. */
kern_return_t window_open(struct window *window, int fd, uint64_t offset, uint64_t length,
			  bool writable);
void window_close(struct window *window); // harmless when it is not mapped

/* Has the memory behind it vanished? */
bool window_is_lost(const struct window *window);
