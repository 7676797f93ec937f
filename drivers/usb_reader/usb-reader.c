// SPDX-License-Identifier: Apache-2.0
/*
 * Watch the USB reader work: usb-reader [--seconds N | --bytes N] [--restarts N] [--json]
 *
 * The driver reads while this program follows it: it asks to be told whenever some more
 * has been read, adds up, and says how much that was, how fast, and how many errors the driver saw.
 * When the driver dies, it waits for the next one and goes on. Exit status 0: something was read,
 * without an error.
 */

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <IOKit/IOKitLib.h>
#include <opendext/client.h>

#include "usb_reader.h"

enum {
	STEP_BYTES = 1 << 20, // between two notifications
	PATIENCE_MS = 10000,  // without progress, a service, or a restarted driver
};

struct totals {
	uint64_t bytes, transfers, errors;
};

struct reader {
	IONotificationPortRef port;
	io_iterator_t matches;
	io_service_t next;    // a service to open when there is none; IO_OBJECT_NULL: none seen
	io_connect_t connect; // IO_OBJECT_NULL: none
	bool found;           // there has been a service
	bool waiting;         // a notification was asked for
	bool stale;           // the driver was replaced while it was
	struct totals before; // of connections that are over
	struct totals base;   // the driver's counters when this connection began
	struct totals now;    // the driver's counters
	uint64_t progress_ns; // when anything last went forward
	uint64_t lost_ns;     // when the driver died; 0: it lives
	unsigned restarts;
	uint64_t restart_ms; // from the last death to the first bytes after it
};

struct options {
	double seconds;
	uint64_t bytes;         // 0: go by time
	unsigned long restarts; // of the driver that are waited for, beyond that time if need be
	bool json;
};

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static struct totals totals_of(const struct reader *reader)
{
	return (struct totals){
		.bytes = reader->before.bytes + reader->now.bytes - reader->base.bytes,
		.transfers =
			reader->before.transfers + reader->now.transfers - reader->base.transfers,
		.errors = reader->before.errors + reader->now.errors - reader->base.errors,
	};
}

/* --- a connection --- */

static void lose(struct reader *reader)
{
	reader->before = totals_of(reader);
	reader->base = reader->now = (struct totals){ 0 };
	IOServiceClose(reader->connect);
	reader->connect = IO_OBJECT_NULL;
	reader->waiting = reader->stale = false;
	if (reader->lost_ns == 0)
		reader->lost_ns = now_ns();
}

static void note_progress(struct reader *reader, FILE *out)
{
	reader->progress_ns = now_ns();
	if (reader->lost_ns == 0)
		return;
	reader->restart_ms = (reader->progress_ns - reader->lost_ns) / 1000000;
	reader->lost_ns = 0;
	reader->restarts++;
	fprintf(out, "the driver was restarted: reading again after %" PRIu64 " ms\n",
		reader->restart_ms);
	fflush(out);
}

static kern_return_t get_statistics(struct reader *reader, struct totals *totals)
{
	uint64_t values[kUsbReaderStatisticsCount];
	uint32_t n = kUsbReaderStatisticsCount;
	kern_return_t ret = IOConnectCallScalarMethod(
		reader->connect, kUsbReaderMethodGetStatistics, NULL, 0, values, &n);
	if (ret == kIOReturnSuccess)
		*totals = (struct totals){ values[0], values[1], values[2] };
	return ret;
}

static void on_progress(void *refcon, IOReturn result, void **args, uint32_t n_args)
{
	struct reader *reader = refcon;
	if (reader->connect == IO_OBJECT_NULL)
		return;
	if (result != kIOReturnSuccess || n_args != 3 || reader->stale) {
		lose(reader);
		return;
	}
	reader->waiting = false;
	reader->now = (struct totals){
		.bytes = (uint64_t)(uintptr_t)args[0],
		.transfers = (uint64_t)(uintptr_t)args[1],
		.errors = (uint64_t)(uintptr_t)args[2],
	};
}

static kern_return_t ask_for_progress(struct reader *reader, uint64_t bytes)
{
	uint64_t reference[kIOAsyncCalloutCount] = { 0 };
	reference[kIOAsyncCalloutFuncIndex] = (uint64_t)(uintptr_t)on_progress;
	reference[kIOAsyncCalloutRefconIndex] = (uint64_t)(uintptr_t)reader;
	kern_return_t ret = IOConnectCallAsyncScalarMethod(
		reader->connect, kUsbReaderMethodNotifyAfter,
		IONotificationPortGetMachPort(reader->port), reference, kIOAsyncCalloutCount,
		&bytes, 1, NULL, NULL);
	reader->waiting = ret == kIOReturnSuccess;
	return ret;
}

