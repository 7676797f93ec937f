/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A ring whose server dies and is followed by another. A death is a server that is closed: whatever
 * it had in its hands stays as it is in the memory.
 */

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <base/unit_test.h>
#include <wire/ring_layout.h>

enum { PATIENCE_MS = 20000, CALLS = 4 };

static int memory_fd, doorbell_fd;
static uint32_t generation;
static struct ring_server *server;
static struct ring_client *client;

static void begin(void)
{
	generation = 1;
	ck_assert_int_eq(ring_create(&memory_fd), 0);
	doorbell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ck_assert_int_ge(doorbell_fd, 0);
	ck_assert_int_eq(ring_server_open(&server, memory_fd), 0);
	ck_assert_int_eq(ring_client_open(&client, memory_fd, doorbell_fd), 0);
}

static void end(void)
{
	client = ring_client_close(client);
	server = ring_server_close(server);
	close(memory_fd);
	close(doorbell_fd);
}

static void succeed(void)
{
	server = ring_server_close(server);
	ck_assert_int_eq(ring_raise_generation(memory_fd, ++generation, "of old age"), 0);
	ck_assert_int_eq(ring_server_open(&server, memory_fd), 0);
	ck_assert_uint_eq(ring_server_generation(server), generation);
}

/* --- a call under way, in a thread --- */

struct call {
	pthread_t thread;
	struct ring_request request;
	struct ring_reply reply;
	int result;
};

static void *run(void *context)
{
	struct call *call = context;
	call->result = ring_client_call(client, &call->request, &call->reply, PATIENCE_MS);
	return NULL;
}

/* How many calls were ever submitted. */
static uint64_t count_submitted(const struct ring_view *view)
{
	uint64_t highest = 0;
	for (uint32_t i = 0; i < view->n_slots; i++) {
		uint64_t ticket = atomic_load(&view->entries[i].ticket);
		highest = ticket > highest ? ticket : highest;
	}
	return highest;
}

static void start(struct call *call, uint32_t kind, uint64_t selector)
{
	*call = (struct call){ .request = { .kind = kind, .selector = selector } };
	call->request.n_scalars = call->request.n_scalars_out = 2;
	call->request.scalars[0] = selector * 10;
	call->request.scalars[1] = selector * 10 + 1;
	ck_assert_int_eq(pthread_create(&call->thread, NULL, run, call), 0);
}

/* It lies in the ring when this returns. */
static void submit(struct call *call, uint32_t kind, uint64_t selector)
{
	struct ring_view view;
	ck_assert_int_eq(ring_view_init(&view, memory_fd), 0);
	uint64_t before = count_submitted(&view);
	start(call, kind, selector);
	while (count_submitted(&view) == before)
		sched_yield();
	ring_view_deinit(&view);
}

static void take(struct ring_request *request, uint64_t selector)
{
	ck_assert_int_eq(ring_server_next(server, request), 1);
	ck_assert_uint_eq(request->selector, selector);
	ck_assert_uint_eq(request->scalars[0], selector * 10);
	ck_assert_uint_eq(request->scalars[1], selector * 10 + 1);
}

static void answer(const struct ring_request *request)
{
	struct ring_reply reply = { .status = kIOReturnSuccess, .n_scalars = 2 };
	reply.scalars[0] = request->scalars[0] + 1;
	reply.scalars[1] = request->scalars[1] + 1;
	ck_assert_int_eq(ring_server_reply(server, request->slot, &reply), 0);
}

static void expect_answer(struct call *call)
{
	pthread_join(call->thread, NULL);
	ck_assert_int_eq(call->result, 0);
	ck_assert_int_eq(call->reply.status, kIOReturnSuccess);
	ck_assert_uint_eq(call->reply.n_scalars, 2);
	ck_assert_uint_eq(call->reply.scalars[0], call->request.scalars[0] + 1);
	ck_assert_uint_eq(call->reply.generation, generation);
}

static void expect_abort(struct call *call, const char *reason)
{
	pthread_join(call->thread, NULL);
	ck_assert_int_eq(call->result, 0);
	ck_assert_int_eq(call->reply.status, kIOReturnAborted);
	ck_assert_str_eq(call->reply.reason, reason);
	ck_assert_uint_eq(call->reply.generation, generation);
}

static void expect_nothing_waits(void)
{
	struct ring_request request;
	ck_assert_int_eq(ring_server_next(server, &request), 0);
}

