/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A private dextd with the ivshmem driver and one virtual card, each a process of its own. What
 * does not depend on the driver is the end-to-end tests' rig.
 */

#include <sys/types.h>

#include <IOKit/IOKitLib.h>

#include "../e2e/rig.h"

enum { CARD_MEMORY_SIZE = 65536 };

struct card {
	struct rig rig;
	pid_t process;
	int memory_fd; // the file behind BAR2
};

/* `misbehave`: a name of dext-ivshmem --misbehave, or NULL. */
void card_start(struct card *card, const char *misbehave);
/* The same, with doorbells. */
void card_start_with(struct card *card, const char *misbehave, unsigned n_vectors);
/* Ends all, and checks what rig_stop checks. */
void card_stop(struct card *card);

/* Ask `dextctl status` until it says `part`; fails the test after 10 s. */
void card_wait_status(const char *part);

/* Start a program with its output in a pipe, which is returned. argv[0] is its path. */
pid_t card_spawn(const char *const *argv, int *output);
