/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The policy's files: who may open what, and which entitlements a client holds. docs/policy.md has
 * the format. All files are read at once, in the order of their names, and either all of them hold
 * or none: a rule that denies is not lost because another file has a mistake in it.
 */

#include <stdbool.h>
#include <stddef.h>

#include <DriverKit/OSCollections.h>
#include <base/list.h>

#define RULES_DEFAULT_PATH "/etc/opendext/policy.d"
#define RULES_MAX          1024U
#define RULES_FILES_MAX    256U

enum rule_effect { RULE_GRANTS_ONLY, RULE_ALLOWS, RULE_DENIES };

/* A condition that is NULL holds for everybody; of an array, one element must hold. */
struct rule {
	struct list link; // rules.all
	char *name, *file;
	enum rule_effect effect;
	OSArray *users, *groups;       // numbers
	OSArray *units, *executables;  // strings
	OSArray *bundles, *classes;    // strings
	OSArray *types;                // numbers
	OSDictionary *entitlements;    // NULL: gives none
	OSDictionary *keys;            // owned: what holds all of the above
	OSArray *user_ids, *group_ids; // owned
};

struct rules {
	struct list all; // rule.link, in their order
	unsigned n;
	char *path;                  // owned
	OSDictionary *open_to_any;   // owned: bundle identifiers with allow-any-userclient-access
	bool needs_unit, needs_file; // of a client's process
};

/* Read a file, or a folder's *.plist. NULL: RULES_DEFAULT_PATH, which need not be there. Negative
 * errno with a reason. */
int rules_read(struct rules **out, const char *path);
struct rules *rules_free(struct rules *rules); // returns NULL; NULL is ignored

/* The two steps of rules_read, for tests: no rules yet, and the rules of one file's bytes. */
struct rules *rules_new(const char *path);
int rules_add(struct rules *rules, const char *file, const void *data, size_t size);
