// SPDX-License-Identifier: Apache-2.0
/*
 * Explanations are computed when asked for, by the same match_personality() that decided. What came
 * after the match (a refused Start, a taken category, a crash) is added as the last "key".
 */

#include <dextd/match/explain.h>

#include <stdio.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/text.h>
#include <dextd/match/bundle.h>
#include <dextd/daemon.h>
#include <dextd/device/describe.h>
#include <dextd/match/match.h>
#include <dextd/properties.h>
#include <dextd/process/service.h>

enum { CANDIDATES_SIZE_MAX = 96 * 1024 }; // of the 128 KiB that a message may have

struct answer {
	const char *key, *reason, *fix; // NULL: nothing to say
	bool matched;
	int64_t score;
};

static OSDictionary *candidate(const struct bundle *bundle, const char *personality,
			       const struct answer *a)
{
	OSDictionary *row = OSDictionary_withCapacity(7);
	if (row != NULL && properties_set_string(row, "personality", personality) &&
	    properties_set_string(row, "bundle", bundle->path) &&
	    properties_set_number(row, "score", (uint64_t)a->score) &&
	    properties_set_boolean(row, "matched", a->matched) &&
	    (a->key == NULL || properties_set_string(row, "key", a->key)) &&
	    (a->reason == NULL || properties_set_string(row, "reason", a->reason)) &&
	    (a->fix == NULL || properties_set_string(row, "fix", a->fix)))
		return row;
	OSObjectRelease(row);
	return NULL;
}

static const struct service *service_of(const struct device *device, const struct personality *p)
{
	const struct service *s;
	list_for_each(s, &device->services, device_link) {
		if (strcmp(s->personality->bundle->path, p->bundle->path) == 0 &&
		    strcmp(s->personality->name, p->name) == 0)
			return s;
	}
	return NULL;
}

static const struct service *holder_of(const struct device *device, const char *category)
{
	const struct service *s;
	list_for_each(s, &device->services, device_link) {
		if (strcmp(match_category(s->personality->keys), category) == 0)
			return s;
	}
	return NULL;
}

/* What became of a personality that matched. */
static OSDictionary *matched_candidate(const struct device *device, const struct personality *p,
				       struct answer *a)
{
	const struct service *own = service_of(device, p);
	const struct rejection *rejection = device_rejection(device, p);
	const char *category = match_category(p->keys);
	const struct service *holder = holder_of(device, category);
	char text[REASON_MAX];

	if (own != NULL && own->reason[0] != '\0') {
		a->key = "OpenDextState";
		a->reason = own->reason;
		a->fix = "look at the driver's own log; dextctl restart starts it again";
	} else if (rejection != NULL) {
		a->key = "Start";
		a->reason = rejection->reason;
		a->fix = "look at the driver's own log; dextctl restart tries it again";
	} else if (own == NULL && holder != NULL) {
		text_print(text, sizeof(text), "%s holds the category %s with score %lld",
			   holder->personality->name, category, (long long)holder->score);
		a->key = "IOMatchCategory";
		a->reason = text;
		a->fix = "raise IOProbeScore, or give it an IOMatchCategory of its own";
	}
	return candidate(p->bundle, p->name, a);
}

static OSDictionary *explain_personality(const struct device *device, const struct personality *p)
{
	struct match_subject subject = match_subject_of(device->entry);
	struct match_result result;
	match_personality(&subject, p->keys, &result);
	/* Its own start may have changed what it asked for: IOMatchedServiceCountMatch. */
	const struct service *own = service_of(device, p);
	if (own != NULL) {
		result.matched = true;
		result.score = own->score;
	}
	struct answer a = { .matched = result.matched, .score = result.score };
	if (result.matched)
		return matched_candidate(device, p, &a);
	a.score = 0;
	a.key = result.key;
	a.reason = result.reason;
	a.fix = result.fix[0] != '\0' ? result.fix : NULL;
	return candidate(p->bundle, p->name, &a);
}

static OSDictionary *explain_refused(const struct bundle *bundle)
{
	const struct answer a = {
		.key = "Info.plist",
		.reason = bundle->reason,
		.fix = "repair the bundle, then send dextd a SIGHUP",
	};
	return candidate(bundle, "", &a);
}

/* false: no memory. *left_off counts what the message has no room for. */
static bool append(OSArray *candidates, OSDictionary *row, size_t *size, unsigned *left_off)
{
	if (row == NULL)
		return false;
	*size += properties_size(row);
	if (*size > CANDIDATES_SIZE_MAX) {
		OSObjectRelease(row);
		(*left_off)++;
		return true;
	}
	return properties_append_consumed(candidates, row);
}

static bool append_all(const struct device *device, OSArray *candidates, unsigned *left_off)
{
	size_t size = 0;
	const struct bundle *bundle;
	list_for_each(bundle, &device->daemon->bundles, link) {
		const struct personality *p;
		if (bundle->refused &&
		    !append(candidates, explain_refused(bundle), &size, left_off))
			return false;
		list_for_each(p, &bundle->personalities, link) {
			if (!append(candidates, explain_personality(device, p), &size, left_off))
				return false;
		}
	}
	return true;
}

static void result_text(const struct device *device, unsigned left_off, char *text, size_t room)
{
	const struct service *s;
	int n = 0;
	text[0] = '\0';
	list_for_each(s, &device->services, device_link) {
		if (n >= 0 && (size_t)n < room)
			n += snprintf(text + n, room - (size_t)n, "%s%s (%llu) is %s%s%.200s",
				      n > 0 ? "; " : "", s->entry->name,
				      (unsigned long long)s->entry->id,
				      registry_state_name(s->entry->state),
				      s->reason[0] != '\0' ? ": " : "", s->reason);
	}
	list_for_each(s, &device->services, device_link) {
		if (n >= 0 && (size_t)n < room && s->refused_open[0] != '\0')
			n += snprintf(text + n, room - (size_t)n, "; %s", s->refused_open);
	}
	if (n == 0)
		n = snprintf(text, room, "no personality matches this device");
	if (left_off > 0 && n >= 0 && (size_t)n < room)
		text_print(text + n, room - (size_t)n, "; %u further candidates are left off",
			   left_off);
}

OSDictionary *explain_device(struct device *device)
{
	char text[2048];
	unsigned left_off = 0;
	CLEANUP(properties_releasep) OSDictionary *explanation = OSDictionary_withCapacity(3);
	CLEANUP(properties_release_arrayp) OSArray *candidates = OSArray_withCapacity(8);
	if (explanation == NULL || candidates == NULL || !append_all(device, candidates, &left_off))
		return NULL;
	result_text(device, left_off, text, sizeof(text));
	OSDictionary *entry = describe_device(device->entry);
	if (!properties_set_consumed(explanation, "device", entry) ||
	    !OSDictionary_setObject(explanation, "candidates", OSArray_as_OSObject(candidates)) ||
	    !properties_set_string(explanation, "result", text))
		return NULL;
	OSDictionary *whole = explanation;
	explanation = NULL;
	return whole;
}
