/* SPDX-License-Identifier: Apache-2.0 */

/* Several workers: who runs what, and that one which waits or is busy stops no other. */

#include <runtime/unit_pool.h>

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <base/clock.h>

/* A doorbell: an edge-triggered eventfd that is never read. */
struct bell {
	IODispatchQueue *queue;
	struct fd_source *source;
	int fd;
	void (*then)(struct bell *bell);
	struct bell *other;
	_Atomic unsigned calls;
	struct loop *heard_on; // the loop of the thread that ran it
};

static void ring(struct bell *bell)
{
	static const uint64_t one = 1;

	ck_assert_int_eq(write(bell->fd, &one, sizeof(one)), sizeof(one));
}

static void on_bell(void *context, uint32_t ready)
{
	struct bell *bell = context;

	(void)ready;
	ck_assert(IODispatchQueue_OnQueue(bell->queue));
	bell->heard_on = self_thread.loop;
	bell->calls++;
	bell->then(bell);
}

static void bell_open(struct bell *bell, unsigned worker, IODispatchQueue *queue)
{
	OSObjectRetain(queue);
	bell->queue = queue != NULL ? queue : new_queue("bell");
	bell->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ck_assert_int_ge(bell->fd, 0);
	ck_assert_int_eq(fd_source_open_on(&bell->source, worker, bell->fd, EPOLLIN | EPOLLET,
					   bell->queue, on_bell, bell),
			 0);
}

static void bell_close(struct bell *bell)
{
	bell->source = fd_source_close(bell->source);
	close(bell->fd);
	OSObjectRelease(bell->queue);
}

static void stop(struct bell *bell)
{
	(void)bell;
	worker_stop();
}

/* --- who runs it --- */

START_TEST(an_idle_queue_is_run_by_the_worker_that_was_rung)
{
	for (unsigned i = 0; i < worker_limit(); i++) {
		struct bell bell = { .then = stop };
		bell_open(&bell, i, NULL);
		ring(&bell);
		ck_assert_int_eq(worker_run(), 0);
		ck_assert_ptr_eq(bell.heard_on, &loops[i]);
		bell_close(&bell);
	}
}
END_TEST

START_TEST(worker_numbers_wrap)
{
	struct bell bell = { .then = stop };

	bell_open(&bell, worker_limit(), NULL);
	ring(&bell);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_ptr_eq(bell.heard_on, loop_first());
	bell_close(&bell);
}
END_TEST

/* --- one that is busy --- */

static void hold_until_other_is_heard(struct bell *bell)
{
	ring(bell->other);
	while (bell->other->calls == 0) // another worker's, or this never ends
		;
	worker_stop();
}

static void nothing(struct bell *bell)
{
	(void)bell;
}

START_TEST(a_busy_worker_stops_no_other)
{
	struct bell second = { .then = nothing };
	struct bell first = { .then = hold_until_other_is_heard, .other = &second };

	if (worker_limit() == 1)
		return;
	bell_open(&first, 0, NULL);
	bell_open(&second, 1, NULL);
	ring(&first);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_ptr_eq(second.heard_on, &loops[1]);
	bell_close(&first);
	bell_close(&second);
}
END_TEST

static void wait_for_other(struct bell *bell)
{
	_Atomic uint32_t *calls = &bell->other->calls;

	ring(bell->other);
	ck_assert_int_eq(worker_wait(calls, 0, clock_deadline_ns(10000)), 0);
	worker_stop();
}

static void wake_other(struct bell *bell)
{
	worker_wake(&bell->calls);
}

/* Both are the last worker's: its thread waits, so another one runs its loop. */
START_TEST(a_thread_that_waits_has_its_own_loop_run)
{
	struct bell second = { .then = wake_other };
	struct bell first = { .then = wait_for_other, .other = &second };
	unsigned last = worker_limit() - 1;

	bell_open(&first, last, NULL);
	bell_open(&second, last, NULL);
	ring(&first);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_ptr_eq(second.heard_on, &loops[last]);
	bell_close(&first);
	bell_close(&second);
}
END_TEST

