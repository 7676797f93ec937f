/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What else happens to an action: those who held it are gone, and somebody waits for it.
 *
 * An abort goes the way of an invocation, behind those accepted before, and to the same queue; it
 * needs no memory. Whoever waits is told by what runs there: an invocation that has returned, the
 * abort, or the cancel. A waiter that is itself on that queue gives it up meanwhile (Sleep), for
 * else nothing could run; any other one sleeps on a word.
 */

#include <runtime/action_parts.h>

#include <errno.h>
#include <stdlib.h>

#include <DriverKit/IOTimerClocks.h>
#include <base/clock.h>
#include <base/reason.h>
#include <runtime/deadline.h>
#include <runtime/strand.h>

/* --- the abort --- */

static void run_abort(struct queue_item *item)
{
	struct OSAction_IVars *iv = container_of(item, struct OSAction_IVars, abort);

	pthread_mutex_lock(&iv->lock);
	struct aborted_handler told = iv->on_aborted;
	iv->on_aborted = (struct aborted_handler){ 0 };
	iv->abort_queued = false;
	pthread_mutex_unlock(&iv->lock);
	if (told.handler != NULL)
		told.handler(told.context);
	if (told.ended != NULL)
		told.ended(told.context);
	action_wait_ended(iv);
	action_end(iv->self);
}

/* It is aborted: tell whoever is to be told. */
static void queue_abort(OSAction *action)
{
	struct OSAction_IVars *iv = action->ivars;

	pthread_mutex_lock(&iv->lock);
	bool wanted = iv->aborted && !iv->abort_queued && !iv->cancelled;
	if (wanted)
		iv->abort_queued = true;
	pthread_mutex_unlock(&iv->lock);
	if (!wanted)
		return;
	if (!action_begin(action)) { // a cancel came between: it ends all of this
		pthread_mutex_lock(&iv->lock);
		iv->abort_queued = false;
		pthread_mutex_unlock(&iv->lock);
		return;
	}
	iv->abort.run = run_abort;
	if (!action_post(iv, &iv->abort))
		run_abort(&iv->abort); // out of memory: better here than never
}

void OSAction_Aborted(OSAction *self)
{
	if (self == NULL)
		return;
	struct OSAction_IVars *iv = self->ivars;
	pthread_mutex_lock(&iv->lock);
	bool first = !iv->aborted && !iv->cancelled;
	iv->aborted = true;
	pthread_mutex_unlock(&iv->lock);
	if (first)
		queue_abort(self);
}

kern_return_t OSAction_SetAbortedHandler_f(OSAction *self, void *context,
					   IODispatchFunction handler, IODispatchFunction ended)
{
	if (self == NULL)
		return refuse(kIOReturnBadArgument, "SetAbortedHandler: no action");
	struct OSAction_IVars *iv = self->ivars;
	pthread_mutex_lock(&iv->lock);
	struct aborted_handler old = iv->on_aborted;
	bool cancelled = iv->cancelled, aborted = iv->aborted;
	if (!cancelled)
		iv->on_aborted = (struct aborted_handler){ context, handler, ended };
	pthread_mutex_unlock(&iv->lock);
	if (cancelled)
		return refuse(kIOReturnOffline, "SetAbortedHandler: the action was cancelled");
	if (old.ended != NULL)
		old.ended(old.context);
	if (aborted)
		queue_abort(self);
	return kIOReturnSuccess;
}

void action_forget_handler(struct OSAction_IVars *iv)
{
	pthread_mutex_lock(&iv->lock);
	struct aborted_handler old = iv->on_aborted;
	iv->on_aborted = (struct aborted_handler){ 0 };
	pthread_mutex_unlock(&iv->lock);
	if (old.ended != NULL)
		old.ended(old.context);
}

void action_hold(OSAction *action)
{
	atomic_fetch_add_explicit(&action->ivars->n_holders, 1, memory_order_relaxed);
}

