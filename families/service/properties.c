// SPDX-License-Identifier: Apache-2.0
/*
 * What a service asks of the registry: its properties and its name, and those of what it runs on.
 * dextd has them; a service made with Create has besides the dictionary that it was made from.
 */

#include <assert.h>
#include <string.h>

#include <DriverKit/IOKitKeys.h>
#include <base/reason.h>
#include <families/service/host.h>
#include <families/service/hosted.h>
#include <families/service/service.h>
#include <protocol/dextd.h>

kern_return_t IMPL(IOService, SetProperties)
{
	kern_return_t ret = service_need_host(self, "SetProperties");
	if (ret != kIOReturnSuccess)
		return ret;
	struct DextRegistrar_SetProperties_Msg msg = {
		.service = self->ivars->id,
		.properties = properties,
	};
	return host_call(&DextRegistrar_SetProperties_Shape, &msg, NULL);
}

static void take_properties(void *mine, void *reply)
{
	struct DextRegistrar_CopyProperties_Msg *to = mine, *from = reply;
	to->properties = from->properties;
	OSObjectRetain(to->properties);
}

kern_return_t IMPL(IOService, CopyProperties)
{
	struct IOService_IVars *iv = self->ivars;
	/* dextd has a personality's properties itself. */
	bool mine = iv->properties != NULL && (iv->hosted == NULL || iv->hosted->id != iv->id);
	OSDictionary *merged =
		mine ? OSDictionary_withDictionary(iv->properties) : OSDictionary_withCapacity(4);
	if (merged == NULL)
		return kIOReturnNoMemory;
	/* A provider was given its properties; a service of another driver was not. */
	if (iv->hosted == NULL && (iv->properties != NULL || iv->id == 0)) {
		*properties = merged;
		return kIOReturnSuccess;
	}

	struct DextRegistrar_CopyProperties_Msg msg = { .service = iv->id };
	kern_return_t ret = host_call(&DextRegistrar_CopyProperties_Shape, &msg, take_properties);
	if (ret == kIOReturnSuccess && msg.properties != NULL) {
		const char *key;
		OSObject *value;
		for (uint32_t i = 0; OSDictionary_getEntry(msg.properties, i, &key, &value); i++)
			if (!OSDictionary_setObject(merged, key, value))
				ret = kIOReturnNoMemory;
	}
	OSSafeReleaseNULL(msg.properties);
	if (ret != kIOReturnSuccess) {
		OSSafeReleaseNULL(merged);
		return ret;
	}
	*properties = merged;
	return kIOReturnSuccess;
}

static void take_property(void *mine, void *reply)
{
	struct DextRegistrar_SearchProperty_Msg *to = mine, *from = reply;
	to->property = from->property;
	OSObjectRetain(to->property);
}

kern_return_t IMPL(IOService, SearchProperty)
{
	if (strncmp(plane, kIOServicePlane, sizeof(IORegistryPlaneName)) != 0)
		return refuse(kIOReturnBadArgument,
			      "SearchProperty: there is one plane, " kIOServicePlane);
	if ((options & ~(uint64_t)kIOServiceSearchPropertyParents) != 0)
		return refuse(kIOReturnBadArgument,
			      "SearchProperty: options are 0 or kIOServiceSearchPropertyParents");
	struct DextRegistrar_SearchProperty_Msg msg = {
		.service = self->ivars->id,
		.parents = (uint32_t)options,
	};
	static_assert(sizeof(msg.name) == sizeof(IOPropertyName), "one length for a name");
	memcpy(msg.name, name, strnlen(name, sizeof(msg.name) - 1));
	kern_return_t ret = host_call(&DextRegistrar_SearchProperty_Shape, &msg, take_property);
	if (ret == kIOReturnSuccess)
		*property = msg.property;
	return ret;
}

/* What it was made from is not dextd's to forget. */
static bool forget_own(IOService *self, const char *name)
{
	struct IOService_IVars *iv = self->ivars;
	if (iv->hosted->id == iv->id || OSDictionary_getObject(iv->properties, name) == NULL)
		return false;
	OSDictionary *fewer = OSDictionary_withDictionary(iv->properties);
	if (fewer == NULL)
		return false;
	OSDictionary_removeObject(fewer, name);
	OSObjectRelease(iv->properties);
	iv->properties = fewer;
	return true;
}

