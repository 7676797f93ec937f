// SPDX-License-Identifier: Apache-2.0
/*
 * What a call costs: 16 numbers to a driver and 16 back, from a real application through dextd's
 * connection to a real, confined dext; beside everything else that could carry them.
 */

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <base/clock.h>
#include <bench/caller.h>
#include <bench/echo/echo.h>
#include <bench/measure.h>
#include <bench/rig.h>
#include <bench/server.h>
#include <opendext/client.h>

/* --- OpenDext --- */

static io_connect_t opendext_connect, unfiltered_connect;

static bool call_driver(struct caller *caller, const uint64_t *in, uint64_t *out)
{
	io_connect_t connect = *(const io_connect_t *)caller->state;
	uint32_t n = CALLER_SCALARS;
	return IOConnectCallScalarMethod(connect, ECHO_CALL, in, CALLER_SCALARS, out, &n) ==
		       kIOReturnSuccess &&
	       n == CALLER_SCALARS;
}

/* The same from one thread, submitted together. */
static bool submit_many(struct caller *caller, const uint64_t *in, uint64_t *out)
{
	io_connect_t connect = *(const io_connect_t *)caller->state;
	dext_call_t calls[CALLER_FLIGHT];
	bool ok = true;
	for (int i = 0; i < CALLER_FLIGHT && ok; i++)
		ok = dext_call_submit(connect, ECHO_CALL, in + i * CALLER_SCALARS, CALLER_SCALARS,
				      NULL, 0, CALLER_SCALARS, 0,
				      i + 1 < CALLER_FLIGHT ? DEXT_CALL_MORE : 0,
				      &calls[i]) == kIOReturnSuccess;
	for (int i = 0; i < CALLER_FLIGHT && ok; i++) {
		uint32_t n = CALLER_SCALARS;
		ok = dext_call_wait(calls[i], out + i * CALLER_SCALARS, &n, NULL, NULL) ==
			     kIOReturnSuccess &&
		     n == CALLER_SCALARS;
	}
	return ok;
}

static bool call_large(struct caller *caller, const uint64_t *in, uint64_t *out, size_t bytes)
{
	size_t size = bytes;
	return IOConnectCallStructMethod(*(const io_connect_t *)caller->state, ECHO_LARGE_CALL, in,
					 bytes, out, &size) == kIOReturnSuccess &&
	       size == bytes;
}

static void open_opendext(struct caller *caller)
{
	opendext_connect = rig_open("echo", &caller->server);
	caller->state = &opendext_connect;
}

static void open_unfiltered(struct caller *caller)
{
	unfiltered_connect = rig_open("unfiltered", &caller->server);
	caller->state = &unfiltered_connect;
}

static struct caller caller_opendext = {
	.name = "opendext",
	.open = open_opendext,
	.call = call_driver,
	.call_many = submit_many,
	.call_large = call_large,
};
static struct caller caller_unfiltered = {
	.name = "opendext-nofilter",
	.open = open_unfiltered,
	.call = call_driver,
};

/* --- cells --- */

static bool call_once(struct caller *caller)
{
	static _Thread_local uint64_t number;
	uint64_t in[CALLER_SCALARS], out[CALLER_SCALARS];
	caller_fill(in, ++number);
	return caller->call(caller, in, out) && caller_is_reply(out, number);
}

static bool back_to_back(void *context, struct bench_round *round)
{
	uint64_t last = round->begin;
	do
		if (!call_once(context))
			return false;
	while (bench_next(round, &last));
	return true;
}

/* Not everybody may raise a priority. */
static bool may_poll(const struct caller *caller)
{
	io_connect_t connect = *(const io_connect_t *)caller->state;
	bool may = dext_connect_set_latency(connect, DEXT_LATENCY_BUSY_POLL) == kIOReturnSuccess &&
		   dext_last_reason()[0] == '\0';
	if (!may)
		fprintf(stderr, "call: opendext-polling-busy is left out: %s\n",
			dext_last_reason());
	dext_connect_set_latency(connect, DEXT_LATENCY_BALANCED);
	return may;
}

/* Through a connection that polls, and whose driver's priority is raised for so long. */
static bool polling(void *context, struct bench_round *round)
{
	struct caller *caller = context;
	io_connect_t connect = *(const io_connect_t *)caller->state;
	bool ok = dext_connect_set_latency(connect, DEXT_LATENCY_BUSY_POLL) == kIOReturnSuccess;
	bench_round_begin(round);
	ok = ok && back_to_back(context, round);
	return dext_connect_set_latency(connect, DEXT_LATENCY_BALANCED) == kIOReturnSuccess && ok;
}

