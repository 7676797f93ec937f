/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Configuration space is bytes with a mask of what can be written, which makes the BAR registers
 * answer the usual size probe: the bits below the size are constant.
 */

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <devices/ivshmem/card.h>

enum { // BAR0, from the ivshmem specification
	REGISTER_INTERRUPT_MASK = 0,
	REGISTER_INTERRUPT_STATUS = 4, // a read clears it
	REGISTER_IV_POSITION = 8,      // this peer's number; 0 without a server
	REGISTER_DOORBELL = 12,        // peer << 16 | vector; nobody is there to hear it
};

static void put_le(uint8_t *at, uint64_t value, size_t size)
{
	for (size_t i = 0; i < size; i++)
		at[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_le(const uint8_t *at, size_t size)
{
	uint64_t value = 0;
	for (size_t i = 0; i < size; i++)
		value |= (uint64_t)at[i] << (8 * i);
	return value;
}

void card_init(struct card *card, int memory_fd, uint64_t memory_size)
{
	*card = (struct card){ .memory_fd = memory_fd, .memory_size = memory_size };
	put_le(&card->config[0x00], 0x1af4, 2);   // vendor
	put_le(&card->config[0x02], 0x1110, 2);   // device
	put_le(&card->config[0x08], 1, 1);        // revision
	put_le(&card->config[0x09], 0x050000, 3); // class: memory, RAM
	put_le(&card->config[0x10], 0x0, 4);      // BAR0: 32 bits
	put_le(&card->config[0x18], 0xc, 4);      // BAR2: 64 bits, prefetchable
	put_le(&card->config[0x2c], 0x1af4, 2);   // subsystem vendor
	put_le(&card->config[0x2e], 0x1100, 2);   // subsystem
	put_le(&card->writable[0x04], 0x0407, 2); // command: I/O, memory, bus lead, INTx off
	put_le(&card->writable[0x0c], 0xff, 1);   // cache line size
	put_le(&card->writable[0x10], ~(uint64_t)(CARD_REGISTERS_SIZE - 1), 4);
	put_le(&card->writable[0x18], ~(memory_size - 1), 8);
	put_le(&card->writable[0x3c], 0xff, 1); // interrupt line
}

void card_reset(struct card *card)
{
	uint64_t n_doorbells = card->n_doorbells;
	card_init(card, card->memory_fd, card->memory_size);
	card->n_doorbells = n_doorbells;
}

uint64_t card_region_size(const struct card *card, unsigned region)
{
	switch (region) {
	case CARD_BAR0:
		return CARD_REGISTERS_SIZE;
	case CARD_BAR2:
		return card->memory_size;
	case CARD_CONFIG:
		return CARD_CONFIG_SIZE;
	default:
		return 0;
	}
}

static int check_range(const struct card *card, unsigned region, uint64_t offset, size_t count)
{
	uint64_t size = card_region_size(card, region);
	if (count == 0 || count > size || offset > size - count)
		return EINVAL;
	if (region == CARD_BAR0 && (count != 4 || offset % 4 != 0))
		return EINVAL;
	return 0;
}

static uint32_t read_register(struct card *card, uint64_t offset)
{
	uint32_t value = 0;
	switch (offset) {
	case REGISTER_INTERRUPT_MASK:
		return card->interrupt_mask;
	case REGISTER_INTERRUPT_STATUS:
		value = card->interrupt_status;
		card->interrupt_status = 0;
		return value;
	case REGISTER_IV_POSITION:
	default:
		return 0;
	}
}

static void write_register(struct card *card, uint64_t offset, uint32_t value)
{
	switch (offset) {
	case REGISTER_INTERRUPT_MASK:
		card->interrupt_mask = value;
		break;
	case REGISTER_INTERRUPT_STATUS:
		card->interrupt_status = value;
		break;
	case REGISTER_DOORBELL:
		card->n_doorbells++;
		break;
	default:
		break;
	}
}

int card_read(struct card *card, unsigned region, uint64_t offset, void *data, size_t count)
{
	int error = check_range(card, region, offset, count);
	if (error != 0)
		return error;
	if (region == CARD_CONFIG)
		memcpy(data, &card->config[offset], count);
	else if (region == CARD_BAR0)
		put_le(data, read_register(card, offset), 4);
	else if (pread(card->memory_fd, data, count, (off_t)offset) != (ssize_t)count)
		return EIO;
	return 0;
}

int card_write(struct card *card, unsigned region, uint64_t offset, const void *data, size_t count)
{
	const uint8_t *bytes = data;
	int error = check_range(card, region, offset, count);
	if (error != 0)
		return error;
	if (region == CARD_CONFIG) {
		for (size_t i = 0; i < count; i++) {
			uint8_t mask = card->writable[offset + i];
			uint8_t *at = &card->config[offset + i];
			*at = (uint8_t)((*at & ~mask) | (bytes[i] & mask));
		}
	} else if (region == CARD_BAR0) {
		write_register(card, offset, (uint32_t)get_le(bytes, 4));
	} else if (pwrite(card->memory_fd, data, count, (off_t)offset) != (ssize_t)count) {
		return EIO;
	}
	return 0;
}
