/* SPDX-License-Identifier: Apache-2.0 */

/* What a function is, read from its configuration space. */

#include <DriverKit/OSCollections.h>
#include <base/reason.h>
#include <families/pci/identity.h>

kern_return_t pci_check_identity(struct pci_function *function, OSDictionary *properties)
{
	struct pci_identity identity;
	kern_return_t ret = pci_function_identify(function, &identity);
	if (ret != kIOReturnSuccess)
		return ret;
	OSNumber *vendor = OSDynamicCast(OSNumber, OSDictionary_getObject(properties, "vendor-id"));
	OSNumber *device = OSDynamicCast(OSNumber, OSDictionary_getObject(properties, "device-id"));
	if (vendor == NULL || device == NULL)
		return kIOReturnSuccess;
	if (OSNumber_unsigned32BitValue(vendor) == identity.vendor &&
	    OSNumber_unsigned32BitValue(device) == identity.device)
		return kIOReturnSuccess;
	return refuse(kIOReturnNoDevice, "the device was matched as %04x:%04x and is now %04x:%04x",
		      OSNumber_unsigned32BitValue(vendor), OSNumber_unsigned32BitValue(device),
		      identity.vendor, identity.device);
}

static bool set_number(OSDictionary *dictionary, const char *key, uint64_t value)
{
	OSNumber *number = OSNumber_withNumber(value, 32);
	bool done = number != NULL &&
		    OSDictionary_setObject(dictionary, key, OSNumber_as_OSObject(number));
	OSObjectRelease(number);
	return done;
}

static bool set_string(OSDictionary *dictionary, const char *key, const char *value)
{
	OSString *string = OSString_withCString(value);
	bool done = string != NULL &&
		    OSDictionary_setObject(dictionary, key, OSString_as_OSObject(string));
	OSObjectRelease(string);
	return done;
}

static OSArray *describe(const struct pci_backend_ops *ops, const struct pci_identity *identity)
{
	OSDictionary *entry = OSDictionary_withCapacity(8);
	OSArray *array = OSArray_withCapacity(1);
	bool done = entry != NULL && array != NULL &&
		    set_string(entry, "IOProviderClass", "IOPCIDevice") &&
		    set_string(entry, "OpenDextBackend", ops->name) &&
		    set_number(entry, "vendor-id", identity->vendor) &&
		    set_number(entry, "device-id", identity->device) &&
		    set_number(entry, "subsystem-vendor-id", identity->subsystem_vendor) &&
		    set_number(entry, "subsystem-id", identity->subsystem) &&
		    set_number(entry, "class-code", identity->class_code) &&
		    set_number(entry, "revision-id", identity->revision) &&
		    OSArray_setObject(array, OSDictionary_as_OSObject(entry));
	OSObjectRelease(entry);
	if (!done)
		OSSafeReleaseNULL(array);
	return array;
}

static void ignore_loss(void *context, const char *reason)
{
	(void)context;
	(void)reason;
}

kern_return_t pci_copy_identity(struct device_handover *handover, OSArray **identity)
{
	struct pci_function function;
	struct pci_identity ids;
	kern_return_t ret = pci_function_open(&function, handover, ignore_loss, NULL);
	if (ret != kIOReturnSuccess)
		return ret;
	ret = pci_function_identify(&function, &ids);
	if (ret == kIOReturnSuccess) {
		*identity = describe(function.ops, &ids);
		if (*identity == NULL)
			ret = refuse(kIOReturnNoMemory, "out of memory for the PCI identity");
	}
	pci_function_close(&function);
	return ret;
}
