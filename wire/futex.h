/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Sleep on a word and wake who sleeps there: in one process, or across the processes that share it.
 */

#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum futex_scope { FUTEX_SHARED = 0, FUTEX_PRIVATE = FUTEX_PRIVATE_FLAG };

/* Sleep while *word is `value`, at most `timeout_ns`; then -ETIMEDOUT. 0 without a cause too: the
 * caller looks at the word again. */
static inline int futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t timeout_ns,
			     enum futex_scope scope)
{
	struct timespec limit = {
		.tv_sec = (time_t)(timeout_ns / 1000000000U),
		.tv_nsec = (long)(timeout_ns % 1000000000U),
	};
	if (syscall(SYS_futex, word, FUTEX_WAIT | scope, value, &limit, NULL, 0) < 0 &&
	    errno == ETIMEDOUT)
		return -ETIMEDOUT;
	return 0;
}

static inline void futex_wake(_Atomic uint32_t *word, int n_waiters, enum futex_scope scope)
{
	syscall(SYS_futex, word, FUTEX_WAKE | scope, n_waiters, NULL, NULL, 0);
}
