/* SPDX-License-Identifier: Apache-2.0 */

#include <runtime/unit_pool.h>

#include <stdatomic.h>
#include <string.h>

#include <base/reason.h>

static IODispatchQueue *new_reentrant(void)
{
	IODispatchQueue *queue = NULL;

	ck_assert_int_eq(IODispatchQueue_Create("reentrant", kIODispatchQueueReentrant, 0, &queue),
			 kIOReturnSuccess);
	return queue;
}

/* --- side by side --- */

enum { TOGETHER = 6 };

struct meeting {
	IODispatchQueue *queue;
	pthread_barrier_t all;
	_Atomic int running, met;
	int alone; // the queue's
	bool over; // the queue's
};

static void add_alone(void *context)
{
	struct meeting *meeting = context;

	meeting->alone++;
}

/* Only when all of them run at once does any get on. */
static void meet(void *context)
{
	struct meeting *meeting = context;

	atomic_fetch_add(&meeting->running, 1);
	ck_assert(IODispatchQueue_OnQueue(meeting->queue));
	ck_assert_ptr_eq(queue_current(), meeting->queue);
	pthread_barrier_wait(&meeting->all);
	atomic_fetch_add(&meeting->met, 1);
	atomic_fetch_sub(&meeting->running, 1);
}

static void end_alone(void *context)
{
	struct meeting *meeting = context;

	ck_assert_int_eq(atomic_load(&meeting->running), 0);
	ck_assert_int_eq(atomic_load(&meeting->met), TOGETHER);
	ck_assert_int_eq(meeting->alone, 1);
	meeting->over = true;
	worker_stop();
}

START_TEST(concurrent_pieces_run_side_by_side)
{
	struct meeting meeting = { .queue = new_reentrant() };

	pthread_barrier_init(&meeting.all, NULL, TOGETHER);
	IODispatchQueue_DispatchAsync_f(meeting.queue, &meeting, add_alone);
	for (int i = 0; i < TOGETHER; i++)
		ck_assert_int_eq(
			IODispatchQueue_DispatchConcurrent_f(meeting.queue, &meeting, meet),
			kIOReturnSuccess);
	IODispatchQueue_DispatchAsync_f(meeting.queue, &meeting, end_alone);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert(meeting.over);
	pthread_barrier_destroy(&meeting.all);
	ck_assert_int_eq(atomic_load(&((OSObject *)meeting.queue)->refcount), 1);
	OSObjectRelease(meeting.queue);
}
END_TEST

static void *post_one_by_one(void *context)
{
	struct meeting *meeting = context;

	for (int i = 1; i < TOGETHER; i++) {
		while (atomic_load(&meeting->running) < i)
			sched_yield();
		IODispatchQueue_DispatchConcurrent_f(meeting->queue, meeting, meet);
	}
	IODispatchQueue_DispatchAsync_f(meeting->queue, meeting, add_alone);
	IODispatchQueue_DispatchAsync_f(meeting->queue, meeting, end_alone);
	return NULL;
}

/* One that comes while others run joins them. */
START_TEST(a_late_piece_joins)
{
	struct meeting meeting = { .queue = new_reentrant() };

	pthread_barrier_init(&meeting.all, NULL, TOGETHER);
	IODispatchQueue_DispatchConcurrent_f(meeting.queue, &meeting, meet);
	pthread_t thread = start_thread(post_one_by_one, &meeting);
	ck_assert_int_eq(worker_run(), 0);
	pthread_join(thread, NULL);
	ck_assert(meeting.over);
	pthread_barrier_destroy(&meeting.all);
	OSObjectRelease(meeting.queue);
}
END_TEST

/* --- alone --- */

enum { THREADS = 3, EACH = 400 };

struct mixture {
	IODispatchQueue *queue;
	_Atomic int beside, alone;
	unsigned n_alone; // the queue's
	_Atomic unsigned n_beside, left;
};

static void run_alone(void *context)
{
	struct mixture *mixture = context;

	ck_assert_int_eq(atomic_fetch_add(&mixture->alone, 1), 0);
	ck_assert_int_eq(atomic_load(&mixture->beside), 0);
	mixture->n_alone++;
	atomic_fetch_sub(&mixture->alone, 1);
}

static void nested(void *context)
{
	atomic_fetch_add(&((struct mixture *)context)->n_beside, 1);
}

