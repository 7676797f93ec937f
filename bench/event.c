// SPDX-License-Identifier: Apache-2.0
/*
 * What an event costs on its way from a driver to an application: 16 numbers, flat out, where a
 * sample is one event's share of a burst, and at 8 kHz, as USB's microframes come, where a sample
 * is the time from the driver's completion to the application's callback, and what counts is the
 * CPU time that both spend on one event.
 */

#include <poll.h>
#include <stdlib.h>

#include <bench/echo/echo.h>
#include <bench/echo/flow.h>
#include <bench/measure.h>
#include <bench/rig.h>
#include <bench/server.h>
#include <bench/source.h>
#include <opendext/client.h>

enum { BURST = 5000, MICROFRAME_NS = 125000, PATIENCE_MS = 20000 };

/* --- OpenDext --- */

static struct {
	io_connect_t connect;
	IONotificationPortRef port;
	struct flow *flow;
} opendext;

static void on_completion(void *refcon, IOReturn result, void **values, uint32_t n)
{
	struct sink *sink = refcon;
	uint64_t scalars[EVENT_SCALARS];
	if (result != kIOReturnSuccess || n != EVENT_SCALARS) {
		sink->wrong = true;
		return;
	}
	for (uint32_t i = 0; i < EVENT_SCALARS; i++)
		scalars[i] = (uint64_t)(uintptr_t)values[i];
	sink_take(sink, scalars);
}

static void open_opendext(struct source *source)
{
	mach_vm_address_t address = 0;
	mach_vm_size_t size = 0;
	opendext.connect = rig_open("echo", &source->server);
	opendext.port = IONotificationPortCreate(kIOMainPortDefault);
	if (opendext.port == NULL ||
	    IOConnectMapMemory64(opendext.connect, ECHO_SMALL, mach_task_self(), &address, &size,
				 kIOMapAnywhere) != kIOReturnSuccess)
		server_die(dext_last_reason());
	opendext.flow = (struct flow *)(uintptr_t)address;
}

static bool receive_opendext(struct source *source, const struct event_order *order,
			     struct sink *sink)
{
	const uint64_t in[2] = { order->count, order->interval_ns };
	uint64_t reference[kIOAsyncCalloutCount] = {
		[kIOAsyncCalloutFuncIndex] = (uint64_t)(uintptr_t)on_completion,
		[kIOAsyncCalloutRefconIndex] = (uint64_t)(uintptr_t)sink,
	};
	struct pollfd p = { .fd = dext_notification_port_get_fd(opendext.port), .events = POLLIN };
	(void)source;
	atomic_store(&opendext.flow->read, 0);
	if (IOConnectCallAsyncScalarMethod(
		    opendext.connect, ECHO_EVENTS, IONotificationPortGetMachPort(opendext.port),
		    reference, kIOAsyncCalloutCount, in, 2, NULL, NULL) != kIOReturnSuccess) {
		fprintf(stderr, "event: %s\n", dext_last_reason());
		return false;
	}
	while (sink->received < order->count && !sink->wrong) {
		if (poll(&p, 1, PATIENCE_MS) != 1)
			return false;
		dext_notification_port_dispatch(opendext.port);
		flow_tell(opendext.flow, (uint32_t)sink->received);
	}
	return true;
}

static struct source source_opendext = {
	.name = "opendext",
	.open = open_opendext,
	.receive = receive_opendext,
};

/* --- cells --- */

static bool flat_out(void *context, struct bench_round *round)
{
	struct source *source = context;
	const struct event_order order = { .count = BURST };
	round->per_sample = BURST;
	for (uint64_t begin = round->begin, now; begin < round->end; begin = now) {
		struct sink sink = { 0 };
		if (!source->receive(source, &order, &sink) || sink.wrong)
			return false;
		now = bench_ticks();
		bench_took(round, now - begin);
	}
	return true;
}

struct timed_sink {
	struct sink sink;
	struct bench_round *round;
};

