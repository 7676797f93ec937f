/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Entitlements: what a client holds (a dictionary that the policy gives it) and what a driver
 * demands of those who open it (IOServiceDEXTEntitlements).
 *
 * A demand is a string, or an array of alternatives of which one must hold; an alternative is a
 * string, or an array of strings that must all be held. An entitlement is held when the dictionary
 * has it and it is not false.
 */

#include <stdbool.h>
#include <stddef.h>

#include <DriverKit/OSCollections.h>

#define ENTITLEMENT_DEMAND_KEY "IOServiceDEXTEntitlements"
#define ENTITLEMENT_ACCESS     "com.apple.developer.driverkit.userclient-access"
#define ENTITLEMENT_ANY_CLIENT "com.apple.developer.driverkit.allow-any-userclient-access"
#define ENTITLEMENT_ADMIN      "com.apple.developer.driverkit.administrator"
#define ENTITLEMENT_CREATOR    "IOUserClientCreator"

/* Has it the form of a demand? */
bool entitlements_is_demand(OSObject *demand);
bool entitlements_satisfy(OSDictionary *held, OSObject *demand);
/* "a, or b and c": a demand for people, cut to the room. */
void entitlements_print(OSObject *demand, char *text, size_t room);

/* The personality has demands where nobody would look for them. NULL, or the dictionary's key. */
const char *entitlements_misplaced(OSDictionary *personality);
