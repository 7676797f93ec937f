// SPDX-License-Identifier: Apache-2.0
/*
 * What many cost: connections of one application to one driver, and drivers. One thread calls over
 * all of them in turn, so that each call meets a ring, and a driver, that has been idle; what they
 * take while nobody calls is told beside.
 */

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <bench/echo/echo.h>
#include <bench/measure.h>
#include <bench/process.h>
#include <bench/rig.h>
#include <opendext/client.h>

enum { CONNECTIONS_MAX = 4096, DRIVERS_MAX = 128, CONNECTION_FDS = 4, SCALARS = 16 };

struct row {
	unsigned n, next;
	const io_connect_t *connects;
};

static struct bench bench;
static struct rig rig;
static io_connect_t connections[CONNECTIONS_MAX], drivers[DRIVERS_MAX];
static pid_t processes[DRIVERS_MAX];

static bool call_in_turn(void *context, struct bench_round *round)
{
	struct row *row = context;
	uint64_t last = round->begin;
	do {
		uint64_t in[SCALARS], out[SCALARS];
		uint32_t n = SCALARS;
		for (uint64_t i = 0; i < SCALARS; i++)
			in[i] = row->next + i;
		if (IOConnectCallScalarMethod(row->connects[row->next], ECHO_CALL, in, SCALARS, out,
					      &n) != kIOReturnSuccess ||
		    out[SCALARS - 1] != in[SCALARS - 1] + 1) {
			fprintf(stderr, "scale: %s\n", dext_last_reason());
			return false;
		}
		row->next = (row->next + 1) % row->n;
	} while (bench_next(round, &last));
	return true;
}

static const char *name_of(const char *what, unsigned n)
{
	char *name;
	if (asprintf(&name, "%s-%u", what, n) < 0)
		exit(EXIT_FAILURE);
	return name; // as long as the program
}

static void add_row(const char *what, struct row *row, const io_connect_t *connects, unsigned n,
		    pid_t server)
{
	*row = (struct row){ .n = n, .connects = connects };
	struct bench_cell cell = {
		.name = name_of(what, n),
		.run = call_in_turn,
		.context = row,
		.server = server,
	};
	static const enum bench_pin pins[] = { BENCH_FREE, BENCH_ONE };
	bench_add_pins(&bench, cell, pins, server > 0 ? 2 : 1);
	if (n > 1)
		bench_add_ratio(&bench, (struct bench_ratio){ .a = cell.name,
							      .b = name_of(what, 1),
							      .pin_a = BENCH_FREE,
							      .pin_b = BENCH_FREE,
							      .metric = BENCH_P50 });
}

/* --- drivers --- */

static void add_memory_of_drivers(unsigned n)
{
	double bytes[BENCH_ROUNDS_MAX];
	unsigned n_bytes = n < BENCH_ROUNDS_MAX ? n : BENCH_ROUNDS_MAX;
	for (unsigned i = 0; i < n_bytes; i++)
		bytes[i] = process_private_bytes(processes[i]);
	bench_add_fact(&bench, (struct bench_fact){ "a dext's private memory", "KiB",
						    bench_median(bytes, n_bytes) / 1024, 256 });
}

static void add_wakeups_of_drivers(unsigned n)
{
	enum { SECONDS = 2 };
	double before = 0, after = 0;
	for (unsigned i = 0; i < n; i++)
		before += process_switches(processes[i]);
	sleep(SECONDS);
	for (unsigned i = 0; i < n; i++)
		after += process_switches(processes[i]);
	bench_add_fact(&bench, (struct bench_fact){ "wake-ups of all idle dexts", "per s",
						    (after - before) / SECONDS, 0 });
}

static void open_drivers(const char *const *names, unsigned n)
{
	static struct row rows[3];
	static const unsigned counts[] = { 1, 16, DRIVERS_MAX };
	for (unsigned i = 0; i < n; i++) {
		io_service_t service = rig_find(names[i]);
		processes[i] = rig_process(service);
		IOObjectRelease(service);
	}
	add_memory_of_drivers(n);
	add_wakeups_of_drivers(n);
	for (unsigned i = 0; i < n; i++)
		drivers[i] = rig_open(names[i], NULL);
	for (unsigned i = 0; i < 3 && counts[i] <= n; i++)
		add_row("drivers", &rows[i], drivers, counts[i], 0);
}

/* --- connections --- */

/* Up to n, as far as the limits of the system let us. */
static unsigned open_connections(const char *name, unsigned have, unsigned n)
{
	io_service_t service = rig_find(name);
	for (; have < n; have++) {
		if (IOServiceOpen(service, mach_task_self(), 0, &connections[have]) ==
		    kIOReturnSuccess)
			continue;
		fprintf(stderr, "scale: connection %u of %u is refused: %s\n", have + 1, n,
			dext_last_reason());
		break;
	}
	IOObjectRelease(service);
	return have;
}

struct sizes {
	double dext, dextd, application;
};

static struct sizes measure_sizes(void)
{
	return (struct sizes){
		.dext = process_private_bytes(processes[0]),
		.dextd = process_private_bytes(rig.dextd),
		.application = process_private_bytes(getpid()),
	};
}

static void add_memory_of_connections(const struct sizes *few, unsigned n)
{
	struct sizes many = measure_sizes();
	double dext = (many.dext - few->dext) / n / 1024;
	double dextd = (many.dextd - few->dextd) / n / 1024;
	double application = (many.application - few->application) / n / 1024;
	bench_add_fact(&bench, (struct bench_fact){ "a connection, in the dext", "KiB", dext, -1 });
	bench_add_fact(&bench, (struct bench_fact){ "a connection, in dextd", "KiB", dextd, -1 });
	bench_add_fact(&bench, (struct bench_fact){ "a connection, in the application", "KiB",
						    application, -1 });
	bench_add_fact(&bench, (struct bench_fact){ "a connection, in all", "KiB",
						    dext + dextd + application, 20 });
}

static void open_all_connections(const char *name, unsigned limit)
{
	static struct row rows[4];
	static const unsigned counts[] = { 1, 16, 256, CONNECTIONS_MAX };
	enum { FEW = 16 };
	unsigned have = open_connections(name, 0, FEW);
	struct sizes few = measure_sizes();
	have = open_connections(name, have, limit);
	if (have > FEW)
		add_memory_of_connections(&few, have - FEW);
	bench_add_fact(&bench, (struct bench_fact){ "connections to one driver", "", have, -1 });
	for (unsigned i = 0; i < 4 && counts[i] <= have; i++)
		add_row("connections", &rows[i], connections, counts[i], processes[0]);
}

/* --- main --- */

static void stop_rig(void)
{
	rig_stop(&rig);
}

static void raise_descriptor_limit(void)
{
	struct rlimit limit = { CONNECTIONS_MAX * CONNECTION_FDS,
				CONNECTIONS_MAX * CONNECTION_FDS };
	if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
		return;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
	const char *names[DRIVERS_MAX];
	bench_init(&bench, "scale", argc, argv);
	raise_descriptor_limit();
	unsigned n_drivers = bench.quick ? 16 : DRIVERS_MAX;
	for (unsigned i = 0; i < n_drivers; i++)
		names[i] = name_of("echo", i);
	rig_start(&rig, names, n_drivers, NULL);
	atexit(stop_rig);
	open_drivers(names, n_drivers);
	open_all_connections(names[0], bench.quick ? 64 : CONNECTIONS_MAX);
	return bench_run(&bench) ? bench_report(&bench) : EXIT_FAILURE;
}
