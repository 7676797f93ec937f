// SPDX-License-Identifier: Apache-2.0
/*
 * One table of keys, checked in its order: the first that fails is what `dextctl why` names. Keys
 * of Apple's that have no meaning here are in the table too, with a check that says so, because
 * ignoring one would match more than its author meant.
 */

#include <dextd/match/match.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <base/text.h>
#include <dextd/match/keys.h>
#include <dextd/properties.h>
#include <dextd/registry.h>

bool match_fails(struct match_result *result, const char *key, const char *reason, ...)
{
	va_list args;
	va_start(args, reason);
	text_format(result->reason, sizeof(result->reason), reason, args);
	va_end(args);
	result->key = key;
	return false;
}

void match_fix(struct match_result *result, const char *fix, ...)
{
	va_list args;
	va_start(args, fix);
	text_format(result->fix, sizeof(result->fix), fix, args);
	va_end(args);
}

const char *match_category(OSDictionary *personality)
{
	const char *category = properties_string(personality, "IOMatchCategory");
	return category != NULL ? category : "IODefaultMatchCategory";
}

/* --- the checks --- */

/* A service of a driver is of its class, and of those above it. */
static bool is_of_class(const struct match_subject *subject, const char *wanted)
{
	OSArray *classes = properties_array(subject->properties, "IOUserClasses");
	if (strcmp(wanted, subject->class_name) == 0)
		return true;
	for (uint32_t i = 0; classes != NULL && i < OSArray_getCount(classes); i++) {
		OSString *name = OSDynamicCast(OSString, OSArray_getObject(classes, i));
		if (name != NULL && OSString_isEqualToCString(name, wanted))
			return true;
	}
	return false;
}

static bool check_provider_class(const struct match_subject *subject, OSDictionary *personality,
				 struct match_result *result)
{
	const char *key = "IOProviderClass";
	const char *wanted = properties_string(personality, key);
	if (wanted == NULL)
		return match_fails(result, key, "IOProviderClass is missing");
	if (is_of_class(subject, wanted))
		return true;
	if (strcmp(wanted, "IOResources") == 0)
		match_fix(result, "use IOUserResources: drivers outside the kernel cannot match "
				  "IOResources");
	else
		match_fix(result, "set IOProviderClass to %s if the driver is for this device",
			  subject->class_name);
	return match_fails(result, key, "it wants a %s, the device is a %s", wanted,
			   subject->class_name);
}

static bool check_resource(const struct match_subject *subject, OSDictionary *personality,
			   struct match_result *result)
{
	const char *key = "IOResourceMatch";
	const char *wanted = properties_string(personality, key);
	if (strcmp(subject->class_name, "IOUserResources") != 0) {
		match_fix(result, "remove it, or set IOProviderClass to IOUserResources");
		return match_fails(result, key,
				   "only IOUserResources has resources, the device "
				   "is a %s",
				   subject->class_name);
	}
	if (wanted != NULL && strcmp(wanted, "IOKit") == 0)
		return true;
	match_fix(result, "set it to IOKit, or remove it");
	return match_fails(result, key, "the only resource here is IOKit");
}

static bool name_is(const struct match_subject *subject, const char *wanted)
{
	if (strcmp(subject->name, wanted) == 0)
		return true;
	uint64_t vendor, device, class_code;
	char text[32];
	if (!properties_number(subject->properties, "vendor-id", &vendor) ||
	    !properties_number(subject->properties, "device-id", &device))
		return false;
	(void)snprintf(text, sizeof(text), "pci%x,%x", (unsigned)(vendor & 0xffff),
		       (unsigned)(device & 0xffff));
	if (strcmp(text, wanted) == 0)
		return true;
	if (!properties_number(subject->properties, "class-code", &class_code))
		return false;
	(void)snprintf(text, sizeof(text), "pciclass,%06x", (unsigned)(class_code & 0xffffff));
	return strcmp(text, wanted) == 0;
}

