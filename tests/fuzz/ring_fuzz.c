/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A ring whose memory the peer writes at any moment: both sides of it, in one thread. The input is
 * a list of steps: its first byte says which, its other bytes are what the step needs (zeroes, when
 * the input is at its end).
 *
 * What happens to a caller while it waits, happens in the clock: one who waits looks at the time,
 * and every look lets the peer make one more step. So the peer answers, and writes over its answer,
 * just where it would hurt.
 *
 * Whatever the memory says, each side must give a result that its header names, hand on nothing
 * over a limit, and come back.
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <base/clock.h>
#include <wire/ring_layout.h>

#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEPS_MAX = 200, CLOCK_STEP_NS = 300000 };

static struct {
	int memory_fd, doorbell_fd;
	struct ring_view view; // the scribbler's
	struct ring_server *server;
	struct ring_client *client;
	uint32_t generation;
	bool in_call;
	uint64_t now_ns;
} fuzz;

/* --- the peer's steps --- */

static void scribble(void)
{
	_Atomic uint32_t *words = (_Atomic uint32_t *)(void *)fuzz.view.header;
	uint32_t at = take() | (uint32_t)take() << 8;
	atomic_store(words + at % (fuzz.view.size / 4), take_word());
}

/* The words that matter, without a search: of the slot, the entry or the event of that number. */
static void scribble_part(void)
{
	uint8_t which = take(), index = take();
	struct ring_header *header = fuzz.view.header;
	struct ring_slot *slot = &fuzz.view.slots[index % RING_SLOTS];
	struct ring_entry *entry = &fuzz.view.entries[index % RING_SLOTS];
	struct ring_note *note = &fuzz.view.notes[index % RING_SLOTS];
	struct ring_event_slot *event = &fuzz.view.events[index % RING_EVENTS];
	_Atomic uint32_t *const small[] = {
		&slot->state,
		&slot->kind,
		&slot->n_scalars,
		&slot->n_scalars_out,
		&slot->status,
		&slot->structure_size,
		&slot->structure_out_max,
		&slot->caller_cpu,
		&entry->slot,
		&event->n_scalars,
		&event->status,
		&header->server_cpu,
		&header->waiting,
		&header->closed,
		&header->n_notices,
		&header->server_sleeps,
		&header->client_sleeps,
		&header->generation,
		&note->deaths,
	};
	_Atomic uint64_t *const large[] = {
		&slot->ticket,       &entry->ticket, &event->sequence, &header->event_head,
		&header->event_tail, &header->taken, &slot->async,     &note->replayable,
	};
	enum {
		N_SMALL = sizeof(small) / sizeof(small[0]),
		N_LARGE = sizeof(large) / sizeof(large[0])
	};
	uint32_t value = take_word();
	which %= N_SMALL + N_LARGE + 1;
	if (which < N_SMALL)
		atomic_store(small[which], value);
	else if (which == N_SMALL + N_LARGE)
		atomic_store(&slot->memory, value % (RING_BUFFERS + 2) | (value & 0xffff0300U));
	else
		atomic_store(large[which - N_SMALL], (uint64_t)(int32_t)value);
}

static void check_request(const struct ring_request *request)
{
	assert(request->slot < RING_SLOTS);
	assert(request->kind >= RING_CALL && request->kind < RING_KINDS);
	assert(request->n_scalars <= RING_SCALARS && request->n_scalars_out <= RING_SCALARS);
	assert(ring_sizes_are_valid(request));
}

static void serve(void)
{
	static struct ring_request request;
	static struct ring_reply reply;
	uint8_t how = take();
	reply.status = (how & 1) != 0 ? kIOReturnUnsupported : kIOReturnSuccess;
	reply.n_scalars = take() % (RING_SCALARS + 2);
	reply.structure_size = (take() * 33U) % (RING_BLOCK + 2);
	if ((how & 32) != 0)
		reply.structure_size <<= 16; // up to a bit more than RING_STRUCTURE_MAX
	memset(reply.reason, 'r', sizeof(reply.reason));
	int ret = ring_server_next(fuzz.server, &request);
	assert(ret == 1 || ret == 0 || ret == -EBADMSG);
	if (ret != 1)
		return;
	check_request(&request);
	if ((how & 4) != 0)
		ring_server_note_replayable(fuzz.server, &request);
	if ((how & 2) != 0)
		scribble_part();
	if ((how & 8) != 0)
		return; // it dies with the call in its hands, at the next reopen
	ret = (how & 16) != 0 ? ring_server_refuse_stale(fuzz.server, request.slot)
			      : ring_server_reply(fuzz.server, request.slot, &reply);
	assert(ret == 0 || ret == -EINVAL || ret == -EBADMSG);
}

static void send_event(void)
{
	struct ring_event event = { .async = take(), .n_scalars = take() % (RING_SCALARS + 2) };
	int ret = ring_server_event(fuzz.server, &event);
	assert(ret == 0 || ret == 1 || ret == -ENOSPC || ret == -EBADMSG || ret == -EINVAL);
	assert(!ring_server_event_fits(fuzz.server, RING_EVENTS));
}

