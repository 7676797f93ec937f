/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Actions that families make for a delivery of their own, and the delivery of what sources have.
 */

#include <stdbool.h>

#include <DriverKit/OSAction.h>

/* What an action without a target does. All are required, none is called with a lock held. */
struct action_ops {
	/* OSActionInvoke calls this at once, on the invoking thread, with the prototype and its
	 * message, both borrowed, and returns what it returns. Several threads may be in it. */
	kern_return_t (*deliver)(void *context, const struct OSMethodShape *shape, const void *msg);
	/* The action is cancelled. When this has returned no `deliver` is at work, and those that
	 * come later refuse with kIOReturnOffline: the maker's own lock sees to that, which it
	 * takes to deliver anyway. Once at most. */
	void (*cancelled)(void *context);
	/* The last reference is gone; `context` is the maker's again. */
	void (*released)(void *context);
};

/* Returned. `ops` is constant; on failure none of it is called. */
kern_return_t action_create_custom(const struct action_ops *ops, void *context, OSAction **action);

/* The prototype that the action is invoked with; NULL: it is one of action_create_custom. */
const struct OSMethodShape *action_prototype(OSAction *action);

/* Was it made for that prototype? A custom one takes any. */
bool action_is_for(OSAction *action, const struct OSMethodShape *shape);

/*
 * Invoke, and tell when the method has returned: `done`, on its queue, also before this returns. On
 * the queue that the target names, as OSActionInvoke; a target without one is called on `here`,
 * which the caller is on. There it is a call, which may write over the message, elsewhere a copy.
 * On failure `done` is not called.
 */
kern_return_t action_deliver(OSAction *action, IODispatchQueue *here,
			     const struct OSMethodShape *shape, void *msg,
			     void (*done)(void *context), void *context);

/* Take a reference unless the last one is gone. For whoever finds an action that it does not keep,
 * under the lock under which the action's end, `released`, takes it out. */
bool action_revive(OSAction *action);

/* Another process holds the action from here on; it has let go, or is gone. With the last one the
 * action is aborted. */
void action_hold(OSAction *action);
void action_let_go(OSAction *action);
