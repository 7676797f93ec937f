// SPDX-License-Identifier: Apache-2.0
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

kern_return_t IMPL(Herald, Start)
{
	kern_return_t ret = Herald_super_Start(self, provider);
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
