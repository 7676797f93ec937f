// SPDX-License-Identifier: Apache-2.0
/* Every key of matching, its masks and scores, as rows of a table; dictionaries are written as XML.
 */

#include <base/unit_test.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dextd/match/match.h>
#include <dextd/match/plist.h>
#include <dextd/registry.h>

static OSDictionary *dictionary(const char *keys)
{
	char text[4096];
	OSDictionary *d = NULL;
	int n = snprintf(text, sizeof(text), "<plist version=\"1.0\"><dict>%s</dict></plist>",
			 keys);
	ck_assert(n > 0 && (size_t)n < sizeof(text));
	ck_assert_msg(plist_read(text, (size_t)n, &d) == 0, "%s: %s", keys, reason_last());
	return d;
}

#define S(key, value) "<key>" key "</key><string>" value "</string>"
#define N(key, value) "<key>" key "</key><integer>" #value "</integer>"

static const char usb[] = N("idVendor", 0x1d6b) N("idProduct", 0x0104) N("bcdDevice", 0x100)
	N("bConfigurationValue", 1) N("bInterfaceNumber", 0) N("bDeviceClass", 0)
		N("bInterfaceClass", 0xff) N("bInterfaceSubClass", 0x42) N("bInterfaceProtocol", 3);
static const char usb_standard[] = N("idVendor", 0x1d6b) N("idProduct", 0x0104)
	N("bcdDevice", 0x100) N("bConfigurationValue", 1) N("bInterfaceNumber", 0)
		N("bDeviceClass", 0) N("bInterfaceClass", 8) N("bInterfaceSubClass", 6)
			N("bInterfaceProtocol", 0x50);
static const char usb_device[] = N("idVendor", 0x1d6b) N("idProduct", 0x0104) N("bcdDevice", 0x100)
	N("bDeviceClass", 0xff) N("bDeviceSubClass", 1) N("bDeviceProtocol", 2);
static const char usb_device_standard[] = N("idVendor", 0x1d6b) N("idProduct", 0x0104)
	N("bDeviceClass", 2) N("bDeviceSubClass", 1) N("bDeviceProtocol", 2);
static const char pci[] =
	N("vendor-id", 0x1af4) N("device-id", 0x1110) N("subsystem-vendor-id", 0x1af4)
		N("subsystem-id", 0x1100) N("class-code", 0x050000) N("revision-id", 1);
static const char resources[] = S("IOResourceMatch", "IOKit");

static const char at_address[] = S("OpenDextAddress", "1-2:1.0");

#define PARENT(keys)  "<key>IOParentMatch</key><dict>" keys "</dict>"
#define INTERFACE     S("IOProviderClass", "IOUSBHostInterface")
#define USB_DEVICE    S("IOProviderClass", "IOUSBHostDevice")
#define PCI           S("IOProviderClass", "IOPCIDevice")
#define RESOURCES     S("IOProviderClass", "IOUserResources")
#define VENDOR        N("idVendor", 0x1d6b)
#define PRODUCT       N("idProduct", 0x0104)
#define CONFIGURATION N("bConfigurationValue", 1)
#define NUMBER        N("bInterfaceNumber", 0)
#define RELEASE       N("bcdDevice", 0x100)
#define FOUR          VENDOR PRODUCT CONFIGURATION NUMBER

