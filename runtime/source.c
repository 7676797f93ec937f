/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Descriptors and timers as sources of work.
 *
 * Both are an item that is posted when something happened: to fire is to note what, under the
 * loop's lock, and to post unless the item is queued already. A descriptor is registered one-shot,
 * so epoll disarms it, and it is armed again when its function has returned; with EPOLLET it stays
 * armed, and events that come meanwhile are gathered.
 *
 * A source is counted: one reference is the owner's, one the queued item's. Closing it marks it, so
 * that its function is not begun any more, and gives up the owner's: a source may be closed from
 * its own function. What epoll may still name is given to pool_retire. A cancelled queue takes no
 * item: its sources fall silent.
 */

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include <base/log.h>
#include <runtime/strand.h>

struct fd_source {
	struct queue_item item;
	struct watch watch;
	IODispatchQueue *queue; // kept; constant
	int fd;                 // borrowed; constant
	void (*fn)(void *context, uint32_t ready);
	void *context;
	void (*ended)(void *context); // NULL: nobody asked
	/* Guarded by the loop's lock: */
	uint32_t events;
	uint32_t ready; // not yet given to fn
	uint32_t refs;
	bool queued, running, closed;
	bool stale; // `events` changed, and epoll does not know it yet
};

static void nothing(void *context)
{
	(void)context;
}

/* A source that was closed off its queue may be running: let that end. */
static void wait_for_end(IODispatchQueue *queue)
{
	int ret = queue_sync(queue, nothing, NULL);

	if (ret < 0)
		log_error(
			"a source on queue \"%s\" was closed by a caller that cannot wait for its "
			"queue (%d)",
			IODispatchQueue_GetName(queue), ret);
}

static struct fd_source *source_of_watch(struct watch *watch)
{
	return container_of(watch, struct fd_source, watch);
}

static void fd_source_destroy(struct watch *watch)
{
	struct fd_source *source = source_of_watch(watch);

	if (source->ended != NULL)
		source->ended(source->context);
	OSObjectRelease(source->queue);
	free(source);
}

static void fd_source_unref(struct fd_source *source)
{
	loop_lock(source->watch.loop);
	bool last = --source->refs == 0;
	loop_unlock(source->watch.loop);
	if (last)
		pool_retire(&source->watch);
}

static bool is_edge(const struct fd_source *source)
{
	return (source->events & EPOLLET) != 0;
}

static uint32_t epoll_events(uint32_t events)
{
	return (events & EPOLLET) != 0 ? events : events | EPOLLONESHOT;
}

/* Locked. A source that cannot be armed hears nothing more: say so. */
static int arm(struct fd_source *source)
{
	int ret =
		pool_watch(EPOLL_CTL_MOD, source->fd, epoll_events(source->events), &source->watch);
	if (ret < 0)
		log_error("descriptor %d cannot be watched any more (%d)", source->fd, ret);
	source->stale = false;
	return ret;
}

/* Locked. */
static void fd_source_fire(struct watch *watch, uint32_t events)
{
	struct fd_source *source = source_of_watch(watch);
	struct turn *turn;

	/* epoll reports a hang-up to a paused source too; it is disarmed now. */
	if (source->closed || source->events == 0)
		return;
	source->ready |= events;
	if (source->queued || !queue_push(source->queue, &source->item, &turn))
		return;
	source->queued = true;
	source->refs++;
	if (turn != NULL)
		pool_schedule_locked(watch->loop, turn);
}

static void fd_source_run(struct queue_item *item)
{
	struct fd_source *source = container_of(item, struct fd_source, item);

	loop_lock(source->watch.loop);
	source->queued = false;
	uint32_t ready = source->ready;
	source->ready = 0;
	source->running = true;
	bool call = !source->closed && source->events != 0;
	loop_unlock(source->watch.loop);
	if (call)
		source->fn(source->context, ready);
	loop_lock(source->watch.loop);
	source->running = false;
	if (!source->closed && source->events != 0 && (!is_edge(source) || source->stale))
		arm(source);
	loop_unlock(source->watch.loop);
	fd_source_unref(source);
}

int fd_source_open(struct fd_source **out, int fd, uint32_t events, IODispatchQueue *queue,
		   void (*fn)(void *context, uint32_t ready), void *context)
{
	return fd_source_open_on(out, 0, fd, events, queue, fn, context);
}

int fd_source_open_on(struct fd_source **out, unsigned worker, int fd, uint32_t events,
		      IODispatchQueue *queue, void (*fn)(void *context, uint32_t ready),
		      void *context)
{
	struct loop *loop;
	int ret = pool_start(worker, &loop);

	if (ret < 0)
		return ret;
	struct fd_source *source = calloc(1, sizeof(*source));
	if (source == NULL)
		return -ENOMEM;
	source->watch.loop = loop;
	source->item.run = fd_source_run;
	source->watch.fire = fd_source_fire;
	source->watch.destroy = fd_source_destroy;
	list_init(&source->watch.link);
	source->queue = queue;
	source->fd = fd;
	source->fn = fn;
	source->context = context;
	source->events = events;
	source->refs = 1;
	OSObjectRetain(queue);

	/* Locked, so that an event that comes at once finds *out and all else in place. */
	loop_lock(source->watch.loop);
	ret = pool_watch(EPOLL_CTL_ADD, fd, epoll_events(events), &source->watch);
	if (ret == 0)
		*out = source;
	loop_unlock(source->watch.loop);
	if (ret < 0)
		fd_source_destroy(&source->watch);
	return ret;
}

