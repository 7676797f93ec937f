/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Which CPU this thread runs on, and how to be idle there for a moment. */

#include <sched.h>
#include <stdint.h>
#include <sys/rseq.h>

#if defined(__x86_64__) || defined(__i386__)
#define CPU_IDLE "pause"
#elif defined(__aarch64__)
#define CPU_IDLE "isb"
#else
#define CPU_IDLE ""
#endif

/* In a loop that looks at a word of shared memory. */
static inline void cpu_idle(void)
{
	__asm__ volatile(CPU_IDLE ::: "memory");
}

/* Negative: unknown. The thread may have moved by the time it looks at the result. Where the C
 * library has registered the thread with the kernel, this is one load. */
static inline int cpu_number(void)
{
	int cpu = -1;
	if (__rseq_size > 0) {
		const char *self = __builtin_thread_pointer();
		const struct rseq *rseq = (const void *)(self + __rseq_offset);
		cpu = (int)*(const volatile uint32_t *)&rseq->cpu_id;
	}
	return cpu >= 0 ? cpu : sched_getcpu();
}
