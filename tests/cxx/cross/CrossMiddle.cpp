// SPDX-License-Identifier: Apache-2.0
#include <DriverKit/IOLib.h>

#include "CrossMiddle.h"
#include "cross.h"

/* A member that must be constructed and destroyed. */
struct Digit {
	uint64_t value = 2;

	Digit()
	{
		cross_counts.members_made++;
	}

	~Digit()
	{
		cross_counts.members_gone++;
	}
};

struct CrossMiddle_IVars {
	Digit digit;
	uint64_t zero;
};

bool CrossMiddle::init()
{
	if (!super::init())
		return false;
	cross_counts.inits[CROSS_MIDDLE]++;
	ivars = IONewZero(CrossMiddle_IVars, 1);
	return ivars != nullptr && ivars->zero == 0;
}

void CrossMiddle::free()
{
	cross_counts.frees[CROSS_MIDDLE]++;
	IOSafeDeleteNULL(ivars, CrossMiddle_IVars, 1);
	super::free();
}

uint64_t CrossMiddle::digits()
{
	return super::digits() * 10 + ivars->digit.value;
}

uint64_t CrossMiddle::constDigits() const
{
	return super::constDigits() * 10 + ivars->digit.value;
}

kern_return_t IMPL(CrossMiddle, AddDigits)
{
	kern_return_t ret = AddDigits(before, after, SUPERDISPATCH);
	*after = *after * 10 + ivars->digit.value;
	return ret;
}

uint64_t CrossMiddle::level()
{
	return 1;
}

kern_return_t IMPL(CrossMiddle, Level)
{
	*level = 1;
	return kIOReturnSuccess;
}

uint64_t CrossMiddle::thrice(uint64_t value, uint64_t more)
{
	return 3 * value + more;
}

CrossMiddle *CrossMiddle::make()
{
	CrossMiddle *made = OSTypeAlloc(CrossMiddle);
	if (made != nullptr && !made->init())
		OSSafeReleaseNULL(made);
	return made;
}

void IMPL(CrossMiddle, onWorked)
{
	cross_counts.worked[CROSS_MIDDLE]++;
	cross_counts.value = value;
	cross_counts.with = with;
	auto reference = static_cast<const uint64_t *>(action->GetReference());
	cross_counts.reference = *reference;
}

/* --- the sibling --- */

uint64_t CrossSibling::digits()
{
	return super::digits() * 10 + 5;
}

kern_return_t CrossSibling::AddDigits_Impl(uint64_t before, uint64_t *after)
{
	kern_return_t ret = super::AddDigits(before, after);
	*after = *after * 10 + 5;
	return ret;
}
