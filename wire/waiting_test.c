/* SPDX-License-Identifier: Apache-2.0 */

/* The waiting policy against a clock of the test's own: each look at it is a step later. */

#include <sched.h>

#include <base/clock.h>
#include <base/unit_test.h>
#include <wire/waiting.h>

enum { STEP_NS = 100, ELSEWHERE = 100000 };

static _Atomic uint64_t now_ns = 1000;

static uint64_t step(void)
{
	return atomic_fetch_add(&now_ns, STEP_NS);
}

/* One who looks, until the look number `seen_at`; 0: for ever. */
struct watcher {
	struct waiting waiting;
	_Atomic uint32_t peer;
	uint32_t seen_at, looks, stop_at, asked;
};

static void begin(struct watcher *w, enum waiting_side side)
{
	clock_set_source(step);
	*w = (struct watcher){ .peer = ELSEWHERE };
	waiting_init(&w->waiting, side);
}

static bool look(const void *context)
{
	struct watcher *w = *(struct watcher *const *)context;
	w->looks++;
	return w->seen_at != 0 && w->looks >= w->seen_at;
}

static bool stop(void *context, uint64_t now)
{
	(void)now;
	struct watcher *w = context;
	w->asked++;
	return w->stop_at != 0 && w->asked >= w->stop_at;
}

static bool spin(struct watcher *w)
{
	struct waiting_spin one = {
		.waiting = &w->waiting, .peer = &w->peer, .stop = stop, .context = w
	};
	w->looks = w->asked = 0;
	return waiting_spin(&one, look, &w);
}

static void stay_on_this_cpu(void)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET((unsigned)cpu_number(), &set);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(set), &set), 0);
}

START_TEST(a_peer_on_this_cpu_is_not_looked_for)
{
	struct watcher w;
	stay_on_this_cpu();
	begin(&w, WAITING_CALLER);
	w.peer = waiting_here();
	ck_assert_uint_ne(w.peer, 0);
	ck_assert(!spin(&w));
	ck_assert_uint_eq(w.looks, 0);
	w.peer = 0; // nobody knows where
	ck_assert(!spin(&w));
	ck_assert_uint_eq(w.looks, 0);
	ck_assert_uint_eq(w.waiting.misses, 0);
}
END_TEST

static bool comes_here(void *context, uint64_t now)
{
	(void)now;
	struct watcher *w = context;
	w->peer = waiting_here();
	return false;
}

START_TEST(a_peer_that_comes_here_ends_the_look)
{
	struct watcher w;
	stay_on_this_cpu();
	begin(&w, WAITING_CALLER);
	struct waiting_spin one = {
		.waiting = &w.waiting, .peer = &w.peer, .stop = comes_here, .context = &w
	};
	struct watcher *context = &w;
	ck_assert(!waiting_spin(&one, look, &context));
	ck_assert_uint_eq(w.looks, WAITING_LOOKS + 1);
	ck_assert_uint_eq(w.waiting.misses, 0);
}
END_TEST

START_TEST(the_hot_path_reads_no_clock)
{
	struct watcher w;
	begin(&w, WAITING_CALLER);
	w.seen_at = WAITING_LOOKS;
	uint64_t before = now_ns;
	ck_assert(spin(&w));
	ck_assert_uint_eq(now_ns, before);
}
END_TEST

/* The longest a side looks, whatever the ring says. */
static uint64_t longest(enum waiting_side side, uint32_t policy, unsigned n_hits)
{
	struct watcher w;
	begin(&w, side);
	waiting_set_policy(&w.waiting, side, policy);
	w.seen_at = 1;
	while (n_hits-- > 0)
		spin(&w);
	w.seen_at = 0;
	uint64_t before = now_ns;
	ck_assert(!spin(&w));
	return now_ns - before;
}

