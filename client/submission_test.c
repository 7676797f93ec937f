/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Calls that are submitted now and waited for later, against a driver in the test's hands: each
 * ends exactly once, whoever waits for it, whatever the driver does, and however many there are.
 */

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/unit_test.h>
#include <client/fake.h>
#include <opendext/client.h>
#include <wire/ring_layout.h>

enum { PATIENCE_MS = 10000 };

static struct fake fake;
static io_service_t service;
static io_connect_t connection;

static void assert_reason(const char *part)
{
	ck_assert_msg(strstr(dext_last_reason(), part) != NULL, "the reason is \"%s\"",
		      dext_last_reason());
}

static void open_all(void)
{
	OSArray *entries = OSArray_withCapacity(1);
	OSNumber *number = OSNumber_withNumber(5, 64);
	OSArray_setObject(entries, OSNumber_as_OSObject(number));
	OSObjectRelease(number);
	fake_init(&fake);
	fake.entries = OSArray_as_OSObject(entries);
	service = IOServiceGetMatchingService(kIOMainPortDefault, IOServiceMatching("Anything"));
	ck_assert_int_eq(IOServiceOpen(service, mach_task_self(), 0, &connection),
			 kIOReturnSuccess);
}

static void close_all(void)
{
	io_iterator_t existing;
	if (connection != IO_OBJECT_NULL)
		ck_assert_int_eq(IOServiceClose(connection), kIOReturnSuccess);
	IOObjectRelease(service);
	fake_deinit(&fake);
	/* The library closes its channel when it notices. */
	IOServiceGetMatchingServices(kIOMainPortDefault, IOServiceMatching("Anything"), &existing);
}

/* --- both sides --- */

static _Atomic uint32_t n_served; // by `echo`

static void fill(const struct ring_request *request, struct ring_reply *reply)
{
	memset(reply, 0, sizeof(*reply));
	reply->n_scalars = request->n_scalars_out;
	for (uint32_t i = 0; i < reply->n_scalars; i++)
		reply->scalars[i] = request->scalars[i] + 1;
	reply->structure_size = request->structure_size < request->structure_out_max
					? request->structure_size
					: request->structure_out_max;
	memcpy(reply->structure, request->structure, reply->structure_size);
}

static bool echo(struct fake *from, const struct ring_request *request, struct ring_reply *reply)
{
	(void)from;
	fill(request, reply);
	atomic_fetch_add(&n_served, 1);
	return true;
}

/* Answer the next call, on this thread. */
static void serve_one(void)
{
	struct ring_request request;
	struct ring_reply reply;
	ck_assert_int_eq(ring_server_next(fake.ring, &request), 1);
	fill(&request, &reply);
	ck_assert_int_eq(ring_server_reply(fake.ring, request.slot, &reply), 0);
}

static kern_return_t submit(uint64_t number, uint32_t options, dext_call_t *call)
{
	return dext_call_submit(connection, 1, &number, 1, NULL, 0, 1, 0, options, call);
}

static void must_submit(uint64_t number, uint32_t options, dext_call_t *call)
{
	kern_return_t status = submit(number, options, call);
	ck_assert_msg(status == kIOReturnSuccess, "%s", dext_last_reason());
}

static kern_return_t await(dext_call_t call, uint64_t *out)
{
	uint32_t n = 1;
	*out = 0;
	return dext_call_wait(call, out, &n, NULL, NULL);
}

static void must_await(dext_call_t call, uint64_t number)
{
	uint64_t out;
	kern_return_t status = await(call, &out);
	ck_assert_msg(status == kIOReturnSuccess, "%s", dext_last_reason());
	ck_assert_uint_eq(out, number + 1);
}

static kern_return_t call_now(void)
{
	uint64_t in = 1, out;
	uint32_t n = 1;
	return IOConnectCallScalarMethod(connection, 1, &in, 1, &out, &n);
}

/* How often was the doorbell rung since the last look? */
static uint64_t rings(void)
{
	struct pollfd bell = { .fd = fake.doorbell_fd, .events = POLLIN };
	uint64_t n = 0;
	if (poll(&bell, 1, 0) == 1)
		ck_assert_int_eq(read(fake.doorbell_fd, &n, sizeof(n)), sizeof(n));
	return n;
}

