// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <string.h>

#include <DriverKit/IOLib.h>

#include "Herald.h"
#include "watcher.h"

enum { PAGES_MAX = 64 };

struct Herald_IVars {
	Page *pages[PAGES_MAX]; // kept; the oldest first
	unsigned n_pages;
};

kern_return_t IMPL(Page, Start)
{
	kern_return_t ret = Page_super_Start(self, provider);
	return ret == kIOReturnSuccess ? Page_RegisterService(self) : ret;
}

kern_return_t IMPL(Page, Read)
{
	return Page_GetRegistryEntryID(self, number);
}

kern_return_t IMPL(Recluse, Start)
{
	kern_return_t ret = Recluse_super_Start(self, provider);
	return ret == kIOReturnSuccess ? Recluse_RegisterService(self) : ret;
}

bool IMPL(Herald, init)
{
	if (!Herald_super_init(self))
		return false;
	self->ivars = IONewZero(struct Herald_IVars, 1);
	return self->ivars != NULL;
}

void IMPL(Herald, free)
{
	IOSafeDeleteNULL(self->ivars, struct Herald_IVars, 1);
	Herald_super_free(self);
}

/* --- its state --- */

static OSDictionary *level(uint64_t value)
{
	OSDictionary *dictionary = OSDictionary_withCapacity(1);
	OSNumber *number = OSNumber_withNumber(value, 64);
	OSDictionary_setObject(dictionary, LEVEL_VALUE, OSNumber_as_OSObject(number));
	OSSafeReleaseNULL(number);
	return dictionary;
}

static kern_return_t create_item(Herald *self, const char *name, OSDictionary *schema)
{
	OSString *string = OSString_withCString(name);
	kern_return_t ret = Herald_StateNotificationItemCreate(self, string, schema);
	OSSafeReleaseNULL(string);
	return ret;
}

static kern_return_t set_item(Herald *self, const char *name, OSDictionary *value)
{
	OSString *string = OSString_withCString(name);
	kern_return_t ret = Herald_StateNotificationItemSet(self, string, value);
	OSSafeReleaseNULL(string);
	return ret;
}

static kern_return_t copy_item(Herald *self, const char *name, OSDictionary **value)
{
	OSString *string = OSString_withCString(name);
	kern_return_t ret = Herald_StateNotificationItemCopy(self, string, value);
	OSSafeReleaseNULL(string);
	return ret;
}

static kern_return_t set_property(Herald *self, uint64_t value)
{
	OSDictionary *dictionary = level(value);
	kern_return_t ret = Herald_SetProperties(self, dictionary);
	OSSafeReleaseNULL(dictionary);
	return ret;
}

static kern_return_t set_level(Herald *self, uint64_t value)
{
	OSDictionary *dictionary = level(value);
	kern_return_t ret = set_item(self, LEVEL_ITEM, dictionary);
	OSSafeReleaseNULL(dictionary);
	return ret;
}

kern_return_t IMPL(Herald, Start)
{
	kern_return_t ret = Herald_super_Start(self, provider);
	OSDictionary *schema = level(0);
	if (ret == kIOReturnSuccess)
		ret = create_item(self, LEVEL_ITEM, schema);
	OSSafeReleaseNULL(schema);
	return ret == kIOReturnSuccess ? Herald_RegisterService(self) : ret;
}

static kern_return_t add(Herald *self, uint64_t *number)
{
	IOService *made = NULL;
	if (self->ivars->n_pages == PAGES_MAX)
		return kIOReturnNoSpace;
	kern_return_t ret = Herald_Create(self, Herald_as_IOService(self), "PageProperties", &made);
	if (ret != kIOReturnSuccess)
		return ret;
	self->ivars->pages[self->ivars->n_pages++] = OSDynamicCast(Page, made);
	return IOService_GetRegistryEntryID(made, number);
}

static kern_return_t remove_oldest(Herald *self)
{
	if (self->ivars->n_pages == 0)
		return kIOReturnUnderrun;
	Page *page = self->ivars->pages[0];
	for (unsigned i = 1; i < self->ivars->n_pages; i++)
		self->ivars->pages[i - 1] = self->ivars->pages[i];
	self->ivars->n_pages--;
	kern_return_t ret = Page_Terminate(page, 0);
	OSSafeReleaseNULL(page);
	return ret;
}

kern_return_t IMPL(Herald, Stop)
{
	while (self->ivars->n_pages > 0)
		OSObjectRelease(self->ivars->pages[--self->ivars->n_pages]);
	return Herald_super_Stop(self, provider);
}

#define CHECK(condition)                 \
	do {                             \
		if (!(condition))        \
			return __LINE__; \
	} while (0)

