/* SPDX-License-Identifier: Apache-2.0 */

#include <base/clock.h>
#include <base/unit_test.h>

static uint64_t frozen(void)
{
	return 5000000ULL;
}

START_TEST(real_clock_never_goes_back)
{
	uint64_t before = clock_now_ns();

	ck_assert_uint_ge(clock_now_ns(), before);
	ck_assert_uint_ge(clock_deadline_ns(1000), before + 1000000000ULL);
	ck_assert_uint_ge(clock_coarse_deadline_ns(1000), before + 1000000000ULL); // never early
	ck_assert_uint_le(clock_coarse_deadline_ns(1000), clock_deadline_ns(1010));
}
END_TEST

/* A test owns time: deadlines are counted from the clock it gave. */
START_TEST(replaced_clock_is_used_everywhere)
{
	clock_set_source(frozen);
	ck_assert_uint_eq(clock_now_ns(), 5000000ULL);
	ck_assert_uint_eq(clock_deadline_ns(2), 7000000ULL);
	ck_assert_uint_eq(clock_coarse_deadline_ns(2), 7000000ULL);
	ck_assert_uint_eq(clock_deadline_ns(UINT32_MAX), 5000000ULL + 4294967295000000ULL);
	clock_set_source(NULL);
	ck_assert_uint_ne(clock_now_ns(), 5000000ULL);
}
END_TEST

START_TEST(same_seed_gives_same_numbers)
{
	uint64_t first[8];

	chance_seed(42);
	for (int i = 0; i < 8; i++)
		first[i] = chance_u64();
	chance_seed(42);
	for (int i = 0; i < 8; i++)
		ck_assert_uint_eq(chance_u64(), first[i]);
	chance_seed(43);
	ck_assert_uint_ne(chance_u64(), first[0]);
	ck_assert_uint_ne(first[0], first[1]);
}
END_TEST

/* Two processes must not draw the same numbers; without a seed one is taken from the kernel. */
START_TEST(unseeded_numbers_differ_from_seed_zero)
{
	uint64_t own = chance_u64();

	chance_seed(0);
	ck_assert_uint_ne(own, chance_u64());
}
END_TEST

UNIT_TESTS("clock", real_clock_never_goes_back, replaced_clock_is_used_everywhere,
	   same_seed_gives_same_numbers, unseeded_numbers_differ_from_seed_zero)
