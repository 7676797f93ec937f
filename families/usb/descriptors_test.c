/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Descriptors that no honest device has. What they have in common: the walk ends, inside what was
 * received, and what came before the fault is still there.
 */

#include <base/unit_test.h>
#include <families/usb/descriptors.h>

#include <errno.h>
#include <string.h>

#define CONFIGURATION(total, interfaces) \
	9, 2, (total)&0xff, (total) >> 8, interfaces, 1, 0, 0x80, 50
#define INTERFACE(number, alternate, endpoints) 9, 4, number, alternate, endpoints, 0xff, 0, 0, 0
#define ENDPOINT(address, size)                 7, 5, address, 2, (size)&0xff, (size) >> 8, 0

/* Copy into exactly as much heap as there are bytes, so that a sanitizer sees a step too far. */
static IOUSBConfigurationDescriptor *received(const uint8_t *bytes, size_t size)
{
	uint8_t *copy = malloc(size);
	memcpy(copy, bytes, size);
	ck_assert_int_eq(usb_configuration_bound(copy, size), 0);
	return (void *)copy;
}

static unsigned count_endpoints(const IOUSBConfigurationDescriptor *configuration, uint8_t number)
{
	const IOUSBInterfaceDescriptor *interface = usb_find_interface(configuration, number);
	const IOUSBEndpointDescriptor *e = NULL;
	unsigned n = 0;
	while ((e = IOUSBGetNextEndpointDescriptor(configuration, interface, (const void *)e)))
		n++;
	return n;
}

static void expect(const uint8_t *bytes, size_t size, unsigned interfaces, unsigned endpoints)
{
	IOUSBConfigurationDescriptor *configuration = received(bytes, size);
	ck_assert_uint_le(configuration->wTotalLength, size);
	const IOUSBInterfaceDescriptor *interface = NULL;
	unsigned n = 0;
	while ((interface = usb_next_interface(configuration, interface)) != NULL)
		n++;
	ck_assert_uint_eq(n, interfaces);
	ck_assert_uint_eq(count_endpoints(configuration, 0), endpoints);
	IOUSBHostFreeDescriptor(configuration);
}

#define EXPECT(interfaces, endpoints, ...)                           \
	do {                                                         \
		const uint8_t bytes[] = { __VA_ARGS__ };             \
		expect(bytes, sizeof(bytes), interfaces, endpoints); \
	} while (0)

START_TEST(a_sound_configuration_is_walked_whole)
{
	EXPECT(1, 2, CONFIGURATION(32, 1), INTERFACE(0, 0, 2), ENDPOINT(0x81, 512),
	       ENDPOINT(0x01, 512));
	EXPECT(2, 1, CONFIGURATION(41, 2), INTERFACE(0, 0, 1), ENDPOINT(0x81, 512),
	       INTERFACE(1, 0, 1), ENDPOINT(0x82, 512));
}
END_TEST

START_TEST(counts_in_headers_are_not_believed)
{
	EXPECT(1, 2, CONFIGURATION(32, 255), INTERFACE(0, 0, 30), ENDPOINT(0x81, 512),
	       ENDPOINT(0x01, 512));
	EXPECT(0, 0, CONFIGURATION(9, 1));
}
END_TEST

START_TEST(a_total_length_beyond_what_came_is_bounded)
{
	EXPECT(1, 2, CONFIGURATION(65535, 1), INTERFACE(0, 0, 2), ENDPOINT(0x81, 512),
	       ENDPOINT(0x01, 512));
	EXPECT(1, 1, CONFIGURATION(65535, 1), INTERFACE(0, 0, 2), ENDPOINT(0x81, 512), 7, 5, 0x01);
}
END_TEST

START_TEST(a_total_length_short_of_what_came_ends_the_walk)
{
	EXPECT(1, 1, CONFIGURATION(25, 1), INTERFACE(0, 0, 2), ENDPOINT(0x81, 512),
	       ENDPOINT(0x01, 512));
}
END_TEST

START_TEST(a_zero_length_descriptor_stops_the_walk)
{
	EXPECT(1, 1, CONFIGURATION(41, 1), INTERFACE(0, 0, 2), ENDPOINT(0x81, 512), 0, 5, 0, 0, 0,
	       0, 0, 0, 0, ENDPOINT(0x01, 512));
	EXPECT(1, 0, CONFIGURATION(25, 1), INTERFACE(0, 0, 2), 1, 5, 0, 0, 0, 0, 0);
}
END_TEST

START_TEST(a_descriptor_past_the_end_stops_the_walk)
{
	EXPECT(1, 1, CONFIGURATION(32, 1), INTERFACE(0, 0, 2), ENDPOINT(0x81, 512), 255, 5, 0x01, 2,
	       0, 2, 0);
}
END_TEST

