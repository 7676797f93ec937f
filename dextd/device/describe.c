// SPDX-License-Identifier: Apache-2.0
/* An entry, and dextd as a whole, in the words of dextctl. */

#include <dextd/device/describe.h>

#include <dirent.h>
#include <string.h>

#include <base/cleanup.h>
#include <dextd/match/bundle.h>
#include <dextd/client/rules.h>
#include <dextd/daemon.h>
#include <dextd/device/virtual.h>
#include <dextd/process/dext.h>
#include <dextd/match/match.h>
#include <dextd/properties.h>
#include <dextd/process/service.h>

enum { DEVICE_SIZE_MAX = 24 * 1024, LIST_SIZE_MAX = 80 * 1024 };

static OSArray *layer_names(uint32_t layers)
{
	OSArray *names = OSArray_withCapacity(SANDBOX_N_LAYERS);
	for (unsigned i = 0; i < SANDBOX_N_LAYERS && names != NULL; i++) {
		if ((layers & 1U << i) != 0 &&
		    !properties_append_string(names, sandbox_layer_name(i))) {
			OSObjectRelease(names);
			return NULL;
		}
	}
	return names;
}

static bool add_service(OSDictionary *d, const struct service *s)
{
	const char *backend = properties_string(s->device->entry->properties, "OpenDextBackend");
	bool ok =
		properties_set_number(d, "OpenDextRestarts", s->restarts) &&
		properties_set_string(d, "IOMatchCategory", match_category(s->personality->keys)) &&
		properties_set_string(d, "IOProviderClass", s->device->entry->class_name) &&
		properties_set_string(d, "CFBundleIdentifier",
				      s->personality->bundle->identifier) &&
		(backend == NULL || properties_set_string(d, "OpenDextBackend", backend)) &&
		(s->reason[0] == '\0' || properties_set_string(d, "OpenDextReason", s->reason));
	if (!ok || s->dext == NULL)
		return ok;
	return properties_set_number(d, "OpenDextProcess", (uint64_t)s->dext->child.pid) &&
	       properties_set_consumed(d, "OpenDextLayers", layer_names(s->dext->layers));
}

OSDictionary *describe_entry(const struct entry *entry)
{
	OSDictionary *d = registry_copy(entry);
	if (d != NULL && (entry->kind != ENTRY_SERVICE || entry->service == NULL ||
			  add_service(d, entry->service)))
		return d;
	OSObjectRelease(d);
	return NULL;
}

OSDictionary *describe_device(const struct entry *entry)
{
	OSDictionary *d = registry_copy(entry);
	if (d == NULL || properties_size(d) <= DEVICE_SIZE_MAX)
		return d;
	OSObjectRelease(d);
	d = OSDictionary_withCapacity(3);
	if (d != NULL && properties_set_number(d, "IORegistryEntryID", entry->id) &&
	    properties_set_string(d, "IORegistryEntryName", entry->name) &&
	    properties_set_string(d, "IOObjectClass", entry->class_name))
		return d;
	OSObjectRelease(d);
	return NULL;
}

/* --- dextd --- */

/* libdext's layer holds when every process that runs has reported it. */
static const char *filter_state(const struct daemon *daemon, const char **detail)
{
	unsigned n = 0, reported = 0;
	const struct dext *dext;
	list_for_each(dext, &daemon->dexts, link) {
		n++;
		reported += (dext->layers & SANDBOX_SECCOMP) != 0 ? 1 : 0;
	}
	*detail = n == 0          ? "no driver runs: it is installed by libdext"
		  : reported == n ? "reported by every driver that runs"
				  : "not reported by every driver that runs";
	return n == 0 ? "unknown" : reported == n ? "on" : "off";
}

static OSDictionary *layer(const struct daemon *daemon, unsigned number)
{
	const char *state = (daemon->sandbox.layers & 1U << number) != 0 ? "on" : "off";
	const char *detail = daemon->sandbox.details[number];
	if (1U << number == SANDBOX_SECCOMP)
		state = filter_state(daemon, &detail);
	OSDictionary *d = OSDictionary_withCapacity(3);
	if (d != NULL && properties_set_string(d, "name", sandbox_layer_name(number)) &&
	    properties_set_string(d, "state", state) && properties_set_string(d, "detail", detail))
		return d;
	OSObjectRelease(d);
	return NULL;
}

