/* SPDX-License-Identifier: Apache-2.0 */

/*
 * OSNumber: an integer of a width that stays. A value that does not fit its width is refused, but
 * for the sign-extended form of a negative one, which is what a C author gets from (uint64_t)-1.
 * Two numbers are equal when their values are, whatever their widths.
 */

#include <DriverKit/OSCollections.h>

#include <stdlib.h>

#include <base/reason.h>
#include <objects/collection.h>

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

static struct OSNumber_IVars *ivars_of(const OSNumber *self, const char *use)
{
	struct OSNumber_IVars *number = self != NULL ? self->ivars : NULL;

	return collection_is_made(self, number, use) ? number : NULL;
}

static const struct OSNumber_IVars *peek(const OSNumber *self, const char *use)
{
	struct OSNumber_IVars *number = self != NULL ? self->ivars : NULL;

	return collection_has(self, number, use) ? number : NULL;
}

size_t OSNumber_numberOfBits(OSNumber *self)
{
	const struct OSNumber_IVars *number = peek(self, "numberOfBits");

	return number != NULL ? number->bits : 0;
}

size_t OSNumber_numberOfBytes(OSNumber *self)
{
	return OSNumber_numberOfBits(self) / 8;
}

bool OSNumber_setValue(OSNumber *self, uint64_t value)
{
	struct OSNumber_IVars *number = ivars_of(self, "setValue");

	if (number == NULL || !narrow(&value, number->bits))
		return false;
	number->value = value;
	return true;
}

bool OSNumber_addValue(OSNumber *self, int64_t value)
{
	struct OSNumber_IVars *number = ivars_of(self, "addValue");
	uint64_t sum;

	if (number == NULL)
		return false;
	sum = number->value + (uint64_t)value;
	if ((value < 0) != (sum < number->value && value != 0) ||
	    sum > UINT64_MAX >> (64U - number->bits)) {
		refuse(kIOReturnOverrun, "%llu %+lld does not fit %zu bits",
		       (unsigned long long)number->value, (long long)value, number->bits);
		return false;
	}
	number->value = sum;
	return true;
}

uint64_t OSNumber_unsigned64BitValue(OSNumber *self)
{
	const struct OSNumber_IVars *number = peek(self, "unsigned64BitValue");

	return number != NULL ? number->value : 0;
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