START_TEST(every_look_has_an_end)
{
	ck_assert_uint_le(longest(WAITING_CALLER, WAITING_BALANCED, 20), 51000);
	ck_assert_uint_ge(longest(WAITING_CALLER, WAITING_BALANCED, 20), 50000);
	ck_assert_uint_le(longest(WAITING_SERVER, WAITING_BALANCED, 0), 3000);
	ck_assert_uint_le(longest(WAITING_SERVER, WAITING_BALANCED, 20), 21000);
	ck_assert_uint_ge(longest(WAITING_SERVER, WAITING_BALANCED, 20), 20000);
	ck_assert_uint_le(longest(WAITING_SERVER, WAITING_BUSY_POLL, 20), 1001000);
	ck_assert_uint_eq(longest(WAITING_SERVER, WAITING_POWER_SAVER, 20), 0);
	ck_assert_uint_eq(longest(WAITING_CALLER, WAITING_POWER_SAVER, 20), 0);
	for (uint64_t seed = 1; seed <= 50; seed++) {
		chance_seed(seed);
		uint32_t policy = (uint32_t)chance_u64();
		ck_assert_uint_le(longest(WAITING_SERVER, policy | 4, 20), 21000);
	}
}
END_TEST

/* Of so many waits in vain, how many looked at all? */
static unsigned count_tries(struct watcher *w, unsigned n_waits)
{
	unsigned n = 0;
	w->seen_at = 0;
	for (unsigned i = 0; i < n_waits; i++) {
		ck_assert(!spin(w));
		n += w->looks > 0;
	}
	return n;
}

START_TEST(what_does_not_pay_is_tried_now_and_then)
{
	struct watcher w;
	begin(&w, WAITING_SERVER);
	w.seen_at = 1;
	for (int i = 0; i < 10; i++)
		ck_assert(spin(&w));
	ck_assert_uint_eq(w.waiting.budget_ns, 20000);
	ck_assert_uint_le(count_tries(&w, 5), 5); // 20, 10, 5, 2.5 and 1.25 µs
	ck_assert_uint_eq(w.waiting.budget_ns, 0);
	ck_assert_uint_eq(count_tries(&w, 800), 100);
	while (w.waiting.budget_ns == 0) { // until it pays again
		w.seen_at = 1;
		spin(&w);
	}
	for (int i = 0; i < 4; i++)
		ck_assert(spin(&w));
	ck_assert_uint_eq(w.waiting.budget_ns, 20000);
}
END_TEST

START_TEST(a_caller_gives_up_slowly)
{
	struct watcher w;
	begin(&w, WAITING_CALLER);
	ck_assert_uint_eq(count_tries(&w, 3), 3);
	ck_assert_uint_eq(w.waiting.budget_ns, 50000);
	w.seen_at = 5;
	ck_assert(spin(&w));
	ck_assert_uint_eq(count_tries(&w, 3), 3);
	ck_assert_uint_eq(w.waiting.budget_ns, 50000);
	ck_assert_uint_eq(count_tries(&w, 1), 1);
	ck_assert_uint_eq(w.waiting.budget_ns, 25000);
	count_tries(&w, 100);
	ck_assert_uint_eq(w.waiting.budget_ns, 0);
	ck_assert_uint_eq(count_tries(&w, 160), 10);
}
END_TEST

START_TEST(other_work_ends_a_look)
{
	struct watcher w;
	begin(&w, WAITING_SERVER);
	w.stop_at = 2;
	ck_assert(!spin(&w));
	ck_assert_uint_eq(w.looks, 2 * WAITING_LOOKS + 1);
	ck_assert_uint_eq(w.asked, 2);
	ck_assert_uint_eq(w.waiting.budget_ns, 2000); // that was no miss
	ck_assert_uint_eq(w.waiting.misses, 0);
}
END_TEST

UNIT_TESTS("waiting", a_peer_on_this_cpu_is_not_looked_for, a_peer_that_comes_here_ends_the_look,
	   the_hot_path_reads_no_clock, every_look_has_an_end,
	   what_does_not_pay_is_tried_now_and_then, a_caller_gives_up_slowly,
	   other_work_ends_a_look)
