/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What drivers have dextd watch (IOServiceNotificationDispatchSource). A driver is told that there
 * is something to ask for, once until it asks; what it is told then is worked out when it asks. So
 * a driver that does not ask costs what it was told of, and nothing more, whatever happens.
 */

#include <stdbool.h>
#include <stdint.h>

#include <DriverKit/OSCollections.h>

#define DEXT_WATCHES_MAX 64U

struct daemon;
struct dext;
struct entry;

/* Negative errno with a reason. */
int watches_add(struct dext *dext, uint64_t cookie, OSDictionary *matching);
int watches_end(struct dext *dext, uint64_t cookie); // -ENOENT
void watches_end_all(struct dext *dext);

/* Ids, returned; `more`: those are not all. */
int watches_take_changes(struct dext *dext, uint64_t cookie, OSArray **ended, OSArray **begun,
			 bool *more);
/* A service that was told of, and has not ended. -ENOENT with a reason. */
int watches_find(struct dext *dext, uint64_t cookie, uint64_t id, struct entry **entry);
/* Was any watch told of it? It has not ended. */
bool watches_know(const struct dext *dext, const struct entry *entry);

/* The registry tells. */
void watches_published(struct daemon *daemon, const struct entry *entry);
void watches_withdrawn(struct daemon *daemon, const struct entry *entry);
