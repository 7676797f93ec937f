/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Alarms, which the first loop keeps: for loop.c, which waits for them, and source.c, which makes
 * timers of them. All but alarm_open is called with that loop locked.
 */

#include <stdbool.h>
#include <stdint.h>

#include <base/heap.h>

enum alarm_clock {
	ALARM_MONOTONIC, // CLOCK_MONOTONIC: stands still while the machine is suspended
	ALARM_BOOT,      // CLOCK_BOOTTIME: does not
	ALARM_REAL,      // CLOCK_REALTIME: the date, which may be set
	ALARM_CLOCKS,
};

/* Zeroed, but for `fire`: unset. `fire` notes and schedules, nothing more; it is called once, with
 * the alarm unset. */
struct alarm {
	struct heap_node due, latest; // clocks[clock]: by its deadline; by that and its leeway
	enum alarm_clock clock;
	void (*fire)(struct alarm *alarm);
};

/* Before the first alarm by that clock; not locked. 0 or negative errno. */
int alarm_open(enum alarm_clock clock);

/* In place of an earlier setting. 0: unset it. leeway_ns: how much later it may be. 0 or negative
 * errno: the clock cannot be asked to ring, and the alarm is unset. */
int alarm_set_locked(struct alarm *alarm, enum alarm_clock clock, uint64_t deadline_ns,
		     uint64_t leeway_ns);

/* Until when the loop may sleep, CLOCK_MONOTONIC; 0: no alarm limits it. */
uint64_t alarm_next_ns(void);
bool alarm_is_due(void);
void alarm_fire_due(void);
