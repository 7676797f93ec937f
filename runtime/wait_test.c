/* SPDX-License-Identifier: Apache-2.0 */

#include <runtime/unit_pool.h>

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <base/log.h>

/* --- what is printed --- */

static char printed[8192];
static pthread_mutex_t printed_lock = PTHREAD_MUTEX_INITIALIZER;

static void print_line(const char *line)
{
	pthread_mutex_lock(&printed_lock);
	size_t used = strlen(printed);
	snprintf(printed + used, sizeof(printed) - used, "%s\n", line);
	pthread_mutex_unlock(&printed_lock);
}

static void keep_log(enum log_level level, const char *line)
{
	(void)level;
	print_line(line);
}

static int output(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int output(const char *format, ...)
{
	char line[2048];
	va_list args;

	va_start(args, format);
	int n = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	print_line(line);
	return n;
}

/* --- circles --- */

struct ring {
	IODispatchQueue *queues[3];
	int n;
	pthread_barrier_t all;
	_Atomic int refused;
};

struct station {
	struct ring *ring;
	int at;
};

static void nothing(void *context)
{
	(void)context;
}

/* Here is where each of them waits. */
static __attribute__((noinline)) void ask_the_next(void *context)
{
	struct station *station = context;
	struct ring *ring = station->ring;

	pthread_barrier_wait(&ring->all);
	int ret = queue_sync(ring->queues[(station->at + 1) % ring->n], nothing, NULL);
	ck_assert(ret == 0 || ret == -EDEADLK);
	if (ret != 0)
		atomic_fetch_add(&ring->refused, 1);
}

static void *hold(void *context)
{
	struct station *station = context;

	ck_assert_int_eq(queue_sync(station->ring->queues[station->at], ask_the_next, station), 0);
	return NULL;
}

static int count_text(const char *text)
{
	int n = 0;

	for (const char *at = printed; (at = strstr(at, text)) != NULL; at += strlen(text))
		n++;
	return n;
}

/* Does the line have a return address in `function`? It is no symbol that the linker knows. */
static bool is_in(const char *line, void (*function)(void *context))
{
	enum { LONGEST = 400 }; // bytes of machine code
	const char *end = strchr(line, '\n');
	Dl_info info;

	ck_assert_int_ne(dladdr((void *)(uintptr_t)function, &info), 0);
	uintptr_t start = (uintptr_t)function - (uintptr_t)info.dli_fbase;
	for (const char *at = line; (at = strstr(at, "+0x")) != NULL && at < end; at++) {
		uintptr_t offset = strtoul(at + 1, NULL, 16);
		if (offset >= start && offset < start + LONGEST)
			return true;
	}
	return false;
}

static void go_round(int n)
{
	static const char *const names[] = { "first", "second", "third" };
	struct ring ring = { .n = n };
	struct station stations[3];
	pthread_t threads[3];

	log_set_sink(keep_log, LOG_LEVEL_ERROR);
	pthread_barrier_init(&ring.all, NULL, (unsigned)n);
	for (int i = 0; i < n; i++)
		ring.queues[i] = new_queue(names[i]);
	for (int i = 0; i < n; i++) {
		stations[i] = (struct station){ &ring, i };
		threads[i] = start_thread(hold, &stations[i]);
	}
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	log_set_sink(NULL, LOG_LEVEL_ERROR);
	ck_assert_int_eq(atomic_load(&ring.refused), 1);
	for (int i = 0; i < n; i++) {
		char text[64];
		snprintf(text, sizeof(text), "waits for queue \"%s\"", names[i]);
		ck_assert_int_eq(count_text(text), 1);
		ck_assert_msg(is_in(strstr(printed, text), ask_the_next), "%s", printed);
		OSObjectRelease(ring.queues[i]);
	}
	pthread_barrier_destroy(&ring.all);
}

/* Each thread of a circle is in the report, with the function that waits; nobody hangs. */
START_TEST(a_deadlock_is_reported_with_all_stacks)
{
	go_round(2);
	ck_assert_int_eq(count_text("deadlock: 2 threads"), 1);
}
END_TEST

START_TEST(a_longer_circle_is_reported_too)
{
	go_round(3);
	ck_assert_int_eq(count_text("deadlock: 3 threads"), 1);
}
END_TEST

/* A circle through a concurrent piece is one, too. */
struct shared_circle {
	IODispatchQueue *shared, *serial;
	pthread_barrier_t both;
	_Atomic int refused, ended;
};

static void ask(struct shared_circle *circle, IODispatchQueue *queue)
{
	pthread_barrier_wait(&circle->both);
	int ret = queue_sync(queue, nothing, NULL);
	ck_assert(ret == 0 || ret == -EDEADLK);
	if (ret != 0)
		atomic_fetch_add(&circle->refused, 1);
	if (atomic_fetch_add(&circle->ended, 1) == 1)
		worker_stop();
}

static void ask_serial(void *context)
{
	ask(context, ((struct shared_circle *)context)->serial);
}

static void ask_shared(void *context)
{
	ask(context, ((struct shared_circle *)context)->shared);
}

static void *hold_serial(void *context)
{
	ck_assert_int_eq(queue_sync(((struct shared_circle *)context)->serial, ask_shared, context),
			 0);
	return NULL;
}

START_TEST(a_concurrent_piece_can_be_in_a_circle)
{
	struct shared_circle circle = { .serial = new_queue("serial") };

	ck_assert_int_eq(
		IODispatchQueue_Create("shared", kIODispatchQueueReentrant, 0, &circle.shared),
		kIOReturnSuccess);
	pthread_barrier_init(&circle.both, NULL, 2);
	IODispatchQueue_DispatchConcurrent_f(circle.shared, &circle, ask_serial);
	pthread_t thread = start_thread(hold_serial, &circle);
	ck_assert_int_eq(worker_run(), 0);
	pthread_join(thread, NULL);
	ck_assert_int_eq(atomic_load(&circle.refused), 1);
	pthread_barrier_destroy(&circle.both);
	OSObjectRelease(circle.shared);
	OSObjectRelease(circle.serial);
}
END_TEST

/* --- Log --- */

static void log_on_queue(void *context)
{
	(void)context;
	ck_assert_int_eq(IODispatchQueue_Log("what waits?", output), kIOReturnSuccess);
}

START_TEST(log_shows_every_queue)
{
	IODispatchQueue *held = new_queue("held"), *idle = new_queue("quiet");

	ck_assert_int_eq(queue_sync(held, log_on_queue, NULL), 0);
	ck_assert_int_eq(count_text("what waits?"), 1);
	ck_assert_ptr_nonnull(strstr(printed, "queue \"quiet\": idle"));
	const char *line = strstr(printed, "queue \"held\": thread ");
	ck_assert_ptr_nonnull(line);
	ck_assert_ptr_nonnull(strstr(line, " is on it"));
	OSObjectRelease(held);
	OSObjectRelease(idle);
	printed[0] = '\0';
	IODispatchQueue_Log(NULL, output);
	ck_assert_ptr_null(strstr(printed, "quiet"));
	ck_assert_int_eq(IODispatchQueue_Log("x", NULL), kIOReturnBadArgument);
}
END_TEST

POOL_TESTS("runtime-wait", a_deadlock_is_reported_with_all_stacks, a_longer_circle_is_reported_too,
	   a_concurrent_piece_can_be_in_a_circle, log_shows_every_queue)
