// SPDX-License-Identifier: Apache-2.0

#include <base/lock.h>

#include <time.h>

int lock_until(pthread_mutex_t *lock, uint64_t deadline_ns)
{
	const struct timespec until = {
		.tv_sec = (time_t)(deadline_ns / 1000000000U),
		.tv_nsec = (long)(deadline_ns % 1000000000U),
	};
	return -pthread_mutex_clocklock(lock, CLOCK_MONOTONIC, &until);
}
