// SPDX-License-Identifier: Apache-2.0
/*
 * How a driver gives much data to an application: calls for what is small and seldom, shared memory
 * for the data, a data queue for the news that there is some. No byte is copied, no event costs a
 * call, and an application that does not read costs the driver nothing.
 *
 *	application ──calls───► ScopeUserClient ──► Scope
 *	application ◄─news───── IODataQueueDispatchSource, one for each application
 *	application ◄─samples── CopyClientMemoryForType: mapped read-only, written by Scope
 */

#include <string.h>

#include <DriverKit/IOLib.h>

#include "Scope.h"

struct Scope_IVars {
	IOBufferMemoryDescriptor *samples;
	struct scope_signal signal;
	uint64_t position; // samples so far
};

struct ScopeUserClient_IVars {
	IODataQueueDispatchSource *news;
};

enum { NEWS_BYTES = 4096 };

bool IMPL(Scope, init)
{
	if (!Scope_super_init(self))
		return false;
	self->ivars = IONewZero(struct Scope_IVars, 1);
	return self->ivars != NULL;
}

void IMPL(Scope, free)
{
	if (self->ivars != NULL)
		OSSafeReleaseNULL(self->ivars->samples);
	IOSafeDeleteNULL(self->ivars, struct Scope_IVars, 1);
	Scope_super_free(self);
}

kern_return_t IMPL(Scope, Start)
{
	kern_return_t ret = Scope_super_Start(self, provider);
	self->ivars->signal = (struct scope_signal){ .period = 100, .amplitude = 1000 };
	if (ret == kIOReturnSuccess)
		ret = IOBufferMemoryDescriptor_Create(kIOMemoryDirectionInOut,
						      SCOPE_BLOCKS * SCOPE_BLOCK * sizeof(int32_t),
						      0, &self->ivars->samples);
	return ret == kIOReturnSuccess ? Scope_RegisterService(self) : ret;
}

kern_return_t IMPL(Scope, NewUserClient)
{
	(void)type;
	IOService *client = NULL;
	kern_return_t ret =
		Scope_Create(self, Scope_as_IOService(self), "UserClientProperties", &client);
	if (ret == kIOReturnSuccess)
		*userClient = OSDynamicCast(IOUserClient, client);
	return ret;
}

kern_return_t IMPL(Scope, Configure)
{
	if (signal->period < 2 || signal->period > 65536 || signal->period % 2 != 0 ||
	    signal->amplitude < 1 || signal->amplitude > 1 << 20)
		return kIOReturnBadArgument;
	self->ivars->signal = *signal;
	self->ivars->position = 0;
	return kIOReturnSuccess;
}

static int32_t sample(const struct scope_signal *signal, uint64_t position)
{
	int64_t half = signal->period / 2, phase = (int64_t)(position % signal->period);
	int64_t rise = phase < half ? phase : 2 * half - phase;
	return (int32_t)(2 * signal->amplitude * rise / half - signal->amplitude);
}

static struct scope_news fill_block(struct Scope_IVars *iv, int32_t *samples)
{
	uint64_t number = iv->position / SCOPE_BLOCK;
	uint32_t place = (uint32_t)(number % SCOPE_BLOCKS);
	int32_t *block = samples + place * SCOPE_BLOCK;
	for (int i = 0; i < SCOPE_BLOCK; i++)
		block[i] = sample(&iv->signal, iv->position++);
	return (struct scope_news){ .number = number, .place = place, .samples = SCOPE_BLOCK };
}

static void put_news(void *context, void *data, size_t size)
{
	memcpy(data, context, size);
}

kern_return_t IMPL(Scope, Capture)
{
	IOAddressSegment range;
	kern_return_t ret = IOBufferMemoryDescriptor_GetAddressRange(self->ivars->samples, &range);
	*told = 0;
	for (uint32_t i = 0; ret == kIOReturnSuccess && i < blocks; i++) {
		struct scope_news entry =
			fill_block(self->ivars, (int32_t *)(uintptr_t)range.address);
		/* Overrun: its reader is behind. The samples go on all the same. */
		if (IODataQueueDispatchSource_Enqueue_f(news, sizeof(entry), &entry, put_news) ==
		    kIOReturnSuccess)
			++*told;
	}
	return ret;
}

