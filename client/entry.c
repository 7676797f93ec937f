/* SPDX-License-Identifier: Apache-2.0 */

/* Registry entries: their numbers and their properties, which are asked of dextd each time. */

#include <stdlib.h>
#include <string.h>

#include <base/list.h>
#include <base/reason.h>
#include <client/directory.h>
#include <client/entry.h>
#include <client/handle.h>

struct entry {
	struct object object;
	uint64_t id;
};

static struct entry *entry_of(struct object *object)
{
	return container_of(object, struct entry, object);
}

static void entry_free(struct object *object)
{
	free(entry_of(object));
}

io_object_t entry_new(uint64_t id)
{
	struct entry *entry = calloc(1, sizeof(*entry));
	if (entry == NULL) {
		refuse(kIOReturnNoMemory, "out of memory");
		return IO_OBJECT_NULL;
	}
	object_init(&entry->object, OBJECT_ENTRY, NULL, entry_free);
	entry->id = id;
	return handle_new(&entry->object);
}

kern_return_t entry_get_id(io_registry_entry_t handle, uint64_t *id)
{
	struct object *object = handle_get(handle, OBJECT_ENTRY);
	if (object == NULL)
		return kIOReturnBadArgument;
	*id = entry_of(object)->id;
	object_unref(object);
	return kIOReturnSuccess;
}

kern_return_t IOObjectRetain(io_object_t object)
{
	reason_clear();
	return handle_retain(object);
}

kern_return_t IOObjectRelease(io_object_t object)
{
	reason_clear();
	return handle_release(object);
}

bool IOObjectIsEqualTo(io_object_t object, io_object_t other)
{
	uint64_t id, other_id;
	reason_clear();
	if (object == other)
		return true;
	return entry_get_id(object, &id) == kIOReturnSuccess &&
	       entry_get_id(other, &other_id) == kIOReturnSuccess && id == other_id;
}

kern_return_t IORegistryEntryGetRegistryEntryID(io_registry_entry_t entry, uint64_t *entryID)
{
	reason_clear();
	if (entryID == NULL)
		return refuse(kIOReturnBadArgument, "entryID is NULL");
	return entry_get_id(entry, entryID);
}

/* --- properties --- */

kern_return_t IORegistryEntryCreateProperties(io_registry_entry_t entry, OSDictionary **properties)
{
	struct DextDirectory_CopyEntry_Msg msg = { 0 };
	reason_clear();
	if (properties == NULL)
		return refuse(kIOReturnBadArgument, "properties is NULL");
	kern_return_t status = entry_get_id(entry, &msg.entry);
	if (status != kIOReturnSuccess)
		return status;
	status = directory_call(&DextDirectory_CopyEntry_Shape, &msg);
	if (status != kIOReturnSuccess)
		return status;
	if (msg.properties == NULL)
		return refuse(kIOReturnIPCError, "dextd sent no properties");
	*properties = msg.properties;
	return kIOReturnSuccess;
}

kern_return_t IORegistryEntryCreateProperty(io_registry_entry_t entry, const char *key,
					    OSObject **value)
{
	OSDictionary *properties;
	if (key == NULL || value == NULL)
		return refuse(kIOReturnBadArgument, "key or value is NULL");
	kern_return_t status = IORegistryEntryCreateProperties(entry, &properties);
	if (status != kIOReturnSuccess)
		return status;
	OSObject *found = OSDictionary_getObject(properties, key);
	if (found != NULL) {
		OSObjectRetain(found);
		*value = found;
	} else {
		status = refuse(kIOReturnNotFound, "the entry has no property %s", key);
	}
	OSObjectRelease(properties);
	return status;
}

kern_return_t IORegistryEntryGetName(io_registry_entry_t entry, io_name_t name)
{
	OSObject *value;
	if (name == NULL)
		return refuse(kIOReturnBadArgument, "name is NULL");
	kern_return_t status =
		IORegistryEntryCreateProperty(entry, kIORegistryEntryNameKey, &value);
	if (status != kIOReturnSuccess)
		return status;
	OSString *text = OSDynamicCast(OSString, value);
	if (text == NULL || OSString_getLength(text) >= sizeof(io_name_t))
		status = refuse(kIOReturnOverrun, "the entry's name is no text of %zu bytes",
				sizeof(io_name_t) - 1);
	else
		memcpy(name, OSString_getCStringNoCopy(text), OSString_getLength(text) + 1);
	OSObjectRelease(value);
	return status;
}