static void end(void)
{
	assert(ring_abort(fuzz.memory_fd, (IOReturn)take(), "the end of the ring") == 0);
}

static void act_as_peer(void)
{
	static void (*const steps[])(void) = { scribble, scribble_part, serve, send_event, end };
	steps[take() % (sizeof(steps) / sizeof(steps[0]))]();
}

static uint64_t let_peer_act(void)
{
	if (fuzz.in_call) {
		fuzz.in_call = false; // no step within a step
		act_as_peer();
		fuzz.in_call = true;
	}
	return fuzz.now_ns += CLOCK_STEP_NS;
}

/* --- our steps --- */

static void call(void)
{
	static struct ring_request request;
	static struct ring_reply reply;
	uint8_t kind = take();
	request.kind = (kind & 0x3f) % 5;
	request.input_address = request.output_address = 0;
	request.n_scalars = take() % (RING_SCALARS + 2);
	request.n_scalars_out = take() % (RING_SCALARS + 2);
	request.structure_size = (take() * 33U) % (RING_BLOCK + 2);
	request.structure_out_max = (take() * 33U) % (RING_BLOCK + 2);
	if ((kind & 0x40) != 0)
		request.structure_out_max = RING_VARIABLE;
	request.buffer = request.n_scalars % 3;
	if ((kind & 0x80) != 0) {
		request.structure_size += 2 * RING_BLOCK;
		request.structure_out_max += request.n_scalars * RING_BLOCK;
		request.input_address = 0x7000;
		request.output_address = request.n_scalars * 0x1000U;
	}
	fuzz.in_call = true;
	int ret = ring_client_call(fuzz.client, &request, &reply, 1);
	fuzz.in_call = false;
	assert(ret == 0 || ret == -ETIMEDOUT || ret == -ECONNRESET || ret == -EAGAIN ||
	       ret == -EBADMSG || ret == -EINVAL || ret == -ESTALE);
	if (ret != 0 && ret != -ECONNRESET)
		return;
	assert(memchr(reply.reason, '\0', sizeof(reply.reason)) != NULL);
	assert(reply.n_scalars <= request.n_scalars_out);
	assert(reply.structure_size <= ring_output_limit(request.structure_out_max));
}

static void read_event(void)
{
	struct ring_event event;
	int ret = ring_client_next_event(fuzz.client, &event);
	assert(ret == 1 || ret == 0 || ret == -EBADMSG);
	assert(ret != 1 || event.n_scalars <= RING_SCALARS);
	ret = ring_client_look_event(fuzz.client, 1, &event);
	assert(ret == 1 || ret == 0 || ret == -EBADMSG);
	assert(ret != 1 || event.n_scalars <= RING_SCALARS);
	ring_client_event_sleep(fuzz.client);
}

static void go_to_sleep(void)
{
	ring_client_set_waiting(fuzz.client, take() % WAITING_POLICIES);
	if ((take() & 1) != 0)
		scribble_part(); // the policy
	ring_server_linger(fuzz.server, NULL, NULL);
	ring_server_sleep(fuzz.server);
}

/* A successor, on what the memory says by now. */
static void reopen(void)
{
	struct ring_server *server;
	struct ring_client *client;
	int ret = 0;
	if ((take() & 1) != 0)
		ret = ring_raise_generation(fuzz.memory_fd, ++fuzz.generation, "it died");
	assert(ret == 0);
	ret = ring_server_open(&server, fuzz.memory_fd);
	assert(ret == 0 || ret == -EBADMSG);
	if (ret == 0) {
		ring_server_close(fuzz.server);
		fuzz.server = server;
	}
	ret = ring_client_open(&client, fuzz.memory_fd, fuzz.doorbell_fd);
	assert(ret == 0 || ret == -EBADMSG);
	if (ret == 0) {
		ring_client_close(fuzz.client);
		fuzz.client = client;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const steps[])(void) = { act_as_peer, call, read_event, go_to_sleep, reopen };
	input.data = data;
	input.size = size;
	fuzz.generation = 1;
	clock_set_source(let_peer_act);
	fuzz.doorbell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fuzz.doorbell_fd < 0 || ring_create(&fuzz.memory_fd) < 0 ||
	    ring_view_init(&fuzz.view, fuzz.memory_fd) < 0 ||
	    ring_server_open(&fuzz.server, fuzz.memory_fd) < 0 ||
	    ring_client_open(&fuzz.client, fuzz.memory_fd, fuzz.doorbell_fd) < 0)
		abort();
	for (unsigned n = 0; n < STEPS_MAX && input.size > 0; n++)
		steps[take() % (sizeof(steps) / sizeof(steps[0]))]();
	fuzz.client = ring_client_close(fuzz.client);
	fuzz.server = ring_server_close(fuzz.server);
	ring_view_deinit(&fuzz.view);
	close(fuzz.memory_fd);
	close(fuzz.doorbell_fd);
	return 0;
}
