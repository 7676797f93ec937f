/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <IOKit/IOKitKeys.h>
#include <base/reason.h>
#include <client/directory.h>
#include <dextctl/print.h>
#include <dextctl/registry.h>

/* A registry is a few levels and some hundred entries; a wrong one must not run away with us. */
enum { DEPTH_MAX = 32, ENTRIES_MAX = 16384 };

static kern_return_t add_below(struct registry *registry, uint64_t parent, unsigned depth);

/* `properties` is consumed, also on failure. */
static kern_return_t append(struct registry *registry, uint64_t id, unsigned depth,
			    OSDictionary *properties)
{
	uint32_t n = registry->n_entries;
	struct registry_entry *grown = NULL;
	if (n < ENTRIES_MAX)
		grown = realloc(registry->entries, (n + 1) * sizeof(*grown));
	if (grown == NULL) {
		OSObjectRelease(properties);
		return refuse(kIOReturnNoMemory, "no room for %u entries", n + 1);
	}
	grown[n] = (struct registry_entry){ id, depth, properties };
	registry->entries = grown;
	registry->n_entries++;
	return kIOReturnSuccess;
}

static kern_return_t add_entry(struct registry *registry, uint64_t id, unsigned depth)
{
	struct DextDirectory_CopyEntry_Msg msg = { .entry = id };
	kern_return_t status = directory_call(&DextDirectory_CopyEntry_Shape, &msg);
	if (status == kIOReturnNotFound)
		return kIOReturnSuccess; // it ended meanwhile
	if (status != kIOReturnSuccess)
		return status;
	if (msg.properties == NULL)
		return refuse(kIOReturnIPCError, "dextd sent an entry without properties");
	status = append(registry, id, depth, msg.properties);
	return status == kIOReturnSuccess ? add_below(registry, id, depth + 1) : status;
}

static kern_return_t add_all(struct registry *registry, OSArray *ids, unsigned depth)
{
	kern_return_t status = kIOReturnSuccess;
	for (uint32_t i = 0; i < array_count(ids) && status == kIOReturnSuccess; i++) {
		OSNumber *id = OSDynamicCast(OSNumber, OSArray_getObject(ids, i));
		if (id == NULL)
			return refuse(kIOReturnIPCError, "dextd sent an entry without a number");
		status = add_entry(registry, OSNumber_unsigned64BitValue(id), depth);
	}
	return status;
}

static kern_return_t add_below(struct registry *registry, uint64_t parent, unsigned depth)
{
	struct DextDirectory_CopyChildren_Msg msg = { .entry = parent };
	if (depth > DEPTH_MAX)
		return refuse(kIOReturnIPCError, "the registry is deeper than %d levels",
			      DEPTH_MAX);
	kern_return_t status = directory_call(&DextDirectory_CopyChildren_Shape, &msg);
	if (status == kIOReturnNotFound && parent != 0)
		return kIOReturnSuccess; // it ended meanwhile
	if (status != kIOReturnSuccess)
		return status;
	status = add_all(registry, msg.entries, depth);
	OSObjectRelease(msg.entries);
	return status;
}

kern_return_t registry_init(struct registry *registry)
{
	*registry = (struct registry){ 0 };
	kern_return_t status = add_below(registry, 0, 0);
	if (status != kIOReturnSuccess)
		registry_deinit(registry);
	return status;
}

void registry_deinit(struct registry *registry)
{
	for (uint32_t i = 0; i < registry->n_entries; i++)
		OSObjectRelease(registry->entries[i].properties);
	free(registry->entries);
	*registry = (struct registry){ 0 };
}

/* --- finding --- */

static bool is_id(const char *text, uint64_t *id)
{
	char *end;
	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	*id = strtoull(text, &end, 0);
	return errno == 0 && *end == '\0';
}

/* A service has a driver; a device has none. */
static bool is_meant(OSDictionary *properties, const char *text)
{
	const char *user_class = field_text(properties, kIOUserClassKey);
	if (user_class[0] == '\0')
		return false;
	return strcmp(user_class, text) == 0 ||
	       strcmp(field_text(properties, kIORegistryEntryNameKey), text) == 0 ||
	       strcmp(field_text(properties, kIOBundleIdentifierKey), text) == 0;
}

kern_return_t registry_find(const char *text, uint64_t *id)
{
	struct registry registry;
	unsigned n = 0;
	if (is_id(text, id))
		return kIOReturnSuccess;
	kern_return_t status = registry_init(&registry);
	if (status != kIOReturnSuccess)
		return status;
	for (uint32_t i = 0; i < registry.n_entries; i++)
		if (is_meant(registry.entries[i].properties, text)) {
			*id = registry.entries[i].id;
			n++;
		}
	registry_deinit(&registry);
	if (n == 0)
		return refuse(kIOReturnNotFound, "no service is called %s: see dextctl list", text);
	if (n > 1)
		return refuse(kIOReturnBadArgument,
			      "%u services are called %s: give the id, see dextctl list", n, text);
	return kIOReturnSuccess;
}

kern_return_t registry_control(const char *text, const char *what)
{
	struct DextDirectory_Control_Msg msg = { 0 };
	kern_return_t status = registry_find(text, &msg.entry);
	if (status != kIOReturnSuccess)
		return status;
	memcpy(msg.what, what, strlen(what) + 1);
	return directory_call(&DextDirectory_Control_Shape, &msg);
}
