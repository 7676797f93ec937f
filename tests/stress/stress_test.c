// SPDX-License-Identifier: Apache-2.0
/*
 * Many threads call over few connections while the driver is killed again and again.
 *
 * Every call carries numbers that no other call carries, and its answer is held against them: an
 * answer that went to another call, or was made of two, shows. Every asynchronous call that was
 * accepted completes exactly once. Connections outlive the drivers: no thread opens one because a
 * driver died. A call is answered, or aborted because its driver died while it executed it; one of
 * an idempotent method is answered. Nothing else is allowed, a time limit least of all. Now and
 * then a connection is closed while other threads call over it, and opened anew: then, and only
 * then, their calls end with it.
 *
 * What ends a driver is spaced by answered calls, not by time: SIGKILL, and each third time a
 * restart by dextctl, which also keeps dextd from giving the driver up.
 *
 * Seeded: STRESS_SEED repeats the choices, though not the order in which threads run. STRESS_CALLS
 * is how many calls are to be answered.
 */

#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/clock.h>

#include "rig.h"
#include "victim.h"

enum {
	THREADS = 40, // more than a connection has slots
	LINES = 4,
	WORDS_MAX = 8192, // of a structure
	ASYNC_VALUES = 3, // from three on the callback has one form
	IDEMPOTENT = 350, // calls of a thousand
	PATIENCE_MS = 20000,
};

/* A place where threads find a connection. */
struct line {
	pthread_mutex_t lock;
	io_connect_t connect; // lock
	uint64_t generation;  // lock: how often it was opened
};

struct tally {
	uint64_t answered, ended; // calls; ended: because the connection was closed
	uint64_t died;            // calls: their driver did
	uint64_t completed, aborted;
	uint64_t opened, refused; // connections; refused: the driver was just away
};

struct worker {
	pthread_t thread;
	uint32_t number;
	uint64_t random, sequence;
	uint64_t structures[2 * WORDS_MAX];
	IONotificationPortRef port;
	struct tally tally;
};

static struct rig rig;
static struct line lines[LINES];
static struct worker workers[THREADS];
static uint64_t seed, wanted;
static _Atomic uint64_t answered;

static pthread_mutex_t progress_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t progress = PTHREAD_COND_INITIALIZER;
static _Atomic uint64_t milestone; // progress_lock to write: when the killer wants to be woken

/* --- numbers --- */

static uint64_t env_number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);
	return text != NULL ? strtoull(text, NULL, 0) : otherwise;
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
	return x ^ (x >> 31);
}

static uint32_t draw(uint64_t *random, uint32_t below)
{
	*random += 0x9e3779b97f4a7c15U;
	return (uint32_t)(mix(*random) % below);
}

/* Word `i` of a call that no other call has. */
static uint64_t word(const struct worker *w, uint32_t i)
{
	return mix((uint64_t)w->number << 56 | w->sequence << 8 | i) ^ seed;
}

/* What is asked for each call: ck_assert would write to a file each time. */
#define must(condition, ...)                       \
	do {                                       \
		if (!(condition))                  \
			ck_abort_msg(__VA_ARGS__); \
	} while (0)

/* --- connections --- */

static bool is_end(kern_return_t ret)
{
	return ret == kIOReturnAborted || ret == kIOReturnOffline;
}

/* With the lock held. A driver that is about to be replaced refuses; its successor comes. */
static void open_line(struct worker *w, struct line *line)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	for (;;) {
		io_service_t service = rig_wait_service("Victim");
		kern_return_t ret = IOServiceOpen(service, mach_task_self(), 0, &line->connect);
		IOObjectRelease(service);
		if (ret == kIOReturnSuccess)
			break;
		ck_assert_msg(is_end(ret) || ret == kIOReturnNotReady || ret == kIOReturnNotFound,
			      "open: %s: %s", IOReturnString(ret), dext_last_reason());
		ck_assert_msg(clock_now_ns() < deadline, "no driver within %d ms: %s", PATIENCE_MS,
			      dext_last_reason());
		w->tally.refused++;
	}
	line->generation++;
	w->tally.opened++;
}

static io_connect_t get_line(struct line *line, uint64_t *generation)
{
	pthread_mutex_lock(&line->lock);
	io_connect_t connect = line->connect;
	*generation = line->generation;
	pthread_mutex_unlock(&line->lock);
	return connect;
}

