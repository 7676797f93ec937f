/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The checks of one bus and of one place, called by match.c. Private to matching. */

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

/* Where the entry is. */
bool match_path(const struct match_subject *subject, OSDictionary *matching,
		struct match_result *result);
bool match_location(const struct match_subject *subject, OSDictionary *matching,
		    struct match_result *result);
bool match_id(const struct match_subject *subject, OSDictionary *matching,
	      struct match_result *result);
bool match_count(const struct match_subject *subject, OSDictionary *matching,
		 struct match_result *result);
bool match_parent(const struct match_subject *subject, OSDictionary *matching,
		  struct match_result *result);

/* Does the subject fit a dictionary that is no personality: an application's, a parent's? 0 or 1;
 * -EINVAL with a reason: a key that has no place there, or of the wrong type. What failed is in
 * *result. */
int match_query(const struct match_subject *subject, OSDictionary *matching,
		struct match_result *result);
