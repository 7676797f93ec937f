// SPDX-License-Identifier: Apache-2.0
/*
 * Many at a time: threads on one connection, connections beside a busy one, events that come faster
 * than they are read.
 */

#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <opendext/client.h>
#include <wire/ring.h>

#include "rig.h"
#include "victim.h"

static struct rig rig;
static io_connect_t victim;

static void begin(void)
{
	rig_start(&rig, NULL, NULL);
	victim = rig_open();
}

/* A driver has a worker for each CPU that it may use. This test has the other CPUs to itself, where
 * there are any. */
static void begin_with_one_worker(void)
{
	cpu_set_t all, one, others;
	int here = sched_getcpu();
	ck_assert_int_eq(sched_getaffinity(0, sizeof(all), &all), 0);
	CPU_ZERO(&one);
	CPU_SET(here, &one);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(one), &one), 0);
	begin();
	CPU_XOR(&others, &all, &one);
	if (CPU_COUNT(&others) > 0)
		ck_assert_int_eq(sched_setaffinity(0, sizeof(others), &others), 0);
}

static void end(void)
{
	ck_assert_int_eq(IOServiceClose(victim), kIOReturnSuccess);
	rig_stop(&rig);
}

/* A thread that calls. What went wrong is counted here, for Check's own notes are slow. */
struct caller {
	pthread_t thread;
	io_connect_t connect;
	uint64_t number; // marks its calls
	uint32_t n_calls;
	uint32_t n_failed, n_mixed_up;
};

static void call_once(struct caller *c, uint32_t i)
{
	uint64_t in[16], out[16] = { 0 };
	uint32_t count = 16;
	for (uint32_t k = 0; k < 16; k++)
		in[k] = c->number << 48 | (uint64_t)i << 16 | k;
	if (IOConnectCallScalarMethod(c->connect, VICTIM_ECHO, in, 16, out, &count) !=
	    kIOReturnSuccess)
		c->n_failed++;
	for (uint32_t k = 0; k < 16; k++)
		if (count != 16 || out[k] != in[k])
			c->n_mixed_up++;
}

static void *run(void *context)
{
	struct caller *c = context;
	for (uint32_t i = 0; i < c->n_calls; i++)
		call_once(c, i);
	return NULL;
}

static void start(struct caller *c)
{
	ck_assert_int_eq(pthread_create(&c->thread, NULL, run, c), 0);
}

static void join(struct caller *c)
{
	pthread_join(c->thread, NULL);
	ck_assert_uint_eq(c->n_failed, 0);
	ck_assert_uint_eq(c->n_mixed_up, 0);
}

/* More threads than a ring has slots: some wait for one, and none is refused. */
START_TEST(every_reply_is_that_of_its_call)
{
	enum { THREADS = RING_SLOTS + 8, CALLS = 250 };
	static struct caller callers[THREADS];
	for (unsigned i = 0; i < THREADS; i++) {
		callers[i] = (struct caller){ .connect = victim, .number = i, .n_calls = CALLS };
		start(&callers[i]);
	}
	for (unsigned i = 0; i < THREADS; i++)
		join(&callers[i]);
}
END_TEST

/* --- beside a busy connection --- */

static void assert_success(kern_return_t ret)
{
	ck_assert_msg(ret == kIOReturnSuccess, "%s: %s", IOReturnString(ret), dext_last_reason());
}

static dext_call_t submit(io_connect_t connect, uint64_t microseconds)
{
	dext_call_t call = 0;
	assert_success(dext_call_submit(connect, VICTIM_SERVED, &microseconds, 1, NULL, 0, 1, 0, 0,
					&call));
	return call;
}

/* How many calls the driver had served before this one. */
static uint64_t served_before(dext_call_t call)
{
	uint64_t out = 0;
	uint32_t count = 1;
	assert_success(dext_call_wait(call, &out, &count, NULL, NULL));
	return out;
}

static const _Atomic uint32_t *map_words(void)
{
	mach_vm_address_t address = 0;
	mach_vm_size_t size = 0;
	assert_success(IOConnectMapMemory64(victim, VICTIM_TYPE_SHARED, mach_task_self(), &address,
					    &size, kIOMapAnywhere));
	return (const _Atomic uint32_t *)(uintptr_t)address;
}

enum { BUSY_US = 20 }; // of a busy call: longer than this test takes to replace it

/* Take the answer to the oldest of the busy connection's calls, and make another. */
static void replace(dext_call_t *oldest)
{
	served_before(*oldest);
	*oldest = submit(victim, BUSY_US);
}

/* A turn is 16 calls, and after some turns the driver looks who else is there: it serves so many
 * before another's call, and no more. What it had served when the call was posted is asked after
 * that, so a test that does not get its time sees fewer, and a ring that runs empty. */