/* Others may be calling over it. */
static void renew_line(struct worker *w, struct line *line, uint64_t generation)
{
	pthread_mutex_lock(&line->lock);
	if (line->generation == generation) {
		ck_assert_int_eq(IOServiceClose(line->connect), kIOReturnSuccess);
		open_line(w, line);
	}
	pthread_mutex_unlock(&line->lock);
}

static bool was_renewed(struct line *line, uint64_t generation)
{
	uint64_t now;
	get_line(line, &now);
	return now != generation;
}

/* --- calls --- */

static kern_return_t call_scalars(struct worker *w, io_connect_t connect, uint32_t selector)
{
	uint64_t in[16], out[16] = { 0 };
	uint32_t n = 1 + draw(&w->random, 16), count = 16;
	for (uint32_t i = 0; i < n; i++)
		in[i] = word(w, i);
	kern_return_t ret = IOConnectCallScalarMethod(connect, selector, in, n, out, &count);
	if (ret == kIOReturnSuccess)
		must(count == n && memcmp(out, in, n * sizeof(in[0])) == 0,
		     "call %llu of thread %u got another answer", (unsigned long long)w->sequence,
		     w->number);
	return ret;
}

static kern_return_t call_structure(struct worker *w, io_connect_t connect)
{
	uint64_t *in = w->structures, *out = w->structures + WORDS_MAX;
	bool large = draw(&w->random, 8) == 0;
	size_t size = 8 * (1 + draw(&w->random, large ? WORDS_MAX : 512)), got = size;
	for (uint32_t i = 0; i < size / 8; i++)
		in[i] = word(w, i);
	kern_return_t ret = IOConnectCallStructMethod(connect, VICTIM_INVERT, in, size, out, &got);
	if (ret != kIOReturnSuccess)
		return ret;
	must(got == size, "%zu bytes came back, not %zu", got, size);
	for (uint32_t i = 0; i < size / 8; i++)
		must(out[i] == ~in[i], "call %llu of thread %u got another structure, from word %u",
		     (unsigned long long)w->sequence, w->number, i);
	return ret;
}

struct completion {
	int times;
	IOReturn result;
	uint64_t values[ASYNC_VALUES];
};

static void on_completion(void *refcon, IOReturn result, void **values, uint32_t n)
{
	struct completion *c = refcon;
	c->times++;
	c->result = result;
	if (result != kIOReturnSuccess)
		return; // then there are no further arguments
	for (uint32_t i = 0; i < n && i < ASYNC_VALUES; i++)
		c->values[i] = (uint64_t)(uintptr_t)values[i];
}

static void await_completion(struct worker *w, const struct completion *c)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	struct pollfd p = { .fd = dext_notification_port_get_fd(w->port), .events = POLLIN };
	while (c->times == 0) {
		poll(&p, 1, PATIENCE_MS);
		dext_notification_port_dispatch(w->port);
		must(c->times != 0 || clock_now_ns() < deadline, "no completion within %d ms",
		     PATIENCE_MS);
	}
	must(c->times == 1, "%d completions of one call", c->times);
	if (c->result != kIOReturnSuccess) {
		must(is_end(c->result), "%s", IOReturnString(c->result));
		w->tally.aborted++;
		return;
	}
	for (uint32_t i = 0; i < ASYNC_VALUES; i++)
		must(c->values[i] == i + 1, "a completion with other values");
	w->tally.completed++;
}

static kern_return_t call_async(struct worker *w, io_connect_t connect)
{
	struct completion c = { 0 };
	const uint64_t n = ASYNC_VALUES;
	uint64_t reference[kIOAsyncCalloutCount] = {
		[kIOAsyncCalloutFuncIndex] = (uint64_t)(uintptr_t)on_completion,
		[kIOAsyncCalloutRefconIndex] = (uint64_t)(uintptr_t)&c,
	};
	kern_return_t ret = IOConnectCallAsyncScalarMethod(
		connect, VICTIM_COMPLETE, IONotificationPortGetMachPort(w->port), reference,
		kIOAsyncCalloutCount, &n, 1, NULL, NULL);
	if (ret == kIOReturnSuccess)
		await_completion(w, &c);
	must(c.times == (ret == kIOReturnSuccess), "a refused call completed");
	return ret;
}