/* Does `test` hold for a string, or for one member of an array of them? */
static bool any_string(const struct match_subject *subject, OSObject *value,
		       bool (*test)(const struct match_subject *subject, const char *text))
{
	OSString *string = OSDynamicCast(OSString, value);
	if (string != NULL)
		return test(subject, OSString_getCStringNoCopy(string));
	OSArray *array = OSDynamicCast(OSArray, value);
	for (uint32_t i = 0; array != NULL && i < OSArray_getCount(array); i++) {
		string = OSDynamicCast(OSString, OSArray_getObject(array, i));
		if (string != NULL && test(subject, OSString_getCStringNoCopy(string)))
			return true;
	}
	return false;
}

static bool check_name(const struct match_subject *subject, OSDictionary *personality,
		       struct match_result *result)
{
	const char *key = "IONameMatch";
	if (any_string(subject, OSDictionary_getObject(personality, key), name_is))
		return true;
	match_fix(result, "add \"%s\" to IONameMatch if the driver is for this device",
		  subject->name);
	return match_fails(result, key, "none of its names is the device's, \"%s\"", subject->name);
}

/* The first key of `wanted` whose value differs; NULL: all equal. */
static const char *first_difference(OSDictionary *wanted, OSDictionary *properties)
{
	const char *key;
	OSObject *value;
	for (uint32_t i = 0; OSDictionary_getEntry(wanted, i, &key, &value); i++) {
		if (!properties_equal(value, OSDictionary_getObject(properties, key)))
			return key;
	}
	return NULL;
}

static bool check_property(const struct match_subject *subject, OSDictionary *personality,
			   struct match_result *result)
{
	const char *key = "IOPropertyMatch", *different = NULL;
	OSObject *value = OSDictionary_getObject(personality, key);
	OSDictionary *one = OSDynamicCast(OSDictionary, value);
	OSArray *several = OSDynamicCast(OSArray, value);

	if (one != NULL) {
		different = first_difference(one, subject->properties);
		if (different == NULL)
			return true;
	}
	for (uint32_t i = 0; several != NULL && i < OSArray_getCount(several); i++) {
		one = OSDynamicCast(OSDictionary, OSArray_getObject(several, i));
		if (one == NULL)
			continue;
		const char *here = first_difference(one, subject->properties);
		if (here == NULL)
			return true;
		if (different == NULL)
			different = here;
	}
	match_fix(result, "compare with the device's properties: dextctl list --properties");
	if (different == NULL)
		return match_fails(result, key, "it lists nothing that could match");
	bool known = OSDictionary_getObject(subject->properties, different) != NULL;
	return match_fails(result, key,
			   known ? "the device's %s has another value"
				 : "the device has no property %s",
			   different);
}

static bool has_property(const struct match_subject *subject, const char *key)
{
	return OSDictionary_getObject(subject->properties, key) != NULL;
}

static bool check_exists(const struct match_subject *subject, OSDictionary *personality,
			 struct match_result *result)
{
	const char *key = "IOPropertyExistsMatch";
	OSObject *value = OSDictionary_getObject(personality, key);
	if (any_string(subject, value, has_property))
		return true;
	OSString *one = OSDynamicCast(OSString, value);
	match_fix(result, "name a property that the device has");
	return match_fails(result, key, "the device has no property %s",
			   one != NULL ? OSString_getCStringNoCopy(one) : "of those listed");
}

static bool check_parent(const struct match_subject *subject, OSDictionary *personality,
			 struct match_result *result)
{
	const char *key = "IOParentMatch";
	OSDictionary *wanted = properties_dictionary(personality, key);
	const char *name;
	OSObject *value;
	for (uint32_t i = 0; wanted != NULL && OSDictionary_getEntry(wanted, i, &name, &value);
	     i++) {
		OSString *class_name = OSDynamicCast(OSString, value);
		if (strcmp(name, "IOProviderClass") != 0 || class_name == NULL) {
			match_fix(result, "ask for its IOProviderClass only");
			return match_fails(result, key, "%s of a parent is not known here", name);
		}
		if (!OSString_isEqualToCString(class_name, subject->parent_class)) {
			match_fix(result, "remove it, or set it to %s", subject->parent_class);
			return match_fails(result, key, "the entry above the device is a %s",
					   subject->parent_class);
		}
	}
	return true;
}

static bool check_bus(const struct match_subject *subject, OSDictionary *personality,
		      struct match_result *result)
{
	if (strncmp(subject->class_name, "IOUSBHost", 9) == 0)
		return match_usb(subject, personality, result);
	if (strcmp(subject->class_name, "IOPCIDevice") == 0)
		return match_pci(subject, personality, result);
	return true;
}

