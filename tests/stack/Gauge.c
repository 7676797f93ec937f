// SPDX-License-Identifier: Apache-2.0
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <DriverKit/IOLib.h>

#include "Gauge.h"

struct Needle_IVars {
	int64_t position;
};

struct Gauge_IVars {
	Needle *last; // kept until Forget, or a further one
	unsigned attached;
	OSAction *alarm; // the one given out last
	uint64_t sum, aborted;
};

static _Atomic uint64_t n_needles;

bool IMPL(Needle, init)
{
	if (!Needle_super_init(self))
		return false;
	self->ivars = IONewZero(struct Needle_IVars, 1);
	atomic_fetch_add(&n_needles, 1);
	return self->ivars != NULL;
}

void IMPL(Needle, free)
{
	atomic_fetch_sub(&n_needles, 1);
	IOSafeDeleteNULL(self->ivars, struct Needle_IVars, 1);
	Needle_super_free(self);
}

kern_return_t IMPL(Needle, Move)
{
	self->ivars->position += by;
	*position = self->ivars->position;
	return kIOReturnSuccess;
}

bool IMPL(Gauge, init)
{
	if (!Gauge_super_init(self))
		return false;
	self->ivars = IONewZero(struct Gauge_IVars, 1);
	return self->ivars != NULL;
}

void IMPL(Gauge, free)
{
	if (self->ivars != NULL)
		OSSafeReleaseNULL(self->ivars->last);
	IOSafeDeleteNULL(self->ivars, struct Gauge_IVars, 1);
	Gauge_super_free(self);
}

/* Its state, which the upper driver reads. */
static kern_return_t set_range(Gauge *self)
{
	OSString *item = OSString_withCString("Range");
	OSDictionary *range = OSDictionary_withCapacity(1);
	OSNumber *number = OSNumber_withNumber(400, 64);
	OSDictionary_setObject(range, "High", OSNumber_as_OSObject(number));
	kern_return_t ret = Gauge_StateNotificationItemCreate(self, item, NULL);
	if (ret == kIOReturnSuccess)
		ret = Gauge_StateNotificationItemSet(self, item, range);
	OSSafeReleaseNULL(number);
	OSSafeReleaseNULL(range);
	OSSafeReleaseNULL(item);
	return ret;
}

kern_return_t IMPL(Gauge, Start)
{
	kern_return_t ret = Gauge_super_Start(self, provider);
	if (ret == kIOReturnSuccess)
		ret = set_range(self);
	return ret == kIOReturnSuccess ? Gauge_RegisterService(self) : ret;
}

/* What an alarm was given out for is over, or its gauge is. */
static void forget_alarm(Gauge *self)
{
	if (self->ivars->alarm != NULL)
		OSAction_Cancel_f(self->ivars->alarm, NULL, NULL);
	OSSafeReleaseNULL(self->ivars->alarm);
}

kern_return_t IMPL(Gauge, Stop)
{
	IOLog("gauge stops with %u attached", self->ivars->attached);
	forget_alarm(self);
	return Gauge_super_Stop(self, provider);
}

kern_return_t IMPL(Gauge, Read)
{
	if (channel > 3)
		return kIOReturnBadArgument;
	*value = 100 + channel;
	return kIOReturnSuccess;
}

kern_return_t IMPL(Gauge, Describe)
{
	OSDictionary *made = OSDictionary_withDictionary(question);
	OSString *text = OSString_withCString("forty-two");
	OSDictionary_setObject(made, "Answer", OSString_as_OSObject(text));
	OSSafeReleaseNULL(text);
	*answer = made;
	return kIOReturnSuccess;
}

kern_return_t IMPL(Gauge, Watch)
{
	if (times > 10000)
		return kIOReturnBadArgument;
	for (uint32_t i = 0; i < times; i++)
		Gauge_Reading(self, action, i);
	return kIOReturnSuccess;
}

