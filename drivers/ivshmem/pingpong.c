/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Each side writes only its own half and reads the other's. A run begins with a greeting: each
 * makes up a session number, and answers the other's with `seen`. A number that comes back proves
 * that somebody is there now. Then a leads: it writes round 1, b answers it, a writes round 2 …
 *
 * Publishing is a store-release of the counter after the payload; taking is its load-acquire. There
 * is no futex: the memory may belong to a device, and then the kernel has nothing to sleep on. So a
 * waiter looks, and sleeps for ever longer, up to a millisecond.
 */

#include <stdatomic.h>
#include <stddef.h>
#include <sys/random.h>
#include <time.h>

#include "pingpong.h"

enum { PAYLOAD_WORDS = 12, LOOKS_BEFORE_SLEEP = 64, SLEEP_MAX_NS = 1000000 };

struct half {
	_Atomic uint64_t session; // made up by this side; not 0
	_Atomic uint64_t seen;    // the other's session
	_Atomic uint64_t counter; // the round that the payload belongs to
	uint64_t payload[PAYLOAD_WORDS];
	uint64_t checksum; // of sessions, counter and payload
};

struct shared {
	struct half halves[2]; // by role
};

struct run {
	const struct pingpong *options;
	struct half *mine, *theirs;
	uint64_t sessions; // both, mixed: part of every checksum
	uint64_t deadline_ns;
};

uint64_t pingpong_size(void)
{
	return sizeof(struct shared);
}

static uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Wait until *word is `value`. NULL, or what went wrong. */
static const char *wait_for(const struct run *run, _Atomic uint64_t *word, uint64_t value)
{
	struct timespec pause = { .tv_nsec = 1000 };
	for (unsigned looks = 1; atomic_load_explicit(word, memory_order_acquire) != value;
	     looks++) {
		if (looks % LOOKS_BEFORE_SLEEP != 0)
			continue;
		if (run->options->is_lost(run->mine))
			return "the memory has vanished";
		if (now_ns() > run->deadline_ns)
			return "the other side did not answer in time";
		nanosleep(&pause, NULL);
		if (pause.tv_nsec < SLEEP_MAX_NS / 2)
			pause.tv_nsec *= 2;
	}
	return NULL;
}

static const char *greet(struct run *run)
{
	uint64_t session = 0;
	while (session == 0)
		if (getrandom(&session, sizeof(session), 0) != sizeof(session))
			return "no random numbers";
	atomic_store(&run->mine->counter, 0);
	atomic_store(&run->mine->seen, 0);
	atomic_store(&run->mine->session, session);
	/* Their session is read after it was seen that they saw ours, so it is not an old one. */
	struct timespec pause = { .tv_nsec = 100000 };
	for (;;) {
		bool answered = atomic_load(&run->theirs->seen) == session;
		uint64_t other = atomic_load(&run->theirs->session);
		atomic_store(&run->mine->seen, other);
		if (answered) {
			run->sessions = session ^ other;
			return NULL;
		}
		if (run->options->is_lost(run->mine))
			return "the memory has vanished";
		if (now_ns() > run->deadline_ns)
			return "nobody is on the other side";
		nanosleep(&pause, NULL);
	}
}

static uint64_t checksum(const struct run *run, const struct half *half, uint64_t round)
{
	uint64_t sum = 0xcbf29ce484222325 ^ run->sessions; // FNV-1a, by words
	sum = (sum ^ round) * 0x100000001b3;
	for (size_t i = 0; i < PAYLOAD_WORDS; i++)
		sum = (sum ^ half->payload[i]) * 0x100000001b3;
	return sum;
}

static void publish(const struct run *run, uint64_t round)
{
	for (size_t i = 0; i < PAYLOAD_WORDS; i++)
		run->mine->payload[i] = (round + i) * 0x9e3779b97f4a7c15 + run->options->role;
	run->mine->checksum = checksum(run, run->mine, round);
	atomic_store_explicit(&run->mine->counter, round, memory_order_release);
}

static const char *take(const struct run *run, uint64_t round)
{
	const char *problem = wait_for(run, &run->theirs->counter, round);
	if (problem == NULL && run->theirs->checksum != checksum(run, run->theirs, round))
		problem = "a checksum is wrong";
	return problem;
}

const char *pingpong_run(const struct pingpong *pingpong, void *memory, double *ms)
{
	struct shared *shared = memory;
	struct run run = {
		.options = pingpong,
		.mine = &shared->halves[pingpong->role],
		.theirs = &shared->halves[1 - pingpong->role],
		.deadline_ns = now_ns() + pingpong->timeout_ms * 1000000,
	};
	const char *problem = greet(&run);
	uint64_t start = now_ns();
	for (uint64_t round = 1; problem == NULL && round <= pingpong->rounds; round++) {
		if (pingpong->role == PINGPONG_A)
			publish(&run, round);
		problem = take(&run, round);
		if (problem == NULL && pingpong->role == PINGPONG_B)
			publish(&run, round);
	}
	*ms = (double)(now_ns() - start) / 1e6;
	return problem;
}
