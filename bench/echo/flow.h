/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * How a producer of events keeps from filling the ring: the reader says in shared memory how many
 * it has read, and the producer sleeps there while FLOW_ROOM are unread. The Echo driver and the
 * bare ring do the same, so that neither is flattered.
 */

#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FLOW_ROOM = 448 }; // of the 64 places of an event ring

struct flow {
	_Alignas(64) _Atomic uint32_t read; // events; the producer's futex
	_Atomic uint32_t waiting;           // the producer sleeps, or is about to
};

/* The producer, which has sent so many: wait until there is room for one more. */
static inline void flow_wait(struct flow *flow, uint32_t sent)
{
	for (;;) {
		uint32_t read = atomic_load_explicit(&flow->read, memory_order_acquire);
		if (sent - read < FLOW_ROOM)
			return;
		atomic_store(&flow->waiting, 1);
		if (atomic_load(&flow->read) == read)
			syscall(SYS_futex, &flow->read, FUTEX_WAIT, read, NULL, NULL, 0);
	}
}

/* The reader, which has read so many. */
static inline void flow_tell(struct flow *flow, uint32_t read)
{
	atomic_store(&flow->read, read);
	if (atomic_load(&flow->waiting) != 0 && atomic_exchange(&flow->waiting, 0) != 0)
		syscall(SYS_futex, &flow->read, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}
