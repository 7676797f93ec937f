/* SPDX-License-Identifier: Apache-2.0 */

/* OSString: the bytes lie behind their length and never change; any thread may read them. */

#include <DriverKit/OSCollections.h>

#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/reason.h>
#include <objects/collection.h>
#include <objects/text.h>

struct OSString_IVars {
	size_t length;
	char bytes[]; // length of them and a NUL
};

OSString *OSString_withBytes(const char *bytes, size_t length)
{
	OSString *string;

	if (bytes == NULL && length != 0) {
		refuse(kIOReturnBadArgument, "a string was asked for without its bytes");
		return NULL;
	}
	if (!text_may_hold("a string", bytes, length))
		return NULL;
	CLEANUP(freep) struct OSString_IVars *ivars = malloc(sizeof(*ivars) + length + 1);
	if (ivars == NULL)
		return NULL;
	ivars->length = length;
	if (length != 0)
		memcpy(ivars->bytes, bytes, length);
	ivars->bytes[length] = '\0';
	string = OSTypeAlloc(OSString);
	if (string == NULL)
		return NULL;
	string->ivars = ivars;
	ivars = NULL;
	return string;
}

OSString *OSString_withCString(const char *cString)
{
	return OSString_withBytes(cString, cString != NULL ? strlen(cString) : 1);
}

OSString *OSString_withString(OSString *other)
{
	if (!collection_is_made(other, other != NULL ? other->ivars : NULL, "withString"))
		return NULL;
	return OSString_withBytes(other->ivars->bytes, other->ivars->length);
}

void IMPL(OSString, free)
{
	free(self->ivars);
	OSString_super_free(self);
}

static const struct OSString_IVars *peek(const OSString *self, const char *use)
{
	struct OSString_IVars *ivars = self != NULL ? self->ivars : NULL;

	return collection_has(self, ivars, use) ? ivars : NULL;
}

const char *OSString_getCStringNoCopy(OSString *self)
{
	const struct OSString_IVars *string = peek(self, "getCStringNoCopy");

	return string != NULL ? string->bytes : "";
}

size_t OSString_getLength(OSString *self)
{
	const struct OSString_IVars *string = peek(self, "getLength");

	return string != NULL ? string->length : 0;
}

char OSString_getChar(OSString *self, size_t index)
{
	const struct OSString_IVars *string = peek(self, "getChar");

	return string != NULL && index < string->length ? string->bytes[index] : '\0';
}

bool OSString_isEqualToCString(OSString *self, const char *cString)
{
	return self != NULL && cString != NULL &&
	       strcmp(OSString_getCStringNoCopy(self), cString) == 0;
}

bool IMPL(OSString, isEqualTo)
{
	OSString *string = OSDynamicCast(OSString, other);

	return string != NULL && OSString_isEqualToCString(self, OSString_getCStringNoCopy(string));
}