/* Until a thread sleeps over the call in this slot. */
static void wait_until_awaited(unsigned slot)
{
	struct ring_view view;
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	ck_assert_int_eq(ring_view_init(&view, fake.memory_fd), 0);
	while (atomic_load(&view.slots[slot].state) != RING_AWAITED && clock_now_ns() < deadline)
		sched_yield();
	ck_assert_uint_eq(atomic_load(&view.slots[slot].state), RING_AWAITED);
	ring_view_deinit(&view);
}

/* --- replies --- */

START_TEST(replies_are_those_of_their_calls_in_any_order)
{
	struct fake_driver driver;
	dext_call_t calls[DEXT_CALLS_MAX];
	char text[300] = "structure", back[300];
	open_all();
	fake_driver_start(&driver, &fake, echo);
	for (unsigned round = 0; round < 100; round++) {
		for (unsigned i = 0; i < DEXT_CALLS_MAX; i++) {
			uint64_t in[2] = { i, round };
			text[20] = (char)i;
			ck_assert_int_eq(dext_call_submit(connection, 1, in, 2, text, sizeof(text),
							  2, sizeof(back),
							  i % 3 != 0 ? DEXT_CALL_MORE : 0,
							  &calls[i]),
					 kIOReturnSuccess);
		}
		for (unsigned k = 0; k < DEXT_CALLS_MAX; k++) {
			unsigned i = (k * 11 + round) % DEXT_CALLS_MAX; // 11 and 28: each once
			uint64_t out[2];
			uint32_t n = 2;
			size_t size = sizeof(back);
			ck_assert_int_eq(dext_call_wait(calls[i], out, &n, back, &size),
					 kIOReturnSuccess);
			ck_assert_uint_eq(n, 2);
			ck_assert_uint_eq(out[0], i + 1);
			ck_assert_uint_eq(out[1], round + 1);
			ck_assert_uint_eq(size, sizeof(back));
			ck_assert_int_eq(back[20], (char)i);
		}
	}
	fake_driver_stop(&driver);
	close_all();
}
END_TEST

START_TEST(a_refusal_is_that_of_its_call)
{
	struct ring_reply refusal = { .status = kIOReturnNotPermitted, .reason = "not today" };
	struct ring_request request;
	dext_call_t calls[2];
	uint64_t out;
	open_all();
	must_submit(1, 0, &calls[0]);
	must_submit(2, 0, &calls[1]);
	ck_assert_int_eq(ring_server_next(fake.ring, &request), 1);
	ck_assert_int_eq(ring_server_reply(fake.ring, request.slot, &refusal), 0);
	serve_one();
	must_await(calls[1], 2);
	ck_assert_int_eq(await(calls[0], &out), kIOReturnNotPermitted);
	assert_reason("not today");
	close_all();
}
END_TEST

START_TEST(the_room_is_that_of_the_submission)
{
	dext_call_t call;
	uint64_t in[17] = { 0 }, out[2];
	uint32_t n = 1;
	char bytes[8];
	size_t size = sizeof(bytes);
	struct ring_request request;
	open_all();
	ck_assert_int_eq(dext_call_submit(connection, 0, in, 17, NULL, 0, 0, 0, 0, &call),
			 kIOReturnBadArgument);
	assert_reason("17 input scalars");
	ck_assert_int_eq(dext_call_submit(connection, 0, NULL, 0, NULL, 0, 17, 0, 0, &call),
			 kIOReturnBadArgument);
	assert_reason("17 output scalars");
	ck_assert_int_eq(dext_call_submit(connection, 0, NULL, 0, NULL, 0, 0,
					  (size_t)RING_STRUCTURE_MAX + 1, 0, &call),
			 kIOReturnMessageTooLarge);
	ck_assert_int_eq(dext_call_submit(connection, 0, NULL, 0, NULL, 0, 0, 0, 2, &call),
			 kIOReturnBadArgument);
	assert_reason("option");
	ck_assert_int_eq(dext_call_submit(service, 0, NULL, 0, NULL, 0, 0, 0, 0, &call),
			 kIOReturnBadArgument);
	assert_reason("no connection");
	ck_assert_int_eq(ring_server_next(fake.ring, &request), 0); // none of it arrived

	/* Less room: the call is given up. */
	ck_assert_int_eq(dext_call_submit(connection, 0, in, 2, NULL, 0, 2, 8, 0, &call),
			 kIOReturnSuccess);
	ck_assert_int_eq(dext_call_wait(call, out, &n, bytes, &size), kIOReturnBadArgument);
	assert_reason("room for 2 and 8");
	ck_assert_int_eq(dext_call_wait(call, out, &n, bytes, &size), kIOReturnBadArgument);
	assert_reason("waited for before");
	serve_one();
	/* None at all, where none was promised. */
	ck_assert_int_eq(dext_call_submit(connection, 0, NULL, 0, NULL, 0, 0, 0, 0, &call),
			 kIOReturnSuccess);
	serve_one();
	ck_assert_int_eq(dext_call_wait(call, NULL, NULL, NULL, NULL), kIOReturnSuccess);
	close_all();
}
END_TEST