kern_return_t IMPL(IOService, RemoveProperty)
{
	kern_return_t ret = service_need_host(self, "RemoveProperty");
	if (ret != kIOReturnSuccess)
		return ret;
	struct DextRegistrar_RemoveProperty_Msg msg = { .service = self->ivars->id };
	size_t length = propertyName != NULL ? OSString_getLength(propertyName) : 0;
	if (length == 0)
		return refuse(kIOReturnBadArgument, "RemoveProperty: which one?");
	if (length >= sizeof(msg.name))
		return refuse(kIOReturnOverrun, "RemoveProperty: a name has at most %zu bytes",
			      sizeof(msg.name) - 1);
	memcpy(msg.name, OSString_getCStringNoCopy(propertyName), length);
	bool forgotten = forget_own(self, msg.name);
	ret = host_call(&DextRegistrar_RemoveProperty_Shape, &msg, NULL);
	return ret == kIOReturnNotFound && forgotten ? kIOReturnSuccess : ret;
}

static void take_providers(void *mine, void *reply)
{
	struct DextRegistrar_CopyProviderProperties_Msg *to = mine, *from = reply;
	to->properties = from->properties;
	OSObjectRetain(to->properties);
}

kern_return_t IMPL(IOService, CopyProviderProperties)
{
	struct DextRegistrar_CopyProviderProperties_Msg msg = {
		.service = self->ivars->id,
		.keys = propertyKeys,
	};
	kern_return_t ret =
		host_call(&DextRegistrar_CopyProviderProperties_Shape, &msg, take_providers);
	if (ret == kIOReturnSuccess)
		*properties = msg.properties;
	return ret;
}

/* --- busy --- */

kern_return_t IMPL(IOService, AdjustBusy)
{
	kern_return_t ret = service_need_host(self, "AdjustBusy");
	if (ret != kIOReturnSuccess)
		return ret;
	struct DextRegistrar_AdjustBusy_Msg msg = { .service = self->ivars->id, .delta = delta };
	return host_call(&DextRegistrar_AdjustBusy_Shape, &msg, NULL);
}

static void take_busy(void *mine, void *reply)
{
	((struct DextRegistrar_GetBusyState_Msg *)mine)->busy =
		((struct DextRegistrar_GetBusyState_Msg *)reply)->busy;
}

kern_return_t IMPL(IOService, GetBusyState)
{
	struct DextRegistrar_GetBusyState_Msg msg = { .service = self->ivars->id };
	kern_return_t ret = host_call(&DextRegistrar_GetBusyState_Shape, &msg, take_busy);
	if (ret == kIOReturnSuccess)
		*busyState = msg.busy;
	return ret;
}

/* --- names --- */

kern_return_t IMPL(IOService, SetName)
{
	kern_return_t ret = service_need_host(self, "SetName");
	if (ret != kIOReturnSuccess)
		return ret;
	struct DextRegistrar_SetName_Msg msg = { .service = self->ivars->id };
	static_assert(sizeof(msg.name) == sizeof(IOServiceName), "one length for a name");
	memcpy(msg.name, name, strnlen(name, sizeof(msg.name) - 1));
	return host_call(&DextRegistrar_SetName_Shape, &msg, NULL);
}

kern_return_t IMPL(IOService, CopyName)
{
	OSContainer *found = NULL;
	kern_return_t ret =
		IOService_SearchProperty(self, kIORegistryEntryNameKey, kIOServicePlane, 0, &found);
	if (ret != kIOReturnSuccess)
		return ret;
	*name = OSDynamicCast(OSString, found);
	if (*name != NULL)
		return kIOReturnSuccess;
	OSObjectRelease(found);
	return refuse(kIOReturnInternalError, "the registry gave a name that is no string");
}

kern_return_t IMPL(IOService, StringFromReturn)
{
	(void)self;
	OSString *text = OSString_withCString(IOReturnString(status));
	if (text == NULL)
		return kIOReturnNoMemory;
	*string = text;
	return kIOReturnSuccess;
}
