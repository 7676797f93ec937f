/* SPDX-License-Identifier: Apache-2.0 */

#include <runtime/unit_pool.h>

#include <dirent.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <UnitTimer.h>
#include <base/clock.h>

#define MS 1000000ULL

/* One timer, what it calls, and what is to happen in the callback. */
struct bench {
	IODispatchQueue *queue;
	IOTimerDispatchSource *timer;
	OSAction *action;
	_Atomic unsigned calls;
	uint64_t last_time;
	_Atomic bool silent; // no callback may come any more
	void (*in_callback)(struct bench *bench);
	unsigned stop_at; // calls after which the pool stops
};

static _Atomic int targets_alive;

void IMPL(UnitTimed, free)
{
	atomic_fetch_sub(&targets_alive, 1);
	UnitTimed_super_free(self);
}

static void note(OSAction *action, uint64_t time)
{
	struct bench *bench = *(struct bench **)OSAction_GetReference(action);

	ck_assert(!atomic_load(&bench->silent));
	bench->last_time = time;
	unsigned calls = atomic_fetch_add(&bench->calls, 1) + 1;
	if (bench->in_callback != NULL)
		bench->in_callback(bench);
	if (calls == bench->stop_at)
		worker_stop();
}

void IMPL(UnitTimed, timed)
{
	(void)self;
	note(action, time);
}

void IMPL(UnitTimed, timedOnNamed)
{
	(void)self;
	note(action, time);
}

static OSAction *new_action(struct bench *bench, bool named, IODispatchQueue *named_queue)
{
	UnitTimed *target = OSTypeAlloc(UnitTimed);
	OSAction *action = NULL;

	ck_assert(UnitTimed_init(target));
	atomic_fetch_add(&targets_alive, 1);
	if (named_queue != NULL)
		ck_assert_int_eq(UnitTimed_SetDispatchQueue(target, "UnitNamed", named_queue),
				 kIOReturnSuccess);
	kern_return_t ret =
		named ? UnitTimed_CreateActiontimedOnNamed(target, sizeof(bench), &action)
		      : UnitTimed_CreateActiontimed(target, sizeof(bench), &action);
	ck_assert_int_eq(ret, kIOReturnSuccess);
	*(struct bench **)OSAction_GetReference(action) = bench;
	OSObjectRelease(target);
	return action;
}

static void open_timer(struct bench *bench)
{
	if (bench->queue == NULL)
		bench->queue = new_queue("timer");
	ck_assert_int_eq(IOTimerDispatchSource_Create(bench->queue, &bench->timer),
			 kIOReturnSuccess);
	if (bench->action == NULL)
		bench->action = new_action(bench, false, NULL);
	ck_assert_int_eq(IOTimerDispatchSource_SetHandler(bench->timer, bench->action),
			 kIOReturnSuccess);
}

/* Let all run that is due by now, and that was posted by then. */
static void settle(void)
{
	IODispatchQueue *queue = new_queue("settle");
	struct timer_source *last;

	ck_assert_int_eq(timer_source_open(&last, queue, stop_pool, NULL), 0);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(timer_source_set(last, clock_now_ns()), 0);
		ck_assert_int_eq(worker_run(), 0);
	}
	timer_source_close(last);
	OSObjectRelease(queue);
}

static void close_timer(struct bench *bench)
{
	settle();
	OSObjectRelease(bench->timer);
	OSObjectRelease(bench->action);
	OSObjectRelease(bench->queue);
	ck_assert_int_eq(atomic_load(&targets_alive), 0);
}

static kern_return_t wake_in(struct bench *bench, uint64_t ns)
{
	return IOTimerDispatchSource_WakeAtTime(bench->timer, kIOTimerClockUptimeRaw,
						clock_now_ns() + ns, 0);
}

/* --- clocks --- */

static uint64_t now_of(uint64_t options)
{
	switch (options) {
	case kIOTimerClockRealTime:
		return clock_real_now_ns();
	case kIOTimerClockMonotonicRaw:
	case kIOTimerClockMachContinuousTime:
		return clock_boot_now_ns();
	default:
		return clock_now_ns();
	}
}

