/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Who waits for which queue.
 *
 * Every waiting thread is in `waits`, every held queue names its holder, so whoever comes last into
 * a circle sees all of it. It is refused, and prints the circle: each thread in it, what it waits
 * for, and where.
 *
 * To walk a stack costs more than most waits, so a thread sleeps first, and notes its stack when
 * that has lasted LASTING_NS. Whoever prints a circle waits for those in it to have done so: they
 * stay, for they wait for a queue that the printing thread holds.
 */

#include <runtime/wait.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include <DriverKit/IODispatchQueue.h>
#include <base/clock.h>
#include <base/log.h>
#include <base/reason.h>
#include <runtime/sharing.h>

#define LASTING_NS 1000000ULL
/* How long a report waits for a stack, at most; and at most one circle is printed in this time. */
#define STACKS_WAIT_NS     200000000ULL
#define REPORT_INTERVAL_NS 1000000000ULL
#define NS_PER_S           1000000000ULL

enum {
	DEEPEST = 32,    // queues in a circle
	STEPS_MAX = 512, // threads looked at: a holder that is just changing may mislead
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list waits = { &waits, &waits };    // wait.link; guarded by lock
static struct list queues = { &queues, &queues }; // IVars.link; guarded by lock
static uint64_t last_report_ns;                   // guarded by lock; 0: none yet
static pthread_cond_t noted;                      // a stack was; CLOCK_MONOTONIC
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void set_up(void)
{
	pthread_condattr_t attributes;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&noted, &attributes);
	pthread_condattr_destroy(&attributes);
}

/* --- circles; all with the lock held --- */

static struct wait *wait_of(uint32_t thread)
{
	struct wait *wait;

	list_for_each(wait, &waits, link)
		if (wait->thread == thread)
			return wait;
	return NULL;
}

struct search {
	struct wait *path[DEEPEST]; // from whoever holds what the caller wants, to the caller's
	int depth;
	int steps;
};

static bool is_circle(struct search *search, struct IODispatchQueue_IVars *q);

/* Does `thread` wait, however indirectly, for the calling one? */
static bool leads_here(struct search *search, uint32_t thread)
{
	if (thread == self_id())
		return true;
	struct wait *wait = thread != 0 ? wait_of(thread) : NULL;
	if (wait == NULL || search->depth == DEEPEST || ++search->steps > STEPS_MAX)
		return false;
	search->path[search->depth++] = wait;
	if (is_circle(search, wait->queue))
		return true;
	search->depth--;
	return false;
}

static bool is_circle(struct search *search, struct IODispatchQueue_IVars *q)
{
	uint32_t threads[SHARING_THREADS_MAX];

	if (leads_here(search, atomic_load_explicit(&q->holder, memory_order_relaxed)))
		return true;
	unsigned n = q->sharing != NULL ? sharing_threads(q->sharing, threads) : 0;
	for (unsigned i = 0; i < n; i++)
		if (leads_here(search, threads[i]))
			return true;
	return false;
}

/* --- reports --- */

static bool all_known(const struct search *search)
{
	for (int i = 0; i < search->depth; i++)
		if (!search->path[i]->is_known)
			return false;
	return true;
}

static void print_wait(uint32_t thread, const struct IODispatchQueue_IVars *q, const char *whose,
		       const struct stack *stack)
{
	char text[STACK_TEXT - 256]; // of the line that a log takes

	stack_print(text, sizeof(text), stack);
	log_error("    thread %u waits for queue \"%s\", which %s holds, at %s", thread, q->name,
		  whose, text);
}

/* Locked; unlocks meanwhile. Print the circle that the calling thread was about to close, when all
 * in it have noted where they are. */
static void report_circle(struct IODispatchQueue_IVars *q, const struct stack *here)
{
	uint64_t deadline = clock_now_ns() + STACKS_WAIT_NS;
	struct timespec limit = {
		.tv_sec = (time_t)(deadline / NS_PER_S),
		.tv_nsec = (long)(deadline % NS_PER_S),
	};
	struct search search = { 0 };

	while (is_circle(&search, q) && !all_known(&search)) {
		if (pthread_cond_timedwait(&noted, &lock, &limit) == ETIMEDOUT)
			break;
		search = (struct search){ 0 };
	}
	search = (struct search){ 0 };
	if (!is_circle(&search, q))
		return;
	log_error("deadlock: %d threads wait for queues in a circle; the last to come is refused",
		  search.depth + 1);
	print_wait(self_id(), q, "the next one", here);
	for (int i = 0; i < search.depth; i++)
		print_wait(search.path[i]->thread, search.path[i]->queue,
			   i + 1 < search.depth ? "the next one" : "the first one",
			   &search.path[i]->stack);
}

