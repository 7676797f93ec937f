// SPDX-License-Identifier: Apache-2.0
/*
 * One table of keys for personalities, applications and parents, checked in its order: the first
 * that fails is what `dextctl why` names. Keys of Apple's that have no meaning here are in the
 * table too, with a check that says so.
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

/* A service of a driver is of its class, and of those above it; everything is an IOService. */
static bool is_of_class(const struct match_subject *subject, const char *wanted)
{
	OSArray *classes = properties_array(subject->properties, "IOUserClasses");
	if (strcmp(wanted, subject->class_name) == 0 || strcmp(wanted, "IOService") == 0)
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

static bool is_resource(const struct match_subject *subject, const char *text)
{
	(void)subject;
	return strcmp(text, "IOKit") == 0;
}

static bool check_resource(const struct match_subject *subject, OSDictionary *personality,
			   struct match_result *result)
{
	const char *key = "IOResourceMatch";
	if (strcmp(subject->class_name, "IOUserResources") != 0) {
		match_fix(result, "remove it, or set IOProviderClass to IOUserResources");
		return match_fails(result, key,
				   "only IOUserResources has resources, the device "
				   "is a %s",
				   subject->class_name);
	}
	if (any_string(subject, OSDictionary_getObject(personality, key), is_resource))
		return true;
	match_fix(result, "set it to IOKit, or remove it");
	return match_fails(result, key, "the only resource here is IOKit");
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

static bool check_bus(const struct match_subject *subject, OSDictionary *personality,
		      struct match_result *result)
{
	if (strncmp(subject->class_name, "IOUSBHost", 9) == 0)
		return match_usb(subject, personality, result);
	if (strcmp(subject->class_name, "IOPCIDevice") == 0)
		return match_pci(subject, personality, result);
	return true;
}

/* Without a meaning here; ignoring them would match more than their author meant. */
static bool check_bsd_name(const struct match_subject *subject, OSDictionary *matching,
			   struct match_result *result)
{
	(void)subject;
	(void)matching;
	match_fix(result, "remove it, or use IONameMatch or IOPropertyMatch");
	return match_fails(result, "IOBSDName",
			   "matching by IOBSDName is not supported: no device "
			   "or service here has a BSD name");
}

static bool check_compatibility(const struct match_subject *subject, OSDictionary *matching,
				struct match_result *result)
{
	(void)subject;
	(void)matching;
	match_fix(result, "remove it, or use IOPropertyMatch");
	return match_fails(result, "IOCompatibilityMatch",
			   "matching by IOCompatibilityMatch is not supported: no device or "
			   "service here has compatibility properties");
}

/* It asks to wait until user space runs: before that dextd does not. */
static bool check_defer(const struct match_subject *subject, OSDictionary *matching,
			struct match_result *result)
{
	(void)subject;
	(void)matching;
	(void)result;
	return true;
}

enum { A_STRING = 1, A_NUMBER = 2, A_BOOLEAN = 4, A_DICTIONARY = 8, AN_ARRAY = 16 };

/* What personalities, applications and parents may ask alike, in order. */
static const struct {
	const char *key;
	unsigned types;
	bool (*check)(const struct match_subject *subject, OSDictionary *matching,
		      struct match_result *result);
} generic[] = {
	{ "IOBSDName", ~0U, check_bsd_name },
	{ "IOCompatibilityMatch", ~0U, check_compatibility },
	{ "IOResourceMatch", A_STRING | AN_ARRAY, check_resource },
	{ "IONameMatch", A_STRING | AN_ARRAY, check_name },
	{ "IOPropertyMatch", A_DICTIONARY | AN_ARRAY, check_property },
	{ "IOPropertyExistsMatch", A_STRING | AN_ARRAY, check_exists },
	{ "IOPathMatch", A_STRING, match_path },
	{ "IOLocationMatch", A_STRING, match_location },
	{ "IORegistryEntryID", A_NUMBER, match_id },
	{ "IOMatchedServiceCountMatch", A_NUMBER, match_count },
	{ "IOParentMatch", A_DICTIONARY, match_parent },
	{ "IOMatchDefer", A_BOOLEAN, check_defer },
};

#define N_GENERIC (sizeof(generic) / sizeof(generic[0]))

static bool check_generic(const struct match_subject *subject, OSDictionary *personality,
			  struct match_result *result)
{
	for (size_t i = 0; i < N_GENERIC; i++) {
		if (OSDictionary_getObject(personality, generic[i].key) != NULL &&
		    !generic[i].check(subject, personality, result))
			return false;
	}
	return true;
}

void match_personality(const struct match_subject *subject, OSDictionary *personality,
		       struct match_result *result)
{
	*result = (struct match_result){ 0 };
	if (!check_provider_class(subject, personality, result) ||
	    !check_bus(subject, personality, result) ||
	    !check_generic(subject, personality, result))
		return;
	uint64_t probe_score = 0;
	(void)properties_number(personality, "IOProbeScore", &probe_score);
	result->score += (int64_t)probe_score;
	result->matched = true;
}

/* --- applications, and the parents that personalities ask for --- */

static unsigned type_of(OSObject *value)
{
	return (OSDynamicCast(OSString, value) != NULL ? A_STRING : 0U) |
	       (OSDynamicCast(OSNumber, value) != NULL ? A_NUMBER : 0U) |
	       (OSDynamicCast(OSBoolean, value) != NULL ? A_BOOLEAN : 0U) |
	       (OSDynamicCast(OSDictionary, value) != NULL ? A_DICTIONARY : 0U) |
	       (OSDynamicCast(OSArray, value) != NULL ? AN_ARRAY : 0U);
}

static const char *user_class_of(const struct match_subject *subject)
{
	return subject->entry != NULL ? subject->entry->user_class : "";
}

static bool query_class(const struct match_subject *subject, OSDictionary *matching,
			struct match_result *result)
{
	const char *wanted = properties_string(matching, "IOProviderClass");
	return is_of_class(subject, wanted) || strcmp(wanted, user_class_of(subject)) == 0 ||
	       match_fails(result, "IOProviderClass", "it is no %s", wanted);
}

static bool query_user_class(const struct match_subject *subject, OSDictionary *matching,
			     struct match_result *result)
{
	const char *wanted = properties_string(matching, "IOUserClass");
	return strcmp(wanted, user_class_of(subject)) == 0 ||
	       match_fails(result, "IOUserClass", "it is no %s", wanted);
}

static int query_key(const struct match_subject *subject, OSDictionary *matching, const char *key,
		     OSObject *value, struct match_result *result)
{
	unsigned type = type_of(value);
	if (strcmp(key, "IOProviderClass") == 0 && type == A_STRING)
		return query_class(subject, matching, result);
	if (strcmp(key, "IOUserClass") == 0 && type == A_STRING)
		return query_user_class(subject, matching, result);
	for (size_t i = 0; i < N_GENERIC; i++) {
		if (strcmp(key, generic[i].key) == 0 && generic[i].types == ~0U) {
			(void)generic[i].check(subject, matching, result);
			(void)refuse(kIOReturnBadArgument, "%s", result->reason);
			return -EINVAL;
		}
		if (strcmp(key, generic[i].key) == 0 && (type & generic[i].types) != 0)
			return generic[i].check(subject, matching, result);
	}
	match_fails(result, "matching",
		    "%s in a matching dictionary is not known, or of the wrong "
		    "type",
		    key);
	(void)refuse(kIOReturnBadArgument,
		     "%s in a matching dictionary: not known, or of the wrong type; use "
		     "IOProviderClass, IOUserClass, IONameMatch, IOPropertyMatch, "
		     "IOPropertyExistsMatch, IOPathMatch, IOLocationMatch, IOParentMatch, "
		     "IOMatchedServiceCountMatch or IORegistryEntryID",
		     key);
	return -EINVAL;
}

int match_query(const struct match_subject *subject, OSDictionary *matching,
		struct match_result *result)
{
	const char *key;
	OSObject *value;
	int all = 1;
	/* Every key is looked at, so that a wrong one is an error whatever the others say. */
	for (uint32_t i = 0; OSDictionary_getEntry(matching, i, &key, &value); i++) {
		int ret = query_key(subject, matching, key, value, result);
		if (ret < 0)
			return ret;
		all = all && ret;
	}
	return all;
}

struct match_subject match_subject_of(const struct entry *entry)
{
	return (struct match_subject){
		.name = entry->name,
		.class_name = entry->class_name,
		.properties = entry->properties,
		.entry = entry,
	};
}

int match_service(const struct entry *entry, OSDictionary *matching)
{
	struct match_subject subject = match_subject_of(entry);
	struct match_result ignored;
	return match_query(&subject, matching, &ignored);
}