static bool check_unsupported(const struct match_subject *subject, OSDictionary *personality,
			      struct match_result *result)
{
	static const char *const keys[] = {
		"IOBSDName",   "IOCompatibilityMatch",       "IOLocationMatch",   "IOMatchDefer",
		"IOPathMatch", "IOMatchedServiceCountMatch", "IORegistryEntryID",
	};
	(void)subject;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (OSDictionary_getObject(personality, keys[i]) == NULL)
			continue;
		match_fix(result, "remove it, or use IONameMatch or IOPropertyMatch");
		return match_fails(result, keys[i], "matching by %s is not supported", keys[i]);
	}
	return true;
}

/* In order; a check without a key always runs. */
static const struct {
	const char *key;
	bool (*check)(const struct match_subject *subject, OSDictionary *personality,
		      struct match_result *result);
} checks[] = {
	{ NULL, check_provider_class },
	{ NULL, check_unsupported },
	{ NULL, check_bus },
	{ "IOResourceMatch", check_resource },
	{ "IONameMatch", check_name },
	{ "IOPropertyMatch", check_property },
	{ "IOPropertyExistsMatch", check_exists },
	{ "IOParentMatch", check_parent },
};

void match_personality(const struct match_subject *subject, OSDictionary *personality,
		       struct match_result *result)
{
	*result = (struct match_result){ 0 };
	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
		if (checks[i].key != NULL &&
		    OSDictionary_getObject(personality, checks[i].key) == NULL)
			continue;
		if (!checks[i].check(subject, personality, result))
			return;
	}
	uint64_t probe_score = 0;
	(void)properties_number(personality, "IOProbeScore", &probe_score);
	result->score += (int64_t)probe_score;
	result->matched = true;
}

/* --- applications --- */

static bool is_class(const struct entry *entry, const char *wanted)
{
	return strcmp(wanted, "IOService") == 0 || strcmp(wanted, entry->user_class) == 0 ||
	       strcmp(wanted, entry->class_name) == 0;
}

static int match_service_key(const struct entry *entry, const struct match_subject *subject,
			     OSDictionary *matching, const char *key, OSObject *value)
{
	struct match_result ignored;
	OSString *text = OSDynamicCast(OSString, value);
	OSNumber *number = OSDynamicCast(OSNumber, value);

	if (strcmp(key, "IOProviderClass") == 0 && text != NULL)
		return is_class(entry, OSString_getCStringNoCopy(text));
	if (strcmp(key, "IOUserClass") == 0 && text != NULL)
		return OSString_isEqualToCString(text, entry->user_class);
	if (strcmp(key, "IONameMatch") == 0)
		return any_string(subject, value, name_is);
	if (strcmp(key, "IORegistryEntryID") == 0 && number != NULL)
		return OSNumber_unsigned64BitValue(number) == entry->id;
	if (strcmp(key, "IOPropertyMatch") == 0)
		return check_property(subject, matching, &ignored);
	if (strcmp(key, "IOPropertyExistsMatch") == 0)
		return check_exists(subject, matching, &ignored);
	(void)refuse(kIOReturnBadArgument,
		     "%s in a matching dictionary: not supported, or of the wrong type; use "
		     "IOProviderClass, IOUserClass, IONameMatch, IOPropertyMatch, "
		     "IOPropertyExistsMatch or IORegistryEntryID",
		     key);
	return -EINVAL;
}

int match_service(const struct entry *entry, OSDictionary *matching)
{
	struct match_subject subject = {
		.name = entry->name,
		.class_name = entry->class_name,
		.parent_class = entry->parent != NULL ? entry->parent->class_name : "",
		.properties = entry->properties,
	};
	const char *key;
	OSObject *value;
	int all = 1;
	/* Every key is looked at, so that a wrong one is an error whatever the others say. */
	for (uint32_t i = 0; OSDictionary_getEntry(matching, i, &key, &value); i++) {
		int ret = match_service_key(entry, &subject, matching, key, value);
		if (ret < 0)
			return ret;
		all = all && ret;
	}
	return all;
}
