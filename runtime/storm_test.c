/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A storm over queues and actions: threads that post, call, sleep, wake, wait, invoke, abort and
 * cancel at random, services that stop in the midst of it, and at the end everything is cancelled.
 * Whatever the order:
 *
 *	- each piece that was accepted runs once, alone on its queue unless it is concurrent;
 *	- each invocation that was accepted is delivered once, and nothing after the cancel handler;
 *	- each handler runs once: of a cancel always, of an abort at most, and its end in any case;
 *	- nobody hangs, and nothing is left: objects, and references to them.
 *
 * A seed makes the same threads try the same things; the machine still decides how they meet. Each
 * runs in a process of its own. One that fails is printed, and replays with STORM_SEED=N. The long
 * run: STORM_SEEDS=1000 build/tests/runtime-storm-test
 */

#include <runtime/storm.h>

#include <pthread.h>

#include <DriverKit/IOTimerClocks.h>
#include <UnitObjects.h>
#include <base/clock.h>
#include <runtime/action.h>
#include <runtime/action_set.h>
#include <runtime/queue.h>
#include <runtime/worker.h>

enum { QUEUES = 4, SERVICES = 3, ACTIONS = 10, THREADS = 3, STEPS = 400 };

struct station {
	IODispatchQueue *queue;
	bool reentrant;
	_Atomic int alone, beside; // pieces that run
	_Atomic bool cancelled;    // its handler has run
};

struct request {
	OSAction *action;
	UnitReceiver *target;
	_Atomic unsigned accepted, delivered, aborted, ended, cancels, cancelled;
	unsigned at_cancel; // delivered when the cancel handler ran
};

struct service {
	struct action_set *set;
	UnitReceiver *target;
};

static struct storm {
	uint64_t seed;
	struct station stations[QUEUES];
	struct service services[SERVICES];
	struct request requests[ACTIONS];
	_Atomic unsigned accepted, ran; // pieces
	_Atomic unsigned left;          // handlers to come
	_Atomic int receivers_alive;
} storm;

/* How often the thread is on each queue, and in a concurrent piece of it. */
static _Thread_local unsigned depth[QUEUES], beside[QUEUES];

/* --- on a queue --- */

static void enter(unsigned at)
{
	struct station *station = &storm.stations[at];

	EXPECT(IODispatchQueue_OnQueue(station->queue));
	if (beside[at] > 0 || depth[at]++ > 0)
		return;
	EXPECT(atomic_fetch_add(&station->alone, 1) == 0);
	EXPECT(atomic_load(&station->beside) == 0);
}

static void leave(unsigned at)
{
	if (beside[at] > 0 || --depth[at] > 0)
		return;
	EXPECT(atomic_fetch_sub(&storm.stations[at].alone, 1) == 1);
}

/* The queue is given up, perhaps; afterwards it is ours again. */
static unsigned give_up(unsigned at)
{
	unsigned before = depth[at];

	depth[at] = 0;
	EXPECT(atomic_fetch_sub(&storm.stations[at].alone, 1) == 1);
	return before;
}

static void take_back(unsigned at, unsigned before)
{
	EXPECT(IODispatchQueue_OnQueue(storm.stations[at].queue));
	EXPECT(atomic_fetch_add(&storm.stations[at].alone, 1) == 0);
	depth[at] = before;
}

static unsigned station_of(const IODispatchQueue *queue)
{
	unsigned at = 0;

	while (at < QUEUES && storm.stations[at].queue != queue)
		at++;
	return at;
}

/* --- pieces --- */

struct piece {
	unsigned at;
	uint64_t chance;
	unsigned depth;
};

static void do_something(uint64_t *chance, unsigned nesting);

static void run_piece(void *context)
{
	struct piece piece = *(struct piece *)context;

	free(context);
	atomic_fetch_add(&storm.ran, 1);
	EXPECT(!atomic_load(&storm.stations[piece.at].cancelled));
	enter(piece.at);
	if (pick(&piece.chance, 4) == 0)
		do_something(&piece.chance, piece.depth + 1);
	leave(piece.at);
}

