// SPDX-License-Identifier: Apache-2.0
#include <DriverKit/IOLib.h>

#include "CrossTop.h"
#include "cross.h"

struct CrossTop_IVars {
	uint64_t digit = 4;
};

bool CrossTop::init()
{
	if (!super::init())
		return false;
	cross_counts.inits[CROSS_TOP]++;
	ivars = IONewZero(CrossTop_IVars, 1);
	return ivars != nullptr;
}

void CrossTop::free()
{
	cross_counts.frees[CROSS_TOP]++;
	IOSafeDeleteNULL(ivars, CrossTop_IVars, 1);
	super::free();
}

uint64_t CrossTop::digits()
{
	return super::digits() * 10 + ivars->digit;
}

uint64_t CrossTop::constDigits() const
{
	return super::constDigits() * 10 + ivars->digit;
}

kern_return_t IMPL(CrossTop, AddDigits)
{
	kern_return_t ret = AddDigits(before, after, SUPERDISPATCH);
	*after = *after * 10 + ivars->digit;
	return ret;
}

uint64_t CrossTop::level()
{
	return super::level() + 1;
}

kern_return_t IMPL(CrossTop, Level)
{
	kern_return_t ret = super::Level(level);
	(*level)++;
	return ret;
}

void IMPL(CrossTop, onWorked)
{
	cross_counts.worked[CROSS_TOP]++;
	onWorked(action, value, with, SUPERDISPATCH);
}
