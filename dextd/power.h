/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Power management: which state each service that takes part is in, wishes for, and is to have.
 *
 * A service takes part once its Start has returned, one made with Create when it asks to. It is to
 * have the highest state that it wishes for itself or that is wished for below it; with its
 * override, its own wish alone. While the machine sleeps all are to be off. A state goes down when
 * those below have gone down, and up when the one above is up: clients before providers, and the
 * reverse.
 *
 * A change is asked of the service's driver, and is done when the driver has acknowledged it, or
 * the power timeout has passed: then that is logged with its name, and all goes on without it.
 */

#include <stdbool.h>
#include <stdint.h>

#include <DriverKit/IOReturn.h>
#include <base/list.h>

struct channel_call;
struct daemon;
struct entry;
struct service;

enum power_rank { POWER_OFF, POWER_LOW, POWER_ON };

/* Of an entry. */
struct entry_power {
	bool joined;
	bool asked;            // its driver is to acknowledge `state`
	bool override;         // wishes below it do not count
	enum power_rank state; // as it was asked last
	enum power_rank wish, want;
	uint64_t max_stall_ns; // RequireMaxBusStall; 0: any
	/* While power_advance looks; of entries that take no part too. */
	enum power_rank below;     // the highest that is wanted below it
	bool held_up, above_is_up; // something below has still to go down; what is above is up
};

/* Of the daemon. */
struct power {
	bool asleep;         // or about to be
	struct list waiters; // power_waiter.link
};

/* Who waits until nothing is under way any more. Once `settled` is called it is off the list. */
struct power_waiter {
	struct list link;
	bool asleep; // what it waits for
	void (*settled)(struct power_waiter *w,
			IOReturn status); // kIOReturnAborted: the other came
};

void power_init(struct power *power);
void power_deinit(struct power *power); // waiters are told

void power_join(struct daemon *daemon, struct entry *entry); // harmless when done
/* Its driver has ended. */
void power_leave(struct daemon *daemon, struct entry *entry);
/* Something else changed: an entry went, a start ended. */
void power_advance(struct daemon *daemon);

/* Of a driver. kIOReturnNotReady: it does not take part. `flags` as SetPowerState has them. */
IOReturn power_wish(struct daemon *daemon, struct entry *entry, uint32_t flags);
IOReturn power_override(struct daemon *daemon, struct entry *entry, bool enable);

/* The machine is to sleep, or has woken. Drivers that come meanwhile start when it wakes. `waiter`
 * may be NULL. */
void power_set_asleep(struct daemon *daemon, bool asleep, struct power_waiter *waiter);
/* Applications cannot open it now. */
bool power_is_off(const struct daemon *daemon, const struct entry *entry);
const char *power_name(enum power_rank rank); // "off"