/* The new driver counts from zero: begin anew. But not before the notification that was asked for
 * has come, from the new driver or as aborted, or it would be taken for one of the next
 * connection's. */
static void on_restart(void *refcon, io_connect_t connect, uint32_t generation)
{
	struct reader *reader = refcon;
	(void)generation;
	if (connect != reader->connect)
		return;
	if (reader->waiting)
		reader->stale = true;
	else
		lose(reader);
}

static void try_open(struct reader *reader)
{
	kern_return_t ret = IOServiceOpen(reader->next, mach_task_self(), 0, &reader->connect);
	IOObjectRelease(reader->next);
	reader->next = IO_OBJECT_NULL;
	reader->found = true;
	if (ret != kIOReturnSuccess) {
		fprintf(stderr, "the reader does not open: %s: %s\n", IOReturnString(ret),
			dext_last_reason());
		reader->connect = IO_OBJECT_NULL;
		return;
	}
	if (dext_connect_set_restart_handler(reader->connect, reader->port, on_restart, reader) !=
		    kIOReturnSuccess ||
	    get_statistics(reader, &reader->base) != kIOReturnSuccess)
		lose(reader);
	else
		reader->now = reader->base;
}

static void on_match(void *refcon, io_iterator_t iterator)
{
	struct reader *reader = refcon;
	io_service_t service;
	while ((service = IOIteratorNext(iterator)) != IO_OBJECT_NULL) {
		IOObjectRelease(reader->next);
		reader->next = service;
	}
}

/* --- the loop --- */

static int wait_ms(uint64_t end_ns)
{
	uint64_t now = now_ns(), limit = now + 100000000; // look at the clock ten times a second
	if (end_ns > now && end_ns < limit)
		limit = end_ns;
	return limit > now ? (int)((limit - now) / 1000000) + 1 : 0;
}

/* One round: open what can be opened, ask, wait, and let the callbacks run. False: nothing goes on.
 */
static bool turn(struct reader *reader, uint64_t step, uint64_t end_ns, FILE *out)
{
	uint64_t before = totals_of(reader).bytes;
	if (reader->connect == IO_OBJECT_NULL && reader->next != IO_OBJECT_NULL)
		try_open(reader);
	if (reader->connect != IO_OBJECT_NULL && !reader->waiting &&
	    ask_for_progress(reader, step) != kIOReturnSuccess)
		lose(reader);

	struct pollfd p = { .fd = dext_notification_port_get_fd(reader->port), .events = POLLIN };
	if (poll(&p, 1, wait_ms(end_ns)) < 0 && errno != EINTR)
		return false;
	if (dext_notification_port_dispatch(reader->port) != kIOReturnSuccess) {
		fprintf(stderr, "dextd is gone\n");
		return false;
	}
	if (totals_of(reader).bytes != before)
		note_progress(reader, out);
	if (now_ns() - reader->progress_ns < PATIENCE_MS * 1000000ULL)
		return true;
	fprintf(stderr,
		reader->connect == IO_OBJECT_NULL ? "no UsbReader within %d s: %s\n"
						  : "nothing was read for %d s: %s\n",
		PATIENCE_MS / 1000, dext_last_reason());
	return false;
}

/* A line each second, for people. */
static void report(const struct reader *reader, uint64_t start_ns, uint64_t *next_ns)
{
	uint64_t now = now_ns();
	if (now < *next_ns)
		return;
	*next_ns += 1000000000U;
	struct totals totals = totals_of(reader);
	printf("%4.0f s  %10.1f MB  %" PRIu64 " errors\n", (double)(now - start_ns) / 1e9,
	       (double)totals.bytes / 1e6, totals.errors);
	fflush(stdout);
}

static bool done(const struct reader *reader, const struct options *options, uint64_t end_ns)
{
	if (options->bytes != 0)
		return totals_of(reader).bytes >= options->bytes;
	uint64_t now = now_ns();
	return now >= end_ns &&
	       (reader->restarts >= options->restarts || now >= end_ns + PATIENCE_MS * 1000000ULL);
}

