// SPDX-License-Identifier: Apache-2.0
/*
 * USB: a personality uses exactly one of the combinations of keys in the table, and the more of the
 * device it names, the higher its score. A key outside the combination, or one too few, does not
 * match: the combination it comes closest to is the fix.
 */

#include <dextd/match/keys.h>

#include <inttypes.h>
#include <string.h>

#include <dextd/properties.h>

enum {
	VENDOR = 1 << 0,
	PRODUCT = 1 << 1,
	RELEASE = 1 << 2,
	DEVICE_CLASS = 1 << 3,
	DEVICE_SUBCLASS = 1 << 4,
	DEVICE_PROTOCOL = 1 << 5,
	CONFIGURATION = 1 << 6,
	NUMBER = 1 << 7,
	CLASS = 1 << 8,
	SUBCLASS = 1 << 9,
	PROTOCOL = 1 << 10,
};

static const struct usb_key {
	const char *key;
	unsigned bit;
} usb_keys[] = {
	{ "idVendor", VENDOR },
	{ "idProduct", PRODUCT },
	{ "bcdDevice", RELEASE },
	{ "bDeviceClass", DEVICE_CLASS },
	{ "bDeviceSubClass", DEVICE_SUBCLASS },
	{ "bDeviceProtocol", DEVICE_PROTOCOL },
	{ "bConfigurationValue", CONFIGURATION },
	{ "bInterfaceNumber", NUMBER },
	{ "bInterfaceClass", CLASS },
	{ "bInterfaceSubClass", SUBCLASS },
	{ "bInterfaceProtocol", PROTOCOL },
};

#define N_USB_KEYS (sizeof(usb_keys) / sizeof(usb_keys[0]))

enum class_rule { ANY_CLASS, VENDOR_CLASS, STANDARD_CLASS };

static const struct combination {
	const char *provider_class;
	unsigned keys;
	int64_t score;
	enum class_rule rule; // VENDOR_CLASS: the device's class must be 0xff
	const char *text;
} combinations[] = {
	{ "IOUSBHostDevice", VENDOR | PRODUCT | RELEASE, 100000, ANY_CLASS,
	  "idVendor+idProduct+bcdDevice" },
	{ "IOUSBHostDevice", VENDOR | PRODUCT, 90000, ANY_CLASS, "idVendor+idProduct" },
	{ "IOUSBHostDevice", VENDOR | DEVICE_SUBCLASS | DEVICE_PROTOCOL, 80000, VENDOR_CLASS,
	  "idVendor+bDeviceSubClass+bDeviceProtocol" },
	{ "IOUSBHostDevice", VENDOR | DEVICE_SUBCLASS, 70000, VENDOR_CLASS,
	  "idVendor+bDeviceSubClass" },
	{ "IOUSBHostDevice", DEVICE_CLASS | DEVICE_SUBCLASS | DEVICE_PROTOCOL, 60000,
	  STANDARD_CLASS, "bDeviceClass+bDeviceSubClass+bDeviceProtocol" },
	{ "IOUSBHostDevice", DEVICE_CLASS | DEVICE_SUBCLASS, 50000, STANDARD_CLASS,
	  "bDeviceClass+bDeviceSubClass" },
	{ "IOUSBHostInterface", VENDOR | PRODUCT | NUMBER | CONFIGURATION | RELEASE, 100000,
	  ANY_CLASS, "idVendor+idProduct+bInterfaceNumber+bConfigurationValue+bcdDevice" },
	{ "IOUSBHostInterface", VENDOR | PRODUCT | NUMBER | CONFIGURATION, 90000, ANY_CLASS,
	  "idVendor+idProduct+bInterfaceNumber+bConfigurationValue" },
	{ "IOUSBHostInterface", VENDOR | SUBCLASS | PROTOCOL, 80000, VENDOR_CLASS,
	  "idVendor+bInterfaceSubClass+bInterfaceProtocol" },
	{ "IOUSBHostInterface", VENDOR | SUBCLASS, 70000, VENDOR_CLASS,
	  "idVendor+bInterfaceSubClass" },
	{ "IOUSBHostInterface", CLASS | SUBCLASS | PROTOCOL, 60000, ANY_CLASS,
	  "bInterfaceClass+bInterfaceSubClass+bInterfaceProtocol" },
	{ "IOUSBHostInterface", CLASS | SUBCLASS, 50000, ANY_CLASS,
	  "bInterfaceClass+bInterfaceSubClass" },
};

#define N_COMBINATIONS (sizeof(combinations) / sizeof(combinations[0]))