static const struct row {
	const char *class_name, *properties, *personality;
	int64_t score;   // when key is NULL
	const char *key; // the key that must fail
} rows[] = {
	/* IOProviderClass */
	{ "IOUSBHostInterface", usb, PCI, 0, "IOProviderClass" },
	{ "IOUserResources", resources, S("IOProviderClass", "IOResources"), 0, "IOProviderClass" },
	/* USB interfaces: every combination */
	{ "IOUSBHostInterface", usb, INTERFACE FOUR RELEASE, 100000, NULL },
	{ "IOUSBHostInterface", usb, INTERFACE FOUR, 90000, NULL },
	{ "IOUSBHostInterface", usb,
	  INTERFACE VENDOR N("bInterfaceSubClass", 0x42) N("bInterfaceProtocol", 3), 80000, NULL },
	{ "IOUSBHostInterface", usb, INTERFACE VENDOR N("bInterfaceSubClass", 0x42), 70000, NULL },
	{ "IOUSBHostInterface", usb_standard, INTERFACE VENDOR N("bInterfaceSubClass", 6), 0,
	  "bInterfaceClass" },
	{ "IOUSBHostInterface", usb_standard,
	  INTERFACE N("bInterfaceClass", 8) N("bInterfaceSubClass", 6)
		  N("bInterfaceProtocol", 0x50),
	  60000, NULL },
	{ "IOUSBHostInterface", usb_standard,
	  INTERFACE N("bInterfaceClass", 8) N("bInterfaceSubClass", 6), 50000, NULL },
	/* USB devices */
	{ "IOUSBHostDevice", usb_device, USB_DEVICE VENDOR PRODUCT RELEASE, 100000, NULL },
	{ "IOUSBHostDevice", usb_device, USB_DEVICE VENDOR PRODUCT, 90000, NULL },
	{ "IOUSBHostDevice", usb_device,
	  USB_DEVICE VENDOR N("bDeviceSubClass", 1) N("bDeviceProtocol", 2), 80000, NULL },
	{ "IOUSBHostDevice", usb_device, USB_DEVICE VENDOR N("bDeviceSubClass", 1), 70000, NULL },
	{ "IOUSBHostDevice", usb_device_standard,
	  USB_DEVICE N("bDeviceClass", 2) N("bDeviceSubClass", 1) N("bDeviceProtocol", 2), 60000,
	  NULL },
	{ "IOUSBHostDevice", usb_device_standard,
	  USB_DEVICE N("bDeviceClass", 2) N("bDeviceSubClass", 1), 50000, NULL },
	{ "IOUSBHostDevice", usb_device, USB_DEVICE N("bDeviceClass", 0xff) N("bDeviceSubClass", 1),
	  0, "bDeviceClass" },
	/* USB: a wrong value, a missing key, one too many, none */
	{ "IOUSBHostInterface", usb, INTERFACE N("idVendor", 1) PRODUCT CONFIGURATION NUMBER, 0,
	  "idVendor" },
	{ "IOUSBHostInterface", usb, INTERFACE FOUR N("bcdDevice", 0x101), 0, "bcdDevice" },
	{ "IOUSBHostInterface", usb, INTERFACE VENDOR PRODUCT NUMBER, 0, "bConfigurationValue" },
	{ "IOUSBHostInterface", usb, INTERFACE FOUR N("bInterfaceClass", 0xff), 0,
	  "bInterfaceClass" },
	{ "IOUSBHostInterface", usb, INTERFACE, 0, "idVendor" },
	/* idProductArray and idProductMask stand for idProduct */
	{ "IOUSBHostInterface", usb,
	  INTERFACE VENDOR CONFIGURATION NUMBER
	  "<key>idProductArray</key><array><integer>7</integer><integer>260</integer></array>",
	  90000, NULL },
	{ "IOUSBHostInterface", usb,
	  INTERFACE VENDOR CONFIGURATION NUMBER
	  "<key>idProductArray</key><array><integer>7</integer></array>",
	  0, "idProduct" },
	{ "IOUSBHostInterface", usb,
	  INTERFACE VENDOR CONFIGURATION NUMBER N("idProduct", 0x01ff) N("idProductMask", 0xff00),
	  90000, NULL },
	{ "IOUSBHostInterface", usb,
	  INTERFACE VENDOR CONFIGURATION NUMBER N("idProduct", 0x0204) N("idProductMask", 0xff00),
	  0, "idProduct" },
	/* PCI values and masks */
	{ "IOPCIDevice", pci, PCI S("IOPCIPrimaryMatch", "0x11101af4"), 1000, NULL },
	{ "IOPCIDevice", pci, PCI S("IOPCIPrimaryMatch", "0x11111af4"), 0, "IOPCIPrimaryMatch" },
	{ "IOPCIDevice", pci, PCI S("IOPCIPrimaryMatch", "0x00001af4&amp;0x0000ffff"), 1000, NULL },
	{ "IOPCIDevice", pci, PCI S("IOPCIPrimaryMatch", "0x12345678 0x11101af4"), 1000, NULL },
	{ "IOPCIDevice", pci, PCI S("IOPCISecondaryMatch", "0x11001af4"), 1000, NULL },
	{ "IOPCIDevice", pci, PCI S("IOPCISecondaryMatch", "0x11101af4"), 0,
	  "IOPCISecondaryMatch" },
	{ "IOPCIDevice", pci, PCI S("IOPCIMatch", "0x11001af4"), 1000, NULL },
	{ "IOPCIDevice", pci, PCI S("IOPCIMatch", "0x11101af4"), 1000, NULL },
	{ "IOPCIDevice", pci, PCI S("IOPCIMatch", "0x11121af4"), 0, "IOPCIMatch" },
	{ "IOPCIDevice", pci, PCI S("IOPCIClassMatch", "0x05000000"), 1000, NULL },
	{ "IOPCIDevice", pci, PCI S("IOPCIClassMatch", "0x050000ff"), 1000, NULL },
	{ "IOPCIDevice", pci, PCI S("IOPCIClassMatch", "0x05000000&amp;0xffffffff"), 0,
	  "IOPCIClassMatch" },
	{ "IOPCIDevice", pci,
	  PCI S("IOPCIPrimaryMatch", "0x11101af4") S("IOPCIClassMatch", "0x02000000"), 0,
	  "IOPCIClassMatch" },
	{ "IOPCIDevice", pci, PCI S("IOPCIMatch", "0x11101af4, 0x1"), 0, "IOPCIMatch" },
	{ "IOPCIDevice", pci, PCI S("IOPCIMatch", "ivshmem"), 0, "IOPCIMatch" },
	{ "IOPCIDevice", pci, PCI S("IOPCIMatch", "-1"), 0, "IOPCIMatch" },
	{ "IOPCIDevice", pci, PCI S("IOPCIMatch", "0x111101af4"), 0, "IOPCIMatch" },
	{ "IOPCIDevice", pci, PCI S("IOPCIMatch", "0x11101af4&amp;"), 0, "IOPCIMatch" },
	{ "IOPCIDevice", pci, PCI S("IOPCIMatch", ""), 0, "IOPCIMatch" },
	{ "IOPCIDevice", pci, PCI, 0, "IOPCIMatch" }, // would take every card
	{ "IOPCIDevice", pci, PCI S("IONameMatch", "pci1af4,1110"), 0, NULL },
	{ "IOPCIDevice", pci, PCI S("IONameMatch", "pciclass,050000"), 0, NULL },
	/* generic keys */
	{ "IOUserResources", resources, RESOURCES, 0, NULL },
	{ "IOUserResources", resources, RESOURCES S("IOResourceMatch", "IOKit"), 0, NULL },
	{ "IOUserResources", resources, RESOURCES S("IOResourceMatch", "IOBSD"), 0,
	  "IOResourceMatch" },
	{ "IOPCIDevice", pci, PCI S("IOPCIMatch", "0x11101af4") S("IOResourceMatch", "IOKit"), 0,
	  "IOResourceMatch" },
	{ "IOUserResources", resources, RESOURCES N("IOProbeScore", 12), 12, NULL },
	{ "IOUserResources", resources, RESOURCES N("IOProbeScore", -3), -3, NULL },
	{ "IOUSBHostInterface", usb, INTERFACE FOUR N("IOProbeScore", 5), 90005, NULL },
	{ "IOUserResources", resources, RESOURCES S("IONameMatch", "subject"), 0, NULL },
	{ "IOUserResources", resources, RESOURCES S("IONameMatch", "other"), 0, "IONameMatch" },
	{ "IOUserResources", resources,
	  RESOURCES
	  "<key>IONameMatch</key><array><string>a</string><string>subject</string></array>",
	  0, NULL },
	{ "IOUserResources", resources,
	  RESOURCES "<key>IOPropertyMatch</key><dict>" S("IOResourceMatch", "IOKit") "</dict>", 0,
	  NULL },
	{ "IOUserResources", resources,
	  RESOURCES "<key>IOPropertyMatch</key><dict>" S("IOResourceMatch", "x") "</dict>", 0,
	  "IOPropertyMatch" },
	{ "IOUserResources", resources,
	  RESOURCES "<key>IOPropertyMatch</key><array><dict>" S("absent", "x") "</dict><dict>" S(
		  "IOResourceMatch", "IOKit") "</dict></array>",
	  0, NULL },
	{ "IOUserResources", resources, RESOURCES "<key>IOPropertyMatch</key><array/>", 0,
	  "IOPropertyMatch" },
	{ "IOUserResources", resources, RESOURCES S("IOPropertyExistsMatch", "IOResourceMatch"), 0,
	  NULL },
	{ "IOUserResources", resources, RESOURCES S("IOPropertyExistsMatch", "absent"), 0,
	  "IOPropertyExistsMatch" },
	{ "IOUserResources", resources, S("IOProviderClass", "IOService"), 0, NULL },
	{ "IOUserResources", resources, RESOURCES PARENT(S("IOProviderClass", "Bus")), 0, NULL },
	{ "IOUserResources", resources,
	  RESOURCES PARENT(S("IOProviderClass", "IOUserService") S("IONameMatch", "a/bus")
				   N("IORegistryEntryID", 1)),
	  0, NULL },
	{ "IOUserResources", resources, RESOURCES PARENT(S("IOProviderClass", "Other")), 0,
	  "IOParentMatch" },
	{ "IOUserResources", resources,
	  RESOURCES PARENT(S("IOProviderClass", "Bus") S("IONameMatch", "Other")), 0,
	  "IOParentMatch" },
	{ "IOUserResources", resources, RESOURCES PARENT(S("what", "Other")), 0, "IOParentMatch" },
	{ "IOUserResources", resources, RESOURCES PARENT(S("IORegistryEntryID", "1")), 0,
	  "IOParentMatch" },
	{ "IOUserResources", resources, RESOURCES PARENT(PARENT(N("IORegistryEntryID", 0))), 0,
	  NULL },
	{ "IOUserResources", resources, RESOURCES PARENT(PARENT(PARENT(""))), 0, "IOParentMatch" },
	{ "IOUserResources", resources, RESOURCES S("IOPathMatch", "IOService:/a/bus/subject"), 0,
	  NULL },
	{ "IOUserResources", resources, RESOURCES S("IOPathMatch", "/a/bus/subject"), 0, NULL },
	{ "IOUserResources", resources, RESOURCES S("IOPathMatch", "/bus/subject"), 0,
	  "IOPathMatch" },
	{ "IOUserResources", resources, RESOURCES S("IOPathMatch", "x/a/bus/subject"), 0,
	  "IOPathMatch" },
	{ "IOUserResources", resources, RESOURCES S("IOPathMatch", "subject"), 0, "IOPathMatch" },
	{ "IOUserResources", at_address, RESOURCES S("IOPathMatch", "/a/bus/subject@1-2:1.0"), 0,
	  NULL },
	{ "IOUserResources", at_address, RESOURCES S("IOPathMatch", "/a/bus/subject"), 0, NULL },
	{ "IOUserResources", at_address, RESOURCES S("IOPathMatch", "/a/bus/subject@1-2:1.1"), 0,
	  "IOPathMatch" },
	{ "IOUserResources", at_address, RESOURCES S("IOLocationMatch", "1-2:1.0"), 0, NULL },
	{ "IOUserResources", at_address, RESOURCES S("IOLocationMatch", "1-2"), 0,
	  "IOLocationMatch" },
	{ "IOUserResources", resources, RESOURCES S("IOLocationMatch", "1-2"), 0,
	  "IOLocationMatch" },
	{ "IOUserResources", resources, RESOURCES N("IORegistryEntryID", 2), 0, NULL },
	{ "IOUserResources", resources, RESOURCES N("IORegistryEntryID", 3), 0,
	  "IORegistryEntryID" },
	{ "IOUserResources", resources, RESOURCES N("IOMatchedServiceCountMatch", 0), 0, NULL },
	{ "IOUserResources", resources, RESOURCES N("IOMatchedServiceCountMatch", 1), 0,
	  "IOMatchedServiceCountMatch" },
	{ "IOUserResources", resources, RESOURCES "<key>IOMatchDefer</key><true/>", 0, NULL },
	/* keys of Apple's that would be ignored at the author's cost */
	{ "IOUserResources", resources, RESOURCES S("IOBSDName", "x"), 0, "IOBSDName" },
	{ "IOUserResources", resources, RESOURCES "<key>IOCompatibilityMatch</key><dict/>", 0,
	  "IOCompatibilityMatch" },
};