static void run_beside(void *context)
{
	struct piece piece = *(struct piece *)context;
	struct station *station = &storm.stations[piece.at];

	free(context);
	atomic_fetch_add(&storm.ran, 1);
	EXPECT(!atomic_load(&station->cancelled));
	EXPECT(IODispatchQueue_OnQueue(station->queue));
	atomic_fetch_add(&station->beside, 1);
	EXPECT(atomic_load(&station->alone) == 0);
	beside[piece.at]++;
	if (pick(&piece.chance, 4) == 0)
		do_something(&piece.chance, piece.depth + 1);
	beside[piece.at]--;
	EXPECT(atomic_load(&station->alone) == 0);
	atomic_fetch_sub(&station->beside, 1);
}

static void sleep_here(unsigned at, uint64_t *chance)
{
	struct station *station = &storm.stations[at];
	unsigned before = give_up(at);
	kern_return_t ret = IODispatchQueue_SleepWithTimeout(station->queue, &station->alone,
							     pick(chance, 300000));

	EXPECT(ret == kIOReturnSuccess || ret == kIOReturnTimeout || ret == kIOReturnAborted);
	take_back(at, before);
}

static void run_sleeper(void *context)
{
	struct piece piece = *(struct piece *)context;

	free(context);
	atomic_fetch_add(&storm.ran, 1);
	enter(piece.at);
	if (beside[piece.at] == 0)
		sleep_here(piece.at, &piece.chance);
	EXPECT(!atomic_load(&storm.stations[piece.at].cancelled));
	leave(piece.at);
}

static void run_waker(void *context)
{
	struct piece piece = *(struct piece *)context;
	struct station *station = &storm.stations[piece.at];

	free(context);
	atomic_fetch_add(&storm.ran, 1);
	enter(piece.at);
	kern_return_t ret = IODispatchQueue_WakeupWithOptions(
		station->queue, &station->alone,
		pick(&piece.chance, 2) == 0 ? kIODispatchQueueWakeupAll : 0);
	EXPECT(ret == (beside[piece.at] > 0 ? kIOReturnNotPermitted : kIOReturnSuccess));
	leave(piece.at);
}

static void post(uint64_t *chance, unsigned nesting, IODispatchFunction function, unsigned how)
{
	struct piece *piece = malloc(sizeof(*piece));
	unsigned at = pick(chance, QUEUES);
	IODispatchQueue *queue = storm.stations[at].queue;
	kern_return_t ret;

	*piece = (struct piece){ at, next_chance(chance) | 1, nesting };
	if (how == 2 && !storm.stations[at].reentrant)
		how = 0;
	if (how == 0)
		ret = IODispatchQueue_DispatchAsync_f(queue, piece, function);
	else if (how == 1)
		ret = IODispatchQueue_DispatchSync_f(queue, piece, function);
	else
		ret = IODispatchQueue_DispatchConcurrent_f(queue, piece, run_beside);
	if (ret == kIOReturnSuccess) {
		atomic_fetch_add(&storm.accepted, 1);
		return;
	}
	EXPECT(ret == kIOReturnOffline || (how == 1 && ret == kIOReturnCannotLock));
	free(piece);
}

/* --- actions --- */

static void on_aborted(void *context)
{
	struct request *request = context;

	EXPECT(atomic_fetch_add(&request->aborted, 1) == 0);
	EXPECT(atomic_load(&request->ended) == 0);
	EXPECT(atomic_load(&request->cancelled) == 0);
}

static void on_ended(void *context)
{
	struct request *request = context;

	EXPECT(atomic_fetch_add(&request->ended, 1) == 0);
}

static void one_less(void)
{
	if (atomic_fetch_sub(&storm.left, 1) == 1)
		worker_stop();
}

static void on_cancelled(void *context)
{
	struct request *request = context;

	EXPECT(atomic_fetch_add(&request->cancelled, 1) == 0);
	request->at_cancel = atomic_load(&request->delivered);
	one_less();
}

static void cancel(struct request *request)
{
	kern_return_t ret = OSAction_Cancel_f(request->action, request, on_cancelled);

	EXPECT(ret == kIOReturnSuccess || ret == kIOReturnOffline);
	if (ret == kIOReturnSuccess)
		EXPECT(atomic_fetch_add(&request->cancels, 1) == 0);
}

static void invoke(struct request *request)
{
	struct UnitDevice_Completed_Msg msg = { .action = request->action };

	kern_return_t ret = OSActionInvoke(request->action, &UnitDevice_Completed_Shape, &msg);
	EXPECT(ret == kIOReturnSuccess || ret == kIOReturnOffline);
	if (ret == kIOReturnSuccess)
		atomic_fetch_add(&request->accepted, 1);
}

