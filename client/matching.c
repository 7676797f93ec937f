/* SPDX-License-Identifier: Apache-2.0 */

/* Matching dictionaries, and the questions asked with them. */

#include <base/reason.h>
#include <client/directory.h>
#include <client/entry.h>
#include <client/iterator.h>

/* The value is consumed. */
static OSDictionary *matching_with(const char *key, OSObject *value)
{
	OSDictionary *matching = value != NULL ? OSDictionary_withCapacity(1) : NULL;
	if (matching != NULL && !OSDictionary_setObject(matching, key, value))
		OSSafeReleaseNULL(matching);
	OSObjectRelease(value);
	if (matching == NULL)
		refuse(kIOReturnNoMemory, "out of memory");
	return matching;
}

static OSDictionary *matching_with_text(const char *key, const char *text)
{
	reason_clear();
	if (text == NULL) {
		refuse(kIOReturnBadArgument, "%s: the name is NULL", key);
		return NULL;
	}
	OSString *value = OSString_withCString(text);
	return matching_with(key, value != NULL ? OSString_as_OSObject(value) : NULL);
}

OSDictionary *IOServiceMatching(const char *className)
{
	return matching_with_text(kIOProviderClassKey, className);
}

OSDictionary *IOServiceNameMatching(const char *name)
{
	return matching_with_text(kIONameMatchKey, name);
}

OSDictionary *IORegistryEntryIDMatching(uint64_t entryID)
{
	reason_clear();
	OSNumber *value = OSNumber_withNumber(entryID, 64);
	return matching_with(kIORegistryEntryIDKey,
			     value != NULL ? OSNumber_as_OSObject(value) : NULL);
}

OSDictionary *IOBSDNameMatching(mach_port_t mainPort, uint32_t options, const char *bsdName)
{
	(void)mainPort;
	if (options != 0) {
		refuse(kIOReturnBadArgument, "options must be 0");
		return NULL;
	}
	return matching_with_text(kIOBSDNameKey, bsdName);
}

/* The entries are returned. */
static kern_return_t copy_matching(OSDictionary *matching, OSArray **entries)
{
	struct DextDirectory_CopyMatchingServices_Msg msg = { .matching = matching };
	if (matching == NULL)
		return refuse(kIOReturnBadArgument, "the matching dictionary is NULL");
	kern_return_t status = directory_call(&DextDirectory_CopyMatchingServices_Shape, &msg);
	OSObjectRelease(matching);
	if (status == kIOReturnSuccess)
		*entries = msg.entries;
	return status;
}

kern_return_t IOServiceGetMatchingServices(mach_port_t mainPort, OSDictionary *matching,
					   io_iterator_t *existing)
{
	(void)mainPort;
	OSArray *entries = NULL;
	reason_clear();
	if (existing == NULL) {
		OSObjectRelease(matching);
		return refuse(kIOReturnBadArgument, "existing is NULL");
	}
	*existing = IO_OBJECT_NULL;
	kern_return_t status = copy_matching(matching, &entries);
	if (status != kIOReturnSuccess)
		return status;
	struct iterator *iterator = iterator_new(NULL);
	if (iterator == NULL) {
		OSObjectRelease(entries);
		return refuse(kIOReturnNoMemory, "out of memory");
	}
	status = iterator_put_first(iterator, entries);
	OSObjectRelease(entries);
	if (status != kIOReturnSuccess) {
		object_unref(&iterator->object);
		return status;
	}
	*existing = handle_new(&iterator->object);
	return *existing != IO_OBJECT_NULL ? kIOReturnSuccess : kIOReturnNoMemory;
}

io_service_t IOServiceGetMatchingService(mach_port_t mainPort, OSDictionary *matching)
{
	io_iterator_t existing;
	if (IOServiceGetMatchingServices(mainPort, matching, &existing) != kIOReturnSuccess)
		return IO_OBJECT_NULL;
	io_service_t service = IOIteratorNext(existing);
	if (service == IO_OBJECT_NULL && reason_last()[0] == '\0')
		refuse(kIOReturnNotFound, "no registered service matches: dextctl list shows what "
					  "there is, dextctl why DEVICE why not");
	handle_release(existing);
	return service;
}
