// SPDX-License-Identifier: Apache-2.0
/*
 * The driver of the benchmarks. Its memories are made when first asked for, so that a dext whose
 * size is measured holds none of them.
 */

#include <DriverKit/IOLib.h>

#include "Echo.h"
#include "echo.h"

struct Echo_IVars {
	IOBufferMemoryDescriptor *memories[ECHO_MEMORIES]; // NULL: not asked for yet
};

/* --- the service --- */

bool IMPL(Echo, init)
{
	if (!Echo_super_init(self))
		return false;
	self->ivars = IONewZero(struct Echo_IVars, 1);
	return self->ivars != NULL;
}

void IMPL(Echo, free)
{
	for (int i = 0; i < ECHO_MEMORIES && self->ivars != NULL; i++)
		OSSafeReleaseNULL(self->ivars->memories[i]);
	IOSafeDeleteNULL(self->ivars, struct Echo_IVars, 1);
	Echo_super_free(self);
}

kern_return_t IMPL(Echo, Start)
{
	kern_return_t ret = Echo_super_Start(self, provider);
	if (ret != kIOReturnSuccess)
		return ret;
	return Echo_RegisterService(self);
}

kern_return_t IMPL(Echo, NewUserClient)
{
	(void)type;
	IOService *client = NULL;
	kern_return_t ret =
		Echo_Create(self, Echo_as_IOService(self), "UserClientProperties", &client);
	if (ret == kIOReturnSuccess)
		*userClient = OSDynamicCast(IOUserClient, client);
	return ret;
}

kern_return_t IMPL(Echo, CopyMemory)
{
	static const uint64_t sizes[ECHO_MEMORIES] = { ECHO_SMALL_SIZE, ECHO_LARGE_SIZE };
	if (type >= ECHO_MEMORIES)
		return kIOReturnBadArgument;
	IOBufferMemoryDescriptor **kept = &self->ivars->memories[type];
	if (*kept == NULL) {
		kern_return_t ret = IOBufferMemoryDescriptor_Create(kIOMemoryDirectionInOut,
								    sizes[type], 0, kept);
		if (ret != kIOReturnSuccess)
			return ret;
	}
	IOBufferMemoryDescriptor_retain(*kept);
	*memory = IOBufferMemoryDescriptor_as_IOMemoryDescriptor(*kept);
	return kIOReturnSuccess;
}

/* --- the user client --- */

kern_return_t IMPL(EchoUserClient, CopyClientMemoryForType)
{
	(void)options;
	Echo *echo = OSDynamicCast(Echo, EchoUserClient_GetProvider(self));
	return Echo_CopyMemory(echo, type, memory);
}

static kern_return_t call(OSObject *target, void *reference, IOUserClientMethodArguments *arguments)
{
	(void)target;
	(void)reference;
	if (arguments->scalarOutputCount < arguments->scalarInputCount)
		return kIOReturnOverrun;
	arguments->scalarOutputCount = arguments->scalarInputCount;
	for (uint32_t i = 0; i < arguments->scalarInputCount; i++)
		arguments->scalarOutput[i] = arguments->scalarInput[i] + 1;
	return kIOReturnSuccess;
}

#define ANY kIOUserClientVariableStructureSize

static const IOUserClientMethodDispatch methods[ECHO_METHODS] = {
	[ECHO_CALL] = { call, 0, ANY, 0, ANY, 0 },
};

kern_return_t IMPL(EchoUserClient, ExternalMethod)
{
	(void)target;
	if (selector < ECHO_METHODS)
		dispatch = &methods[selector];
	return EchoUserClient_super_ExternalMethod(self, selector, arguments, dispatch,
						   EchoUserClient_as_OSObject(self), reference);
}