static void wait_for(struct request *request, uint64_t *chance)
{
	IODispatchQueue *queue = NULL;
	void *token = NULL;
	kern_return_t ret = OSAction_WillWait(request->action, &token);

	EXPECT(ret == kIOReturnSuccess || ret == kIOReturnBusy || ret == kIOReturnOffline);
	if (ret != kIOReturnSuccess)
		return;
	UnitReceiver_CopyDispatchQueue(request->target, "Default", &queue);
	unsigned at = station_of(queue);
	bool gives_up = at < QUEUES && depth[at] > 0;
	unsigned before = gives_up ? give_up(at) : 0;
	ret = OSAction_Wait(request->action, token, kIOTimerClockUptimeRaw,
			    clock_now_ns() + pick(chance, 300000));
	EXPECT(ret == kIOReturnSuccess || ret == kIOReturnTimeout || ret == kIOReturnAborted ||
	       (ret == kIOReturnNotPermitted && at < QUEUES && beside[at] > 0));
	if (gives_up)
		take_back(at, before);
	EXPECT(OSAction_EndWait(request->action, token) == kIOReturnSuccess);
	OSObjectRelease(queue);
}

/* --- the target --- */

bool IMPL(UnitReceiver, init)
{
	if (!UnitReceiver_super_init(self))
		return false;
	atomic_fetch_add(&storm.receivers_alive, 1);
	return true;
}

void IMPL(UnitReceiver, free)
{
	atomic_fetch_sub(&storm.receivers_alive, 1);
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
	(void)self;
	(void)number;
	return kIOReturnSuccess;
}

kern_return_t IMPL(UnitReceiver, Named)
{
	(void)self;
	(void)number;
	return kIOReturnSuccess;
}

kern_return_t IMPL(UnitHeir, Named)
{
	return UnitHeir_super_Named(self, number);
}

void IMPL(UnitReceiver, completed)
{
	struct request *request = *(struct request **)OSAction_GetReference(action);
	unsigned at = station_of(queue_current());

	(void)self;
	(void)number;
	(void)text;
	EXPECT(at < QUEUES);
	EXPECT(atomic_load(&request->cancelled) == 0);
	enter(at);
	atomic_fetch_add(&request->delivered, 1);
	leave(at);
}

void IMPL(UnitReceiver, completedOnNamed)
{
	(void)self;
	(void)action;
	(void)number;
	(void)text;
}

/* --- chance --- */

static void on_queue_cancelled(void *context)
{
	struct station *station = context;

	EXPECT(!atomic_exchange(&station->cancelled, true));
	EXPECT(IODispatchQueue_OnQueue(station->queue));
	EXPECT(atomic_load(&station->alone) == 0 && atomic_load(&station->beside) == 0);
	one_less();
}

static void cancel_queue(struct station *station)
{
	kern_return_t ret = IODispatchQueue_Cancel_f(station->queue, station, on_queue_cancelled);

	EXPECT(ret == kIOReturnSuccess || ret == kIOReturnOffline);
}

static void stop_service(struct service *service)
{
	const struct OSMethodShape *which;

	/* Its actions' handlers are counted by who cancels: none is given here. */
	for (unsigned i = 0; i < ACTIONS; i++)
		if (storm.requests[i].target == service->target)
			cancel(&storm.requests[i]);
	EXPECT(action_set_end(service->set, &which) == 0);
}