/* --- calls --- */

START_TEST(a_call_that_nobody_took_is_served)
{
	struct call call;
	struct ring_request request;
	begin();
	submit(&call, RING_CALL, 1);
	succeed();
	take(&request, 1);
	answer(&request);
	expect_answer(&call);
	expect_nothing_waits();
	end();
}
END_TEST

START_TEST(a_call_that_was_taken_is_aborted)
{
	struct call call;
	struct ring_request request;
	begin();
	submit(&call, RING_CALL, 1);
	take(&request, 1);
	succeed();
	expect_abort(&call, "the driver died while it executed this call: of old age");
	expect_nothing_waits();

	/* And its slot is as good as any. */
	for (uint64_t i = 0; i < 3 * RING_SLOTS; i++) {
		submit(&call, RING_CALL, i);
		take(&request, i);
		answer(&request);
		expect_answer(&call);
	}
	end();
}
END_TEST

START_TEST(a_replayable_call_comes_again_and_is_answered_once)
{
	struct call call;
	struct ring_request request;
	begin();
	submit(&call, RING_CALL, 1);
	take(&request, 1);
	ring_server_note_replayable(server, &request);
	succeed();
	take(&request, 1);
	expect_nothing_waits();
	answer(&request);
	expect_answer(&call);
	ck_assert_int_eq(ring_server_reply(server, request.slot, &call.reply), -EINVAL);
	succeed();
	expect_nothing_waits();
	end();
}
END_TEST

/* The note is of one call, not of its slot. */
START_TEST(a_note_does_not_outlive_its_call)
{
	struct call call;
	struct ring_request request;
	begin();
	for (uint64_t i = 0; i < 2 * RING_SLOTS; i++) { // each slot is noted once
		submit(&call, RING_CALL, i);
		take(&request, i);
		ring_server_note_replayable(server, &request);
		answer(&request);
		expect_answer(&call);
	}
	struct ring_view view;
	ck_assert_int_eq(ring_view_init(&view, memory_fd), 0);
	for (uint32_t i = 0; i < view.n_slots; i++)
		ck_assert_uint_eq(atomic_load(&view.notes[i].replayable), 0);
	ring_view_deinit(&view);
	submit(&call, RING_CALL, 1);
	take(&request, 1);
	succeed();
	expect_abort(&call, "the driver died while it executed this call: of old age");
	end();
}
END_TEST

START_TEST(a_replayable_call_that_kills_its_servers_is_aborted)
{
	struct call call;
	struct ring_request request;
	begin();
	submit(&call, RING_CALL, 1);
	take(&request, 1);
	ring_server_note_replayable(server, &request);
	for (uint32_t i = 1; i < RING_DEATHS; i++) {
		succeed();
		take(&request, 1);
		ring_server_note_replayable(server, &request);
	}
	succeed();
	expect_abort(&call, "the driver died each time that it executed this call: of old age");
	expect_nothing_waits();
	end();
}
END_TEST

/* One that dies before it comes to them leaves them to the next. */
START_TEST(replays_come_in_order_and_before_the_rest)
{
	struct call calls[CALLS];
	struct ring_request request;
	begin();
	for (uint64_t i = 0; i < CALLS; i++)
		submit(&calls[i], RING_CALL, 1 + i);
	for (uint64_t i = 0; i < CALLS - 1; i++) {
		take(&request, 1 + i);
		if (i != 1)
			ring_server_note_replayable(server, &request);
	}
	succeed();
	expect_abort(&calls[1], "the driver died while it executed this call: of old age");
	take(&request, 1);
	succeed();
	static const uint64_t order[] = { 1, 3, 4 };
	for (unsigned i = 0; i < 3; i++) {
		take(&request, order[i]);
		answer(&request);
		expect_answer(&calls[order[i] - 1]);
	}
	expect_nothing_waits();
	end();
}
END_TEST

START_TEST(a_call_that_relies_on_another_generation_is_stale)
{
	struct call call;
	struct ring_request request;
	begin();
	succeed();
	submit(&call, RING_CALL, 1);
	take(&request, 1);
	ck_assert_int_eq(ring_server_refuse_stale(server, request.slot), 0);
	pthread_join(call.thread, NULL);
	ck_assert_int_eq(call.result, -ESTALE);
	ck_assert_uint_eq(call.reply.generation, 2);
	ck_assert_int_eq(ring_server_refuse_stale(server, request.slot), -EINVAL);
	ck_assert_int_eq(ring_server_refuse_stale(server, RING_SLOTS), -EINVAL);
	end();
}
END_TEST