void action_let_go(OSAction *action)
{
	if (atomic_fetch_sub_explicit(&action->ivars->n_holders, 1, memory_order_acq_rel) == 1)
		OSAction_Aborted(action);
}

/* --- waiting --- */

struct action_wait {
	_Atomic uint32_t n_events;     // futex word: deliveries, and the end
	uint32_t n_delivered, n_taken; // guarded by the action's lock
	bool ended;                    // guarded by the action's lock
	bool busy;                     // guarded by the action's lock: Wait runs
	IODispatchQueue *asleep_on; // guarded by the action's lock; borrowed from Wait; may be NULL
};

/* On the queue that is slept on, or was. */
static void wake_sleeper(void *context)
{
	struct OSAction_IVars *iv = context;

	pthread_mutex_lock(&iv->lock);
	struct action_wait *wait = atomic_load_explicit(&iv->wait, memory_order_relaxed);
	IODispatchQueue *asleep_on = wait != NULL ? wait->asleep_on : NULL;
	pthread_mutex_unlock(&iv->lock);
	if (asleep_on != NULL && asleep_on == queue_current())
		IODispatchQueue_Wakeup(asleep_on, wait);
}

static void tell(struct OSAction_IVars *iv, bool ended)
{
	pthread_mutex_lock(&iv->lock);
	struct action_wait *wait = atomic_load_explicit(&iv->wait, memory_order_relaxed);
	IODispatchQueue *asleep_on = NULL;
	if (wait != NULL) {
		if (ended)
			wait->ended = true;
		else
			wait->n_delivered++;
		atomic_fetch_add(&wait->n_events, 1);
		worker_wake(&wait->n_events);
		asleep_on = wait->asleep_on;
		OSObjectRetain(asleep_on);
	}
	pthread_mutex_unlock(&iv->lock);
	/* The caller is on it already, unless the target was given another queue since. */
	if (asleep_on != NULL)
		queue_sync(asleep_on, wake_sleeper, iv);
	OSObjectRelease(asleep_on);
}

void action_wait_delivered(struct OSAction_IVars *iv)
{
	if (atomic_load_explicit(&iv->wait, memory_order_relaxed) != NULL)
		tell(iv, false);
}

void action_wait_ended(struct OSAction_IVars *iv)
{
	if (atomic_load_explicit(&iv->wait, memory_order_relaxed) != NULL)
		tell(iv, true);
}

kern_return_t OSAction_WillWait(OSAction *self, void **token)
{
	if (self == NULL || token == NULL)
		return refuse(kIOReturnBadArgument, "WillWait: an action and a place are needed");
	struct OSAction_IVars *iv = self->ivars;
	if (iv->row == NULL)
		return refuse(kIOReturnUnsupported,
			      "WillWait: the action was received: only its maker waits for it");
	struct action_wait *wait = calloc(1, sizeof(*wait));
	if (wait == NULL)
		return refuse(kIOReturnNoMemory, "WillWait: out of memory");
	pthread_mutex_lock(&iv->lock);
	bool cancelled = iv->cancelled;
	bool taken = atomic_load_explicit(&iv->wait, memory_order_relaxed) != NULL;
	wait->ended = iv->aborted;
	if (!cancelled && !taken)
		atomic_store_explicit(&iv->wait, wait, memory_order_relaxed);
	pthread_mutex_unlock(&iv->lock);
	if (cancelled || taken) {
		free(wait);
		return cancelled ? refuse(kIOReturnOffline, "WillWait: the action was cancelled")
				 : refuse(kIOReturnBusy, "WillWait: an action has one waiter, and "
							 "this one has it");
	}
	*token = wait;
	return kIOReturnSuccess;
}

/* Locked. Is the wait over, and how? */
static bool take_event(struct action_wait *wait, kern_return_t *ret)
{
	if (wait->n_delivered != wait->n_taken) {
		wait->n_taken++;
		*ret = kIOReturnSuccess;
		return true;
	}
	if (wait->ended)
		*ret = kIOReturnAborted;
	return wait->ended;
}

