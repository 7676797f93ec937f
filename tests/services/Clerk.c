// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include <DriverKit/IOKitKeys.h>
#include <DriverKit/IOLib.h>

#include "Clerk.h"

static uint64_t n_checks, failed_line;

#define CHECK(condition) check((condition), __LINE__)

static void check(bool holds, uint64_t line)
{
	n_checks++;
	if (!holds && failed_line == 0)
		failed_line = line;
}

/* --- what is asked --- */

static void set_number(IOService *service, const char *key, uint64_t value)
{
	OSDictionary *properties = OSDictionary_withCapacity(1);
	OSNumber *number = OSNumber_withNumber(value, 64);
	OSDictionary_setObject(properties, key, OSNumber_as_OSObject(number));
	CHECK(IOService_SetProperties(service, properties) == kIOReturnSuccess);
	OSSafeReleaseNULL(number);
	OSSafeReleaseNULL(properties);
}

static bool has(IOService *service, const char *key)
{
	OSDictionary *properties = NULL;
	CHECK(IOService_CopyProperties(service, &properties) == kIOReturnSuccess);
	bool found = OSDictionary_getObject(properties, key) != NULL;
	OSSafeReleaseNULL(properties);
	return found;
}

static kern_return_t remove_property(IOService *service, const char *key)
{
	OSString *name = OSString_withCString(key);
	kern_return_t ret = IOService_RemoveProperty(service, name);
	OSSafeReleaseNULL(name);
	return ret;
}

static kern_return_t search(IOService *service, const char *key, uint64_t options)
{
	OSContainer *found = NULL;
	IOPropertyName name = "";
	IORegistryPlaneName plane = kIOServicePlane;
	strncpy(name, key, sizeof(name) - 1);
	kern_return_t ret = IOService_SearchProperty(service, name, plane, options, &found);
	CHECK((ret == kIOReturnSuccess) == (found != NULL));
	OSSafeReleaseNULL(found);
	return ret;
}

static bool is_text(OSObject *object, const char *text)
{
	OSString *string = OSDynamicCast(OSString, object);
	return string != NULL && OSString_isEqualToCString(string, text);
}

static bool has_name(IOService *service, const char *text)
{
	OSString *name = NULL;
	CHECK(IOService_CopyName(service, &name) == kIOReturnSuccess);
	bool same = is_text(OSString_as_OSObject(name), text);
	OSSafeReleaseNULL(name);
	return same;
}

/* --- the checks --- */

static void check_properties(IOService *self, IOService *provider)
{
	set_number(self, "a", 1);
	set_number(self, "b", 2);
	CHECK(has(self, "a") && has(self, "b") && has(self, "Colour"));
	CHECK(remove_property(self, "a") == kIOReturnSuccess);
	CHECK(!has(self, "a") && has(self, "b"));
	CHECK(remove_property(self, "a") == kIOReturnNotFound);
	CHECK(remove_property(self, "") == kIOReturnBadArgument);
	CHECK(remove_property(self, "Colour") == kIOReturnSuccess);
	CHECK(!has(self, "Colour"));
	CHECK(remove_property(provider, "IOResourceMatch") == kIOReturnUnsupported);

	OSDictionary *none = OSDictionary_withCapacity(1);
	CHECK(IOService_SetProperties(provider, none) == kIOReturnUnsupported);
	OSSafeReleaseNULL(none);
}

static void check_search(IOService *self, IOService *provider)
{
	CHECK(search(self, "b", 0) == kIOReturnSuccess);
	CHECK(search(self, "IOResourceMatch", 0) == kIOReturnNotFound);
	CHECK(search(self, "IOResourceMatch", kIOServiceSearchPropertyParents) == kIOReturnSuccess);
	CHECK(search(provider, "IOResourceMatch", 0) == kIOReturnSuccess);
	CHECK(search(self, "nowhere", kIOServiceSearchPropertyParents) == kIOReturnNotFound);
	CHECK(search(self, "b", 8) == kIOReturnBadArgument);

	OSContainer *found = NULL;
	IOPropertyName name = "b";
	IORegistryPlaneName plane = "IOPower";
	CHECK(IOService_SearchProperty(self, name, plane, 0, &found) == kIOReturnBadArgument);
}

static void check_names(IOService *self, IOService *provider)
{
	IOServiceName name = "the clerk";
	CHECK(has_name(self, "Clerk"));
	CHECK(IOService_SetName(self, name) == kIOReturnSuccess);
	CHECK(has_name(self, "the clerk"));
	CHECK(has_name(provider, "IOUserResources"));

	OSString *text = NULL;
	CHECK(IOService_StringFromReturn(self, kIOReturnBusy, &text) == kIOReturnSuccess);
	CHECK(is_text(OSString_as_OSObject(text), "kIOReturnBusy"));
	OSSafeReleaseNULL(text);
}