static uint64_t step_of(const struct reader *reader, const struct options *options)
{
	uint64_t have = totals_of(reader).bytes;
	if (options->bytes == 0 || options->bytes - have > STEP_BYTES)
		return STEP_BYTES;
	return options->bytes - have;
}

static bool run(struct reader *reader, const struct options *options)
{
	FILE *out = options->json ? stderr : stdout;
	uint64_t start = 0, end = 0, next = 0;
	reader->progress_ns = now_ns();
	while (start == 0 || !done(reader, options, end)) {
		if (!turn(reader, step_of(reader, options), end, out))
			return false;
		if (start == 0 && reader->found) {
			start = now_ns();
			end = options->bytes == 0 ? start + (uint64_t)(options->seconds * 1e9) : 0;
			next = start + 1000000000U;
		}
		if (start != 0 && !options->json)
			report(reader, start, &next);
	}
	if (reader->connect != IO_OBJECT_NULL)
		get_statistics(reader, &reader->now);
	return true;
}

static void print_result(const struct reader *reader, const struct options *options, double seconds)
{
	struct totals totals = totals_of(reader);
	double rate = seconds > 0 ? (double)totals.bytes / seconds / 1e6 : 0;
	if (options->json)
		printf("{\"bytes\":%" PRIu64 ",\"transfers\":%" PRIu64 ",\"errors\":%" PRIu64
		       ",\"seconds\":%.3f,\"mb_per_s\":%.1f,\"restarts\":%u,\"restart_ms\":%" PRIu64
		       "}\n",
		       totals.bytes, totals.transfers, totals.errors, seconds, rate,
		       reader->restarts, reader->restart_ms);
	else
		printf("%.1f MB in %.2f s: %.1f MB/s, %" PRIu64 " transfers, %" PRIu64
		       " errors, %u restarts\n",
		       (double)totals.bytes / 1e6, seconds, rate, totals.transfers, totals.errors,
		       reader->restarts);
}

static bool parse_options(int argc, char **argv, struct options *options)
{
	static const struct option longs[] = {
		{ "seconds", required_argument, NULL, 's' },
		{ "bytes", required_argument, NULL, 'b' },
		{ "restarts", required_argument, NULL, 'r' },
		{ "json", no_argument, NULL, 'j' },
		{ 0 },
	};
	int option;
	while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		char *end = NULL;
		if (option == 's')
			options->seconds = strtod(optarg, &end);
		else if (option == 'b')
			options->bytes = strtoull(optarg, &end, 0);
		else if (option == 'r')
			options->restarts = strtoul(optarg, &end, 0);
		else if (option == 'j')
			options->json = true;
		else
			return false;
		if (end != NULL && (end == optarg || *end != '\0'))
			return false;
	}
	return optind == argc && options->seconds > 0 && options->seconds < 1e9;
}

int main(int argc, char **argv)
{
	struct options options = { .seconds = 1 };
	struct reader reader = { 0 };
	if (!parse_options(argc, argv, &options)) {
		fprintf(stderr,
			"usage: usb-reader [--seconds N | --bytes N] [--restarts N] [--json]\n");
		return 2;
	}
	reader.port = IONotificationPortCreate(kIOMainPortDefault);
	kern_return_t ret = kIOReturnNoMemory;
	if (reader.port != NULL)
		ret = IOServiceAddMatchingNotification(reader.port, kIOMatchedNotification,
						       IOServiceMatching("UsbReader"), on_match,
						       &reader, &reader.matches);
	if (ret != kIOReturnSuccess) {
		fprintf(stderr, "%s: %s\n", IOReturnString(ret), dext_last_reason());
		IONotificationPortDestroy(reader.port);
		return EXIT_FAILURE;
	}
	on_match(&reader, reader.matches); // what is there already; it also arms the notification

	uint64_t start = now_ns();
	bool ok = run(&reader, &options);
	print_result(&reader, &options, (double)(now_ns() - start) / 1e9);
	struct totals totals = totals_of(&reader);

	if (reader.connect != IO_OBJECT_NULL)
		IOServiceClose(reader.connect);
	IOObjectRelease(reader.next);
	IOObjectRelease(reader.matches);
	IONotificationPortDestroy(reader.port);
	return ok && totals.bytes > 0 && totals.errors == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
