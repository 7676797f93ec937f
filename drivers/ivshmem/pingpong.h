/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Two programs take turns in memory that both have mapped: a counter, a payload and a checksum go
 * from a to b and back. Neither believes what lies there from an earlier run, and neither waits
 * longer than it was told.
 */

#include <stdbool.h>
#include <stdint.h>

enum pingpong_role { PINGPONG_A, PINGPONG_B };

struct pingpong {
	enum pingpong_role role;
	uint64_t rounds;
	uint64_t timeout_ms; // for all of it
	/* Asked while waiting: is the memory still there? */
	bool (*is_lost)(const void *address);
};

uint64_t pingpong_size(void); // bytes that are used, from the start of the memory

/* All rounds. NULL: done, *ms is how long the rounds took. Else what went wrong, a constant. */
const char *pingpong_run(const struct pingpong *pingpong, void *memory, double *ms);
