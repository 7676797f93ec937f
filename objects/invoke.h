/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Where the runtime hooks itself into the object model. dextd, applications and tools use objects
 * without queues: with no hook set, a method is called at once, and an object has no state but its
 * own. The runtime sets both hooks before main.
 */

#include <DriverKit/OSMetaClass.h>

/*
 * Carry a call to the object's queue or proxy: `method` is the row that serves it. The router makes
 * the call with method->invoke(self, msg), now or later, and returns what OSObjectInvoke returns.
 */
typedef kern_return_t (*object_router_fn)(OSObject *self, const struct OSMethod *method, void *msg);
void object_router_set(object_router_fn router); // NULL: none

/*
 * Give back `self->ivars`, the runtime's own state of an object: called by the root's free(), on
 * whatever thread released last, when the pointer is not NULL.
 */
typedef void (*object_state_free_fn)(OSObject *self);
void object_state_free_set(object_state_free_fn free_state); // NULL: none

/* Keep the objects that enter with a message, for whoever copies it and delivers it later; and let
 * go of them. */
void message_keep_objects(const struct OSMethodShape *shape, const void *msg);
void message_release_objects(const struct OSMethodShape *shape, const void *msg);
