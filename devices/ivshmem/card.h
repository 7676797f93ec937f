/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The ivshmem card, revision 1: PCI 1af4:1110, four registers in BAR0 and a file as BAR2. With
 * vectors it also has MSI-X, whose table is BAR1, and is a peer, number 0, that rings its own
 * doorbell. What a driver sees of it, and nothing of how it is reached.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <devices/vfio_user/config.h>

enum { CARD_BAR0 = 0, CARD_BAR1 = 1, CARD_BAR2 = 2, CARD_CONFIG = 7 };
enum { CARD_REGISTERS_SIZE = 256, CARD_TABLE_SIZE = 4096 };

struct card {
	struct config config;
	uint32_t interrupt_mask;
	uint32_t interrupt_status;
	int memory_fd;        // borrowed
	uint64_t memory_size; // a power of two, at least a page
	unsigned n_vectors;   // 0: no interrupts
	uint64_t n_doorbells; // how often the doorbell was rung
	/* A vector of this card was rung. May be NULL. */
	void (*on_vector)(void *context, unsigned vector);
	void *context;
};

void card_init(struct card *card, int memory_fd, uint64_t memory_size, unsigned n_vectors);
void card_reset(struct card *card); // the memory stays

uint64_t card_region_size(const struct card *card, unsigned region); // 0: absent

/* `count` bytes at `offset`. 0, or a positive errno: outside the region, or not as the card's
 * registers are accessed (BAR0: four bytes, aligned). */
int card_read(struct card *card, unsigned region, uint64_t offset, void *data, size_t count);
int card_write(struct card *card, unsigned region, uint64_t offset, const void *data, size_t count);
