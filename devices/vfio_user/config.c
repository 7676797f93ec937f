/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <string.h>

#include <devices/vfio_user/config.h>

enum { BAR_64_BITS = 0x4 };

void put_le(uint8_t *at, uint64_t value, size_t size)
{
	for (size_t i = 0; i < size; i++)
		at[i] = (uint8_t)(value >> (8 * i));
}

uint64_t get_le(const uint8_t *at, size_t size)
{
	uint64_t value = 0;
	for (size_t i = 0; i < size; i++)
		value |= (uint64_t)at[i] << (8 * i);
	return value;
}

void config_init(struct config *config, const struct config_identity *identity)
{
	*config = (struct config){ .bytes = { 0 } };
	put_le(&config->bytes[0x00], identity->vendor, 2);
	put_le(&config->bytes[0x02], identity->device, 2);
	put_le(&config->bytes[0x08], identity->revision, 1);
	put_le(&config->bytes[0x09], identity->class_code, 3);
	put_le(&config->bytes[0x2c], identity->subsystem_vendor, 2);
	put_le(&config->bytes[0x2e], identity->subsystem, 2);
	put_le(&config->writable[0x04], 0x0407, 2); // command: I/O, memory, bus lead, INTx off
	put_le(&config->writable[0x0c], 0xff, 1);   // cache line size
	put_le(&config->writable[0x3c], 0xff, 1);   // interrupt line
}

void config_add_bar(struct config *config, unsigned bar, unsigned type, uint64_t size)
{
	size_t width = (type & BAR_64_BITS) != 0 ? 8 : 4;
	put_le(&config->bytes[0x10 + 4 * bar], type, width);
	put_le(&config->writable[0x10 + 4 * bar], ~(size - 1), width);
}

int config_read(const struct config *config, uint64_t offset, void *data, size_t count)
{
	if (count == 0 || count > CONFIG_SIZE || offset > CONFIG_SIZE - count)
		return EINVAL;
	memcpy(data, &config->bytes[offset], count);
	return 0;
}

int config_write(struct config *config, uint64_t offset, const void *data, size_t count)
{
	const uint8_t *bytes = data;
	if (count == 0 || count > CONFIG_SIZE || offset > CONFIG_SIZE - count)
		return EINVAL;
	for (size_t i = 0; i < count; i++) {
		uint8_t mask = config->writable[offset + i];
		uint8_t *at = &config->bytes[offset + i];
		*at = (uint8_t)((*at & ~mask) | (bytes[i] & mask));
	}
	return 0;
}