static void sleep_until(uint64_t ns)
{
	struct timespec until = { (time_t)(ns / 1000000000U), (long)(ns % 1000000000U) };
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}

static bool now_and_then(void *context, struct bench_round *round)
{
	enum { INTERVAL_NS = 250000 };
	uint64_t begin = 0;
	for (uint64_t next = clock_now_ns(); begin < round->end; next += INTERVAL_NS) {
		sleep_until(next);
		begin = bench_ticks();
		if (!call_once(context))
			return false;
		bench_took(round, bench_ticks() - begin);
	}
	return true;
}

/* One thread keeps CALLER_FLIGHT calls under way. A sample is a call's share of them. */
static bool many_at_once(void *context, struct bench_round *round)
{
	struct caller *caller = context;
	uint64_t in[CALLER_FLIGHT * CALLER_SCALARS], out[CALLER_FLIGHT * CALLER_SCALARS];
	uint64_t number = 0;
	round->per_sample = CALLER_FLIGHT;
	for (uint64_t begin = round->begin, now; begin < round->end; begin = now) {
		for (int i = 0; i < CALLER_FLIGHT; i++)
			caller_fill(in + i * CALLER_SCALARS, ++number);
		if (!caller->call_many(caller, in, out))
			return false;
		for (int i = 0; i < CALLER_FLIGHT; i++)
			if (!caller_is_reply(out + i * CALLER_SCALARS,
					     number - CALLER_FLIGHT + 1 + (uint64_t)i))
				return false;
		now = bench_ticks();
		if (!bench_took(round, now - begin))
			break;
	}
	return true;
}

/* Structures: the caller has one, and wants the answer in memory of its own. */
struct large {
	struct caller *caller;
	size_t bytes;
	uint64_t *in, *out;
};

static bool one_structure(void *context, struct bench_round *round)
{
	const struct large *large = context;
	uint64_t *in = large->in, *out = large->out;
	size_t last_word = large->bytes / 8 - 1;
	uint64_t last = round->begin;
	do {
		in[0]++;
		in[last_word]++;
		if (!large->caller->call_large(large->caller, in, out, large->bytes) ||
		    out[0] != in[0] || out[last_word] != in[last_word])
			return false;
	} while (bench_next(round, &last));
	return true;
}

/* The same as CALLER_FLIGHT threads that share one connection: the only form that IOKit offers. */
struct team {
	struct caller *caller;
	struct bench_round *round; // `end` is read by all once the barrier is passed
	pthread_barrier_t barrier;
};

struct member {
	struct team *team;
	pthread_t thread;
	uint32_t n_samples;
	uint64_t samples[BENCH_SAMPLES_MAX / CALLER_FLIGHT];
	bool failed;
};

static void *call_as_member(void *context)
{
	struct member *member = context;
	struct team *team = member->team;
	pthread_barrier_wait(&team->barrier); // all are there
	pthread_barrier_wait(&team->barrier); // the round has begun
	uint64_t last = bench_ticks(), now = last;
	member->n_samples = 0;
	while (now < team->round->end && member->n_samples < BENCH_SAMPLES_MAX / CALLER_FLIGHT) {
		if (!call_once(team->caller)) {
			member->failed = true;
			break;
		}
		now = bench_ticks();
		member->samples[member->n_samples++] = (now - last) / CALLER_FLIGHT;
		last = now;
	}
	return NULL;
}

static bool many_threads(void *context, struct bench_round *round)
{
	static struct member members[CALLER_FLIGHT];
	struct team team = { .caller = context, .round = round };
	bool ok = true;
	pthread_barrier_init(&team.barrier, NULL, CALLER_FLIGHT + 1);
	for (int i = 0; i < CALLER_FLIGHT; i++) {
		members[i].team = &team;
		members[i].failed = false;
		if (pthread_create(&members[i].thread, NULL, call_as_member, &members[i]) != 0)
			server_die("a thread");
	}
	pthread_barrier_wait(&team.barrier);
	bench_round_begin(round);
	pthread_barrier_wait(&team.barrier);
	for (int i = 0; i < CALLER_FLIGHT; i++) {
		pthread_join(members[i].thread, NULL);
		memcpy(round->samples + round->n_samples, members[i].samples,
		       members[i].n_samples * sizeof(members[i].samples[0]));
		round->n_samples += members[i].n_samples;
		ok = ok && !members[i].failed;
	}
	pthread_barrier_destroy(&team.barrier);
	return ok;
}

