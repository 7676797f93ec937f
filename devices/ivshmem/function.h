/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The card as a PCI function of its server. It can be told to misbehave, for the tests of those who
 * must not trust a device.
 */

#include <stdbool.h>
#include <stdint.h>

#include <devices/ivshmem/card.h>
#include <devices/vfio_user/server.h>

enum misbehaviour {
	BEHAVE,
	BAR_LARGER_THAN_FILE, // BAR2 is announced twice as large as FILE
	TRUNCATE_AFTER_MAP,   // FILE is cut to nothing when the doorbell is rung
	HANG_UP,              // the connection is closed where an answer is due
	GARBAGE,              // bytes that mean nothing are the answer
	SILENT,               // there is no answer
};

struct function {
	struct card card;
	struct server *server; // borrowed: raises its interrupts
	enum misbehaviour misbehaviour;
	bool on_doorbell; // misbehave only once the doorbell was rung, not from the start
};

/* n_vectors: up to SERVER_VECTORS_MAX; 0: the card has no interrupts. */
void function_init(struct function *function, struct server *server, int memory_fd,
		   uint64_t memory_size, unsigned n_vectors);

extern const struct server_ops ivshmem_function; // of a struct function

/* Set what --misbehave names. False: there is no such name. */
bool function_misbehave(struct function *function, const char *name);
/* The next name of the list; NULL: no more. */
const char *function_misbehaviour_name(unsigned index);
