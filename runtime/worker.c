/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The workers: leader and followers.
 *
 * Work comes as turns, which stand in one list, and as events of one epoll set, which become turns.
 * A worker takes the first turn and runs it to its end; with no turn left it polls, if no other
 * worker does; else it parks. So one thread suffices while nobody waits, and whoever takes an event
 * runs the queue it is for, with no hop to another thread.
 *
 * A worker that must wait (worker_wait, the wait for a queue, Sleep) first sees to it that another
 * one is active: a parked one is called, or a thread is made, up to WORKERS_MAX. When its wait is
 * over it simply goes on; for that moment two workers are active, and the first of them to run out
 * of turns parks. Above SPARES_MAX parked threads, the next one to park ends instead.
 *
 * Events are turned into turns by the polling thread under the lock, before any of them runs: a
 * worker that waits in the midst of its work holds no event that others need. What epoll may still
 * report is destroyed only between two polls (pool_retire).
 *
 * Alarms are a sorted list whose head is epoll's time limit: to set and to clear one costs no
 * system call. An idle pool has one thread in epoll_pwait2 without a time limit, and nothing wakes
 * it.
 */

#include <runtime/worker.h>

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/log.h>
#include <runtime/pool.h>
#include <runtime/queue.h>

enum {
	WORKERS_MAX = 64,
	SPARES_MAX = 2,
	EVENTS_PER_POLL = 16,
	TURNS_PER_POLL = 16, // busy queues keep others' events waiting no longer than this
	STACK_BYTES = 1 << 20,
};

#define NS_PER_S 1000000000ULL
/* How long a wait may last that holds up the event loop, for want of a further thread. */
#define STARVED_WAIT_NS (NS_PER_S / 10)
#define STOP_WAIT_NS    NS_PER_S
/* What is waited for without a hand-over, which costs two changes of threads. */
#define SHORT_WAIT_NS (NS_PER_S / 1000)

static struct pool {
	pthread_mutex_t lock; // guards all below
	pthread_cond_t called, ended;
	int epoll_fd, event_fd; // constant once open
	int error;              // why they could not be opened; constant
	struct list ready;      // turn.link
	struct list alarms;     // alarm.link, the earliest first
	struct list retired;    // watch.link
	unsigned threads;       // workers in all states
	unsigned active;        // neither waiting nor parked
	unsigned parked;
	unsigned calls; // parked ones that were called and are not yet awake
	bool polling;   // one is in epoll, or at its events
	bool asleep;    // it needs event_fd to notice a new turn
	bool stopping;
} pool = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.called = PTHREAD_COND_INITIALIZER,
	.ready = { &pool.ready, &pool.ready },
	.alarms = { &pool.alarms, &pool.alarms },
	.retired = { &pool.retired, &pool.retired },
	.epoll_fd = -1,
	.event_fd = -1,
};

_Thread_local struct thread_self self_thread __attribute__((tls_model("initial-exec")));

uint32_t self_id_make(void)
{
	static _Atomic uint32_t last_id;

	self_thread.id = atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) + 1;
	return self_thread.id;
}

void pool_lock(void)
{
	pthread_mutex_lock(&pool.lock);
}

void pool_unlock(void)
{
	pthread_mutex_unlock(&pool.lock);
}

/* --- the epoll set --- */

/* event_fd is edge-triggered and never read: each write to it is one event. */
static void open_once(void)
{
	pthread_condattr_t attributes;
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.ptr = NULL };

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&pool.ended, &attributes);
	pthread_condattr_destroy(&attributes);

	pool.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	pool.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pool.epoll_fd < 0 || pool.event_fd < 0 ||
	    epoll_ctl(pool.epoll_fd, EPOLL_CTL_ADD, pool.event_fd, &event) < 0)
		pool.error = -errno;
}

static int pool_open(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, open_once);
	return pool.error;
}

/* Locked. */
static void wake_sleeper(void)
{
	static const uint64_t one = 1;

	if (!pool.asleep)
		return;
	pool.asleep = false;
	if (write(pool.event_fd, &one, sizeof(one)) < 0)
		log_error("the event loop cannot be woken (%d)", errno);
}

int pool_watch(int operation, int fd, uint32_t events, struct watch *watch)
{
	struct epoll_event event = { .events = events, .data.ptr = watch };
	int ret = pool_open();

	if (ret < 0)
		return ret;
	return epoll_ctl(pool.epoll_fd, operation, fd, &event) < 0 ? -errno : 0;
}

void pool_retire(struct watch *watch)
{
	pool_lock();
	bool polling = pool.polling;
	if (polling)
		list_append(&pool.retired, &watch->link);
	pool_unlock();
	if (!polling)
		watch->destroy(watch);
}

/* --- turns and alarms --- */

void pool_schedule_locked(struct turn *turn)
{
	list_append(&pool.ready, &turn->link);
	wake_sleeper();
}

