// SPDX-License-Identifier: Apache-2.0
#include <DriverKit/IOLib.h>

#include "CrossLeaf.h"
#include "cross.h"

struct CrossLeaf_IVars {
	uint64_t digit;
};

bool IMPL(CrossLeaf, init)
{
	if (!CrossLeaf_super_init(self))
		return false;
	cross_counts.inits[CROSS_LEAF]++;
	self->ivars = IONewZero(struct CrossLeaf_IVars, 1);
	if (self->ivars != NULL)
		self->ivars->digit = 3;
	return self->ivars != NULL;
}

void IMPL(CrossLeaf, free)
{
	cross_counts.frees[CROSS_LEAF]++;
	IOSafeDeleteNULL(self->ivars, struct CrossLeaf_IVars, 1);
	CrossLeaf_super_free(self);
}

uint64_t IMPL(CrossLeaf, digits)
{
	return CrossLeaf_super_digits(self) * 10 + self->ivars->digit;
}

uint64_t IMPL(CrossLeaf, constDigits)
{
	return CrossLeaf_super_constDigits(self) * 10 + self->ivars->digit;
}

kern_return_t IMPL(CrossLeaf, AddDigits)
{
	kern_return_t ret = CrossLeaf_super_AddDigits(self, before, after);
	*after = *after * 10 + self->ivars->digit;
	return ret;
}

uint64_t IMPL(CrossLeaf, level)
{
	return CrossLeaf_super_level(self) + 1;
}

kern_return_t IMPL(CrossLeaf, Level)
{
	kern_return_t ret = CrossLeaf_super_Level(self, level);
	(*level)++;
	return ret;
}

void IMPL(CrossLeaf, onWorked)
{
	cross_counts.worked[CROSS_LEAF]++;
	CrossLeaf_super_onWorked(self, action, value, with);
}
