/* SPDX-License-Identifier: Apache-2.0 */

/* OSData: bytes that may grow. Who appends must be alone with the object. */

#include <DriverKit/OSCollections.h>

#include <stdlib.h>
#include <string.h>

#include <base/reason.h>
#include <objects/object.h>

struct OSData_IVars {
	size_t length, room;
	uint8_t *bytes; // owned; NULL while room is 0
};

/* Room for `more` bytes behind those that are there. */
static bool reserve(struct OSData_IVars *data, size_t more)
{
	size_t room = data->room < 64 ? 64 : data->room;
	uint8_t *grown;

	if (more > COLLECTION_BYTES_MAX - data->length) {
		refuse(kIOReturnOverrun, "data of %zu + %zu bytes: at most %u", data->length, more,
		       COLLECTION_BYTES_MAX);
		return false;
	}
	if (more <= data->room - data->length)
		return true;
	while (room - data->length < more)
		room *= 2;
	grown = realloc(data->bytes, room);
	if (grown == NULL) {
		refuse(kIOReturnNoMemory, "no memory for data of %zu bytes", room);
		return false;
	}
	data->bytes = grown;
	data->room = room;
	return true;
}

OSData *OSData_withCapacity(size_t capacity)
{
	OSData *data = OSTypeAlloc(OSData);

	if (data == NULL)
		return NULL;
	data->ivars = calloc(1, sizeof(*data->ivars));
	if (data->ivars == NULL || (capacity != 0 && !reserve(data->ivars, capacity)))
		OSSafeReleaseNULL(data);
	return data;
}

OSData *OSData_withBytes(const void *bytes, size_t length)
{
	OSData *data = OSData_withCapacity(length);

	if (data != NULL && !OSData_appendBytes(data, bytes, length))
		OSSafeReleaseNULL(data);
	return data;
}

void IMPL(OSData, free)
{
	if (self->ivars != NULL)
		free(self->ivars->bytes);
	free(self->ivars);
	OSData_super_free(self);
}

const void *OSData_getBytesNoCopy(OSData *self)
{
	return OSData_getLength(self) != 0 ? self->ivars->bytes : NULL;
}

size_t OSData_getLength(OSData *self)
{
	return self != NULL && self->ivars != NULL ? self->ivars->length : 0;
}

bool OSData_appendBytes(OSData *self, const void *bytes, size_t length)
{
	struct OSData_IVars *data = self != NULL ? self->ivars : NULL;

	if (data == NULL || (bytes == NULL && length != 0)) {
		refuse(kIOReturnBadArgument, "bytes to append, or the data, are missing");
		return false;
	}
	if (length == 0)
		return true;
	if (!reserve(data, length))
		return false;
	memcpy(data->bytes + data->length, bytes, length);
	data->length += length;
	return true;
}

bool IMPL(OSData, isEqualTo)
{
	OSData *data = OSDynamicCast(OSData, other);
	size_t length = OSData_getLength(self);

	return data != NULL && OSData_getLength(data) == length &&
	       (length == 0 || memcmp(self->ivars->bytes, data->ivars->bytes, length) == 0);
}
