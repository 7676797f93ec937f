// SPDX-License-Identifier: Apache-2.0
/*
 * The bare ring: the memory, the states and the waiting (wire/waiting.h) of wire/ring.h between two
 * processes that trust each other. One copy of the slot, no checks, no time limits, no objects, no
 * end. What OpenDext takes beyond this is the price of its safety and its model.
 */

#include <bench/caller.h>

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <bench/server.h>
#include <wire/futex.h>
#include <wire/ring_layout.h>

struct bare {
	struct ring_view view;
	int doorbell_fd;
	uint8_t *large;              // shared: a structure, and behind it what comes back
	struct waiting waiting;      // of each side, after the fork
	uint64_t tail;               // of the client
	uint64_t head;               // of the server
	uint32_t server_cpu;         // of the server: what it said last
	_Atomic uint32_t caller_cpu; // of the server: where the last call came from
};

static const uint64_t for_ever_ns = UINT64_C(1) << 60;

/* --- the server --- */

static const struct ring_entry *next_entry(const struct bare *bare)
{
	return &bare->view.entries[bare->head & (bare->view.n_slots - 1)];
}

static bool has_next(const void *context)
{
	const struct bare *bare = context;
	return atomic_load_explicit(&next_entry(bare)->ticket, memory_order_acquire) ==
	       bare->head + 1;
}

static void answer(struct bare *bare, struct ring_slot *slot)
{
	struct ring_slot copy;
	uint64_t scalars[CALLER_SCALARS];
	memcpy(&copy, slot, sizeof(copy));
	atomic_store_explicit(&bare->caller_cpu, copy.caller_cpu, memory_order_relaxed);
	if (bare->server_cpu != waiting_here()) {
		bare->server_cpu = waiting_here();
		atomic_store_explicit(&bare->view.header->server_cpu, bare->server_cpu,
				      memory_order_relaxed);
	}
	if (copy.structure_size != 0) {
		memcpy(bare->large + CALLER_LARGE_MAX, bare->large, copy.structure_size);
	} else {
		ring_load(scalars, copy.payload, sizeof(scalars));
		caller_serve(scalars);
		ring_store(slot->payload, scalars, sizeof(scalars));
	}
	if (atomic_exchange(&slot->state, RING_ANSWERED) == RING_AWAITED)
		futex_wake(&slot->state, 1, FUTEX_SHARED);
}

static void wait_for_call(struct bare *bare, int epoll_fd)
{
	struct ring_header *header = bare->view.header;
	struct waiting_spin spin = { .waiting = &bare->waiting, .peer = &bare->caller_cpu };
	struct epoll_event event;
	if (waiting_spin(&spin, has_next, bare))
		return;
	atomic_store(&header->server_sleeps, 1);
	if (atomic_load(&next_entry(bare)->ticket) == bare->head + 1)
		atomic_store(&header->server_sleeps, 0);
	else
		epoll_pwait2(epoll_fd, &event, 1, NULL, NULL);
}

static void serve(void *context)
{
	struct bare *bare = context;
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, bare->doorbell_fd, &event) < 0)
		server_die("epoll");
	waiting_init(&bare->waiting, WAITING_SERVER);
	server_confine();
	for (;;) {
		while (!has_next(bare))
			wait_for_call(bare, epoll_fd);
		uint32_t index =
			atomic_load_explicit(&next_entry(bare)->slot, memory_order_relaxed);
		bare->head++;
		answer(bare, &bare->view.slots[index]);
	}
}

/* --- the client --- */

static void open_ring(struct caller *caller)
{
	struct bare *bare = calloc(1, sizeof(*bare));
	int memory_fd;
	if (bare == NULL || ring_create(&memory_fd) < 0 ||
	    ring_view_init(&bare->view, memory_fd) < 0)
		server_die("a ring");
	close(memory_fd);
	bare->large = server_shared_memory(2 * (size_t)CALLER_LARGE_MAX);
	bare->doorbell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	caller->state = bare;
	caller->server = server_fork(serve, bare);
	waiting_init(&bare->waiting, WAITING_CALLER);
}

/* `in`, or a structure of `large` bytes. */
static void post(struct bare *bare, uint32_t index, const uint64_t *in, uint32_t large)
{
	struct ring_view *view = &bare->view;
	struct ring_slot *slot = &view->slots[index];
	struct ring_entry *entry = &view->entries[bare->tail & (view->n_slots - 1)];
	if (in != NULL)
		ring_store(slot->payload, in, CALLER_SCALARS * sizeof(*in));
	atomic_store_explicit(&slot->structure_size, large, memory_order_relaxed);
	atomic_store_explicit(&slot->caller_cpu, waiting_here(), memory_order_relaxed);
	atomic_store_explicit(&slot->state, RING_POSTED, memory_order_relaxed);
	atomic_store_explicit(&entry->slot, index, memory_order_relaxed);
	atomic_store(&entry->ticket, ++bare->tail);
	if (atomic_load(&view->header->server_sleeps) != 0 &&
	    atomic_exchange(&view->header->server_sleeps, 0) != 0) {
		static const uint64_t one = 1;
		(void)!write(bare->doorbell_fd, &one, sizeof(one));
	}
}

static bool is_answered(const void *context)
{
	const struct ring_slot *slot = context;
	return atomic_load_explicit(&slot->state, memory_order_acquire) == RING_ANSWERED;
}

static void take(struct bare *bare, uint32_t index, uint64_t *out)
{
	struct ring_slot *slot = &bare->view.slots[index];
	struct waiting_spin spin = {
		.waiting = &bare->waiting,
		.peer = &bare->view.header->server_cpu,
	};
	waiting_spin(&spin, is_answered, slot);
	uint32_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
	while (state != RING_ANSWERED) {
		if (state == RING_AWAITED ||
		    atomic_compare_exchange_strong(&slot->state, &state, RING_AWAITED))
			futex_wait(&slot->state, RING_AWAITED, for_ever_ns, FUTEX_SHARED);
		state = atomic_load_explicit(&slot->state, memory_order_acquire);
	}
	if (out != NULL)
		ring_load(out, slot->payload, CALLER_SCALARS * sizeof(*out));
}

static bool call(struct caller *caller, const uint64_t *in, uint64_t *out)
{
	post(caller->state, 0, in, 0);
	take(caller->state, 0, out);
	return true;
}

static bool call_many(struct caller *caller, const uint64_t *in, uint64_t *out)
{
	for (uint32_t i = 0; i < CALLER_FLIGHT; i++)
		post(caller->state, i, in + i * CALLER_SCALARS, 0);
	for (uint32_t i = 0; i < CALLER_FLIGHT; i++)
		take(caller->state, i, out + i * CALLER_SCALARS);
	return true;
}

/* In place: the server works in memory that both have. */
static bool call_large(struct caller *caller, const uint64_t *in, uint64_t *out, size_t bytes)
{
	struct bare *bare = caller->state;
	memcpy(bare->large, in, bytes);
	post(bare, 0, NULL, (uint32_t)bytes);
	take(bare, 0, NULL);
	memcpy(out, bare->large + CALLER_LARGE_MAX, bytes);
	return true;
}

struct caller caller_ring = {
	.name = "ring",
	.open = open_ring,
	.call = call,
	.call_many = call_many,
	.call_large = call_large,
};