START_TEST(a_share_that_was_taken_is_stale)
{
	struct call call;
	struct ring_request request;
	begin();
	submit(&call, RING_SHARE, 0);
	take(&request, 0);
	succeed();
	pthread_join(call.thread, NULL);
	ck_assert_int_eq(call.result, -ESTALE);
	ck_assert_uint_eq(call.reply.generation, 2);
	end();
}
END_TEST

/* --- events --- */

static void expect_event(uint64_t async)
{
	struct ring_event event;
	ck_assert_int_eq(ring_client_next_event(client, &event), 1);
	ck_assert_uint_eq(event.async, async);
}

START_TEST(events_go_on)
{
	struct ring_event event = { .async = 1 };
	begin();
	for (; event.async <= RING_EVENTS + 2; event.async++) {
		ck_assert_int_ge(ring_server_event(server, &event), 0);
		if (event.async % 3 == 0)
			succeed();
		expect_event(event.async);
	}
	end();
}
END_TEST

START_TEST(an_event_whose_place_was_only_taken_is_written_over)
{
	struct ring_event event = { .async = 1 }, none;
	struct ring_view view;
	begin();
	ck_assert_int_ge(ring_server_event(server, &event), 0);
	ck_assert_int_eq(ring_view_init(&view, memory_fd), 0);
	atomic_fetch_add(&view.header->event_tail, 1);
	ring_view_deinit(&view);
	succeed();
	event.async = 2;
	ck_assert_int_ge(ring_server_event(server, &event), 0);
	expect_event(1);
	expect_event(2);
	ck_assert_int_eq(ring_client_next_event(client, &none), 0);
	end();
}
END_TEST

/* --- a peer that scribbles --- */

static struct ring_view scribbler;

static void begin_to_scribble(void)
{
	begin();
	ck_assert_int_eq(ring_view_init(&scribbler, memory_fd), 0);
	server = ring_server_close(server);
	ck_assert_int_eq(ring_raise_generation(memory_fd, ++generation, "of old age"), 0);
}

static void end_scribbling(void)
{
	ring_view_deinit(&scribbler);
	end();
}

START_TEST(a_reader_that_is_ahead_is_refused)
{
	begin_to_scribble();
	atomic_store(&scribbler.header->event_head, 1);
	ck_assert_int_eq(ring_server_open(&server, memory_fd), -EBADMSG);
	end_scribbling();
}
END_TEST

/* What it says was taken is settled, and hurts nobody: the answers find no caller. */
START_TEST(tickets_of_a_scribbler_are_settled_within_bounds)
{
	struct ring_request request;
	begin_to_scribble();
	atomic_store(&scribbler.header->taken, UINT64_MAX / 2);
	for (uint32_t i = 0; i < RING_SLOTS; i++) {
		atomic_store(&scribbler.slots[i].state, RING_POSTED);
		atomic_store(&scribbler.slots[i].ticket, 7);
		atomic_store(&scribbler.slots[i].kind, UINT32_MAX);
		atomic_store(&scribbler.slots[i].structure_size, UINT32_MAX);
		atomic_store(&scribbler.notes[i].replayable, i % 2 == 0 ? 7 : 0);
		atomic_store(&scribbler.notes[i].deaths, i == 0 ? UINT32_MAX - 1 : 0);
	}
	ck_assert_int_eq(ring_server_open(&server, memory_fd), 0);
	ck_assert_int_eq(ring_server_next(server, &request), -EBADMSG);
	end_scribbling();
}
END_TEST

UNIT_TESTS("ring successor", a_call_that_nobody_took_is_served, a_call_that_was_taken_is_aborted,
	   a_replayable_call_comes_again_and_is_answered_once, a_note_does_not_outlive_its_call,
	   a_replayable_call_that_kills_its_servers_is_aborted,
	   replays_come_in_order_and_before_the_rest,
	   a_call_that_relies_on_another_generation_is_stale, a_share_that_was_taken_is_stale,
	   events_go_on, an_event_whose_place_was_only_taken_is_written_over,
	   a_reader_that_is_ahead_is_refused, tickets_of_a_scribbler_are_settled_within_bounds)
