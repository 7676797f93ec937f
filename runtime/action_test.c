/* SPDX-License-Identifier: Apache-2.0 */

#include <runtime/unit_pool.h>

#include <stdatomic.h>
#include <string.h>

#include <DriverKit/IOTimerClocks.h>
#include <UnitObjects.h>
#include <base/clock.h>
#include <base/reason.h>
#include <runtime/action.h>
#include <runtime/action_set.h>

struct UnitReceiver_IVars {
	IODispatchQueue *expected; // where calls must run; NULL: no matter
	unsigned calls;            // of the queue in question
	uint32_t last;
	_Atomic bool silent; // no call may come any more
	unsigned stop_at;    // calls after which the pool stops; 0: never
	void (*at_call)(UnitReceiver *self, OSAction *action); // once; NULL: nothing
};

static _Atomic int receivers_alive;

bool IMPL(UnitReceiver, init)
{
	if (!UnitReceiver_super_init(self))
		return false;
	self->ivars = calloc(1, sizeof(*self->ivars));
	atomic_fetch_add(&receivers_alive, 1);
	return self->ivars != NULL;
}

void IMPL(UnitReceiver, free)
{
	free(self->ivars);
	self->ivars = NULL;
	atomic_fetch_sub(&receivers_alive, 1);
	UnitReceiver_super_free(self);
}

static void note_call(UnitReceiver *self, uint32_t number)
{
	struct UnitReceiver_IVars *iv = self->ivars;

	ck_assert(!atomic_load(&iv->silent));
	if (iv->expected != NULL)
		ck_assert_ptr_eq(queue_current(), iv->expected);
	iv->last = number;
	if (++iv->calls == iv->stop_at)
		worker_stop();
}

kern_return_t IMPL(UnitReceiver, Work)
{
	note_call(self, number);
	*result = number + 1;
	return kIOReturnSuccess;
}

kern_return_t IMPL(UnitReceiver, Help)
{
	note_call(self, number);
	return kIOReturnSuccess;
}

kern_return_t IMPL(UnitReceiver, Named)
{
	note_call(self, number);
	return kIOReturnSuccess;
}

void IMPL(UnitReceiver, completed)
{
	const uint32_t *reference = OSAction_GetReference(action);

	if (reference != NULL)
		ck_assert_uint_eq(*reference, number);
	if (text != NULL)
		ck_assert_str_eq(OSString_getCStringNoCopy(text), "kept");
	note_call(self, number);
	void (*at_call)(UnitReceiver *, OSAction *) = self->ivars->at_call;
	self->ivars->at_call = NULL;
	if (at_call != NULL)
		at_call(self, action);
}

void IMPL(UnitReceiver, completedOnNamed)
{
	(void)action;
	(void)text;
	note_call(self, number);
}

kern_return_t IMPL(UnitHeir, Named)
{
	return UnitHeir_super_Named(self, number);
}

static UnitReceiver *new_receiver(void)
{
	UnitReceiver *receiver = OSTypeAlloc(UnitReceiver);

	ck_assert(UnitReceiver_init(receiver));
	return receiver;
}

/* What a device does: it has the action and nothing else. */
static kern_return_t complete(OSAction *action, uint32_t number, OSString *text)
{
	struct UnitDevice_Completed_Msg msg = { .action = action, .number = number, .text = text };

	return OSActionInvoke(action, &UnitDevice_Completed_Shape, &msg);
}

static int references(const void *object)
{
	return (int)atomic_load(&((const OSObject *)object)->refcount);
}

/* --- queues of objects --- */

/* A method of the wire goes to the object's queue, a LOCALONLY one stays, a named one goes to the
 * named queue, and to the default one as long as none was set; an override changes none of it. */
