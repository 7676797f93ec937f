// SPDX-License-Identifier: Apache-2.0
#include <stdatomic.h>
#include <stdlib.h>

#include <DriverKit/IOLib.h>

#include "Tower.h"
#include "tower.h"

/* Of the process with the nubs. */
static _Atomic uint64_t n_nubs, the_manner;

#define INIT(class)                                               \
	bool IMPL(class, init)                                    \
	{                                                         \
		if (!class##_super_init(self))                    \
			return false;                             \
		self->ivars = IONewZero(struct class##_IVars, 1); \
		return self->ivars != NULL;                       \
	}

struct Ground_IVars {
	IOService *nub; // kept
};

struct Nub_IVars {
	uint64_t number;
};

struct Story_IVars {
	uint64_t number;
};

struct Roof_IVars {
	uint64_t number;
};

static const char *power_name(uint32_t flags)
{
	return flags == kIOServicePowerCapabilityOff  ? "off"
	       : flags == kIOServicePowerCapabilityOn ? "on"
						      : "low";
}

INIT(Ground)
INIT(Nub)
INIT(Story)
INIT(Roof)

/* --- ground --- */

void IMPL(Ground, free)
{
	if (self->ivars != NULL)
		OSSafeReleaseNULL(self->ivars->nub);
	IOSafeDeleteNULL(self->ivars, struct Ground_IVars, 1);
	Ground_super_free(self);
}

static bool has_property(IOService *service, const char *key)
{
	OSDictionary *properties = NULL;
	bool has = IOService_CopyProperties(service, &properties) == kIOReturnSuccess &&
		   OSDictionary_getObject(properties, key) != NULL;
	OSSafeReleaseNULL(properties);
	return has;
}

kern_return_t IMPL(Ground, Start)
{
	IOService *service = Ground_as_IOService(self);
	kern_return_t ret = Ground_super_Start(self, provider);
	if (ret == kIOReturnSuccess && has_property(service, "NubProperties"))
		ret = Ground_Create(self, service, "NubProperties", &self->ivars->nub);
	if (ret == kIOReturnSuccess)
		ret = Ground_RegisterService(self);
	return ret;
}

kern_return_t IMPL(Ground, Stop)
{
	IOLog("life: ground stops");
	return Ground_super_Stop(self, provider);
}

kern_return_t IMPL(Ground, SetPowerState)
{
	IOLog("life: ground %s", power_name(powerFlags));
	return Ground_super_SetPowerState(self, powerFlags);
}

kern_return_t IMPL(Ground, NewUserClient)
{
	IOService *client = NULL;
	(void)type;
	kern_return_t ret =
		Ground_Create(self, Ground_as_IOService(self), "UserClientProperties", &client);
	if (ret == kIOReturnSuccess)
		*userClient = OSDynamicCast(IOUserClient, client);
	return ret;
}

static kern_return_t terminate(Ground *self)
{
	kern_return_t ret = self->ivars->nub != NULL ? IOService_Terminate(self->ivars->nub, 0)
						     : kIOReturnNotFound;
	if (ret == kIOReturnSuccess)
		OSSafeReleaseNULL(self->ivars->nub);
	return ret;
}

kern_return_t IMPL(Ground, Try)
{
	switch (what) {
	case TOWER_NUBS:
		*result = n_nubs;
		return kIOReturnSuccess;
	case TOWER_TERMINATE:
		return terminate(self);
	case TOWER_SPEAK:
		IOLog("life: ground is called");
		return kIOReturnSuccess;
	case TOWER_JOIN:
		return IOService_JoinPMTree(self->ivars->nub);
	case TOWER_WISH:
		return Ground_ChangePowerState(self, (uint32_t)argument);
	case TOWER_NUB_WISH:
		return IOService_ChangePowerState(self->ivars->nub, (uint32_t)argument);
	case TOWER_OVERRIDE:
		return Ground_SetPowerOverride(self, argument != 0);
	case TOWER_STALL:
		return Ground_RequireMaxBusStall(self, argument);
	case TOWER_MANNER:
		the_manner = argument;
		return kIOReturnSuccess;
	default:
		return kIOReturnBadArgument;
	}
}

static kern_return_t method(OSObject *target, void *reference,
			    IOUserClientMethodArguments *arguments)
{
	IOService *client = OSDynamicCast(IOService, target);
	Ground *ground = OSDynamicCast(Ground, IOService_GetProvider(client));
	(void)reference;
	return Ground_Try(ground, arguments->selector, arguments->scalarInput[0],
			  &arguments->scalarOutput[0]);
}

kern_return_t IMPL(GroundUserClient, ExternalMethod)
{
	static const IOUserClientMethodDispatch row = {
		.function = method,
		.checkScalarInputCount = 1,
		.checkScalarOutputCount = 1,
	};
	(void)dispatch;
	(void)target;
	return GroundUserClient_super_ExternalMethod(self, selector, arguments, &row,
						     GroundUserClient_as_OSObject(self), reference);
}

/* --- nub --- */

void IMPL(Nub, free)
{
	if (self->ivars != NULL && self->ivars->number != 0) {
		IOLog("life: nub %llu is freed", (unsigned long long)self->ivars->number);
		n_nubs--;
	}
	IOSafeDeleteNULL(self->ivars, struct Nub_IVars, 1);
	Nub_super_free(self);
}

kern_return_t IMPL(Nub, Start)
{
	IOService *twig = NULL;
	kern_return_t ret = Nub_super_Start(self, provider);
	self->ivars->number = ++n_nubs;
	if (ret == kIOReturnSuccess && has_property(Nub_as_IOService(self), "TwigProperties"))
		ret = Nub_Create(self, Nub_as_IOService(self), "TwigProperties", &twig);
	OSSafeReleaseNULL(twig);
	if (ret == kIOReturnSuccess)
		ret = Nub_RegisterService(self);
	return ret;
}

kern_return_t IMPL(Nub, Stop)
{
	IOLog("life: nub %llu stops", (unsigned long long)self->ivars->number);
	bool is_twig = self->ivars->number == 2;
	if (the_manner == MANNER_NUB_DIES && is_twig)
		abort();
	if (the_manner == MANNER_NUB_HANGS && is_twig)
		return kIOReturnSuccess;
	return Nub_super_Stop(self, provider);
}

kern_return_t IMPL(Nub, SetPowerState)
{
	IOLog("life: nub %llu %s", (unsigned long long)self->ivars->number, power_name(powerFlags));
	return Nub_super_SetPowerState(self, powerFlags);
}

kern_return_t IMPL(Nub, Ask)
{
	*number = self->ivars->number;
	*manner = the_manner;
	return kIOReturnSuccess;
}

/* --- story --- */

void IMPL(Story, free)
{
	IOSafeDeleteNULL(self->ivars, struct Story_IVars, 1);
	Story_super_free(self);
}

kern_return_t IMPL(Story, Start)
{
	uint64_t manner;
	kern_return_t ret = Story_super_Start(self, provider);
	if (ret == kIOReturnSuccess)
		ret = Nub_Ask(OSDynamicCast(Nub, provider), &self->ivars->number, &manner);
	if (ret == kIOReturnSuccess)
		ret = Story_RegisterService(self);
	return ret;
}

kern_return_t IMPL(Story, Stop)
{
	uint64_t number, manner = MANNER_GOOD;
	kern_return_t ret = Nub_Ask(OSDynamicCast(Nub, provider), &number, &manner);
	IOLog("life: story %llu stops: %s", (unsigned long long)self->ivars->number,
	      IOReturnString(ret));
	if (manner == MANNER_STORY_DIES)
		abort();
	if (manner == MANNER_STORY_HANGS)
		return kIOReturnSuccess;
	return Story_super_Stop(self, provider);
}

/* The provider is on while its client changes. */
kern_return_t IMPL(Story, SetPowerState)
{
	uint64_t number, manner = MANNER_GOOD;
	kern_return_t ret = Nub_Ask(OSDynamicCast(Nub, Story_GetProvider(self)), &number, &manner);
	IOLog("life: story %llu %s: %s", (unsigned long long)self->ivars->number,
	      power_name(powerFlags), IOReturnString(ret));
	if (manner == MANNER_STORY_KEEPS)
		return kIOReturnSuccess;
	return Story_super_SetPowerState(self, powerFlags);
}

kern_return_t IMPL(Story, Ask)
{
	*number = self->ivars->number;
	*manner = MANNER_GOOD;
	return kIOReturnSuccess;
}

/* --- roof --- */

void IMPL(Roof, free)
{
	IOSafeDeleteNULL(self->ivars, struct Roof_IVars, 1);
	Roof_super_free(self);
}

kern_return_t IMPL(Roof, Start)
{
	uint64_t manner;
	kern_return_t ret = Roof_super_Start(self, provider);
	if (ret == kIOReturnSuccess)
		ret = Story_Ask(OSDynamicCast(Story, provider), &self->ivars->number, &manner);
	if (ret == kIOReturnSuccess)
		ret = Roof_RegisterService(self);
	return ret;
}

kern_return_t IMPL(Roof, Stop)
{
	uint64_t number, manner;
	kern_return_t ret = Story_Ask(OSDynamicCast(Story, provider), &number, &manner);
	IOLog("life: roof %llu stops: %s", (unsigned long long)self->ivars->number,
	      IOReturnString(ret));
	return Roof_super_Stop(self, provider);
}

kern_return_t IMPL(Roof, SetPowerState)
{
	IOLog("life: roof %llu %s", (unsigned long long)self->ivars->number,
	      power_name(powerFlags));
	return Roof_super_SetPowerState(self, powerFlags);
}