/* By its own clock a timer is called for once, and never early. */
START_TEST(every_clock_rings)
{
	static const uint64_t clocks[] = {
		kIOTimerClockUptimeRaw,        kIOTimerClockMonotonicRaw,
		kIOTimerClockRealTime,         kIOTimerClockWallTime,
		kIOTimerClockMachAbsoluteTime, kIOTimerClockMachContinuousTime
	};
	struct bench bench = { .stop_at = 1 };

	open_timer(&bench);
	for (unsigned i = 0; i < sizeof(clocks) / sizeof(clocks[0]); i++) {
		uint64_t begin = clock_now_ns(), deadline = now_of(clocks[i]) + 3 * MS;
		atomic_store(&bench.calls, 0);
		ck_assert_int_eq(
			IOTimerDispatchSource_WakeAtTime(bench.timer, clocks[i], deadline, 0),
			kIOReturnSuccess);
		ck_assert_int_eq(worker_run(), 0);
		ck_assert_uint_ge(now_of(clocks[i]), deadline);
		ck_assert_uint_ge(bench.last_time, begin + 2 * MS);
		ck_assert_uint_le(bench.last_time, clock_now_ns());
		ck_assert_uint_eq(atomic_load(&bench.calls), 1);
	}
	close_timer(&bench);
}
END_TEST

/* The number of timerfds of that clock that are set. */
static unsigned kernel_timers(int clock)
{
	char wanted[32], path[300], line[128];
	DIR *dir = opendir("/proc/self/fdinfo");
	unsigned n = 0;

	snprintf(wanted, sizeof(wanted), "clockid: %d\n", clock);
	for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
		bool ours = false;
		snprintf(path, sizeof(path), "/proc/self/fdinfo/%s", entry->d_name);
		FILE *file = fopen(path, "re");
		while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
			ours |= strcmp(line, wanted) == 0;
			n += ours && strncmp(line, "it_value: (", 11) == 0 &&
			     strncmp(line, "it_value: (0, 0)", 16) != 0;
		}
		if (file != NULL)
			fclose(file);
	}
	closedir(dir);
	return n;
}

/* What must go on in suspend, or follow the date, is the kernel's to watch; the rest is not. */
START_TEST(the_kernel_keeps_the_other_clocks)
{
	struct bench bench = { 0 };

	open_timer(&bench);
	for (int by_date = 0; by_date < 2; by_date++) {
		clockid_t clock = by_date ? CLOCK_REALTIME : CLOCK_BOOTTIME;
		uint64_t options = by_date ? kIOTimerClockRealTime : kIOTimerClockMonotonicRaw;
		ck_assert_uint_eq(kernel_timers(clock), 0);
		ck_assert_int_eq(wake_in(&bench, 1000 * MS), kIOReturnSuccess);
		ck_assert_uint_eq(kernel_timers(clock), 0);
		ck_assert_int_eq(IOTimerDispatchSource_WakeAtTime(bench.timer, options,
								  now_of(options) + 1000 * MS, 0),
				 kIOReturnSuccess);
		ck_assert_uint_eq(kernel_timers(clock), 1);
	}
	close_timer(&bench);
}
END_TEST

START_TEST(bad_arguments_are_refused)
{
	struct bench bench = { 0 };
	IOTimerDispatchSource *none = NULL;

	ck_assert_int_eq(IOTimerDispatchSource_Create(NULL, &none), kIOReturnBadArgument);
	open_timer(&bench);
	ck_assert_int_eq(IOTimerDispatchSource_Create(bench.queue, NULL), kIOReturnBadArgument);
	for (uint64_t options = 0; options < 0x200; options++) {
		kern_return_t ret = IOTimerDispatchSource_WakeAtTime(bench.timer, options, 0, 0);
		bool known = options == 0x80 || options == 0x84 || options == 0x88 ||
			     options == 0xc4 || options == 0xc8;
		ck_assert_int_eq(ret, known ? kIOReturnSuccess : kIOReturnBadArgument);
	}
	ck_assert_int_eq(IOTimerDispatchSource_WakeAtTime(NULL, kIOTimerClockUptimeRaw, 0, 0),
			 kIOReturnBadArgument);
	close_timer(&bench);
}
END_TEST

/* --- one shot --- */

