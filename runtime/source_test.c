/* SPDX-License-Identifier: Apache-2.0 */

#include <runtime/unit_pool.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <base/clock.h>

#define MS 1000000ULL

struct reader {
	IODispatchQueue *queue;
	struct fd_source *source;
	struct timer_source *timer;
	struct reader *other; // closed by the callback, if set
	int fds[2];
	unsigned calls;
	size_t read_bytes, wanted;
	bool closed;
};

static void reader_open(struct reader *reader, uint32_t events, void (*fn)(void *, uint32_t))
{
	if (reader->queue == NULL)
		reader->queue = new_queue("reader");
	ck_assert_int_eq(pipe2(reader->fds, O_CLOEXEC | O_NONBLOCK), 0);
	ck_assert_int_eq(
		fd_source_open(&reader->source, reader->fds[0], events, reader->queue, fn, reader),
		0);
}

static void reader_close(struct reader *reader)
{
	reader->source = fd_source_close(reader->source);
	close(reader->fds[0]);
	close(reader->fds[1]);
	OSObjectRelease(reader->queue);
}

static void feed(struct reader *reader, size_t size)
{
	char bytes[64] = { 0 };

	ck_assert_int_eq(write(reader->fds[1], bytes, size), (ssize_t)size);
}

/* --- descriptors --- */

static void take_one(void *context, uint32_t ready)
{
	struct reader *reader = context;
	char byte;

	ck_assert_uint_eq(ready & EPOLLIN, EPOLLIN);
	ck_assert(IODispatchQueue_OnQueue(reader->queue));
	reader->calls++;
	ck_assert_int_eq(read(reader->fds[0], &byte, 1), 1);
	if (++reader->read_bytes == reader->wanted)
		worker_stop();
}

/* Level: called again as long as something is left. */
START_TEST(a_level_source_calls_until_it_is_drained)
{
	struct reader reader = { .wanted = 40 };

	reader_open(&reader, EPOLLIN, take_one);
	feed(&reader, 40);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_uint_eq(reader.calls, 40);
	reader_close(&reader);
}
END_TEST

static void note_edge(void *context, uint32_t ready)
{
	struct reader *reader = context;

	(void)ready;
	if (++reader->calls == reader->wanted)
		worker_stop();
	else
		feed(reader, 1);
}

/* Edge: called once per arrival, though nothing is ever read. */
START_TEST(an_edge_source_calls_per_event)
{
	struct reader reader = { .wanted = 10 };

	reader_open(&reader, EPOLLIN | EPOLLET, note_edge);
	feed(&reader, 1);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_uint_eq(reader.calls, 10);
	reader_close(&reader);
}
END_TEST

static void close_myself(void *context, uint32_t ready)
{
	struct reader *reader = context;

	(void)ready;
	ck_assert(!reader->closed);
	reader->closed = true;
	reader->source = fd_source_close(reader->source);
	ck_assert_int_eq(IODispatchQueue_DispatchAsync_f(reader->queue, NULL, stop_pool),
			 kIOReturnSuccess);
}

START_TEST(a_source_may_close_itself)
{
	for (int edge = 0; edge < 2; edge++) {
		struct reader reader = { 0 };
		reader_open(&reader, edge ? EPOLLIN | EPOLLET : EPOLLIN, close_myself);
		feed(&reader, 5);
		ck_assert_int_eq(worker_run(), 0);
		ck_assert(reader.closed);
		ck_assert_ptr_null(reader.source);
		reader_close(&reader);
	}
}
END_TEST

static void close_other(void *context, uint32_t ready)
{
	struct reader *reader = context;

	take_one(reader, ready);
	ck_assert_ptr_nonnull(reader->source);
	reader->other->source = fd_source_close(reader->other->source);
	worker_stop();
}

/* Both are ready in one poll and their calls are queued: the first that runs closes the second,
 * which must not run, though its event was taken already. */
START_TEST(a_source_may_close_its_neighbour)
{
	struct reader a = { 0 }, b = { .other = &a };

	a.other = &b;
	reader_open(&a, EPOLLIN, close_other);
	b.queue = a.queue;
	OSObjectRetain(b.queue);
	reader_open(&b, EPOLLIN, close_other);
	feed(&a, 1);
	feed(&b, 1);
	ck_assert_int_eq(worker_run(), 0);
	IODispatchQueue_DispatchAsync_f(a.queue, NULL, stop_pool); // behind what is queued there
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_uint_eq(a.calls + b.calls, 1);
	reader_close(&a);
	reader_close(&b);
}
END_TEST

/* Another thread closes: when that returns, the function neither runs nor will. */
static void count_until_closed(void *context, uint32_t ready)
{
	struct reader *reader = context;

	(void)ready;
	ck_assert(!__atomic_load_n(&reader->closed, __ATOMIC_ACQUIRE));
	__atomic_add_fetch(&reader->calls, 1, __ATOMIC_RELAXED);
}

