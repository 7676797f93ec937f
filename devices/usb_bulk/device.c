// SPDX-License-Identifier: Apache-2.0

#include <string.h>

#include <devices/usb_bulk/device.h>

/* USB 2.0, chapter 9 */
enum {
	GET_STATUS = 0,
	CLEAR_FEATURE = 1,
	SET_FEATURE = 3,
	GET_DESCRIPTOR = 6,
	GET_CONFIGURATION = 8,
	SET_CONFIGURATION = 9,
	GET_INTERFACE = 10,
	SET_INTERFACE = 11,

	TO_HOST = 0x80,
	RECIPIENT = 0x1f,
	FOR_DEVICE = 0,
	FOR_INTERFACE = 1,
	FOR_ENDPOINT = 2,
	ENDPOINT_HALT = 0,

	TYPE_DEVICE = 1,
	TYPE_CONFIGURATION = 2,
	TYPE_STRING = 3,
	TYPE_QUALIFIER = 6,
	TYPE_OTHER_SPEED = 7,
};

#define LE16(value) (uint8_t)((value)&0xff), (uint8_t)((value) >> 8)

static const char *const strings[] = { "OpenDext", "Bulk source and sink", "1" };

void bulk_device_init(struct bulk_device *device, const struct bulk_identity *identity)
{
	*device = (struct bulk_device){ .identity = *identity, .configuration = 1 };
}

/* --- descriptors --- */

static int device_descriptor(const struct bulk_device *device, uint8_t *data)
{
	const uint8_t bytes[] = {
		18,
		TYPE_DEVICE,
		LE16(0x0200), // USB 2.0
		0,
		0,
		0,
		64, // class: see the interface; endpoint 0 has 64 bytes
		LE16(device->identity.vendor),
		LE16(device->identity.product),
		LE16(0x0100),
		1,
		2,
		3, // manufacturer, product, serial number
		1, // configurations
	};
	memcpy(data, bytes, sizeof(bytes));
	return sizeof(bytes);
}

static int qualifier_descriptor(uint8_t *data)
{
	const uint8_t bytes[] = { 10, TYPE_QUALIFIER, LE16(0x0200), 0, 0, 0, 64, 1, 0 };
	memcpy(data, bytes, sizeof(bytes));
	return sizeof(bytes);
}

static int configuration_descriptor(const struct bulk_device *device, uint8_t type, uint8_t *data)
{
	uint16_t packet = type == TYPE_CONFIGURATION ? BULK_PACKET : 64; // 64: at full speed
	const uint8_t bytes[] = {
		9,
		type,
		LE16(32),
		1,
		1,
		0,
		0x80,
		50, // 100 mA from the bus
		9,
		4,
		0,
		0,
		2,
		0xff,
		0,
		device->identity.sequence ? 1 : 0,
		0, // vendor-specific
		7,
		5,
		BULK_IN,
		2,
		LE16(packet),
		0, //
		7,
		5,
		BULK_OUT,
		2,
		LE16(packet),
		0,
	};
	memcpy(data, bytes, sizeof(bytes));
	return sizeof(bytes);
}

static int string_descriptor(uint8_t index, uint8_t *data)
{
	if (index == 0) {
		const uint8_t languages[] = { 4, TYPE_STRING, LE16(0x0409) };
		memcpy(data, languages, sizeof(languages));
		return sizeof(languages);
	}
	if (index > sizeof(strings) / sizeof(strings[0]))
		return BULK_STALL;
	const char *text = strings[index - 1];
	size_t n = strlen(text);
	data[0] = (uint8_t)(2 + 2 * n);
	data[1] = TYPE_STRING;
	for (size_t i = 0; i < n; i++) {
		data[2 + 2 * i] = (uint8_t)text[i];
		data[3 + 2 * i] = 0;
	}
	return data[0];
}

static int get_descriptor(const struct bulk_device *device, uint8_t type, uint8_t index,
			  uint8_t *data)
{
	if (index != 0 && type != TYPE_STRING)
		return BULK_STALL;
	switch (type) {
	case TYPE_DEVICE:
		return device_descriptor(device, data);
	case TYPE_CONFIGURATION:
	case TYPE_OTHER_SPEED:
		return configuration_descriptor(device, type, data);
	case TYPE_QUALIFIER:
		return qualifier_descriptor(data);
	case TYPE_STRING:
		return string_descriptor(index, data);
	default:
		return BULK_STALL;
	}
}

