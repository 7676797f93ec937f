/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * DriverKit's matching: does a personality fit a device, how well, and if not, why. Pure functions
 * over property dictionaries; whose process runs is service.c's business.
 *
 * The score is the bus's own (USB: the combination of keys used; PCI: 1000 for a match value) plus
 * IOProbeScore.
 */

#include <stdbool.h>
#include <stdint.h>

#include <DriverKit/OSCollections.h>
#include <base/reason.h>

struct entry;

struct match_subject {
	const char *name;       // IORegistryEntryName
	const char *class_name; // the nub's class, what IOProviderClass names
	OSDictionary *properties;
	const struct entry *entry; // where it is in the registry; NULL: nowhere
};

struct match_subject match_subject_of(const struct entry *entry);

struct match_result {
	bool matched;
	int64_t score;   // valid when matched
	const char *key; // the first key that failed; constant
	char reason[REASON_MAX];
	char fix[REASON_MAX]; // what to do about it
};

void match_personality(const struct match_subject *subject, OSDictionary *personality,
		       struct match_result *result);

/* The one default of IOMatchCategory. */
const char *match_category(OSDictionary *personality);

/* Does a service fit an application's matching dictionary (IOServiceMatching …)? A key that an
 * application may not use: -EINVAL with a reason. Else 0 or 1. */
int match_service(const struct entry *entry, OSDictionary *matching);
