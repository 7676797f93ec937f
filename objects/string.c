/* SPDX-License-Identifier: Apache-2.0 */

/* OSString: the bytes lie behind their length and never change; any thread may read them. */

#include <DriverKit/OSCollections.h>

#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/reason.h>
#include <objects/object.h>

struct OSString_IVars {
	size_t length;
	char bytes[]; // length of them and a NUL
};

static bool may_hold(const char *bytes, size_t length)
{
	if (bytes == NULL && length != 0) {
		refuse(kIOReturnBadArgument, "a string was asked for without its bytes");
		return false;
	}
	if (length > COLLECTION_BYTES_MAX) {
		refuse(kIOReturnOverrun, "a string of %zu bytes: at most %u", length,
		       COLLECTION_BYTES_MAX);
		return false;
	}
	if (length != 0 && memchr(bytes, '\0', length) != NULL) {
		refuse(kIOReturnBadArgument, "a string holds a NUL: use OSData for bytes");
		return false;
	}
	return true;
}

OSString *OSString_withBytes(const char *bytes, size_t length)
{
	OSString *string;

	if (!may_hold(bytes, length))
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

void IMPL(OSString, free)
{
	free(self->ivars);
	OSString_super_free(self);
}

const char *OSString_getCStringNoCopy(OSString *self)
{
	return self != NULL && self->ivars != NULL ? self->ivars->bytes : "";
}

size_t OSString_getLength(OSString *self)
{
	return self != NULL && self->ivars != NULL ? self->ivars->length : 0;
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
