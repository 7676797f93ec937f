/* SPDX-License-Identifier: Apache-2.0 */

/*
 * ivshmem-exchange: map the card's memory, and exchange data through it with another program that
 * does the same; or write a pattern into it, which whoever shares the memory can then find.
 *
 *	ivshmem-exchange --role a|b [--rounds N] [--timeout S] [--json]
 *	ivshmem-exchange --write-pattern [--pattern N] [--timeout S] [--json]
 *
 * The pattern fills the memory: its 64-bit little-endian word i is N + i. Waits for the driver to
 * be there, at most S seconds (10). Exit status 0: all of it happened.
 */

#include <endian.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <IOKit/IOKitLib.h>
#include <opendext/client.h>

#include "ivshmem.h"
#include "pingpong.h"

struct options {
	bool has_role, write_pattern, json;
	struct pingpong pingpong;
	uint64_t pattern;
};

/* What is known of the card, and what came of it. */
struct outcome {
	uint64_t info[kIvshmemInfoCount];
	mach_vm_size_t mapped; // bytes
	bool done;
	double ms;
};

static bool fail(const char *what, kern_return_t ret)
{
	fprintf(stderr, "ivshmem-exchange: %s: %s: %s\n", what, IOReturnString(ret),
		dext_last_reason());
	return false;
}

/* --- finding the driver --- */

static void on_service(void *refcon, io_iterator_t iterator)
{
	io_service_t *found = refcon, service;
	while ((service = IOIteratorNext(iterator)) != IO_OBJECT_NULL) {
		if (*found == IO_OBJECT_NULL)
			*found = service;
		else
			IOObjectRelease(service);
	}
}

static uint64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static io_service_t wait_for_service(IONotificationPortRef port, uint64_t timeout_ms)
{
	io_service_t found = IO_OBJECT_NULL;
	io_iterator_t iterator = IO_OBJECT_NULL;
	kern_return_t ret = IOServiceAddMatchingNotification(port, kIOMatchedNotification,
							     IOServiceMatching("IvshmemDriver"),
							     on_service, &found, &iterator);
	if (ret != kIOReturnSuccess) {
		fail("looking for the driver", ret);
		return IO_OBJECT_NULL;
	}
	on_service(&found, iterator); // those that are there already
	uint64_t deadline = now_ms() + timeout_ms;
	while (found == IO_OBJECT_NULL && now_ms() < deadline && ret == kIOReturnSuccess) {
		struct pollfd p = { .fd = dext_notification_port_get_fd(port), .events = POLLIN };
		poll(&p, 1, (int)(deadline - now_ms()));
		ret = dext_notification_port_dispatch(port);
	}
	IOObjectRelease(iterator);
	if (found == IO_OBJECT_NULL)
		fprintf(stderr,
			"ivshmem-exchange: no IvshmemDriver came within %" PRIu64 " ms: see "
			"dextctl list, and dextctl why for the card\n",
			timeout_ms);
	return found;
}

static io_connect_t open_driver(uint64_t timeout_ms)
{
	IONotificationPortRef port = IONotificationPortCreate(kIOMainPortDefault);
	if (port == NULL) {
		fail("a notification port", kIOReturnNoResources);
		return IO_OBJECT_NULL;
	}
	io_connect_t connect = IO_OBJECT_NULL;
	io_service_t service = wait_for_service(port, timeout_ms);
	if (service != IO_OBJECT_NULL) {
		kern_return_t ret = IOServiceOpen(service, mach_task_self(), 0, &connect);
		if (ret != kIOReturnSuccess)
			fail("opening the driver", ret);
		IOObjectRelease(service);
	}
	IONotificationPortDestroy(port);
	return connect;
}

/* --- using the memory --- */

static bool write_pattern(const struct options *options, void *memory, uint64_t size)
{
	volatile uint64_t *words = memory;
	for (uint64_t i = 0; i < size / sizeof(*words); i++)
		words[i] = htole64(options->pattern + i);
	if (!dext_mapping_is_lost(memory))
		return true;
	fprintf(stderr, "ivshmem-exchange: the memory has vanished\n");
	return false;
}

static bool exchange(const struct options *options, void *memory, uint64_t size, double *ms)
{
	const char *problem = "the memory is too small";
	if (size >= pingpong_size())
		problem = pingpong_run(&options->pingpong, memory, ms);
	if (problem != NULL)
		fprintf(stderr, "ivshmem-exchange: %s\n", problem);
	return problem == NULL;
}

