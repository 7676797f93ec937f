/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Who may do what, decided before a dext hears of it. docs/policy.md is the description. */

#include <stdint.h>

#include <DriverKit/IOReturn.h>
#include <DriverKit/OSCollections.h>

struct client;
struct personality;
struct rules;

enum policy_access {
	POLICY_ANYONE, // look
	POLICY_OWNER,  // root, or the user dextd runs as
};

/* kIOReturnSuccess, or kIOReturnNotPermitted with a reason. */
IOReturn policy_may_call(const struct client *client, enum policy_access access, const char *what);

/* Somebody wishes to open a service. */
struct policy_request {
	const struct rules *rules; // NULL: none
	const struct client *client;
	const struct personality *personality;
	const char *class_name; // of the service
	uint32_t type;          // of the user client
};

/* The client's entitlements for this connection, returned: those of the rules, and what dextd says
 * of everybody. kIOReturnNotPermitted: the reason names the rule, and what would change it. */
IOReturn policy_may_open(const struct policy_request *request, OSDictionary **entitlements);