/* --- who is woken --- */

START_TEST(a_group_rings_once)
{
	dext_call_t calls[5];
	open_all();
	ck_assert(ring_server_sleep(fake.ring));
	for (unsigned i = 0; i < 4; i++) {
		must_submit(i, i < 3 ? DEXT_CALL_MORE : 0, &calls[i]);
		ck_assert_uint_eq(rings(), i < 3 ? 0 : 1);
	}
	must_submit(4, 0, &calls[4]); // the driver is awake by now
	ck_assert_uint_eq(rings(), 0);
	for (unsigned i = 0; i < 5; i++)
		serve_one();
	ck_assert(ring_server_sleep(fake.ring));
	for (unsigned i = 0; i < 5; i++)
		must_await(calls[i], i);
	ck_assert_uint_eq(rings(), 0); // what has been answered needs no driver
	close_all();
}
END_TEST

START_TEST(a_flush_rings_for_what_was_held_back)
{
	dext_call_t call;
	open_all();
	ck_assert(ring_server_sleep(fake.ring));
	must_submit(1, DEXT_CALL_MORE, &call);
	ck_assert_uint_eq(rings(), 0);
	ck_assert_int_eq(dext_call_flush(connection), kIOReturnSuccess);
	ck_assert_uint_eq(rings(), 1);
	serve_one();
	must_await(call, 1);
	ck_assert_int_eq(dext_call_flush(service), kIOReturnBadArgument);
	close_all();
}
END_TEST

static void *await_first(void *context)
{
	must_await(*(dext_call_t *)context, 0);
	return NULL;
}

START_TEST(a_wait_rings_for_what_was_held_back)
{
	struct pollfd bell = { .events = POLLIN };
	pthread_t thread;
	dext_call_t calls[2];
	open_all();
	bell.fd = fake.doorbell_fd;
	ck_assert(ring_server_sleep(fake.ring));
	must_submit(0, DEXT_CALL_MORE, &calls[0]);
	must_submit(1, DEXT_CALL_MORE, &calls[1]);
	pthread_create(&thread, NULL, await_first, &calls[0]);
	ck_assert_int_eq(poll(&bell, 1, PATIENCE_MS), 1);
	serve_one();
	serve_one();
	pthread_join(thread, NULL);
	must_await(calls[1], 1);
	close_all();
}
END_TEST

START_TEST(a_submitted_call_needs_no_wait)
{
	struct fake_driver driver;
	dext_call_t call;
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	open_all();
	fake_driver_start(&driver, &fake, echo);
	must_submit(1, 0, &call);
	while (atomic_load(&n_served) == 0 && clock_now_ns() < deadline)
		sched_yield();
	ck_assert_uint_eq(atomic_load(&n_served), 1);
	must_await(call, 1);
	fake_driver_stop(&driver);
	close_all();
}
END_TEST

/* One who waits for the first of a group sleeps over the last, but not for ever. */
START_TEST(a_slow_last_call_does_not_hold_the_first_one)
{
	dext_call_t calls[3];
	pthread_t thread;
	open_all();
	for (unsigned i = 0; i < 3; i++)
		must_submit(i, i < 2 ? DEXT_CALL_MORE : 0, &calls[i]);
	pthread_create(&thread, NULL, await_first, &calls[0]);
	wait_until_awaited(2);
	serve_one();
	pthread_join(thread, NULL); // the others are still with the driver
	serve_one();
	serve_one();
	must_await(calls[1], 1);
	must_await(calls[2], 2);
	close_all();
}
END_TEST

/* --- how many --- */

