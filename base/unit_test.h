/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The frame of a unit test: a main() that runs Check tests, each in a process of its own with a
 * time limit, and fails one that ends with other descriptors open than it began with.
 *
 *	UNIT_TESTS("list", first_test, second_test)
 */

#include <check.h>
#include <fcntl.h>
#include <stdlib.h>

#define UNIT_TESTS(name, ...)                                                   \
	int main(void)                                                          \
	{                                                                       \
		const TTest *const tests[] = { __VA_ARGS__ };                   \
		return unit_run(name, tests, sizeof(tests) / sizeof(tests[0])); \
	}

#define UNIT_TIME_LIMIT_S 30
#define UNIT_FDS          1024

static unsigned char unit_fds_before[UNIT_FDS];

static inline unsigned char unit_fd_is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static inline void unit_note_fds(void)
{
	for (int fd = 0; fd < UNIT_FDS; fd++)
		unit_fds_before[fd] = unit_fd_is_open(fd);
}

static inline void unit_compare_fds(void)
{
	for (int fd = 0; fd < UNIT_FDS; fd++)
		ck_assert_msg(unit_fds_before[fd] == unit_fd_is_open(fd), "descriptor %d %s", fd,
			      unit_fds_before[fd] ? "was closed" : "was left open");
}

/* Each test `n_times`, with _i from 0 on: for what several classes promise. */
static inline int unit_run_each(const char *name, const TTest *const *tests, size_t n_tests,
				int n_times)
{
	Suite *suite = suite_create(name);
	TCase *cases = tcase_create(name);
	SRunner *runner;
	int failed;

	tcase_set_timeout(cases, UNIT_TIME_LIMIT_S);
	tcase_add_checked_fixture(cases, unit_note_fds, unit_compare_fds);
	for (size_t i = 0; i < n_tests; i++)
		tcase_add_loop_test(cases, tests[i], 0, n_times);
	suite_add_tcase(suite, cases);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static inline int unit_run(const char *name, const TTest *const *tests, size_t n_tests)
{
	return unit_run_each(name, tests, n_tests, 1);
}
