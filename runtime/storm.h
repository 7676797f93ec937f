/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The frame of the storms: chance by seeds, each seed in a process of its own with a time limit.
 * STORM_SEEDS=N tries the first N, STORM_SEED=N replays one.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STORM_SEEDS = 100, STORM_LIMIT_S = 60 };

#define EXPECT(condition)                                                               \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE_NAME__, __LINE__, \
				#condition);                                            \
			abort();                                                        \
		}                                                                       \
	} while (0)

static inline uint64_t next_chance(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* 0 … n - 1 */
static inline unsigned pick(uint64_t *state, unsigned n)
{
	return (unsigned)(next_chance(state) >> 16) % n;
}

/* Where the chance of a thread of a seed begins. */
static inline uint64_t storm_chance(uint64_t seed, uint64_t thread)
{
	return (seed + 1) * 0x9e3779b97f4a7c15ULL + thread * 0x2545f491ULL;
}

static inline bool storm_survives(void (*run_seed)(uint64_t seed), uint64_t seed)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		alarm(STORM_LIMIT_S);
		run_seed(seed);
		exit(0);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
	       WEXITSTATUS(status) == 0;
}

static inline uint64_t storm_number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text != NULL && *text != '\0' ? strtoull(text, NULL, 10) : otherwise;
}

static inline int storm_main(void (*run_seed)(uint64_t seed))
{
	uint64_t first = storm_number("STORM_SEED", 0), failed = 0;
	uint64_t n = getenv("STORM_SEED") != NULL ? 1 : storm_number("STORM_SEEDS", STORM_SEEDS);

	for (uint64_t seed = first; seed < first + n; seed++) {
		if (storm_survives(run_seed, seed))
			continue;
		failed++;
		fprintf(stderr, "seed %llu failed: STORM_SEED=%llu replays it\n",
			(unsigned long long)seed, (unsigned long long)seed);
	}
	printf("%llu seeds, %llu failed\n", (unsigned long long)n, (unsigned long long)failed);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
