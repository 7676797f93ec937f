/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What an application and the Scope driver say to each other. */

#include <stdint.h>

enum {
	SCOPE_CONFIGURE, // structure in: struct scope_signal
	SCOPE_CAPTURE,   // in: blocks to sample; out: of how many of them there is news
	SCOPE_METHODS,
};

enum {                 // types of memory
	SCOPE_SAMPLES, // read-only: a ring of blocks of int32_t
	SCOPE_NEWS,    // a data queue: struct scope_news
};

enum {
	SCOPE_BLOCK = 1024,        // samples of a block
	SCOPE_BLOCKS = 16,         // blocks of the ring
	SCOPE_CAPTURE_MAX = 65536, // blocks of one call
};

/* A block is full: the `number`th since the scope was configured, at `place` of the ring. */
struct scope_news {
	uint64_t number;
	uint32_t place;
	uint32_t samples;
};

/* A triangle that begins at -amplitude. */
struct scope_signal {
	uint32_t period;   // samples; even, 2 to 65536
	int32_t amplitude; // 1 to 2^20
};
