/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Actions that families make for a delivery of their own. */

#include <DriverKit/OSAction.h>

/*
 * An action without a target: OSActionInvoke calls `deliver` at once, on the invoking thread, with
 * the prototype and its message, both borrowed, and returns what that returns. `released` is called
 * when the last reference is gone; then `context` is the maker's again. Returned; on failure
 * nothing is called.
 */
kern_return_t action_create_custom(
	kern_return_t (*deliver)(void *context, const struct OSMethodShape *shape, const void *msg),
	void (*released)(void *context), void *context, OSAction **action);
