// SPDX-License-Identifier: Apache-2.0
/*
 * A demand is judged before the dext hears of the client, so it must lie where dextd finds it
 * without asking: in the personality, for all its user clients, or in its UserClientProperties.
 */

#include <dextd/match/entitlements.h>

#include <string.h>

#include <base/text.h>
#include <dextd/properties.h>

static bool is_entitlement(OSObject *value)
{
	OSString *string = OSDynamicCast(OSString, value);
	return string != NULL && OSString_getLength(string) > 0;
}

static bool is_conjunction(OSArray *all)
{
	uint32_t n = OSArray_getCount(all);
	for (uint32_t i = 0; i < n; i++)
		if (!is_entitlement(OSArray_getObject(all, i)))
			return false;
	return n > 0;
}

bool entitlements_is_demand(OSObject *demand)
{
	OSArray *alternatives = OSDynamicCast(OSArray, demand);
	if (alternatives == NULL)
		return is_entitlement(demand);
	uint32_t n = OSArray_getCount(alternatives);
	for (uint32_t i = 0; i < n; i++) {
		OSObject *alternative = OSArray_getObject(alternatives, i);
		OSArray *all = OSDynamicCast(OSArray, alternative);
		if (all != NULL ? !is_conjunction(all) : !is_entitlement(alternative))
			return false;
	}
	return n > 0;
}

static bool holds(OSDictionary *held, OSObject *name)
{
	const char *key = OSString_getCStringNoCopy(OSDynamicCast(OSString, name));
	OSObject *value = OSDictionary_getObject(held, key);
	return value != NULL &&
	       (OSDynamicCast(OSBoolean, value) == NULL || properties_boolean(held, key));
}

static bool holds_all(OSDictionary *held, OSArray *names)
{
	for (uint32_t i = 0; i < OSArray_getCount(names); i++)
		if (!holds(held, OSArray_getObject(names, i)))
			return false;
	return true;
}

bool entitlements_satisfy(OSDictionary *held, OSObject *demand)
{
	OSArray *alternatives = OSDynamicCast(OSArray, demand);
	if (alternatives == NULL)
		return holds(held, demand);
	for (uint32_t i = 0; i < OSArray_getCount(alternatives); i++) {
		OSObject *alternative = OSArray_getObject(alternatives, i);
		OSArray *all = OSDynamicCast(OSArray, alternative);
		if (all != NULL ? holds_all(held, all) : holds(held, alternative))
			return true;
	}
	return false;
}

static void append(char *text, size_t room, const char *before, OSObject *name)
{
	size_t used = strlen(text);
	if (room - used > 16)
		text_print(text + used, room - used, "%s%s", before,
			   OSString_getCStringNoCopy(OSDynamicCast(OSString, name)));
}

void entitlements_print(OSObject *demand, char *text, size_t room)
{
	OSArray *alternatives = OSDynamicCast(OSArray, demand);
	text[0] = '\0';
	if (alternatives == NULL) {
		append(text, room, "", demand);
		return;
	}
	for (uint32_t i = 0; i < OSArray_getCount(alternatives); i++) {
		OSObject *alternative = OSArray_getObject(alternatives, i);
		OSArray *all = OSDynamicCast(OSArray, alternative);
		const char *before = i > 0 ? ", or " : "";
		if (all == NULL)
			append(text, room, before, alternative);
		for (uint32_t k = 0; all != NULL && k < OSArray_getCount(all); k++)
			append(text, room, k > 0 ? " and " : before, OSArray_getObject(all, k));
	}
}

const char *entitlements_misplaced(OSDictionary *personality)
{
	const char *key;
	OSObject *value;
	for (uint32_t i = 0; OSDictionary_getEntry(personality, i, &key, &value); i++) {
		OSDictionary *inner = OSDynamicCast(OSDictionary, value);
		if (inner != NULL && strcmp(key, "UserClientProperties") != 0 &&
		    OSDictionary_getObject(inner, ENTITLEMENT_DEMAND_KEY) != NULL)
			return key;
	}
	return NULL;
}
