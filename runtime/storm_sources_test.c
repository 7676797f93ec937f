/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A storm over sources, with no device behind them: timers and data queues whose handlers are set
 * and taken away, enabled and disabled, looked at and cancelled, and actions that other drivers
 * hold, invoke and let go; what they call does more of it. Whatever the order:
 *
 *	- a callback runs on its queue, alone, one at a time for its source, and none after the
 *	  handler of a cancel, the source's or the action's;
 *	- what is put into a data queue comes out in order, and nothing else;
 *	- each invocation that was accepted is delivered once, and an abort told once at most;
 *	- each handler that was accepted runs once;
 *	- what can still be called, at the end, is called for what happens then;
 *	- nobody hangs, and nothing is left: a cancelled source keeps no action.
 *
 * The seeds are those of runtime/storm.h.
 */

#include <runtime/storm.h>

#include <pthread.h>
#include <semaphore.h>
#include <string.h>

#include <DriverKit/IOTimerClocks.h>
#include <UnitDataQueue.h>
#include <UnitObjects.h>
#include <UnitTimer.h>
#include <base/clock.h>
#include <runtime/action.h>
#include <runtime/queue.h>
#include <runtime/worker.h>

enum { QUEUES = 3, TIMERS = 4, PIPES = 3, PEERS = 4, THREADS = 3, STEPS = 3000, DEPTH = 3 };
enum { PIPE_SIZE = 256, ENTRY_MAX = 64 };

struct station {
	IODispatchQueue *queue;
	_Atomic int alone;
	_Atomic bool asked, cancelled; // Cancel was accepted; its handler has run
};

/* An action and its end. */
struct receiver {
	OSAction *action;
	unsigned at; // the queue that it is called on
	_Atomic bool asked, cancelled;
	_Atomic int inside; // calls of it
};

/* What a timer and a data queue have in common. */
struct source {
	IODispatchSource *source;
	unsigned at; // its queue
	_Atomic bool asked, cancelled;
	_Atomic int changes; // handlers of SetEnable to come
	_Atomic int inside;  // callbacks
};

struct timer {
	struct source base;
	struct receiver receiver;
	_Atomic uint64_t last_time; // that it was called for
	sem_t called;
};

struct pipe {
	struct source base;
	struct receiver available, serviced;
	sem_t called;                    // for what is available
	pthread_mutex_t putting, taking; // the two sides
	uint32_t n_put, n_taken;         // guarded by them, one each
};

/* An action that other drivers hold. */
struct peer {
	struct receiver receiver;
	_Atomic unsigned accepted, delivered, aborted, ended;
};

static struct storm {
	uint64_t seed;
	struct station stations[QUEUES];
	struct timer timers[TIMERS];
	struct pipe pipes[PIPES];
	struct peer peers[PEERS];
	_Atomic uint64_t chance; // of the callbacks
	_Atomic bool calm;       // callbacks do nothing more
	_Atomic unsigned left;   // handlers to come, and the end of the test
	_Atomic int alive;       // targets
} storm;

/* How often the thread is on each queue. */
static _Thread_local unsigned depth[QUEUES];

static void do_something(uint64_t *chance, unsigned nesting);

/* --- on a queue --- */

static void enter(unsigned at)
{
	EXPECT(queue_current() == storm.stations[at].queue);
	EXPECT(!atomic_load(&storm.stations[at].cancelled));
	if (depth[at]++ == 0)
		EXPECT(atomic_fetch_add(&storm.stations[at].alone, 1) == 0);
}

static void leave(unsigned at)
{
	if (--depth[at] == 0)
		EXPECT(atomic_fetch_sub(&storm.stations[at].alone, 1) == 1);
}

/* Give the queue up, and with it the thread's turn, in the midst of a callback. */
static void doze(unsigned at, uint64_t *chance)
{
	if (depth[at] > 1)
		return;
	leave(at);
	kern_return_t ret = IODispatchQueue_SleepWithTimeout(storm.stations[at].queue, &storm,
							     pick(chance, 50000));
	EXPECT(ret == kIOReturnTimeout || ret == kIOReturnAborted || ret == kIOReturnNoResources);
	enter(at);
}

static void one_less(void)
{
	if (atomic_fetch_sub(&storm.left, 1) == 1)
		worker_stop();
}

