/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Walking the registry: what an entry is, and what is above and below it. There is one plane. Each
 * step asks dextd anew, so a walk may meet the end of what it walks on, and never goes further than
 * DEPTH_MAX.
 */

#include <stdlib.h>
#include <string.h>

#include <base/reason.h>
#include <base/text.h>
#include <client/directory.h>
#include <client/entry.h>
#include <client/handle.h>
#include <client/iterator.h>

enum { DEPTH_MAX = 32 };

static kern_return_t check_plane(const char *plane)
{
	if (plane == NULL || strcmp(plane, kIOServicePlane) != 0)
		return refuse(kIOReturnBadArgument, "there is no plane but kIOServicePlane");
	return kIOReturnSuccess;
}

/* Returned. */
static kern_return_t copy_properties(uint64_t id, OSDictionary **properties)
{
	struct DextDirectory_CopyEntry_Msg msg = { .entry = id };
	kern_return_t status = directory_call(&DextDirectory_CopyEntry_Shape, &msg);
	if (status != kIOReturnSuccess)
		return status;
	if (msg.properties == NULL)
		return refuse(kIOReturnIPCError, "dextd sent no properties");
	*properties = msg.properties;
	return kIOReturnSuccess;
}

static kern_return_t copy_children(uint64_t id, OSArray **ids)
{
	struct DextDirectory_CopyChildren_Msg msg = { .entry = id };
	kern_return_t status = directory_call(&DextDirectory_CopyChildren_Shape, &msg);
	if (status != kIOReturnSuccess)
		return status;
	if (msg.entries == NULL)
		return refuse(kIOReturnIPCError, "dextd sent no array of entries");
	*ids = msg.entries;
	return kIOReturnSuccess;
}

static const char *text_of(OSDictionary *properties, const char *key)
{
	OSString *text = OSDynamicCast(OSString, OSDictionary_getObject(properties, key));
	return text != NULL ? OSString_getCStringNoCopy(text) : "";
}

/* --- what an object is --- */

static const char *const classes[] = {
	[OBJECT_ENTRY] = "IORegistryEntry",
	[OBJECT_ITERATOR] = "IOUserIterator",
	[OBJECT_CONNECTION] = "IOUserUserClient",
	[OBJECT_INTEREST] = "IOServiceMessageUserNotification",
	[OBJECT_PORT] = "IONotificationPort",
};

/* The entry's dictionary, returned; NULL: the object is no entry, and all is in classes[]. */
static kern_return_t examine(io_object_t object, enum object_kind *kind, OSDictionary **properties)
{
	uint64_t id = 0;
	*properties = NULL;
	kern_return_t status = handle_kind(object, kind);
	if (status != kIOReturnSuccess || *kind != OBJECT_ENTRY)
		return status;
	status = entry_get_id(object, &id);
	return status == kIOReturnSuccess ? copy_properties(id, properties) : status;
}

kern_return_t IOObjectGetClass(io_object_t object, io_name_t className)
{
	enum object_kind kind;
	OSDictionary *properties;
	reason_clear();
	if (className == NULL)
		return refuse(kIOReturnBadArgument, "className is NULL");
	kern_return_t status = examine(object, &kind, &properties);
	if (status != kIOReturnSuccess)
		return status;
	const char *name =
		properties != NULL ? text_of(properties, kIOObjectClassKey) : classes[kind];
	if (strlen(name) >= sizeof(io_name_t))
		status = refuse(kIOReturnOverrun, "the class has a name of more than %zu bytes",
				sizeof(io_name_t) - 1);
	else
		memcpy(className, name, strlen(name) + 1);
	OSObjectRelease(properties);
	return status;
}

static bool is_derived(OSDictionary *properties, const char *name)
{
	OSArray *supers =
		OSDynamicCast(OSArray, OSDictionary_getObject(properties, "IOUserClasses"));
	for (uint32_t i = 0; supers != NULL && i < OSArray_getCount(supers); i++) {
		OSString *super = OSDynamicCast(OSString, OSArray_getObject(supers, i));
		if (super != NULL && OSString_isEqualToCString(super, name))
			return true;
	}
	return false;
}

static bool entry_conforms(OSDictionary *properties, const char *name)
{
	const char *class_name = text_of(properties, kIOObjectClassKey);
	if (strcmp(name, "IORegistryEntry") == 0 || strcmp(name, class_name) == 0 ||
	    strcmp(name, text_of(properties, kIOUserClassKey)) == 0 || is_derived(properties, name))
		return true;
	if (strcmp(name, "IOUserClient") == 0)
		return strcmp(class_name, "IOUserUserClient") == 0;
	return strcmp(name, "IOService") == 0 && strcmp(class_name, "IORegistryEntry") != 0;
}