START_TEST(methods_run_on_their_queues)
{
	UnitHeir *heir = OSTypeAlloc(UnitHeir);
	ck_assert(UnitHeir_init(heir));
	struct UnitReceiver_IVars *iv = heir->super.ivars;
	IODispatchQueue *usual = new_queue("usual"), *named = new_queue("named"), *found = NULL;
	uint32_t result = 0;

	ck_assert_int_eq(UnitHeir_Work(heir, 1, &result), kIOReturnSuccess);
	ck_assert_uint_eq(result, 2);
	ck_assert_int_eq(UnitHeir_CopyDispatchQueue(heir, "Default", &found), kIOReturnNotFound);

	ck_assert_int_eq(UnitHeir_SetDispatchQueue(heir, "Default", usual), kIOReturnSuccess);
	iv->expected = usual;
	ck_assert_int_eq(UnitHeir_Work(heir, 2, &result), kIOReturnSuccess);
	ck_assert_int_eq(UnitHeir_Named(heir, 3), kIOReturnSuccess);
	ck_assert_int_eq(UnitHeir_SetDispatchQueue(heir, "UnitNamed", named), kIOReturnSuccess);
	iv->expected = named;
	ck_assert_int_eq(UnitHeir_Named(heir, 4), kIOReturnSuccess);
	iv->expected = NULL;
	ck_assert_int_eq(UnitHeir_Help(heir, 5), kIOReturnSuccess);
	ck_assert_uint_eq(iv->calls, 5);

	ck_assert_int_eq(UnitHeir_CopyDispatchQueue(heir, "UnitNamed", &found), kIOReturnSuccess);
	ck_assert_ptr_eq(found, named);
	OSObjectRelease(found);
	ck_assert_int_eq(UnitHeir_SetDispatchQueue(heir, "Other", named), kIOReturnBadArgument);
	ck_assert_int_eq(UnitHeir_CopyDispatchQueue(heir, "Other", &found), kIOReturnBadArgument);
	ck_assert_int_eq(UnitHeir_SetDispatchQueue(heir, "UnitNamed", usual), kIOReturnSuccess);
	ck_assert_int_eq(references(named), 1);
	OSObjectRelease(heir);
	ck_assert_int_eq(references(usual), 1);
	ck_assert_int_eq(receivers_alive, 0);
	OSObjectRelease(usual);
	OSObjectRelease(named);
}
END_TEST

static void help_on_queue(void *context)
{
	uint32_t result;

	ck_assert_int_eq(UnitReceiver_Work(context, 1, &result), kIOReturnSuccess);
}

START_TEST(a_cancelled_queue_takes_no_calls)
{
	UnitReceiver *receiver = new_receiver();
	IODispatchQueue *queue = new_queue("gone");
	uint32_t result = 0;

	UnitReceiver_SetDispatchQueue(receiver, "Default", queue);
	ck_assert_int_eq(queue_sync(queue, help_on_queue, receiver), 0);
	IODispatchQueue_Cancel_f(queue, NULL, stop_pool);
	worker_run();
	ck_assert_int_eq(UnitReceiver_Work(receiver, 1, &result), kIOReturnOffline);
	ck_assert_ptr_nonnull(strstr(reason_last(), "\"gone\" was cancelled"));
	ck_assert_uint_eq(receiver->ivars->calls, 1);
	OSObjectRelease(receiver);
	OSObjectRelease(queue);
}
END_TEST

static void *call_work(void *context)
{
	uint32_t result = 0;

	ck_assert_int_eq(UnitReceiver_Work(context, 5, &result), kIOReturnSuccess);
	ck_assert_uint_eq(result, 6);
	return NULL;
}

static void call_from_another_thread(void *context)
{
	pthread_join(start_thread(call_work, context), NULL);
}

/* Calls need not wait for a queue that does not synchronize them; completions still come on it. */
START_TEST(methods_need_not_be_synchronized)
{
	UnitReceiver *receiver = new_receiver();
	IODispatchQueue *queue = NULL;
	OSAction *action = NULL;

	ck_assert_int_eq(IODispatchQueue_Create("methods", kIODispatchQueueMethodsNotSynchronized,
						0, &queue),
			 kIOReturnSuccess);
	UnitReceiver_SetDispatchQueue(receiver, "Default", queue);
	ck_assert_int_eq(queue_sync(queue, call_from_another_thread, receiver), 0);
	ck_assert_uint_eq(receiver->ivars->calls, 1);
	receiver->ivars->expected = queue;
	receiver->ivars->stop_at = 2;
	UnitReceiver_CreateActioncompleted(receiver, 0, &action);
	ck_assert_int_eq(complete(action, 1, NULL), kIOReturnSuccess);
	ck_assert_int_eq(worker_run(), 0);
	OSObjectRelease(action);
	OSObjectRelease(receiver);
	OSObjectRelease(queue);
}
END_TEST

/* --- actions --- */

static void make_action(void *context)
{
	UnitReceiver *receiver = context;
	OSAction *action = NULL;

	ck_assert_int_eq(UnitReceiver_CreateActioncompleted(receiver, sizeof(uint32_t), &action),
			 kIOReturnSuccess);
	ck_assert_uint_eq(*(uint32_t *)OSAction_GetReference(action), 0);
	*(uint32_t *)OSAction_GetReference(action) = 7;
	OSString *text = OSString_withCString("kept");
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(complete(action, 7, text), kIOReturnSuccess);
	OSObjectRelease(text); // the messages keep it,
	ck_assert_uint_eq(receiver->ivars->calls, 0);
	OSObjectRelease(action); // and they keep their action, and that its target
	receiver->ivars->stop_at = 3;
}

