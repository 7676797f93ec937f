/* SPDX-License-Identifier: Apache-2.0 */

/* OSData: bytes that may grow. Who appends must be alone with the object. */

#include <DriverKit/OSCollections.h>

#include <stdlib.h>
#include <string.h>

#include <base/reason.h>
#include <objects/collection.h>

struct OSData_IVars {
	size_t length, room;
	uint8_t *bytes; // owned; NULL while room is 0
};

static struct OSData_IVars *ivars_of(const OSData *self, const char *use)
{
	struct OSData_IVars *data = self != NULL ? self->ivars : NULL;

	return collection_is_made(self, data, use) ? data : NULL;
}

static const struct OSData_IVars *peek(const OSData *self, const char *use)
{
	struct OSData_IVars *data = self != NULL ? self->ivars : NULL;

	return collection_has(self, data, use) ? data : NULL;
}

/* Room for `more` bytes behind those that are there. */
static bool reserve(struct OSData_IVars *data, size_t more)
{
	size_t room = data->room < 64 ? 64 : data->room;
	uint8_t *grown;

	if (more > (size_t)kOSCollectionBytesMax - data->length) {
		refuse(kIOReturnOverrun, "data of %zu + %zu bytes: at most %u", data->length, more,
		       kOSCollectionBytesMax);
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

OSData *OSData_withData(OSData *other)
{
	if (ivars_of(other, "withData") == NULL)
		return NULL;
	return OSData_withBytes(other->ivars->bytes, other->ivars->length);
}

OSData *OSData_withSubrange(OSData *other, size_t start, size_t length)
{
	struct OSData_IVars *data = ivars_of(other, "withSubrange");

	if (data == NULL)
		return NULL;
	if (start > data->length || length > data->length - start) {
		refuse(kIOReturnBadArgument, "bytes %zu to %zu+%zu of %zu", start, start, length,
		       data->length);
		return NULL;
	}
	return OSData_withBytes(data->bytes != NULL ? data->bytes + start : NULL, length);
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
	const struct OSData_IVars *data = peek(self, "getBytesNoCopy");

	return data != NULL && data->length != 0 ? data->bytes : NULL;
}

const void *OSData_getSubrangeNoCopy(OSData *self, size_t start, size_t length)
{
	const struct OSData_IVars *data = peek(self, "getSubrangeNoCopy");

	if (data == NULL || length == 0 || start > data->length || length > data->length - start)
		return NULL;
	return data->bytes + start;
}

size_t OSData_getLength(OSData *self)
{
	const struct OSData_IVars *data = peek(self, "getLength");

	return data != NULL ? data->length : 0;
}

size_t OSData_getCapacity(OSData *self)
{
	const struct OSData_IVars *data = peek(self, "getCapacity");

	return data != NULL ? data->room : 0;
}

size_t OSData_ensureCapacity(OSData *self, size_t capacity)
{
	struct OSData_IVars *data = ivars_of(self, "ensureCapacity");

	if (data == NULL)
		return 0;
	if (capacity > data->length)
		reserve(data, capacity - data->length);
	return data->room;
}

/* Where `bytes` are when the data has grown: they may be its own. */
static const void *follow(const void *bytes, const uint8_t *before, const struct OSData_IVars *data)
{
	uintptr_t at = (uintptr_t)bytes, begin = (uintptr_t)before;

	return before != NULL && at >= begin && at - begin < data->length
		       ? data->bytes + (at - begin)
		       : bytes;
}

bool OSData_appendBytes(OSData *self, const void *bytes, size_t length)
{
	struct OSData_IVars *data = ivars_of(self, "appendBytes");
	const uint8_t *before;

	if (data == NULL)
		return false;
	if (bytes == NULL && length != 0) {
		refuse(kIOReturnBadArgument, "the bytes to append are missing");
		return false;
	}
	if (length == 0)
		return true;
	before = data->bytes;
	if (!reserve(data, length))
		return false;
	memmove(data->bytes + data->length, follow(bytes, before, data), length);
	data->length += length;
	return true;
}

bool OSData_appendByte(OSData *self, uint8_t byte, size_t count)
{
	struct OSData_IVars *data = ivars_of(self, "appendByte");

	if (data == NULL || !reserve(data, count))
		return false;
	if (count != 0)
		memset(data->bytes + data->length, byte, count);
	data->length += count;
	return true;
}

bool OSData_appendData(OSData *self, OSData *other)
{
	struct OSData_IVars *data = ivars_of(other, "appendData");

	return data != NULL && OSData_appendBytes(self, data->bytes, data->length);
}

bool OSData_isEqualToBytes(OSData *self, const void *bytes, size_t length)
{
	const struct OSData_IVars *data = peek(self, "isEqualToBytes");

	if (data == NULL || data->length != length || (bytes == NULL && length != 0))
		return false;
	return length == 0 || memcmp(data->bytes, bytes, length) == 0;
}

bool IMPL(OSData, isEqualTo)
{
	OSData *data = OSDynamicCast(OSData, other);

	return data != NULL && (data == self || OSData_getLength(self) == 0
					? OSData_getLength(data) == OSData_getLength(self)
					: OSData_isEqualToBytes(self, OSData_getBytesNoCopy(data),
								OSData_getLength(data)));
}
