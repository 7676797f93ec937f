/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Time and chance come from here and nowhere else, so that a test can own them. */

#include <stdint.h>

uint64_t clock_now_ns(void);      // CLOCK_MONOTONIC
uint64_t clock_boot_now_ns(void); // CLOCK_BOOTTIME
uint64_t clock_real_now_ns(void); // CLOCK_REALTIME
uint64_t clock_deadline_ns(uint32_t timeout_ms);
/* A deadline that may come up to a tick of the kernel's later, at a fifth of the cost. */
uint64_t clock_coarse_deadline_ns(uint32_t timeout_ms);

/* Replace the clocks (NULL: the real ones) and the seed of chance_u64: tests only. */
void clock_set_source(uint64_t (*now)(void));
void chance_seed(uint64_t seed);
uint64_t chance_u64(void);