/* --- what is compared --- */

static const enum bench_pin steady_pins[] = { BENCH_ONE, BENCH_TWO, BENCH_FREE };

static void add_steady(struct bench *b, struct caller *caller)
{
	struct bench_cell cell = {
		.name = caller->name,
		.run = back_to_back,
		.context = caller,
		.server = caller->server,
	};
	bench_add_pins(b, cell, steady_pins, 3);
}

static void add_special(struct bench *b, struct caller *caller, const char *name, bool busy,
			bool (*run)(void *context, struct bench_round *round))
{
	struct bench_cell cell = {
		.name = name,
		.busy = busy,
		.run = run,
		.context = caller,
		.server = caller->server,
		.long_rounds = busy ? 4 : 1,
	};
	bench_add_pins(b, cell, steady_pins, 2);
}

/* `memory` is of CALLER_LARGE_MAX bytes, twice. */
static void add_large(struct bench *b, struct caller *caller, uint64_t *memory,
		      const char *const *names)
{
	static const size_t sizes[] = { 64 << 10, CALLER_LARGE_MAX };
	for (int i = 0; i < 2; i++) {
		struct large *large = calloc(1, sizeof(*large)); // of the program, to its end
		if (large == NULL)
			server_die("memory");
		*large = (struct large){ caller, sizes[i], memory, memory + CALLER_LARGE_MAX / 8 };
		struct bench_cell cell = {
			.name = names[i],
			.run = one_structure,
			.context = large,
			.server = caller->server,
		};
		bench_add_pins(b, cell, steady_pins, 2);
	}
}

/* Structures that lie in memory which the driver has mapped too. */
static uint64_t *make_shared(void)
{
	void *memory = NULL;
	if (dext_buffer_create(opendext_connect, 2 * CALLER_LARGE_MAX, &memory) != kIOReturnSuccess)
		server_die("dext_buffer_create");
	return memory;
}

static void add_paced(struct bench *b, struct caller *caller)
{
	bench_add(b, &(struct bench_cell){ .name = caller->name,
					   .pin = BENCH_PACED,
					   .run = now_and_then,
					   .context = caller,
					   .server = caller->server,
					   .long_rounds = 2 });
}

static void add_ratio(struct bench *b, const char *a, const char *over, enum bench_pin pin,
		      double limit, double at_least)
{
	bench_add_ratio(b, (struct bench_ratio){ .a = a,
						 .b = over,
						 .pin_a = pin,
						 .pin_b = pin,
						 .limit = limit,
						 .at_least = at_least });
}

static void add_ratios(struct bench *b)
{
	static const char *const rivals[] = {
		"ring", "futex", "ioctl", "seqpacket", "sdbus", "grpc", "opendext-nofilter"
	};
	static const struct {
		const char *rival;
		enum bench_pin pin;
		double limit;
	} targets[] = {
		{ "ring", BENCH_ONE, 1.10 },
		{ "ring", BENCH_TWO, 1.6 },
		{ "ioctl", BENCH_TWO, 1.0 },
	};
	for (size_t r = 0; r < sizeof(rivals) / sizeof(rivals[0]); r++) {
		for (int p = 0; p < 3; p++) {
			double limit = 0;
			for (size_t t = 0; t < sizeof(targets) / sizeof(targets[0]); t++)
				if (strcmp(targets[t].rival, rivals[r]) == 0 &&
				    targets[t].pin == steady_pins[p])
					limit = targets[t].limit;
			add_ratio(b, "opendext", rivals[r], steady_pins[p], limit, 0);
		}
	}
	add_ratio(b, "opendext", "futex", BENCH_PACED, 1.1, 0);
	add_ratio(b, "opendext", "ring", BENCH_PACED, 0, 0);
	add_ratio(b, "sdbus", "opendext", BENCH_ONE, 0, 3.6);
	add_ratio(b, "sdbus", "opendext", BENCH_TWO, 0, 200);
	add_ratio(b, "sdbus", "opendext", BENCH_FREE, 0, 0);
	for (int p = 0; p < 2; p++) {
		enum bench_pin pin = steady_pins[p];
		bench_add_ratio(b, (struct bench_ratio){ .a = "sdbus-4",
							 .b = "opendext-4",
							 .pin_a = pin,
							 .pin_b = pin,
							 .metric = BENCH_TIME_PER_OP,
							 .at_least = 10 });
		bench_add_ratio(b, (struct bench_ratio){ .a = "opendext-4",
							 .b = "ring-4",
							 .pin_a = pin,
							 .pin_b = pin,
							 .metric = BENCH_TIME_PER_OP });
		bench_add_ratio(b, (struct bench_ratio){ .a = "opendext-busy",
							 .b = "ring-busy",
							 .pin_a = pin,
							 .pin_b = pin,
							 .metric = BENCH_P99,
							 .limit = 1 });
		bench_add_ratio(b, (struct bench_ratio){ .a = "opendext-polling-busy",
							 .b = "ring-busy",
							 .pin_a = pin,
							 .pin_b = pin,
							 .metric = BENCH_P99,
							 .limit = 1 });
	}
	for (int p = 0; p < 2; p++) {
		add_ratio(b, "opendext-64K", "ring-64K", steady_pins[p], 1.1, 0);
		add_ratio(b, "opendext-1M", "ring-1M", steady_pins[p], 1.1, 0);
		add_ratio(b, "stream-64K", "opendext-64K", steady_pins[p], 0, 0);
		add_ratio(b, "stream-1M", "opendext-1M", steady_pins[p], 0, 0);
	}
	bench_add_ratio(b, (struct bench_ratio){ .name = "opendext.p99/opendext-one.p99",
						 .a = "opendext",
						 .b = "opendext",
						 .pin_a = BENCH_FREE,
						 .pin_b = BENCH_ONE,
						 .metric = BENCH_P99,
						 .limit = 2 });
}

