/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The actions of one service: those whose target it is, and those of other targets that were made
 * on its own queue. When the service has stopped, those that its author forgot to cancel are
 * cancelled, so that what they keep can go. Any thread.
 */

#include <DriverKit/OSAction.h>

struct action_set;

int action_set_new(struct action_set **out);
struct action_set *action_set_ref(struct action_set *set);
struct action_set *action_set_unref(struct action_set *set);

/* Where new actions look for their set: an object for those whose target it is, a queue for those
 * made on it. Kept; once for each. -ENOMEM. */
int object_set_actions(OSObject *object, struct action_set *set);
void queue_set_actions(IODispatchQueue *queue, struct action_set *set);
/* Borrowed; NULL: none. */
struct action_set *object_actions(OSObject *object);
struct action_set *queue_actions(IODispatchQueue *queue);

/* The service has stopped: cancel what is left, and refuse further actions. How many there were,
 * and in *which, if any, a method that one of them called; constant. */
unsigned action_set_end(struct action_set *set, const struct OSMethodShape **which);
