/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The calls of IOKitLib.h that deal in properties, under the names and in the forms that they have
 * with Core Foundation, so that an application's source can stay as it is: values are the objects
 * of <DriverKit/OSCollections.h>, which OSObjectRelease gives back; a key is a C string, and
 * CFSTR("…") is one. <IOKit/IOKitLib.h> includes this. Any thread.
 *
 * An allocator is kCFAllocatorDefault, and options are kNilOptions where nothing else is said:
 * others are refused. dext_last_reason() (<opendext/client.h>) says why there is no value.
 */

#include <IOKit/IOKitLib.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* A key, and the only allocator there is; unless a Core Foundation has defined them before. */
#ifndef CFSTR
#define CFSTR(text) ("" text "")
#endif
#ifndef kCFAllocatorDefault
#define kCFAllocatorDefault NULL
#endif

/* No option. */
enum {
	kNilOptions = 0,
};

/* All properties, as they are now: returned. */
kern_return_t IORegistryEntryCreateCFProperties(io_registry_entry_t entry,
						OSDictionary **properties, const void *allocator,
						IOOptionBits options);

/* One property, as it is now: returned. NULL: the entry has none of that name, or has ended. */
OSObject *IORegistryEntryCreateCFProperty(io_registry_entry_t entry, const char *key,
					  const void *allocator, IOOptionBits options);

/* The first value that is found, returned: of the entry itself, or with
 * kIORegistryIterateRecursively from it down, with kIORegistryIterateParents too from it up. NULL:
 * there is none. */
OSObject *IORegistryEntrySearchCFProperty(io_registry_entry_t entry, const char *plane,
					  const char *key, const void *allocator,
					  IOOptionBits options);

/* kIOReturnUnsupported: a service's properties are its driver's and its personality's to set, not
 * an application's. A method of the driver is the way. */
kern_return_t IORegistryEntrySetCFProperties(io_registry_entry_t entry, OSObject *properties);
kern_return_t IORegistryEntrySetCFProperty(io_registry_entry_t entry, const char *key,
					   OSObject *value);

/* kIOReturnUnsupported, as of all drivers' user clients: a method of the driver is the way. */
kern_return_t IOConnectSetCFProperties(io_connect_t connect, OSObject *properties);
kern_return_t IOConnectSetCFProperty(io_connect_t connect, const char *key, OSObject *value);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
