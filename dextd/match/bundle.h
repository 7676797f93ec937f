/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Driver bundles: NAME.dext/Info.plist and the executable beside it. A bundle that breaks a rule is
 * refused as a whole, with the reason, and stays in the list so that people can see why; the others
 * load. Personalities keep their bundle alive, so a scan never pulls one away from a running dext.
 */

#include <stdbool.h>
#include <sys/types.h>

#include <DriverKit/OSCollections.h>
#include <base/list.h>
#include <base/reason.h>

#define BUNDLE_PERSONALITIES_MAX 1000U
#define BUNDLES_MAX              1000U // of one directory

struct bundle {
	unsigned refs;
	struct list link;          // a list of bundles; linked: one reference
	struct list personalities; // personality.link, in the order of the file
	char *path;                // owned: DIR/NAME.dext
	char *identifier;          // owned; may be NULL when refused
	char *executable;          // owned: path of the executable; NULL when refused
	bool refused;
	char reason[REASON_MAX]; // why it was refused
};

struct personality {
	struct list link;      // bundle.personalities
	struct bundle *bundle; // its owner
	char *name;            // owned
	OSDictionary *keys;    // owned; all values have the types that matching expects
};

struct bundle *bundle_ref(struct bundle *bundle);
struct bundle *bundle_unref(struct bundle *bundle); // returns NULL; NULL is ignored

/* The bundles of `directory`, in order of their names, behind those in `bundles`. A directory that
 * does not exist has none. Of two bundles with one identifier the first loads. -ENOMEM, or why the
 * directory cannot be read. */
int bundle_scan(struct list *bundles, const char *directory);
void bundle_list_free(struct list *bundles);

/* Is the executable still what was checked? 0, or negative errno with a reason. */
int bundle_check_executable(const struct bundle *bundle);

struct personality *bundle_find_personality(const struct list *bundles, const char *bundle_path,
					    const char *name); // NULL: none
const char *personality_string(const struct personality *personality, const char *key,
			       const char *otherwise);
/* May `uid` use the services of this personality because OpenDextAllowedUsers lists it? */
bool personality_allows(const struct personality *personality, uid_t uid);