/* A plain object without a queue is served where its action was made, however often. */
START_TEST(any_object_is_a_target)
{
	UnitReceiver *receiver = new_receiver();
	IODispatchQueue *queue = new_queue("maker");

	receiver->ivars->expected = queue;
	ck_assert_int_eq(queue_sync(queue, make_action, receiver), 0);
	OSObjectRelease(receiver);
	ck_assert_int_eq(receivers_alive, 1);
	ck_assert_int_eq(worker_run(), 0);
	IODispatchQueue_DispatchAsync_f(queue, NULL, stop_pool);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_int_eq(receivers_alive, 0);
	OSObjectRelease(queue);
}
END_TEST

START_TEST(the_target_names_the_queue)
{
	UnitReceiver *receiver = new_receiver();
	IODispatchQueue *usual = new_queue("usual"), *named = new_queue("named");
	OSAction *plain = NULL, *on_named = NULL;

	ck_assert_int_eq(UnitReceiver_CreateActioncompleted(receiver, 0, &plain), kIOReturnSuccess);
	ck_assert_int_eq(UnitReceiver_CreateActioncompletedOnNamed(receiver, 0, &on_named),
			 kIOReturnSuccess);
	ck_assert_ptr_null(OSAction_GetReference(plain));
	receiver->ivars->stop_at = 1;
	complete(plain, 1, NULL); // no queue at all: the root queue
	worker_run();

	UnitReceiver_SetDispatchQueue(receiver, "Default", usual);
	receiver->ivars->expected = usual;
	receiver->ivars->stop_at = 2;
	complete(on_named, 2, NULL);
	worker_run();
	UnitReceiver_SetDispatchQueue(receiver, "UnitNamed", named);
	receiver->ivars->expected = named;
	receiver->ivars->stop_at = 3;
	complete(on_named, 3, NULL);
	worker_run();
	ck_assert_uint_eq(receiver->ivars->last, 3);
	OSObjectRelease(plain);
	OSObjectRelease(on_named);
	OSObjectRelease(receiver);
	OSObjectRelease(usual);
	OSObjectRelease(named);
}
END_TEST

START_TEST(a_wrong_target_is_refused)
{
	UnitReceiver *receiver = new_receiver();
	OSAction *action = NULL;
	struct UnitDevice_Interrupted_Msg interrupt = { 0 };

	ck_assert_int_eq(OSAction_Create(NULL, 1, 2, 0, &action), kIOReturnBadArgument);
	ck_assert_int_eq(OSAction_Create(UnitReceiver_as_OSObject(receiver), 12345,
					 UnitDevice_Completed_ID, 0, &action),
			 kIOReturnUnsupported);
	ck_assert_ptr_nonnull(strstr(reason_last(), "UnitReceiver has no method 0x3039"));
	ck_assert_int_eq(OSAction_Create(UnitReceiver_as_OSObject(receiver), UnitReceiver_Work_ID,
					 UnitDevice_Completed_ID, 0, &action),
			 kIOReturnUnsupported);
	ck_assert_int_eq(UnitReceiver_CreateActioncompleted(receiver, SIZE_MAX, &action),
			 kIOReturnNoMemory);
	ck_assert_ptr_null(action);
	ck_assert_int_eq(UnitReceiver_CreateActioncompleted(receiver, 0, &action),
			 kIOReturnSuccess);
	ck_assert_int_eq(OSActionInvoke(action, &UnitDevice_Interrupted_Shape, &interrupt),
			 kIOReturnBadMessageID);
	ck_assert_int_eq(complete(NULL, 1, NULL), kIOReturnBadArgument);
	OSObjectRelease(action);
	OSObjectRelease(receiver);
	ck_assert_int_eq(receivers_alive, 0);
}
END_TEST

static void go_silent(void *context)
{
	UnitReceiver *receiver = context;

	atomic_store(&receiver->ivars->silent, true);
	worker_stop();
}

