// SPDX-License-Identifier: Apache-2.0
/*
 * Where an entry is in the registry: its id, its path, its bus address, what is above it and how
 * many services run on it. A subject that is in no registry (a table of a test) is nowhere, and
 * fits none of these.
 */

#include <dextd/match/keys.h>

#include <inttypes.h>
#include <string.h>
#include <sys/types.h>

#include <dextd/properties.h>
#include <dextd/registry.h>

static const char plane[] = "IOService:";

/* The last `length` bytes of `text` less `end`; -1: it does not end so. */
static ssize_t without(const char *text, size_t length, const char *end)
{
	size_t n = strlen(end);
	if (n > length || memcmp(text + length - n, end, n) != 0)
		return -1;
	return (ssize_t)(length - n);
}

static bool is_at(const struct entry *entry, const char *location)
{
	static const char *const keys[] = { "OpenDextAddress", "pcidebug" };
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const char *own = properties_string(entry->properties, keys[i]);
		if (own != NULL && strcmp(own, location) == 0)
			return true;
	}
	return false;
}

/* "/NAME" or "/NAME@LOCATION" at the end of the path; what is before it, or -1. Names are compared
 * whole, from the end, because they may have slashes in them. */
static ssize_t before_component(const struct entry *entry, const char *path, size_t length)
{
	const char *location = properties_string(entry->properties, "OpenDextAddress");
	ssize_t rest = location != NULL ? without(path, length, location) : -1;
	if (rest >= 0)
		rest = without(path, (size_t)rest, "@");
	rest = without(path, rest >= 0 ? (size_t)rest : length, entry->name);
	return rest < 0 ? -1 : without(path, (size_t)rest, "/");
}

static bool is_path(const struct entry *entry, const char *path)
{
	if (strncmp(path, plane, strlen(plane)) == 0)
		path += strlen(plane);
	if (entry->parent == NULL)
		return strcmp(path, "/") == 0;
	ssize_t length = (ssize_t)strlen(path);
	for (; entry->parent != NULL && length >= 0; entry = entry->parent)
		length = before_component(entry, path, (size_t)length);
	return length == 0;
}

bool match_path(const struct match_subject *subject, OSDictionary *matching,
		struct match_result *result)
{
	const char *key = "IOPathMatch", *wanted = properties_string(matching, key);
	if (wanted != NULL && subject->entry != NULL && is_path(subject->entry, wanted))
		return true;
	match_fix(result, "write IOService:/NAME/… as dextctl tree shows the names");
	return match_fails(result, key, "it is not at %s", wanted != NULL ? wanted : "no path");
}

bool match_location(const struct match_subject *subject, OSDictionary *matching,
		    struct match_result *result)
{
	const char *key = "IOLocationMatch", *wanted = properties_string(matching, key);
	const char *own = properties_string(subject->properties, "OpenDextAddress");
	if (wanted != NULL && subject->entry != NULL && is_at(subject->entry, wanted))
		return true;
	if (own != NULL)
		match_fix(result, "set it to %s if the driver is for this device only", own);
	else
		match_fix(result, "remove it: only devices of a bus have a location");
	return match_fails(result, key, "its location is %s", own != NULL ? own : "not known");
}

bool match_id(const struct match_subject *subject, OSDictionary *matching,
	      struct match_result *result)
{
	const char *key = "IORegistryEntryID";
	uint64_t wanted = 0;
	(void)properties_number(matching, key, &wanted);
	if (subject->entry != NULL && subject->entry->id == wanted)
		return true;
	match_fix(result, "remove it: ids are given anew each time a device comes");
	return match_fails(result, key, "its id is %" PRIu64 ", not %" PRIu64,
			   subject->entry != NULL ? subject->entry->id : 0, wanted);
}

static bool is_attached(const struct entry *entry)
{
	return entry->kind == ENTRY_SERVICE && entry->state != ENTRY_STATE_STOPPED &&
	       entry->state != ENTRY_STATE_QUARANTINED;
}

/* Services on it; those of other drivers are below its nub (device/published.h). */
static uint64_t count_services(const struct entry *entry)
{
	uint64_t n = 0;
	const struct entry *child, *below;
	list_for_each(child, &entry->children, sibling) {
		n += is_attached(child) ? 1 : 0;
		if (entry->kind != ENTRY_SERVICE || child->kind != ENTRY_DEVICE)
			continue;
		list_for_each(below, &child->children, sibling)
			n += is_attached(below) ? 1 : 0;
	}
	return n;
}

bool match_count(const struct match_subject *subject, OSDictionary *matching,
		 struct match_result *result)
{
	const char *key = "IOMatchedServiceCountMatch";
	uint64_t wanted = 0, n = subject->entry != NULL ? count_services(subject->entry) : 0;
	(void)properties_number(matching, key, &wanted);
	if (n == wanted)
		return true;
	match_fix(result, "remove it, or set it to the number of services it waits for");
	return match_fails(result, key, "%" PRIu64 " services run on it, not %" PRIu64, n, wanted);
}

bool match_parent(const struct match_subject *subject, OSDictionary *matching,
		  struct match_result *result)
{
	const char *key = "IOParentMatch";
	OSDictionary *wanted = properties_dictionary(matching, key);
	const struct entry *parent = subject->entry != NULL ? subject->entry->parent : NULL;
	if (wanted == NULL || parent == NULL) {
		match_fix(result, "remove it");
		return match_fails(result, key, "nothing is above it");
	}
	struct match_result above = { 0 };
	struct match_subject of_parent = match_subject_of(parent);
	if (match_query(&of_parent, wanted, &above) == 1)
		return true;
	match_fix(result, "compare with the entry above it: dextctl tree; it is %s, a %s",
		  parent->name,
		  parent->user_class[0] != '\0' ? parent->user_class : parent->class_name);
	return match_fails(result, key, "the entry above it: %s: %s", above.key, above.reason);
}
