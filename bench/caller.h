/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The ways to call that are compared: 16 numbers go to another process, and each comes back one
 * more. Every server copies what it received once, and runs under the filter of a dext.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { CALLER_SCALARS = 16, CALLER_FLIGHT = 4, CALLER_LARGE_MAX = 1 << 20 };

struct caller {
	const char *name;
	/* Required. Start the server, and connect. Exits on failure. */
	void (*open)(struct caller *caller);
	/* Required, but for one that has call_large alone. One call and its reply. */
	bool (*call)(struct caller *caller, const uint64_t *in, uint64_t *out);
	/* Optional. CALLER_FLIGHT calls under way at once; `in` and `out` are of all of them. */
	bool (*call_many)(struct caller *caller, const uint64_t *in, uint64_t *out);
	/* Optional. A structure of so many bytes goes there, and the server's copy of it comes
	 * back. */
	bool (*call_large)(struct caller *caller, const uint64_t *in, uint64_t *out, size_t bytes);
	pid_t server; // 0: none
	void *state;
};

extern struct caller caller_ring, caller_futex, caller_ioctl, caller_seqpacket, caller_stream,
	caller_sdbus, caller_grpc;

static inline void caller_fill(uint64_t *in, uint64_t number)
{
	for (int i = 0; i < CALLER_SCALARS; i++)
		in[i] = number + (uint64_t)i;
}

static inline void caller_serve(uint64_t *scalars)
{
	for (int i = 0; i < CALLER_SCALARS; i++)
		scalars[i]++;
}

/* Is this the reply to what caller_fill wrote? */
static inline bool caller_is_reply(const uint64_t *out, uint64_t number)
{
	uint64_t wrong = 0;
	for (int i = 0; i < CALLER_SCALARS; i++)
		wrong |= out[i] ^ (number + (uint64_t)i + 1);
	return wrong == 0;
}

#ifdef __cplusplus
}
#endif