static void on_timed(struct sink *sink, const uint64_t *scalars)
{
	struct bench_round *round = ((struct timed_sink *)(void *)sink)->round;
	uint64_t now = bench_ticks();
	bench_took(round, now > scalars[1] ? now - scalars[1] : 1);
}

static bool at_8_khz(void *context, struct bench_round *round)
{
	struct source *source = context;
	double ns = (double)(round->end - round->begin) / bench_ticks_per_ns();
	const struct event_order order = {
		.count = (uint64_t)(ns / MICROFRAME_NS) + 1,
		.interval_ns = MICROFRAME_NS,
	};
	struct timed_sink timed = { .sink = { .on_event = on_timed }, .round = round };
	double cpu = bench_cpu_ns(0) + bench_cpu_ns(round->server);
	if (!source->receive(source, &order, &timed.sink) || timed.sink.wrong)
		return false;
	round->cpu_ns = bench_cpu_ns(0) + bench_cpu_ns(round->server) - cpu;
	return true;
}

/* --- what is compared --- */

static struct bench bench;
static struct rig rig;

static void stop_rig(void)
{
	rig_stop(&rig);
}

static void add(struct source *source)
{
	static const enum bench_pin pins[] = { BENCH_ONE, BENCH_TWO, BENCH_FREE };
	struct bench_cell cell = {
		.name = source->name,
		.run = flat_out,
		.context = source,
		.server = source->server,
	};
	bench_add_pins(&bench, cell, pins, 3);
	cell.pin = BENCH_PACED;
	cell.run = at_8_khz;
	cell.long_rounds = 2;
	bench_add(&bench, &cell);
}

static void add_ratio(const char *name, const char *a, const char *b, enum bench_pin pin,
		      enum bench_metric metric, double limit, double at_least)
{
	bench_add_ratio(&bench, (struct bench_ratio){ .name = name,
						      .a = a,
						      .b = b,
						      .pin_a = pin,
						      .pin_b = pin,
						      .metric = metric,
						      .limit = limit,
						      .at_least = at_least });
}

int main(int argc, char **argv)
{
	static const char *const drivers[] = { "echo" };
	struct source *const sources[] = {
		&source_ring,
		&source_seqpacket,
#if BENCH_SDBUS
		&source_sdbus,
#endif
		&source_opendext,
	};
	bench_init(&bench, "event", argc, argv);
	rig_start(&rig, drivers, 1, NULL);
	atexit(stop_rig);
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
		sources[i]->open(sources[i]);
		add(sources[i]);
	}
	for (enum bench_pin pin = BENCH_ONE; pin <= BENCH_FREE; pin++) {
		add_ratio(NULL, "opendext", "ring", pin, BENCH_TIME_PER_OP, 1.5, 0);
		add_ratio(NULL, "opendext", "seqpacket", pin, BENCH_TIME_PER_OP, 0, 0);
		add_ratio(NULL, "opendext", "sdbus", pin, BENCH_TIME_PER_OP, 0, 0);
		add_ratio(NULL, "sdbus", "opendext", pin, BENCH_TIME_PER_OP, 0, 80);
	}
	/* At 8 kHz the plain ratios are of the CPU time per event. */
	add_ratio("opendext/ring", "opendext", "ring", BENCH_PACED, BENCH_CPU_PER_OP, 1.2, 0);
	add_ratio("opendext/seqpacket", "opendext", "seqpacket", BENCH_PACED, BENCH_CPU_PER_OP, 0,
		  0);
	add_ratio("opendext/sdbus", "opendext", "sdbus", BENCH_PACED, BENCH_CPU_PER_OP, 0, 0);
	add_ratio("opendext.latency/ring.latency", "opendext", "ring", BENCH_PACED, BENCH_P50, 0,
		  0);
	return bench_run(&bench) ? bench_report(&bench) : EXIT_FAILURE;
}
