// SPDX-License-Identifier: Apache-2.0

#include <errno.h>

#include <base/clock.h>
#include <base/lock.h>
#include <base/unit_test.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *take(void *deadline)
{
	int *ret = deadline;
	*ret = lock_until(&lock, clock_deadline_ns((uint32_t)*ret));
	if (*ret == 0)
		pthread_mutex_unlock(&lock);
	return NULL;
}

static int take_on_another_thread(uint32_t timeout_ms)
{
	pthread_t thread;
	int ret = (int)timeout_ms;
	pthread_create(&thread, NULL, take, &ret);
	pthread_join(thread, NULL);
	return ret;
}

START_TEST(a_free_lock_is_taken)
{
	ck_assert_int_eq(take_on_another_thread(0), 0);
	ck_assert_int_eq(take_on_another_thread(1000), 0);
}
END_TEST

START_TEST(a_held_lock_costs_the_time_limit)
{
	uint64_t begun = clock_now_ns();
	pthread_mutex_lock(&lock);
	ck_assert_int_eq(take_on_another_thread(0), -ETIMEDOUT);
	ck_assert_int_eq(take_on_another_thread(20), -ETIMEDOUT);
	ck_assert_uint_ge(clock_now_ns() - begun, 20000000);
	pthread_mutex_unlock(&lock);
	ck_assert_int_eq(take_on_another_thread(0), 0);
}
END_TEST

UNIT_TESTS("base-lock", a_free_lock_is_taken, a_held_lock_costs_the_time_limit)