/* What was accepted is delivered, then comes the handler, then the target goes. */
START_TEST(cancel_follows_what_was_accepted)
{
	UnitReceiver *receiver = new_receiver();
	OSAction *action = NULL;

	UnitReceiver_CreateActioncompleted(receiver, 0, &action);
	complete(action, 1, NULL);
	complete(action, 2, NULL);
	ck_assert_int_eq(OSAction_Cancel_f(action, receiver, go_silent), kIOReturnSuccess);
	ck_assert_int_eq(complete(action, 3, NULL), kIOReturnOffline);
	ck_assert_int_eq(OSAction_Cancel_f(action, NULL, NULL), kIOReturnOffline);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_uint_eq(receiver->ivars->calls, 2);
	ck_assert_int_eq(references(receiver), 1);
	ck_assert_int_eq(references(action), 1);
	/* Its target is gone, and whoever has it still, another driver perhaps, is told so. */
	OSObjectRelease(receiver);
	ck_assert_int_eq(receivers_alive, 0);
	ck_assert_int_eq(complete(action, 4, NULL), kIOReturnOffline);
	ck_assert_ptr_nonnull(strstr(reason_last(), "cancelled"));
	OSObjectRelease(action);
}
END_TEST

/* The queue may be cancelled first: what it accepted runs, what it refuses is refused to the
 * caller, and the action's handler runs all the same. */
START_TEST(the_two_cancels_come_in_any_order)
{
	for (int queue_first = 0; queue_first < 2; queue_first++) {
		UnitReceiver *receiver = new_receiver();
		IODispatchQueue *queue = new_queue("target");
		OSAction *action = NULL;

		UnitReceiver_SetDispatchQueue(receiver, "Default", queue);
		UnitReceiver_CreateActioncompleted(receiver, 0, &action);
		ck_assert_int_eq(complete(action, 1, NULL), kIOReturnSuccess);
		if (queue_first)
			IODispatchQueue_Cancel_f(queue, NULL, NULL);
		ck_assert_int_eq(complete(action, 2, NULL),
				 queue_first ? kIOReturnOffline : kIOReturnSuccess);
		ck_assert_int_eq(OSAction_Cancel_f(action, receiver, go_silent), kIOReturnSuccess);
		if (!queue_first)
			IODispatchQueue_Cancel_f(queue, NULL, NULL);
		ck_assert_int_eq(worker_run(), 0);
		ck_assert_uint_eq(receiver->ivars->calls, queue_first ? 1 : 2);
		OSObjectRelease(action);
		OSObjectRelease(receiver);
		OSObjectRelease(queue);
		ck_assert_int_eq(receivers_alive, 0);
	}
}
END_TEST

static void cancel_at_call(UnitReceiver *receiver, OSAction *action)
{
	ck_assert_int_eq(complete(action, 2, NULL), kIOReturnSuccess);
	ck_assert_int_eq(OSAction_Cancel_f(action, receiver, go_silent), kIOReturnSuccess);
	ck_assert_int_eq(complete(action, 3, NULL), kIOReturnOffline);
	ck_assert_uint_eq(receiver->ivars->calls, 1);
}

/* Cancel from the very method that the action calls: what was accepted still comes. */

START_TEST(an_invocation_may_cancel_its_action)
{
	UnitReceiver *receiver = new_receiver();
	OSAction *action = NULL;

	UnitReceiver_CreateActioncompleted(receiver, 0, &action);
	receiver->ivars->at_call = cancel_at_call;
	ck_assert_int_eq(complete(action, 1, NULL), kIOReturnSuccess);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_uint_eq(receiver->ivars->calls, 2);
	OSObjectRelease(action);
	OSObjectRelease(receiver);
	ck_assert_int_eq(receivers_alive, 0);
}
END_TEST

/* --- aborts --- */

struct told {
	UnitReceiver *receiver;
	unsigned calls_before;
	_Atomic int handled, ended;
};

static void note_abort(void *context)
{
	struct told *told = context;

	ck_assert_int_eq(atomic_fetch_add(&told->handled, 1), 0);
	ck_assert_int_eq(atomic_load(&told->ended), 0);
	ck_assert_uint_eq(told->receiver->ivars->calls, told->calls_before);
	if (told->receiver->ivars->expected != NULL)
		ck_assert_ptr_eq(queue_current(), told->receiver->ivars->expected);
	worker_stop();
}

static void note_end(void *context)
{
	struct told *told = context;

	ck_assert_int_eq(atomic_fetch_add(&told->ended, 1), 0);
}