/* --- requests --- */

/* The halt of an endpoint; NULL: there is no such endpoint. */
static bool *halt_of(struct bulk_device *device, uint16_t endpoint)
{
	if (endpoint == BULK_IN)
		return &device->halted_in;
	if (endpoint == BULK_OUT)
		return &device->halted_out;
	return NULL;
}

static int change_feature(struct bulk_device *device, const struct bulk_setup *setup)
{
	bool *halt = halt_of(device, setup->index);
	if ((setup->request_type & RECIPIENT) != FOR_ENDPOINT || setup->value != ENDPOINT_HALT ||
	    halt == NULL)
		return BULK_STALL;
	*halt = setup->request == SET_FEATURE;
	return 0;
}

static int get_status(struct bulk_device *device, const struct bulk_setup *setup, uint8_t *data)
{
	data[0] = data[1] = 0;
	if ((setup->request_type & RECIPIENT) != FOR_ENDPOINT)
		return 2;
	const bool *halt = halt_of(device, setup->index);
	if (halt == NULL && (setup->index & 0x7f) != 0)
		return BULK_STALL;
	data[0] = halt != NULL && *halt;
	return 2;
}

static int get_byte(uint8_t value, uint8_t *data)
{
	data[0] = value;
	return 1;
}

static int answer(struct bulk_device *device, const struct bulk_setup *setup, uint8_t *data)
{
	bool to_host = (setup->request_type & TO_HOST) != 0;
	switch (setup->request) {
	case GET_STATUS:
		return to_host ? get_status(device, setup, data) : BULK_STALL;
	case CLEAR_FEATURE:
	case SET_FEATURE:
		return to_host ? BULK_STALL : change_feature(device, setup);
	case GET_DESCRIPTOR:
		return to_host ? get_descriptor(device, (uint8_t)(setup->value >> 8),
						(uint8_t)setup->value, data)
			       : BULK_STALL;
	case GET_CONFIGURATION:
		return to_host ? get_byte(device->configuration, data) : BULK_STALL;
	case SET_CONFIGURATION:
		return !to_host && bulk_device_configure(device, (uint8_t)setup->value)
			       ? 0
			       : BULK_STALL;
	case GET_INTERFACE:
		return to_host && setup->index == 0 ? get_byte(0, data) : BULK_STALL;
	case SET_INTERFACE:
		return !to_host && setup->index == 0 && setup->value == 0 ? 0 : BULK_STALL;
	default:
		return BULK_STALL;
	}
}

int bulk_device_control(struct bulk_device *device, const struct bulk_setup *setup, uint8_t *data)
{
	if ((setup->request_type & 0x60) != 0) // class and vendor requests: there are none
		return BULK_STALL;
	int length = answer(device, setup, data);
	return length > setup->length ? setup->length : length;
}

bool bulk_device_configure(struct bulk_device *device, uint8_t value)
{
	if (value > 1)
		return false;
	device->configuration = value;
	device->halted_in = device->halted_out = false;
	return true;
}

/* --- data --- */

static uint8_t pattern_at(size_t i)
{
	return (uint8_t)(i % BULK_PACKET % 63);
}

bool bulk_device_read(struct bulk_device *device, uint8_t *data, size_t length)
{
	if (device->halted_in || device->configuration == 0)
		return false;
	size_t head = length < BULK_PACKET ? length : BULK_PACKET;
	for (size_t i = 0; i < head; i++)
		data[i] = pattern_at(i);
	for (size_t i = head; i < length; i += BULK_PACKET)
		memcpy(data + i, data, length - i < BULK_PACKET ? length - i : BULK_PACKET);
	uint64_t number = device->sequence++;
	for (size_t i = 0; device->identity.sequence && i < sizeof(number) && i < length; i++)
		data[i] = (uint8_t)(number >> (8 * i));
	return true;
}

bool bulk_device_write(struct bulk_device *device, const uint8_t *data, size_t length)
{
	if (device->halted_out || device->configuration == 0)
		return false;
	device->bytes_out += length;
	for (size_t i = 0; i < length; i++)
		device->errors_out += data[i] != pattern_at(i);
	return true;
}