static void run_beside(void *context)
{
	struct mixture *mixture = context;

	atomic_fetch_add(&mixture->beside, 1);
	ck_assert_int_eq(atomic_load(&mixture->alone), 0);
	ck_assert_int_eq(IODispatchQueue_DispatchSync_f(mixture->queue, mixture, nested),
			 kIOReturnSuccess);
	ck_assert_int_eq(atomic_load(&mixture->alone), 0);
	atomic_fetch_sub(&mixture->beside, 1);
}

static void *mix(void *context)
{
	struct mixture *mixture = context;

	for (int i = 0; i < EACH; i++) {
		if (i % 4 == 0)
			ck_assert_int_eq(
				IODispatchQueue_DispatchAsync_f(mixture->queue, mixture, run_alone),
				kIOReturnSuccess);
		else if (i % 4 == 1)
			ck_assert_int_eq(
				IODispatchQueue_DispatchSync_f(mixture->queue, mixture, run_alone),
				kIOReturnSuccess);
		else
			ck_assert_int_eq(IODispatchQueue_DispatchConcurrent_f(mixture->queue,
									      mixture, run_beside),
					 kIOReturnSuccess);
	}
	if (atomic_fetch_sub(&mixture->left, 1) == 1)
		IODispatchQueue_DispatchAsync_f(mixture->queue, NULL, stop_pool);
	return NULL;
}

/* What is not concurrent has the queue to itself, whoever asks and however. */
START_TEST(other_work_stays_alone)
{
	struct mixture mixture = { .queue = new_reentrant(), .left = THREADS };
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		threads[i] = start_thread(mix, &mixture);
	ck_assert_int_eq(worker_run(), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(mixture.n_alone, THREADS * EACH / 2);
	ck_assert_uint_eq(mixture.n_beside, THREADS * EACH / 2);
	ck_assert_int_eq(atomic_load(&((OSObject *)mixture.queue)->refcount), 1);
	OSObjectRelease(mixture.queue);
}
END_TEST

/* --- the end, and what is refused --- */

static void on_cancelled(void *context)
{
	struct meeting *meeting = context;

	ck_assert_int_eq(atomic_load(&meeting->met), TOGETHER);
	worker_stop();
}

START_TEST(cancel_comes_after_the_last_piece)
{
	struct meeting meeting = { .queue = new_reentrant() };

	pthread_barrier_init(&meeting.all, NULL, TOGETHER);
	for (int i = 0; i < TOGETHER; i++)
		IODispatchQueue_DispatchConcurrent_f(meeting.queue, &meeting, meet);
	ck_assert_int_eq(IODispatchQueue_Cancel_f(meeting.queue, &meeting, on_cancelled),
			 kIOReturnSuccess);
	ck_assert_int_eq(IODispatchQueue_DispatchConcurrent_f(meeting.queue, &meeting, meet),
			 kIOReturnOffline);
	ck_assert_int_eq(worker_run(), 0);
	pthread_barrier_destroy(&meeting.all);
	OSObjectRelease(meeting.queue);
}
END_TEST

static void try_to_sleep(void *queue)
{
	ck_assert_int_eq(IODispatchQueue_SleepWithTimeout(queue, queue, 1), kIOReturnNotPermitted);
	ck_assert_ptr_nonnull(strstr(reason_last(), "not for itself"));
	ck_assert_int_eq(IODispatchQueue_Wakeup(queue, queue), kIOReturnNotPermitted);
	worker_stop();
}

START_TEST(what_needs_the_queue_alone_is_refused)
{
	IODispatchQueue *queue = new_reentrant(), *serial = new_queue("serial");

	IODispatchQueue_DispatchConcurrent_f(queue, queue, try_to_sleep);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_int_eq(IODispatchQueue_DispatchConcurrent_f(serial, serial, try_to_sleep),
			 kIOReturnUnsupported);
	ck_assert_int_eq(IODispatchQueue_DispatchConcurrent_f(NULL, serial, try_to_sleep),
			 kIOReturnBadArgument);
	OSObjectRelease(queue);
	OSObjectRelease(serial);
}
END_TEST

POOL_TESTS("runtime-sharing", concurrent_pieces_run_side_by_side, a_late_piece_joins,
	   other_work_stays_alone, cancel_comes_after_the_last_piece,
	   what_needs_the_queue_alone_is_refused)