START_TEST(a_new_deadline_replaces_the_old)
{
	struct bench bench = { .stop_at = 1 };
	uint64_t begin = clock_now_ns();

	open_timer(&bench);
	ck_assert_int_eq(wake_in(&bench, MS), kIOReturnSuccess);
	ck_assert_int_eq(wake_in(&bench, 12 * MS), kIOReturnSuccess);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_uint_ge(clock_now_ns() - begin, 12 * MS);
	settle();
	ck_assert_uint_eq(atomic_load(&bench.calls), 1);

	/* By another clock, and 0: never. */
	ck_assert_int_eq(IOTimerDispatchSource_WakeAtTime(bench.timer, kIOTimerClockRealTime,
							  clock_real_now_ns() + MS, 0),
			 kIOReturnSuccess);
	ck_assert_int_eq(wake_in(&bench, 2 * MS), kIOReturnSuccess);
	ck_assert_int_eq(
		IOTimerDispatchSource_WakeAtTime(bench.timer, kIOTimerClockMonotonicRaw, 0, 0),
		kIOReturnSuccess);
	struct bench later = { .stop_at = 1 };
	open_timer(&later);
	ck_assert_int_eq(wake_in(&later, 8 * MS), kIOReturnSuccess);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_uint_eq(atomic_load(&bench.calls), 1);
	OSObjectRelease(later.timer);
	OSObjectRelease(later.action);
	OSObjectRelease(later.queue);
	close_timer(&bench);
}
END_TEST

static void replace_what_is_due(void *context)
{
	struct bench *bench = context;
	uint64_t until = clock_now_ns() + 5 * MS;

	while (clock_now_ns() < until)
		continue; // the deadline passes, and its call waits for this queue
	ck_assert_int_eq(wake_in(bench, 5 * MS), kIOReturnSuccess);
}

/* Also when the old one is past, and only its queue was busy. */
START_TEST(a_due_call_is_replaced_too)
{
	struct bench bench = { .stop_at = 1 };
	pthread_t worker;

	open_timer(&bench);
	uint64_t begin = clock_now_ns();
	ck_assert_int_eq(wake_in(&bench, MS), kIOReturnSuccess);
	IODispatchQueue_DispatchAsync_f(bench.queue, &bench, replace_what_is_due);
	worker = start_thread(run_worker, NULL);
	pthread_join(worker, NULL);
	ck_assert_uint_ge(clock_now_ns() - begin, 10 * MS);
	settle();
	ck_assert_uint_eq(atomic_load(&bench.calls), 1);
	close_timer(&bench);
}
END_TEST

static void again(struct bench *bench)
{
	ck_assert(IODispatchQueue_OnQueue(bench->queue));
	ck_assert_int_eq(wake_in(bench, MS / 10), kIOReturnSuccess);
}

START_TEST(a_callback_may_set_it_again)
{
	struct bench bench = { .in_callback = again, .stop_at = 50 };

	open_timer(&bench);
	ck_assert_int_eq(wake_in(&bench, 0), kIOReturnSuccess);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_uint_eq(atomic_load(&bench.calls), 50);
	close_timer(&bench);
}
END_TEST

/* The queue of the timer is held by a caller that holds a lock of its own, and another thread,
 * which wants that lock, sets the timer: nobody waits for anybody. */
static void hold_and_wait(void *context)
{
	_Atomic int *set = context;

	while (atomic_load(set) == 0)
		sched_yield();
}

static void *set_elsewhere(void *context)
{
	struct bench *bench = ((void **)context)[0];
	_Atomic int *set = ((void **)context)[1];

	ck_assert_int_eq(wake_in(bench, MS), kIOReturnSuccess);
	atomic_store(set, 1);
	return NULL;
}

START_TEST(setting_waits_for_no_queue)
{
	struct bench bench = { .stop_at = 1 };
	_Atomic int set = 0;
	void *both[] = { &bench, &set };

	open_timer(&bench);
	pthread_t thread = start_thread(set_elsewhere, both);
	ck_assert_int_eq(IODispatchQueue_DispatchSync_f(bench.queue, &set, hold_and_wait),
			 kIOReturnSuccess);
	pthread_join(thread, NULL);
	ck_assert_int_eq(worker_run(), 0);
	close_timer(&bench);
}
END_TEST