static uint64_t check_sizes(Herald *self)
{
	static const char page[60000];
	char name[8];
	OSDictionary *large = OSDictionary_withCapacity(1);
	OSData *data = OSData_withBytes(page, sizeof(page));
	OSDictionary_setObject(large, "k", OSData_as_OSObject(data));
	CHECK(create_item(self, "A", NULL) == kIOReturnSuccess);
	CHECK(set_item(self, "A", large) == kIOReturnSuccess);
	CHECK(set_item(self, "A", large) == kIOReturnSuccess);
	CHECK(create_item(self, "B", NULL) == kIOReturnSuccess);
	CHECK(set_item(self, "B", large) == kIOReturnOverrun);
	CHECK(create_item(self, "C", large) == kIOReturnOverrun);
	OSSafeReleaseNULL(data);
	OSSafeReleaseNULL(large);
	for (int i = 0; i < 61; i++) { // with Level, A and B
		snprintf(name, sizeof(name), "%d", i);
		CHECK(create_item(self, name, NULL) == kIOReturnSuccess);
	}
	CHECK(create_item(self, "more", NULL) == kIOReturnNoSpace);
	return 0;
}

static uint64_t check_items(Herald *self)
{
	char long_name[200] = "";
	memset(long_name, 'x', sizeof(long_name) - 1);
	OSDictionary *text = OSDictionary_withCapacity(1), *value = NULL;
	OSString *string = OSString_withCString("high");
	OSDictionary_setObject(text, LEVEL_VALUE, OSString_as_OSObject(string));
	CHECK(create_item(self, LEVEL_ITEM, NULL) == kIOReturnExclusiveAccess);
	CHECK(set_item(self, LEVEL_ITEM, text) == kIOReturnBadArgument); // of another type
	OSDictionary_removeObject(text, LEVEL_VALUE);
	OSDictionary_setObject(text, "Colour", OSString_as_OSObject(string));
	CHECK(set_item(self, LEVEL_ITEM, text) == kIOReturnBadArgument); // of another key
	CHECK(set_item(self, LEVEL_ITEM, NULL) == kIOReturnBadArgument);
	CHECK(set_item(self, "nothing", text) == kIOReturnNotFound);
	CHECK(copy_item(self, "nothing", &value) == kIOReturnNotFound);
	CHECK(copy_item(self, LEVEL_ITEM, &value) == kIOReturnNotFound); // not set
	CHECK(create_item(self, "", NULL) == kIOReturnBadArgument);
	CHECK(create_item(self, long_name, NULL) == kIOReturnBadArgument);
	OSString *name = OSString_withCString("n");
	IOService *provider = Herald_GetProvider(self);
	CHECK(IOService_StateNotificationItemCreate(provider, name, NULL) == kIOReturnUnsupported);
	CHECK(IOService_StateNotificationItemSet(provider, name, text) == kIOReturnUnsupported);
	CHECK(IOService_StateNotificationItemCopy(provider, name, &value) == kIOReturnNotFound);
	OSSafeReleaseNULL(name);
	OSSafeReleaseNULL(string);
	OSSafeReleaseNULL(text);
	return check_sizes(self);
}

kern_return_t IMPL(Herald, Try)
{
	kern_return_t ret = kIOReturnSuccess;
	switch (what) {
	case HERALD_ADD:
		return add(self, result);
	case HERALD_REMOVE:
		return remove_oldest(self);
	case HERALD_FLOOD:
		for (uint64_t i = 0; i < argument && ret == kIOReturnSuccess; i++) {
			ret = add(self, result);
			if (ret == kIOReturnSuccess)
				ret = remove_oldest(self);
		}
		return ret;
	case HERALD_LEVEL:
		return set_level(self, argument);
	case HERALD_LEVELS:
		for (uint64_t i = 1; i <= argument && ret == kIOReturnSuccess; i++)
			ret = set_level(self, i);
		return ret;
	case HERALD_PROPERTIES:
		for (uint64_t i = 1; i <= argument && ret == kIOReturnSuccess; i++)
			ret = set_property(self, i);
		return ret;
	case HERALD_BUSY:
		return Herald_AdjustBusy(self, argument != 0 ? 1 : -1);
	case HERALD_STATES:
		*result = check_items(self);
		return kIOReturnSuccess;
	default:
		return kIOReturnBadArgument;
	}
}

kern_return_t IMPL(Herald, NewUserClient)
{
	IOService *client = NULL;
	(void)type;
	kern_return_t ret =
		Herald_Create(self, Herald_as_IOService(self), "UserClientProperties", &client);
	if (ret == kIOReturnSuccess)
		*userClient = OSDynamicCast(IOUserClient, client);
	return ret;
}

static kern_return_t method(OSObject *target, void *reference,
			    IOUserClientMethodArguments *arguments)
{
	IOService *client = OSDynamicCast(IOService, target);
	Herald *herald = OSDynamicCast(Herald, IOService_GetProvider(client));
	(void)reference;
	return Herald_Try(herald, arguments->selector, arguments->scalarInput[0],
			  &arguments->scalarOutput[0]);
}

kern_return_t IMPL(HeraldUserClient, ExternalMethod)
{
	static const IOUserClientMethodDispatch row = {
		.function = method,
		.checkScalarInputCount = 1,
		.checkScalarOutputCount = 1,
	};
	(void)dispatch;
	(void)target;
	return HeraldUserClient_super_ExternalMethod(self, selector, arguments, &row,
						     HeraldUserClient_as_OSObject(self), reference);
}
