// SPDX-License-Identifier: Apache-2.0
/*
 * Rounds. Before each cell its process and its server's threads are put where its pin says, and a
 * part of the round's time passes unrecorded: the caches, the scheduler and the idle governor then
 * know the cell, not its predecessor.
 *
 * Time is the processor's counter, held against the clock once: reading it costs a tenth of the
 * shortest operation measured here, a clock_gettime would cost a third.
 */

#include <bench/measure.h>

#include <getopt.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <base/clock.h>
#include <bench/server.h>

enum { WARM_UP_PART = 6 }; // one in so many of a round's time, unrecorded

static double ticks_per_ns;
static double round_ticks;
static uint64_t samples[BENCH_SAMPLES_MAX];

double bench_ticks_per_ns(void)
{
	return ticks_per_ns;
}

double bench_cpu_ns(pid_t pid)
{
	clockid_t clock;
	struct timespec t;
	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) < 0)
		return 0;
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void calibrate(void)
{
	uint64_t ns = clock_now_ns(), ticks = bench_ticks();
	while (clock_now_ns() - ns < 20000000U)
		;
	ticks_per_ns = (double)(bench_ticks() - ticks) / (double)(clock_now_ns() - ns);
}

/* --- where --- */

static cpu_set_t allowed;
static int cpus[2]; // the pinned pair; the second is -1 on a machine with one CPU

static void find_cpus(void)
{
	int n = 0;
	cpus[0] = cpus[1] = -1;
	sched_getaffinity(0, sizeof(allowed), &allowed);
	for (int i = 0; i < CPU_SETSIZE && n < 2; i++)
		if (CPU_ISSET(i, &allowed))
			cpus[n++] = i;
}

static cpu_set_t place_of(enum bench_pin pin, bool server)
{
	cpu_set_t set;
	if (pin == BENCH_FREE)
		return allowed;
	CPU_ZERO(&set);
	CPU_SET(cpus[server && pin != BENCH_ONE], &set);
	return set;
}

static void place(const struct bench_cell *cell)
{
	cpu_set_t client = place_of(cell->pin, false), server = place_of(cell->pin, true);
	sched_setaffinity(0, sizeof(client), &client);
	if (cell->is_thread)
		sched_setaffinity(cell->server, sizeof(server), &server);
	else if (cell->server > 0)
		server_place(cell->server, &server);
}

/* --- the busy processes --- */

static _Atomic uint32_t *busy; // shared with them, and their futex

static void keep_busy(void *context)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(*(const int *)context, &set);
	sched_setaffinity(0, sizeof(set), &set);
	for (;;)
		if (atomic_load_explicit(busy, memory_order_relaxed) == 0)
			syscall(SYS_futex, busy, FUTEX_WAIT, 0, NULL, NULL, 0);
}

void bench_make_busy(void)
{
	busy = server_shared_memory(sizeof(*busy));
	for (int i = 0; i < 2 && cpus[i] >= 0; i++)
		server_fork(keep_busy, &cpus[i]);
}

static void set_busy(bool on)
{
	if (busy == NULL)
		return;
	atomic_store(busy, on);
	if (on)
		syscall(SYS_futex, busy, FUTEX_WAKE, 2, NULL, NULL, 0);
}

/* --- what --- */

static void usage(const char *name, FILE *out)
{
	fprintf(out,
		"usage: %s [OPTION...]\n\n"
		"  --json        one line of JSON as the last line\n"
		"  --quick       short rounds, and few: whether it works, not how fast it is\n"
		"  --only CASE   this case alone; may be repeated\n"
		"  --pin PIN     this pin alone: one, two, free or paced\n"
		"  --rounds N    so many rounds, 1 to %d                      (15)\n",
		name, BENCH_ROUNDS_MAX);
}

static bool read_option(struct bench *b, int option)
{
	switch (option) {
	case 'j':
		b->json = true;
		return true;
	case 'q':
		b->quick = true;
		b->n_rounds = 2;
		b->round_ms = 4;
		return true;
	case 'o':
		if (b->n_only == BENCH_ONLY_MAX)
			return false;
		b->only[b->n_only++] = optarg;
		return true;
	case 'p':
		b->only_pin = optarg;
		return true;
	case 'r':
		b->n_rounds = (unsigned)strtoul(optarg, NULL, 10);
		return b->n_rounds > 0 && b->n_rounds <= BENCH_ROUNDS_MAX;
	default:
		return false;
	}
}

void bench_init(struct bench *b, const char *name, int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "quick", no_argument, NULL, 'q' },
		{ "only", required_argument, NULL, 'o' },
		{ "pin", required_argument, NULL, 'p' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	*b = (struct bench){ .name = name, .n_rounds = 15, .round_ms = 40 };
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (c == 'h') {
			usage(name, stdout);
			exit(EXIT_SUCCESS);
		}
		if (!read_option(b, c)) {
			usage(name, stderr);
			exit(2);
		}
	}
	find_cpus();
	calibrate();
}