START_TEST(a_short_endpoint_is_none)
{
	EXPECT(1, 1, CONFIGURATION(30, 1), INTERFACE(0, 0, 2), ENDPOINT(0x81, 512), 5, 5, 0x01, 2,
	       0);
	EXPECT(0, 0, CONFIGURATION(16, 1), 7, 4, 0, 0, 1, 0xff, 0);
}
END_TEST

START_TEST(alternate_settings_are_not_interfaces)
{
	uint8_t bytes[9 + 200 * 16] = { CONFIGURATION(9 + 200 * 16, 1) };
	for (unsigned i = 0; i < 200; i++) {
		const uint8_t setting[] = { INTERFACE(0, (uint8_t)i, 1), ENDPOINT(0x81, 512) };
		memcpy(bytes + 9 + i * sizeof(setting), setting, sizeof(setting));
	}
	expect(bytes, sizeof(bytes), 1, 1);
}
END_TEST

START_TEST(what_is_no_configuration_is_refused)
{
	uint8_t cases[][9] = {
		{ 9, 2, 4, 0, 1, 1, 0, 0x80, 50 },   // wTotalLength below its own size
		{ 8, 2, 32, 0, 1, 1, 0, 0x80, 50 },  // too short
		{ 9, 1, 32, 0, 1, 1, 0, 0x80, 50 },  // another type
		{ 10, 2, 32, 0, 1, 1, 0, 0x80, 50 }, // longer than what came
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ck_assert_int_eq(usb_configuration_bound(cases[i], 9), -EBADMSG);
	uint8_t sound[9] = { CONFIGURATION(9, 0) };
	for (size_t size = 0; size < 9; size++)
		ck_assert_int_eq(usb_configuration_bound(sound, size), -EBADMSG);
}
END_TEST

START_TEST(what_is_no_device_is_refused)
{
	const uint8_t sound[] = { 18, 1, 0, 2, 0, 0, 0, 64, 0x6b, 0x1d, 4, 1, 0, 1, 0, 0, 0, 1 };
	ck_assert(usb_device_descriptor_valid(sound, 18));
	ck_assert(!usb_device_descriptor_valid(sound, 17));
	const struct {
		unsigned at;
		uint8_t value;
	} faults[] = { { 0, 2 }, { 1, 2 }, { 7, 0 }, { 17, 0 } };
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		uint8_t copy[18];
		memcpy(copy, sound, sizeof(copy));
		copy[faults[i].at] = faults[i].value;
		ck_assert(!usb_device_descriptor_valid(copy, 18));
	}
}
END_TEST

/* A driver may pass anything as `current`. */
START_TEST(a_walk_from_elsewhere_finds_nothing)
{
	const uint8_t bytes[] = { CONFIGURATION(25, 1), INTERFACE(0, 0, 1), ENDPOINT(0x81, 512) };
	IOUSBConfigurationDescriptor *configuration = received(bytes, sizeof(bytes));
	const IOUSBInterfaceDescriptor *interface = usb_find_interface(configuration, 0);
	const IOUSBDescriptorHeader zero = { 0, 5 };
	ck_assert_ptr_null(IOUSBGetNextEndpointDescriptor(NULL, interface, NULL));
	ck_assert_ptr_null(IOUSBGetNextEndpointDescriptor(configuration, NULL, NULL));
	ck_assert_ptr_null(IOUSBGetNextEndpointDescriptor(configuration, interface, &zero));
	ck_assert_ptr_null(usb_find_interface(configuration, 1));
	IOUSBHostFreeDescriptor(configuration);
	IOUSBHostFreeDescriptor(NULL);
}
END_TEST

/* Random bytes behind a sound head: no walk runs for ever or out of what was received. */
START_TEST(noise_is_survived)
{
	uint32_t state = 1;
	for (unsigned round = 0; round < 2000; round++) {
		uint8_t bytes[64] = { CONFIGURATION(64, 1), INTERFACE(0, 0, 2) };
		for (size_t i = 18; i < sizeof(bytes); i++) {
			state = state * 1664525 + 1013904223;
			bytes[i] = (uint8_t)((state >> 24) % (round % 2 ? 256 : 12));
		}
		IOUSBConfigurationDescriptor *configuration = received(bytes, sizeof(bytes));
		ck_assert_uint_le(count_endpoints(configuration, 0), 8);
		IOUSBHostFreeDescriptor(configuration);
	}
}
END_TEST

UNIT_TESTS("usb-descriptors", a_sound_configuration_is_walked_whole,
	   counts_in_headers_are_not_believed, a_total_length_beyond_what_came_is_bounded,
	   a_total_length_short_of_what_came_ends_the_walk, a_zero_length_descriptor_stops_the_walk,
	   a_descriptor_past_the_end_stops_the_walk, a_short_endpoint_is_none,
	   alternate_settings_are_not_interfaces, what_is_no_configuration_is_refused,
	   what_is_no_device_is_refused, a_walk_from_elsewhere_finds_nothing, noise_is_survived)