/* A handler will run, if `ret` says so; it was counted before. */
static bool will_run(kern_return_t ret, kern_return_t refused)
{
	EXPECT(ret == kIOReturnSuccess || ret == refused);
	if (ret != kIOReturnSuccess)
		one_less();
	return ret == kIOReturnSuccess;
}

/* The same of a cancel. */
static void will_end(kern_return_t ret, kern_return_t refused, _Atomic bool *asked)
{
	if (will_run(ret, refused))
		EXPECT(!atomic_exchange(asked, true));
}

/* --- what is called --- */

/* `source`: whose callback it is; NULL: another driver invoked the action. */
static void call(struct receiver *receiver, struct source *source)
{
	uint64_t chance = atomic_fetch_add(&storm.chance, 0x9e3779b97f4a7c15ULL) | 1;

	EXPECT(source == NULL || !atomic_load(&source->cancelled));
	EXPECT(!atomic_load(&receiver->cancelled));
	EXPECT(atomic_fetch_add(&receiver->inside, 1) == 0);
	if (source != NULL)
		atomic_fetch_add(&source->inside, 1);
	enter(receiver->at);
	if (source != NULL && pick(&chance, 32) == 0)
		doze(receiver->at, &chance);
	if (!atomic_load(&storm.calm) && pick(&chance, 2) == 0)
		do_something(&chance, 1);
	leave(receiver->at);
	if (source != NULL)
		atomic_fetch_sub(&source->inside, 1);
	EXPECT(atomic_fetch_sub(&receiver->inside, 1) == 1);
}

static void *reference(OSAction *action)
{
	return *(void **)OSAction_GetReference(action);
}

void IMPL(UnitTimed, free)
{
	atomic_fetch_sub(&storm.alive, 1);
	UnitTimed_super_free(self);
}

static void on_time(OSAction *action, uint64_t time)
{
	struct timer *timer = reference(action);

	atomic_store(&timer->last_time, time);
	call(&timer->receiver, &timer->base);
	sem_post(&timer->called);
}

void IMPL(UnitTimed, timed)
{
	(void)self;
	on_time(action, time);
}

void IMPL(UnitTimed, timedOnNamed)
{
	(void)self;
	on_time(action, time);
}

static bool take(struct pipe *pipe, uint64_t *chance);
static void put(struct pipe *pipe, uint64_t *chance);

void IMPL(UnitListener, available)
{
	struct pipe *pipe = reference(action);
	uint64_t chance = atomic_fetch_add(&storm.chance, 0x9e3779b97f4a7c15ULL) | 1;

	(void)self;
	while (take(pipe, &chance))
		;
	call(&pipe->available, &pipe->base);
	sem_post(&pipe->called);
}

void IMPL(UnitListener, serviced)
{
	struct pipe *pipe = reference(action);
	uint64_t chance = atomic_fetch_add(&storm.chance, 0x9e3779b97f4a7c15ULL) | 1;

	(void)self;
	if (!atomic_load(&storm.calm))
		put(pipe, &chance);
	call(&pipe->serviced, &pipe->base);
}

bool IMPL(UnitReceiver, init)
{
	return UnitReceiver_super_init(self);
}

void IMPL(UnitReceiver, free)
{
	atomic_fetch_sub(&storm.alive, 1);
	UnitReceiver_super_free(self);
}

kern_return_t IMPL(UnitReceiver, Work)
{
	(void)self;
	*result = number;
	return kIOReturnSuccess;
}

kern_return_t IMPL(UnitReceiver, Help)
{
	(void)self, (void)number;
	return kIOReturnSuccess;
}

kern_return_t IMPL(UnitReceiver, Named)
{
	(void)self, (void)number;
	return kIOReturnSuccess;
}

kern_return_t IMPL(UnitHeir, Named)
{
	return UnitHeir_super_Named(self, number);
}

void IMPL(UnitReceiver, completed)
{
	struct peer *peer = reference(action);

	(void)self, (void)number, (void)text;
	atomic_fetch_add(&peer->delivered, 1);
	call(&peer->receiver, NULL);
}

void IMPL(UnitReceiver, completedOnNamed)
{
	(void)self, (void)action, (void)number, (void)text;
	EXPECT(false);
}

/* --- data queues --- */