/* Calls that wait may be nested to a depth, and what they do may wait, too. */
static void do_something(uint64_t *chance, unsigned nesting)
{
	struct request *request = &storm.requests[pick(chance, ACTIONS)];
	unsigned what = pick(chance, 100);
	uint32_t result = 0;

	if (nesting > 4)
		return;
	if (what < 15)
		post(chance, nesting, run_piece, 0);
	else if (what < 30)
		post(chance, nesting, run_piece, 1);
	else if (what < 42)
		post(chance, nesting, run_piece, 2);
	else if (what < 50)
		post(chance, nesting, run_sleeper, pick(chance, 2));
	else if (what < 58)
		post(chance, nesting, run_waker, pick(chance, 2));
	else if (what < 80)
		invoke(request);
	else if (what < 88)
		wait_for(request, chance);
	else if (what < 94)
		UnitReceiver_Work(request->target, 1, &result);
	else if (what < 96)
		OSAction_Aborted(request->action);
	else if (what < 98)
		cancel(request);
	else if (what == 98 && pick(chance, 8) == 0)
		cancel_queue(&storm.stations[pick(chance, QUEUES)]);
	else if (what == 99 && pick(chance, 8) == 0)
		stop_service(&storm.services[pick(chance, SERVICES)]);
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

static void make_stations(uint64_t *chance)
{
	static const uint64_t options[] = { 0, kIODispatchQueueReentrant,
					    kIODispatchQueueMethodsNotSynchronized,
					    kIODispatchQueueReentrant };

	for (unsigned i = 0; i < QUEUES; i++) {
		struct station *station = &storm.stations[i];
		uint64_t chosen = options[pick(chance, 4)];
		station->reentrant = (chosen & kIODispatchQueueReentrant) != 0;
		EXPECT(IODispatchQueue_Create("station", chosen, 0, &station->queue) ==
		       kIOReturnSuccess);
	}
}

static void make_requests(uint64_t *chance)
{
	for (unsigned i = 0; i < SERVICES; i++) {
		struct service *service = &storm.services[i];
		service->target = OSTypeAlloc(UnitReceiver);
		EXPECT(service->target != NULL && UnitReceiver_init(service->target));
		EXPECT(action_set_new(&service->set) == 0);
		EXPECT(object_set_actions(UnitReceiver_as_OSObject(service->target),
					  service->set) == 0);
		UnitReceiver_SetDispatchQueue(service->target, "Default",
					      storm.stations[pick(chance, QUEUES)].queue);
	}
	for (unsigned i = 0; i < ACTIONS; i++) {
		struct request *request = &storm.requests[i];
		request->target = storm.services[pick(chance, SERVICES)].target;
		EXPECT(UnitReceiver_CreateActioncompleted(request->target, sizeof(request),
							  &request->action) == kIOReturnSuccess);
		*(struct request **)OSAction_GetReference(request->action) = request;
		EXPECT(OSAction_SetAbortedHandler_f(request->action, request, on_aborted,
						    on_ended) == kIOReturnSuccess);
	}
}

static uint32_t references(const void *object)
{
	return atomic_load(&((const OSObject *)object)->refcount);
}

static void check_and_release(void)
{
	EXPECT(storm.ran == storm.accepted);
	for (unsigned i = 0; i < ACTIONS; i++) {
		struct request *request = &storm.requests[i];
		EXPECT(request->delivered == request->accepted);
		EXPECT(request->delivered == request->at_cancel);
		EXPECT(request->cancelled == 1 && request->ended == 1);
		EXPECT(references(request->action) == 1);
		OSObjectRelease(request->action);
	}
	for (unsigned i = 0; i < SERVICES; i++) {
		EXPECT(references(storm.services[i].target) == 1);
		OSObjectRelease(storm.services[i].target);
		action_set_unref(storm.services[i].set);
	}
	for (unsigned i = 0; i < QUEUES; i++) {
		EXPECT(storm.stations[i].cancelled);
		EXPECT(references(storm.stations[i].queue) == 1);
		OSObjectRelease(storm.stations[i].queue);
	}
	EXPECT(storm.receivers_alive == 0);
}

static void run_seed(uint64_t seed)
{
	uint64_t chance = storm_chance(seed, 0);
	pthread_t threads[THREADS], pool;

	storm.seed = seed;
	atomic_store(&storm.left, ACTIONS + QUEUES);
	make_stations(&chance);
	make_requests(&chance);
	pthread_create(&pool, NULL, run_pool, NULL);
	for (uintptr_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, storm_on, (void *)(i + 1));
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	/* In one order or the other: the queues first, or the actions. */
	bool queues_first = pick(&chance, 2) == 0;
	for (unsigned i = 0; queues_first && i < QUEUES; i++)
		cancel_queue(&storm.stations[i]);
	for (unsigned i = 0; i < ACTIONS; i++)
		cancel(&storm.requests[i]);
	for (unsigned i = 0; !queues_first && i < QUEUES; i++)
		cancel_queue(&storm.stations[i]);
	pthread_join(pool, NULL);
	check_and_release();
}

int main(void)
{
	return storm_main(run_seed);
}
