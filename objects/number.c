/* SPDX-License-Identifier: Apache-2.0 */

/*
 * OSNumber: an immutable integer. A value that does not fit its width is refused, but for the
 * sign-extended form of a negative one, which is what a C author gets from (uint64_t)-1. Two
 * numbers are equal when their values are, whatever their widths.
 */

#include <DriverKit/OSCollections.h>

#include <stdlib.h>

#include <base/reason.h>

struct OSNumber_IVars {
	uint64_t value;
	size_t bits;
};

/* The bits of `value` above `bits` must all be zero, or all copies of its sign. */
static bool narrow(uint64_t *value, size_t bits)
{
	uint64_t mask;

	if (bits != 8 && bits != 16 && bits != 32 && bits != 64) {
		refuse(kIOReturnBadArgument, "a number of %zu bits: 8, 16, 32 or 64", bits);
		return false;
	}
	mask = UINT64_MAX >> (64U - bits);
	if (*value > mask && *value < ~(mask >> 1)) {
		refuse(kIOReturnOverrun, "the number 0x%llx does not fit %zu bits",
		       (unsigned long long)*value, bits);
		return false;
	}
	*value &= mask;
	return true;
}

OSNumber *OSNumber_withNumber(uint64_t value, size_t numberOfBits)
{
	OSNumber *number;

	if (!narrow(&value, numberOfBits))
		return NULL;
	number = OSTypeAlloc(OSNumber);
	if (number == NULL)
		return NULL;
	number->ivars = malloc(sizeof(*number->ivars));
	if (number->ivars == NULL) {
		OSObjectRelease(number);
		return NULL;
	}
	*number->ivars = (struct OSNumber_IVars){ .value = value, .bits = numberOfBits };
	return number;
}

void IMPL(OSNumber, free)
{
	free(self->ivars);
	OSNumber_super_free(self);
}

size_t OSNumber_numberOfBits(OSNumber *self)
{
	return self != NULL && self->ivars != NULL ? self->ivars->bits : 0;
}

uint64_t OSNumber_unsigned64BitValue(OSNumber *self)
{
	return self != NULL && self->ivars != NULL ? self->ivars->value : 0;
}

uint32_t OSNumber_unsigned32BitValue(OSNumber *self)
{
	return (uint32_t)OSNumber_unsigned64BitValue(self);
}

uint16_t OSNumber_unsigned16BitValue(OSNumber *self)
{
	return (uint16_t)OSNumber_unsigned64BitValue(self);
}

uint8_t OSNumber_unsigned8BitValue(OSNumber *self)
{
	return (uint8_t)OSNumber_unsigned64BitValue(self);
}

bool IMPL(OSNumber, isEqualTo)
{
	OSNumber *number = OSDynamicCast(OSNumber, other);

	return number != NULL &&
	       OSNumber_unsigned64BitValue(self) == OSNumber_unsigned64BitValue(number);
}
