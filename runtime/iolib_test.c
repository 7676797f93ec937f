/* SPDX-License-Identifier: Apache-2.0 */

#include <base/unit_test.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <DriverKit/IOLib.h>

/* What IOLog writes to stderr, NUL-terminated. */
static size_t logged(const char *text, char *room, size_t size)
{
	int ends[2], saved = dup(STDERR_FILENO);

	ck_assert_int_eq(pipe(ends), 0);
	dup2(ends[1], STDERR_FILENO);
	errno = 77;
	IOLog("%s", text);
	ck_assert_int_eq(errno, 77);
	dup2(saved, STDERR_FILENO);
	ssize_t n = read(ends[0], room, size - 1);
	ck_assert_int_gt(n, 0);
	room[n] = '\0';
	close(saved);
	close(ends[0]);
	close(ends[1]);
	return (size_t)n;
}

/* One line, whatever is in it: what a device or a client sent may not act on a terminal. */
START_TEST(a_log_line_is_one_harmless_line)
{
	static char longest[3000], room[8192];

	logged("ready", room, sizeof(room));
	ck_assert_str_eq(room, "ready\n");
	logged("ready\n", room, sizeof(room));
	ck_assert_str_eq(room, "ready\n");
	logged("a\nb\x1b[2J\tc\x7f é", room, sizeof(room));
	ck_assert_str_eq(room, "a\\x0ab\\x1b[2J\tc\\x7f é\n");
	memset(longest, '\n', sizeof(longest) - 1);
	size_t size = logged(longest, room, sizeof(room));
	ck_assert_uint_lt(size, 4 * 1024 + 8);
	ck_assert_ptr_nonnull(strstr(room, "…"));
}
END_TEST

START_TEST(new_memory_is_zero)
{
	struct pair {
		uint64_t a, b;
	} *pairs = IONewZero(struct pair, 3);

	ck_assert_ptr_nonnull(pairs);
	ck_assert_uint_eq(pairs[2].b, 0);
	IOSafeDeleteNULL(pairs, struct pair, 3);
	ck_assert_ptr_null(pairs);
	IOFree(NULL, 0);
}
END_TEST

UNIT_TESTS("runtime-iolib", a_log_line_is_one_harmless_line, new_memory_is_zero)
