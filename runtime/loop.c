/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The event loops: what is ready to run, and what epoll and the alarms will make ready.
 *
 * Work comes as turns, which stand in a loop's list, and as events of its epoll set, which become
 * turns. Who schedules a turn does so on the loop it runs in itself, so a queue is drained where it
 * was found idle, by the thread that took the event, with no hop to another one. A thread of no
 * loop schedules on the first.
 *
 * Events are turned into turns by the polling thread under the lock, before any of them runs: a
 * thread that waits in the midst of its work holds no event that others need. What epoll may still
 * report is destroyed only between two polls of that loop (pool_retire).
 *
 * Alarms (alarm.c) are the first loop's: the next one is epoll's time limit. An idle loop has one
 * thread in epoll_pwait2 without a time limit, and nothing wakes it.
 *
 * Each loop has one lock, held for a few instructions; nobody holds two.
 */

#include <runtime/loop.h>

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/log.h>
#include <runtime/alarm.h>

enum { EVENTS_PER_POLL = 16 };

#define NS_PER_S 1000000000ULL

struct loop loops[WORKERS_MAX];

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void init_loop(struct loop *loop)
{
	pthread_condattr_t attributes;

	pthread_mutex_init(&loop->lock, NULL);
	pthread_cond_init(&loop->called, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&loop->ended, &attributes);
	pthread_condattr_destroy(&attributes);
	loop->epoll_fd = loop->event_fd = -1;
	list_init(&loop->ready);
	list_init(&loop->retired);
}

static void init_loops(void)
{
	for (int i = 0; i < WORKERS_MAX; i++)
		init_loop(&loops[i]);
}

struct loop *loop_first(void)
{
	pthread_once(&once, init_loops);
	return &loops[0];
}

static struct loop *own_loop(void)
{
	return self_thread.loop != NULL ? self_thread.loop : loop_first();
}

void loop_lock(struct loop *loop)
{
	pthread_mutex_lock(&loop->lock);
}

void loop_unlock(struct loop *loop)
{
	pthread_mutex_unlock(&loop->lock);
}

/* --- the epoll set --- */

/* Locked. event_fd is edge-triggered and never read: each write to it is one event. */
static int open_locked(struct loop *loop)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.ptr = NULL };
	int ret = 0;

	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	int event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (epoll_fd < 0 || event_fd < 0 ||
	    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, event_fd, &event) < 0)
		ret = -errno;
	if (ret < 0) {
		close_fdp(&epoll_fd);
		close_fdp(&event_fd);
		return ret;
	}
	loop->epoll_fd = epoll_fd;
	loop->event_fd = event_fd;
	loop->open = true;
	return 0;
}

int loop_open(struct loop *loop)
{
	int ret = 0;

	pthread_once(&once, init_loops);
	loop_lock(loop);
	if (!loop->open)
		ret = open_locked(loop);
	loop_unlock(loop);
	return ret;
}

void loop_wake(struct loop *loop)
{
	static const uint64_t one = 1;

	if (!loop->asleep)
		return;
	loop->asleep = false;
	if (write(loop->event_fd, &one, sizeof(one)) < 0)
		log_error("an event loop cannot be woken (%d)", errno);
}

int pool_watch(int operation, int fd, uint32_t events, struct watch *watch)
{
	struct epoll_event event = { .events = events, .data.ptr = watch };

	return epoll_ctl(watch->loop->epoll_fd, operation, fd, &event) < 0 ? -errno : 0;
}

void pool_retire(struct watch *watch)
{
	loop_lock(watch->loop);
	bool polling = watch->loop->polling;
	if (polling)
		list_append(&watch->loop->retired, &watch->link);
	loop_unlock(watch->loop);
	if (!polling)
		watch->destroy(watch);
}

void loop_destroy_retired(struct loop *loop)
{
	while (!list_empty(&loop->retired)) {
		struct watch *watch = container_of(loop->retired.next, struct watch, link);
		list_remove(&watch->link);
		loop_unlock(loop);
		watch->destroy(watch);
		loop_lock(loop);
	}
}

/* --- turns --- */

void pool_schedule_locked(struct loop *loop, struct turn *turn)
{
	list_append(&loop->ready, &turn->link);
	loop_wake(loop);
}

void pool_schedule(struct turn *turn)
{
	struct loop *loop = own_loop();

	loop_lock(loop);
	pool_schedule_locked(loop, turn);
	loop_unlock(loop);
}

void loop_take_turn(struct loop *loop)
{
	struct turn *turn = container_of(loop->ready.next, struct turn, link);

	list_remove(&turn->link);
	loop_unlock(loop);
	turn->run(turn);
	loop_lock(loop);
}

/* Locked. How long to poll; NULL: without a limit. */
static const struct timespec *poll_limit(const struct loop *loop, struct timespec *room)
{
	*room = (struct timespec){ 0 };
	if (!loop->asleep)
		return room;
	uint64_t deadline = loop == loop_first() ? alarm_next_ns() : 0;
	if (deadline == 0)
		return NULL;
	uint64_t now = clock_now_ns();
	uint64_t left = deadline > now ? deadline - now : 0;
	room->tv_sec = (time_t)(left / NS_PER_S);
	room->tv_nsec = (long)(left % NS_PER_S);
	return room;
}

bool loop_is_wanted(struct loop *loop)
{
	struct pollfd events = { .fd = loop->epoll_fd, .events = POLLIN };
	const struct timespec at_once = { 0 };

	loop_lock(loop);
	bool wanted = loop->stopping || !list_empty(&loop->ready);
	if (!wanted && loop == loop_first())
		wanted = alarm_is_due();
	loop_unlock(loop);
	return wanted || ppoll(&events, 1, &at_once, NULL) > 0;
}

/* What destroying set off, or another thread scheduled meanwhile, is looked at again after
 * `polling` is claimed. */
void loop_poll(struct loop *loop)
{
	struct epoll_event events[EVENTS_PER_POLL];
	struct timespec room;

	loop->polling = true;
	loop_destroy_retired(loop);
	loop->asleep = list_empty(&loop->ready) && !loop->stopping;
	const struct timespec *limit = poll_limit(loop, &room);
	loop_unlock(loop);

	int n = epoll_pwait2(loop->epoll_fd, events, EVENTS_PER_POLL, limit, NULL);
	int error = n < 0 ? errno : 0;

	loop_lock(loop);
	loop->asleep = false;
	if (error != 0 && error != EINTR)
		log_error("epoll_pwait2 failed (%d)", error);
	for (int i = 0; i < n; i++) {
		struct watch *watch = events[i].data.ptr;
		if (watch != NULL)
			watch->fire(watch, events[i].events);
	}
	if (loop == loop_first())
		alarm_fire_due();
	loop->polling = false;
}