/* One sleep, until something has happened or the deadline. kIOReturnSuccess: look. */
static kern_return_t sleep_once(struct action_wait *wait, IODispatchQueue *asleep_on,
				uint32_t n_events, uint64_t deadline_ns)
{
	if (asleep_on != NULL)
		return IODispatchQueue_SleepWithDeadline(asleep_on, wait, kIOTimerClockUptimeRaw,
							 deadline_ns);
	worker_wait(&wait->n_events, n_events, deadline_ns);
	return clock_now_ns() < deadline_ns ? kIOReturnSuccess : kIOReturnTimeout;
}

/* deadline_ns is 0 for what has ended: only what was delivered is taken. */
static kern_return_t wait_for_event(struct OSAction_IVars *iv, struct action_wait *wait,
				    IODispatchQueue *asleep_on, uint64_t deadline_ns)
{
	kern_return_t ret = kIOReturnSuccess;
	kern_return_t slept = deadline_ns != 0 ? kIOReturnSuccess : kIOReturnAborted;

	for (;;) {
		pthread_mutex_lock(&iv->lock);
		bool over = take_event(wait, &ret);
		bool goes_on = !over && slept == kIOReturnSuccess;
		uint32_t n_events = atomic_load_explicit(&wait->n_events, memory_order_relaxed);
		wait->asleep_on = goes_on ? asleep_on : NULL;
		wait->busy = goes_on;
		pthread_mutex_unlock(&iv->lock);
		if (over)
			return ret;
		if (!goes_on)
			return slept;
		slept = sleep_once(wait, asleep_on, n_events, deadline_ns);
	}
}

/* Is `token` the action's, and is nobody in Wait? It is the caller's from here on. */
static kern_return_t check_token(struct OSAction_IVars *iv, const char *what, void *token,
				 bool takes)
{
	pthread_mutex_lock(&iv->lock);
	struct action_wait *wait = atomic_load_explicit(&iv->wait, memory_order_relaxed);
	bool right = wait != NULL && wait == token;
	bool busy = right && wait->busy;
	if (right && !busy && takes)
		wait->busy = true;
	else if (right && !busy)
		atomic_store_explicit(&iv->wait, NULL, memory_order_relaxed);
	pthread_mutex_unlock(&iv->lock);
	if (!right)
		return refuse(kIOReturnBadArgument, "%s: no token of this action's WillWait", what);
	if (busy)
		return refuse(kIOReturnBusy, "%s: another thread is in Wait", what);
	return kIOReturnSuccess;
}

kern_return_t OSAction_Wait(OSAction *self, void *token, uint64_t options, uint64_t deadline)
{
	uint64_t deadline_ns;

	if (self == NULL)
		return refuse(kIOReturnBadArgument, "Wait: no action");
	kern_return_t ret = deadline_from("Wait", options, deadline, &deadline_ns);
	if (ret == kIOReturnSuccess)
		ret = check_token(self->ivars, "Wait", token, true);
	if (ret != kIOReturnSuccess)
		return ret;
	/* A cancelled action has no queue to look at, and nothing more to wait for. */
	IODispatchQueue *queue = NULL;
	if (action_begin(self)) {
		queue = action_copy_queue(self->ivars);
		action_end(self);
	} else {
		deadline_ns = 0;
	}
	OSObjectRetain(self);
	ret = wait_for_event(self->ivars, token, IODispatchQueue_OnQueue(queue) ? queue : NULL,
			     deadline_ns);
	OSObjectRelease(queue);
	OSObjectRelease(self);
	return ret;
}

kern_return_t OSAction_EndWait(OSAction *self, void *token)
{
	if (self == NULL)
		return refuse(kIOReturnBadArgument, "EndWait: no action");
	kern_return_t ret = check_token(self->ivars, "EndWait", token, false);
	if (ret == kIOReturnSuccess)
		free(token);
	return ret;
}
