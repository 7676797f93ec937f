/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Sleep gives the queue up in the midst of a piece of work, and comes back as a waiter that either
 * Wakeup or the sleeper itself, at its time limit, pushes. Whoever ends the sleep does so once, by
 * the sleeper's state. A cancel wakes all of them, and its handler waits until the last sleeper's
 * piece has ended.
 */

#include <runtime/strand.h>

#include <stdatomic.h>

#include <base/reason.h>
#include <runtime/deadline.h>
#include <runtime/queue_word.h>
#include <runtime/sharing.h>
#include <runtime/wait.h>

enum sleep_state { SLEEPING, WOKEN, ABORTED, EXPIRED };

struct sleeper {
	struct list link; // queue.sleepers
	struct waiter waiter;
	void *event;
	_Atomic uint32_t state; // enum sleep_state; whoever ends SLEEPING pushes the waiter
};

/* End a sleep. PUSH_REFUSED: it has ended already. */
static enum push_result end_sleep(struct sleeper *sleeper, enum sleep_state how)
{
	uint32_t expected = SLEEPING;

	if (!atomic_compare_exchange_strong(&sleeper->state, &expected, how))
		return PUSH_REFUSED;
	return word_push(sleeper->waiter.queue->ivars, &sleeper->waiter.item, true, 0);
}

static void sleep_until(struct sleeper *sleeper, struct wait *wait, uint64_t deadline_ns)
{
	_Atomic uint32_t *granted = &sleeper->waiter.granted;

	if (wait_sleep(wait, granted, deadline_ns) == 0)
		return;
	if (end_sleep(sleeper, EXPIRED) == PUSH_HOLDING)
		word_pop(sleeper->waiter.queue->ivars); // it was idle, and the waiter is the first
	else
		wait_sleep(wait, granted, 0);
}

/* Is the caller alone on the queue, as what touches the sleepers must be? */
static kern_return_t check_alone(IODispatchQueue *self, const char *what)
{
	if (self != NULL && queue_is_held(self->ivars))
		return kIOReturnSuccess;
	if (self != NULL && queue_is_shared(self->ivars))
		return refuse(kIOReturnNotPermitted,
			      "%s: a concurrent piece has queue \"%s\" not for itself: use "
			      "DispatchAsync for what sleeps or wakes",
			      what, self->ivars->name);
	return refuse(kIOReturnNotPermitted, "%s: the caller is not on the queue", what);
}

static kern_return_t refuse_sleep(IODispatchQueue *self)
{
	return refuse(kIOReturnAborted, "Sleep: queue \"%s\" was cancelled", self->ivars->name);
}

static kern_return_t sleep_on(IODispatchQueue *self, void *event, uint64_t deadline_ns)
{
	struct sleeper sleeper = { .event = event };
	struct wait wait;

	if ((atomic_load(&self->ivars->top) & CANCELLED) != 0)
		return refuse_sleep(self);
	int ret = pool_begin_wait();
	if (ret < 0)
		return queue_refusal(self, ret);

	waiter_init(&sleeper.waiter, self);
	list_append(&self->ivars->sleepers, &sleeper.link);
	wait_begin(&wait, self->ivars, false);
	IODispatchQueue *outer = self_thread.current;
	OSObjectRetain(self);
	queue_hand_on(self);
	sleep_until(&sleeper, &wait, deadline_ns);
	wait_end(&wait);
	pool_end_wait();

	queue_enter(self);
	queue_leave(outer);
	list_remove(&sleeper.link);
	queue_keep(self);
	OSObjectRelease(self);
	switch (atomic_load(&sleeper.state)) {
	case WOKEN:
		return kIOReturnSuccess;
	case ABORTED:
		return refuse_sleep(self);
	default:
		return kIOReturnTimeout;
	}
}

kern_return_t IODispatchQueue_SleepWithTimeout(IODispatchQueue *self, void *event,
					       uint64_t timeoutNs)
{
	kern_return_t ret = check_alone(self, "Sleep");

	return ret == kIOReturnSuccess ? sleep_on(self, event, deadline_in(timeoutNs)) : ret;
}

kern_return_t IODispatchQueue_Sleep(IODispatchQueue *self, void *event, uint64_t timeoutNs)
{
	return IODispatchQueue_SleepWithTimeout(self, event, timeoutNs);
}

kern_return_t IODispatchQueue_SleepWithDeadline(IODispatchQueue *self, void *event,
						uint64_t options, uint64_t deadline)
{
	uint64_t deadline_ns;
	kern_return_t ret = check_alone(self, "SleepWithDeadline");

	if (ret != kIOReturnSuccess)
		return ret;
	/* An event is an address and nothing is kept for it: to use it again costs nothing. */
	ret = deadline_from("SleepWithDeadline",
			    options & ~(uint64_t)kIODispatchQueueSleepReuseEvent, deadline,
			    &deadline_ns);
	return ret == kIOReturnSuccess ? sleep_on(self, event, deadline_ns) : ret;
}

kern_return_t IODispatchQueue_WakeupWithOptions(IODispatchQueue *self, void *event,
						uint64_t options)
{
	struct sleeper *sleeper, *next;
	kern_return_t ret = check_alone(self, "Wakeup");

	if (ret != kIOReturnSuccess)
		return ret;
	if ((options & ~(uint64_t)kIODispatchQueueWakeupAll) != 0)
		return refuse(kIOReturnBadArgument, "Wakeup: options %#llx are not known",
			      (unsigned long long)options);
	bool all = (options & kIODispatchQueueWakeupAll) != 0;
	list_for_each_safe(sleeper, next, &self->ivars->sleepers, link)
		if (sleeper->event == event && end_sleep(sleeper, WOKEN) != PUSH_REFUSED && !all)
			break;
	return kIOReturnSuccess;
}

kern_return_t IODispatchQueue_Wakeup(IODispatchQueue *self, void *event)
{
	return IODispatchQueue_WakeupWithOptions(self, event, 0);
}

void queue_wake_for_cancel(struct IODispatchQueue_IVars *q)
{
	struct sleeper *sleeper, *next;

	list_for_each_safe(sleeper, next, &q->sleepers, link)
		end_sleep(sleeper, ABORTED);
}
