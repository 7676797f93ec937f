/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The workers. A worker is an event loop (loop.c) and the threads that run it in turn: a leader and
 * its followers.
 *
 * A thread takes the loop's first turn and runs it to its end; with no turn left it polls, if no
 * other thread of the loop does; else it parks. So one thread suffices while nobody waits.
 *
 * A thread that must wait (worker_wait, the wait for a queue, Sleep) first sees to it that another
 * one of its loop is active: a parked one is called, or one is made, up to THREADS_MAX. When its
 * wait is over it simply goes on; for that moment two are active, and the first of them to run out
 * of turns parks. Above SPARES_MAX parked threads, the next one to park ends instead.
 *
 * A process begins with one worker, main's, and has a further one as soon as something is to be
 * watched there (pool_start): where that is decided by the CPU of whoever wakes it, each worker
 * stays near those that it works for, and a wake-up need not cross CPUs. A loop takes no work from
 * another one.
 */

#include <runtime/worker.h>

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/log.h>
#include <runtime/loop.h>
#include <runtime/queue.h>

enum {
	THREADS_MAX = 64, // of one loop
	SPARES_MAX = 2,
	STACK_BYTES = 1 << 20,
};

#define NS_PER_S 1000000000ULL
/* Busy queues keep others' events waiting for twice these turns, or, where they are short, for
 * little more than this time. */
enum { TURNS_PER_LOOK = 2 };
#define LONGEST_UNPOLLED_NS 10000
/* How long a wait may last that holds up the event loop, for want of a further thread. */
#define STARVED_WAIT_NS (NS_PER_S / 10)
#define STOP_WAIT_NS    NS_PER_S
/* What is waited for without a hand-over, which costs two changes of threads. */
#define SHORT_WAIT_NS (NS_PER_S / 1000)

_Thread_local struct thread_self self_thread __attribute__((tls_model("initial-exec")));

uint32_t self_id_make(void)
{
	static _Atomic uint32_t last_id;

	self_thread.id = atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) + 1;
	return self_thread.id;
}

/* --- threads --- */

/* Locked; unlocks meanwhile. False: this thread is not needed and may end. */
static bool park(struct loop *loop, bool may_end)
{
	loop->active--;
	if (may_end && loop->parked >= SPARES_MAX)
		return false;
	loop->parked++;
	while (loop->calls == 0 && !loop->stopping)
		pthread_cond_wait(&loop->called, &loop->lock);
	loop->parked--;
	if (loop->calls > 0)
		loop->calls--; // whoever called has counted it as active
	else
		loop->active++;
	return true;
}

/* What a thread did since it polled. */
struct stretch {
	unsigned turns;
	uint64_t since_ns; // 0: the clock was not looked at yet
};

/* A poll costs as much as some ten short pieces of work, the clock a fraction of that. */
static bool is_long(struct stretch *stretch)
{
	if (stretch->turns < TURNS_PER_LOOK)
		return false;
	uint64_t now = clock_now_ns();
	if (stretch->since_ns == 0)
		stretch->since_ns = now;
	else if (now - stretch->since_ns >= LONGEST_UNPOLLED_NS)
		return true;
	stretch->turns = 0;
	return false;
}

/* Locked. `may_end`: the thread is one of ours. */
static void work(struct loop *loop, bool may_end)
{
	struct stretch stretch = { 0 };

	while (!loop->stopping) {
		bool is_ready = !list_empty(&loop->ready);
		if (!loop->polling && (!is_ready || is_long(&stretch))) {
			loop_poll(loop);
			stretch = (struct stretch){ 0 };
		} else if (is_ready) {
			loop_take_turn(loop);
			stretch.turns++;
		} else if (!park(loop, may_end)) {
			return;
		}
	}
	loop->active--;
}

static void *follow(void *context)
{
	struct loop *loop = context;

	self_thread.loop = loop;
	loop_lock(loop);
	work(loop, true);
	loop->threads--;
	pthread_cond_broadcast(&loop->ended);
	loop_unlock(loop);
	return NULL;
}

static int make_thread(struct loop *loop)
{
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	int ret = pthread_create(&thread, &attributes, follow, loop);
	pthread_attr_destroy(&attributes);
	return -ret;
}

/* Locked; unlocks meanwhile. A further active thread. */
static int add_thread(struct loop *loop)
{
	int ret = -EAGAIN;

	loop->active++;
	if (loop->threads < THREADS_MAX) {
		loop->threads++;
		loop_unlock(loop);
		ret = make_thread(loop);
		loop_lock(loop);
		if (ret == 0)
			return 0;
		loop->threads--;
	}
	loop->active--;
	return ret;
}

