/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The one place where time and chance enter. Both are reached through atomics, so that a test may
 * replace them while other threads run.
 *
 * chance_u64 is SplitMix64: the state only ever steps by a constant, one atomic add per number, and
 * the output is a mix of the state. It is for jitter and seeds of tests, never for secrets. The
 * first seed comes from the kernel's AT_RANDOM bytes, so that a confined process needs no call.
 */

#include <base/clock.h>

#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/auxv.h>
#include <time.h>

#define NS_PER_S    1000000000ULL
#define NS_PER_MS   1000000ULL
#define TICK_NS     10000000ULL // of the slowest kernel: what it says is at most so old
#define CHANCE_STEP 0x9e3779b97f4a7c15ULL

typedef uint64_t (*clock_fn)(void);

static _Atomic(clock_fn) source;
static _Atomic uint64_t chance_state;
static _Atomic uint32_t chance_seeded;

static uint64_t read_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static uint64_t now_of(clockid_t clock)
{
	clock_fn now = atomic_load_explicit(&source, memory_order_acquire);

	return now != NULL ? now() : read_ns(clock);
}

uint64_t clock_now_ns(void)
{
	return now_of(CLOCK_MONOTONIC);
}

uint64_t clock_boot_now_ns(void)
{
	return now_of(CLOCK_BOOTTIME);
}

uint64_t clock_real_now_ns(void)
{
	return now_of(CLOCK_REALTIME);
}

uint64_t clock_deadline_ns(uint32_t timeout_ms)
{
	return clock_now_ns() + timeout_ms * NS_PER_MS;
}

uint64_t clock_coarse_deadline_ns(uint32_t timeout_ms)
{
	clock_fn now = atomic_load_explicit(&source, memory_order_acquire);

	if (now != NULL)
		return now() + timeout_ms * NS_PER_MS;
	return read_ns(CLOCK_MONOTONIC_COARSE) + TICK_NS + timeout_ms * NS_PER_MS;
}

void clock_set_source(uint64_t (*now)(void))
{
	atomic_store_explicit(&source, now, memory_order_release);
}

void chance_seed(uint64_t seed)
{
	atomic_store_explicit(&chance_state, seed, memory_order_relaxed);
	atomic_store_explicit(&chance_seeded, 1, memory_order_release);
}

static void seed_once(void)
{
	uint32_t fresh = 0;
	uint64_t seed = 0;
	const void *random = (const void *)getauxval(AT_RANDOM);

	if (random != NULL)
		memcpy(&seed, random, sizeof(seed));
	/* Two first callers add to the state, which harms nothing. */
	if (atomic_compare_exchange_strong(&chance_seeded, &fresh, 1))
		atomic_fetch_add_explicit(&chance_state, seed, memory_order_relaxed);
}

uint64_t chance_u64(void)
{
	uint64_t x;

	if (atomic_load_explicit(&chance_seeded, memory_order_acquire) == 0)
		seed_once();
	x = atomic_fetch_add_explicit(&chance_state, CHANCE_STEP, memory_order_relaxed) +
	    CHANCE_STEP;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}
