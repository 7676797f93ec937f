/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The edu card, 1234:11e8: QEMU's device for teaching how drivers are written. Registers in BAR0
 * that invert a number, compute a factorial, and raise interrupts, by INTx or one MSI; DMA between
 * memory and 4 KiB of its own. What a driver sees of it. What is asked of the card is done when the
 * register that asks has been written.
 */

#include <stddef.h>
#include <stdint.h>

#include <devices/vfio_user/config.h>
#include <devices/vfio_user/server.h>

enum card_dma_register {
	CARD_SOURCE,
	CARD_DESTINATION,
	CARD_COUNT,
	CARD_COMMAND,
	CARD_DMA_REGISTERS
};
enum { CARD_BUFFER = 0x40000, CARD_BUFFER_SIZE = 4096 }; // where the card's own memory is for DMA

struct card {
	struct server *server; // borrowed: raises its interrupts
	struct config config;
	uint32_t liveness, factorial, status, interrupts;
	uint64_t dma_registers[CARD_DMA_REGISTERS];
	uint8_t buffer[CARD_BUFFER_SIZE];
	_Atomic unsigned n_faults; // of its DMA, since it was made; any thread may read it
};

/* What it is after a reset: all but n_faults, which is 0 in memory that was never a card. */
void card_init(struct card *card, struct server *server);

extern const struct server_ops edu_function; // of a struct card
