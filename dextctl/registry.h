/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A copy of dextd's registry: every entry before those below it. */

#include <stdint.h>

#include <DriverKit/OSCollections.h>

struct registry_entry {
	uint64_t id;
	unsigned depth; // 0: below the root
	OSDictionary *properties;
};

struct registry {
	struct registry_entry *entries;
	uint32_t n_entries;
};

kern_return_t registry_init(struct registry *registry);
void registry_deinit(struct registry *registry);

/* The entry that `text` means: an id, or a name or class that only one driver's service has. */
kern_return_t registry_find(const char *text, uint64_t *id);

/* kill and restart: `what` is to be done to the service that `text` means. */
kern_return_t registry_control(const char *text, const char *what);
