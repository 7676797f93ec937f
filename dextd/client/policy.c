// SPDX-License-Identifier: Apache-2.0
/*
 * An open, in order: the first rule that is for this client, this driver and this type and that has
 * an effect decides. Where none has, a bundle that is open to any, the client's own entitlement,
 * dextd's owner and OpenDextAllowedUsers are asked; else the answer is no. Who may is then held
 * against the entitlements that the driver demands.
 *
 * What cannot be told of a client is no reason to let it in: a rule that allows or gives something
 * is not for it, one that denies is.
 */

#include <dextd/client/policy.h>

#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include <base/reason.h>
#include <base/text.h>
#include <dextd/client/client.h>
#include <dextd/client/identity.h>
#include <dextd/client/rules.h>
#include <dextd/match/bundle.h>
#include <dextd/match/entitlements.h>
#include <dextd/properties.h>

enum { ENTITLEMENTS_TOTAL_MAX = 24 * 1024 }; // bytes, of the message that opens a connection

static bool is_owner(const struct client *client)
{
	return client->uid == 0 || client->uid == geteuid();
}

IOReturn policy_may_call(const struct client *client, enum policy_access access, const char *what)
{
	if (access == POLICY_ANYONE || is_owner(client))
		return kIOReturnSuccess;
	return refuse(kIOReturnNotPermitted, "%s is for root and uid %u, not for uid %u", what,
		      geteuid(), client->uid);
}

/* --- is a rule for this request? --- */

enum answer { NO, UNKNOWN, YES };

static bool has_number(OSArray *array, uint64_t number)
{
	for (uint32_t i = 0; i < OSArray_getCount(array); i++) {
		OSNumber *one = OSDynamicCast(OSNumber, OSArray_getObject(array, i));
		if (OSNumber_unsigned64BitValue(one) == number)
			return true;
	}
	return false;
}

static bool has_text(OSArray *array, const char *text)
{
	for (uint32_t i = 0; i < OSArray_getCount(array); i++) {
		OSString *one = OSDynamicCast(OSString, OSArray_getObject(array, i));
		if (one != NULL && OSString_isEqualToCString(one, text))
			return true;
	}
	return false;
}

static bool is_in_group(const struct client *client, OSArray *groups)
{
	bool found = has_number(groups, client->gid);
	for (unsigned i = 0; i < client->n_groups && !found; i++)
		found = has_number(groups, client->groups[i]);
	return found;
}

static enum answer is_for_process(const struct rule *rule, const struct identity *identity)
{
	enum answer answer = YES;
	if (rule->units != NULL && identity->unit_known && !has_text(rule->units, identity->unit))
		return NO;
	if (rule->executables != NULL && identity->executable[0] != '\0' &&
	    !has_text(rule->executables, identity->executable))
		return NO;
	if ((rule->units != NULL && !identity->unit_known) ||
	    (rule->executables != NULL && identity->executable[0] == '\0'))
		answer = UNKNOWN;
	return answer;
}

static enum answer is_for(const struct rule *rule, const struct policy_request *r,
			  const struct identity *identity)
{
	if ((rule->bundles != NULL &&
	     !has_text(rule->bundles, r->personality->bundle->identifier)) ||
	    (rule->classes != NULL && !has_text(rule->classes, r->class_name)) ||
	    (rule->types != NULL && !has_number(rule->types, r->type)))
		return NO;
	if ((rule->users != NULL && !has_number(rule->users, r->client->uid)) ||
	    (rule->groups != NULL && !is_in_group(r->client, rule->groups)))
		return NO;
	return is_for_process(rule, identity);
}

/* The rule that decides; NULL: none. */
static const struct rule *find_effect(const struct policy_request *r,
				      const struct identity *identity)
{
	const struct rule *rule;
	if (r->rules == NULL)
		return NULL;
	list_for_each(rule, &r->rules->all, link) {
		enum answer least = rule->effect == RULE_DENIES ? UNKNOWN : YES;
		if (rule->effect != RULE_GRANTS_ONLY && is_for(rule, r, identity) >= least)
			return rule;
	}
	return NULL;
}

/* --- entitlements --- */

/* Of two rules that give the same: the lists are one, of anything else the first counts. */
static bool merge_array(OSDictionary *held, const char *name, OSArray *mine, OSArray *more)
{
	OSArray *both = OSArray_withCapacity(OSArray_getCount(mine) + OSArray_getCount(more));
	bool ok = both != NULL;
	for (uint32_t i = 0; ok && i < OSArray_getCount(mine); i++)
		ok = OSArray_setObject(both, OSArray_getObject(mine, i));
	for (uint32_t i = 0; ok && i < OSArray_getCount(more); i++) {
		OSString *text = OSDynamicCast(OSString, OSArray_getObject(more, i));
		if (!has_text(both, OSString_getCStringNoCopy(text)))
			ok = OSArray_setObject(both, OSArray_getObject(more, i));
	}
	ok = ok && OSDictionary_setObject(held, name, OSArray_as_OSObject(both));
	OSObjectRelease(both);
	return ok;
}