static void fill(void *context, void *data, size_t size)
{
	struct pipe *pipe = context;

	memset(data, (int)pipe->n_put, size);
	memcpy(data, &pipe->n_put, sizeof(pipe->n_put));
	pipe->n_put++;
}

static void find(void *context, const void *data, size_t size)
{
	struct pipe *pipe = context;
	const uint8_t *bytes = data;

	EXPECT(size >= sizeof(pipe->n_taken));
	EXPECT(memcmp(data, &pipe->n_taken, sizeof(pipe->n_taken)) == 0);
	for (size_t i = sizeof(pipe->n_taken); i < size; i++)
		EXPECT(bytes[i] == (uint8_t)pipe->n_taken);
	pipe->n_taken++;
}

static IODataQueueDispatchSource *data_queue(struct pipe *pipe)
{
	return (IODataQueueDispatchSource *)pipe->base.source;
}

static void put(struct pipe *pipe, uint64_t *chance)
{
	uint32_t size = 4 + pick(chance, ENTRY_MAX - 4);
	bool tell = false;

	pthread_mutex_lock(&pipe->putting);
	kern_return_t ret =
		pick(chance, 2) == 0
			? IODataQueueDispatchSource_Enqueue_f(data_queue(pipe), size, pipe, fill)
			: IODataQueueDispatchSource_EnqueueWithCoalesce_f(data_queue(pipe), size,
									  &tell, pipe, fill);
	pthread_mutex_unlock(&pipe->putting);
	EXPECT(ret == kIOReturnSuccess || ret == kIOReturnOverrun || ret == kIOReturnUnsupported);
	if (tell)
		IODataQueueDispatchSource_SendDataAvailable(data_queue(pipe));
}

/* Was there an entry? */
static bool take(struct pipe *pipe, uint64_t *chance)
{
	bool tell = false;

	pthread_mutex_lock(&pipe->taking);
	kern_return_t ret =
		pick(chance, 2) == 0
			? IODataQueueDispatchSource_Dequeue_f(data_queue(pipe), pipe, find)
			: IODataQueueDispatchSource_DequeueWithCoalesce_f(data_queue(pipe), &tell,
									  pipe, find);
	pthread_mutex_unlock(&pipe->taking);
	EXPECT(ret == kIOReturnSuccess || ret == kIOReturnUnderrun || ret == kIOReturnUnsupported);
	if (tell)
		IODataQueueDispatchSource_SendDataServiced(data_queue(pipe));
	return ret == kIOReturnSuccess;
}

static void change_pipe(struct pipe *pipe, uint64_t *chance)
{
	bool serviced = pick(chance, 2) == 0;
	struct receiver *receiver = serviced ? &pipe->serviced : &pipe->available;
	OSAction *action = pick(chance, 4) == 0 ? NULL : receiver->action;
	kern_return_t ret =
		serviced
			? IODataQueueDispatchSource_SetDataServicedHandler(data_queue(pipe), action)
			: IODataQueueDispatchSource_SetDataAvailableHandler(data_queue(pipe),
									    action);

	EXPECT(ret == kIOReturnSuccess || ret == kIOReturnUnsupported);
}

/* --- timers --- */

static void set_timer(struct timer *timer, uint64_t *chance)
{
	IOTimerDispatchSource *source = (IOTimerDispatchSource *)timer->base.source;
	static const uint64_t clocks[] = { kIOTimerClockUptimeRaw, kIOTimerClockUptimeRaw,
					   kIOTimerClockMonotonicRaw, kIOTimerClockRealTime };
	uint64_t clock = clocks[pick(chance, 4)];
	uint64_t now = clock == kIOTimerClockUptimeRaw      ? clock_now_ns()
		       : clock == kIOTimerClockMonotonicRaw ? clock_boot_now_ns()
							    : clock_real_now_ns();
	uint64_t deadline = pick(chance, 8) == 0 ? 0 : now + pick(chance, 200000);
	kern_return_t ret =
		IOTimerDispatchSource_WakeAtTime(source, clock, deadline, pick(chance, 2) * 50000);

	EXPECT(ret == kIOReturnSuccess || ret == kIOReturnUnsupported);
}

