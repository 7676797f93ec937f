// SPDX-License-Identifier: Apache-2.0
/*
 * The upper of two drivers. Its provider is the room itself: `Room` is a class here, and a call on
 *it looks like any other, but the room is in another process. This driver has the room's interface
 * (iig --remote), not its code.
 *
 *	application ──PassMinute──► Thermostat ──PassMinute──► Room
 *	application ◄──completion── Thermostat ◄────Reading─── Room
 *	                            Thermostat ──────Heat────► Room
 */

#include <DriverKit/IOLib.h>
#include <opendext/driver.h>

#include "Thermostat.h"
#include "thermostat.h"

enum { HYSTERESIS = 300, COLDEST = 5000, WARMEST = 30000 };

struct Thermostat_IVars {
	Room *room; // kept by the provider's stay
	OSAction *read;
	OSAction *done; // the application's call for this minute; NULL: none
	int32_t target;
	bool heats;
};

bool IMPL(Thermostat, init)
{
	if (!Thermostat_super_init(self))
		return false;
	self->ivars = IONewZero(struct Thermostat_IVars, 1);
	return self->ivars != NULL;
}

void IMPL(Thermostat, free)
{
	IOSafeDeleteNULL(self->ivars, struct Thermostat_IVars, 1);
	Thermostat_super_free(self);
}

kern_return_t IMPL(Thermostat, Start)
{
	kern_return_t ret = Thermostat_super_Start(self, provider);
	if (ret != kIOReturnSuccess)
		return ret;
	self->ivars->target = COLDEST;
	self->ivars->room = OSDynamicCast(Room, provider);
	if (self->ivars->room == NULL)
		return kIOReturnUnsupported; // IOProviderClass of the personality says otherwise
	ret = Thermostat_CreateActionRead(self, 0, &self->ivars->read);
	if (ret == kIOReturnSuccess)
		ret = Room_Watch(self->ivars->room, self->ivars->read);
	return ret == kIOReturnSuccess ? Thermostat_RegisterService(self) : ret;
}

kern_return_t IMPL(Thermostat, Stop)
{
	if (self->ivars->room != NULL)
		Room_Watch(self->ivars->room, NULL); // it may have gone: that is no matter now
	if (self->ivars->read != NULL)
		OSAction_Cancel_f(self->ivars->read, NULL, NULL);
	OSSafeReleaseNULL(self->ivars->read);
	OSSafeReleaseNULL(self->ivars->done); // completes the call as aborted
	return Thermostat_super_Stop(self, provider);
}

kern_return_t IMPL(Thermostat, NewUserClient)
{
	(void)type;
	IOService *client = NULL;
	kern_return_t ret = Thermostat_Create(self, Thermostat_as_IOService(self),
					      "UserClientProperties", &client);
	if (ret == kIOReturnSuccess)
		*userClient = OSDynamicCast(IOUserClient, client);
	return ret;
}

kern_return_t IMPL(Thermostat, SetTarget)
{
	if (temperature < COLDEST || temperature > WARMEST)
		return kIOReturnBadArgument;
	self->ivars->target = temperature;
	return kIOReturnSuccess;
}

kern_return_t IMPL(Thermostat, PassMinute)
{
	if (self->ivars->done != NULL)
		return kIOReturnBusy;
	OSAction_retain(done);
	self->ivars->done = done;
	kern_return_t ret = Room_PassMinute(self->ivars->room);
	if (ret != kIOReturnSuccess) // then no reading will come
		OSSafeReleaseNULL(self->ivars->done);
	return ret;
}

/* Invoked by the room, from its process; runs here, on our queue, like everything above. */
void IMPL(Thermostat, Read)
{
	struct Thermostat_IVars *iv = self->ivars;
	(void)action;
	if (temperature < iv->target - HYSTERESIS)
		iv->heats = true;
	else if (temperature > iv->target + HYSTERESIS)
		iv->heats = false;
	kern_return_t ret = Room_Heat(iv->room, iv->heats);
	if (iv->done == NULL)
		return;
	const uint64_t result[] = { (uint64_t)(int64_t)temperature, iv->heats };
	dext_async_complete(iv->done, ret, result, 2);
	OSSafeReleaseNULL(iv->done);
}

/* --- the user client --- */

static kern_return_t set_target(OSObject *target, void *reference,
				IOUserClientMethodArguments *arguments)
{
	(void)reference;
	uint64_t wanted = arguments->scalarInput[0];
	if (wanted > WARMEST)
		return kIOReturnBadArgument;
	return Thermostat_SetTarget(OSDynamicCast(Thermostat, target), (int32_t)wanted);
}

static kern_return_t pass_minute(OSObject *target, void *reference,
				 IOUserClientMethodArguments *arguments)
{
	(void)reference;
	return Thermostat_PassMinute(OSDynamicCast(Thermostat, target), arguments->completion);
}

static const IOUserClientMethodDispatch methods[THERMOSTAT_METHODS] = {
	[THERMOSTAT_SET_TARGET] = { .function = set_target, .checkScalarInputCount = 1 },
	[THERMOSTAT_PASS_MINUTE] = { .function = pass_minute, .checkCompletionExists = 1 },
};

kern_return_t IMPL(ThermostatUserClient, ExternalMethod)
{
	(void)target;
	if (selector < THERMOSTAT_METHODS)
		dispatch = &methods[selector];
	IOService *thermostat = ThermostatUserClient_GetProvider(self);
	return ThermostatUserClient_super_ExternalMethod(
		self, selector, arguments, dispatch, IOService_as_OSObject(thermostat), reference);
}
