/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <devices/ivshmem/card.h>

enum { // BAR0, from the ivshmem specification
	REGISTER_INTERRUPT_MASK = 0,
	REGISTER_INTERRUPT_STATUS = 4, // a read clears it
	REGISTER_IV_POSITION = 8,      // this peer's number; 0 without a server
	REGISTER_DOORBELL = 12,        // peer << 16 | vector; there is no peer but this one
};

enum { MSIX_CAPABILITY = 0x40, MSIX_PENDING = 0x800 };

static void add_msix(struct card *card)
{
	struct config *config = &card->config;
	config_add_bar(config, CARD_BAR1, 0x0, CARD_TABLE_SIZE);
	put_le(&config->bytes[0x06], 0x0010, 2); // status: there are capabilities
	put_le(&config->bytes[0x34], MSIX_CAPABILITY, 1);
	put_le(&config->bytes[MSIX_CAPABILITY], 0x11, 2);
	put_le(&config->bytes[MSIX_CAPABILITY + 2], card->n_vectors - 1, 2);
	put_le(&config->writable[MSIX_CAPABILITY + 2], 0xc000, 2);
	put_le(&config->bytes[MSIX_CAPABILITY + 4], CARD_BAR1, 4);
	put_le(&config->bytes[MSIX_CAPABILITY + 8], MSIX_PENDING | CARD_BAR1, 4);
}

void card_init(struct card *card, int memory_fd, uint64_t memory_size, unsigned n_vectors)
{
	*card = (struct card){ .memory_fd = memory_fd,
			       .memory_size = memory_size,
			       .n_vectors = n_vectors };
	config_init(&card->config, &(struct config_identity){ .vendor = 0x1af4,
							      .device = 0x1110,
							      .subsystem_vendor = 0x1af4,
							      .subsystem = 0x1100,
							      .class_code = 0x050000, // RAM
							      .revision = 1 });
	config_add_bar(&card->config, CARD_BAR0, 0x0, CARD_REGISTERS_SIZE); // 32 bits
	config_add_bar(&card->config, CARD_BAR2, 0xc, memory_size);         // 64 bits, prefetchable
	if (n_vectors > 0)
		add_msix(card);
}

void card_reset(struct card *card)
{
	const struct card before = *card;
	card_init(card, before.memory_fd, before.memory_size, before.n_vectors);
	card->n_doorbells = before.n_doorbells;
	card->on_vector = before.on_vector;
	card->context = before.context;
}

uint64_t card_region_size(const struct card *card, unsigned region)
{
	switch (region) {
	case CARD_BAR0:
		return CARD_REGISTERS_SIZE;
	case CARD_BAR1:
		return card->n_vectors > 0 ? CARD_TABLE_SIZE : 0;
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
		if (value < card->n_vectors && card->on_vector != NULL) // peer 0
			card->on_vector(card->context, value);
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
	if (region == CARD_BAR1)
		memset(data, 0, count); // whoever serves the card has the vectors
	else if (region == CARD_BAR0)
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
	if (region == CARD_BAR1)
		return 0;
	if (region == CARD_BAR0)
		write_register(card, offset, (uint32_t)get_le(data, 4));
	else if (pwrite(card->memory_fd, data, count, (off_t)offset) != (ssize_t)count)
		return EIO;
	return 0;
}
