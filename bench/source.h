/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The ways to hear of events that are compared: another process sends, this one receives. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <bench/echo/event.h>

/* What the benchmark does with each event. */
struct sink {
	uint64_t received;
	bool wrong;
	void (*on_event)(struct sink *sink, const uint64_t *scalars); // may be NULL
};

struct source {
	const char *name;
	/* Required. Start the server. Exits on failure. */
	void (*open)(struct source *source);
	/* Required. Have the server send them, and receive all of them. */
	bool (*receive)(struct source *source, const struct event_order *order, struct sink *sink);
	pid_t server;
	void *state;
};

extern struct source source_ring, source_seqpacket, source_sdbus;

static inline void sink_take(struct sink *sink, const uint64_t *scalars)
{
	if (!event_is_good(scalars, sink->received))
		sink->wrong = true;
	sink->received++;
	if (sink->on_event != NULL)
		sink->on_event(sink, scalars);
}
