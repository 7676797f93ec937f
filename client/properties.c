/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Properties by Core Foundation's names: each call is one of IOKitLib.h's, but that a value is
 * returned where there it goes to a parameter. And setting them, under either name: an application
 * sets none, for what a driver's user client is to be told has a method.
 */

#include <string.h>

#include <IOKit/IOKitCF.h>
#include <base/reason.h>
#include <client/connection.h>
#include <client/entry.h>

static kern_return_t check(const void *allocator, IOOptionBits options)
{
	reason_clear();
	if (allocator != kCFAllocatorDefault)
		return refuse(kIOReturnBadArgument,
			      "an allocator: there is none but kCFAllocatorDefault");
	if (options != kNilOptions)
		return refuse(kIOReturnBadArgument, "options 0x%x: there are none", options);
	return kIOReturnSuccess;
}

kern_return_t IORegistryEntryCreateCFProperties(io_registry_entry_t entry,
						OSDictionary **properties, const void *allocator,
						IOOptionBits options)
{
	kern_return_t status = check(allocator, options);
	return status == kIOReturnSuccess ? IORegistryEntryCreateProperties(entry, properties)
					  : status;
}

OSObject *IORegistryEntryCreateCFProperty(io_registry_entry_t entry, const char *key,
					  const void *allocator, IOOptionBits options)
{
	OSObject *value = NULL;
	if (check(allocator, options) != kIOReturnSuccess ||
	    IORegistryEntryCreateProperty(entry, key, &value) != kIOReturnSuccess)
		return NULL;
	return value;
}

OSObject *IORegistryEntrySearchCFProperty(io_registry_entry_t entry, const char *plane,
					  const char *key, const void *allocator,
					  IOOptionBits options)
{
	OSObject *value = NULL;
	if (check(allocator, kNilOptions) != kIOReturnSuccess ||
	    IORegistryEntrySearchProperty(entry, plane, key, options, &value) != kIOReturnSuccess)
		return NULL;
	return value;
}

/* --- setting --- */

kern_return_t IOConnectSetProperties(io_connect_t connect, OSDictionary *properties)
{
	reason_clear();
	struct connection *c = connection_get(connect);
	if (c == NULL)
		return kIOReturnBadArgument;
	connection_unref(c);
	if (properties == NULL)
		return refuse(kIOReturnBadArgument, "properties is NULL");
	return refuse(kIOReturnUnsupported,
		      "a driver's user client takes no properties: call a method of the driver");
}

kern_return_t IOConnectSetProperty(io_connect_t connect, const char *key, OSObject *value)
{
	reason_clear();
	if (key == NULL || value == NULL)
		return refuse(kIOReturnBadArgument, "key or value is NULL");
	OSDictionary *one = OSDictionary_withCapacity(1);
	kern_return_t status = one != NULL && OSDictionary_setObject(one, key, value)
				       ? IOConnectSetProperties(connect, one)
				       : refuse(kIOReturnNoMemory, "out of memory");
	OSObjectRelease(one);
	return status;
}

kern_return_t IORegistryEntrySetCFProperties(io_registry_entry_t entry, OSObject *properties)
{
	uint64_t id;
	reason_clear();
	if (properties == NULL)
		return refuse(kIOReturnBadArgument, "properties is NULL");
	kern_return_t status = entry_get_id(entry, &id);
	if (status != kIOReturnSuccess)
		return status;
	return refuse(kIOReturnUnsupported,
		      "an application sets no properties of a service: they are its driver's, and "
		      "its personality's; open it, and call a method of the driver");
}

kern_return_t IORegistryEntrySetCFProperty(io_registry_entry_t entry, const char *key,
					   OSObject *value)
{
	reason_clear();
	if (key == NULL)
		return refuse(kIOReturnBadArgument, "key is NULL");
	return IORegistryEntrySetCFProperties(entry, value);
}

kern_return_t IOConnectSetCFProperties(io_connect_t connect, OSObject *properties)
{
	reason_clear();
	OSDictionary *dictionary = OSDynamicCast(OSDictionary, properties);
	if (dictionary == NULL)
		return refuse(kIOReturnBadArgument, "properties is no dictionary");
	return IOConnectSetProperties(connect, dictionary);
}

kern_return_t IOConnectSetCFProperty(io_connect_t connect, const char *key, OSObject *value)
{
	return IOConnectSetProperty(connect, key, value);
}
