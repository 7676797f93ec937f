/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The interrupt status says why the card interrupts; while it is not zero INTx is asserted. A
 * message is sent whenever a reason is added. Which of the two: a client that listens for MSI has
 * switched it on.
 */

#include <errno.h>
#include <string.h>

#include <devices/edu/card.h>

enum { BAR0_SIZE = 1024 * 1024, MSI_CAPABILITY = 0x40 };

enum { // BAR0, from the card's specification
	REGISTER_IDENTITY = 0x00,
	REGISTER_LIVENESS = 0x04,
	REGISTER_FACTORIAL = 0x08,
	REGISTER_STATUS = 0x20,
	REGISTER_INTERRUPTS = 0x24,
	REGISTER_RAISE = 0x60,
	REGISTER_ACKNOWLEDGE = 0x64,
	REGISTER_DMA = 0x80, // enum card_dma_register, of 8 bytes each
	REGISTER_DMA_END = REGISTER_DMA + 8 * CARD_DMA_REGISTERS,
};

enum { // the DMA command
	DMA_START = 0x1,
	DMA_TO_CLIENT = 0x2,
	DMA_INTERRUPT = 0x4,
};

enum { IDENTITY = 0x010000ed };   // version 1.0
enum { STATUS_INTERRUPT = 0x80 }; // interrupt when the factorial is there
enum { INTERRUPT_FACTORIAL = 0x001, INTERRUPT_DMA = 0x100 };

static void add_capability(struct config *config)
{
	put_le(&config->bytes[0x06], 0x0010, 2); // status: there are capabilities
	put_le(&config->bytes[0x34], MSI_CAPABILITY, 1);
	put_le(&config->bytes[0x3d], 1, 1); // INTA
	put_le(&config->bytes[MSI_CAPABILITY], 0x05, 2);
	put_le(&config->bytes[MSI_CAPABILITY + 2], 0x0080, 2); // one vector, 64-bit address
	put_le(&config->writable[MSI_CAPABILITY + 2], 0x0001, 2);
	put_le(&config->writable[MSI_CAPABILITY + 4], UINT64_MAX << 2, 8);
	put_le(&config->writable[MSI_CAPABILITY + 12], UINT16_MAX, 2);
}

void card_init(struct card *card, struct server *server)
{
	memset(card, 0, offsetof(struct card, n_faults));
	card->server = server;
	config_init(&card->config, &(struct config_identity){ .vendor = 0x1234,
							      .device = 0x11e8,
							      .subsystem_vendor = 0x1af4,
							      .subsystem = 0x1100,
							      .class_code = 0x00ff00,
							      .revision = 0x10 });
	config_add_bar(&card->config, 0, 0, BAR0_SIZE);
	add_capability(&card->config);
}

static void reset(void *context)
{
	struct card *card = context;
	server_set_wire(card->server, false);
	card_init(card, card->server);
}

static uint64_t region_size(void *context, unsigned region)
{
	(void)context;
	return region == 0 ? BAR0_SIZE : region == SERVER_CONFIG ? CONFIG_SIZE : 0;
}

/* --- interrupts --- */

static unsigned n_irqs(void *context, enum server_irq kind)
{
	(void)context;
	return kind == SERVER_INTX || kind == SERVER_MSI ? 1 : 0;
}

static void interrupt(struct card *card, uint32_t reasons)
{
	card->interrupts |= reasons;
	if (card->interrupts == 0)
		return;
	if (server_is_heard(card->server, SERVER_MSI))
		server_raise(card->server, SERVER_MSI, 0);
	else
		server_set_wire(card->server, true);
}

static void acknowledge(struct card *card, uint32_t reasons)
{
	card->interrupts &= ~reasons;
	if (card->interrupts == 0)
		server_set_wire(card->server, false);
}

/* --- DMA --- */

/* Between `address` and the card's memory at `inside`, which is an address of the card's. */
static int transfer(struct card *card, uint64_t address, uint64_t inside, uint64_t count,
		    bool to_client)
{
	inside -= CARD_BUFFER;
	if ((card->config.bytes[CONFIG_COMMAND] & CONFIG_BUS_LEAD) == 0)
		return EPERM;
	if (inside > CARD_BUFFER_SIZE || count > CARD_BUFFER_SIZE - inside)
		return EFAULT;
	return to_client ? dma_write(&card->server->dma, address, &card->buffer[inside], count)
			 : dma_read(&card->server->dma, address, &card->buffer[inside], count);
}