static void count_answer(struct worker *w)
{
	w->tally.answered++;
	uint64_t n = 1 + atomic_fetch_add(&answered, 1);
	if (n != atomic_load(&milestone))
		return;
	pthread_mutex_lock(&progress_lock);
	pthread_cond_signal(&progress);
	pthread_mutex_unlock(&progress_lock);
}

/* One call, of any kind, over any line; half of all over the first. */
static void call_once(struct worker *w)
{
	uint32_t choice = draw(&w->random, 1000), index = draw(&w->random, 2 * LINES);
	struct line *line = &lines[index < LINES ? index : 0];
	uint64_t generation;
	io_connect_t connect = get_line(line, &generation);
	w->sequence++;

	kern_return_t ret;
	if (choice < 700)
		ret = call_scalars(w, connect,
				   choice < IDEMPOTENT ? VICTIM_ECHO_AGAIN : VICTIM_ECHO);
	else if (choice < 900)
		ret = call_structure(w, connect);
	else
		ret = call_async(w, connect);
	if (ret == kIOReturnSuccess) {
		count_answer(w);
		if (choice == 0)
			renew_line(w, line, generation);
		return;
	}
	if (ret == kIOReturnAborted && strstr(dext_last_reason(), "the driver died") != NULL) {
		must(choice >= IDEMPOTENT, "an idempotent call was aborted: %s",
		     dext_last_reason());
		w->tally.died++;
		return;
	}
	w->tally.ended++;
	ck_assert_msg((is_end(ret) || ret == kIOReturnBadArgument) && was_renewed(line, generation),
		      "call %llu of thread %u: %s: %s", (unsigned long long)w->sequence, w->number,
		      IOReturnString(ret), dext_last_reason());
}

static void *work(void *context)
{
	struct worker *w = context;
	while (atomic_load(&answered) < wanted)
		call_once(w);
	return NULL;
}

/* --- deaths --- */

static void await_answers(uint64_t n)
{
	pthread_mutex_lock(&progress_lock);
	atomic_store(&milestone, n);
	struct timespec until;
	while (atomic_load(&answered) < n) {
		uint64_t before = atomic_load(&answered);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += PATIENCE_MS / 1000;
		pthread_cond_timedwait(&progress, &progress_lock, &until);
		ck_assert_msg(atomic_load(&answered) > before, "no call was answered for %d ms",
			      PATIENCE_MS);
	}
	pthread_mutex_unlock(&progress_lock);
}

/* Returns whether a driver was there to be killed. */
static bool kill_driver(pid_t *last)
{
	io_service_t service = rig_wait_service("Victim");
	pid_t pid = (pid_t)rig_number(service, "OpenDextProcess");
	IOObjectRelease(service);
	if (pid <= 0 || pid == *last) // dextd has not seen yet that it is dead
		return false;
	*last = pid;
	return kill(pid, SIGKILL) == 0;
}

/* End drivers until all is done. */
static uint32_t end_drivers(uint64_t *random)
{
	io_service_t service = rig_wait_service("Victim");
	char id[32];
	uint64_t number;
	ck_assert_int_eq(IORegistryEntryGetRegistryEntryID(service, &number), kIOReturnSuccess);
	snprintf(id, sizeof(id), "%llu", (unsigned long long)number);
	IOObjectRelease(service);

	const uint32_t mean = wanted < 400000 ? (uint32_t)(wanted / 12) + 1 : 20000;
	uint32_t n_killed = 0;
	pid_t last = 0;
	uint64_t next = 0;
	for (uint32_t round = 0;; round++) {
		next = atomic_load(&answered) + 1 + draw(random, 2 * mean);
		if (next >= wanted)
			break;
		await_answers(next);
		n_killed += kill_driver(&last);
		if (round % 3 == 2)
			rig_control("restart", id);
	}
	await_answers(wanted);
	return n_killed;
}

/* --- the end --- */

/* A close is told, not asked: what it frees is freed soon. Each look asks dextd something. */
static void await_fds_of(pid_t pid, int n, const char *who)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	int now;
	while ((now = rig_count_fds(pid)) > n) {
		ck_assert_msg(clock_now_ns() < deadline, "%s had %d descriptors and has %d", who, n,
			      now);
		IOObjectRelease(rig_wait_service("Victim"));
	}
}

