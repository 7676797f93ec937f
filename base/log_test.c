/* SPDX-License-Identifier: Apache-2.0 */

#include <base/log.h>
#include <base/unit_test.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

static char seen[4096];
static unsigned lines;

static void remember(enum log_level level, const char *line)
{
	(void)level;
	lines++;
	errno = EIO;
	strncpy(seen, line, sizeof(seen) - 1);
}

/* A library in somebody's application says nothing unless it was asked to. */
START_TEST(silent_without_sink)
{
	log_error("nobody listens to %d", 1);
	log_set_sink(remember, LOG_LEVEL_WARN);
	log_set_sink(NULL, LOG_LEVEL_DEBUG);
	log_error("nor now");
	ck_assert_uint_eq(lines, 0);
}
END_TEST

START_TEST(sink_gets_lines_up_to_its_level)
{
	log_set_sink(remember, LOG_LEVEL_WARN);
	log_info("hidden");
	ck_assert_uint_eq(lines, 0);
	log_warn("%s %d", "shown", 7);
	ck_assert_uint_eq(lines, 1);
	ck_assert_str_eq(seen, "shown 7");
}
END_TEST

START_TEST(errno_is_kept)
{
	log_set_sink(remember, LOG_LEVEL_DEBUG);
	errno = EXDEV;
	log_debug("x");
	ck_assert_int_eq(errno, EXDEV);
}
END_TEST

/* A long line is cut visibly, and between characters. */
START_TEST(long_line_is_cut_between_characters)
{
	char text[3001];
	size_t length;

	for (size_t i = 0; i + 2 < sizeof(text); i += 2)
		memcpy(text + i, "\xc3\xa4", 2);
	text[3000] = '\0';
	log_set_sink(remember, LOG_LEVEL_ERROR);
	log_error("%s", text);
	length = strlen(seen);
	ck_assert_uint_lt(length, 1024);
	ck_assert_str_eq(seen + length - 3, "\xe2\x80\xa6");
	ck_assert_int_eq((unsigned char)seen[length - 4], 0xa4);
}
END_TEST

/* What a peer wrote cannot move the cursor or forge a second line. */
START_TEST(stderr_sink_escapes_control_bytes)
{
	char out[512] = "";
	int ends[2], saved = dup(STDERR_FILENO);
	ssize_t got;

	ck_assert_int_eq(pipe(ends), 0);
	dup2(ends[1], STDERR_FILENO);
	log_to_stderr("dextd", LOG_LEVEL_INFO);
	log_info("a\nb\x1b[0m \xc3\xa4");
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(ends[1]);
	got = read(ends[0], out, sizeof(out) - 1);
	close(ends[0]);
	ck_assert_int_gt(got, 0);
	ck_assert_ptr_nonnull(strstr(out, "dextd["));
	ck_assert_ptr_nonnull(strstr(out, " info: a\\x0ab\\x1b[0m \xc3\xa4\n"));
	ck_assert_ptr_eq(strchr(out, '\n'), out + got - 1);
}
END_TEST

UNIT_TESTS("log", silent_without_sink, sink_gets_lines_up_to_its_level, errno_is_kept,
	   long_line_is_cut_between_characters, stderr_sink_escapes_control_bytes)