static void change_timer(struct timer *timer, uint64_t *chance)
{
	kern_return_t ret = IOTimerDispatchSource_SetHandler(
		(IOTimerDispatchSource *)timer->base.source,
		pick(chance, 4) == 0 ? NULL : timer->receiver.action);

	EXPECT(ret == kIOReturnSuccess || ret == kIOReturnUnsupported);
}

/* --- any source --- */

static void on_changed(void *context)
{
	struct source *source = context;

	EXPECT(atomic_fetch_sub(&source->changes, 1) > 0);
	one_less();
}

static void on_source_cancelled(void *context)
{
	struct source *source = context;

	EXPECT(!atomic_exchange(&source->cancelled, true));
	EXPECT(atomic_load(&source->inside) == 0);
	one_less();
}

static void cancel_source(struct source *source)
{
	atomic_fetch_add(&storm.left, 1);
	will_end(IODispatchSource_Cancel_f(source->source, source, on_source_cancelled),
		 kIOReturnUnsupported, &source->asked);
}

static void enable_source(struct source *source, uint64_t *chance)
{
	bool enable = pick(chance, 3) != 0;

	if (pick(chance, 2) == 0) {
		kern_return_t ret = IODispatchSource_SetEnable(source->source, enable);
		EXPECT(ret == kIOReturnSuccess || ret == kIOReturnUnsupported);
		return;
	}
	atomic_fetch_add(&storm.left, 1);
	atomic_fetch_add(&source->changes, 1);
	if (!will_run(IODispatchSource_SetEnableWithCompletion_f(source->source, enable, source,
								 on_changed),
		      kIOReturnUnsupported))
		atomic_fetch_sub(&source->changes, 1);
}

static void look_at(struct source *source, uint64_t *chance)
{
	kern_return_t ret = IODispatchSource_CheckForWork(source->source, pick(chance, 2) == 0);

	EXPECT(ret == kIOReturnSuccess || ret == kIOReturnUnsupported || ret == kIOReturnOffline ||
	       ret == kIOReturnCannotLock);
}

static struct source *pick_source(uint64_t *chance)
{
	unsigned i = pick(chance, TIMERS + PIPES);

	return i < TIMERS ? &storm.timers[i].base : &storm.pipes[i - TIMERS].base;
}

/* --- other drivers --- */

static void on_aborted(void *context)
{
	struct peer *peer = context;

	EXPECT(atomic_fetch_add(&peer->aborted, 1) == 0);
	EXPECT(atomic_load(&peer->ended) == 0);
	EXPECT(!atomic_load(&peer->receiver.cancelled));
}

static void on_ended(void *context)
{
	struct peer *peer = context;

	EXPECT(atomic_fetch_add(&peer->ended, 1) == 0);
}

/* What a driver does that was given the action: perhaps it never invokes it, and is gone. */
static void be_a_peer(struct peer *peer, uint64_t *chance)
{
	struct UnitDevice_Completed_Msg msg = { .action = peer->receiver.action };

	action_hold(peer->receiver.action);
	for (unsigned n = pick(chance, 4); n > 0; n--) {
		kern_return_t ret =
			OSActionInvoke(peer->receiver.action, &UnitDevice_Completed_Shape, &msg);
		EXPECT(ret == kIOReturnSuccess || ret == kIOReturnOffline);
		if (ret == kIOReturnSuccess)
			atomic_fetch_add(&peer->accepted, 1);
	}
	action_let_go(peer->receiver.action);
}

/* --- any action --- */

static void on_action_cancelled(void *context)
{
	struct receiver *receiver = context;

	EXPECT(!atomic_exchange(&receiver->cancelled, true));
	EXPECT(atomic_load(&receiver->inside) == 0);
	one_less();
}

static void cancel_action(struct receiver *receiver)
{
	atomic_fetch_add(&storm.left, 1);
	will_end(OSAction_Cancel_f(receiver->action, receiver, on_action_cancelled),
		 kIOReturnOffline, &receiver->asked);
}

static struct receiver *receiver_at(unsigned i)
{
	if (i < TIMERS)
		return &storm.timers[i].receiver;
	i -= TIMERS;
	if (i < PEERS)
		return &storm.peers[i].receiver;
	i -= PEERS;
	if (i < PIPES)
		return &storm.pipes[i].available;
	return &storm.pipes[i - PIPES].serviced;
}

enum { RECEIVERS = TIMERS + PEERS + 2 * PIPES };