void pool_schedule(struct turn *turn)
{
	pool_lock();
	pool_schedule_locked(turn);
	pool_unlock();
}

void alarm_init(struct alarm *alarm, void (*fire)(struct alarm *alarm))
{
	list_init(&alarm->link);
	alarm->deadline_ns = 0;
	alarm->fire = fire;
}

/* Alarms mostly come in the order of their deadlines: look from the end. */
void pool_set_alarm_locked(struct alarm *alarm, uint64_t deadline_ns)
{
	struct list *after;

	list_remove(&alarm->link);
	alarm->deadline_ns = deadline_ns;
	if (deadline_ns == 0)
		return;
	for (after = pool.alarms.prev; after != &pool.alarms; after = after->prev)
		if (container_of(after, struct alarm, link)->deadline_ns <= deadline_ns)
			break;
	list_insert(after, &alarm->link);
	if (pool.alarms.next == &alarm->link)
		wake_sleeper();
}

/* Locked. */
static void fire_alarms(void)
{
	if (list_empty(&pool.alarms))
		return;
	uint64_t now = clock_now_ns();
	while (!list_empty(&pool.alarms)) {
		struct alarm *alarm = container_of(pool.alarms.next, struct alarm, link);
		if (alarm->deadline_ns > now)
			return;
		list_remove(&alarm->link);
		alarm->deadline_ns = 0;
		alarm->fire(alarm);
	}
}

/* Locked. How long to poll; NULL: without a limit. */
static const struct timespec *poll_limit(bool may_sleep, struct timespec *room)
{
	*room = (struct timespec){ 0 };
	if (!may_sleep)
		return room;
	if (list_empty(&pool.alarms))
		return NULL;
	uint64_t deadline = container_of(pool.alarms.next, struct alarm, link)->deadline_ns;
	uint64_t now = clock_now_ns();
	uint64_t left = deadline > now ? deadline - now : 0;
	room->tv_sec = (time_t)(left / NS_PER_S);
	room->tv_nsec = (long)(left % NS_PER_S);
	return room;
}

/* Locked; unlocks meanwhile. */
static void destroy_retired(void)
{
	while (!list_empty(&pool.retired)) {
		struct watch *watch = container_of(pool.retired.next, struct watch, link);
		list_remove(&watch->link);
		pool_unlock();
		watch->destroy(watch);
		pool_lock();
	}
}

/* Locked; unlocks meanwhile. Makes turns of events and alarms. What destroying set off, or another
 * thread scheduled meanwhile, is looked at again after `polling` is claimed. */
static void poll_events(void)
{
	struct epoll_event events[EVENTS_PER_POLL];
	struct timespec room;

	pool.polling = true;
	destroy_retired();
	pool.asleep = list_empty(&pool.ready) && !pool.stopping;
	const struct timespec *limit = poll_limit(pool.asleep, &room);
	pool_unlock();

	int n = epoll_pwait2(pool.epoll_fd, events, EVENTS_PER_POLL, limit, NULL);
	int error = n < 0 ? errno : 0;

	pool_lock();
	pool.asleep = false;
	if (error != 0 && error != EINTR)
		log_error("epoll_pwait2 failed (%d)", error);
	for (int i = 0; i < n; i++) {
		struct watch *watch = events[i].data.ptr;
		if (watch != NULL)
			watch->fire(watch, events[i].events);
	}
	fire_alarms();
	pool.polling = false;
}

/* --- workers --- */

/* Locked; unlocks meanwhile. */
static void take_turn(void)
{
	struct turn *turn = container_of(pool.ready.next, struct turn, link);

	list_remove(&turn->link);
	pool_unlock();
	turn->run(turn);
	pool_lock();
}

/* Locked; unlocks meanwhile. False: this thread is not needed and may end. */
static bool park(bool may_end)
{
	pool.active--;
	if (may_end && pool.parked >= SPARES_MAX)
		return false;
	pool.parked++;
	while (pool.calls == 0 && !pool.stopping)
		pthread_cond_wait(&pool.called, &pool.lock);
	pool.parked--;
	if (pool.calls > 0)
		pool.calls--; // whoever called has counted it as active
	else
		pool.active++;
	return true;
}

/* Locked. `may_end`: the thread is one of ours. */
static void work(bool may_end)
{
	unsigned turns = 0; // since this worker polled

	while (!pool.stopping) {
		bool is_ready = !list_empty(&pool.ready);
		if (!pool.polling && (!is_ready || turns >= TURNS_PER_POLL)) {
			poll_events();
			turns = 0;
		} else if (is_ready) {
			take_turn();
			turns++;
		} else if (!park(may_end)) {
			return;
		}
	}
	pool.active--;
}

static void *follow(void *unused)
{
	(void)unused;
	self_thread.is_worker = true;
	pool_lock();
	work(true);
	pool.threads--;
	pthread_cond_broadcast(&pool.ended);
	pool_unlock();
	return NULL;
}

