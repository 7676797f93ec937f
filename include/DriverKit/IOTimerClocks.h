/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The clocks of timers and deadlines: one of these is an option of its own. All count nanoseconds;
 * a tick of Mach's clocks is one.
 */

/* The clocks. */
enum {
	kIOTimerClockRealTime = 0x80, // the date, CLOCK_REALTIME; may be set
	kIOTimerClockWallTime = 0x80,
	kIOTimerClockMonotonicRaw = 0x84,       // since boot, suspend included: CLOCK_BOOTTIME
	kIOTimerClockUptimeRaw = 0x88,          // since boot, awake: CLOCK_MONOTONIC
	kIOTimerClockMachContinuousTime = 0xc4, // as kIOTimerClockMonotonicRaw
	kIOTimerClockMachAbsoluteTime = 0xc8,   // as kIOTimerClockUptimeRaw
};