kern_return_t IMPL(Gauge, Complement)
{
	IOMemoryMap *map = NULL;
	kern_return_t ret = IOMemoryDescriptor_CreateMapping(memory, 0, 0, 0, 0, 0, &map);
	if (ret != kIOReturnSuccess)
		return ret;
	uint8_t *bytes = (uint8_t *)(uintptr_t)IOMemoryMap_GetAddress(map);
	for (uint64_t i = 0; i < IOMemoryMap_GetLength(map); i++)
		bytes[i] = (uint8_t)~bytes[i];
	OSSafeReleaseNULL(map);
	return kIOReturnSuccess;
}

kern_return_t IMPL(Gauge, CopyPage)
{
	IOBufferMemoryDescriptor *buffer = NULL;
	IOAddressSegment range;
	kern_return_t ret =
		IOBufferMemoryDescriptor_Create(kIOMemoryDirectionInOut, 4096, 0, &buffer);
	if (ret == kIOReturnSuccess)
		ret = IOBufferMemoryDescriptor_SetLength(buffer, 4096);
	if (ret == kIOReturnSuccess)
		ret = IOBufferMemoryDescriptor_GetAddressRange(buffer, &range);
	if (ret != kIOReturnSuccess) {
		OSSafeReleaseNULL(buffer);
		return ret;
	}
	memset((void *)(uintptr_t)range.address, 0x5a, 4096);
	*memory = IOBufferMemoryDescriptor_as_IOMemoryDescriptor(buffer);
	return kIOReturnSuccess;
}

kern_return_t IMPL(Gauge, CopyNeedle)
{
	Needle *made = OSTypeAlloc(Needle);
	if (made == NULL || !Needle_init(made)) {
		OSSafeReleaseNULL(made);
		return kIOReturnNoMemory;
	}
	OSObjectRelease(self->ivars->last);
	OSObjectRetain(made);
	self->ivars->last = made;
	*needle = made;
	return kIOReturnSuccess;
}

kern_return_t IMPL(Gauge, CopyLastNeedle)
{
	if (self->ivars->last == NULL)
		return kIOReturnNotFound;
	OSObjectRetain(self->ivars->last);
	*needle = self->ivars->last;
	return kIOReturnSuccess;
}

kern_return_t IMPL(Gauge, Forget)
{
	OSSafeReleaseNULL(self->ivars->last);
	return kIOReturnSuccess;
}

kern_return_t IMPL(Gauge, Look)
{
	if (needle == NULL || needle->ivars == NULL)
		return kIOReturnBadArgument; // a proxy has none
	*position = needle->ivars->position;
	return kIOReturnSuccess;
}

kern_return_t IMPL(Gauge, Count)
{
	*needles = atomic_load(&n_needles);
	return kIOReturnSuccess;
}

static void on_aborted(void *context)
{
	Gauge *self = context; // alive: the action keeps it until it is cancelled
	self->ivars->aborted++;
}

kern_return_t IMPL(Gauge, CopyAlarm)
{
	OSAction *made = NULL;
	kern_return_t ret = Gauge_CreateActionalarmed(self, 0, &made);
	if (ret == kIOReturnSuccess)
		ret = OSAction_SetAbortedHandler_f(made, self, on_aborted, NULL);
	if (ret != kIOReturnSuccess) {
		OSSafeReleaseNULL(made);
		return ret;
	}
	forget_alarm(self);
	OSObjectRetain(made);
	self->ivars->alarm = made;
	*alarm = made;
	return kIOReturnSuccess;
}

void IMPL(Gauge, alarmed)
{
	(void)action;
	self->ivars->sum += value;
}

kern_return_t IMPL(Gauge, CountAlarms)
{
	*sum = self->ivars->sum;
	*aborted = self->ivars->aborted;
	return kIOReturnSuccess;
}

kern_return_t IMPL(Gauge, Attach)
{
	self->ivars->attached += attached ? 1U : -1U;
	return kIOReturnSuccess;
}

kern_return_t IMPL(Gauge, Die)
{
	(void)self;
	abort();
}

kern_return_t IMPL(Gauge, Private)
{
	(void)self;
	return kIOReturnSuccess;
}
