// SPDX-License-Identifier: Apache-2.0
/*
 * What a dispatch queue costs, within one process.
 *
 *	opendext-sync  IODispatchQueue_DispatchSync_f on an idle queue
 *	cas            a lock that is free: two compare-and-swaps around an indirect call
 *	opendext       IODispatchQueue_DispatchAsync_f. one: posted and run by the same thread;
 *	               two, free: posted by one thread flat out, run by another
 *	opendext-post  the same by queue_post, which allocates nothing
 *	mpsc           the same by a bare list
 */

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <unistd.h>

#include <DriverKit/IODispatchQueue.h>

#include <bench/measure.h>
#include <bench/mpsc.h>
#include <bench/server.h>
#include <runtime/queue.h>
#include <runtime/worker.h>
#include <wire/futex.h>

enum { BATCH = 1000 };

static const uint64_t for_ever_ns = UINT64_C(1) << 60;

static uint64_t n_run; // pieces of work, on whatever thread runs them: one at a time

static void count(void *context)
{
	(void)context;
	n_run++;
}

/* --- the end of a batch, told to the thread that waits for it --- */

static _Atomic uint32_t done;
static uint64_t done_at;

static void finish(void *context)
{
	(void)context;
	n_run++;
	done_at = bench_ticks();
	atomic_store(&done, 1);
	futex_wake(&done, 1, FUTEX_PRIVATE);
}

static void wait_done(void)
{
	while (atomic_load(&done) == 0)
		futex_wait(&done, 0, for_ever_ns, FUTEX_PRIVATE);
	atomic_store(&done, 0);
}

/* --- ways to post --- */

struct way {
	const char *name;
	/* Post BATCH pieces, the last of which is `finish`. */
	void (*post)(void);
	/* Run fn on the thread that runs what is posted. */
	void (*run_there)(void (*fn)(void *), void *context);
	pid_t thread; // the one that runs
};

static IODispatchQueue *queue;

static void post_async(void)
{
	for (int i = 0; i < BATCH - 1; i++)
		IODispatchQueue_DispatchAsync_f(queue, NULL, count);
	IODispatchQueue_DispatchAsync_f(queue, NULL, finish);
}

static void count_item(struct queue_item *item)
{
	count(item);
}

static void finish_item(struct queue_item *item)
{
	finish(item);
}

static void post_items(void)
{
	static struct queue_item items[BATCH];
	for (int i = 0; i < BATCH; i++) {
		items[i].run = i < BATCH - 1 ? count_item : finish_item;
		queue_post(queue, &items[i]);
	}
}

static void run_on_queue(void (*fn)(void *), void *context)
{
	IODispatchQueue_DispatchAsync_f(queue, context, fn);
}

static struct mpsc list;

static void push(struct mpsc_item *item)
{
	mpsc_push(&list, item);
	if (atomic_load(&list.asleep) != 0 && atomic_exchange(&list.asleep, 0) != 0)
		futex_wake(&list.asleep, 1, FUTEX_PRIVATE);
}

static void post_to_list(void)
{
	static struct mpsc_item items[BATCH];
	for (int i = 0; i < BATCH; i++) {
		items[i].run = i < BATCH - 1 ? count : finish;
		push(&items[i]);
	}
}

static void run_on_list(void (*fn)(void *), void *context)
{
	static struct mpsc_item item;
	item.run = fn;
	item.context = context;
	push(&item);
}

static struct way async_way = { "opendext", post_async, run_on_queue, 0 };
static struct way post_way = { "opendext-post", post_items, run_on_queue, 0 };
static struct way list_way = { "mpsc", post_to_list, run_on_list, 0 };

/* --- the threads that run --- */

static pid_t queue_thread, list_thread;
static sem_t started; // posted by the thread that `start` waits for

static void *run_pool(void *unused)
{
	queue_thread = gettid();
	sem_post(&started);
	worker_run();
	return unused;
}

static void *run_list(void *unused)
{
	list_thread = gettid();
	sem_post(&started);
	for (;;) {
		for (struct mpsc_item *item; (item = mpsc_pop(&list)) != NULL;)
			item->run(item->context);
		atomic_store(&list.asleep, 1);
		if (mpsc_is_empty(&list))
			futex_wait(&list.asleep, 1, for_ever_ns, FUTEX_PRIVATE);
		atomic_store(&list.asleep, 0);
	}
	return unused;
}

static pid_t start(void *(*run)(void *), const pid_t *thread)
{
	pthread_t unused;
	if (sem_init(&started, 0, 0) < 0 || pthread_create(&unused, NULL, run, NULL) != 0)
		server_die("a thread");
	pthread_detach(unused);
	while (sem_wait(&started) < 0)
		;
	return *thread;
}