/* Once, on the target's queue, behind what was invoked before, whoever says so and how often. */
START_TEST(an_abort_is_told_once)
{
	UnitReceiver *receiver = new_receiver();
	IODispatchQueue *queue = new_queue("target");
	struct told told = { .receiver = receiver, .calls_before = 2 };
	OSAction *action = NULL;

	UnitReceiver_SetDispatchQueue(receiver, "Default", queue);
	receiver->ivars->expected = queue;
	UnitReceiver_CreateActioncompleted(receiver, 0, &action);
	ck_assert_int_eq(OSAction_SetAbortedHandler_f(action, &told, note_abort, note_end),
			 kIOReturnSuccess);
	complete(action, 1, NULL);
	complete(action, 2, NULL);
	OSAction_Aborted(action);
	OSAction_Aborted(action);
	ck_assert_int_eq(told.handled, 0);
	ck_assert_int_eq(worker_run(), 0);
	OSAction_Aborted(action);
	receiver->ivars->stop_at = 3;
	ck_assert_int_eq(complete(action, 3, NULL), kIOReturnSuccess); // it still may be invoked
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_int_eq(told.handled, 1);
	ck_assert_int_eq(told.ended, 1);
	ck_assert_int_eq(references(action), 1);
	OSObjectRelease(action);
	OSObjectRelease(receiver);
	OSObjectRelease(queue);
	ck_assert_int_eq(receivers_alive, 0);
}
END_TEST

/* With the last process that held it, and not before. */
START_TEST(the_last_holder_aborts)
{
	UnitReceiver *receiver = new_receiver();
	struct told told = { .receiver = receiver };
	OSAction *action = NULL;

	UnitReceiver_CreateActioncompleted(receiver, 0, &action);
	OSAction_SetAbortedHandler_f(action, &told, note_abort, note_end);
	action_hold(action);
	action_hold(action);
	action_let_go(action);
	IODispatchQueue_DispatchAsync_f(new_queue("Root"), NULL, stop_pool);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_int_eq(told.handled, 0);
	action_let_go(action);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_int_eq(told.handled, 1);
	OSObjectRelease(action);
	OSObjectRelease(receiver);
}
END_TEST

/* A handler is told even if it comes late, its context comes back in any case, and after a cancel
 * nothing is told. */
START_TEST(a_handler_ends_once_in_any_case)
{
	UnitReceiver *receiver = new_receiver();
	struct told late = { .receiver = receiver }, replaced = late, dropped = late, cut = late;
	OSAction *action = NULL, *second = NULL;

	UnitReceiver_CreateActioncompleted(receiver, 0, &action);
	OSAction_SetAbortedHandler_f(action, &replaced, note_abort, note_end);
	OSAction_SetAbortedHandler_f(action, NULL, NULL, NULL);
	ck_assert_int_eq(replaced.ended, 1);
	OSAction_Aborted(action);
	OSAction_SetAbortedHandler_f(action, &late, note_abort, note_end);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_int_eq(late.handled, 1);
	ck_assert_int_eq(replaced.handled, 0);

	UnitReceiver_CreateActioncompleted(receiver, 0, &second);
	OSAction_SetAbortedHandler_f(second, &dropped, note_abort, note_end);
	OSObjectRelease(second);
	ck_assert_int_eq(dropped.ended, 1);

	UnitReceiver_CreateActioncompleted(receiver, 0, &second);
	OSAction_SetAbortedHandler_f(second, &cut, note_abort, note_end);
	OSAction_Cancel_f(second, NULL, stop_pool);
	OSAction_Aborted(second);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_int_eq(cut.handled, 0);
	ck_assert_int_eq(cut.ended, 1);
	ck_assert_int_eq(OSAction_SetAbortedHandler_f(second, &cut, note_abort, note_end),
			 kIOReturnOffline);
	OSObjectRelease(second);
	OSObjectRelease(action);
	OSObjectRelease(receiver);
	ck_assert_int_eq(receivers_alive, 0);
}
END_TEST

/* --- waiting --- */

struct waiting {
	OSAction *action;
	UnitReceiver *receiver;
	void *token;
	kern_return_t results[3];
	unsigned calls[3]; // when Wait returned
	unsigned n;        // waits
	uint64_t patience_ns;
};

static void wait_some_times(void *context)
{
	struct waiting *waiting = context;

	for (unsigned i = 0; i < waiting->n; i++) {
		waiting->results[i] =
			OSAction_Wait(waiting->action, waiting->token, kIOTimerClockUptimeRaw,
				      clock_now_ns() + waiting->patience_ns);
		waiting->calls[i] = waiting->receiver->ivars->calls;
	}
	worker_stop();
}

static void *wait_in_thread(void *context)
{
	wait_some_times(context);
	return NULL;
}

static void wait_init(struct waiting *waiting)
{
	*waiting = (struct waiting){ .receiver = new_receiver(), .patience_ns = 20000000000 };
	UnitReceiver_CreateActioncompleted(waiting->receiver, 0, &waiting->action);
	ck_assert_int_eq(OSAction_WillWait(waiting->action, &waiting->token), kIOReturnSuccess);
}

