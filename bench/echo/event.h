/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* An event: 16 numbers, of which the first is its place in the row and the second its time. */

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

enum { EVENT_SCALARS = 16 };

struct event_order {
	uint64_t count;       // so many events
	uint64_t interval_ns; // one per interval; 0: flat out
};

static inline uint64_t event_clock(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#else
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
#endif
}

/* The time is told of paced events only. */
static inline void event_fill(uint64_t *scalars, uint64_t number, const struct event_order *order)
{
	scalars[0] = number;
	scalars[1] = order->interval_ns != 0 ? event_clock() : 0;
	for (int i = 2; i < EVENT_SCALARS; i++)
		scalars[i] = number + (uint64_t)i;
}

static inline bool event_is_good(const uint64_t *scalars, uint64_t number)
{
	uint64_t wrong = scalars[0] ^ number;
	for (int i = 2; i < EVENT_SCALARS; i++)
		wrong |= scalars[i] ^ (number + (uint64_t)i);
	return wrong == 0;
}

/* Sleep until the next interval; *next is 0 at first. */
static inline void event_pace(const struct event_order *order, struct timespec *next)
{
	if (order->interval_ns == 0)
		return;
	if (next->tv_sec == 0)
		clock_gettime(CLOCK_MONOTONIC, next);
	uint64_t ns = (uint64_t)next->tv_nsec + order->interval_ns;
	next->tv_sec += (time_t)(ns / 1000000000U);
	next->tv_nsec = (long)(ns % 1000000000U);
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, next, NULL) == EINTR)
		;
}