/* Locked; unlocks meanwhile. Make another thread active. */
static int call_another(struct loop *loop)
{
	if (loop->parked == loop->calls)
		return add_thread(loop);
	loop->active++;
	loop->calls++;
	pthread_cond_signal(&loop->called);
	return 0;
}

int pool_begin_wait(void)
{
	struct loop *loop = self_thread.loop;
	int ret = 0;

	if (loop == NULL)
		return 0;
	loop_lock(loop);
	loop->active--;
	if (loop->active == 0 && !loop->stopping)
		ret = call_another(loop);
	if (ret < 0)
		loop->active++;
	unsigned threads = loop->threads;
	loop_unlock(loop);
	if (ret < 0)
		log_warn("%u threads wait and no further one can be had (%d)", threads, ret);
	return ret < 0 ? -EAGAIN : 0;
}

void pool_end_wait(void)
{
	struct loop *loop = self_thread.loop;

	if (loop == NULL)
		return;
	loop_lock(loop);
	loop->active++;
	loop_unlock(loop);
}

struct loop *pool_step_out(void)
{
	struct loop *loop = self_thread.loop;

	if (loop == NULL || pool_begin_wait() < 0)
		return NULL;
	self_thread.loop = NULL;
	return loop;
}

void pool_step_in(struct loop *loop)
{
	if (loop == NULL)
		return;
	self_thread.loop = loop;
	pool_end_wait();
}

/* --- workers --- */

/* Those of the machine may be more than fit the set: then there are enough. */
static unsigned count_cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return WORKERS_MAX;
	return (unsigned)CPU_COUNT(&set);
}

unsigned worker_limit(void)
{
	static _Atomic unsigned limit;
	unsigned known = atomic_load_explicit(&limit, memory_order_relaxed);

	if (known == 0) {
		known = count_cpus();
		if (known > WORKERS_MAX)
			known = WORKERS_MAX;
		if (known < 1)
			known = 1;
		atomic_store_explicit(&limit, known, memory_order_relaxed);
	}
	return known;
}

/* The first worker's threads are those that call worker_run. */
int pool_start(unsigned worker, struct loop **out)
{
	struct loop *loop = &loops[worker % worker_limit()];
	int ret = loop_open(loop);

	if (ret < 0)
		return ret;
	loop_lock(loop);
	loop->started = true;
	if (loop != loop_first() && loop->threads == 0 && !loop->stopping)
		ret = add_thread(loop);
	loop_unlock(loop);
	*out = loop;
	return ret;
}

/* A pool that was stopped runs again, with as many workers as it had. */
static int start_all(void)
{
	struct loop *loop;
	int ret = loop_open(loop_first());

	for (unsigned i = 1; i < worker_limit() && ret == 0; i++)
		if (loops[i].started)
			ret = pool_start(i, &loop);
	return ret;
}

/* Locked; unlocks meanwhile. Threads in the midst of driver code may never come back. */
static int join(struct loop *loop, const struct timespec *limit)
{
	while (loop->threads > 0)
		if (pthread_cond_timedwait(&loop->ended, &loop->lock, limit) == ETIMEDOUT)
			return -EBUSY;
	loop->stopping = false;
	loop_destroy_retired(loop);
	return 0;
}

static int join_all(void)
{
	uint64_t deadline = clock_now_ns() + STOP_WAIT_NS;
	struct timespec limit = {
		.tv_sec = (time_t)(deadline / NS_PER_S),
		.tv_nsec = (long)(deadline % NS_PER_S),
	};
	int ret = 0;

	for (int i = 0; i < WORKERS_MAX; i++) {
		loop_lock(&loops[i]);
		if (join(&loops[i], &limit) < 0)
			ret = -EBUSY;
		loop_unlock(&loops[i]);
	}
	return ret;
}

bool worker_is_wanted(void)
{
	return self_thread.loop != NULL && loop_is_wanted(self_thread.loop);
}

int worker_run(void)
{
	struct loop *loop = loop_first();
	int ret = start_all();

	if (ret < 0)
		return ret;
	loop_lock(loop);
	self_thread.loop = loop;
	loop->threads++;
	loop->active++;
	work(loop, false);
	self_thread.loop = NULL;
	loop->threads--;
	pthread_cond_broadcast(&loop->ended);
	loop_unlock(loop);
	return join_all();
}

void worker_stop(void)
{
	loop_first();
	for (int i = 0; i < WORKERS_MAX; i++) {
		loop_lock(&loops[i]);
		loops[i].stopping = true;
		pthread_cond_broadcast(&loops[i].called);
		loop_wake(&loops[i]);
		loop_unlock(&loops[i]);
	}
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