/* --- chance --- */

static void on_queue_cancelled(void *context)
{
	struct station *station = context;

	EXPECT(!atomic_exchange(&station->cancelled, true));
	EXPECT(atomic_load(&station->alone) == 0);
	one_less();
}

static void cancel_queue(struct station *station)
{
	atomic_fetch_add(&storm.left, 1);
	will_end(IODispatchQueue_Cancel_f(station->queue, station, on_queue_cancelled),
		 kIOReturnOffline, &station->asked);
}

struct hop {
	unsigned at, nesting;
	uint64_t chance;
};

static void run_hop(void *context)
{
	struct hop *hop = context;

	enter(hop->at);
	do_something(&hop->chance, hop->nesting + 1);
	leave(hop->at);
}

/* As an object of one driver calls one on another queue. */
static void hop(uint64_t *chance, unsigned nesting)
{
	struct hop hop = { pick(chance, QUEUES), nesting, next_chance(chance) | 1 };
	kern_return_t ret =
		IODispatchQueue_DispatchSync_f(storm.stations[hop.at].queue, &hop, run_hop);

	EXPECT(ret == kIOReturnSuccess || ret == kIOReturnOffline || ret == kIOReturnCannotLock);
}

static void do_something(uint64_t *chance, unsigned nesting)
{
	struct timer *timer = &storm.timers[pick(chance, TIMERS)];
	struct pipe *pipe = &storm.pipes[pick(chance, PIPES)];
	unsigned what = pick(chance, 1000);

	if (nesting > DEPTH)
		return;
	if (what < 220)
		set_timer(timer, chance);
	else if (what < 300)
		change_timer(timer, chance);
	else if (what < 460)
		put(pipe, chance);
	else if (what < 560)
		take(pipe, chance);
	else if (what < 620)
		change_pipe(pipe, chance);
	else if (what < 700)
		enable_source(pick_source(chance), chance);
	else if (what < 780)
		look_at(pick_source(chance), chance);
	else if (what < 900)
		be_a_peer(&storm.peers[pick(chance, PEERS)], chance);
	else if (what < 980)
		hop(chance, nesting);
	else if (what == 997 && pick(chance, 2) == 0)
		cancel_source(pick_source(chance));
	else if (what == 998 && pick(chance, 2) == 0)
		cancel_action(receiver_at(pick(chance, RECEIVERS)));
	else if (what == 999 && pick(chance, 16) == 0)
		cancel_queue(&storm.stations[pick(chance, QUEUES)]);
}

static void *storm_on(void *context)
{
	uint64_t chance = storm_chance(storm.seed, (uintptr_t)context);

	for (int i = 0; i < STEPS; i++)
		do_something(&chance, 0);
	return NULL;
}

static void *run_pool(void *unused)
{
	(void)unused;
	EXPECT(worker_run() == 0);
	return NULL;
}

/* --- one seed --- */

static void set_reference(struct receiver *receiver, void *context)
{
	*(void **)OSAction_GetReference(receiver->action) = context;
}

/* A target without queues is called on the source's, but for a method with a queue of its own. */
static void make_timer(struct timer *timer, uint64_t *chance)
{
	UnitTimed *target = OSTypeAlloc(UnitTimed);
	IOTimerDispatchSource *source;
	bool named = pick(chance, 2) == 0;

	EXPECT(target != NULL && UnitTimed_init(target));
	atomic_fetch_add(&storm.alive, 1);
	timer->base.at = timer->receiver.at = pick(chance, QUEUES);
	EXPECT(IOTimerDispatchSource_Create(storm.stations[timer->base.at].queue, &source) ==
	       kIOReturnSuccess);
	timer->base.source = IOTimerDispatchSource_as_IODispatchSource(source);
	if (named) {
		timer->receiver.at = pick(chance, QUEUES);
		UnitTimed_SetDispatchQueue(target, "UnitNamed",
					   storm.stations[timer->receiver.at].queue);
	}
	EXPECT((named ? UnitTimed_CreateActiontimedOnNamed(target, sizeof(timer),
							   &timer->receiver.action)
		      : UnitTimed_CreateActiontimed(target, sizeof(timer),
						    &timer->receiver.action)) == kIOReturnSuccess);
	set_reference(&timer->receiver, timer);
	sem_init(&timer->called, 0, 0);
	EXPECT(IOTimerDispatchSource_SetHandler(source, timer->receiver.action) ==
	       kIOReturnSuccess);
	OSObjectRelease(target);
}