static void check_providers(IOService *service, uint32_t n)
{
	OSArray *keys = OSArray_withCapacity(1), *found = NULL;
	OSString *key = OSString_withCString("IOResourceMatch");
	OSArray_setObject(keys, OSString_as_OSObject(key));
	CHECK(IOService_CopyProviderProperties(service, keys, &found) == kIOReturnSuccess);
	CHECK(OSArray_getCount(found) == n);
	OSDictionary *last = OSDynamicCast(OSDictionary, OSArray_getObject(found, n - 1));
	CHECK(OSDictionary_getCount(last) == 1);
	CHECK(is_text(OSDictionary_getObject(last, "IOResourceMatch"), "IOKit"));
	OSSafeReleaseNULL(found);

	CHECK(IOService_CopyProviderProperties(service, NULL, &found) == kIOReturnSuccess);
	last = OSDynamicCast(OSDictionary, OSArray_getObject(found, n - 1));
	CHECK(is_text(OSDictionary_getObject(last, "IORegistryEntryName"), "IOUserResources"));
	OSSafeReleaseNULL(found);
	OSSafeReleaseNULL(key);
	OSSafeReleaseNULL(keys);
}

/* One made with Create has the properties it was made from, and its maker above it. */
static void check_child(IOService *self)
{
	IOService *child = NULL;
	IOPropertyName key = "AssistantProperties", long_key = "LongProperties";
	CHECK(IOService_Create(self, self, long_key, &child) == kIOReturnOverrun);
	CHECK(child == NULL);
	CHECK(IOService_Create(self, self, key, &child) == kIOReturnSuccess);
	if (child == NULL)
		return;
	CHECK(has(child, "Tool"));
	CHECK(remove_property(child, "Tool") == kIOReturnSuccess);
	CHECK(!has(child, "Tool"));
	CHECK(search(child, "b", 0) == kIOReturnNotFound);
	CHECK(search(child, "b", kIOServiceSearchPropertyParents) == kIOReturnSuccess);
	check_providers(child, 2);
	CHECK(IOService_Terminate(child, 0) == kIOReturnSuccess);
	CHECK(IOService_Terminate(child, 0) == kIOReturnNotPermitted);
	OSSafeReleaseNULL(child);
}

/* It starts: that counts once. */
static void check_busy(IOService *self, IOService *provider)
{
	uint32_t before = 0, busy = 0, above = 0;
	CHECK(IOService_GetBusyState(self, &before) == kIOReturnSuccess && before >= 1);
	CHECK(IOService_AdjustBusy(self, 2) == kIOReturnSuccess);
	CHECK(IOService_GetBusyState(self, &busy) == kIOReturnSuccess && busy == before + 2);
	CHECK(IOService_GetBusyState(provider, &above) == kIOReturnSuccess && above >= 1);
	CHECK(IOService_AdjustBusy(self, -3) == kIOReturnBadArgument);
	CHECK(IOService_AdjustBusy(self, 100000) == kIOReturnBadArgument);
	CHECK(IOService_AdjustBusy(self, -2) == kIOReturnSuccess);
	CHECK(IOService_AdjustBusy(provider, 1) == kIOReturnUnsupported);
}

static void check_matching(void)
{
	OSDictionary *matching = IOService_CreateNameMatchingDictionary("n", NULL);
	OSNumber *number = OSNumber_withNumber(1, 64);
	OSObject *value = OSNumber_as_OSObject(number);
	CHECK(IOService_CreateKernelClassMatchingDictionary("K", matching) == matching);
	CHECK(IOService_CreateUserClassMatchingDictionary("U", matching) == matching);
	CHECK(IOService_CreatePropertyMatchingDictionary("a", value, matching) == matching);
	CHECK(IOService_CreatePropertyMatchingDictionary("b", value, matching) == matching);
	CHECK(IOService_CreatePropertyMatchingDictionary("b", NULL, matching) == NULL);
	CHECK(IOService_CreateNameMatchingDictionary(NULL, matching) == NULL);
	CHECK(is_text(OSDictionary_getObject(matching, kIONameMatchKey), "n"));
	CHECK(is_text(OSDictionary_getObject(matching, kIOProviderClassKey), "K"));
	CHECK(is_text(OSDictionary_getObject(matching, kIOUserClassKey), "U"));
	OSDictionary *both =
		OSDynamicCast(OSDictionary, OSDictionary_getObject(matching, kIOPropertyMatchKey));
	CHECK(OSDictionary_getCount(both) == 2);
	OSSafeReleaseNULL(number);
	OSSafeReleaseNULL(matching);
}

kern_return_t IMPL(Clerk, Start)
{
	kern_return_t ret = Clerk_super_Start(self, provider);
	IOService *service = Clerk_as_IOService(self);
	if (ret != kIOReturnSuccess)
		return ret;
	check_properties(service, provider);
	check_search(service, provider);
	check_names(service, provider);
	check_providers(service, 1);
	check_child(service);
	check_busy(service, provider);
	check_matching();
	set_number(service, "Checked", n_checks);
	set_number(service, "Failed", failed_line);
	return Clerk_RegisterService(self);
}

kern_return_t IMPL(Clerk, NewUserClient)
{
	(void)userClient;
	if (type == 3) {
		set_number(Clerk_as_IOService(self), "Late", 3);
		return kIOReturnUnsupported;
	}
	kern_return_t ret = Clerk_AdjustBusy(self, type == 1 ? 1 : -1);
	return ret == kIOReturnSuccess ? kIOReturnUnsupported : ret;
}
