// SPDX-License-Identifier: Apache-2.0
/*
 * The smallest driver. It has no device: it matches IOUserResources, which is always there. What it
 * shows is what every driver has: a service that starts and registers, a user client for each
 * application, and a table of the methods that an application may call.
 */

#include <DriverKit/IOLib.h>

#include "Counter.h"

enum { kCounterMethodAdd = 0, kCounterMethodCount };

struct Counter_IVars {
	uint64_t total;
};

/* --- the service --- */

bool IMPL(Counter, init)
{
	if (!Counter_super_init(self))
		return false;
	self->ivars = IONewZero(struct Counter_IVars, 1);
	return self->ivars != NULL;
}

void IMPL(Counter, free)
{
	IOSafeDeleteNULL(self->ivars, struct Counter_IVars, 1);
	Counter_super_free(self);
}

kern_return_t IMPL(Counter, Start)
{
	kern_return_t ret = Counter_super_Start(self, provider);
	if (ret != kIOReturnSuccess)
		return ret;
	return Counter_RegisterService(self); // from now on applications find us
}

kern_return_t IMPL(Counter, NewUserClient)
{
	(void)type;
	IOService *client = NULL;
	kern_return_t ret =
		Counter_Create(self, Counter_as_IOService(self), "UserClientProperties", &client);
	if (ret != kIOReturnSuccess)
		return ret;
	*userClient = OSDynamicCast(IOUserClient, client);
	return kIOReturnSuccess;
}

kern_return_t IMPL(Counter, Add)
{
	if (amount > UINT64_MAX - self->ivars->total)
		return kIOReturnOverrun;
	self->ivars->total += amount;
	*total = self->ivars->total;
	return kIOReturnSuccess;
}

/* --- the user client --- */

static kern_return_t add(OSObject *target, void *reference, IOUserClientMethodArguments *arguments)
{
	(void)reference;
	Counter *counter = OSDynamicCast(Counter, target);
	/* Counter_Add runs on the counter's queue, so two applications never add at once. */
	return Counter_Add(counter, arguments->scalarInput[0], &arguments->scalarOutput[0]);
}

static const IOUserClientMethodDispatch methods[kCounterMethodCount] = {
	[kCounterMethodAdd] = {
		.function = add,
		.checkScalarInputCount = 1,
		.checkScalarOutputCount = 1,
	},
};

kern_return_t IMPL(CounterUserClient, ExternalMethod)
{
	(void)target;
	if (selector < kCounterMethodCount)
		dispatch = &methods[selector];
	/* The super checks the arguments against the table and calls its function. */
	IOService *counter = CounterUserClient_GetProvider(self);
	return CounterUserClient_super_ExternalMethod(self, selector, arguments, dispatch,
						      IOService_as_OSObject(counter), reference);
}