static bool uses(OSDictionary *personality, const struct usb_key *key)
{
	return OSDictionary_getObject(personality, key->key) != NULL ||
	       (key->bit == PRODUCT &&
		OSDictionary_getObject(personality, "idProductArray") != NULL);
}

static unsigned used_keys(OSDictionary *personality)
{
	unsigned used = 0;
	for (size_t i = 0; i < N_USB_KEYS; i++)
		used |= uses(personality, &usb_keys[i]) ? usb_keys[i].bit : 0;
	return used;
}

/* The combination of this provider that differs from `used` in the fewest keys. */
static const struct combination *closest(const char *provider_class, unsigned used)
{
	const struct combination *best = NULL;
	int best_distance = 0;
	for (size_t i = 0; i < N_COMBINATIONS; i++) {
		const struct combination *c = &combinations[i];
		int distance = __builtin_popcount(c->keys ^ used);
		if (strcmp(c->provider_class, provider_class) == 0 &&
		    (best == NULL || distance < best_distance)) {
			best = c;
			best_distance = distance;
		}
	}
	return best;
}

static bool product_fits(OSDictionary *personality, uint64_t product)
{
	uint64_t mask = 0xffff, wanted;
	(void)properties_number(personality, "idProductMask", &mask);
	if (properties_number(personality, "idProduct", &wanted) &&
	    (product & mask) == (wanted & mask))
		return true;
	OSArray *array = properties_array(personality, "idProductArray");
	for (uint32_t i = 0; array != NULL && i < OSArray_getCount(array); i++) {
		OSNumber *number = OSDynamicCast(OSNumber, OSArray_getObject(array, i));
		if (number != NULL &&
		    (product & mask) == (OSNumber_unsigned64BitValue(number) & mask))
			return true;
	}
	return false;
}

static bool check_value(const struct match_subject *subject, OSDictionary *personality,
			const struct usb_key *key, struct match_result *result)
{
	uint64_t wanted = 0, actual;
	if (!properties_number(subject->properties, key->key, &actual)) {
		match_fix(result, "the device does not say its %s: match it by other keys",
			  key->key);
		return match_fails(result, key->key, "the device has no %s", key->key);
	}
	(void)properties_number(personality, key->key, &wanted);
	if (key->bit == PRODUCT ? product_fits(personality, actual) : wanted == actual)
		return true;
	match_fix(result, "set %s to %" PRIu64 " if the driver is for this device", key->key,
		  actual);
	return match_fails(result, key->key, "wanted 0x%" PRIx64 ", the device has 0x%" PRIx64,
			   wanted, actual);
}

static bool check_class_rule(const struct match_subject *subject, const struct combination *c,
			     struct match_result *result)
{
	bool of_device = strcmp(c->provider_class, "IOUSBHostDevice") == 0;
	const char *key = of_device ? "bDeviceClass" : "bInterfaceClass";
	uint64_t class_code = 0;
	(void)properties_number(subject->properties, key, &class_code);
	bool vendor_specific = class_code == 0xff;
	if (c->rule == ANY_CLASS || vendor_specific == (c->rule == VENDOR_CLASS))
		return true;
	match_fix(result, vendor_specific ? "match it by idVendor and more"
					  : "match it by its class, or by idProduct");
	return match_fails(result, key,
			   "%s is for devices whose class is%s 0xff, this one's is "
			   "0x%" PRIx64,
			   c->text, c->rule == VENDOR_CLASS ? "" : " not", class_code);
}

bool match_usb(const struct match_subject *subject, OSDictionary *personality,
	       struct match_result *result)
{
	unsigned used = used_keys(personality);
	const struct combination *c = closest(subject->class_name, used);
	if (c == NULL)
		return match_fails(result, "IOProviderClass", "no driver can match a %s",
				   subject->class_name);
	/* A wrong value is the better news than a missing key: values first. */
	for (size_t i = 0; i < N_USB_KEYS; i++) {
		if ((used & usb_keys[i].bit) != 0 &&
		    !check_value(subject, personality, &usb_keys[i], result))
			return false;
	}
	for (size_t i = 0; i < N_USB_KEYS; i++) {
		if (((used ^ c->keys) & usb_keys[i].bit) == 0)
			continue;
		match_fix(result, "use exactly %s", c->text);
		return match_fails(result, usb_keys[i].key,
				   (used & usb_keys[i].bit) != 0
					   ? "%s is one key too many: the keys used are no "
					     "combination that USB matching knows"
					   : "%s is missing: the keys used are no combination "
					     "that USB matching knows",
				   usb_keys[i].key);
	}
	if (!check_class_rule(subject, c, result))
		return false;
	result->score += c->score;
	return true;
}