bool bench_wants(const struct bench *b, const char *name)
{
	bool wanted = b->n_only == 0;
	for (unsigned i = 0; i < b->n_only; i++)
		wanted = wanted || strncmp(b->only[i], name, strlen(name)) == 0;
	return wanted;
}

static bool is_wanted(const struct bench *b, const struct bench_cell *cell)
{
	bool wanted = b->n_only == 0;
	for (unsigned i = 0; i < b->n_only; i++)
		wanted = wanted || strcmp(b->only[i], cell->name) == 0;
	return wanted &&
	       (b->only_pin == NULL || strcmp(b->only_pin, bench_pin_name(cell->pin)) == 0);
}

void bench_add(struct bench *b, const struct bench_cell *cell)
{
	bool needs_two = cell->pin == BENCH_TWO || cell->pin == BENCH_PACED;
	if (!is_wanted(b, cell) || (needs_two && cpus[1] < 0) || b->n_cells == BENCH_CELLS_MAX)
		return;
	b->cells[b->n_cells++] = *cell;
}

void bench_add_pins(struct bench *b, struct bench_cell cell, const enum bench_pin *pins,
		    unsigned n_pins)
{
	for (unsigned i = 0; i < n_pins; i++) {
		cell.pin = pins[i];
		bench_add(b, &cell);
	}
}

void bench_add_ratio(struct bench *b, struct bench_ratio ratio)
{
	if (b->n_ratios < BENCH_RATIOS_MAX)
		b->ratios[b->n_ratios++] = ratio;
}

void bench_add_fact(struct bench *b, struct bench_fact fact)
{
	if (b->n_facts < BENCH_FACTS_MAX)
		b->facts[b->n_facts++] = fact;
}

void bench_limit(struct bench *b, const char *name, double limit_ns)
{
	for (unsigned i = 0; i < b->n_cells; i++)
		if (strcmp(b->cells[i].name, name) == 0)
			b->cells[i].limit_ns = limit_ns;
}

/* --- rounds --- */

void bench_round_begin(struct bench_round *round)
{
	round->begin = bench_ticks();
	round->end = round->begin + (uint64_t)round_ticks;
	round->n_samples = 0;
	round->per_sample = 1;
	round->cpu_ns = 0;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

/* The median of sorted samples. A clock that ticks every 10 ns gives many equal ones for what takes
 * 200: the median's place among its equals says where within the tick it lies. */
static double median_of(const uint64_t *sorted, uint32_t n)
{
	uint32_t first = n / 2, end = n / 2 + 1;
	double value = (double)sorted[n / 2];
	while (first > 0 && sorted[first - 1] == sorted[n / 2])
		first--;
	while (end < n && sorted[end] == sorted[n / 2])
		end++;
	if (first == 0 || end == n)
		return value;
	double below = (value + (double)sorted[first - 1]) / 2;
	double above = (value + (double)sorted[end]) / 2;
	return below + (above - below) * (n / 2.0 - first) / (end - first);
}

static void record(struct bench_cell *cell, const struct bench_round *round, unsigned index)
{
	double ns = (double)(bench_ticks() - round->begin) / ticks_per_ns;
	uint32_t n = round->n_samples;
	double ops = n * round->per_sample, ticks = ticks_per_ns * round->per_sample;
	qsort(round->samples, n, sizeof(*round->samples), by_value);
	cell->values[BENCH_P50][index] = median_of(round->samples, n) / ticks;
	cell->values[BENCH_P99][index] = (double)round->samples[(uint64_t)n * 99 / 100] / ticks;
	cell->values[BENCH_TIME_PER_OP][index] = ns / ops;
	cell->values[BENCH_CPU_PER_OP][index] = round->cpu_ns / ops;
	cell->measured = true;
}

static bool run_once(const struct bench *b, struct bench_cell *cell, struct bench_round *round,
		     double part)
{
	unsigned times = cell->long_rounds > 0 && !b->quick ? cell->long_rounds : 1;
	round_ticks = b->round_ms * times * part * 1e6 * ticks_per_ns;
	bench_round_begin(round);
	if (cell->run(cell->context, round) && round->n_samples > 0)
		return true;
	fprintf(stderr, "%s: the case %s failed\n", b->name, cell->name);
	return false;
}

static bool run_cell(const struct bench *b, struct bench_cell *cell, unsigned index)
{
	struct bench_round round = { .samples = samples, .server = cell->server };
	place(cell);
	set_busy(cell->busy);
	bool ok = run_once(b, cell, &round, 1.0 / WARM_UP_PART) && run_once(b, cell, &round, 1);
	if (ok)
		record(cell, &round, index);
	set_busy(false);
	sched_setaffinity(0, sizeof(allowed), &allowed);
	return ok;
}

bool bench_run(struct bench *b)
{
	for (unsigned r = 0; r < b->n_rounds; r++) {
		for (unsigned k = 0; k < b->n_cells; k++) {
			unsigned i = (r % 2 == 0 ? k : b->n_cells - 1 - k) + r * 7;
			if (!run_cell(b, &b->cells[i % b->n_cells], r))
				return false;
		}
	}
	return true;
}