static void check_row(size_t row_number)
{
	const struct row *row = &rows[row_number];
	OSDictionary *properties = dictionary(row->properties);
	OSDictionary *personality = dictionary(row->personality);
	struct registry registry;
	struct entry *bus, *entry;
	ck_assert_int_eq(registry_init(&registry), 0);
	ck_assert_int_eq(
		registry_add(&registry, registry.root, ENTRY_SERVICE, "IOUserService", NULL, &bus),
		0);
	ck_assert_int_eq(registry_set_user_class(bus, "Bus"), 0);
	ck_assert_int_eq(registry_set_name(bus, "a/bus"), 0);
	ck_assert_int_eq(
		registry_add(&registry, bus, ENTRY_DEVICE, row->class_name, properties, &entry), 0);
	ck_assert_int_eq(registry_set_name(entry, "subject"), 0);
	struct match_subject subject = {
		.name = "subject",
		.class_name = row->class_name,
		.properties = entry->properties,
		.entry = entry,
	};
	struct match_result result;

	match_personality(&subject, personality, &result);
	if (row->key == NULL) {
		ck_assert_msg(result.matched, "row %zu: %s: %s", row_number, result.key,
			      result.reason);
		ck_assert_int_eq(result.score, row->score);
	} else {
		ck_assert_msg(!result.matched, "row %zu matched", row_number);
		ck_assert_str_eq(result.key, row->key);
		ck_assert_str_ne(result.reason, "");
		ck_assert_str_ne(result.fix, "");
	}
	registry_deinit(&registry);
	OSObjectRelease(properties);
	OSObjectRelease(personality);
}

