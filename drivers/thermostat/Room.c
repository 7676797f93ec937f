// SPDX-License-Identifier: Apache-2.0
/*
 * The lower of two drivers. What it offers is in Room.iig, and any driver that was built with that
 * may use it: see Thermostat.c. It need not know which one does, nor in which process.
 */

#include <DriverKit/IOLib.h>

#include "Room.h"

enum { OUTSIDE = 10000, HEATER = 600, INSULATION = 50 };

struct Room_IVars {
	int32_t temperature;
	bool heated;
	OSAction *reading; // kept; NULL: nobody watches
};

bool IMPL(Room, init)
{
	if (!Room_super_init(self))
		return false;
	self->ivars = IONewZero(struct Room_IVars, 1);
	return self->ivars != NULL;
}

void IMPL(Room, free)
{
	IOSafeDeleteNULL(self->ivars, struct Room_IVars, 1);
	Room_super_free(self);
}

kern_return_t IMPL(Room, Start)
{
	kern_return_t ret = Room_super_Start(self, provider);
	if (ret != kIOReturnSuccess)
		return ret;
	self->ivars->temperature = OUTSIDE;
	return Room_RegisterService(self); // from now on it is a provider for other drivers
}

kern_return_t IMPL(Room, Stop)
{
	OSSafeReleaseNULL(self->ivars->reading);
	return Room_super_Stop(self, provider);
}

kern_return_t IMPL(Room, Watch)
{
	OSObjectRetain(reading); // an argument is borrowed: retain what you keep
	OSSafeReleaseNULL(self->ivars->reading);
	self->ivars->reading = reading;
	return kIOReturnSuccess;
}

kern_return_t IMPL(Room, Heat)
{
	self->ivars->heated = on;
	return kIOReturnSuccess;
}

kern_return_t IMPL(Room, PassMinute)
{
	struct Room_IVars *iv = self->ivars;
	if (iv->reading == NULL)
		return kIOReturnNotReady;
	iv->temperature -= (iv->temperature - OUTSIDE) / INSULATION;
	if (iv->heated)
		iv->temperature += HEATER;
	Room_Reading(self, iv->reading, iv->temperature); // goes to whoever made the action
	return kIOReturnSuccess;
}