START_TEST(more_than_there_are_places_for_are_refused)
{
	struct fake_driver driver;
	dext_call_t calls[DEXT_CALLS_MAX], more;
	open_all();
	for (unsigned i = 0; i < DEXT_CALLS_MAX; i++)
		must_submit(i, 0, &calls[i]);
	ck_assert_int_eq(submit(0, 0, &more), kIOReturnNoResources);
	assert_reason("28 calls are submitted");
	fake_driver_start(&driver, &fake, echo);
	ck_assert_int_eq(call_now(), kIOReturnSuccess); // a synchronous one still gets through
	ck_assert_int_eq(submit(0, 0, &more), kIOReturnNoResources); // an answer frees no place
	must_await(calls[7], 7);
	must_submit(70, 0, &calls[7]);
	ck_assert_int_eq(dext_call_abandon(calls[8]), kIOReturnSuccess);
	must_submit(80, 0, &calls[8]);
	for (unsigned i = 0; i < DEXT_CALLS_MAX; i++)
		must_await(calls[i], i == 7 || i == 8 ? i * 10 : i);
	fake_driver_stop(&driver);
	close_all();
}
END_TEST

START_TEST(calls_given_up_keep_their_slots_until_they_are_answered)
{
	dext_call_t call;
	open_all();
	for (unsigned i = 0; i < RING_SLOTS; i++) {
		must_submit(i, 0, &call);
		ck_assert_int_eq(dext_call_abandon(call), kIOReturnSuccess);
	}
	ck_assert_int_eq(submit(0, 0, &call), kIOReturnNoResources);
	assert_reason("32 calls");
	serve_one();
	must_submit(5, 0, &call);
	for (unsigned i = 0; i < RING_SLOTS; i++)
		serve_one();
	must_await(call, 5);
	close_all();
}
END_TEST

/* --- once --- */

START_TEST(a_call_ends_once)
{
	dext_call_t call, other;
	uint64_t out;
	open_all();
	must_submit(1, 0, &call);
	serve_one();
	must_await(call, 1);
	ck_assert_int_eq(await(call, &out), kIOReturnBadArgument);
	assert_reason("waited for before");
	ck_assert_int_eq(dext_call_abandon(call), kIOReturnBadArgument);
	must_submit(2, 0, &other); // in the same place
	ck_assert_uint_ne(call, other);
	ck_assert_int_eq(await(call, &out), kIOReturnBadArgument);
	ck_assert_int_eq(dext_call_abandon(other), kIOReturnSuccess);
	ck_assert_int_eq(await(other, &out), kIOReturnBadArgument);
	serve_one();
	ck_assert_int_eq(await(0, &out), kIOReturnBadArgument);
	ck_assert_int_eq(await((uint64_t)connection << 32 | 0xff, &out), kIOReturnBadArgument);
	ck_assert_int_eq(await((uint64_t)service << 32, &out), kIOReturnBadArgument);
	assert_reason("no connection");
	close_all();
}
END_TEST

static void *await_in_thread(void *context)
{
	const dext_call_t *call = context;
	uint64_t out;
	return (void *)(intptr_t)await(*call, &out);
}

START_TEST(another_thread_may_wait_but_one_alone)
{
	pthread_t thread;
	dext_call_t call;
	uint64_t out;
	void *status;
	open_all();
	must_submit(1, 0, &call);
	pthread_create(&thread, NULL, await_in_thread, &call);
	wait_until_awaited(0);
	ck_assert_int_eq(await(call, &out), kIOReturnBusy);
	assert_reason("another thread");
	ck_assert_int_eq(dext_call_abandon(call), kIOReturnBusy);
	serve_one();
	pthread_join(thread, &status);
	ck_assert_int_eq((kern_return_t)(intptr_t)status, kIOReturnSuccess);
	close_all();
}
END_TEST

START_TEST(closing_ends_what_is_waited_for)
{
	pthread_t thread;
	dext_call_t calls[2];
	uint64_t out;
	void *status;
	open_all();
	must_submit(1, 0, &calls[0]);
	must_submit(2, 0, &calls[1]);
	pthread_create(&thread, NULL, await_in_thread, &calls[0]);
	wait_until_awaited(0);
	ck_assert_int_eq(IOServiceClose(connection), kIOReturnSuccess);
	pthread_join(thread, &status);
	ck_assert_int_eq((kern_return_t)(intptr_t)status, kIOReturnAborted);
	ck_assert_int_eq(await(calls[1], &out), kIOReturnBadArgument);
	assert_reason("was released");
	connection = IO_OBJECT_NULL;
	close_all();
}
END_TEST

/* --- time --- */

static _Atomic uint64_t time_ns;

static uint64_t frozen(void)
{
	return atomic_load(&time_ns);
}