/* --- leeway --- */

enum { MANY = 3000 };

/* With room to be late, timers wait for each other: many deadlines, few wake-ups. Without, each is
 * a wake-up of its own. */
START_TEST(leeway_gathers)
{
	enum { TIMERS = 20 };
	struct bench bench = { .stop_at = TIMERS };
	IOTimerDispatchSource *timers[TIMERS];
	uint64_t times[2];

	for (int with_leeway = 0; with_leeway < 2; with_leeway++) {
		struct bench *b = &bench;
		uint64_t begin = clock_now_ns() + 2 * MS;
		atomic_store(&bench.calls, 0);
		if (bench.queue == NULL)
			open_timer(&bench);
		for (unsigned i = 0; i < TIMERS; i++) {
			ck_assert_int_eq(IOTimerDispatchSource_Create(b->queue, &timers[i]),
					 kIOReturnSuccess);
			IOTimerDispatchSource_SetHandler(timers[i], b->action);
			ck_assert_int_eq(IOTimerDispatchSource_WakeAtTime(
						 timers[i], kIOTimerClockUptimeRaw, begin + i * MS,
						 with_leeway ? 200 * MS : 0),
					 kIOReturnSuccess);
		}
		ck_assert_int_eq(worker_run(), 0);
		times[with_leeway] = bench.last_time - begin;
		for (unsigned i = 0; i < TIMERS; i++)
			OSObjectRelease(timers[i]);
	}
	/* The last without leeway comes at its time; with it, all wait for the first one's latest.
	 */
	ck_assert_uint_ge(times[0], 19 * MS);
	ck_assert_uint_lt(times[0], 150 * MS);
	ck_assert_uint_ge(times[1], 200 * MS);
	close_timer(&bench);
}
END_TEST

static void pass_event(void *context, uint32_t ready)
{
	(void)context;
	(void)ready;
}

/* A wake-up for another reason is used: here for a descriptor. */
START_TEST(leeway_uses_other_wakeups)
{
	struct bench bench = { .stop_at = 1 };
	struct fd_source *source;
	int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);

	open_timer(&bench);
	ck_assert_int_eq(
		fd_source_open(&source, fd, EPOLLIN | EPOLLET, bench.queue, pass_event, NULL), 0);
	uint64_t begin = clock_now_ns();
	ck_assert_int_eq(IOTimerDispatchSource_WakeAtTime(bench.timer, kIOTimerClockUptimeRaw,
							  begin, 10000 * MS),
			 kIOReturnSuccess);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_uint_lt(clock_now_ns() - begin, 5000 * MS);
	fd_source_close(source);
	close(fd);
	close_timer(&bench);
}
END_TEST

static uint64_t owned_ns = 1000 * MS;

static uint64_t owned_clock(void)
{
	return owned_ns;
}

/* Thousands at once, in no order, some of them cleared again, by a clock that the test owns. */
START_TEST(thousands_of_timers)
{
	static IOTimerDispatchSource *timers[MANY];
	struct bench bench = { 0 };

	clock_set_source(owned_clock);
	open_timer(&bench);
	chance_seed(3);
	for (unsigned i = 0; i < MANY; i++) {
		ck_assert_int_eq(IOTimerDispatchSource_Create(bench.queue, &timers[i]),
				 kIOReturnSuccess);
		IOTimerDispatchSource_SetHandler(timers[i], bench.action);
		ck_assert_int_eq(
			IOTimerDispatchSource_WakeAtTime(timers[i], kIOTimerClockUptimeRaw,
							 owned_ns + chance_u64() % (1000 * MS), 0),
			kIOReturnSuccess);
	}
	for (unsigned i = 0; i < MANY; i += 2)
		ck_assert_int_eq(
			IOTimerDispatchSource_WakeAtTime(timers[i], kIOTimerClockUptimeRaw, 0, 0),
			kIOReturnSuccess);
	owned_ns += 500 * MS;
	settle();
	unsigned half = atomic_load(&bench.calls);
	ck_assert_uint_gt(half, MANY / 8);
	ck_assert_uint_lt(half, MANY / 2 - MANY / 8);
	owned_ns += 500 * MS;
	settle();
	ck_assert_uint_eq(atomic_load(&bench.calls), MANY / 2);
	ck_assert_uint_eq(bench.last_time, owned_ns);
	for (unsigned i = 0; i < MANY; i++)
		OSObjectRelease(timers[i]);
	clock_set_source(NULL);
	close_timer(&bench);
}
END_TEST