/* As on a bus, nobody tells the driver of a fault. */
static void run_dma(struct card *card)
{
	uint64_t *registers = card->dma_registers, command = registers[CARD_COMMAND];
	bool to_client = (command & DMA_TO_CLIENT) != 0;
	if ((command & DMA_START) == 0)
		return;
	int error = transfer(card, registers[to_client ? CARD_DESTINATION : CARD_SOURCE],
			     registers[to_client ? CARD_SOURCE : CARD_DESTINATION],
			     registers[CARD_COUNT], to_client);
	if (error != 0)
		card->n_faults++;
	registers[CARD_COMMAND] &= ~(uint64_t)DMA_START;
	if ((command & DMA_INTERRUPT) != 0)
		interrupt(card, INTERRUPT_DMA);
}

/* --- registers --- */

static void compute_factorial(struct card *card, uint32_t n)
{
	card->factorial = 1;
	for (; n > 1 && card->factorial != 0; n--)
		card->factorial *= n;
	if ((card->status & STATUS_INTERRUPT) != 0)
		interrupt(card, INTERRUPT_FACTORIAL);
}

static uint32_t read_register(const struct card *card, uint64_t offset)
{
	switch (offset) {
	case REGISTER_IDENTITY:
		return IDENTITY;
	case REGISTER_LIVENESS:
		return card->liveness;
	case REGISTER_FACTORIAL:
		return card->factorial;
	case REGISTER_STATUS:
		return card->status;
	case REGISTER_INTERRUPTS:
		return card->interrupts;
	default:
		return UINT32_MAX;
	}
}

static void write_register(struct card *card, uint64_t offset, uint32_t value)
{
	switch (offset) {
	case REGISTER_LIVENESS:
		card->liveness = ~value;
		break;
	case REGISTER_FACTORIAL:
		compute_factorial(card, value);
		break;
	case REGISTER_STATUS:
		card->status = value & STATUS_INTERRUPT;
		break;
	case REGISTER_RAISE:
		interrupt(card, value);
		break;
	case REGISTER_ACKNOWLEDGE:
		acknowledge(card, value);
		break;
	default:
		break;
	}
}

static bool is_dma_register(uint64_t offset)
{
	return offset >= REGISTER_DMA && offset < REGISTER_DMA_END;
}

/* Registers are of four bytes, those for DMA of eight. */
static int check_access(unsigned region, uint64_t offset, size_t count)
{
	size_t size = is_dma_register(offset) ? 8 : 4;
	return region == 0 && count == size && offset % size == 0 && offset <= BAR0_SIZE - size
		       ? 0
		       : EINVAL;
}

static int read_region(void *context, unsigned region, uint64_t offset, void *data, size_t count)
{
	struct card *card = context;
	if (region == SERVER_CONFIG)
		return config_read(&card->config, offset, data, count);
	int error = check_access(region, offset, count);
	if (error == 0 && is_dma_register(offset))
		put_le(data, card->dma_registers[(offset - REGISTER_DMA) / 8], count);
	else if (error == 0)
		put_le(data, read_register(card, offset), count);
	return error;
}

static int write_region(void *context, unsigned region, uint64_t offset, const void *data,
			size_t count)
{
	struct card *card = context;
	if (region == SERVER_CONFIG)
		return config_write(&card->config, offset, data, count);
	int error = check_access(region, offset, count);
	if (error == 0 && is_dma_register(offset)) {
		unsigned number = (unsigned)(offset - REGISTER_DMA) / 8;
		card->dma_registers[number] = get_le(data, count);
		if (number == CARD_COMMAND)
			run_dma(card);
	} else if (error == 0) {
		write_register(card, offset, (uint32_t)get_le(data, count));
	}
	return error;
}

const struct server_ops edu_function = {
	.n_irqs = n_irqs,
	.region_size = region_size,
	.read = read_region,
	.write = write_region,
	.reset = reset,
};