static void make_pipe(struct pipe *pipe, uint64_t *chance)
{
	UnitListener *target = OSTypeAlloc(UnitListener);
	IODataQueueDispatchSource *source;

	EXPECT(target != NULL && UnitListener_init(target));
	pipe->base.at = pipe->available.at = pipe->serviced.at = pick(chance, QUEUES);
	EXPECT(IODataQueueDispatchSource_Create(PIPE_SIZE, storm.stations[pipe->base.at].queue,
						&source) == kIOReturnSuccess);
	pipe->base.source = IODataQueueDispatchSource_as_IODispatchSource(source);
	EXPECT(UnitListener_CreateActionavailable(target, sizeof(pipe), &pipe->available.action) ==
	       kIOReturnSuccess);
	EXPECT(UnitListener_CreateActionserviced(target, sizeof(pipe), &pipe->serviced.action) ==
	       kIOReturnSuccess);
	set_reference(&pipe->available, pipe);
	set_reference(&pipe->serviced, pipe);
	pthread_mutex_init(&pipe->putting, NULL);
	pthread_mutex_init(&pipe->taking, NULL);
	sem_init(&pipe->called, 0, 0);
	OSObjectRelease(target);
}

static void make_peer(struct peer *peer, uint64_t *chance)
{
	UnitReceiver *target = OSTypeAlloc(UnitReceiver);

	EXPECT(target != NULL && UnitReceiver_init(target));
	atomic_fetch_add(&storm.alive, 1);
	peer->receiver.at = pick(chance, QUEUES);
	UnitReceiver_SetDispatchQueue(target, "Default", storm.stations[peer->receiver.at].queue);
	EXPECT(UnitReceiver_CreateActioncompleted(target, sizeof(peer), &peer->receiver.action) ==
	       kIOReturnSuccess);
	set_reference(&peer->receiver, peer);
	EXPECT(OSAction_SetAbortedHandler_f(peer->receiver.action, peer, on_aborted, on_ended) ==
	       kIOReturnSuccess);
	OSObjectRelease(target);
}

static void make_all(uint64_t *chance)
{
	for (unsigned i = 0; i < QUEUES; i++)
		EXPECT(IODispatchQueue_Create("station", 0, 0, &storm.stations[i].queue) ==
		       kIOReturnSuccess);
	for (unsigned i = 0; i < TIMERS; i++)
		make_timer(&storm.timers[i], chance);
	for (unsigned i = 0; i < PIPES; i++)
		make_pipe(&storm.pipes[i], chance);
	for (unsigned i = 0; i < PEERS; i++)
		make_peer(&storm.peers[i], chance);
}

/* --- its end --- */

static void nothing(void *unused)
{
	(void)unused;
}

/* Nobody does anything by chance any more. */
static void calm_down(void)
{
	atomic_store(&storm.calm, true);
	for (unsigned i = 0; i < QUEUES; i++)
		EXPECT(queue_sync(storm.stations[i].queue, nothing, NULL) == 0);
}

static bool is_live(const struct source *source, const struct receiver *receiver)
{
	return !source->asked && !receiver->asked && !storm.stations[source->at].asked &&
	       !storm.stations[receiver->at].asked;
}

/* Whatever happened to it, it rings when it is set. */
static void must_ring(struct timer *timer)
{
	IOTimerDispatchSource *source = (IOTimerDispatchSource *)timer->base.source;

	if (!is_live(&timer->base, &timer->receiver))
		return;
	EXPECT(IODispatchSource_SetEnable(timer->base.source, true) == kIOReturnSuccess);
	EXPECT(IOTimerDispatchSource_SetHandler(source, timer->receiver.action) ==
	       kIOReturnSuccess);
	uint64_t now = clock_now_ns();
	EXPECT(IOTimerDispatchSource_WakeAtTime(source, kIOTimerClockUptimeRaw, now, 0) ==
	       kIOReturnSuccess);
	while (atomic_load(&timer->last_time) < now)
		sem_wait(&timer->called);
}

