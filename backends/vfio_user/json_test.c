/* SPDX-License-Identifier: Apache-2.0 */

#include <backends/vfio_user/json.h>
#include <base/unit_test.h>

#include <errno.h>
#include <string.h>

static int scan(const char *text, struct json_number *wanted)
{
	const char *problem = NULL;
	*wanted = (struct json_number){ .object = "capabilities", .name = "max_msg_fds" };
	int ret = json_scan(text, strlen(text), wanted, 1, &problem);
	ck_assert((ret == 0) == (problem == NULL));
	return ret;
}

START_TEST(good_texts)
{
	static const char *const texts[] = {
		"{}",
		" { } ",
		"[]",
		"null",
		"-0.5e+10",
		"\"\\u00e9\\n\"",
		"{\"a\":[1,2,{\"b\":true}],\"c\":\"x\"}",
		"{\"capabilities\":{}}",
		"{\"capabilities\":[1]}",
		"[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]",
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct json_number wanted;
		ck_assert_msg(scan(texts[i], &wanted) == 0, "%s", texts[i]);
		ck_assert(!wanted.found);
	}
}
END_TEST

START_TEST(bad_texts)
{
	static const char *const texts[] = {
		"",
		" ",
		"{",
		"}",
		"{\"a\"}",
		"{\"a\":}",
		"{\"a\":1,}",
		"{a:1}",
		"[1 2]",
		"[1,]",
		"01",
		"1.",
		"1e",
		"-",
		"+1",
		".5",
		"tru",
		"nul",
		"\"\\x\"",
		"\"\\u12g4\"",
		"\"no end",
		"\"tab\tinside\"",
		"{} {}",
		"{}x",
		"[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]", // one deeper than allowed
		"{\"capabilities\":{\"max_msg_fds\":-1}}",
		"{\"capabilities\":{\"max_msg_fds\":01}}",
		"{\"capabilities\":{\"max_msg_fds\":1.5}}",
		"{\"capabilities\":{\"max_msg_fds\":1e3}}",
		"{\"capabilities\":{\"max_msg_fds\":\"8\"}}",
		"{\"capabilities\":{\"max_msg_fds\":99999999999999999999}}",
		"{\"capabilities\":{\"max_msg_fds\":8,\"max_msg_fds\":9}}",
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct json_number wanted;
		ck_assert_msg(scan(texts[i], &wanted) == -EBADMSG, "%s", texts[i]);
	}
}
END_TEST

/* Only the member of the right object counts, wherever it stands. */
START_TEST(numbers_are_found_where_they_belong)
{
	struct json_number wanted;
	ck_assert_int_eq(
		scan("{\"x\":{\"max_msg_fds\":1},\"capabilities\":{\"y\":{\"max_msg_fds\":2},"
		     "\"max_msg_fds\" : 8 },\"max_msg_fds\":3}",
		     &wanted),
		0);
	ck_assert(wanted.found);
	ck_assert_uint_eq(wanted.value, 8);
	ck_assert_int_eq(scan("[{\"capabilities\":{\"max_msg_fds\":1}}]", &wanted), 0);
	ck_assert(!wanted.found);
	ck_assert_int_eq(scan("{\"capabilities\":{\"max_msg_fds\":0}}", &wanted), 0);
	ck_assert(wanted.found && wanted.value == 0);
}
END_TEST

START_TEST(size_is_bounded)
{
	static char text[JSON_SIZE_MAX + 2];
	const char *problem = NULL;
	memset(text, ' ', sizeof(text));
	text[0] = '1';
	ck_assert_int_eq(json_scan(text, JSON_SIZE_MAX, NULL, 0, &problem), 0);
	ck_assert_int_eq(json_scan(text, JSON_SIZE_MAX + 1, NULL, 0, &problem), -EBADMSG);
	ck_assert_str_eq(problem, "longer than 64 KiB");
}
END_TEST

/* An embedded NUL is a byte like any other, and no value begins with it. */
START_TEST(nul_is_no_end)
{
	const char *problem = NULL;
	ck_assert_int_eq(json_scan("1\0", 2, NULL, 0, &problem), -EBADMSG);
}
END_TEST

UNIT_TESTS("vfio-user-json", good_texts, bad_texts, numbers_are_found_where_they_belong,
	   size_is_bounded, nul_is_no_end)
