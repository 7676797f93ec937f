// SPDX-License-Identifier: Apache-2.0
/*
 * PCI: match values are compared with 32-bit configuration registers, each under a mask. A value is
 * a string of "0xDDDDVVVV" or "0xDDDDVVVV&0xMASK", separated by spaces: device id above vendor id.
 */

#include <dextd/match/keys.h>

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <dextd/properties.h>

enum { PCI_SCORE = 1000 };

struct pci_registers {
	uint32_t primary;   // 0x00
	uint32_t class_rev; // 0x08
	uint32_t secondary; // 0x2c
};

struct value {
	uint32_t value, mask;
};

static uint32_t number(OSDictionary *properties, const char *key)
{
	uint64_t value = 0;
	(void)properties_number(properties, key, &value);
	return (uint32_t)value;
}

static struct pci_registers registers(OSDictionary *p)
{
	return (struct pci_registers){
		.primary = number(p, "device-id") << 16 | (number(p, "vendor-id") & 0xffff),
		.class_rev = number(p, "class-code") << 8 | (number(p, "revision-id") & 0xff),
		.secondary = number(p, "subsystem-id") << 16 |
			     (number(p, "subsystem-vendor-id") & 0xffff),
	};
}

static bool parse_u32(const char **text, uint32_t *value)
{
	char *end;
	if (!isxdigit((unsigned char)**text))
		return false;
	errno = 0;
	unsigned long n = strtoul(*text, &end, 0);
	if (errno != 0 || end == *text || n > UINT32_MAX)
		return false;
	*value = (uint32_t)n;
	*text = end;
	return true;
}

/* 1: a value. 0: the end. -1: not understood. */
static int next_value(const char **text, uint32_t default_mask, struct value *v)
{
	*text += strspn(*text, " \t\n");
	if (**text == '\0')
		return 0;
	v->mask = default_mask;
	if (!parse_u32(text, &v->value))
		return -1;
	if (**text == '&') {
		(*text)++;
		if (!parse_u32(text, &v->mask))
			return -1;
	}
	return **text == '\0' || isspace((unsigned char)**text) ? 1 : -1;
}

static bool one_of(const uint32_t *values, unsigned n, const struct value *v)
{
	for (unsigned i = 0; i < n; i++) {
		if ((values[i] & v->mask) == (v->value & v->mask))
			return true;
	}
	return false;
}

static bool check_key(OSDictionary *personality, const char *key, const uint32_t *values,
		      unsigned n, uint32_t default_mask, struct match_result *result)
{
	const char *text = properties_string(personality, key);
	if (text == NULL)
		return true;
	const char *at = text;
	struct value v;
	int ret;
	bool found = false;
	while ((ret = next_value(&at, default_mask, &v)) > 0)
		found = found || one_of(values, n, &v);
	if (ret < 0) {
		match_fix(result, "write 0xDDDDVVVV or 0xDDDDVVVV&0xMASK, separated by spaces");
		return match_fails(result, key, "not understood at \"%.24s\"", at);
	}
	if (found)
		return true;
	match_fix(result, "add 0x%08x if the driver is for this device", values[0]);
	return match_fails(result, key, "\"%.64s\" does not fit the device's 0x%08x", text,
			   values[0]);
}

bool match_pci(const struct match_subject *subject, OSDictionary *personality,
	       struct match_result *result)
{
	static const char *const keys[] = { "IOPCIMatch", "IOPCIPrimaryMatch",
					    "IOPCISecondaryMatch", "IOPCIClassMatch" };
	static const char *const narrowing[] = { "IONameMatch", "IOPropertyMatch" };
	struct pci_registers r = registers(subject->properties);
	uint32_t both[] = { r.primary, r.secondary };

	if (!check_key(personality, keys[0], both, 2, 0xffffffff, result) ||
	    !check_key(personality, keys[1], &r.primary, 1, 0xffffffff, result) ||
	    !check_key(personality, keys[2], &r.secondary, 1, 0xffffffff, result) ||
	    !check_key(personality, keys[3], &r.class_rev, 1, 0xffffff00, result))
		return false;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (OSDictionary_getObject(personality, keys[i]) != NULL) {
			result->score += PCI_SCORE;
			return true;
		}
	}
	for (size_t i = 0; i < sizeof(narrowing) / sizeof(narrowing[0]); i++) {
		if (OSDictionary_getObject(personality, narrowing[i]) != NULL)
			return true;
	}
	match_fix(result, "add IOPCIPrimaryMatch = 0x%08x if the driver is for this device",
		  r.primary);
	return match_fails(result, "IOPCIMatch", "without a match value it would take every card");
}