/* --- enabling --- */

static void note_completion(void *context)
{
	struct bench *bench = context;

	ck_assert(IODispatchQueue_OnQueue(bench->queue));
	atomic_store(&bench->silent, true);
	worker_stop();
}

static void disable_with_completion(struct bench *bench)
{
	ck_assert_int_eq(IOTimerDispatchSource_SetEnableWithCompletion_f(bench->timer, false, bench,
									 note_completion),
			 kIOReturnSuccess);
	ck_assert_int_eq(wake_in(bench, 0), kIOReturnSuccess);
}

/* Disabled in its own callback: the completion comes after that has returned, and what is due by
 * then waits until the timer is enabled again. */
START_TEST(disabled_means_later)
{
	struct bench bench = { .in_callback = disable_with_completion };

	open_timer(&bench);
	ck_assert_int_eq(wake_in(&bench, 0), kIOReturnSuccess);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_uint_eq(atomic_load(&bench.calls), 1);
	settle();
	ck_assert_uint_eq(atomic_load(&bench.calls), 1);
	atomic_store(&bench.silent, false);
	bench.in_callback = NULL;
	bench.stop_at = 2;
	ck_assert_int_eq(IOTimerDispatchSource_SetEnable(bench.timer, false), kIOReturnSuccess);
	ck_assert_int_eq(IOTimerDispatchSource_SetEnable(bench.timer, true), kIOReturnSuccess);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_uint_eq(atomic_load(&bench.calls), 2);

	/* A new deadline takes back also what waited for that. */
	ck_assert_int_eq(IOTimerDispatchSource_SetEnable(bench.timer, false), kIOReturnSuccess);
	ck_assert_int_eq(wake_in(&bench, 0), kIOReturnSuccess);
	settle();
	ck_assert_int_eq(wake_in(&bench, 1000000 * MS), kIOReturnSuccess);
	ck_assert_int_eq(IOTimerDispatchSource_SetEnable(bench.timer, true), kIOReturnSuccess);
	settle();
	ck_assert_uint_eq(atomic_load(&bench.calls), 2);
	close_timer(&bench);
}
END_TEST

/* The same for a timer that has no handler yet. */
START_TEST(a_handler_may_come_late)
{
	struct bench bench = { .stop_at = 1 };

	open_timer(&bench);
	ck_assert_int_eq(IOTimerDispatchSource_SetHandler(bench.timer, NULL), kIOReturnSuccess);
	ck_assert_int_eq(wake_in(&bench, 0), kIOReturnSuccess);
	settle();
	ck_assert_uint_eq(atomic_load(&bench.calls), 0);
	ck_assert_int_eq(IOTimerDispatchSource_SetHandler(bench.timer, bench.action),
			 kIOReturnSuccess);
	ck_assert_int_eq(worker_run(), 0);
	close_timer(&bench);
}
END_TEST

/* --- the queue --- */

static void pass(void *context)
{
	(void)context;
}

static void on_named(struct bench *bench)
{
	ck_assert(!IODispatchQueue_OnQueue(bench->queue));
	ck_assert_str_eq(IODispatchQueue_GetName(queue_current()), "named");
	bench->in_callback = NULL;
	ck_assert_int_eq(IOTimerDispatchSource_SetEnableWithCompletion_f(bench->timer, false, bench,
									 note_completion),
			 kIOReturnSuccess);
	/* The timer's own queue is free meanwhile, and yet the completion waits for this one. */
	ck_assert_int_eq(IODispatchQueue_DispatchSync_f(bench->queue, bench, pass),
			 kIOReturnSuccess);
	ck_assert(!atomic_load(&bench->silent));
}

START_TEST(a_target_may_name_its_queue)
{
	struct bench bench = { .in_callback = on_named };
	IODispatchQueue *named = new_queue("named");

	bench.action = new_action(&bench, true, named);
	open_timer(&bench);
	ck_assert_int_eq(wake_in(&bench, 0), kIOReturnSuccess);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_uint_eq(atomic_load(&bench.calls), 1);
	close_timer(&bench);
	OSObjectRelease(named);
}
END_TEST