bool IOObjectConformsTo(io_object_t object, const char *className)
{
	enum object_kind kind;
	OSDictionary *properties;
	reason_clear();
	if (className == NULL) {
		refuse(kIOReturnBadArgument, "className is NULL");
		return false;
	}
	if (examine(object, &kind, &properties) != kIOReturnSuccess)
		return false;
	bool conforms = strcmp(className, "OSObject") == 0;
	if (properties != NULL)
		conforms = conforms || entry_conforms(properties, className);
	else
		conforms = conforms || strcmp(className, classes[kind]) == 0 ||
			   (kind == OBJECT_CONNECTION && strcmp(className, "IOUserClient") == 0) ||
			   (kind == OBJECT_ITERATOR && strcmp(className, "OSIterator") == 0);
	OSObjectRelease(properties);
	return conforms;
}

/* --- up --- */

/* kIOReturnNotFound: it is the root. */
static kern_return_t find_parent(OSDictionary *properties, uint64_t *parent)
{
	OSNumber *id =
		OSDynamicCast(OSNumber, OSDictionary_getObject(properties, kOpenDextParentKey));
	if (id == NULL)
		return refuse(kIOReturnNotFound, "the entry is the root");
	*parent = OSNumber_unsigned64BitValue(id);
	return kIOReturnSuccess;
}

io_registry_entry_t IORegistryGetRootEntry(mach_port_t mainPort)
{
	(void)mainPort;
	reason_clear();
	return entry_new(0);
}

kern_return_t IORegistryEntryGetParentEntry(io_registry_entry_t entry, const char *plane,
					    io_registry_entry_t *parent)
{
	uint64_t id = 0;
	OSDictionary *properties = NULL;
	reason_clear();
	if (parent == NULL)
		return refuse(kIOReturnBadArgument, "parent is NULL");
	*parent = IO_OBJECT_NULL;
	kern_return_t status = check_plane(plane);
	if (status == kIOReturnSuccess)
		status = entry_get_id(entry, &id);
	if (status == kIOReturnSuccess)
		status = copy_properties(id, &properties);
	if (status == kIOReturnSuccess)
		status = find_parent(properties, &id);
	OSObjectRelease(properties);
	if (status != kIOReturnSuccess)
		return status;
	*parent = entry_new(id);
	return *parent != IO_OBJECT_NULL ? kIOReturnSuccess : kIOReturnNoMemory;
}

/* Put "/name@id" before what is there; the root is "IOService:". */
static kern_return_t prepend(char *path, OSDictionary *properties, bool is_root)
{
	char step[sizeof(io_name_t) + 32] = "IOService:";
	if (!is_root) {
		OSNumber *id = OSDynamicCast(
			OSNumber, OSDictionary_getObject(properties, kIORegistryEntryIDKey));
		text_print(step, sizeof(step), "/%s@%llx",
			   text_of(properties, kIORegistryEntryNameKey),
			   id != NULL ? (unsigned long long)OSNumber_unsigned64BitValue(id) : 0);
	}
	size_t before = strlen(step), after = strlen(path);
	if (before + after >= sizeof(io_string_t))
		return refuse(kIOReturnOverrun, "the path is longer than %zu bytes",
			      sizeof(io_string_t) - 1);
	memmove(path + before, path, after + 1);
	memcpy(path, step, before);
	return kIOReturnSuccess;
}

/* What is done with the entry and with each above it, until *done. */
typedef kern_return_t (*step_fn)(void *context, OSDictionary *properties, bool is_root, bool *done);

static kern_return_t climb(uint64_t id, step_fn step, void *context)
{
	bool is_root = false, done = false;
	kern_return_t status = kIOReturnSuccess;
	for (int depth = 0; !is_root && !done && status == kIOReturnSuccess; depth++) {
		OSDictionary *properties = NULL;
		uint64_t parent = 0;
		if (depth == DEPTH_MAX)
			return refuse(kIOReturnOverrun, "the registry is deeper than %d levels",
				      DEPTH_MAX);
		status = copy_properties(id, &properties);
		if (status != kIOReturnSuccess)
			return status;
		is_root = find_parent(properties, &parent) != kIOReturnSuccess;
		status = step(context, properties, is_root, &done);
		OSObjectRelease(properties);
		id = parent;
	}
	return status;
}

static kern_return_t step_of_path(void *context, OSDictionary *properties, bool is_root, bool *done)
{
	(void)done;
	return prepend(context, properties, is_root);
}

kern_return_t IORegistryEntryGetPath(io_registry_entry_t entry, const char *plane, io_string_t path)
{
	uint64_t id = 0;
	reason_clear();
	if (path == NULL)
		return refuse(kIOReturnBadArgument, "path is NULL");
	io_string_t made = "";
	kern_return_t status = check_plane(plane);
	if (status == kIOReturnSuccess)
		status = entry_get_id(entry, &id);
	if (status == kIOReturnSuccess)
		status = climb(id, step_of_path, made);
	if (status == kIOReturnSuccess) {
		reason_clear();
		memcpy(path, made, strlen(made) + 1);
	}
	return status;
}

/* --- down --- */