static struct bench bench;
static struct rig rig;

static void stop_rig(void)
{
	rig_stop(&rig);
}

int main(int argc, char **argv)
{
	/* gRPC starts threads in this process, so it comes after the last fork. */
	struct caller *const callers[] = {
		&caller_ring,
		&caller_futex,
		&caller_ioctl,
		&caller_seqpacket,
		&caller_stream,
#if BENCH_SDBUS
		&caller_sdbus,
#endif
		&caller_opendext,
		&caller_unfiltered,
#if BENCH_GRPC
		&caller_grpc,
#endif
	};
	static const struct {
		struct caller *caller;
		const char *names[2];
	} large[] = {
		{ &caller_opendext, { "opendext-64K", "opendext-1M" } },
		{ &caller_ring, { "ring-64K", "ring-1M" } },
		{ &caller_stream, { "stream-64K", "stream-1M" } },
	};
	static const char *const shared_names[] = { "opendext-shared-64K", "opendext-shared-1M" };
	static uint64_t own[2 * CALLER_LARGE_MAX / 8];
	static const char *const drivers[] = { "echo", "unfiltered" };
	/* Busy CPUs need not be kept awake, and those that were would stay so for the next cell. */
	static const char *const options[] = { "--allow-low-latency=/dev/null", NULL };

	bench_init(&bench, "call", argc, argv);
	bench_make_busy();
	rig_start(&rig, drivers, 2, options);
	atexit(stop_rig);
	for (size_t i = 0; i < sizeof(callers) / sizeof(callers[0]); i++) {
		if (!bench_wants(&bench, callers[i]->name))
			continue;
		callers[i]->open(callers[i]);
		if (callers[i]->call != NULL)
			add_steady(&bench, callers[i]);
	}
	add_paced(&bench, &caller_opendext);
	add_paced(&bench, &caller_ring);
	add_paced(&bench, &caller_futex);
	add_special(&bench, &caller_opendext, "opendext-busy", true, back_to_back);
	if (bench_wants(&bench, caller_opendext.name) && may_poll(&caller_opendext))
		add_special(&bench, &caller_opendext, "opendext-polling-busy", true, polling);
	add_special(&bench, &caller_ring, "ring-busy", true, back_to_back);
	add_special(&bench, &caller_opendext, "opendext-4", false, many_at_once);
	add_special(&bench, &caller_opendext, "opendext-4-threads", false, many_threads);
	add_special(&bench, &caller_ring, "ring-4", false, many_at_once);
#if BENCH_SDBUS
	add_special(&bench, &caller_sdbus, "sdbus-4", false, many_at_once);
#endif
	for (int i = 0; i < 3; i++)
		add_large(&bench, large[i].caller, own, large[i].names);
	if (bench_wants(&bench, caller_opendext.name))
		add_large(&bench, &caller_opendext, make_shared(), shared_names);
	add_ratios(&bench);
	return bench_run(&bench) ? bench_report(&bench) : EXIT_FAILURE;
}