START_TEST(a_source_is_closed_from_elsewhere)
{
	pthread_t worker = start_thread(run_worker, NULL);

	for (int i = 0; i < 300; i++) {
		struct reader reader = { 0 };
		reader_open(&reader, EPOLLIN, count_until_closed);
		feed(&reader, 1);
		while (i % 3 == 0 && __atomic_load_n(&reader.calls, __ATOMIC_RELAXED) == 0)
			sched_yield();
		reader.source = fd_source_close(reader.source);
		__atomic_store_n(&reader.closed, true, __ATOMIC_RELEASE);
		reader_close(&reader);
	}
	worker_stop();
	pthread_join(worker, NULL);
}
END_TEST

static void on_writable(void *context, uint32_t ready)
{
	struct reader *reader = context;

	ck_assert_uint_eq(ready, EPOLLOUT);
	reader->calls++;
	ck_assert_int_eq(fd_source_set_events(reader->source, 0), 0);
	ck_assert_int_eq(IODispatchQueue_DispatchAsync_f(reader->queue, NULL, stop_pool),
			 kIOReturnSuccess);
}

START_TEST(events_can_be_changed)
{
	struct reader reader = { .queue = new_queue("writer") };

	reader.fds[0] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ck_assert_int_eq(fd_source_open(&reader.source, reader.fds[0], 0, reader.queue, on_writable,
					&reader),
			 0);
	ck_assert_int_eq(fd_source_set_events(reader.source, EPOLLOUT), 0);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_uint_eq(reader.calls, 1);
	fd_source_close(reader.source);
	close(reader.fds[0]);
	OSObjectRelease(reader.queue);
}
END_TEST

static void on_hangup(void *context, uint32_t ready)
{
	struct reader *reader = context;

	ck_assert_uint_eq(ready & EPOLLHUP, EPOLLHUP);
	if (++reader->calls == 3) {
		ck_assert_int_eq(fd_source_set_events(reader->source, 0), 0);
		ck_assert_int_eq(timer_source_set(reader->timer, clock_now_ns() + 5 * MS), 0);
	} else if (reader->calls == 4) {
		worker_stop();
	}
}

static void resume(void *context)
{
	struct reader *reader = context;

	ck_assert_uint_eq(reader->calls, 3);
	ck_assert_int_eq(fd_source_set_events(reader->source, EPOLLIN), 0);
}

/* A hang-up lasts: it is reported as long as one listens, and not while the source is paused. */
START_TEST(a_paused_source_hears_nothing)
{
	struct reader reader = { 0 };

	reader_open(&reader, EPOLLIN, on_hangup);
	timer_source_open(&reader.timer, reader.queue, resume, &reader);
	close(reader.fds[1]);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_uint_eq(reader.calls, 4);
	timer_source_close(reader.timer);
	reader.fds[1] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	reader_close(&reader);
}
END_TEST

struct exchange {
	IODispatchQueue *waiting, *other;
	int fds[2];
	int result;
};

static void await_answer(void *context)
{
	struct exchange *exchange = context;

	ck_assert_int_eq(worker_poll(exchange->fds[0], EPOLLIN, clock_now_ns() + MS / 4), 0);
	exchange->result = worker_poll(exchange->fds[0], EPOLLIN, clock_now_ns() + 20000 * MS);
	worker_stop();
}

static void answer(void *context)
{
	struct exchange *exchange = context;

	ck_assert_int_eq(write(exchange->fds[1], "x", 1), 1);
}

/* Who waits for a device's answer keeps its queue and nobody else's. */
START_TEST(a_poll_stops_no_other_queue)
{
	struct exchange exchange = { .waiting = new_queue("waiting"), .other = new_queue("other") };

	ck_assert_int_eq(pipe2(exchange.fds, O_CLOEXEC | O_NONBLOCK), 0);
	IODispatchQueue_DispatchAsync_f(exchange.waiting, &exchange, await_answer);
	IODispatchQueue_DispatchAsync_f(exchange.other, &exchange, answer);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_int_eq(exchange.result, EPOLLIN);
	close(exchange.fds[0]);
	close(exchange.fds[1]);
	OSObjectRelease(exchange.waiting);
	OSObjectRelease(exchange.other);
}
END_TEST

START_TEST(what_cannot_be_watched_is_refused)
{
	struct fd_source *source = NULL;
	IODispatchQueue *queue = new_queue("refused");

	ck_assert_int_eq(fd_source_open(&source, -1, EPOLLIN, queue, take_one, NULL), -EBADF);
	ck_assert_ptr_null(source);
	ck_assert_ptr_null(fd_source_close(NULL));
	OSObjectRelease(queue);
}
END_TEST

static void never(void *context, uint32_t ready)
{
	(void)context;
	(void)ready;
	ck_abort_msg("a source of a cancelled queue called");
}

