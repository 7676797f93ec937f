/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What this process has dextd watch: dextd names a watch by a number, and says that there is
 * something to ask for. Any thread.
 */

#include <stdint.h>

#include <base/list.h>

struct watch {
	struct list link; // those that dextd may name
	uint64_t cookie;
	/* Required. dextd has something new; on its conversation's queue: must not wait. */
	void (*changed)(void *context);
	void *context;
};

/* Give it a number, before dextd is asked. It is borrowed until watch_end. */
void watch_begin(struct watch *watch, void (*changed)(void *context), void *context);
/* `changed` is not called any more; dextd is told. */
void watch_end(struct watch *watch);

void watch_tell(uint64_t cookie); // host.c: dextd has said so
