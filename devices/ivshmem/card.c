/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <unistd.h>

#include <devices/ivshmem/card.h>

enum { // BAR0, from the ivshmem specification
	REGISTER_INTERRUPT_MASK = 0,
	REGISTER_INTERRUPT_STATUS = 4, // a read clears it
	REGISTER_IV_POSITION = 8,      // this peer's number; 0 without a server
	REGISTER_DOORBELL = 12,        // peer << 16 | vector; nobody is there to hear it
};

void card_init(struct card *card, int memory_fd, uint64_t memory_size)
{
	*card = (struct card){ .memory_fd = memory_fd, .memory_size = memory_size };
	config_init(&card->config, &(struct config_identity){ .vendor = 0x1af4,
							      .device = 0x1110,
							      .subsystem_vendor = 0x1af4,
							      .subsystem = 0x1100,
							      .class_code = 0x050000, // RAM
							      .revision = 1 });
	config_add_bar(&card->config, CARD_BAR0, 0x0, CARD_REGISTERS_SIZE); // 32 bits
	config_add_bar(&card->config, CARD_BAR2, 0xc, memory_size);         // 64 bits, prefetchable
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
		return CONFIG_SIZE;
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
		return config_read(&card->config, offset, data, count);
	if (region == CARD_BAR0)
		put_le(data, read_register(card, offset), 4);
	else if (pread(card->memory_fd, data, count, (off_t)offset) != (ssize_t)count)
		return EIO;
	return 0;
}

int card_write(struct card *card, unsigned region, uint64_t offset, const void *data, size_t count)
{
	int error = check_range(card, region, offset, count);
	if (error != 0)
		return error;
	if (region == CARD_CONFIG)
		return config_write(&card->config, offset, data, count);
	if (region == CARD_BAR0)
		write_register(card, offset, (uint32_t)get_le(data, 4));
	else if (pwrite(card->memory_fd, data, count, (off_t)offset) != (ssize_t)count)
		return EIO;
	return 0;
}
