/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The SIGBUS handler of both libraries: memory that a peer truncated, or that vanished with its
 * device, becomes zeroes and a flag instead of a death.
 *
 * A guarded range is registered before it is first touched. When a fault falls into one, the
 * handler replaces the whole range with private zero pages and sets `lost`; a fault anywhere else
 * goes to whoever handled SIGBUS before. Lookup in the handler takes no lock: the table is a fixed
 * array of 16384 entries with atomic slots. Any thread.
 */

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct fault_guard {
	void *address;
	size_t length;
	_Atomic uint32_t lost; // 1 once the memory behind it has vanished
};

/* Install the handler once per process; later calls do nothing. 0 or negative errno. */
int fault_handler_install(void);
/* The guard is borrowed until fault_guard_remove. -ENOSPC: the table is full. */
int fault_guard_add(struct fault_guard *guard);
void fault_guard_remove(struct fault_guard *guard);
