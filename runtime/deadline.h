/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The deadlines of waits, as drivers give them, by the clock of the event loop. */

#include <stdint.h>

#include <DriverKit/IOReturn.h>
#include <DriverKit/IOTimerClocks.h>

/* CLOCK_MONOTONIC, `timeout_ns` from now: never 0, and far off at most. */
uint64_t deadline_in(uint64_t timeout_ns);

/* `deadline` by `clock`, one of kIOTimerClock…; a clock that is set later moves it no more.
 * kIOReturnBadArgument, with `what` in the reason: no such clock. */
kern_return_t deadline_from(const char *what, uint64_t clock, uint64_t deadline,
			    uint64_t *deadline_ns);