START_TEST(the_time_limit_begins_with_the_submission)
{
	dext_call_t calls[2];
	uint64_t out;
	open_all();
	atomic_store(&time_ns, clock_now_ns());
	clock_set_source(frozen);
	dext_call_timeout_set(20000);
	must_submit(1, 0, &calls[0]);
	must_submit(2, 0, &calls[1]);
	dext_call_timeout_set(30000); // binds those after it
	atomic_fetch_add(&time_ns, UINT64_C(20000) * 1000000U);
	serve_one();
	must_await(calls[0], 1); // an answer that is there is taken
	ck_assert_int_eq(await(calls[1], &out), kIOReturnTimeout);
	assert_reason("20000 ms");
	ck_assert_int_eq(await(calls[1], &out), kIOReturnBadArgument);
	clock_set_source(NULL);
	serve_one(); // late: nobody minds
	must_submit(3, 0, &calls[0]);
	serve_one();
	must_await(calls[0], 3);
	close_all();
}
END_TEST

/* --- bad drivers --- */

START_TEST(the_end_of_a_driver_ends_each_once)
{
	dext_call_t calls[8];
	uint64_t out;
	open_all();
	for (unsigned i = 0; i < 8; i++)
		must_submit(i, i % 2 == 0 ? DEXT_CALL_MORE : 0, &calls[i]);
	serve_one();
	serve_one();
	ck_assert_int_eq(ring_abort(fake.memory_fd, kIOReturnAborted, "the driver died"), 0);
	must_await(calls[1], 1);
	for (unsigned i = 2; i < 8; i++) {
		ck_assert_int_eq(await(calls[i], &out), kIOReturnAborted);
		assert_reason("the driver died");
		ck_assert_int_eq(await(calls[i], &out), kIOReturnBadArgument);
	}
	must_await(calls[0], 0);
	ck_assert_int_eq(submit(9, 0, &calls[0]), kIOReturnOffline);
	assert_reason("the driver died");
	close_all();
}
END_TEST

/* Nobody aborts the ring: the wait finds it out. */
START_TEST(a_wait_finds_its_driver_gone_by_itself)
{
	dext_call_t calls[2];
	uint64_t out;
	open_all();
	must_submit(1, DEXT_CALL_MORE, &calls[0]);
	must_submit(2, 0, &calls[1]);
	close_fdp(&fake.socket_fd);
	fake_hang_up(&fake);
	ck_assert_int_eq(await(calls[0], &out), kIOReturnAborted);
	assert_reason("ended");
	ck_assert_int_eq(await(calls[1], &out), kIOReturnAborted);
	close_all();
}
END_TEST

static void end_with(uint32_t state, uint32_t n_scalars)
{
	struct ring_view view;
	dext_call_t calls[2];
	uint64_t out;
	open_all();
	ck_assert_int_eq(ring_view_init(&view, fake.memory_fd), 0);
	must_submit(1, 0, &calls[0]);
	must_submit(2, 0, &calls[1]);
	atomic_store(&view.slots[0].n_scalars, n_scalars);
	atomic_store(&view.slots[0].status, kIOReturnSuccess);
	atomic_store(&view.slots[0].state, state);
	ck_assert_int_eq(await(calls[0], &out), kIOReturnIPCError);
	assert_reason("malformed reply");
	ck_assert_int_eq(await(calls[1], &out), kIOReturnIPCError);
	ck_assert_int_eq(submit(3, 0, &calls[0]), kIOReturnOffline);
	ring_view_deinit(&view);
	close_all();
}

START_TEST(a_driver_that_scribbles_ends_the_connection)
{
	end_with(RING_ANSWERED, RING_SCALARS);
	end_with(RING_ANSWERED, UINT32_MAX);
	end_with(77, 1);
	end_with(RING_UNUSED, 1);
}
END_TEST

UNIT_TESTS("submission", replies_are_those_of_their_calls_in_any_order,
	   a_refusal_is_that_of_its_call, the_room_is_that_of_the_submission, a_group_rings_once,
	   a_flush_rings_for_what_was_held_back, a_wait_rings_for_what_was_held_back,
	   a_submitted_call_needs_no_wait, a_slow_last_call_does_not_hold_the_first_one,
	   more_than_there_are_places_for_are_refused,
	   calls_given_up_keep_their_slots_until_they_are_answered, a_call_ends_once,
	   another_thread_may_wait_but_one_alone, closing_ends_what_is_waited_for,
	   the_time_limit_begins_with_the_submission, the_end_of_a_driver_ends_each_once,
	   a_wait_finds_its_driver_gone_by_itself, a_driver_that_scribbles_ends_the_connection)