kern_return_t IMPL(Scope, CopySamples)
{
	IOBufferMemoryDescriptor_retain(self->ivars->samples);
	*memory = IOBufferMemoryDescriptor_as_IOMemoryDescriptor(self->ivars->samples);
	return kIOReturnSuccess;
}

/* --- the user client: each method makes a typed call of what it was given --- */

bool IMPL(ScopeUserClient, init)
{
	if (!ScopeUserClient_super_init(self))
		return false;
	self->ivars = IONewZero(struct ScopeUserClient_IVars, 1);
	return self->ivars != NULL;
}

void IMPL(ScopeUserClient, free)
{
	if (self->ivars != NULL)
		OSSafeReleaseNULL(self->ivars->news);
	IOSafeDeleteNULL(self->ivars, struct ScopeUserClient_IVars, 1);
	ScopeUserClient_super_free(self);
}

kern_return_t IMPL(ScopeUserClient, Start)
{
	IODispatchQueue *queue = NULL;
	kern_return_t ret = ScopeUserClient_super_Start(self, provider);
	if (ret == kIOReturnSuccess)
		ret = ScopeUserClient_CopyDispatchQueue(self, "Default", &queue);
	if (ret == kIOReturnSuccess)
		ret = IODataQueueDispatchSource_Create(NEWS_BYTES, queue, &self->ivars->news);
	OSSafeReleaseNULL(queue);
	return ret;
}

kern_return_t IMPL(ScopeUserClient, Stop)
{
	if (self->ivars->news != NULL)
		IODataQueueDispatchSource_Cancel_f(self->ivars->news, NULL, NULL);
	return ScopeUserClient_super_Stop(self, provider);
}

static kern_return_t configure(OSObject *target, void *reference,
			       IOUserClientMethodArguments *arguments)
{
	(void)reference; // the table below has checked the structure's size
	return Scope_Configure(OSDynamicCast(Scope, target),
			       OSData_getBytesNoCopy(arguments->structureInput));
}

static kern_return_t capture(OSObject *target, void *reference,
			     IOUserClientMethodArguments *arguments)
{
	uint32_t told = 0;
	ScopeUserClient *client = reference;
	if (arguments->scalarInput[0] > SCOPE_CAPTURE_MAX)
		return kIOReturnBadArgument;
	kern_return_t ret =
		Scope_Capture(OSDynamicCast(Scope, target), (uint32_t)arguments->scalarInput[0],
			      client->ivars->news, &told);
	arguments->scalarOutput[0] = told;
	return ret;
}

static const IOUserClientMethodDispatch methods[SCOPE_METHODS] = {
	[SCOPE_CONFIGURE] = {
		.function = configure,
		.checkStructureInputSize = sizeof(struct scope_signal),
	},
	[SCOPE_CAPTURE] = {
		.function = capture,
		.checkScalarInputCount = 1,
		.checkScalarOutputCount = 1,
	},
};

kern_return_t IMPL(ScopeUserClient, ExternalMethod)
{
	(void)target;
	(void)reference;
	if (selector < SCOPE_METHODS)
		dispatch = &methods[selector];
	/* The methods are the scope's; for `reference` each gets the client that called. */
	IOService *scope = ScopeUserClient_GetProvider(self);
	return ScopeUserClient_super_ExternalMethod(self, selector, arguments, dispatch,
						    IOService_as_OSObject(scope), self);
}

kern_return_t IMPL(ScopeUserClient, CopyClientMemoryForType)
{
	switch (type) {
	case SCOPE_SAMPLES:
		*options |= kIOUserClientMemoryReadOnly;
		return Scope_CopySamples(OSDynamicCast(Scope, ScopeUserClient_GetProvider(self)),
					 memory);
	case SCOPE_NEWS:
		return IODataQueueDispatchSource_CopyMemory(self->ivars->news, memory);
	default:
		return kIOReturnBadArgument;
	}
}
