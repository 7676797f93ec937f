/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The edu card, 1234:11e8: QEMU's device for teaching how drivers are written. Registers in BAR0
 * that invert a number, compute a factorial, and raise interrupts, by INTx or one MSI. What a
 * driver sees of it; the computation is done when its register has been written.
 */

#include <stddef.h>
#include <stdint.h>

#include <devices/vfio_user/config.h>
#include <devices/vfio_user/server.h>

struct card {
	struct server *server; // borrowed: raises its interrupts
	struct config config;
	uint32_t liveness, factorial, status, interrupts;
};

void card_init(struct card *card, struct server *server);

extern const struct server_ops edu_function; // of a struct card