static void wait_deinit(struct waiting *waiting)
{
	ck_assert_int_eq(OSAction_EndWait(waiting->action, waiting->token), kIOReturnSuccess);
	ck_assert_int_eq(references(waiting->action), 1);
	OSObjectRelease(waiting->action);
	OSObjectRelease(waiting->receiver);
	ck_assert_int_eq(receivers_alive, 0);
}

/* When Wait returns the method has run: once for each invocation, wherever one waits. */
START_TEST(wait_returns_behind_the_method)
{
	struct waiting waiting;

	wait_init(&waiting);
	waiting.n = 2;
	pthread_t thread = start_thread(wait_in_thread, &waiting);
	complete(waiting.action, 1, NULL);
	complete(waiting.action, 2, NULL);
	ck_assert_int_eq(worker_run(), 0);
	pthread_join(thread, NULL);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_int_eq(waiting.results[i], kIOReturnSuccess);
		ck_assert_uint_ge(waiting.calls[i], i + 1);
	}
	wait_deinit(&waiting);
}
END_TEST

static void complete_from_queue(void *context)
{
	complete(context, 1, NULL);
}

/* On the target's own queue the method could not run if it were not given up. */
START_TEST(wait_gives_the_targets_queue_up)
{
	struct waiting waiting;
	IODispatchQueue *queue = new_queue("target"), *other = new_queue("other");

	wait_init(&waiting);
	UnitReceiver_SetDispatchQueue(waiting.receiver, "Default", queue);
	waiting.receiver->ivars->expected = queue;
	waiting.n = 2;
	IODispatchQueue_DispatchAsync_f(queue, &waiting, wait_some_times);
	IODispatchQueue_DispatchAsync_f(other, waiting.action, complete_from_queue);
	IODispatchQueue_DispatchAsync_f(other, waiting.action, complete_from_queue);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_int_eq(waiting.results[0], kIOReturnSuccess);
	ck_assert_int_eq(waiting.results[1], kIOReturnSuccess);
	wait_deinit(&waiting);
	OSObjectRelease(queue);
	OSObjectRelease(other);
}
END_TEST

static void abort_action(void *context)
{
	OSAction_Aborted(context);
}

static void cancel_action(void *context)
{
	OSAction_Cancel_f(context, NULL, NULL);
}

/* What ends a wait for good: the abort or the cancel, on the queue or off it, and what was
 * delivered before still counts. */
START_TEST(wait_ends_with_the_action)
{
	static const IODispatchFunction ends[] = { abort_action, cancel_action };

	for (unsigned i = 0; i < 4; i++) {
		struct waiting waiting;
		IODispatchQueue *queue = new_queue("target"), *other = new_queue("other");
		bool on_queue = i % 2 == 0;

		wait_init(&waiting);
		UnitReceiver_SetDispatchQueue(waiting.receiver, "Default", queue);
		waiting.n = 3;
		complete(waiting.action, 1, NULL);
		IODispatchQueue_DispatchAsync_f(on_queue ? queue : other, &waiting,
						wait_some_times);
		IODispatchQueue_DispatchAsync_f(queue, waiting.action, ends[i / 2]);
		ck_assert_int_eq(worker_run(), 0);
		ck_assert_int_eq(waiting.results[0], kIOReturnSuccess);
		ck_assert_int_eq(waiting.results[1], kIOReturnAborted);
		ck_assert_int_eq(waiting.results[2], kIOReturnAborted);
		IODispatchQueue_DispatchAsync_f(queue, NULL, stop_pool); // the cancel's end
		ck_assert_int_eq(worker_run(), 0);
		wait_deinit(&waiting);
		OSObjectRelease(queue);
		OSObjectRelease(other);
	}
}
END_TEST

START_TEST(wait_is_bounded_and_for_one)
{
	struct waiting waiting;
	IODispatchQueue *queue = new_queue("target");
	void *second = NULL;

	wait_init(&waiting);
	UnitReceiver_SetDispatchQueue(waiting.receiver, "Default", queue);
	ck_assert_int_eq(OSAction_WillWait(waiting.action, &second), kIOReturnBusy);
	ck_assert_int_eq(OSAction_Wait(waiting.action, &waiting, kIOTimerClockUptimeRaw, 1),
			 kIOReturnBadArgument);
	ck_assert_int_eq(OSAction_EndWait(waiting.action, NULL), kIOReturnBadArgument);
	ck_assert_int_eq(OSAction_Wait(waiting.action, waiting.token, 0, 1), kIOReturnBadArgument);
	waiting.n = 1;
	waiting.patience_ns = 2000000;
	wait_in_thread(&waiting);
	ck_assert_int_eq(waiting.results[0], kIOReturnTimeout);
	ck_assert_int_eq(queue_sync(queue, wait_some_times, &waiting), 0);
	ck_assert_int_eq(waiting.results[0], kIOReturnTimeout);
	ck_assert_int_eq(worker_run(), 0); // stopped already, by both
	OSAction_Cancel_f(waiting.action, NULL, stop_pool);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_int_eq(OSAction_Wait(waiting.action, waiting.token, kIOTimerClockUptimeRaw, 1),
			 kIOReturnAborted);
	wait_deinit(&waiting);
	OSObjectRelease(queue);
}
END_TEST