static bool use(const struct options *options, io_connect_t connect, struct outcome *outcome)
{
	uint32_t count = kIvshmemInfoCount;
	kern_return_t ret = IOConnectCallScalarMethod(connect, kIvshmemMethodGetInfo, NULL, 0,
						      outcome->info, &count);
	if (ret != kIOReturnSuccess)
		return fail("asking for the card", ret);
	mach_vm_address_t address = 0;
	ret = IOConnectMapMemory64(connect, kIvshmemMemoryShared, mach_task_self(), &address,
				   &outcome->mapped, kIOMapAnywhere);
	if (ret != kIOReturnSuccess)
		return fail("mapping BAR2", ret);
	void *memory = (void *)(uintptr_t)address;
	outcome->done = options->write_pattern
				? write_pattern(options, memory, outcome->mapped)
				: exchange(options, memory, outcome->mapped, &outcome->ms);
	IOConnectUnmapMemory64(connect, kIvshmemMemoryShared, mach_task_self(), address);
	return outcome->done;
}

/* --- the command --- */

static void print(const struct options *options, const struct outcome *outcome)
{
	const char *role = options->write_pattern                 ? "pattern"
			   : options->pingpong.role == PINGPONG_A ? "a"
								  : "b";
	const uint64_t *info = outcome->info;
	if (options->json)
		printf("{\"role\":\"%s\",\"vendor\":%" PRIu64 ",\"device\":%" PRIu64
		       ",\"position\":%" PRIu64 ",\"bar2\":%" PRIu64 ",\"mapped\":%" PRIu64
		       ",\"rounds\":%" PRIu64 ",\"exchanged\":%s,\"ms\":%.3f}\n",
		       role, info[kIvshmemInfoVendor], info[kIvshmemInfoDevice],
		       info[kIvshmemInfoPosition], info[kIvshmemInfoMemorySize], outcome->mapped,
		       options->write_pattern ? 0 : options->pingpong.rounds,
		       outcome->done && !options->write_pattern ? "true" : "false", outcome->ms);
	else if (outcome->done && options->write_pattern)
		printf("%04x:%04x: %" PRIu64 " bytes of BAR2 mapped and filled from %" PRIu64 "\n",
		       (unsigned)info[kIvshmemInfoVendor], (unsigned)info[kIvshmemInfoDevice],
		       outcome->mapped, options->pattern);
	else if (outcome->done)
		printf("%s: %04x:%04x: %" PRIu64 " bytes of BAR2 mapped, %" PRIu64
		       " rounds exchanged in %.1f ms\n",
		       role, (unsigned)info[kIvshmemInfoVendor], (unsigned)info[kIvshmemInfoDevice],
		       outcome->mapped, options->pingpong.rounds, outcome->ms);
}

static bool parse_number(const char *text, uint64_t *value)
{
	char *end = NULL;
	*value = strtoull(text, &end, 0);
	return *text >= '0' && *text <= '9' && *end == '\0';
}

static bool parse_role(struct options *options, const char *text)
{
	options->has_role = strcmp(text, "a") == 0 || strcmp(text, "b") == 0;
	options->pingpong.role = text[0] == 'a' ? PINGPONG_A : PINGPONG_B;
	return options->has_role;
}

static bool parse(struct options *options, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "role", required_argument, NULL, 'r' },
		{ "rounds", required_argument, NULL, 'n' },
		{ "timeout", required_argument, NULL, 't' },
		{ "json", no_argument, NULL, 'j' },
		{ "write-pattern", no_argument, NULL, 'w' },
		{ "pattern", required_argument, NULL, 'p' },
		{ NULL, 0, NULL, 0 },
	};
	int c;
	bool good = true;
	while (good && (c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'r':
			good = parse_role(options, optarg);
			break;
		case 'n':
			good = parse_number(optarg, &options->pingpong.rounds);
			break;
		case 't':
			good = parse_number(optarg, &options->pingpong.timeout_ms) &&
			       options->pingpong.timeout_ms <= 3600;
			options->pingpong.timeout_ms *= 1000;
			break;
		case 'j':
			options->json = true;
			break;
		case 'w':
			options->write_pattern = true;
			break;
		case 'p':
			good = parse_number(optarg, &options->pattern);
			break;
		default:
			good = false;
		}
	}
	return good && optind == argc && options->has_role != options->write_pattern;
}

int main(int argc, char **argv)
{
	struct options options = {
		.pingpong = { .rounds = 1000,
			      .timeout_ms = 10000,
			      .is_lost = dext_mapping_is_lost },
		.pattern = 1,
	};
	struct outcome outcome = { .done = false };
	if (!parse(&options, argc, argv)) {
		fprintf(stderr,
			"usage: ivshmem-exchange --role a|b [--rounds N] [--timeout S] "
			"[--json]\n"
			"       ivshmem-exchange --write-pattern [--pattern N] [--timeout S] "
			"[--json]\n");
		return EXIT_FAILURE;
	}
	io_connect_t connect = open_driver(options.pingpong.timeout_ms);
	bool done = false;
	if (connect != IO_OBJECT_NULL) {
		done = use(&options, connect, &outcome);
		IOServiceClose(connect);
	}
	print(&options, &outcome);
	return done ? EXIT_SUCCESS : EXIT_FAILURE;
}