/* An entry that is put in by who found the queue empty is taken out by the handler. */
static void must_be_told(struct pipe *pipe, uint64_t *chance)
{
	bool taken = false;

	if (!is_live(&pipe->base, &pipe->available))
		return;
	EXPECT(IODispatchSource_SetEnable(pipe->base.source, true) == kIOReturnSuccess);
	EXPECT(IODataQueueDispatchSource_SetDataAvailableHandler(
		       data_queue(pipe), pipe->available.action) == kIOReturnSuccess);
	while (take(pipe, chance))
		;
	put(pipe, chance);
	while (!taken) {
		sem_wait(&pipe->called);
		pthread_mutex_lock(&pipe->taking);
		taken = pipe->n_taken == pipe->n_put;
		pthread_mutex_unlock(&pipe->taking);
	}
}

/* Some sources are cancelled, and some only released, later. */
static void end_sources(uint64_t *chance)
{
	for (unsigned i = 0; i < TIMERS; i++)
		if (pick(chance, 2) == 0)
			cancel_source(&storm.timers[i].base);
	for (unsigned i = 0; i < PIPES; i++)
		if (pick(chance, 2) == 0)
			cancel_source(&storm.pipes[i].base);
}

static void end_actions(uint64_t *chance)
{
	(void)chance;
	for (unsigned i = 0; i < RECEIVERS; i++)
		cancel_action(receiver_at(i));
}

static void end_queues(uint64_t *chance)
{
	(void)chance;
	for (unsigned i = 0; i < QUEUES; i++)
		cancel_queue(&storm.stations[i]);
}

static uint32_t references(const void *object)
{
	return atomic_load(&((const OSObject *)object)->refcount);
}

static void release_receiver(struct receiver *receiver)
{
	EXPECT(receiver->cancelled);
	EXPECT(references(receiver->action) == 1);
	OSObjectRelease(receiver->action);
}

/* A source that was cancelled has given its actions up before. */
static void release_source(struct source *source)
{
	EXPECT(source->cancelled == source->asked && source->changes == 0);
	EXPECT(references(source->source) == 1);
	OSObjectRelease(source->source);
}

static void check_and_release(void)
{
	for (unsigned i = 0; i < TIMERS; i++) {
		struct timer *timer = &storm.timers[i];
		EXPECT(!timer->base.cancelled || references(timer->receiver.action) == 1);
		release_source(&timer->base);
		release_receiver(&timer->receiver);
	}
	for (unsigned i = 0; i < PIPES; i++) {
		struct pipe *pipe = &storm.pipes[i];
		EXPECT(!pipe->base.cancelled || references(pipe->available.action) == 1);
		EXPECT(!pipe->base.cancelled || references(pipe->serviced.action) == 1);
		release_source(&pipe->base);
		release_receiver(&pipe->available);
		release_receiver(&pipe->serviced);
	}
	for (unsigned i = 0; i < PEERS; i++) {
		struct peer *peer = &storm.peers[i];
		EXPECT(peer->delivered == peer->accepted);
		EXPECT(peer->ended == 1);
		release_receiver(&peer->receiver);
	}
	EXPECT(storm.alive == 0);
	for (unsigned i = 0; i < QUEUES; i++) {
		EXPECT(storm.stations[i].cancelled);
		EXPECT(references(storm.stations[i].queue) == 1);
		OSObjectRelease(storm.stations[i].queue);
	}
}

static void run_seed(uint64_t seed)
{
	static void (*const ends[])(uint64_t *) = { end_sources, end_actions, end_queues };
	uint64_t chance = storm_chance(seed, 0);
	pthread_t threads[THREADS], pool;

	storm.seed = seed;
	storm.chance = next_chance(&chance);
	storm.left = 1;
	make_all(&chance);
	pthread_create(&pool, NULL, run_pool, NULL);
	for (uintptr_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, storm_on, (void *)(i + 1));
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	calm_down();
	for (unsigned i = 0; i < TIMERS; i++)
		must_ring(&storm.timers[i]);
	for (unsigned i = 0; i < PIPES; i++)
		must_be_told(&storm.pipes[i], &chance);
	unsigned first = pick(&chance, 3);
	for (unsigned i = 0; i < 3; i++)
		ends[(first + i) % 3](&chance);
	one_less();
	pthread_join(pool, NULL);
	check_and_release();
}

int main(void)
{
	return storm_main(run_seed);
}