static bool give(OSDictionary *held, OSDictionary *entitlements)
{
	const char *name;
	OSObject *value;
	bool ok = true;
	for (uint32_t i = 0; ok && OSDictionary_getEntry(entitlements, i, &name, &value); i++) {
		OSObject *mine = OSDictionary_getObject(held, name);
		OSArray *list = OSDynamicCast(OSArray, mine), *more = OSDynamicCast(OSArray, value);
		if (mine == NULL)
			ok = OSDictionary_setObject(held, name, value);
		else if (list != NULL && more != NULL)
			ok = merge_array(held, name, list, more);
	}
	return ok;
}

static bool give_own(OSDictionary *held, const struct client *client)
{
	char text[64];
	text_print(text, sizeof(text), "pid %d, %s", (int)client->pid, client->name);
	return properties_set_string(held, ENTITLEMENT_CREATOR, text) &&
	       (client->uid != 0 || properties_set_boolean(held, ENTITLEMENT_ADMIN, true));
}

/* NULL with a reason. */
static OSDictionary *copy_entitlements(const struct policy_request *r,
				       const struct identity *identity)
{
	const struct rule *rule;
	OSDictionary *held = OSDictionary_withCapacity(4);
	bool ok = held != NULL && give_own(held, r->client);
	if (ok && r->rules != NULL) {
		list_for_each(rule, &r->rules->all, link) {
			if (ok && rule->entitlements != NULL && is_for(rule, r, identity) == YES)
				ok = give(held, rule->entitlements);
		}
	}
	if (!ok)
		refuse(kIOReturnNoMemory, "out of memory for the entitlements");
	else if (properties_size(held) > ENTITLEMENTS_TOTAL_MAX)
		refuse(kIOReturnNoResources,
		       "the policy gives the client more than %d KiB of "
		       "entitlements",
		       ENTITLEMENTS_TOTAL_MAX / 1024);
	else
		return held;
	OSObjectRelease(held);
	return NULL;
}

/* --- the decision --- */

static const char *policy_path(const struct policy_request *r)
{
	return r->rules != NULL ? r->rules->path : RULES_DEFAULT_PATH;
}

static IOReturn decide(const struct policy_request *r, const struct identity *identity,
		       OSDictionary *held)
{
	const struct bundle *bundle = r->personality->bundle;
	const struct rule *rule = find_effect(r, identity);
	if (rule != NULL && rule->effect == RULE_DENIES)
		return refuse(kIOReturnNotPermitted,
			      "rule %s of %s denies it to uid %u%s: change the rule, then send "
			      "dextd a SIGHUP",
			      rule->name, rule->file, r->client->uid,
			      is_for(rule, r, identity) == UNKNOWN
				      ? " (whose unit or executable cannot be told)"
				      : "");
	OSArray *access = properties_array(held, ENTITLEMENT_ACCESS);
	if (rule != NULL || (access != NULL && has_text(access, bundle->identifier)) ||
	    (r->rules != NULL && properties_boolean(r->rules->open_to_any, bundle->identifier)) ||
	    is_owner(r->client) || personality_allows(r->personality, r->client->uid))
		return kIOReturnSuccess;
	return refuse(kIOReturnNotPermitted,
		      "uid %u may not open it: add the user to OpenDextAllowedUsers of %s in %s, "
		      "or a rule that allows it to the policy %s",
		      r->client->uid, r->personality->name, bundle->path, policy_path(r));
}

static IOReturn meet_demand(const struct policy_request *r, OSDictionary *keys, OSDictionary *held)
{
	char text[256];
	OSObject *demand =
		keys != NULL ? OSDictionary_getObject(keys, ENTITLEMENT_DEMAND_KEY) : NULL;
	if (demand == NULL || entitlements_satisfy(held, demand))
		return kIOReturnSuccess;
	entitlements_print(demand, text, sizeof(text));
	return refuse(kIOReturnNotPermitted,
		      "%s demands an entitlement that uid %u does not hold: %s: give it with the "
		      "Entitlements of a rule in the policy %s",
		      r->personality->name, r->client->uid, text, policy_path(r));
}

IOReturn policy_may_open(const struct policy_request *r, OSDictionary **entitlements)
{
	struct identity identity = { .unit_known = false };
	if (r->rules != NULL && (r->rules->needs_unit || r->rules->needs_file))
		identity_read(&identity, r->client->pidfd, r->client->pid);
	OSDictionary *held = copy_entitlements(r, &identity);
	if (held == NULL)
		return kIOReturnNoResources;
	OSDictionary *keys = r->personality->keys;
	IOReturn ret = decide(r, &identity, held);
	if (ret == kIOReturnSuccess)
		ret = meet_demand(r, keys, held);
	if (ret == kIOReturnSuccess)
		ret = meet_demand(r, properties_dictionary(keys, "UserClientProperties"), held);
	if (ret == kIOReturnSuccess)
		*entitlements = held;
	else
		OSObjectRelease(held);
	return ret;
}
