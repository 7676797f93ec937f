// SPDX-License-Identifier: Apache-2.0
/*
 * What a driver's memory costs an application: IOConnectMapMemory64 and its undoing, beside mmap
 * and munmap of a descriptor at hand; then loads and stores, through the mapping that OpenDext made
 * and through a plain one beside it, which must not differ. An operation of the latter is one cache
 * line: loaded, changed, stored.
 *
 * Both mappings are of the same memory: two memories of 256 MiB differ by 5 % for where their pages
 * happen to lie.
 */

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bench/echo/echo.h>
#include <bench/measure.h>
#include <bench/rig.h>
#include <bench/server.h>
#include <opendext/client.h>

enum { LINE = 64 };
#define WINDOW ECHO_SMALL_SIZE // that much of the memory is one sample

struct memory {
	const char *access_name, *map_name;
	size_t size;
	uint32_t type; // ECHO_…
	int fd;        // -1: the driver's
	uint8_t *bytes;
	size_t at; // of the next window
};

static io_connect_t connect;

static uint8_t *map_driver(const struct memory *m)
{
	mach_vm_address_t address = 0;
	mach_vm_size_t size = 0;
	if (IOConnectMapMemory64(connect, m->type, mach_task_self(), &address, &size,
				 kIOMapAnywhere) != kIOReturnSuccess ||
	    size != m->size) {
		fprintf(stderr, "map: %s\n", dext_last_reason());
		return NULL;
	}
	return (uint8_t *)(uintptr_t)address;
}

static bool unmap_driver(const struct memory *m, uint8_t *bytes)
{
	return IOConnectUnmapMemory64(connect, m->type, mach_task_self(),
				      (mach_vm_address_t)(uintptr_t)bytes) == kIOReturnSuccess;
}

static uint8_t *map_plain(const struct memory *m)
{
	void *bytes = mmap(NULL, m->size, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
	return bytes != MAP_FAILED ? bytes : NULL;
}

static uint8_t *map_memory(const struct memory *m)
{
	return m->fd < 0 ? map_driver(m) : map_plain(m);
}

static bool unmap_memory(const struct memory *m, uint8_t *bytes)
{
	return m->fd < 0 ? unmap_driver(m, bytes) : munmap(bytes, m->size) == 0;
}

/* --- cells --- */

static bool map_and_unmap(void *context, struct bench_round *round)
{
	const struct memory *m = context;
	uint64_t last = round->begin;
	do {
		uint8_t *bytes = map_memory(m);
		if (bytes == NULL || !unmap_memory(m, bytes))
			return false;
	} while (bench_next(round, &last));
	return true;
}

static bool load_and_store(void *context, struct bench_round *round)
{
	struct memory *m = context;
	uint64_t last = round->begin;
	round->per_sample = (double)WINDOW / LINE;
	do {
		for (size_t i = 0; i < WINDOW; i += LINE) {
			volatile uint64_t *word =
				(volatile uint64_t *)(void *)(m->bytes + m->at + i);
			*word = *word + 1;
		}
		m->at = (m->at + WINDOW) % m->size;
	} while (bench_next(round, &last));
	return true;
}

/* --- what is compared --- */

static struct bench bench;
static struct rig rig;

static void stop_rig(void)
{
	rig_stop(&rig);
}

static void open_plain(struct memory *m)
{
	m->fd = memfd_create("bench", MFD_CLOEXEC);
	if (m->fd < 0 || ftruncate(m->fd, (off_t)m->size) < 0)
		server_die("memory");
}

static const enum bench_pin pins[] = { BENCH_FREE, BENCH_ONE, BENCH_TWO };

static void add_map(struct memory *m, pid_t dext)
{
	struct bench_cell cell = {
		.name = m->map_name,
		.run = map_and_unmap,
		.context = m,
		.server = dext,
	};
	bench_add_pins(&bench, cell, pins, 3);
}

/* Mapped for good, and every page of it touched. `of` is what the driver's mapping gave: a length
 * of 0 asks for a further mapping of the same. */
static void add_access(struct memory *m, const struct memory *of)
{
	m->bytes = of == NULL ? map_driver(m) : mremap(of->bytes, 0, m->size, MREMAP_MAYMOVE);
	if (m->bytes == NULL || (void *)m->bytes == MAP_FAILED)
		server_die("a mapping");
	for (size_t i = 0; i < m->size; i += LINE)
		m->bytes[i] = 1;
	bench_add(&bench, &(struct bench_cell){ .name = m->access_name,
						.pin = BENCH_ONE,
						.run = load_and_store,
						.context = m });
}

static void add_ratio(const char *name, const char *a, const char *b, enum bench_pin pin,
		      double limit, double at_least)
{
	bench_add_ratio(&bench, (struct bench_ratio){ .name = name,
						      .a = a,
						      .b = b,
						      .pin_a = pin,
						      .pin_b = pin,
						      .limit = limit,
						      .at_least = at_least });
}

int main(int argc, char **argv)
{
	static const char *const drivers[] = { "echo" };
	/* A type that is mapped gives its mapping again, so what is mapped anew and again is
	 * another connection's. */
	struct memory memories[] = {
		{ "opendext-4M", "opendext-map-4M", ECHO_SMALL_SIZE, ECHO_SMALL, -1, NULL, 0 },
		{ "mmap-4M", "mmap-map-4M", ECHO_SMALL_SIZE, 0, 0, NULL, 0 },
		{ "opendext-256M", "opendext-map-256M", ECHO_LARGE_SIZE, ECHO_LARGE, -1, NULL, 0 },
		{ "mmap-256M", "mmap-map-256M", ECHO_LARGE_SIZE, 0, 0, NULL, 0 },
	};
	bench_init(&bench, "map", argc, argv);
	rig_start(&rig, drivers, 1, NULL);
	atexit(stop_rig);
	connect = rig_open("echo", NULL);
	for (int i = 0; i < 4; i++) {
		bool plain = memories[i].fd == 0;
		if (plain)
			open_plain(&memories[i]);
		add_access(&memories[i], plain ? &memories[i - 1] : NULL);
	}
	pid_t dext;
	connect = rig_open("echo", &dext);
	for (int i = 0; i < 4; i++)
		add_map(&memories[i], dext);
	add_ratio("opendext/mmap", "opendext-4M", "mmap-4M", BENCH_ONE, 1.03, 0.97);
	add_ratio(NULL, "opendext-4M", "mmap-4M", BENCH_ONE, 1.03, 0.97);
	add_ratio(NULL, "opendext-256M", "mmap-256M", BENCH_ONE, 1.03, 0.97);
	for (int i = 0; i < 3; i++) {
		add_ratio(NULL, "opendext-map-4M", "mmap-map-4M", pins[i], 10, 0);
		add_ratio(NULL, "opendext-map-256M", "mmap-map-256M", pins[i], 10, 0);
	}
	return bench_run(&bench) ? bench_report(&bench) : EXIT_FAILURE;
}
