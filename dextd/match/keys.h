/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The checks of one bus, called by match.c. Private to matching. */

#include <dextd/match/match.h>

/* Refuse the match because of `key`; returns false. */
bool match_fails(struct match_result *result, const char *key, const char *reason, ...)
	__attribute__((format(printf, 3, 4)));
void match_fix(struct match_result *result, const char *fix, ...)
	__attribute__((format(printf, 2, 3)));

/* Each adds its bus's score. */
bool match_usb(const struct match_subject *subject, OSDictionary *personality,
	       struct match_result *result);
bool match_pci(const struct match_subject *subject, OSDictionary *personality,
	       struct match_result *result);