/* --- what a stopped service leaves --- */

static void make_actions_on_queue(void *context)
{
	struct waiting *made = context;

	UnitReceiver_CreateActioncompleted(made->receiver, 0, &made->action);
}

/* The circle of a target and its action goes with the service's set: by the target, or by the queue
 * that the action was made on. What was cancelled or freed before is not counted. */
START_TEST(a_set_breaks_the_circles_left_in_it)
{
	struct action_set *set;
	UnitReceiver *service = new_receiver(), *plain = new_receiver();
	IODispatchQueue *queue = new_queue("Default");
	OSAction *action = NULL, *cancelled = NULL, *freed = NULL, *unowned = NULL;
	struct waiting made = { .receiver = plain };
	const struct OSMethodShape *which = NULL;

	ck_assert_int_eq(action_set_new(&set), 0);
	ck_assert_int_eq(object_set_actions(UnitReceiver_as_OSObject(service), set), 0);
	queue_set_actions(queue, set);
	UnitReceiver_CreateActioncompleted(service, 0, &action);
	UnitReceiver_CreateActioncompleted(service, 0, &cancelled);
	UnitReceiver_CreateActioncompleted(service, 0, &freed);
	UnitReceiver_CreateActioncompleted(plain, 0, &unowned);
	ck_assert_int_eq(queue_sync(queue, make_actions_on_queue, &made), 0);
	OSObjectRelease(freed);
	OSAction_Cancel_f(cancelled, NULL, NULL);
	ck_assert_uint_eq(action_set_end(set, &which), 2);
	ck_assert_str_eq(which->name, "completed");
	ck_assert_uint_eq(action_set_end(set, &which), 0);
	ck_assert_int_eq(UnitReceiver_CreateActioncompleted(service, 0, &freed), kIOReturnOffline);
	ck_assert_int_eq(complete(action, 1, NULL), kIOReturnOffline);
	ck_assert_int_eq(complete(made.action, 1, NULL), kIOReturnOffline);

	OSObjectRelease(service); // which nobody keeps but its actions
	IODispatchQueue_DispatchAsync_f(queue, NULL, stop_pool);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_int_eq(references(plain), 2); // `unowned` is its maker's
	ck_assert_int_eq(receivers_alive, 1);
	OSObjectRelease(unowned);
	OSObjectRelease(plain);
	OSObjectRelease(action);
	OSObjectRelease(cancelled);
	OSObjectRelease(made.action);
	OSObjectRelease(queue);
	action_set_unref(set);
	ck_assert_int_eq(receivers_alive, 0);
}
END_TEST

/* --- chance --- */

enum { INVOKERS = 3, ACTIONS = 8, TRIES = 300, ROUNDS = 40 };

struct storm {
	OSAction *actions[ACTIONS];
	UnitReceiver *receivers[ACTIONS];
	IODispatchQueue *queues[2];
	_Atomic unsigned accepted[ACTIONS];
	_Atomic unsigned left;
	uint64_t seed;
	_Atomic uint64_t next_thread;
};

