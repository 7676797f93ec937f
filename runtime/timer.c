/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Timers for drivers: a timer of the event loop (source.c) below, the rules of all sources
 * (dispatch_source.c) above. To set one is to set an alarm, under the first loop's lock: no queue
 * is waited for, so it may be done on any thread and with any lock held.
 *
 * What the event loop found past is a callback that is pending; a new deadline takes that back.
 */

#include <DriverKit/IOTimerDispatchSource.h>

#include <errno.h>
#include <stdlib.h>

#include <base/clock.h>
#include <base/reason.h>
#include <runtime/dispatch_source.h>
#include <runtime/queue.h>

struct timer {
	struct timer_source *source;
	struct IODispatchSource_IVars *state;
	uint64_t time_ns; // when it last found its deadline past; the queue's
};

static void on_time(void *context)
{
	struct timer *timer = context;

	timer->time_ns = clock_now_ns();
	source_deliver(timer->state, 0);
}

static void fill(void *context, unsigned line, OSAction *handler, void *room)
{
	const struct timer *timer = context;
	struct IOTimerDispatchSource_TimerOccurred_Msg *msg = room;

	(void)line;
	msg->action = handler;
	msg->time = timer->time_ns;
}

static void ended(void *context)
{
	struct timer *timer = context;

	source_unref(timer->state);
}

static void stop(void *context)
{
	struct timer *timer = context;

	timer_source_end(timer->source, ended);
}

static const struct source_ops timer_ops = {
	.name = "IOTimerDispatchSource",
	.n_lines = 1,
	.shapes = { &IOTimerDispatchSource_TimerOccurred_Shape },
	.fill = fill,
	.stop = stop,
	.free = free,
};

_Static_assert(sizeof(struct IOTimerDispatchSource_TimerOccurred_Msg) <= SOURCE_MESSAGE_MAX,
	       "the message fits");

struct IOTimerDispatchSource_IVars {
	struct timer *timer; // the state's, as long as the object lives
};

static kern_return_t set_up(IOTimerDispatchSource *self, IODispatchQueue *queue)
{
	struct timer *timer = calloc(1, sizeof(*timer));

	self->ivars = calloc(1, sizeof(*self->ivars));
	if (timer == NULL || self->ivars == NULL ||
	    timer_source_open(&timer->source, queue, on_time, timer) < 0) {
		free(timer);
		return refuse(kIOReturnNoMemory, "out of memory for a timer");
	}
	kern_return_t ret = source_init(&self->super, &timer_ops, timer, queue, true);
	if (ret != kIOReturnSuccess) {
		timer_source_close(timer->source);
		free(timer);
		return ret;
	}
	self->ivars->timer = timer;
	timer->state = source_ref(self->super.ivars);
	return kIOReturnSuccess;
}

kern_return_t IOTimerDispatchSource_Create(IODispatchQueue *queue, IOTimerDispatchSource **source)
{
	if (queue == NULL || source == NULL)
		return refuse(kIOReturnBadArgument, "a timer needs a queue and a place");
	IOTimerDispatchSource *made = OSTypeAlloc(IOTimerDispatchSource);
	if (made == NULL)
		return refuse(kIOReturnNoMemory, "out of memory for a timer");
	kern_return_t ret = set_up(made, queue);
	if (ret != kIOReturnSuccess) {
		OSObjectRelease(made);
		return ret;
	}
	*source = made;
	return kIOReturnSuccess;
}

void IMPL(IOTimerDispatchSource, free)
{
	free(self->ivars);
	self->ivars = NULL;
	IOTimerDispatchSource_super_free(self);
}

kern_return_t IOTimerDispatchSource_SetHandler(IOTimerDispatchSource *self, OSAction *action)
{
	return source_set_handler(IOTimerDispatchSource_as_IODispatchSource(self), 0, action);
}

static bool find_clock(uint64_t options, enum alarm_clock *clock)
{
	switch (options) {
	case kIOTimerClockUptimeRaw:
	case kIOTimerClockMachAbsoluteTime:
		*clock = ALARM_MONOTONIC;
		return true;
	case kIOTimerClockMonotonicRaw:
	case kIOTimerClockMachContinuousTime:
		*clock = ALARM_BOOT;
		return true;
	case kIOTimerClockRealTime:
		*clock = ALARM_REAL;
		return true;
	default:
		return false;
	}
}

kern_return_t IOTimerDispatchSource_WakeAtTime(IOTimerDispatchSource *self, uint64_t options,
					       uint64_t deadline, uint64_t leeway)
{
	IODispatchSource *source = IOTimerDispatchSource_as_IODispatchSource(self);
	enum alarm_clock clock = ALARM_MONOTONIC;

	if (!find_clock(options, &clock))
		return refuse(kIOReturnBadArgument, "WakeAtTime: options %#llx name no clock",
			      (unsigned long long)options);
	kern_return_t ret = source_enter(source, "WakeAtTime");
	if (ret != kIOReturnSuccess)
		return ret;
	source_forget(source->ivars, 0);
	int error = timer_source_set_on(self->ivars->timer->source, clock, deadline, leeway);
	source_leave(source);
	if (error < 0)
		return refuse(kIOReturnNoResources, "WakeAtTime: the clock cannot be asked (%d)",
			      error);
	return kIOReturnSuccess;
}