struct overlap {
	struct bench bench;
	struct timer_source *last;
	_Atomic uint32_t passed;
	bool cancels;
};

static void note_passed(void *context)
{
	struct overlap *overlap = context;

	atomic_store(&overlap->passed, 1);
	worker_wake(&overlap->passed);
}

/* The timer's own queue goes on, and finds it due again. */
static void let_it_ring_again(struct bench *bench)
{
	struct overlap *overlap = container_of(bench, struct overlap, bench);

	if (atomic_load(&bench->calls) > 1)
		return;
	ck_assert_int_eq(wake_in(bench, 0), kIOReturnSuccess);
	ck_assert_int_eq(timer_source_set(overlap->last, clock_now_ns()), 0);
	ck_assert_int_eq(worker_wait(&overlap->passed, 0, 0), 0);
	ck_assert_uint_eq(atomic_load(&bench->calls), 1); // not two at once
	if (overlap->cancels)
		IOTimerDispatchSource_Cancel_f(bench->timer, bench, NULL);
}

/* A handler elsewhere that is still busy when the timer is due again is called once more after it,
 * unless it has cancelled the timer. */
START_TEST(a_busy_handler_is_called_after)
{
	for (int cancels = 0; cancels < 2; cancels++) {
		struct overlap overlap = { .bench.in_callback = let_it_ring_again,
					   .cancels = cancels };
		IODispatchQueue *named = new_queue("named");
		overlap.bench.action = new_action(&overlap.bench, true, named);
		open_timer(&overlap.bench);
		timer_source_open(&overlap.last, overlap.bench.queue, note_passed, &overlap);
		overlap.bench.stop_at = cancels ? 1 : 2;
		ck_assert_int_eq(wake_in(&overlap.bench, 0), kIOReturnSuccess);
		ck_assert_int_eq(worker_run(), 0);
		ck_assert_uint_eq(atomic_load(&overlap.passed), 1);
		settle();
		ck_assert_uint_eq(atomic_load(&overlap.bench.calls), cancels ? 1 : 2);
		timer_source_close(overlap.last);
		close_timer(&overlap.bench);
		OSObjectRelease(named);
	}
}
END_TEST

/* --- cancelling --- */

static void cancelled(void *context)
{
	struct bench *bench = context;

	atomic_store(&bench->silent, true);
	worker_stop();
}

static void cancel_all(struct bench *bench, int order)
{
	IODispatchSource *source = IOTimerDispatchSource_as_IODispatchSource(bench->timer);

	for (int i = 0; i < 3; i++) {
		switch ((order + i) % 3) {
		case 0:
			ck_assert_int_eq(IODispatchSource_Cancel_f(source, bench, cancelled),
					 kIOReturnSuccess);
			break;
		case 1:
			ck_assert_int_eq(IODispatchQueue_Cancel_f(bench->queue, NULL, NULL),
					 kIOReturnSuccess);
			break;
		default:
			ck_assert_int_eq(OSAction_Cancel_f(bench->action, NULL, NULL),
					 kIOReturnSuccess);
		}
	}
}

static void cancel_within(struct bench *bench)
{
	cancel_all(bench, (int)bench->stop_at - 100);
}

/* Source, queue and action, in each order, before, in and between callbacks: the handler comes, and
 * nothing after it. */
START_TEST(cancels_come_in_any_order)
{
	for (int order = 0; order < 3; order++) {
		struct bench before = { 0 };
		open_timer(&before);
		ck_assert_int_eq(wake_in(&before, 0), kIOReturnSuccess);
		cancel_all(&before, order);
		ck_assert(!atomic_load(&before.silent)); // its handler runs later, on a queue
		ck_assert_int_eq(worker_run(), 0);
		ck_assert_uint_eq(atomic_load(&before.calls), 0);
		ck_assert_int_eq(wake_in(&before, 0), kIOReturnUnsupported);
		ck_assert_int_eq(IOTimerDispatchSource_SetEnable(before.timer, true),
				 kIOReturnUnsupported);
		ck_assert_int_eq(IOTimerDispatchSource_SetHandler(before.timer, NULL),
				 kIOReturnUnsupported);
		ck_assert_int_eq(IOTimerDispatchSource_Cancel_f(before.timer, NULL, NULL),
				 kIOReturnUnsupported);
		ck_assert_int_eq(IOTimerDispatchSource_CheckForWork(before.timer, true),
				 kIOReturnUnsupported);
		close_timer(&before);

		struct bench within = { .in_callback = cancel_within, .stop_at = 100 + order };
		open_timer(&within);
		ck_assert_int_eq(wake_in(&within, 0), kIOReturnSuccess);
		ck_assert_int_eq(worker_run(), 0);
		ck_assert_uint_eq(atomic_load(&within.calls), 1);
		ck_assert(atomic_load(&within.silent));
		close_timer(&within);
	}
}
END_TEST