int fd_source_set_events(struct fd_source *source, uint32_t events)
{
	int ret = 0;

	loop_lock(source->watch.loop);
	source->stale |= source->events != events;
	source->events = events;
	/* One that is queued or running is armed when it has run. */
	if (source->stale && !source->closed && !source->queued && !source->running)
		ret = arm(source);
	loop_unlock(source->watch.loop);
	return ret;
}

static void fd_source_silence(struct fd_source *source)
{
	loop_lock(source->watch.loop);
	source->closed = true;
	pool_watch(EPOLL_CTL_DEL, source->fd, 0, &source->watch);
	loop_unlock(source->watch.loop);
}

void fd_source_end(struct fd_source *source, void (*ended)(void *context))
{
	source->ended = ended; // read by whoever gives up the last reference
	fd_source_silence(source);
	fd_source_unref(source);
}

struct fd_source *fd_source_close(struct fd_source *source)
{
	if (source == NULL)
		return NULL;
	fd_source_silence(source);
	wait_for_end(source->queue);
	fd_source_unref(source);
	return NULL;
}

/* --- timers --- */

struct timer_source {
	struct queue_item item;
	struct alarm alarm;
	IODispatchQueue *queue; // kept; constant
	void (*fn)(void *context);
	void *context;
	void (*ended)(void *context); // NULL: nobody asked
	/* Guarded by the first loop's lock: */
	uint32_t refs;
	bool expired; // fn is due; a new setting takes it back
	bool queued, closed;
};

static void timer_source_unref(struct timer_source *timer)
{
	loop_lock(loop_first());
	bool last = --timer->refs == 0;
	loop_unlock(loop_first());
	if (!last)
		return;
	if (timer->ended != NULL)
		timer->ended(timer->context);
	OSObjectRelease(timer->queue);
	free(timer);
}

/* Locked. */
static void timer_source_fire(struct alarm *alarm)
{
	struct timer_source *timer = container_of(alarm, struct timer_source, alarm);
	struct turn *turn;

	timer->expired = true;
	if (timer->queued || !queue_push(timer->queue, &timer->item, &turn))
		return;
	timer->queued = true;
	timer->refs++;
	if (turn != NULL)
		pool_schedule_locked(loop_first(), turn);
}

static void timer_source_run(struct queue_item *item)
{
	struct timer_source *timer = container_of(item, struct timer_source, item);

	loop_lock(loop_first());
	bool due = timer->expired && !timer->closed;
	timer->expired = false;
	timer->queued = false;
	loop_unlock(loop_first());
	if (due)
		timer->fn(timer->context);
	timer_source_unref(timer);
}

int timer_source_open(struct timer_source **out, IODispatchQueue *queue, void (*fn)(void *context),
		      void *context)
{
	struct timer_source *timer = calloc(1, sizeof(*timer));

	if (timer == NULL)
		return -ENOMEM;
	timer->item.run = timer_source_run;
	timer->alarm.fire = timer_source_fire;
	timer->queue = queue;
	timer->fn = fn;
	timer->context = context;
	timer->refs = 1;
	OSObjectRetain(queue);
	*out = timer;
	return 0;
}

int timer_source_set_on(struct timer_source *timer, enum alarm_clock clock, uint64_t deadline_ns,
			uint64_t leeway_ns)
{
	int ret = alarm_open(clock);

	if (ret < 0)
		return ret;
	loop_lock(loop_first());
	if (timer->closed) {
		ret = -EINVAL;
	} else {
		timer->expired = false;
		ret = alarm_set_locked(&timer->alarm, clock, deadline_ns, leeway_ns);
	}
	loop_unlock(loop_first());
	return ret;
}

int timer_source_set(struct timer_source *timer, uint64_t deadline_ns)
{
	return timer_source_set_on(timer, ALARM_MONOTONIC, deadline_ns, 0);
}

static void timer_source_silence(struct timer_source *timer)
{
	loop_lock(loop_first());
	timer->closed = true;
	timer->expired = false;
	alarm_set_locked(&timer->alarm, ALARM_MONOTONIC, 0, 0);
	loop_unlock(loop_first());
}

void timer_source_end(struct timer_source *timer, void (*ended)(void *context))
{
	timer->ended = ended; // read by whoever gives up the last reference
	timer_source_silence(timer);
	timer_source_unref(timer);
}

struct timer_source *timer_source_close(struct timer_source *timer)
{
	if (timer == NULL)
		return NULL;
	timer_source_silence(timer);
	wait_for_end(timer->queue);
	timer_source_unref(timer);
	return NULL;
}
