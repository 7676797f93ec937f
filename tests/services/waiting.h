/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What Watcher waits for of a service's state. On its default queue. */

#include <stdbool.h>
#include <stdint.h>

#include <DriverKit/IOServiceStateNotificationDispatchSource.h>

struct Watcher;

struct waiting {
	IOService *service; // kept
	IOServiceStateNotificationDispatchSource *source;
	uint64_t n_changed;
	bool again, ended;
};

void waiting_changed(struct waiting *w);
void waiting_end(struct waiting *w, void *context, IODispatchFunction handler);
/* watcher.h, from WATCHER_WAIT on. */
kern_return_t waiting_try(struct waiting *w, struct Watcher *self, IOService *service,
			  uint64_t what, uint64_t argument, uint64_t *result);
