/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Alarms by three clocks.
 *
 * Each clock has its alarms in two heaps, by when they may ring and by when they must. The loop
 * sleeps until the first one must; whenever it is awake, for whatever reason, all that may ring do.
 * So an alarm with a leeway rings together with others if it can, and wakes nobody alone.
 *
 * For the monotonic clock, epoll's time limit is enough: to set and to clear an alarm costs no
 * system call. The others go on in suspend, or jump when the date is set: each has a timerfd, made
 * with its first alarm, in the first loop's epoll set, which the kernel re-reads at a jump. Its
 * events only wake the loop; they are edge-triggered and never read.
 */

#include <runtime/alarm.h>

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/log.h>
#include <runtime/loop.h>

#define NS_PER_S 1000000000ULL

struct clock {
	const clockid_t id;
	uint64_t (*const now)(void);
	/* Guarded by the first loop's lock: */
	struct heap due, latest; // alarm.due, alarm.latest
	int fd;                  // timerfd; -1: none
	uint64_t rings_ns;       // what fd is set to; 0: it is not
	struct watch watch;
};

/* Locked. If the date was set back meanwhile, it must ring once more. */
static void rang(struct watch *watch, uint32_t events)
{
	(void)events;
	container_of(watch, struct clock, watch)->rings_ns = 0;
}

static struct clock clocks[ALARM_CLOCKS] = {
	[ALARM_MONOTONIC] = { .id = CLOCK_MONOTONIC, .now = clock_now_ns, .fd = -1 },
	[ALARM_BOOT] = { .id = CLOCK_BOOTTIME, .now = clock_boot_now_ns, .fd = -1 },
	[ALARM_REAL] = { .id = CLOCK_REALTIME, .now = clock_real_now_ns, .fd = -1 },
};

/* Locked. */
static int open_locked(struct clock *clock)
{
	CLEANUP(close_fdp) int fd = timerfd_create(clock->id, TFD_CLOEXEC | TFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	clock->watch.loop = loop_first();
	clock->watch.fire = rang;
	int ret = pool_watch(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET, &clock->watch);
	if (ret == 0)
		clock->fd = steal_fd(&fd);
	return ret;
}

int alarm_open(enum alarm_clock clock)
{
	if (clock == ALARM_MONOTONIC)
		return 0;
	int ret = loop_open(loop_first());
	if (ret < 0)
		return ret;
	loop_lock(loop_first());
	if (clocks[clock].fd < 0)
		ret = open_locked(&clocks[clock]);
	loop_unlock(loop_first());
	return ret;
}

/* Locked. Let the clock ring for the alarm that must ring first; a ring too many harms nobody. */
static int set_ring(struct clock *clock)
{
	uint64_t next = clock->latest.first != NULL ? clock->latest.first->key : 0;

	if (clock->fd < 0) {
		loop_wake(loop_first()); // which asks alarm_next_ns again
		return 0;
	}
	if (next == 0 || next == clock->rings_ns)
		return 0;
	struct itimerspec at = { .it_value = { .tv_sec = (time_t)(next / NS_PER_S),
					       .tv_nsec = (long)(next % NS_PER_S) } };
	if (timerfd_settime(clock->fd, TFD_TIMER_ABSTIME, &at, NULL) < 0)
		return -errno;
	clock->rings_ns = next;
	return 0;
}

static void unset(struct alarm *alarm)
{
	heap_take(&clocks[alarm->clock].due, &alarm->due);
	heap_take(&clocks[alarm->clock].latest, &alarm->latest);
}

int alarm_set_locked(struct alarm *alarm, enum alarm_clock id, uint64_t deadline_ns,
		     uint64_t leeway_ns)
{
	struct clock *clock = &clocks[id];

	unset(alarm);
	if (deadline_ns == 0)
		return 0;
	/* What a signed count of nanoseconds cannot hold is never. */
	if (deadline_ns > INT64_MAX)
		deadline_ns = INT64_MAX;
	if (leeway_ns > INT64_MAX - deadline_ns)
		leeway_ns = INT64_MAX - deadline_ns;
	alarm->clock = id;
	heap_put(&clock->due, &alarm->due, deadline_ns);
	heap_put(&clock->latest, &alarm->latest, deadline_ns + leeway_ns);
	int ret = clock->latest.first == &alarm->latest ? set_ring(clock) : 0;
	if (ret < 0)
		unset(alarm);
	return ret;
}

uint64_t alarm_next_ns(void)
{
	const struct heap_node *first = clocks[ALARM_MONOTONIC].latest.first;

	return first != NULL ? first->key : 0;
}

bool alarm_is_due(void)
{
	for (unsigned i = 0; i < ALARM_CLOCKS; i++)
		if (clocks[i].due.first != NULL && clocks[i].due.first->key <= clocks[i].now())
			return true;
	return false;
}

static void fire_due(struct clock *clock)
{
	uint64_t now = clock->now();

	while (clock->due.first != NULL && clock->due.first->key <= now) {
		struct alarm *alarm = container_of(clock->due.first, struct alarm, due);
		unset(alarm);
		alarm->fire(alarm);
	}
	if (clock->fd < 0)
		return;
	int ret = set_ring(clock);
	if (ret < 0)
		log_error("a clock cannot be asked to ring any more (%d)", ret);
}

void alarm_fire_due(void)
{
	for (unsigned i = 0; i < ALARM_CLOCKS; i++)
		if (clocks[i].due.first != NULL)
			fire_due(&clocks[i]);
}
