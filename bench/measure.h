/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * How every benchmark here measures: cells (a case under a pin) are run in short rounds, all of
 * them once per round, in an order that changes, so that a slow moment of the machine hits all
 * alike. A row is the median over the rounds of each round's p50, p99 and rate. A ratio is taken
 * within each round, between neighbours in time; its median is what a target is held against, its
 * lowest and highest say how far to trust it.
 *
 * One thread runs the cells; a cell may start threads of its own for the time of a round.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Where the client and its server run. */
enum bench_pin {
	BENCH_ONE,   // both on one CPU
	BENCH_TWO,   // one CPU each
	BENCH_FREE,  // as the scheduler likes
	BENCH_PACED, // as BENCH_TWO; the client acts now and then
	BENCH_PINS,
};

enum { BENCH_ROUNDS_MAX = 64, BENCH_CELLS_MAX = 96, BENCH_RATIOS_MAX = 96 };
enum { BENCH_FACTS_MAX = 16, BENCH_ONLY_MAX = 8 };
enum { BENCH_SAMPLES_MAX = 1 << 16 }; // of one round; then it ends early

/* What a cell fills. */
struct bench_round {
	uint64_t begin, end; // ticks
	uint64_t *samples;   // ticks of one operation each
	uint32_t n_samples;
	double per_sample; // operations that each sample is of: 1, unless the cell says more
	double cpu_ns;     // of client and server together, when the cell measures it; else 0
	pid_t server;      // as in the cell
};

enum bench_metric { BENCH_P50, BENCH_P99, BENCH_TIME_PER_OP, BENCH_CPU_PER_OP, BENCH_METRICS };

struct bench_cell {
	const char *name;
	enum bench_pin pin;
	bool busy;            // beside a busy process on each CPU
	unsigned long_rounds; // rounds last this many times longer; 0: once
	/* Required. Fill the round until its end. False: it failed, and said why on stderr. */
	bool (*run)(void *context, struct bench_round *round);
	void *context;
	pid_t server;   // pinned with all its threads before each round; 0: none
	bool is_thread; // the server is a thread of this process

	double limit_ns; // the target of its p50; 0: none

	bool measured;
	double values[BENCH_METRICS][BENCH_ROUNDS_MAX]; // ns; of each round
};

struct bench_ratio {
	const char *name; // NULL: from the cells' names
	const char *a, *b;
	enum bench_pin pin_a, pin_b;
	enum bench_metric metric;
	double limit;    // the target: at most this; 0: none
	double at_least; // the target: at least this; 0: none
};

/* What is no time: a size, a count. */
struct bench_fact {
	const char *name, *unit;
	double value;
	double limit; // the target: at most this; below 0: none
};

struct bench {
	const char *name;
	bool json, quick;
	const char *only[BENCH_ONLY_MAX]; // these cases alone; none: all
	unsigned n_only;
	const char *only_pin; // NULL: all
	unsigned n_rounds;
	double round_ms;
	unsigned n_cells, n_ratios, n_facts;
	struct bench_cell cells[BENCH_CELLS_MAX];
	struct bench_ratio ratios[BENCH_RATIOS_MAX];
	struct bench_fact facts[BENCH_FACTS_MAX];
};

/* Read the options that all benchmarks have; exits with 2 on anything else. */
void bench_init(struct bench *b, const char *name, int argc, char **argv);
/* For cells that are `busy`: fork their processes. */
void bench_make_busy(void);
/* Is any case wanted whose name begins like this? */
bool bench_wants(const struct bench *b, const char *name);
/* The cell is copied; what this machine has not (two CPUs) and what was not asked for is left out.
 */
void bench_add(struct bench *b, const struct bench_cell *cell);
/* The same under each of these pins. */
void bench_add_pins(struct bench *b, struct bench_cell cell, const enum bench_pin *pins,
		    unsigned n_pins);
/* Left out when one of its cells is. */
void bench_add_ratio(struct bench *b, struct bench_ratio ratio);
/* The target of these cells' p50 in time, where that is what was promised. */
void bench_limit(struct bench *b, const char *name, double limit_ns);
void bench_add_fact(struct bench *b, struct bench_fact fact);
/* All rounds of all cells. False: one failed. */
bool bench_run(struct bench *b);
/* The table, and the JSON line when it was asked for. Returns main's exit status. */
int bench_report(const struct bench *b);

/* --- in a cell --- */

static inline uint64_t bench_ticks(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#else
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
#endif
}

double bench_ticks_per_ns(void);

/* The round begins now: after what a cell prepares. */
void bench_round_begin(struct bench_round *round);

/* One operation that took `ticks`. False: the round is over. */
static inline bool bench_took(struct bench_round *round, uint64_t ticks)
{
	round->samples[round->n_samples++] = ticks;
	return round->n_samples < BENCH_SAMPLES_MAX;
}

/* One of operations back to back, the last of which ended at *last. */
static inline bool bench_next(struct bench_round *round, uint64_t *last)
{
	uint64_t now = bench_ticks();
	bool more = bench_took(round, now - *last);
	*last = now;
	return more && now < round->end;
}

/* CPU time that a process (0: this one) has used. */
double bench_cpu_ns(pid_t pid);

/* --- statistics --- */

const char *bench_pin_name(enum bench_pin pin);
double bench_median(const double *values, unsigned n);
/* Of a cell's rounds. */
double bench_value(const struct bench *b, const struct bench_cell *cell, enum bench_metric metric);
const struct bench_cell *bench_find(const struct bench *b, const char *name, enum bench_pin pin);

struct bench_spread {
	double median, lo, hi;
};
/* False: a cell of it was not measured. */
bool bench_ratio_spread(const struct bench *b, const struct bench_ratio *ratio,
			struct bench_spread *spread);

#ifdef __cplusplus
}
#endif
