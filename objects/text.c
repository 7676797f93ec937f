/* SPDX-License-Identifier: Apache-2.0 */

/*
 * UTF-8, checked as RFC 3629 (section 4) defines it: the shortest form only, no surrogates, nothing
 * above U+10FFFF. So a text has one spelling, and what compares equal looks equal.
 */

#include <objects/text.h>

#include <stdint.h>
#include <string.h>

#include <DriverKit/OSCollections.h>
#include <base/reason.h>

/* The characters of one form: how their first bytes begin, and the least that needs it. */
static const struct {
	uint8_t mask, lead;
	unsigned more; // bytes that follow
	uint32_t least;
} forms[] = {
	{ 0x80, 0x00, 0, 0 },
	{ 0xe0, 0xc0, 1, 0x80 },
	{ 0xf0, 0xe0, 2, 0x800 },
	{ 0xf8, 0xf0, 3, 0x10000 },
};

/* Bytes of the character at `bytes`; 0: it is none. */
static size_t character_size(const uint8_t *bytes, size_t left)
{
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		uint32_t code = bytes[0] & (uint8_t)~forms[i].mask;

		if ((bytes[0] & forms[i].mask) != forms[i].lead)
			continue;
		if (forms[i].more >= left)
			return 0;
		for (unsigned k = 1; k <= forms[i].more; k++) {
			if ((bytes[k] & 0xc0) != 0x80)
				return 0;
			code = code << 6 | (bytes[k] & 0x3f);
		}
		if (code < forms[i].least || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
			return 0;
		return forms[i].more + 1U;
	}
	return 0;
}

bool text_may_hold(const char *what, const char *bytes, size_t length)
{
	if (length > kOSCollectionBytesMax) {
		refuse(kIOReturnOverrun, "%s of more than %u bytes", what, kOSCollectionBytesMax);
		return false;
	}
	if (length != 0 && memchr(bytes, '\0', length) != NULL) {
		refuse(kIOReturnBadArgument, "%s holds a NUL: use OSData for bytes", what);
		return false;
	}
	for (size_t at = 0, size; at < length; at += size) {
		size = character_size((const uint8_t *)bytes + at, length - at);
		if (size == 0) {
			refuse(kIOReturnBadArgument,
			       "%s is not UTF-8 at byte %zu: use OSData for bytes", what, at);
			return false;
		}
	}
	return true;
}
