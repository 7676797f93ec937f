/* SPDX-License-Identifier: Apache-2.0 */

#include <base/reason.h>
#include <base/unit_test.h>

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

START_TEST(refuse_returns_status_and_keeps_text)
{
	ck_assert_str_eq(reason_last(), "");
	errno = EXDEV;
	ck_assert_int_eq(refuse(kIOReturnNotOpen, "%s is not open", "pipe"), kIOReturnNotOpen);
	ck_assert_int_eq(errno, EXDEV);
	ck_assert_str_eq(reason_last(), "pipe is not open");
	reason_clear();
	ck_assert_str_eq(reason_last(), "");
}
END_TEST

/* A caller wraps the reason of what it called. */
START_TEST(refuse_may_quote_the_last_reason)
{
	refuse(kIOReturnError, "inner");
	refuse(kIOReturnError, "outer: %s", reason_last());
	ck_assert_str_eq(reason_last(), "outer: inner");
	reason_set(reason_last());
	ck_assert_str_eq(reason_last(), "outer: inner");
}
END_TEST

START_TEST(long_reason_is_cut_visibly)
{
	char text[2000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	refuse(kIOReturnError, "%s", text);
	ck_assert_uint_eq(strlen(reason_last()), REASON_MAX - 1);
	ck_assert_str_eq(reason_last() + REASON_MAX - 4, "\xe2\x80\xa6");
	reason_clear();
	reason_set(text);
	ck_assert_uint_eq(strlen(reason_last()), REASON_MAX - 1);
	ck_assert_str_eq(reason_last() + REASON_MAX - 4, "\xe2\x80\xa6");
	text[REASON_MAX - 1] = '\0';
	reason_set(text);
	ck_assert_str_eq(reason_last(), text);
}
END_TEST

static void *other_thread(void *context)
{
	*(bool *)context = reason_last()[0] == '\0';
	refuse(kIOReturnError, "of the other thread");
	return NULL;
}

START_TEST(each_thread_has_its_own)
{
	bool was_empty = false;
	pthread_t thread;

	refuse(kIOReturnError, "mine");
	pthread_create(&thread, NULL, other_thread, &was_empty);
	pthread_join(thread, NULL);
	ck_assert(was_empty);
	ck_assert_str_eq(reason_last(), "mine");
}
END_TEST

START_TEST(errno_maps_to_nearest_return)
{
	ck_assert_int_eq(return_from_errno(0), kIOReturnSuccess);
	ck_assert_int_eq(return_from_errno(-ENODEV), kIOReturnNoDevice);
	ck_assert_int_eq(return_from_errno(-ENOMEM), kIOReturnNoMemory);
	ck_assert_int_eq(return_from_errno(-EBADMSG), kIOReturnIPCError);
	ck_assert_int_eq(return_from_errno(-ETIMEDOUT), kIOReturnTimeout);
	ck_assert_int_eq(return_from_errno(-EPIPE), kIOReturnOffline);
	ck_assert_int_eq(return_from_errno(-EUCLEAN), kIOReturnError);
}
END_TEST

UNIT_TESTS("reason", refuse_returns_status_and_keeps_text, refuse_may_quote_the_last_reason,
	   long_reason_is_cut_visibly, each_thread_has_its_own, errno_maps_to_nearest_return)
