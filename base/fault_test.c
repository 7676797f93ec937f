/* SPDX-License-Identifier: Apache-2.0 */

#include <base/unit_test.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/fault.h>

enum { PAGES = 4, FAULTERS = 8, GUARDS = 16384 };

struct shrunk {
	size_t page, size;
	int fd;
	volatile unsigned char *bytes;
	struct fault_guard guard;
};

/* Memory whose file is as long as the mapping, guarded. */
static void shrunk_open(struct shrunk *shrunk)
{
	shrunk->page = (size_t)sysconf(_SC_PAGESIZE);
	shrunk->size = PAGES * shrunk->page;
	shrunk->fd = memfd_create("shrunk", MFD_CLOEXEC);
	ck_assert_int_eq(ftruncate(shrunk->fd, (off_t)shrunk->size), 0);
	void *bytes = mmap(NULL, shrunk->size, PROT_READ | PROT_WRITE, MAP_SHARED, shrunk->fd, 0);
	ck_assert(bytes != MAP_FAILED);
	memset(bytes, 0x5a, shrunk->size);
	shrunk->bytes = bytes;
	shrunk->guard = (struct fault_guard){ .address = bytes, .length = shrunk->size };
	ck_assert_int_eq(fault_handler_install(), 0);
	ck_assert_int_eq(fault_guard_add(&shrunk->guard), 0);
}

static void shrunk_close(struct shrunk *shrunk)
{
	fault_guard_remove(&shrunk->guard);
	munmap(shrunk->guard.address, shrunk->size);
	close(shrunk->fd);
}

START_TEST(a_lost_range_reads_as_zeroes)
{
	struct shrunk shrunk;

	shrunk_open(&shrunk);
	ck_assert_uint_eq(shrunk.bytes[2 * shrunk.page], 0x5a);
	ck_assert_int_eq(ftruncate(shrunk.fd, (off_t)shrunk.page), 0);
	ck_assert_uint_eq(shrunk.bytes[0], 0x5a);
	ck_assert_uint_eq(shrunk.guard.lost, 0);
	ck_assert_uint_eq(shrunk.bytes[2 * shrunk.page], 0);
	ck_assert_uint_eq(shrunk.guard.lost, 1);
	ck_assert_uint_eq(shrunk.bytes[0], 0); // all of it, not the page alone
	shrunk.bytes[3 * shrunk.page] = 1;
	ck_assert_uint_eq(shrunk.bytes[3 * shrunk.page], 1);
	shrunk_close(&shrunk);
}
END_TEST

static pthread_barrier_t start;

static void *touch(void *context)
{
	struct shrunk *shrunk = context;

	pthread_barrier_wait(&start);
	for (size_t i = 0; i < PAGES; i++)
		ck_assert_uint_eq(shrunk->bytes[i * shrunk->page], 0);
	ck_assert_uint_eq(shrunk->guard.lost, 1);
	return NULL;
}

START_TEST(threads_fault_at_the_same_time)
{
	for (int round = 0; round < 50; round++) {
		struct shrunk shrunk;
		pthread_t threads[FAULTERS];
		shrunk_open(&shrunk);
		ck_assert_int_eq(ftruncate(shrunk.fd, 0), 0);
		pthread_barrier_init(&start, NULL, FAULTERS);
		for (int i = 0; i < FAULTERS; i++)
			ck_assert_int_eq(pthread_create(&threads[i], NULL, touch, &shrunk), 0);
		for (int i = 0; i < FAULTERS; i++)
			pthread_join(threads[i], NULL);
		pthread_barrier_destroy(&start);
		shrunk_close(&shrunk);
	}
}
END_TEST

/* How a child ends that runs `fn`. */
static int child_status(void (*fn)(void))
{
	int status = -1;
	pid_t child = fork();

	if (child == 0) {
		struct rlimit none = { 0 };
		setrlimit(RLIMIT_CORE, &none);
		fn();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	return status;
}

static void fault_outside(void)
{
	struct shrunk shrunk;

	signal(SIGBUS, SIG_DFL);
	shrunk_open(&shrunk);
	fault_guard_remove(&shrunk.guard);
	if (ftruncate(shrunk.fd, 0) == 0)
		(void)shrunk.bytes[0];
}

static void be_sent(void)
{
	signal(SIGBUS, SIG_DFL);
	fault_handler_install();
	raise(SIGBUS);
}

/* The handler takes nobody's faults but its guards'. */
START_TEST(other_faults_kill_as_ever)
{
	int status = child_status(fault_outside);

	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	status = child_status(be_sent);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}
END_TEST

static void take_over(int number)
{
	(void)number;
	_exit(42);
}

static void fault_with_a_handler_before(void)
{
	struct shrunk shrunk;

	signal(SIGBUS, take_over);
	shrunk_open(&shrunk);
	fault_guard_remove(&shrunk.guard);
	if (ftruncate(shrunk.fd, 0) == 0)
		(void)shrunk.bytes[0];
}

START_TEST(other_faults_go_to_the_handler_before)
{
	int status = child_status(fault_with_a_handler_before);

	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 42);
}
END_TEST

START_TEST(the_table_has_an_end)
{
	static struct fault_guard guards[GUARDS + 1];

	for (int i = 0; i < GUARDS; i++)
		ck_assert_int_eq(fault_guard_add(&guards[i]), 0);
	ck_assert_int_eq(fault_guard_add(&guards[GUARDS]), -ENOSPC);
	fault_guard_remove(&guards[500]);
	ck_assert_int_eq(fault_guard_add(&guards[GUARDS]), 0);
	for (int i = 0; i <= GUARDS; i++)
		fault_guard_remove(&guards[i]);
}
END_TEST

UNIT_TESTS("base-fault", a_lost_range_reads_as_zeroes, threads_fault_at_the_same_time,
	   other_faults_kill_as_ever, other_faults_go_to_the_handler_before, the_table_has_an_end)
