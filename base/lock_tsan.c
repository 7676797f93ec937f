// SPDX-License-Identifier: Apache-2.0

/* ThreadSanitizer does not know pthread_mutex_clocklock, and takes what the lock guards for shared
 * without one. */

#include <base/lock.h>

#include <time.h>

#include <base/clock.h>

int lock_until(pthread_mutex_t *lock, uint64_t deadline_ns)
{
	uint64_t now = clock_now_ns();
	uint64_t left = deadline_ns > now ? deadline_ns - now : 0;
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	left += (uint64_t)until.tv_nsec;
	until.tv_sec += (time_t)(left / 1000000000U);
	until.tv_nsec = (long)(left % 1000000000U);
	return -pthread_mutex_timedlock(lock, &until);
}