static int make_follower(void)
{
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	int ret = pthread_create(&thread, &attributes, follow, NULL);
	pthread_attr_destroy(&attributes);
	return -ret;
}

/* Locked; unlocks meanwhile. Make another worker active. */
static int call_another(void)
{
	pool.active++;
	if (pool.parked > pool.calls) {
		pool.calls++;
		pthread_cond_signal(&pool.called);
		return 0;
	}
	int ret = -EAGAIN;
	if (pool.threads < WORKERS_MAX) {
		pool.threads++;
		pool_unlock();
		ret = make_follower();
		pool_lock();
		if (ret == 0)
			return 0;
		pool.threads--;
	}
	pool.active--;
	return -EAGAIN;
}

int pool_begin_wait(void)
{
	int ret = 0;

	if (!self_thread.is_worker)
		return 0;
	pool_lock();
	pool.active--;
	if (pool.active == 0 && !pool.stopping)
		ret = call_another();
	if (ret < 0)
		pool.active++;
	unsigned threads = pool.threads;
	pool_unlock();
	if (ret < 0)
		log_warn("%u workers wait and no further one can be had", threads);
	return ret;
}

void pool_end_wait(void)
{
	if (!self_thread.is_worker)
		return;
	pool_lock();
	pool.active++;
	pool_unlock();
}

/* Locked; unlocks meanwhile. Workers in the midst of driver code may never come back. */
static int join_others(void)
{
	uint64_t deadline = clock_now_ns() + STOP_WAIT_NS;
	struct timespec limit = {
		.tv_sec = (time_t)(deadline / NS_PER_S),
		.tv_nsec = (long)(deadline % NS_PER_S),
	};
	while (pool.threads > 0)
		if (pthread_cond_timedwait(&pool.ended, &pool.lock, &limit) == ETIMEDOUT)
			return -EBUSY;
	return 0;
}

int worker_run(void)
{
	int ret = pool_open();

	if (ret < 0)
		return ret;
	pool_lock();
	self_thread.is_worker = true;
	pool.threads++;
	pool.active++;
	work(false);
	self_thread.is_worker = false;
	pool.threads--;
	ret = join_others();
	if (ret == 0)
		pool.stopping = false;
	destroy_retired();
	pool_unlock();
	return ret;
}

void worker_stop(void)
{
	pool_lock();
	pool.stopping = true;
	pthread_cond_broadcast(&pool.called);
	wake_sleeper();
	pool_unlock();
}

/* --- waiting --- */

int futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t deadline_ns)
{
	struct timespec limit = {
		.tv_sec = (time_t)(deadline_ns / NS_PER_S),
		.tv_nsec = (long)(deadline_ns % NS_PER_S),
	};
	while (atomic_load_explicit(word, memory_order_acquire) == value)
		if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, value,
			    deadline_ns != 0 ? &limit : NULL, NULL, FUTEX_BITSET_MATCH_ANY) < 0 &&
		    errno == ETIMEDOUT)
			return -ETIMEDOUT;
	return 0;
}

int worker_wait(_Atomic uint32_t *word, uint32_t value, uint64_t deadline_ns)
{
	if (atomic_load_explicit(word, memory_order_acquire) != value)
		return 0;
	if (pool_begin_wait() < 0) {
		uint64_t limit = clock_now_ns() + STARVED_WAIT_NS;
		if (deadline_ns == 0 || deadline_ns > limit)
			deadline_ns = limit;
		return futex_wait(word, value, deadline_ns);
	}
	int ret = futex_wait(word, value, deadline_ns);
	pool_end_wait();
	return ret;
}

/* One poll of at most `ns`, rounded up. Ready events, 0 or negative errno. */
static int poll_for(int fd, short events, uint64_t ns)
{
	struct pollfd descriptor = { .fd = fd, .events = events };
	struct timespec limit = {
		.tv_sec = (time_t)(ns / NS_PER_S),
		.tv_nsec = (long)(ns % NS_PER_S),
	};
	int n = ppoll(&descriptor, 1, &limit, NULL);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	return n > 0 ? descriptor.revents : 0;
}

static uint64_t time_left(uint64_t deadline_ns)
{
	uint64_t now = clock_now_ns();

	return deadline_ns > now ? deadline_ns - now : 0;
}

int worker_poll(int fd, short events, uint64_t deadline_ns)
{
	uint64_t left = time_left(deadline_ns);
	int ret = poll_for(fd, events, left < SHORT_WAIT_NS ? left : SHORT_WAIT_NS);

	if (ret != 0 || time_left(deadline_ns) == 0)
		return ret;
	ret = pool_begin_wait();
	if (ret < 0)
		return ret;
	do {
		left = time_left(deadline_ns);
		ret = poll_for(fd, events, left);
	} while (ret == 0 && left > 0);
	pool_end_wait();
	return ret;
}

void worker_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}