/* The queue's last piece has run: its sources are silent, and can still be closed. */
START_TEST(a_cancelled_queue_silences_its_sources)
{
	struct reader reader = { 0 }, clock = { .wanted = 1 };

	reader_open(&reader, EPOLLIN, never);
	reader_open(&clock, EPOLLIN, take_one);
	IODispatchQueue_Cancel_f(reader.queue, NULL, NULL);
	feed(&reader, 1);
	feed(&clock, 1);
	ck_assert_int_eq(worker_run(), 0);
	reader_close(&reader);
	reader_close(&clock);
}
END_TEST

/* --- timers --- */

enum { TIMERS = 5 };

struct alarms {
	IODispatchQueue *queue;
	struct timer_source *timers[TIMERS];
	unsigned fired[TIMERS], n_fired;
	uint64_t begin;
};

struct numbered_alarm {
	struct alarms *alarms;
	unsigned number;
};

static void on_alarm(void *context)
{
	struct numbered_alarm *alarm = context;
	struct alarms *alarms = alarm->alarms;

	ck_assert(IODispatchQueue_OnQueue(alarms->queue));
	alarms->fired[alarms->n_fired++] = alarm->number;
	if (alarm->number == 2)
		timer_source_set(alarms->timers[1], 0);
	if (alarm->number == 4)
		worker_stop();
}

/* Set in any order they fire by deadline, not before it, once; one that is disarmed does not. */
START_TEST(timers_fire_in_the_order_of_their_deadlines)
{
	static const unsigned ms[TIMERS] = { 6, 9, 3, 12, 15 };
	struct alarms alarms = { .queue = new_queue("alarms"), .begin = clock_now_ns() };
	struct numbered_alarm numbered[TIMERS];

	for (unsigned i = 0; i < TIMERS; i++) {
		numbered[i] = (struct numbered_alarm){ &alarms, i };
		timer_source_open(&alarms.timers[i], alarms.queue, on_alarm, &numbered[i]);
		timer_source_set(alarms.timers[i], alarms.begin + ms[i] * MS);
	}
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_uint_ge(clock_now_ns() - alarms.begin, 15 * MS);
	ck_assert_uint_eq(alarms.n_fired, 4);
	ck_assert_uint_eq(alarms.fired[0], 2);
	ck_assert_uint_eq(alarms.fired[1], 0);
	ck_assert_uint_eq(alarms.fired[2], 3);
	ck_assert_uint_eq(alarms.fired[3], 4);
	for (unsigned i = 0; i < TIMERS; i++)
		timer_source_close(alarms.timers[i]);
	OSObjectRelease(alarms.queue);
}
END_TEST

struct ticker {
	IODispatchQueue *queue;
	struct timer_source *timer;
	unsigned ticks;
};

static void tick(void *context)
{
	struct ticker *ticker = context;

	if (++ticker->ticks < 20) {
		timer_source_set(ticker->timer, clock_now_ns());
		return;
	}
	ticker->timer = timer_source_close(ticker->timer);
	worker_stop();
}

START_TEST(a_timer_sets_and_closes_itself)
{
	struct ticker ticker = { .queue = new_queue("ticker") };

	timer_source_open(&ticker.timer, ticker.queue, tick, &ticker);
	timer_source_set(ticker.timer, 1);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_uint_eq(ticker.ticks, 20);
	ck_assert_ptr_null(ticker.timer);
	OSObjectRelease(ticker.queue);
}
END_TEST

/* --- idle --- */

static long switches_at_start;

static void note_start(void *context)
{
	struct rusage usage;

	(void)context;
	getrusage(RUSAGE_THREAD, &usage);
	switches_at_start = usage.ru_nvcsw;
}

static void note_end(void *context)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	*(long *)context = usage.ru_nvcsw - switches_at_start;
	worker_stop();
}

/* Between two alarms 50 ms apart the one worker sleeps through: it goes to sleep once. */
START_TEST(an_idle_pool_does_not_wake)
{
	IODispatchQueue *queue = new_queue("idle");
	struct timer_source *timer;
	long switches = -1;

	IODispatchQueue_DispatchAsync_f(queue, NULL, note_start);
	timer_source_open(&timer, queue, note_end, &switches);
	timer_source_set(timer, clock_now_ns() + 50 * MS);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_int_ge(switches, 1);
	ck_assert_int_le(switches, 2);
	timer_source_close(timer);
	OSObjectRelease(queue);
}
END_TEST

POOL_TESTS("runtime-source", a_level_source_calls_until_it_is_drained,
	   an_edge_source_calls_per_event, a_source_may_close_itself,
	   a_source_may_close_its_neighbour, a_source_is_closed_from_elsewhere,
	   events_can_be_changed, a_paused_source_hears_nothing, a_poll_stops_no_other_queue,
	   what_cannot_be_watched_is_refused, a_cancelled_queue_silences_its_sources,
	   timers_fire_in_the_order_of_their_deadlines, a_timer_sets_and_closes_itself,
	   an_idle_pool_does_not_wake)
