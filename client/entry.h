/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Registry entries as the application holds them: an id of dextd's behind a number. */

#include <IOKit/IOKitLib.h>

/* A number for the entry; IO_OBJECT_NULL: out of memory. */
io_object_t entry_new(uint64_t id);
/* kIOReturnBadArgument: no entry. */
kern_return_t entry_get_id(io_registry_entry_t entry, uint64_t *id);
