// SPDX-License-Identifier: Apache-2.0
#include <DriverKit/IOLib.h>

#include "CrossBase.h"
#include "cross.h"

struct cross_counts cross_counts;

struct CrossBase_IVars {
	uint64_t digit;
};

bool IMPL(CrossBase, init)
{
	if (!CrossBase_super_init(self))
		return false;
	cross_counts.inits[CROSS_BASE]++;
	self->ivars = IONewZero(struct CrossBase_IVars, 1);
	if (self->ivars != NULL)
		self->ivars->digit = 1;
	return self->ivars != NULL;
}

void IMPL(CrossBase, free)
{
	cross_counts.frees[CROSS_BASE]++;
	IOSafeDeleteNULL(self->ivars, struct CrossBase_IVars, 1);
	CrossBase_super_free(self);
}

uint64_t IMPL(CrossBase, digits)
{
	return self->ivars->digit;
}

uint64_t IMPL(CrossBase, constDigits)
{
	return self->ivars->digit;
}

kern_return_t IMPL(CrossBase, AddDigits)
{
	*after = before * 10 + self->ivars->digit;
	return kIOReturnSuccess;
}

kern_return_t IMPL(CrossBase, Work)
{
	CrossBase_Worked(self, completion, value, CrossBase_as_OSObject(self));
	return kIOReturnSuccess;
}

uint64_t CrossBase_times(CrossBase *self, uint64_t value, uint64_t by)
{
	return self->ivars->digit * value * by;
}

CrossBase *CrossBase_make(void)
{
	CrossBase *made = OSTypeAlloc(CrossBase);
	if (made != NULL && !CrossBase_init(made))
		OSSafeReleaseNULL(made);
	return made;
}
