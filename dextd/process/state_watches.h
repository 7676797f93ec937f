/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Drivers that wait for a service's state (IOServiceStateNotificationDispatchSource). A watch tells
 * once, and again when it was begun anew; what changed meanwhile is told then. So the driver that
 * sets an item a million times costs the one that waits for it one message at a time.
 */

#include <stdbool.h>
#include <stdint.h>

#include <DriverKit/OSCollections.h>

#define DEXT_STATE_WATCHES_MAX 64U

struct daemon;
struct dext;
struct entry;

/* `items`: names, kept. Negative errno with a reason. */
int state_watches_add(struct dext *dext, uint64_t cookie, const struct entry *entry,
		      OSArray *items);
/* Tell of the next change, and of one that was not told of. -ENOENT: no such watch. -ESHUTDOWN: the
 * service has ended, and that was told. */
int state_watches_begin(struct dext *dext, uint64_t cookie);
int state_watches_end(struct dext *dext, uint64_t cookie); // -ENOENT
void state_watches_end_all(struct dext *dext);

/* An item of the entry was set, or the service has ended. */
void state_watches_changed(struct daemon *daemon, const struct entry *entry);