/* --- cells --- */

static bool check(uint64_t before, uint64_t wanted)
{
	if (n_run - before == wanted)
		return true;
	fprintf(stderr, "dispatch: work was lost\n");
	return false;
}

static bool across_threads(void *context, struct bench_round *round)
{
	const struct way *way = context;
	round->per_sample = BATCH;
	do {
		uint64_t before = n_run, begin = bench_ticks();
		way->post();
		wait_done();
		bench_took(round, done_at - begin);
		if (!check(before, BATCH))
			return false;
	} while (done_at < round->end);
	return true;
}

static uint64_t posted_at;

static void post_there(void *context)
{
	const struct way *way = context;
	posted_at = bench_ticks();
	way->post();
}

static bool same_thread(void *context, struct bench_round *round)
{
	const struct way *way = context;
	round->per_sample = BATCH;
	do {
		uint64_t before = n_run;
		way->run_there(post_there, context);
		wait_done();
		bench_took(round, done_at - posted_at);
		if (!check(before, BATCH))
			return false;
	} while (done_at < round->end);
	return true;
}

static bool sync_queue(void *context, struct bench_round *round)
{
	uint64_t last = round->begin;
	(void)context;
	round->per_sample = BATCH;
	do {
		uint64_t before = n_run;
		for (int i = 0; i < BATCH; i++)
			IODispatchQueue_DispatchSync_f(queue, NULL, count);
		if (!check(before, BATCH))
			return false;
	} while (bench_next(round, &last));
	return true;
}

static bool compare_and_swap(void *context, struct bench_round *round)
{
	static _Atomic uint32_t lock;
	void (*volatile work)(void *context) = count;
	uint64_t last = round->begin;
	round->per_sample = BATCH;
	do {
		uint64_t before = n_run;
		for (int i = 0; i < BATCH; i++) {
			uint32_t is_free = 0, taken = 1;
			if (!atomic_compare_exchange_strong_explicit(
				    &lock, &is_free, 1, memory_order_acquire, memory_order_relaxed))
				return false;
			work(context);
			if (!atomic_compare_exchange_strong_explicit(
				    &lock, &taken, 0, memory_order_release, memory_order_relaxed))
				return false;
		}
		if (!check(before, BATCH))
			return false;
	} while (bench_next(round, &last));
	return true;
}

/* --- what is compared --- */

static struct bench bench;

static void add(const char *name, enum bench_pin pin,
		bool (*run)(void *context, struct bench_round *round), struct way *way)
{
	bench_add(&bench, &(struct bench_cell){ .name = name,
						.pin = pin,
						.run = run,
						.context = way,
						.server = way != NULL ? way->thread : 0,
						.is_thread = way != NULL });
}

static void add_way(struct way *way, pid_t thread)
{
	way->thread = thread;
	add(way->name, BENCH_ONE, same_thread, way);
	add(way->name, BENCH_TWO, across_threads, way);
	add(way->name, BENCH_FREE, across_threads, way);
}

static void add_ratio(const char *name, const char *a, const char *b, enum bench_pin pin,
		      double limit)
{
	bench_add_ratio(
		&bench,
		(struct bench_ratio){
			.name = name, .a = a, .b = b, .pin_a = pin, .pin_b = pin, .limit = limit });
}

int main(int argc, char **argv)
{
	bench_init(&bench, "dispatch", argc, argv);
	if (IODispatchQueue_Create("bench", 0, 0, &queue) != kIOReturnSuccess) {
		fprintf(stderr, "dispatch: no queue\n");
		return EXIT_FAILURE;
	}
	mpsc_init(&list);
	pid_t pool_thread = start(run_pool, &queue_thread);
	add("opendext-sync", BENCH_ONE, sync_queue, NULL);
	add("cas", BENCH_ONE, compare_and_swap, NULL);
	add_way(&async_way, pool_thread);
	add_way(&post_way, pool_thread);
	add_way(&list_way, start(run_list, &list_thread));

	add_ratio("opendext/cas", "opendext-sync", "cas", BENCH_ONE, 1.5);
	add_ratio(NULL, "opendext", "mpsc", BENCH_ONE, 2);
	add_ratio(NULL, "opendext", "mpsc", BENCH_TWO, 1.3);
	add_ratio(NULL, "opendext", "mpsc", BENCH_FREE, 0);
	add_ratio(NULL, "opendext-post", "mpsc", BENCH_ONE, 0);
	add_ratio(NULL, "opendext-post", "mpsc", BENCH_TWO, 0);
	return bench_run(&bench) ? bench_report(&bench) : EXIT_FAILURE;
}
