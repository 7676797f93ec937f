/* SPDX-License-Identifier: Apache-2.0 */

/* OSBoolean: two constant instances; which of them it is, is its value. */

#include <DriverKit/OSCollectionConstants.h>

#include <objects/object.h>

struct OSBoolean_IVars {
	bool value;
};

static struct OSBoolean_IVars values[] = { { false }, { true } };
static OSBoolean instances[] = {
	{ .super.super = { .meta = &gOSBooleanMetaClass, .refcount = 1, .flags = OBJECT_IMMORTAL },
	  .ivars = &values[0] },
	{ .super.super = { .meta = &gOSBooleanMetaClass, .refcount = 1, .flags = OBJECT_IMMORTAL },
	  .ivars = &values[1] },
};

OSBoolean *const kOSBooleanFalse = &instances[0];
OSBoolean *const kOSBooleanTrue = &instances[1];

OSBoolean *OSBoolean_withBoolean(bool value)
{
	return value ? kOSBooleanTrue : kOSBooleanFalse;
}

bool OSBoolean_getValue(OSBoolean *self)
{
	return self != NULL && self->ivars != NULL && self->ivars->value;
}

bool OSBoolean_isTrue(OSBoolean *self)
{
	return self != NULL && OSBoolean_getValue(self);
}

bool OSBoolean_isFalse(OSBoolean *self)
{
	return self != NULL && !OSBoolean_getValue(self);
}

bool IMPL(OSBoolean, isEqualTo)
{
	OSBoolean *boolean = OSDynamicCast(OSBoolean, other);

	return boolean != NULL && OSBoolean_getValue(self) == OSBoolean_getValue(boolean);
}