/* A generator for each thread, so that a seed gives each the same course. */
static uint64_t next_chance(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void count_cancelled(void *context)
{
	struct storm *storm = context;

	if (atomic_fetch_sub(&storm->left, 1) == 1)
		worker_stop();
}

static void *invoke_at_random(void *context)
{
	struct storm *storm = context;
	uint64_t chance = storm->seed * 2654435761U + 88172645463325252U +
			  atomic_fetch_add(&storm->next_thread, 1);

	for (int i = 0; i < TRIES; i++) {
		unsigned n = (unsigned)(next_chance(&chance) % ACTIONS);
		if (next_chance(&chance) % 100 == 0)
			OSAction_Cancel_f(storm->actions[n], storm, count_cancelled);
		else if (complete(storm->actions[n], (uint32_t)i, NULL) == kIOReturnSuccess)
			atomic_fetch_add(&storm->accepted[n], 1);
	}
	for (unsigned n = 0; n < ACTIONS; n++)
		OSAction_Cancel_f(storm->actions[n], storm, count_cancelled);
	return NULL;
}

/* Whoever invokes and whoever cancels, in whatever order: every accepted invocation is delivered
 * exactly once, every action's handler runs once, nothing is left behind. */
START_TEST(every_accepted_invocation_is_delivered_once)
{
	for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
		struct storm storm = { .seed = seed, .left = ACTIONS };
		pthread_t threads[INVOKERS], worker;

		storm.queues[0] = new_queue("even");
		storm.queues[1] = new_queue("odd");
		for (unsigned n = 0; n < ACTIONS; n++) {
			storm.receivers[n] = new_receiver();
			UnitReceiver_SetDispatchQueue(storm.receivers[n], "Default",
						      storm.queues[n % 2]);
			UnitReceiver_CreateActioncompleted(storm.receivers[n], 0,
							   &storm.actions[n]);
		}
		worker = start_thread(run_worker, NULL);
		for (unsigned i = 0; i < INVOKERS; i++)
			threads[i] = start_thread(invoke_at_random, &storm);
		for (unsigned i = 0; i < INVOKERS; i++)
			pthread_join(threads[i], NULL);
		pthread_join(worker, NULL);
		for (unsigned n = 0; n < ACTIONS; n++) {
			ck_assert_uint_eq(storm.receivers[n]->ivars->calls, storm.accepted[n]);
			ck_assert_int_eq(references(storm.receivers[n]), 1);
			ck_assert_int_eq(references(storm.actions[n]), 1);
			OSObjectRelease(storm.receivers[n]);
			OSObjectRelease(storm.actions[n]);
		}
		OSObjectRelease(storm.queues[0]);
		OSObjectRelease(storm.queues[1]);
		ck_assert_int_eq(receivers_alive, 0);
	}
}
END_TEST

/* --- a delivery of its own --- */

struct custom {
	uint32_t delivered;
	bool cancelled, released;
};

static kern_return_t deliver_custom(void *context, const struct OSMethodShape *shape,
				    const void *msg)
{
	const struct UnitDevice_Completed_Msg *m = msg;

	ck_assert_ptr_eq(shape, &UnitDevice_Completed_Shape);
	if (((struct custom *)context)->cancelled)
		return kIOReturnOffline;
	((struct custom *)context)->delivered += m->number;
	return m->number == 5 ? kIOReturnNoSpace : kIOReturnSuccess;
}

static void cancel_custom(void *context)
{
	ck_assert(!((struct custom *)context)->cancelled);
	((struct custom *)context)->cancelled = true;
}

static void release_custom(void *context)
{
	((struct custom *)context)->released = true;
}

START_TEST(a_custom_action_delivers_at_once)
{
	static const struct action_ops ops = { deliver_custom, cancel_custom, release_custom };
	struct custom custom = { 0 };
	OSAction *action = NULL;

	ck_assert_int_eq(action_create_custom(&ops, &custom, &action), kIOReturnSuccess);
	ck_assert_ptr_null(OSAction_GetReference(action));
	ck_assert_int_eq(complete(action, 3, NULL), kIOReturnSuccess);
	ck_assert_int_eq(complete(action, 4, NULL), kIOReturnSuccess);
	ck_assert_uint_eq(custom.delivered, 7);
	ck_assert_int_eq(complete(action, 5, NULL), kIOReturnNoSpace);
	ck_assert_int_eq(OSAction_Cancel_f(action, NULL, stop_pool), kIOReturnSuccess);
	ck_assert(custom.cancelled); // before the handler
	ck_assert_int_eq(OSAction_Cancel_f(action, NULL, stop_pool), kIOReturnOffline);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_int_eq(complete(action, 4, NULL), kIOReturnOffline);
	ck_assert(!custom.released);
	OSObjectRelease(action);
	ck_assert(custom.released);
}
END_TEST

POOL_TESTS("runtime-action", methods_run_on_their_queues, methods_need_not_be_synchronized,
	   a_cancelled_queue_takes_no_calls, any_object_is_a_target, the_target_names_the_queue,
	   a_wrong_target_is_refused, cancel_follows_what_was_accepted,
	   the_two_cancels_come_in_any_order, an_invocation_may_cancel_its_action,
	   an_abort_is_told_once, the_last_holder_aborts, a_handler_ends_once_in_any_case,
	   wait_returns_behind_the_method, wait_gives_the_targets_queue_up,
	   wait_ends_with_the_action, wait_is_bounded_and_for_one,
	   a_set_breaks_the_circles_left_in_it, every_accepted_invocation_is_delivered_once,
	   a_custom_action_delivers_at_once)