START_TEST(test_row)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check_row(i);
}
END_TEST

START_TEST(test_category)
{
	OSDictionary *none = dictionary(""), *own = dictionary(S("IOMatchCategory", "x"));
	ck_assert_str_eq(match_category(none), "IODefaultMatchCategory");
	ck_assert_str_eq(match_category(own), "x");
	OSObjectRelease(none);
	OSObjectRelease(own);
}
END_TEST

static const struct service_row {
	const char *matching;
	int result;
} service_rows[] = {
	{ "", 1 },
	{ S("IOProviderClass", "Counter"), 1 },
	{ S("IOProviderClass", "IOUserService"), 1 },
	{ S("IOProviderClass", "IOService"), 1 },
	{ S("IOProviderClass", "Other"), 0 },
	{ S("IOUserClass", "Counter"), 1 },
	{ S("IOUserClass", "Count"), 0 },
	{ S("IONameMatch", "name"), 1 },
	{ S("IONameMatch", "other"), 0 },
	{ N("IORegistryEntryID", 1), 1 },
	{ N("IORegistryEntryID", 2), 0 },
	{ "<key>IOPropertyMatch</key><dict>" N("answer", 42) "</dict>", 1 },
	{ "<key>IOPropertyMatch</key><dict>" N("answer", 43) "</dict>", 0 },
	{ S("IOPropertyExistsMatch", "answer"), 1 },
	{ S("IOProviderClass", "Counter") S("IONameMatch", "other"), 0 },
	{ S("IOProviderClass", "CounterBase"), 1 }, // the class above it
	{ S("IOPathMatch", "IOService:/name"), 1 },
	{ S("IOPathMatch", "IOService:/"), 0 },
	{ N("IOMatchedServiceCountMatch", 1), 1 },
	{ N("IOMatchedServiceCountMatch", 0), 0 },
	{ PARENT(N("IORegistryEntryID", 0)), 1 },
	{ PARENT(S("IOProviderClass", "Counter")), 0 },
	{ S("IOBSDName", "x"), -1 },
	{ "<key>IOPathMatch</key><array/>", -1 },
	{ S("IOMatchedServiceCountMatch", "1"), -1 },
	{ S("IOParentMatch", "x"), -1 },
	{ S("IOProviderClass", "Other") S("IOBSDName", "x"), -1 },
	{ N("IOProviderClass", 3), -1 },
	{ S("IORegistryEntryID", "1"), -1 },
};

