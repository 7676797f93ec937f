/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * How much memory each application shares with this process, whose address space all of them
 * divide. Any thread.
 */

#include <stdint.h>

#include <DriverKit/IOReturn.h>

struct account;

/* That of an application's process; all its connections have one. NULL: out of memory. */
struct account *account_open(uint64_t application);
struct account *account_close(struct account *account); // returns NULL

/* Put `size` bytes on it, until lease_end. kIOReturnNoResources with a reason: it would have more
 * than is left for all others. */
struct lease;
kern_return_t lease_begin(struct lease **out, struct account *account, uint64_t size);
void lease_end(void *lease); // a callback of memory; may be NULL