START_TEST(a_busy_connection_starves_no_other)
{
	enum { TURN = 16, TURNS = 8, CALLS = 20 };
	const _Atomic uint32_t *words = map_words();
	io_connect_t modest = rig_open();
	dext_call_t busy[DEXT_CALLS_MAX];
	for (unsigned i = 0; i < DEXT_CALLS_MAX; i++)
		busy[i] = submit(victim, BUSY_US);
	for (unsigned n = 0; n < CALLS; n++) {
		dext_call_t call = submit(modest, 0);
		uint64_t before = atomic_load(&words[VICTIM_SERVED_WORD]);
		for (unsigned i = 0; i < 2 * TURN * TURNS; i++)
			replace(&busy[i % DEXT_CALLS_MAX]);
		uint64_t mine = served_before(call);
		ck_assert_msg(mine <= before + TURN * TURNS, "%llu others came first",
			      (unsigned long long)(mine - before));
	}
	for (unsigned i = 0; i < DEXT_CALLS_MAX; i++)
		served_before(busy[i]);
	ck_assert_int_eq(IOServiceClose(modest), kIOReturnSuccess);
}
END_TEST

/* --- events --- */

struct listener {
	IONotificationPortRef port;
	int n_events;
	int n_wanted; // then `reached` is set
	int reached;
	bool out_of_order;
};

static void on_event(void *refcon, IOReturn result, void *number)
{
	struct listener *l = refcon;
	if (result != kIOReturnSuccess || (uint64_t)(uintptr_t)number != (uint64_t)l->n_events)
		l->out_of_order = true;
	if (++l->n_events == l->n_wanted)
		l->reached = 1;
}

static void keep_an_action(struct listener *l)
{
	l->port = IONotificationPortCreate(kIOMainPortDefault);
	ck_assert_ptr_nonnull(l->port);
	uint64_t reference[kIOAsyncCalloutCount] = { 0 };
	reference[kIOAsyncCalloutFuncIndex] = (uint64_t)(uintptr_t)on_event;
	reference[kIOAsyncCalloutRefconIndex] = (uint64_t)(uintptr_t)l;
	ck_assert_int_eq(IOConnectCallAsyncScalarMethod(
				 victim, VICTIM_KEEP, IONotificationPortGetMachPort(l->port),
				 reference, kIOAsyncCalloutCount, NULL, 0, NULL, NULL),
			 kIOReturnSuccess);
}

static void let_go(struct listener *l)
{
	const uint64_t drop = 0;
	ck_assert_int_eq(IOConnectCallScalarMethod(victim, VICTIM_RELEASE, &drop, 1, NULL, NULL),
			 kIOReturnSuccess);
	IONotificationPortDestroy(l->port);
}

/* How many completions the driver could make before one was refused. */
static uint64_t burst(uint64_t n, kern_return_t *last)
{
	uint64_t out[2];
	uint32_t count = 2;
	ck_assert_int_eq(IOConnectCallScalarMethod(victim, VICTIM_BURST, &n, 1, out, &count),
			 kIOReturnSuccess);
	*last = (kern_return_t)(uint32_t)out[1];
	return out[0];
}

START_TEST(a_burst_arrives_in_order)
{
	struct listener l = { .n_wanted = 50 };
	kern_return_t last;
	keep_an_action(&l);
	ck_assert_uint_eq(burst(50, &last), 50);
	ck_assert_int_eq(last, kIOReturnSuccess);
	rig_wait_flag(l.port, &l.reached);
	ck_assert_int_eq(l.n_events, 50);
	ck_assert(!l.out_of_order);
	let_go(&l);
}
END_TEST

/* The ring fills, the driver is told at once and goes on; so does the application. */
START_TEST(who_does_not_read_blocks_nobody)
{
	struct listener l = { .n_wanted = RING_EVENTS };
	kern_return_t last;
	keep_an_action(&l);
	ck_assert_uint_eq(burst(1000, &last), RING_EVENTS);
	ck_assert_int_eq(last, kIOReturnNoSpace);
	uint64_t value = 7, out = 0;
	uint32_t count = 1;
	ck_assert_int_eq(IOConnectCallScalarMethod(victim, VICTIM_ECHO, &value, 1, &out, &count),
			 kIOReturnSuccess);
	ck_assert_uint_eq(out, 7);
	rig_wait_flag(l.port, &l.reached);
	ck_assert(!l.out_of_order);
	ck_assert_uint_eq(burst(1, &last), 1); // there is room again
	let_go(&l);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("many");
	TCase *tcase = tcase_create("many");
	tcase_add_checked_fixture(tcase, begin, end);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, every_reply_is_that_of_its_call);
	tcase_add_test(tcase, a_burst_arrives_in_order);
	tcase_add_test(tcase, who_does_not_read_blocks_nobody);
	suite_add_tcase(suite, tcase);
	TCase *one_worker = tcase_create("one worker");
	tcase_add_checked_fixture(one_worker, begin_with_one_worker, end);
	tcase_set_timeout(one_worker, 60);
	tcase_add_test(one_worker, a_busy_connection_starves_no_other);
	suite_add_tcase(suite, one_worker);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