static void check_service(size_t row_number)
{
	struct registry registry;
	struct entry *entry;
	OSDictionary *properties = dictionary(
		N("answer",
		  42) "<key>IOUserClasses</key><array><string>CounterBase</string></array>");
	OSDictionary *matching = dictionary(service_rows[row_number].matching);

	ck_assert_int_eq(registry_init(&registry), 0);
	ck_assert_int_eq(registry_add(&registry, registry.root, ENTRY_SERVICE, "IOUserService",
				      properties, &entry),
			 0);
	ck_assert_int_eq(registry_set_user_class(entry, "Counter"), 0);
	ck_assert_int_eq(registry_set_name(entry, "name"), 0);
	struct entry *below;
	ck_assert_int_eq(
		registry_add(&registry, entry, ENTRY_SERVICE, "IOUserService", NULL, &below), 0);
	int result = match_service(entry, matching);
	ck_assert_msg((result < 0 ? -1 : result) == service_rows[row_number].result, "row %zu: %d",
		      row_number, result);
	registry_deinit(&registry);
	OSObjectRelease(properties);
	OSObjectRelease(matching);
}

START_TEST(test_service)
{
	for (size_t i = 0; i < sizeof(service_rows) / sizeof(service_rows[0]); i++)
		check_service(i);
}
END_TEST

UNIT_TESTS("dextd-match", test_row, test_category, test_service)
