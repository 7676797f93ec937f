/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A USB device that exists only here: one vendor-specific interface with a bulk source (0x81) and a
 * bulk sink (0x01), high speed, 512-byte packets.
 *
 * The source gives, and the sink expects, what the kernel's SourceSink gadget does with pattern=1:
 * byte i of a transfer is (i % 512) % 63. With a sequence, the first 8 bytes of every IN transfer
 * are its number, little-endian, from 0; the interface's protocol is 1 then, else 0, so that a
 * driver's personality can tell the two apart.
 *
 * This is the device alone: requests in, answers out. How they travel is peer.c's matter.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	BULK_IN = 0x81,
	BULK_OUT = 0x01,
	BULK_PACKET = 512,
	BULK_STALL = -1, // what an answer's length is when the endpoint stalls
};

struct bulk_identity {
	uint16_t vendor, product;
	bool sequence;
};

struct bulk_device {
	struct bulk_identity identity;
	uint8_t configuration; // 1, or 0: not configured
	bool halted_in, halted_out;
	uint64_t sequence; // number of the next IN transfer
	uint64_t bytes_out, errors_out;
};

struct bulk_setup {
	uint8_t request_type, request;
	uint16_t value, index, length;
};

void bulk_device_init(struct bulk_device *device, const struct bulk_identity *identity);

/* A control request to endpoint 0. The answer's length, at most setup->length, or BULK_STALL.
 * `data` has room for 512 bytes. */
int bulk_device_control(struct bulk_device *device, const struct bulk_setup *setup, uint8_t *data);

bool bulk_device_configure(struct bulk_device *device, uint8_t value); // false: no such one

/* Fill an IN transfer. False: stalled. */
bool bulk_device_read(struct bulk_device *device, uint8_t *data, size_t length);
/* Take an OUT transfer and count the bytes that differ from the pattern. False: stalled. */
bool bulk_device_write(struct bulk_device *device, const uint8_t *data, size_t length);