static OSArray *layers(const struct daemon *daemon)
{
	OSArray *array = OSArray_withCapacity(SANDBOX_N_LAYERS);
	for (unsigned i = 0; i < SANDBOX_N_LAYERS && array != NULL; i++) {
		if (!properties_append_consumed(array, layer(daemon, i))) {
			OSObjectRelease(array);
			return NULL;
		}
	}
	return array;
}

static OSDictionary *bundle_row(const struct bundle *bundle)
{
	OSDictionary *d = OSDictionary_withCapacity(4);
	const char *identifier = bundle->identifier != NULL ? bundle->identifier : "";
	if (d != NULL && properties_set_string(d, "path", bundle->path) &&
	    properties_set_string(d, "identifier", identifier) &&
	    properties_set_string(d, "state", bundle->refused ? "refused" : "loaded") &&
	    properties_set_string(d, "reason", bundle->reason))
		return d;
	OSObjectRelease(d);
	return NULL;
}

/* As many as a message takes; *left_off counts the rest. */
static OSArray *bundles(const struct daemon *daemon, unsigned *left_off)
{
	OSArray *array = OSArray_withCapacity(8);
	size_t size = 0;
	const struct bundle *bundle;
	list_for_each(bundle, &daemon->bundles, link) {
		OSDictionary *row = array != NULL ? bundle_row(bundle) : NULL;
		if (row == NULL) {
			OSObjectRelease(array);
			return NULL;
		}
		size += properties_size(row);
		if (size > LIST_SIZE_MAX) {
			OSObjectRelease(row);
			(*left_off)++;
		} else if (!properties_append_consumed(array, row)) {
			OSObjectRelease(array);
			return NULL;
		}
	}
	return array;
}

static OSDictionary *describe_policy(const struct daemon *daemon)
{
	OSDictionary *d = OSDictionary_withCapacity(3);
	if (d != NULL && properties_set_string(d, "path", daemon->rules->path) &&
	    properties_set_number(d, "rules", daemon->rules->n) &&
	    properties_set_string(d, "reason", daemon->rules_reason))
		return d;
	OSObjectRelease(d);
	return NULL;
}

static uint64_t count_processes(const struct daemon *daemon)
{
	uint64_t n = 0;
	const struct dext *dext;
	list_for_each(dext, &daemon->dexts, link)
		n++;
	return n;
}

/* dextd's own open descriptors: what a leak would show in. */
static uint64_t count_descriptors(void)
{
	uint64_t n = 0;
	DIR *directory = opendir("/proc/self/fd");
	if (directory == NULL)
		return 0;
	while (readdir(directory) != NULL)
		n++;
	(void)closedir(directory);
	return n > 3 ? n - 3 : 0; // ".", "..", and the directory itself
}

static unsigned count_drivers(const struct daemon *daemon, enum priority priority)
{
	unsigned n = 0;
	const struct dext *dext;
	list_for_each(dext, &daemon->dexts, link)
		n += dext->priority == priority ? 1 : 0;
	return n;
}

OSDictionary *describe_daemon(struct daemon *daemon)
{
	unsigned left_off = 0;
	CLEANUP(properties_releasep) OSDictionary *d = OSDictionary_withCapacity(16);
	if (d == NULL || !properties_set_string(d, "version", OPENDEXT_VERSION) ||
	    !properties_set_consumed(d, "layers", layers(daemon)) ||
	    !properties_set_consumed(d, "bundles", bundles(daemon, &left_off)) ||
	    !properties_set_consumed(d, "policy", describe_policy(daemon)) ||
	    !properties_set_consumed(d, "virtual", device_virtual_describe(daemon)) ||
	    !properties_set_number(d, "bundlesLeftOff", left_off) ||
	    !properties_set_boolean(d, "real", daemon->usb != NULL || daemon->pci != NULL) ||
	    !properties_set_number(d, "services", daemon->n_services) ||
	    !properties_set_number(d, "connections", daemon->n_connections) ||
	    !properties_set_number(d, "awake", daemon->n_awake) ||
	    !properties_set_number(d, "realTime", count_drivers(daemon, PRIORITY_REAL_TIME)) ||
	    !properties_set_number(d, "nice", count_drivers(daemon, PRIORITY_NICE)) ||
	    !properties_set_number(d, "clients", daemon->n_clients) ||
	    !properties_set_number(d, "processes", count_processes(daemon)) ||
	    !properties_set_number(d, "entries", daemon->registry.n_entries) ||
	    !properties_set_number(d, "descriptors", count_descriptors()))
		return NULL;
	OSDictionary *whole = d;
	d = NULL;
	return whole;
}
