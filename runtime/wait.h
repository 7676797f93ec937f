/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Who waits for which queue: circles are found and reported, and all queues can be shown. */

#include <base/list.h>
#include <base/stack.h>
#include <runtime/queue_parts.h>

/* A thread that cannot go on before it has `queue`. */
struct wait {
	struct list link; // waits
	uint32_t thread;
	struct IODispatchQueue_IVars *queue;
	bool is_known;      // `stack` was taken
	struct stack stack; // where it waits
};

/* The calling thread is about to wait. `check`: -EDEADLK if whoever must first let go of the queue
 * waits for this thread; the circle is then reported, and the wait has not begun. */
int wait_begin(struct wait *wait, struct IODispatchQueue_IVars *q, bool check);
void wait_end(struct wait *wait);

/* Sleep until *word is not 0, or deadline_ns (0: none): 0 or -ETIMEDOUT. A wait that lasts notes
 * where the thread is, for reports. */
int wait_sleep(struct wait *wait, _Atomic uint32_t *word, uint64_t deadline_ns);

/* Every queue is in the list from its making to its end. */
void queues_add(struct IODispatchQueue_IVars *q);
void queues_remove(struct IODispatchQueue_IVars *q);