/* A target that keeps its timer is let go of, for the timer lets go of the action. */
START_TEST(a_cancel_breaks_the_circle)
{
	struct bench bench = { 0 };

	open_timer(&bench);
	OSObjectRelease(bench.action);
	bench.action = NULL;
	ck_assert_int_eq(IOTimerDispatchSource_Cancel_f(bench.timer, NULL, NULL), kIOReturnSuccess);
	settle();
	ck_assert_int_eq(atomic_load(&targets_alive), 0);
	close_timer(&bench);
}
END_TEST

static void try_again(struct bench *bench)
{
	wake_in(bench, 0); // refused once it is cancelled
}

static void note_done(void *context)
{
	atomic_store((_Atomic uint32_t *)context, 1);
}

/* Another thread cancels while the timer rings as fast as it can. */
START_TEST(a_timer_is_cancelled_from_elsewhere)
{
	pthread_t worker = start_thread(run_worker, NULL);

	for (int i = 0; i < 200; i++) {
		struct bench bench = { .in_callback = try_again };
		open_timer(&bench);
		ck_assert_int_eq(wake_in(&bench, 0), kIOReturnSuccess);
		while (i % 2 == 0 && atomic_load(&bench.calls) < 3)
			sched_yield();
		_Atomic uint32_t done = 0;
		ck_assert_int_eq(IOTimerDispatchSource_Cancel_f(bench.timer, &done, note_done),
				 kIOReturnSuccess);
		while (atomic_load(&done) == 0)
			sched_yield();
		atomic_store(&bench.silent, true);
		OSObjectRelease(bench.timer);
		OSObjectRelease(bench.action);
		OSObjectRelease(bench.queue);
	}
	worker_stop();
	pthread_join(worker, NULL);
	ck_assert_int_eq(atomic_load(&targets_alive), 0);
}
END_TEST

/* The last reference goes while it rings: that ends it, and waits for nobody. */
START_TEST(a_release_ends_a_timer)
{
	pthread_t worker = start_thread(run_worker, NULL);

	for (int i = 0; i < 200; i++) {
		struct bench bench = { 0 };
		open_timer(&bench);
		ck_assert_int_eq(wake_in(&bench, 0), kIOReturnSuccess);
		while (i % 2 == 0 && atomic_load(&bench.calls) == 0)
			sched_yield();
		OSObjectRelease(bench.timer);
		_Atomic uint32_t done = 0;
		IODispatchQueue_DispatchSync_f(bench.queue, &done, note_done);
		atomic_store(&bench.silent, true);
		OSObjectRelease(bench.action);
		OSObjectRelease(bench.queue);
	}
	worker_stop();
	pthread_join(worker, NULL);
	ck_assert_int_eq(atomic_load(&targets_alive), 0);
}
END_TEST

POOL_TESTS("timer", every_clock_rings, the_kernel_keeps_the_other_clocks, bad_arguments_are_refused,
	   a_new_deadline_replaces_the_old, a_due_call_is_replaced_too, a_callback_may_set_it_again,
	   setting_waits_for_no_queue, leeway_gathers, leeway_uses_other_wakeups,
	   thousands_of_timers, disabled_means_later, a_handler_may_come_late,
	   a_target_may_name_its_queue, a_busy_handler_is_called_after, a_cancel_breaks_the_circle,
	   cancels_come_in_any_order, a_timer_is_cancelled_from_elsewhere, a_release_ends_a_timer)
