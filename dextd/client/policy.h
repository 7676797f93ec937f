/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Who may do what, decided before a dext hears of it. */

#include <DriverKit/IOReturn.h>

struct client;
struct personality;

enum policy_access {
	POLICY_ANYONE, // look
	POLICY_OWNER,  // root, or the user dextd runs as
};

/* kIOReturnSuccess, or kIOReturnNotPermitted with a reason. */
IOReturn policy_may_call(const struct client *client, enum policy_access access, const char *what);
IOReturn policy_may_open(const struct client *client, const struct personality *personality);
