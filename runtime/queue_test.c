/* SPDX-License-Identifier: Apache-2.0 */

#include <runtime/unit_pool.h>

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <DriverKit/IOTimerClocks.h>
#include <base/clock.h>
#include <base/list.h>
#include <runtime/strand.h>

#define SECOND 1000000000ULL

/* --- order --- */

enum { PRODUCERS = 4, ITEMS = 5000 };

struct order {
	IODispatchQueue *queue;
	unsigned next[PRODUCERS]; // the queue's
	unsigned done;            // the queue's
	_Atomic int running;
};

struct numbered {
	struct queue_item item;
	struct order *order;
	unsigned producer, number;
};

static void run_numbered(struct queue_item *item)
{
	struct numbered *numbered = container_of(item, struct numbered, item);
	struct order *order = numbered->order;

	ck_assert_int_eq(atomic_fetch_add(&order->running, 1), 0);
	ck_assert(IODispatchQueue_OnQueue(order->queue));
	ck_assert_ptr_eq(queue_current(), order->queue);
	ck_assert_uint_eq(numbered->number, order->next[numbered->producer]++);
	ck_assert_int_eq(atomic_fetch_sub(&order->running, 1), 1);
	free(numbered);
	if (++order->done == PRODUCERS * ITEMS)
		worker_stop();
}

struct producer {
	struct order *order;
	unsigned index;
};

static void *produce(void *context)
{
	struct producer *producer = context;

	for (unsigned i = 0; i < ITEMS; i++) {
		struct numbered *numbered = malloc(sizeof(*numbered));
		*numbered = (struct numbered){
			.item.run = run_numbered,
			.order = producer->order,
			.producer = producer->index,
			.number = i,
		};
		ck_assert(queue_post(producer->order->queue, &numbered->item));
	}
	return NULL;
}

