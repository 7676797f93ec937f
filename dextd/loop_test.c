// SPDX-License-Identifier: Apache-2.0
/* The loop: callbacks that remove sources, timers under a clock of our own, signals, children. */

#include <base/unit_test.h>

#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/clock.h>
#include <dextd/loop.h>

static struct loop *loop;
static uint64_t now_ns = 1000000000;

static uint64_t test_clock(void)
{
	return now_ns;
}

static void set_up(void)
{
	ck_assert_int_eq(loop_new(&loop), 0);
}

static void tear_down(void)
{
	clock_set_source(NULL);
	loop = loop_free(loop);
}

/* --- descriptors --- */

struct pair {
	struct loop_fd source;
	struct pair *victim; // removed when this one is served
	unsigned served;
};

static void on_pair(void *context, uint32_t events)
{
	struct pair *pair = context;
	ck_assert_uint_eq(events, EPOLLIN);
	pair->served++;
	loop_fd_remove(&pair->victim->source);
	loop_fd_remove(&pair->source); // its own too
	loop_fd_remove(&pair->source); // and twice
}

START_TEST(test_removal_in_batch)
{
	set_up();
	struct pair a = { 0 }, b = { 0 };
	int fds[2] = { eventfd(1, 0), eventfd(1, 0) };

	a.victim = &b;
	b.victim = &a;
	ck_assert_int_eq(loop_fd_add(loop, &a.source, fds[0], EPOLLIN, on_pair, &a), 0);
	ck_assert_int_eq(loop_fd_add(loop, &b.source, fds[1], EPOLLIN, on_pair, &b), 0);
	ck_assert_int_eq(loop_step(loop, 0), 0); // both were ready in one batch
	ck_assert_uint_eq(a.served + b.served, 1);
	ck_assert_int_eq(loop_step(loop, 0), 0);
	ck_assert_uint_eq(a.served + b.served, 1);
	close(fds[0]);
	close(fds[1]);
	tear_down();
}
END_TEST

/* --- timers --- */

struct alarm {
	struct loop_timer timer;
	struct alarm *stops; // stopped by this one; may be NULL
	unsigned again;      // how often it starts itself anew
	unsigned fired;
};

static void on_alarm(void *context)
{
	struct alarm *alarm = context;
	alarm->fired++;
	if (alarm->stops != NULL)
		loop_timer_stop(&alarm->stops->timer);
	if (alarm->again > 0) {
		alarm->again--;
		loop_timer_start(&alarm->timer, now_ns);
	}
}

static void arm(struct alarm *alarm, uint64_t deadline_ns)
{
	loop_timer_init(&alarm->timer, loop, on_alarm, alarm);
	loop_timer_start(&alarm->timer, deadline_ns);
}

START_TEST(test_timers)
{
	set_up();
	struct alarm early = { 0 }, late = { 0 }, stopped = { 0 }, again = { .again = 2 };

	clock_set_source(test_clock);
	early.stops = &stopped;
	arm(&late, now_ns + 5000000);
	arm(&early, now_ns + 1000000);
	arm(&stopped, now_ns + 1000000);
	arm(&again, now_ns + 1000000);
	ck_assert_int_eq(loop_step(loop, 0), 0);
	ck_assert_uint_eq(early.fired, 0);

	now_ns += 1000000;
	ck_assert_int_eq(loop_step(loop, 0), 0);
	ck_assert_uint_eq(early.fired, 1);
	ck_assert_uint_eq(stopped.fired, 0);      // though it was due in the same pass
	ck_assert_uint_eq(again.fired, 1);        // once a pass, however often it starts itself
	ck_assert_int_eq(loop_step(loop, -1), 0); // due again: does not wait
	ck_assert_uint_eq(again.fired, 2);

	loop_timer_start(&late.timer, now_ns + 1000000); // moved forward
	now_ns += 1000000;
	ck_assert_int_eq(loop_step(loop, 0), 0);
	ck_assert_uint_eq(late.fired, 1);
	ck_assert_uint_eq(late.timer.deadline_ns, 0);
	loop_timer_stop(&late.timer);
	tear_down();
}
END_TEST

/* --- signals and children --- */

static int last_signal;

static void on_signal(void *context, int signal)
{
	last_signal = signal;
	loop_quit(context);
}

START_TEST(test_signal)
{
	set_up();
	sigset_t signals;
	sigemptyset(&signals);
	sigaddset(&signals, SIGHUP);
	ck_assert_int_eq(loop_signals(loop, &signals, on_signal, loop), 0);
	ck_assert_int_eq(raise(SIGHUP), 0);
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_int_eq(last_signal, SIGHUP);
	tear_down();
}
END_TEST

static int last_status = -1;

static void on_exit_of_child(void *context, int status)
{
	last_status = status;
	loop_quit(context);
}

static void run_child(struct loop_child *child, bool kill_it)
{
	pid_t pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		if (kill_it)
			pause();
		_exit(7);
	}
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	ck_assert_int_ge(pidfd, 0);
	ck_assert_int_eq(loop_child_add(loop, child, pid, pidfd, on_exit_of_child, loop), 0);
	if (kill_it)
		loop_child_kill(child, SIGKILL);
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_int_eq(child->pid, 0);
	loop_child_kill(child, SIGKILL); // harmless now
}

START_TEST(test_children)
{
	set_up();
	struct loop_child child = { 0 };
	run_child(&child, false);
	ck_assert(WIFEXITED(last_status) && WEXITSTATUS(last_status) == 7);
	run_child(&child, true);
	ck_assert(WIFSIGNALED(last_status) && WTERMSIG(last_status) == SIGKILL);
	tear_down();
}
END_TEST

UNIT_TESTS("dextd-loop", test_removal_in_batch, test_timers, test_signal, test_children)
