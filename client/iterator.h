/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Iterators over registry entries: a snapshot, or the growing list of a matching notification,
 * which is armed when the application has read it to its end. Any thread.
 */

#include <stdbool.h>
#include <stdint.h>

#include <client/handle.h>

struct iterator {
	struct object object;
	uint64_t *ids; // owned
	uint32_t n_ids, room;
	uint32_t position; // the next to be read
	bool grows;        // of a notification: what was read is dropped
	bool armed;        // read to its end since the last addition
	void *watch;       // of a notification: a reference of notification.c's
};

/* NULL: out of memory. */
struct iterator *iterator_new(void (*on_close)(struct object *object));

/* Put what dextd sent, an array of numbers, before what is there. */
kern_return_t iterator_put_first(struct iterator *iterator, OSArray *entries);

/* Add one. True: the iterator was armed, and is not any more. */
bool iterator_append(struct iterator *iterator, uint64_t id);