/* --- waiting --- */

int wait_begin(struct wait *wait, struct IODispatchQueue_IVars *q, bool check)
{
	struct search search = { 0 };
	int ret = 0;

	wait->thread = self_id();
	wait->queue = q;
	wait->is_known = false;
	list_init(&wait->link);
	pthread_mutex_lock(&lock);
	if (check && is_circle(&search, q)) {
		ret = -EDEADLK;
		uint64_t now = clock_now_ns();
		if (last_report_ns == 0 || now - last_report_ns >= REPORT_INTERVAL_NS) {
			last_report_ns = now;
			pthread_once(&once, set_up);
			stack_take(&wait->stack, __builtin_return_address(0));
			report_circle(q, &wait->stack);
		}
	} else {
		list_append(&waits, &wait->link);
	}
	pthread_mutex_unlock(&lock);
	return ret;
}

void wait_end(struct wait *wait)
{
	pthread_mutex_lock(&lock);
	list_remove(&wait->link);
	pthread_mutex_unlock(&lock);
}

static void note_stack(struct wait *wait, const void *caller)
{
	struct stack stack;

	stack_take(&stack, caller);
	pthread_once(&once, set_up);
	pthread_mutex_lock(&lock);
	wait->stack = stack;
	wait->is_known = true;
	pthread_cond_broadcast(&noted);
	pthread_mutex_unlock(&lock);
}

int wait_sleep(struct wait *wait, _Atomic uint32_t *word, uint64_t deadline_ns)
{
	uint64_t lasting = clock_now_ns() + LASTING_NS;

	if (deadline_ns != 0 && deadline_ns <= lasting)
		return futex_wait(word, 0, deadline_ns);
	if (futex_wait(word, 0, lasting) == 0)
		return 0;
	note_stack(wait, __builtin_return_address(0));
	return futex_wait(word, 0, deadline_ns);
}

/* --- all queues --- */

void queues_add(struct IODispatchQueue_IVars *q)
{
	pthread_mutex_lock(&lock);
	list_append(&queues, &q->link);
	pthread_mutex_unlock(&lock);
}

void queues_remove(struct IODispatchQueue_IVars *q)
{
	pthread_mutex_lock(&lock);
	list_remove(&q->link);
	pthread_mutex_unlock(&lock);
}

static void show_queue(IODispatchLogFunction output, struct IODispatchQueue_IVars *q)
{
	uintptr_t top = atomic_load_explicit(&q->top, memory_order_relaxed);
	uint32_t holder = atomic_load_explicit(&q->holder, memory_order_relaxed);
	const struct wait *wait;
	char text[STACK_TEXT];

	if (holder != 0)
		output("queue \"%s\": thread %u is on it%s\n", q->name, holder,
		       (top & CANCELLED) != 0 ? ", cancelled" : "");
	else
		output("queue \"%s\": %s%s\n", q->name, (top & HELD) != 0 ? "has work" : "idle",
		       (top & CANCELLED) != 0 ? ", cancelled" : "");
	list_for_each(wait, &waits, link) {
		if (wait->queue != q)
			continue;
		if (wait->is_known)
			stack_print(text, sizeof(text), &wait->stack);
		output("    thread %u waits for it, at %s\n", wait->thread,
		       wait->is_known ? text : "a place that it has just reached");
	}
}

kern_return_t IODispatchQueue_Log(const char *message, IODispatchLogFunction output)
{
	struct IODispatchQueue_IVars *q;

	if (output == NULL)
		return refuse(kIOReturnBadArgument, "Log: no function to print with");
	if (message != NULL)
		output("%s\n", message);
	pthread_mutex_lock(&lock);
	list_for_each(q, &queues, link)
		show_queue(output, q);
	pthread_mutex_unlock(&lock);
	return kIOReturnSuccess;
}
