/* SPDX-License-Identifier: Apache-2.0 */

/* Spare closures: what is kept, where it is found again, and that there is a limit to it. */

#include <runtime/closure.h>

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>

#include <base/unit_test.h>

enum { MAGAZINES = 8 };

static struct closure **closures; // of the test: MAGAZINES magazines full
static uint32_t room;             // of a magazine

static void take(uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		closures[i] = closure_new();
		ck_assert_ptr_nonnull(closures[i]);
	}
}

static void give(uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		closure_free(closures[i]);
}

static void begin(void)
{
	closure_free(closure_new());
	room = closure_store.room;
	ck_assert_uint_gt(room, 0);
	closures = calloc(MAGAZINES * room, sizeof(struct closure *));
	ck_assert_ptr_nonnull(closures);
}

static void end(void)
{
	free(closures);
}

static int compare(const void *a, const void *b)
{
	const struct closure *const *left = a, *const *right = b;

	return (*left > *right) - (*left < *right);
}

/* How many of the next n closures are among the first n_known of the test's? */
static uint32_t count_known(uint32_t n, uint32_t n_known)
{
	struct closure **taken = calloc(n, sizeof(struct closure *));
	uint32_t n_found = 0;

	ck_assert_ptr_nonnull(taken);
	qsort(closures, n_known, sizeof(struct closure *), compare);
	for (uint32_t i = 0; i < n; i++) {
		taken[i] = closure_new();
		ck_assert_ptr_nonnull(taken[i]);
		n_found += bsearch(&taken[i], closures, n_known, sizeof(struct closure *),
				   compare) != NULL;
	}
	for (uint32_t i = 0; i < n; i++)
		closure_free(taken[i]);
	free(taken);
	return n_found;
}

/* Both magazines hold what was given, and give it back, in whichever direction the level moves. */
START_TEST(a_thread_finds_again_what_it_gave)
{
	begin();
	take(2 * room);
	give(2 * room);
	for (uint32_t n = 1; n <= 2 * room; n += room / 4)
		ck_assert_uint_eq(count_known(n, 2 * room), n);
	end();
}
END_TEST

static _Atomic uint32_t given, may_end;

static void *give_and_stay(void *n)
{
	give(*(uint32_t *)n);
	atomic_store(&given, 1);
	while (atomic_load(&may_end) == 0)
		;
	return NULL;
}

/* One thread posts and another runs: what is over two magazines sends a full one to the depot. */
START_TEST(a_thread_finds_what_another_gave)
{
	pthread_t thread;

	begin();
	uint32_t n = 2 * room + 1;
	take(n);
	while (closure_store.loaded.n + closure_store.other.n > 0)
		free(closure_new()); // nothing is left but the depot's
	ck_assert_int_eq(pthread_create(&thread, NULL, give_and_stay, &n), 0);
	while (atomic_load(&given) == 0)
		;
	ck_assert_uint_eq(count_known(room, n), room);
	atomic_store(&may_end, 1);
	pthread_join(thread, NULL);
	end();
}
END_TEST

/* Two magazines of the thread and the depot's: all else goes back. */
START_TEST(no_more_is_kept_than_three_magazines)
{
	begin();
	take(MAGAZINES * room);
	size_t chunk = malloc_usable_size(closures[0]) + sizeof(size_t);
	size_t before = mallinfo2().uordblks;
	give(MAGAZINES * room);
	size_t freed = (before - mallinfo2().uordblks) / chunk;
	ck_assert_uint_ge(freed, (MAGAZINES - 3) * room - 64); // malloc keeps a few
	ck_assert_uint_le(freed, (MAGAZINES - 2) * room);      // the third may be far from full
	end();
}
END_TEST

static void *take_and_give(void *unused)
{
	take(2 * room);
	give(2 * room);
	ck_assert_uint_eq(closure_store.loaded.n + closure_store.other.n, 2 * room);
	return unused;
}

START_TEST(a_threads_closures_end_with_it)
{
	pthread_t thread;

	begin();
	size_t before = mallinfo2().uordblks;
	ck_assert_int_eq(pthread_create(&thread, NULL, take_and_give, NULL), 0);
	pthread_join(thread, NULL);
	ck_assert_uint_lt(mallinfo2().uordblks, before + room * sizeof(struct closure) / 4);
	end();
}
END_TEST

UNIT_TESTS("runtime-closure", a_thread_finds_again_what_it_gave, a_thread_finds_what_another_gave,
	   no_more_is_kept_than_three_magazines, a_threads_closures_end_with_it)
