/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * How long to look at a word of shared memory before going to sleep over it: the policy of both
 * sides of a ring. The argument is at the head of waiting.c. From any thread.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <base/cpu.h>

/* A property of the connection, in the ring's header: the application's wish, which the dext
 * follows within the bounds of its own table. Any other number is WAITING_BALANCED. */
enum waiting_policy {
	WAITING_BALANCED = 0,
	WAITING_BUSY_POLL = 1,
	WAITING_POWER_SAVER = 2,
	WAITING_POLICIES = 3,
};

enum waiting_side { WAITING_CALLER, WAITING_SERVER, WAITING_SIDES };

struct waiting_limits;
const struct waiting_limits *waiting_limits(uint32_t policy, enum waiting_side side);

/* What one side has learned about how long it pays to look. Private to its process; its threads may
 * use it at once. */
struct waiting {
	_Atomic(const struct waiting_limits *) limits;
	_Atomic uint32_t budget_ns; // 0: it did not pay
	_Atomic uint32_t misses;    // in a row
	_Atomic uint32_t waits;     // since it was found not to pay
};

void waiting_init(struct waiting *w, enum waiting_side side);
/* No effect when it is the policy already. */
void waiting_set_policy(struct waiting *w, enum waiting_side side, uint32_t policy);

/* A CPU as a word of the ring: 0 is unknown. */
static inline uint32_t waiting_here(void)
{
	return (uint32_t)(cpu_number() + 1);
}

/* Is something else to be done? Asked now and then while one looks. */
typedef bool (*waiting_stop_fn)(void *context, uint64_t now_ns);

/* One wait. */
struct waiting_spin {
	struct waiting *waiting;
	const _Atomic uint32_t *peer; // where the peer last ran, as it says
	waiting_stop_fn stop;         // may be NULL
	void *context;
	uint32_t budget_ns;
	uint64_t end_ns; // 0: the time is not yet looked at
};

/* False: sleep at once. */
bool waiting_spin_start(struct waiting_spin *spin);
/* After every WAITING_LOOKS looks. False: enough. */
bool waiting_spin_goes_on(struct waiting_spin *spin);
void waiting_spin_hit(struct waiting_spin *spin);

enum { WAITING_LOOKS = 16 };

typedef bool (*waiting_look_fn)(const void *context);

/* Look until `look` sees what it waits for. False: that took too long, did not pay or had to stop,
 * and the caller sleeps. Inline, so that a look is a load. */
static inline __attribute__((always_inline)) bool
waiting_spin(struct waiting_spin *spin, waiting_look_fn look, const void *context)
{
	if (!waiting_spin_start(spin))
		return false;
	do {
		for (int i = 0; i < WAITING_LOOKS; i++) {
			if (look(context)) {
				waiting_spin_hit(spin);
				return true;
			}
			cpu_idle();
		}
	} while (waiting_spin_goes_on(spin));
	return look(context);
}
