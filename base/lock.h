/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Locks that are held while somebody else is waited for are taken with a time limit. */

#include <pthread.h>
#include <stdint.h>

/* 0: the lock is held. -ETIMEDOUT: it could not be had until then (clock_deadline_ns). */
int lock_until(pthread_mutex_t *lock, uint64_t deadline_ns);
