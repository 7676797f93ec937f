/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The waiting policy.
 *
 * A wake-up is what a call costs: some microseconds on one CPU, tens of them when the other CPU is
 * asleep. One who looks at the word until it changes saves that, but only while its peer runs: on
 * the CPU of the one who looks, the peer cannot. So:
 *
 *	Look only while the peer last ran on another CPU. Each side says in the ring where it runs.
 *	That is a hint: it may be old, or a lie; a wrong one costs a bounded time.
 *	Look for a bounded time, the caller first: it knows that an answer will come. The dext
 *	looks for the next call while calls are dense, which it finds out by trying.
 *	Never yield the CPU instead of sleeping: beside a busy process that costs a time slice.
 *
 * Self-tuning. What is found in time doubles the budget up to the most there may be. Misses in a
 * row halve it; below LEAST_NS nobody looks any more, but for one wait in `retry`. An idle side
 * therefore sleeps, and stays asleep: the tuning runs only when there was something to wait for.
 *
 * A look costs no clock: the time is taken after the first WAITING_LOOKS of them, and what comes
 * before that is the hot path.
 */

#include <wire/waiting.h>

#include <stddef.h>

#include <base/clock.h>

enum { LEAST_NS = 1000 };

struct waiting_limits {
	uint32_t most_ns;  // one wait; 0: never look
	uint32_t first_ns; // to begin with, and when trying again
	uint32_t misses;   // so many in a row halve the budget
	uint32_t retry;    // when it did not pay: try again every so many waits
};

static const struct waiting_limits table[WAITING_POLICIES][WAITING_SIDES] = {
	/* A caller's time covers the wake-up of a dext that sleeps on an idle CPU. */
	[WAITING_BALANCED] = {
		[WAITING_CALLER] = { .most_ns = 50000, .first_ns = 50000, .misses = 4, .retry = 16 },
		[WAITING_SERVER] = { .most_ns = 20000, .first_ns = 2000, .misses = 1, .retry = 8 },
	},
	/* Calls or answers that come a thousand times a second are met awake. */
	[WAITING_BUSY_POLL] = {
		[WAITING_CALLER] = { .most_ns = 1000000, .first_ns = 1000000, .misses = 16, .retry = 4 },
		[WAITING_SERVER] = { .most_ns = 1000000, .first_ns = 200000, .misses = 4, .retry = 4 },
	},
	[WAITING_POWER_SAVER] = { { 0 } },
};

const struct waiting_limits *waiting_limits(uint32_t policy, enum waiting_side side)
{
	return &table[policy < WAITING_POLICIES ? policy : WAITING_BALANCED][side];
}

static uint32_t load(const _Atomic uint32_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

static void store(_Atomic uint32_t *word, uint32_t value)
{
	atomic_store_explicit(word, value, memory_order_relaxed);
}

static const struct waiting_limits *limits_of(const struct waiting *w)
{
	return atomic_load_explicit(&w->limits, memory_order_relaxed);
}

static void set_limits(struct waiting *w, const struct waiting_limits *limits)
{
	atomic_store_explicit(&w->limits, limits, memory_order_relaxed);
	store(&w->budget_ns, limits->first_ns);
	store(&w->misses, 0);
	store(&w->waits, 0);
}

void waiting_init(struct waiting *w, enum waiting_side side)
{
	set_limits(w, waiting_limits(WAITING_BALANCED, side));
}

void waiting_set_policy(struct waiting *w, enum waiting_side side, uint32_t policy)
{
	const struct waiting_limits *limits = waiting_limits(policy, side);
	if (limits != limits_of(w))
		set_limits(w, limits);
}

/* --- what pays --- */

static uint32_t budget(struct waiting *w)
{
	const struct waiting_limits *limits = limits_of(w);
	uint32_t budget_ns = load(&w->budget_ns);
	if (limits->most_ns == 0)
		return 0;
	if (budget_ns != 0)
		return budget_ns < limits->most_ns ? budget_ns : limits->most_ns;
	uint32_t waits = load(&w->waits) + 1;
	store(&w->waits, waits);
	return waits % limits->retry == 0 ? limits->first_ns : 0;
}

/* At its most, a hit writes nothing. */
void waiting_spin_hit(struct waiting_spin *spin)
{
	struct waiting *w = spin->waiting;
	const struct waiting_limits *limits = limits_of(w);
	uint32_t budget_ns = load(&w->budget_ns);
	if (load(&w->misses) != 0)
		store(&w->misses, 0);
	if (budget_ns >= limits->most_ns)
		return;
	budget_ns = budget_ns * 2 > limits->first_ns ? budget_ns * 2 : limits->first_ns;
	store(&w->budget_ns, budget_ns < limits->most_ns ? budget_ns : limits->most_ns);
}

static void missed(struct waiting *w)
{
	uint32_t misses = load(&w->misses) + 1;
	if (misses >= limits_of(w)->misses) {
		uint32_t half = load(&w->budget_ns) / 2;
		store(&w->budget_ns, half >= LEAST_NS ? half : 0);
		misses = 0;
	}
	store(&w->misses, misses);
}

/* --- one wait --- */

static bool runs_elsewhere(const struct waiting_spin *spin)
{
	uint32_t peer = load(spin->peer);
	return peer != 0 && peer != waiting_here();
}

bool waiting_spin_start(struct waiting_spin *spin)
{
	if (!runs_elsewhere(spin))
		return false;
	spin->budget_ns = budget(spin->waiting);
	return spin->budget_ns != 0;
}

bool waiting_spin_goes_on(struct waiting_spin *spin)
{
	uint64_t now_ns = clock_now_ns();
	if (spin->end_ns == 0)
		spin->end_ns = now_ns + spin->budget_ns;
	if (now_ns >= spin->end_ns) {
		missed(spin->waiting);
		return false;
	}
	if (spin->stop != NULL && spin->stop(spin->context, now_ns))
		return false;
	return runs_elsewhere(spin);
}