/* What one thread posts runs in its order, all of it, one piece at a time. */
START_TEST(posts_keep_their_order)
{
	struct order order = { .queue = new_queue("order") };
	struct producer producers[PRODUCERS];
	pthread_t threads[PRODUCERS];

	for (unsigned i = 0; i < PRODUCERS; i++) {
		producers[i] = (struct producer){ &order, i };
		threads[i] = start_thread(produce, &producers[i]);
	}
	ck_assert_int_eq(worker_run(), 0);
	for (unsigned i = 0; i < PRODUCERS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(order.done, PRODUCERS * ITEMS);
	OSObjectRelease(order.queue);
}
END_TEST

/* --- sync --- */

static void count(void *context)
{
	++*(unsigned *)context;
}

/* An idle queue needs no worker at all. */
START_TEST(sync_on_an_idle_queue_runs_at_once)
{
	IODispatchQueue *queue = new_queue("idle");
	unsigned n = 0;

	ck_assert(!IODispatchQueue_OnQueue(queue));
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(queue_sync(queue, count, &n), 0);
	ck_assert_uint_eq(n, 3);
	ck_assert_ptr_null(queue_current());
	ck_assert_int_eq(atomic_load(&((OSObject *)queue)->refcount), 1);
	OSObjectRelease(queue);
}
END_TEST

static void post_and_look(void *queue)
{
	ck_assert(!queue_is_wanted(queue));
	ck_assert_int_eq(IODispatchQueue_DispatchAsync_f(queue, NULL, stop_pool), kIOReturnSuccess);
	ck_assert(queue_is_wanted(queue));
}

/* To look at what waits takes it over from those who push; a sync does not forget it. */
START_TEST(a_sync_hands_on_what_it_looked_at)
{
	IODispatchQueue *queue = new_queue("looked at");

	ck_assert_int_eq(queue_sync(queue, post_and_look, queue), 0);
	ck_assert_int_eq(worker_run(), 0);
	OSObjectRelease(queue);
}
END_TEST

static void sleep_briefly(void *queue)
{
	ck_assert_int_eq(IODispatchQueue_SleepWithTimeout(queue, queue, 1000), kIOReturnTimeout);
}

/* A sleeper keeps its queue while it comes back; a sync that slept lets go of that too. */
START_TEST(a_sync_that_slept_keeps_nothing)
{
	IODispatchQueue *queue = new_queue("slept");

	ck_assert_int_eq(queue_sync(queue, sleep_briefly, queue), 0);
	ck_assert_int_eq(atomic_load(&((OSObject *)queue)->refcount), 1);
	OSObjectRelease(queue);
}
END_TEST

struct contended {
	IODispatchQueue *queue;
	unsigned total; // the queue's
	_Atomic unsigned left;
};

static void add_one(void *context)
{
	struct contended *contended = context;

	contended->total++;
}

static void *contend(void *context)
{
	struct contended *contended = context;

	for (int i = 0; i < ITEMS; i++) {
		if (i % 3 == 0)
			ck_assert_int_eq(IODispatchQueue_DispatchAsync_f(contended->queue,
									 contended, add_one),
					 kIOReturnSuccess);
		else
			ck_assert_int_eq(queue_sync(contended->queue, add_one, contended), 0);
	}
	if (atomic_fetch_sub(&contended->left, 1) == 1)
		IODispatchQueue_DispatchAsync_f(contended->queue, NULL, stop_pool);
	return NULL;
}

/* Threads that are no workers share a queue with posted work; nothing is lost, nothing overlaps. */
START_TEST(syncs_and_posts_exclude_each_other)
{
	struct contended contended = { .queue = new_queue("contended"), .left = PRODUCERS };
	pthread_t threads[PRODUCERS];

	for (unsigned i = 0; i < PRODUCERS; i++)
		threads[i] = start_thread(contend, &contended);
	ck_assert_int_eq(worker_run(), 0);
	for (unsigned i = 0; i < PRODUCERS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(contended.total, PRODUCERS * ITEMS);
	OSObjectRelease(contended.queue);
}
END_TEST

struct pair {
	IODispatchQueue *a, *b;
	unsigned steps;
	_Atomic uint32_t held; // threads that hold their first queue
	_Atomic int refused, done;
	pthread_barrier_t both;
};

static void third_step(void *context)
{
	struct pair *pair = context;

	ck_assert_ptr_eq(queue_current(), pair->a);
	ck_assert(IODispatchQueue_OnQueue(pair->b));
	pair->steps++;
}

static void second_step(void *context)
{
	struct pair *pair = context;

	ck_assert_ptr_eq(queue_current(), pair->b);
	ck_assert_int_eq(IODispatchQueue_DispatchSync_f(pair->a, pair, third_step), 0);
	ck_assert_ptr_eq(queue_current(), pair->b);
}

static void first_step(void *context)
{
	struct pair *pair = context;

	ck_assert_int_eq(IODispatchQueue_DispatchSync_f(pair->a, &pair->steps, count), 0);
	ck_assert_int_eq(IODispatchQueue_DispatchSync_f(pair->b, pair, second_step), 0);
}

/* A thread that comes back to a queue it holds, directly or through another, just goes on. */
START_TEST(a_held_queue_is_entered_again)
{
	struct pair pair = { .a = new_queue("a"), .b = new_queue("b") };

	ck_assert_int_eq(queue_sync(pair.a, first_step, &pair), 0);
	ck_assert_uint_eq(pair.steps, 2);
	OSObjectRelease(pair.a);
	OSObjectRelease(pair.b);
}
END_TEST

static void nothing(void *context)
{
	(void)context;
}

static void cross(struct pair *pair, IODispatchQueue *other)
{
	pthread_barrier_wait(&pair->both);
	int ret = queue_sync(other, nothing, NULL);
	ck_assert(ret == 0 || ret == -EDEADLK);
	if (ret == -EDEADLK)
		pair->refused++;
	pair->done++;
}

static void from_a(void *context)
{
	cross(context, ((struct pair *)context)->b);
}

static void from_b(void *context)
{
	cross(context, ((struct pair *)context)->a);
}

static void *hold_a(void *context)
{
	ck_assert_int_eq(queue_sync(((struct pair *)context)->a, from_a, context), 0);
	return NULL;
}

static void *hold_b(void *context)
{
	ck_assert_int_eq(queue_sync(((struct pair *)context)->b, from_b, context), 0);
	return NULL;
}

/* Two threads that hold a queue each and want the other's: one of them is told, nobody hangs. */
START_TEST(waiting_in_a_circle_is_refused)
{
	struct pair pair = { .a = new_queue("a"), .b = new_queue("b") };

	pthread_barrier_init(&pair.both, NULL, 2);
	for (int i = 0; i < 200; i++) {
		pair.refused = 0;
		pthread_t a = start_thread(hold_a, &pair), b = start_thread(hold_b, &pair);
		pthread_join(a, NULL);
		pthread_join(b, NULL);
		ck_assert_int_eq(pair.refused, 1);
	}
	ck_assert_int_eq(pair.done, 400);
	pthread_barrier_destroy(&pair.both);
	OSObjectRelease(pair.a);
	OSObjectRelease(pair.b);
}
END_TEST

/* --- blocking --- */

struct blocked {
	IODispatchQueue *waiting, *other;
	_Atomic uint32_t word;
	int result;
};

static void wait_for_word(void *context)
{
	struct blocked *blocked = context;

	blocked->result = worker_wait(&blocked->word, 0, clock_now_ns() + 20 * SECOND);
	ck_assert_ptr_eq(queue_current(), blocked->waiting);
	worker_stop();
}

static void set_word(void *context)
{
	struct blocked *blocked = context;

	ck_assert(!IODispatchQueue_OnQueue(blocked->waiting));
	atomic_store(&blocked->word, 1);
	worker_wake(&blocked->word);
}

/* A piece of work that waits holds its own queue and no other. */
START_TEST(a_blocked_queue_stops_no_other)
{
	struct blocked blocked = { .waiting = new_queue("waiting"), .other = new_queue("other") };

	IODispatchQueue_DispatchAsync_f(blocked.waiting, &blocked, wait_for_word);
	IODispatchQueue_DispatchAsync_f(blocked.other, &blocked, set_word);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_int_eq(blocked.result, 0);
	OSObjectRelease(blocked.waiting);
	OSObjectRelease(blocked.other);
}
END_TEST

enum { CROWD = 70 };

struct crowd {
	IODispatchQueue *queues[CROWD], *last;
	_Atomic uint32_t word;
	_Atomic unsigned woken, starved;
};

static void wait_in_crowd(void *context)
{
	struct crowd *crowd = context;
	int ret = worker_wait(&crowd->word, 0, 0);

	atomic_fetch_add(ret == 0 ? &crowd->woken : &crowd->starved, 1);
	if (atomic_load(&crowd->woken) + atomic_load(&crowd->starved) == CROWD)
		worker_stop();
}

static void wake_crowd(void *context)
{
	struct crowd *crowd = context;

	atomic_store(&crowd->word, 1);
	worker_wake(&crowd->word);
}

/* With no thread left a wait is bounded and ends with an error, and the work behind it goes on. */
START_TEST(more_waiters_than_threads_are_told)
{
	struct crowd crowd = { .last = new_queue("last") };

	for (int i = 0; i < CROWD; i++) {
		crowd.queues[i] = new_queue("crowd");
		IODispatchQueue_DispatchAsync_f(crowd.queues[i], &crowd, wait_in_crowd);
	}
	IODispatchQueue_DispatchAsync_f(crowd.last, &crowd, wake_crowd);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_uint_eq(crowd.woken, 63);
	ck_assert_uint_eq(crowd.starved, CROWD - 63);
	for (int i = 0; i < CROWD; i++)
		OSObjectRelease(crowd.queues[i]);
	OSObjectRelease(crowd.last);
}
END_TEST

/* --- sleep and wakeup --- */

struct nap {
	IODispatchQueue *queue;
	int event;
	unsigned asleep, woken;
	_Atomic bool over;
	kern_return_t result;
};

static void nap(void *context)
{
	struct nap *nap = context;

	nap->asleep++;
	kern_return_t ret = IODispatchQueue_SleepWithTimeout(nap->queue, &nap->event, 20 * SECOND);
	ck_assert_int_eq(ret, kIOReturnSuccess);
	ck_assert(IODispatchQueue_OnQueue(nap->queue));
	if (++nap->woken == 3)
		worker_stop();
}

static void wake_others(void *context)
{
	struct nap *nap = context;

	ck_assert_uint_eq(nap->asleep, 3);
	ck_assert_uint_eq(nap->woken, 0);
	ck_assert_int_eq(IODispatchQueue_Wakeup(nap->queue, &nap->asleep), kIOReturnSuccess);
	ck_assert_int_eq(IODispatchQueue_WakeupWithOptions(nap->queue, &nap->event,
							   kIODispatchQueueWakeupAll),
			 kIOReturnSuccess);
	ck_assert_int_eq(IODispatchQueue_WakeupWithOptions(nap->queue, &nap->event, 2),
			 kIOReturnBadArgument);
	ck_assert_uint_eq(nap->woken, 0); // the queue is still ours
}

/* Three pieces of one queue sleep; a fourth can run, and wakes them. */
START_TEST(sleep_gives_the_queue_up)
{
	struct nap naps = { .queue = new_queue("naps") };

	for (int i = 0; i < 3; i++)
		IODispatchQueue_DispatchAsync_f(naps.queue, &naps, nap);
	IODispatchQueue_DispatchAsync_f(naps.queue, &naps, wake_others);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_uint_eq(naps.woken, 3);
	OSObjectRelease(naps.queue);
}
END_TEST

struct line_of_naps {
	IODispatchQueue *queue;
	int event;
	unsigned asleep, woken[3], n_woken; // the queue's
};

struct nap_in_line {
	struct line_of_naps *line;
	unsigned number;
};

static void wake_one(void *context)
{
	struct line_of_naps *line = context;

	ck_assert_int_eq(IODispatchQueue_Wakeup(line->queue, &line->event), kIOReturnSuccess);
	ck_assert_int_eq(IODispatchQueue_Wakeup(line->queue, &line->event), kIOReturnSuccess);
}

/* Behind whoever is woken already. */
static void wake_the_last(void *context)
{
	struct line_of_naps *line = context;

	ck_assert_uint_eq(line->n_woken, 2);
	ck_assert_int_eq(IODispatchQueue_Wakeup(line->queue, &line->event), kIOReturnSuccess);
}

static void nap_in_line(void *context)
{
	struct nap_in_line *nap = context;
	struct line_of_naps *line = nap->line;

	if (++line->asleep == 3)
		IODispatchQueue_DispatchAsync_f(line->queue, line, wake_one);
	ck_assert_int_eq(IODispatchQueue_SleepWithDeadline(line->queue, &line->event,
							   kIOTimerClockUptimeRaw |
								   kIODispatchQueueSleepReuseEvent,
							   clock_now_ns() + 20 * SECOND),
			 kIOReturnSuccess);
	line->woken[line->n_woken++] = nap->number;
	if (line->n_woken == 2)
		IODispatchQueue_DispatchAsync_f(line->queue, line, wake_the_last);
	else if (line->n_woken == 3)
		worker_stop();
}

/* One Wakeup, one sleeper: the one that has slept longest. */
START_TEST(wakeup_wakes_one)
{
	struct line_of_naps line = { .queue = new_queue("line") };
	struct nap_in_line naps[3];

	for (unsigned i = 0; i < 3; i++) {
		naps[i] = (struct nap_in_line){ &line, i };
		IODispatchQueue_DispatchAsync_f(line.queue, &naps[i], nap_in_line);
	}
	ck_assert_int_eq(worker_run(), 0);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(line.woken[i], i);
	OSObjectRelease(line.queue);
}
END_TEST

static void sleep_by_clocks(void *context)
{
	IODispatchQueue *queue = context;
	static const struct {
		uint64_t clock;
		uint64_t (*now)(void);
	} clocks[] = {
		{ kIOTimerClockUptimeRaw, clock_now_ns },
		{ kIOTimerClockMachAbsoluteTime, clock_now_ns },
		{ kIOTimerClockMonotonicRaw, clock_boot_now_ns },
		{ kIOTimerClockMachContinuousTime, clock_boot_now_ns },
		{ kIOTimerClockRealTime, clock_real_now_ns },
	};

	for (size_t i = 0; i < sizeof(clocks) / sizeof(clocks[0]); i++) {
		uint64_t deadline = clocks[i].now() + 2000000;
		ck_assert_int_eq(
			IODispatchQueue_SleepWithDeadline(queue, queue, clocks[i].clock, deadline),
			kIOReturnTimeout);
		ck_assert_uint_ge(clocks[i].now() + 1000, deadline);
		ck_assert_uint_le(clocks[i].now(), deadline + 10 * SECOND);
		ck_assert_int_eq(
			IODispatchQueue_SleepWithDeadline(queue, queue, clocks[i].clock, 1),
			kIOReturnTimeout); // long past
	}
	ck_assert_int_eq(IODispatchQueue_SleepWithDeadline(queue, queue, 0, 1),
			 kIOReturnBadArgument);
	ck_assert_int_eq(IODispatchQueue_Sleep(queue, queue, 1000), kIOReturnTimeout);
	worker_stop();
}

START_TEST(sleep_ends_by_any_clock)
{
	IODispatchQueue *queue = new_queue("clocks");

	IODispatchQueue_DispatchAsync_f(queue, queue, sleep_by_clocks);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_int_eq(IODispatchQueue_SleepWithDeadline(queue, queue, kIOTimerClockUptimeRaw, 0),
			 kIOReturnNotPermitted);
	OSObjectRelease(queue);
}
END_TEST

static void nap_in_vain(void *context)
{
	struct nap *nap = context;

	nap->result = IODispatchQueue_SleepWithTimeout(nap->queue, &nap->event, 1000000);
	ck_assert(IODispatchQueue_OnQueue(nap->queue));
	worker_stop();
}

START_TEST(sleep_ends_with_its_time)
{
	struct nap naps = { .queue = new_queue("naps") };

	IODispatchQueue_DispatchAsync_f(naps.queue, &naps, nap_in_vain);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_int_eq(naps.result, kIOReturnTimeout);
	ck_assert_int_eq(queue_sync(naps.queue, nothing, NULL), 0);
	ck_assert_int_eq(IODispatchQueue_SleepWithTimeout(naps.queue, &naps, 0),
			 kIOReturnNotPermitted);
	ck_assert_int_eq(IODispatchQueue_Wakeup(naps.queue, &naps), kIOReturnNotPermitted);
	OSObjectRelease(naps.queue);
}
END_TEST

/* Wakeup and the time limit race for one sleeper; either way it comes back exactly once. */
static void racing_nap(void *context)
{
	struct nap *nap = context;

	for (int i = 0; i < 2000; i++) {
		nap->asleep++;
		kern_return_t ret = IODispatchQueue_SleepWithTimeout(nap->queue, &nap->event,
								     chance_u64() % 40000);
		ck_assert(ret == kIOReturnSuccess || ret == kIOReturnTimeout);
		nap->asleep--;
	}
	atomic_store(&nap->over, true);
}

static void wake_now(void *context)
{
	struct nap *nap = context;

	ck_assert_uint_le(nap->asleep, 1);
	IODispatchQueue_Wakeup(nap->queue, &nap->event);
}

static void *keep_waking(void *context)
{
	struct nap *nap = context;

	while (!atomic_load(&nap->over)) {
		queue_sync(nap->queue, wake_now, nap);
		for (volatile unsigned n = (unsigned)(chance_u64() % 20000); n > 0; n--)
			;
	}
	worker_stop();
	return NULL;
}

START_TEST(wakeup_races_with_the_time_limit)
{
	struct nap naps = { .queue = new_queue("naps") };

	chance_seed(7);
	IODispatchQueue_DispatchAsync_f(naps.queue, &naps, racing_nap);
	pthread_t waker = start_thread(keep_waking, &naps);
	ck_assert_int_eq(worker_run(), 0);
	pthread_join(waker, NULL);
	OSObjectRelease(naps.queue);
}
END_TEST

/* --- cancel --- */

struct cancelled {
	IODispatchQueue *queue;
	_Atomic unsigned accepted;
	unsigned ran; // the queue's
	unsigned ran_at_handler;
	bool handled;
	kern_return_t nap_result;
};

static void piece(void *context)
{
	struct cancelled *cancelled = context;

	ck_assert(!cancelled->handled);
	cancelled->ran++;
}

static void on_cancelled(void *context)
{
	struct cancelled *cancelled = context;

	ck_assert(IODispatchQueue_OnQueue(cancelled->queue));
	cancelled->handled = true;
	cancelled->ran_at_handler = cancelled->ran;
	worker_stop();
}

static void *post_until_refused(void *context)
{
	struct cancelled *cancelled = context;

	for (int i = 0; i < 1000; i++) {
		if (IODispatchQueue_DispatchAsync_f(cancelled->queue, cancelled, piece) !=
		    kIOReturnSuccess)
			break;
		atomic_fetch_add(&cancelled->accepted, 1);
	}
	return NULL;
}

/* Whatever was accepted runs, before the handler; whatever is refused never does. */
START_TEST(cancel_comes_after_all_that_was_accepted)
{
	for (int round = 0; round < 50; round++) {
		struct cancelled cancelled = { .queue = new_queue("cancelled") };
		pthread_t threads[PRODUCERS];
		for (int i = 0; i < PRODUCERS; i++)
			threads[i] = start_thread(post_until_refused, &cancelled);
		while (atomic_load(&cancelled.accepted) < 100)
			sched_yield();
		ck_assert_int_eq(
			IODispatchQueue_Cancel_f(cancelled.queue, &cancelled, on_cancelled),
			kIOReturnSuccess);
		ck_assert_int_eq(IODispatchQueue_Cancel_f(cancelled.queue, NULL, NULL),
				 kIOReturnOffline);
		ck_assert_int_eq(worker_run(), 0);
		for (int i = 0; i < PRODUCERS; i++)
			pthread_join(threads[i], NULL);
		ck_assert(cancelled.handled);
		ck_assert_uint_eq(cancelled.ran_at_handler, cancelled.accepted);
		ck_assert_uint_eq(cancelled.ran, cancelled.accepted);
		ck_assert_int_eq(IODispatchQueue_DispatchSync_f(cancelled.queue, &cancelled, piece),
				 kIOReturnOffline);
		ck_assert_int_eq(atomic_load(&((OSObject *)cancelled.queue)->refcount), 1);
		OSObjectRelease(cancelled.queue);
	}
}
END_TEST

static void nap_until_cancelled(void *context)
{
	struct cancelled *cancelled = context;

	cancelled->nap_result =
		IODispatchQueue_SleepWithTimeout(cancelled->queue, cancelled, 20 * SECOND);
	ck_assert(!cancelled->handled);
	ck_assert_int_eq(IODispatchQueue_SleepWithTimeout(cancelled->queue, cancelled, SECOND),
			 kIOReturnAborted);
	cancelled->ran++;
}

/* A piece that sleeps is a piece: it is woken, ends, and only then comes the handler. */
START_TEST(cancel_wakes_sleepers_and_waits_for_them)
{
	struct cancelled cancelled = { .queue = new_queue("cancelled") };

	IODispatchQueue_DispatchAsync_f(cancelled.queue, &cancelled, nap_until_cancelled);
	IODispatchQueue_Cancel_f(cancelled.queue, &cancelled, on_cancelled);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_int_eq(cancelled.nap_result, kIOReturnAborted);
	ck_assert_uint_eq(cancelled.ran_at_handler, 1);
	OSObjectRelease(cancelled.queue);
}
END_TEST

/* --- fairness and lifetime --- */

struct greedy {
	struct queue_item item;
	IODispatchQueue *queue;
	_Atomic bool over;
};

static void post_again(struct queue_item *item)
{
	struct greedy *greedy = container_of(item, struct greedy, item);

	if (!greedy->over)
		ck_assert(queue_post(greedy->queue, item));
	else
		worker_stop();
}

static void end_greed(void *context)
{
	((struct greedy *)context)->over = true;
}

START_TEST(a_busy_queue_lets_others_have_their_turn)
{
	struct greedy greedy = { .item.run = post_again, .queue = new_queue("greedy") };
	IODispatchQueue *modest = new_queue("modest");

	queue_post(greedy.queue, &greedy.item);
	IODispatchQueue_DispatchAsync_f(modest, &greedy, end_greed);
	ck_assert_int_eq(worker_run(), 0);
	OSObjectRelease(greedy.queue);
	OSObjectRelease(modest);
}
END_TEST

enum { PIECES_BEFORE_THE_EVENT = 10000 };

struct greedy_one {
	struct greedy greedy;
	int fd;
	unsigned n;
};

static void post_again_and_ring(struct queue_item *item)
{
	struct greedy_one *one = container_of(item, struct greedy_one, greedy.item);
	static const uint64_t ring = 1;

	if (++one->n == PIECES_BEFORE_THE_EVENT)
		ck_assert_int_eq(write(one->fd, &ring, sizeof(ring)), sizeof(ring));
	post_again(item);
}

static void end_greed_at_event(void *context, uint32_t ready)
{
	(void)ready;
	end_greed(context);
}

/* The one thread looks for events though its queue never ends. */
START_TEST(a_busy_queue_lets_events_in)
{
	struct greedy_one one = {
		.greedy = { .item.run = post_again_and_ring, .queue = new_queue("greedy") },
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
	};
	IODispatchQueue *modest = new_queue("modest");
	struct fd_source *source;

	ck_assert_int_eq(fd_source_open(&source, one.fd, EPOLLIN | EPOLLET, modest,
					end_greed_at_event, &one.greedy),
			 0);
	queue_post(one.greedy.queue, &one.greedy.item);
	ck_assert_int_eq(worker_run(), 0);
	fd_source_close(source);
	close(one.fd);
	OSObjectRelease(one.greedy.queue);
	OSObjectRelease(modest);
}
END_TEST

/* --- closures --- */

enum { POSTERS = 3, CLOSURES = 4000 };

struct posters {
	IODispatchQueue *queue;
	unsigned n_run; // the queue's
	uintptr_t sum;  // the queue's
};

struct post {
	struct posters *posters;
	uintptr_t value;
};

static void add_value(void *context)
{
	struct post *post = context;
	struct posters *posters = post->posters;

	posters->sum += post->value;
	free(post);
	if (++posters->n_run == POSTERS * CLOSURES)
		worker_stop();
}

static void *post_closures(void *context)
{
	struct posters *posters = context;

	for (uintptr_t i = 1; i <= CLOSURES; i++) {
		struct post *post = malloc(sizeof(*post));
		*post = (struct post){ posters, i };
		ck_assert_int_eq(IODispatchQueue_DispatchAsync_f(posters->queue, post, add_value),
				 kIOReturnSuccess);
	}
	return NULL;
}

/* Many more than are kept, across threads, and again when those threads are gone: each runs once,
 * with what it was posted with. */
START_TEST(closures_that_are_used_again_run_once_each)
{
	for (int round = 0; round < 3; round++) {
		struct posters posters = { .queue = new_queue("closures") };
		pthread_t threads[POSTERS];

		for (int i = 0; i < POSTERS; i++)
			threads[i] = start_thread(post_closures, &posters);
		ck_assert_int_eq(worker_run(), 0);
		for (int i = 0; i < POSTERS; i++)
			pthread_join(threads[i], NULL);
		ck_assert_uint_eq(posters.n_run, POSTERS * CLOSURES);
		ck_assert_uint_eq(posters.sum, POSTERS * (CLOSURES * (CLOSURES + 1UL) / 2));
		OSObjectRelease(posters.queue);
	}
}
END_TEST

static void release_queue(void *context)
{
	OSObjectRelease(context);
}

/* The queue of a running piece lives, whoever drops it; it goes when it is idle. */
START_TEST(work_keeps_its_queue)
{
	IODispatchQueue *queue = new_queue("dropped");

	IODispatchQueue_DispatchAsync_f(queue, queue, release_queue);
	IODispatchQueue_DispatchAsync_f(queue, NULL, stop_pool);
	ck_assert_int_eq(worker_run(), 0);
}
END_TEST

static kern_return_t give(void *context)
{
	return *(kern_return_t *)context;
}

START_TEST(bad_arguments_are_refused)
{
	IODispatchQueue *queue = new_queue("plain");
	char longest[257] = { 0 };
	kern_return_t value = kIOReturnNoMedia;

	memset(longest, 'x', 256);
	ck_assert_str_eq(IODispatchQueue_GetName(queue), "plain");
	ck_assert_int_eq(IODispatchQueue_RunAction_f(queue, &value, give), kIOReturnNoMedia);
	ck_assert_int_eq(IODispatchQueue_DispatchAsync_f(queue, NULL, NULL), kIOReturnBadArgument);
	ck_assert_int_eq(IODispatchQueue_DispatchSync_f(NULL, NULL, nothing), kIOReturnBadArgument);
	OSObjectRelease(queue);
	ck_assert_int_eq(IODispatchQueue_Create(longest, 0, 0, &queue), kIOReturnOverrun);
	ck_assert_int_eq(IODispatchQueue_Create("x", 4, 0, &queue), kIOReturnBadArgument);
	ck_assert_int_eq(IODispatchQueue_Create("x", 0, 1, &queue), kIOReturnBadArgument);
	ck_assert_int_eq(IODispatchQueue_Create(NULL, 0, 0, &queue), kIOReturnBadArgument);
}
END_TEST

/* The root queue has a name by which it can be had, and is not for one to take away. */
START_TEST(the_root_queue_is_shared)
{
	IODispatchQueue *one = new_queue("Root"), *two = new_queue("Root");

	ck_assert_ptr_eq(one, two);
	ck_assert_ptr_eq(one, queue_root());
	ck_assert_int_eq(IODispatchQueue_Cancel_f(one, NULL, NULL), kIOReturnNotPermitted);
	ck_assert_int_eq(IODispatchQueue_Create("Root", kIODispatchQueueReentrant, 0, &two),
			 kIOReturnBadArgument);
	IODispatchQueue_DispatchAsync_f(one, NULL, stop_pool);
	ck_assert_int_eq(worker_run(), 0);
	OSObjectRelease(one);
	OSObjectRelease(one);
}
END_TEST

POOL_TESTS("runtime-queue", posts_keep_their_order, sync_on_an_idle_queue_runs_at_once,
	   a_sync_hands_on_what_it_looked_at, a_sync_that_slept_keeps_nothing,
	   syncs_and_posts_exclude_each_other, a_held_queue_is_entered_again,
	   waiting_in_a_circle_is_refused, a_blocked_queue_stops_no_other,
	   more_waiters_than_threads_are_told, sleep_gives_the_queue_up, sleep_ends_with_its_time,
	   wakeup_wakes_one, sleep_ends_by_any_clock, the_root_queue_is_shared,
	   wakeup_races_with_the_time_limit, cancel_comes_after_all_that_was_accepted,
	   cancel_wakes_sleepers_and_waits_for_them, a_busy_queue_lets_others_have_their_turn,
	   a_busy_queue_lets_events_in, closures_that_are_used_again_run_once_each,
	   work_keeps_its_queue, bad_arguments_are_refused)
