/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The frame of the runtime's unit tests: base/unit_test.h, with all loops and clocks open before
 * descriptors are noted, for they stay open as long as the process.
 *
 * A test posts its first work and lends its thread with worker_run(); the work ends with
 * worker_stop().
 */

#include <pthread.h>
#include <sys/epoll.h>

#include <base/unit_test.h>
#include <runtime/loop.h>
#include <runtime/queue.h>
#include <runtime/worker.h>

#define POOL_TESTS(name, ...)                                                         \
	int main(void)                                                                \
	{                                                                             \
		const TTest *const tests[] = { __VA_ARGS__ };                         \
		return pool_tests_run(name, tests, sizeof(tests) / sizeof(tests[0])); \
	}

static inline void open_pool(void)
{
	for (unsigned i = 0; i < worker_limit(); i++)
		ck_assert_int_eq(loop_open(&loops[i]), 0);
	for (unsigned i = 0; i < ALARM_CLOCKS; i++)
		ck_assert_int_eq(alarm_open((enum alarm_clock)i), 0);
}

/* Each test `n_times`, with _i from 0 on. */
static inline int pool_tests_run_each(const char *name, const TTest *const *tests, size_t n_tests,
				      int n_times)
{
	Suite *suite = suite_create(name);
	TCase *cases = tcase_create(name);

	tcase_set_timeout(cases, UNIT_TIME_LIMIT_S);
	tcase_add_checked_fixture(cases, open_pool, NULL);
	tcase_add_checked_fixture(cases, unit_note_fds, unit_compare_fds);
	for (size_t i = 0; i < n_tests; i++)
		tcase_add_loop_test(cases, tests[i], 0, n_times);
	suite_add_tcase(suite, cases);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static inline int pool_tests_run(const char *name, const TTest *const *tests, size_t n_tests)
{
	return pool_tests_run_each(name, tests, n_tests, 1);
}

static inline IODispatchQueue *new_queue(const char *name)
{
	IODispatchQueue *queue = NULL;

	ck_assert_int_eq(IODispatchQueue_Create(name, 0, 0, &queue), kIOReturnSuccess);
	return queue;
}

/* A further thread of the test, not a worker unless it becomes one. */
static inline pthread_t start_thread(void *(*run)(void *), void *context)
{
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, run, context), 0);
	return thread;
}

static inline void *run_worker(void *unused)
{
	(void)unused;
	worker_run();
	return NULL;
}

static inline void stop_pool(void *unused)
{
	(void)unused;
	worker_stop();
}
