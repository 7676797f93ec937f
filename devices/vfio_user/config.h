/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A function's configuration space: bytes, and which of their bits a write changes. So the BAR
 * registers answer the usual size probe: the bits below the size are constant. And the order of
 * bytes on the bus, which is little-endian.
 */

#include <stddef.h>
#include <stdint.h>

enum { CONFIG_SIZE = 256, CONFIG_COMMAND = 0x04 };
enum { CONFIG_BUS_LEAD = 0x4 }; // in the command

struct config {
	uint8_t bytes[CONFIG_SIZE];
	uint8_t writable[CONFIG_SIZE];
};

struct config_identity {
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint32_t class_code;
	uint8_t revision;
};

/* What every function has: its identity, and the registers that software may use as it likes. */
void config_init(struct config *config, const struct config_identity *identity);
/* A memory BAR at register 0 to 5; `type` is the low four bits. `size` is a power of two. */
void config_add_bar(struct config *config, unsigned bar, unsigned type, uint64_t size);
/* 0, or EINVAL: not inside. */
int config_read(const struct config *config, uint64_t offset, void *data, size_t count);
int config_write(struct config *config, uint64_t offset, const void *data, size_t count);

void put_le(uint8_t *at, uint64_t value, size_t size);
uint64_t get_le(const uint8_t *at, size_t size);