/* --- one queue, rung on all workers --- */

enum { RINGERS = 4, RINGS = 5000 };

struct counter {
	struct bell bells[RINGERS];
	struct queue_item last;
	unsigned inside;
	_Atomic unsigned left;
};

static struct counter counter;

static void count(struct bell *bell)
{
	(void)bell;
	ck_assert_uint_eq(counter.inside++, 0);
	counter.inside--;
}

/* A ring that is heard from now on would find the pool stopped, and the queue never run. */
static void fall_silent(struct queue_item *item)
{
	(void)item;
	for (unsigned i = 0; i < RINGERS; i++)
		counter.bells[i].source = fd_source_close(counter.bells[i].source);
	worker_stop();
}

static void *ring_often(void *context)
{
	struct bell *bell = context;

	for (int i = 0; i < RINGS; i++) {
		ring(bell);
		if (i % 64 == 0)
			sched_yield();
	}
	if (--counter.left == 0)
		ck_assert(queue_post(bell->queue, &counter.last));
	return NULL;
}

START_TEST(one_queue_is_run_by_one_worker_at_a_time)
{
	IODispatchQueue *queue = new_queue("shared");
	pthread_t threads[RINGERS];

	counter.left = RINGERS;
	counter.last.run = fall_silent;
	for (unsigned i = 0; i < RINGERS; i++) {
		counter.bells[i].then = count;
		bell_open(&counter.bells[i], i, queue);
	}
	for (unsigned i = 0; i < RINGERS; i++)
		threads[i] = start_thread(ring_often, &counter.bells[i]);
	ck_assert_int_eq(worker_run(), 0);
	for (unsigned i = 0; i < RINGERS; i++) {
		pthread_join(threads[i], NULL);
		ck_assert_uint_ge(counter.bells[i].calls, 1);
		bell_close(&counter.bells[i]);
	}
	OSObjectRelease(queue);
}
END_TEST

/* --- idle --- */

struct idle {
	struct bell bells[WORKERS_MAX];
	struct timer_source *timer;
	long sleeps[WORKERS_MAX]; // of the worker's thread: at its first ring, then between both
	_Atomic unsigned left;    // to be heard again
};

static struct idle idle;

static void count_sleeps(struct bell *bell)
{
	struct rusage usage;
	long *sleeps = &idle.sleeps[bell - idle.bells];

	getrusage(RUSAGE_THREAD, &usage);
	*sleeps = usage.ru_nvcsw - *sleeps;
	if (bell->calls == 2 && --idle.left == 0)
		worker_stop();
}

static void ring_all(void *unused)
{
	(void)unused;
	for (unsigned i = 0; i < worker_limit(); i++)
		ring(&idle.bells[i]);
}

START_TEST(idle_workers_do_not_wake)
{
	IODispatchQueue *queue = new_queue("timer");

	idle.left = worker_limit();
	for (unsigned i = 0; i < worker_limit(); i++) {
		idle.bells[i].then = count_sleeps;
		bell_open(&idle.bells[i], i, NULL);
	}
	ring_all(NULL);
	ck_assert_int_eq(timer_source_open(&idle.timer, queue, ring_all, NULL), 0);
	ck_assert_int_eq(timer_source_set(idle.timer, clock_deadline_ns(200)), 0);
	ck_assert_int_eq(worker_run(), 0);
	for (unsigned i = 0; i < worker_limit(); i++) {
		ck_assert_int_le(idle.sleeps[i], 2);
		bell_close(&idle.bells[i]);
	}
	timer_source_close(idle.timer);
	OSObjectRelease(queue);
}
END_TEST

POOL_TESTS("runtime-worker", an_idle_queue_is_run_by_the_worker_that_was_rung, worker_numbers_wrap,
	   a_busy_worker_stops_no_other, a_thread_that_waits_has_its_own_loop_run,
	   one_queue_is_run_by_one_worker_at_a_time, idle_workers_do_not_wake)