kern_return_t IORegistryEntryGetChildIterator(io_registry_entry_t entry, const char *plane,
					      io_iterator_t *iterator)
{
	uint64_t id = 0;
	OSArray *ids = NULL;
	reason_clear();
	if (iterator == NULL)
		return refuse(kIOReturnBadArgument, "iterator is NULL");
	*iterator = IO_OBJECT_NULL;
	kern_return_t status = check_plane(plane);
	if (status == kIOReturnSuccess)
		status = entry_get_id(entry, &id);
	if (status == kIOReturnSuccess)
		status = copy_children(id, &ids);
	if (status != kIOReturnSuccess)
		return status;
	struct iterator *made = iterator_new(NULL);
	status = made != NULL ? iterator_put_first(made, ids)
			      : refuse(kIOReturnNoMemory, "out of memory");
	OSObjectRelease(ids);
	if (status != kIOReturnSuccess) {
		if (made != NULL)
			object_unref(&made->object);
		return status;
	}
	*iterator = handle_new(&made->object);
	return *iterator != IO_OBJECT_NULL ? kIOReturnSuccess : kIOReturnNoMemory;
}

kern_return_t IORegistryEntryGetChildEntry(io_registry_entry_t entry, const char *plane,
					   io_registry_entry_t *child)
{
	io_iterator_t iterator;
	if (child == NULL)
		return refuse(kIOReturnBadArgument, "child is NULL");
	*child = IO_OBJECT_NULL;
	kern_return_t status = IORegistryEntryGetChildIterator(entry, plane, &iterator);
	if (status != kIOReturnSuccess)
		return status;
	*child = IOIteratorNext(iterator);
	handle_release(iterator);
	return *child != IO_OBJECT_NULL ? kIOReturnSuccess
					: refuse(kIOReturnNotFound, "the entry has no children");
}

/* --- properties above and below --- */

struct search {
	const char *key;
	OSObject *found; // a reference; NULL: not yet
};

static kern_return_t step_of_search(void *context, OSDictionary *properties, bool is_root,
				    bool *done)
{
	struct search *search = context;
	(void)is_root;
	search->found = OSDictionary_getObject(properties, search->key);
	OSObjectRetain(search->found);
	*done = search->found != NULL;
	return kIOReturnSuccess;
}

static kern_return_t search_below(uint64_t id, struct search *search, int depth)
{
	OSDictionary *properties = NULL;
	OSArray *ids = NULL;
	bool done = false;
	if (depth == DEPTH_MAX)
		return refuse(kIOReturnOverrun, "the registry is deeper than %d levels", DEPTH_MAX);
	kern_return_t status = copy_properties(id, &properties);
	if (status == kIOReturnSuccess)
		status = step_of_search(search, properties, false, &done);
	OSObjectRelease(properties);
	if (status == kIOReturnSuccess && !done)
		status = copy_children(id, &ids);
	for (uint32_t i = 0; ids != NULL && i < OSArray_getCount(ids) && search->found == NULL &&
			     status == kIOReturnSuccess;
	     i++) {
		OSNumber *child = OSDynamicCast(OSNumber, OSArray_getObject(ids, i));
		if (child == NULL)
			status = refuse(kIOReturnIPCError, "dextd sent an entry without a number");
		else
			status =
				search_below(OSNumber_unsigned64BitValue(child), search, depth + 1);
		if (status == kIOReturnNotFound) // it ended meanwhile
			status = kIOReturnSuccess;
	}
	OSObjectRelease(ids);
	return status;
}

kern_return_t IORegistryEntrySearchProperty(io_registry_entry_t entry, const char *plane,
					    const char *key, IOOptionBits options, OSObject **value)
{
	uint64_t id = 0;
	const IOOptionBits all = kIORegistryIterateRecursively | kIORegistryIterateParents;
	reason_clear();
	if (key == NULL || value == NULL)
		return refuse(kIOReturnBadArgument, "key or value is NULL");
	*value = NULL;
	if ((options & ~all) != 0 || options == kIORegistryIterateParents)
		return refuse(kIOReturnBadArgument,
			      "options 0x%x: none, kIORegistryIterateRecursively, or that with "
			      "kIORegistryIterateParents",
			      options);
	if (options == 0)
		return IORegistryEntryCreateProperty(entry, key, value);
	struct search search = { .key = key };
	kern_return_t status = check_plane(plane);
	if (status == kIOReturnSuccess)
		status = entry_get_id(entry, &id);
	if (status == kIOReturnSuccess)
		status = options == all ? climb(id, step_of_search, &search)
					: search_below(id, &search, 0);
	if (status != kIOReturnSuccess) {
		OSObjectRelease(search.found);
		return status;
	}
	if (search.found == NULL)
		return refuse(kIOReturnNotFound, "no entry %s has a property %s",
			      options == all ? "up to the root" : "from there down", key);
	reason_clear();
	*value = search.found;
	return kIOReturnSuccess;
}