static pid_t driver_process(void)
{
	io_service_t service = rig_wait_service("Victim");
	pid_t pid = (pid_t)rig_number(service, "OpenDextProcess");
	IOObjectRelease(service);
	ck_assert_int_gt(pid, 0);
	return pid;
}

/* The driver gives back what connections cost. */
static void check_driver_keeps_nothing(void)
{
	static struct worker w;
	struct line line = { .lock = PTHREAD_MUTEX_INITIALIZER };
	int before = 0;
	pid_t pid = driver_process();
	for (int i = 0; i < 32; i++) {
		open_line(&w, &line);
		ck_assert_int_eq(call_scalars(&w, line.connect, VICTIM_ECHO), kIOReturnSuccess);
		ck_assert_int_eq(IOServiceClose(line.connect), kIOReturnSuccess);
		if (i == 0)
			before = rig_count_fds(pid);
	}
	await_fds_of(pid, before, "the driver");
	ck_assert_int_eq(driver_process(), pid);
}

static void start_workers(void)
{
	for (uint32_t i = 0; i < LINES; i++) {
		pthread_mutex_init(&lines[i].lock, NULL);
		open_line(&workers[0], &lines[i]);
	}
	for (uint32_t i = 0; i < THREADS; i++) {
		workers[i].number = i + 1;
		workers[i].random = mix(seed + i);
		workers[i].port = IONotificationPortCreate(kIOMainPortDefault);
		ck_assert_ptr_nonnull(workers[i].port);
	}
	for (uint32_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
}

static struct tally stop_workers(void)
{
	struct tally sum = { 0 };
	for (uint32_t i = 0; i < THREADS; i++) {
		ck_assert_int_eq(pthread_join(workers[i].thread, NULL), 0);
		IONotificationPortDestroy(workers[i].port);
		const struct tally *t = &workers[i].tally;
		sum.answered += t->answered;
		sum.ended += t->ended;
		sum.died += t->died;
		sum.completed += t->completed;
		sum.aborted += t->aborted;
		sum.opened += t->opened;
		sum.refused += t->refused;
	}
	for (uint32_t i = 0; i < LINES; i++)
		ck_assert_int_eq(IOServiceClose(lines[i].connect), kIOReturnSuccess);
	return sum;
}

static const char *const virtual_only[] = { "--no-real", NULL };

START_TEST(every_answer_matches_its_call_while_drivers_die)
{
	wanted = env_number("STRESS_CALLS", 100000);
	seed = env_number("STRESS_SEED", clock_now_ns());
	printf("# STRESS_SEED=%llu STRESS_CALLS=%llu\n", (unsigned long long)seed,
	       (unsigned long long)wanted);
	fflush(stdout);
	rig_start(&rig, NULL, virtual_only);
	IOObjectRelease(rig_wait_service("Victim"));
	int dextd_fds = rig_count_fds(rig.dextd);

	uint64_t random = seed, begun = clock_now_ns();
	start_workers();
	uint32_t n_killed = end_drivers(&random);
	struct tally sum = stop_workers();
	double seconds = (double)(clock_now_ns() - begun) / 1e9;

	printf("# %llu calls answered in %.1f s; %u drivers killed, %llu calls aborted by that; "
	       "%llu calls ended by a close; "
	       "%llu completions, %llu aborted; %llu connections opened, %llu opens refused\n",
	       (unsigned long long)sum.answered, seconds, n_killed, (unsigned long long)sum.died,
	       (unsigned long long)sum.ended, (unsigned long long)sum.completed,
	       (unsigned long long)sum.aborted, (unsigned long long)sum.opened,
	       (unsigned long long)sum.refused);
	fflush(stdout);
	ck_assert_uint_ge(sum.answered, wanted);
	ck_assert_uint_eq(sum.answered, atomic_load(&answered));
	check_driver_keeps_nothing();
	await_fds_of(rig.dextd, dextd_fds, "dextd");
	rig_stop(&rig);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("stress");
	TCase *tc = tcase_create("stress");
	/* Far above what it takes: only a hang is to be found here. */
	tcase_set_timeout(tc, 170 + (double)env_number("STRESS_CALLS", 0) / 2000);
	tcase_add_test(tc, every_answer_matches_its_call_while_drivers_die);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
