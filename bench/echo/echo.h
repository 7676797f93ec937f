/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The methods of the Echo driver, for the driver and the benchmarks. */

enum echo_method {
	ECHO_CALL,       // any scalars: the same come back, each one more
	ECHO_EVENTS,     // asynchronous; in: how many, interval: completes so often, see event.h
	ECHO_LARGE_CALL, // a structure above 4096 bytes: a copy of it comes back
	ECHO_METHODS,
};

/* Types of memory. The small one begins with a struct flow for the events. */
enum { ECHO_SMALL, ECHO_LARGE, ECHO_MEMORIES };
#define ECHO_SMALL_SIZE (4UL << 20)
#define ECHO_LARGE_SIZE (256UL << 20)
