// SPDX-License-Identifier: Apache-2.0
/*
 * What an application does to the descriptors and the memory that it shares with a driver must
 * block neither the driver nor another application. Each test has two connections: a child does its
 * worst to one of them, and calls on the other go on.
 */

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/cpu.h>
#include <client/connection.h>
#include <wire/ring_layout.h>

#include "rig.h"
#include "victim.h"

enum { WHILE_MS = 150, PATIENCE_MS = 5000 };

static struct rig rig;
static io_connect_t good, bad;
static struct connection *victim; // of `bad`: the child's alone, once there is one
static pid_t dext;                // the driver's process

static void begin(void)
{
	rig_start(&rig, NULL, NULL);
	good = rig_open();
	bad = rig_open();
	victim = connection_get(bad);
	ck_assert_ptr_nonnull(victim);
	dext = rig_process();
	ck_assert_int_eq(dext_call_timeout_set(PATIENCE_MS), kIOReturnSuccess);
}

static void end(void)
{
	ck_assert_int_eq(rig_process(), dext); // nobody had to start it again
	connection_unref(victim);
	ck_assert_int_eq(IOServiceClose(bad), kIOReturnSuccess);
	ck_assert_int_eq(IOServiceClose(good), kIOReturnSuccess);
	rig_stop(&rig);
}

/* --- the others --- */

static void call_well(uint32_t ms)
{
	uint64_t end_ns = clock_deadline_ns(ms);
	for (uint64_t i = 0; clock_now_ns() < end_ns; i++) {
		uint64_t out = 0;
		uint32_t count = 1;
		kern_return_t ret =
			IOConnectCallScalarMethod(good, VICTIM_ECHO, &i, 1, &out, &count);
		ck_assert_msg(ret == kIOReturnSuccess, "call %u: %s: %s", (unsigned)i,
			      IOReturnString(ret), dext_last_reason());
		ck_assert_uint_eq(out, i);
	}
}

/* --- the child --- */

/* One that has begun its doings writes a byte. */
static pid_t start(void (*misbehave)(int began_fd))
{
	int began[2];
	char byte;
	ck_assert_int_eq(pipe(began), 0);
	pid_t pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		close(began[0]);
		misbehave(began[1]);
		_exit(0);
	}
	close(began[1]);
	ck_assert_int_eq(read(began[0], &byte, 1), 1);
	close(began[0]);
	return pid;
}

static void began(int fd)
{
	if (write(fd, "", 1) != 1)
		_exit(1);
}

static void kill_child(pid_t pid)
{
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

/* It did what it was to do: so many of its calls were taken, so many events were sent. */
static void check_busy(uint64_t n_calls, uint64_t n_events)
{
	struct ring_view view;
	ck_assert_int_eq(ring_view_init(&view, victim->memory_fd), 0);
	ck_assert_uint_ge(view.header->taken, n_calls);
	ck_assert_uint_ge(view.header->event_tail, n_events);
	ring_view_deinit(&view);
}

static int raw_call(uint32_t kind, uint64_t selector, uint64_t async, uint32_t timeout_ms)
{
	struct ring_request request = { .kind = kind, .selector = selector, .async = async };
	struct ring_reply reply;
	request.n_scalars = kind == RING_MAP ? 2 : 1;
	request.n_scalars_out = kind == RING_MAP ? 3 : async == 0 ? 1 : 0;
	return ring_client_call(victim->ring, &request, &reply, timeout_ms);
}

static void fill(int fd)
{
	uint64_t full = UINT64_MAX - 1;
	if (write(fd, &full, sizeof(full)) < 0 && errno != EAGAIN)
		_exit(1);
}

static void toggle(int fd, bool blocking)
{
	int flags = blocking ? 0 : O_NONBLOCK;
	if (fcntl(fd, F_SETFL, flags) < 0)
		_exit(1);
}

/* --- doorbells --- */

static void block_on_doorbell(int began_fd)
{
	int fd = victim->doorbell_fds[0];
	raw_call(RING_CALL, VICTIM_ECHO, 0, 1000);
	toggle(fd, false);
	fill(fd);
	toggle(fd, true);
	began(began_fd);
	for (;;)
		raw_call(RING_CALL, VICTIM_ECHO, 0, 1); // sooner or later it blocks: itself
}

START_TEST(a_full_doorbell)
{
	pid_t child = start(block_on_doorbell);
	call_well(WHILE_MS);
	kill_child(child);
	call_well(5);
}
END_TEST

static void toggle_for_ever(int began_fd)
{
	began(began_fd);
	for (bool blocking = true;; blocking = !blocking) {
		for (unsigned i = 0; i < RING_DOORBELLS; i++) {
			int fd = victim->doorbell_fds[i];
			if (fd < 0)
				continue;
			fcntl(fd, F_SETFL, O_ASYNC | (blocking ? 0 : O_NONBLOCK));
			fcntl(fd, F_SETOWN, (pid_t)dext);
			toggle(fd, false);
			fill(fd);
			toggle(fd, blocking);
		}
		toggle(victim->socket_fd, blocking);
		fcntl(victim->memory_fd, F_SETFL, blocking ? 0 : O_NONBLOCK | O_APPEND);
		fcntl(victim->memory_fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_FUTURE_WRITE);
	}
}

START_TEST(flags_that_change)
{
	pid_t child = start(toggle_for_ever);
	call_well(WHILE_MS);
	kill_child(child);
}
END_TEST

/* --- what is not read --- */

static void read_no_events(int began_fd)
{
	toggle(victim->socket_fd, true);
	began(began_fd);
	for (;;) // the event ring is full after some; these calls are refused
		raw_call(RING_CALL, VICTIM_COMPLETE, 1, 1000);
}

START_TEST(events_that_nobody_reads)
{
	pid_t child = start(read_no_events);
	call_well(WHILE_MS);
	kill_child(child);
	check_busy(2 * RING_EVENTS, RING_EVENTS);
}
END_TEST

static void read_no_descriptors(int began_fd)
{
	int small = 1;
	setsockopt(victim->socket_fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	toggle(victim->socket_fd, true);
	began(began_fd);
	for (;;)
		raw_call(RING_MAP, 0, 0, 1000);
}

START_TEST(descriptors_that_nobody_takes)
{
	pid_t child = start(read_no_descriptors);
	call_well(WHILE_MS);
	kill_child(child);
	check_busy(100, 0);
}
END_TEST

/* --- a process that stands still --- */

static void call_and_complete(int began_fd)
{
	struct ring_event event;
	began(began_fd);
	for (;;) {
		raw_call(RING_CALL, VICTIM_COMPLETE, 1, 1000);
		raw_call(RING_CALL, VICTIM_ECHO, 0, 1000);
		while (ring_client_next_event(victim->ring, &event) == 1)
			;
		ring_client_event_sleep(victim->ring);
	}
}

START_TEST(a_process_that_is_stopped)
{
	pid_t child = start(call_and_complete);
	int status;
	for (int i = 0; i < 20; i++) {
		call_well(3);
		ck_assert_int_eq(kill(child, SIGSTOP), 0);
		ck_assert_int_eq(waitpid(child, &status, WUNTRACED), child);
		ck_assert(WIFSTOPPED(status));
		call_well(5);
		if (i < 19)
			ck_assert_int_eq(kill(child, SIGCONT), 0);
	}
	kill_child(child);
	check_busy(100, 50);
	call_well(5);
}
END_TEST

/* --- memory that changes --- */

static void scribble_for_ever(int began_fd)
{
	struct ring_view view;
	if (ring_view_init(&view, victim->memory_fd) < 0)
		_exit(1);
	began(began_fd);
	_Atomic uint32_t *words = (_Atomic uint32_t *)(void *)view.header;
	for (unsigned i = 0;; i++) {
		if (i % 64 == 0)
			raw_call(RING_CALL, VICTIM_ECHO, 0, 1);
		atomic_store(words + chance_u64() % (view.size / 4), (uint32_t)chance_u64() % 64);
		view.header->server_cpu = (uint32_t)chance_u64() % 4;
		view.header->waiting = (uint32_t)chance_u64() % 4;
		for (uint32_t slot = 0; slot < view.n_slots; slot++)
			view.slots[slot].caller_cpu = (uint32_t)chance_u64() % 4;
	}
}

START_TEST(a_ring_that_changes)
{
	pid_t child = start(scribble_for_ever);
	call_well(WHILE_MS);
	kill_child(child);
	call_well(5);
}
END_TEST

/* Hints alone: the ring stays sound, and the driver is made to look for calls that do not come. */
static void lie_for_ever(int began_fd)
{
	struct ring_view view;
	if (ring_view_init(&view, victim->memory_fd) < 0)
		_exit(1);
	began(began_fd);
	for (;;) {
		view.header->waiting = WAITING_BUSY_POLL;
		for (uint32_t slot = 0; slot < view.n_slots; slot++)
			view.slots[slot].caller_cpu = UINT32_MAX;
		raw_call(RING_CALL, VICTIM_ECHO, 0, 1000);
		for (int i = 0; i < 2000; i++)
			cpu_idle();
	}
}

START_TEST(hints_that_lie)
{
	pid_t child = start(lie_for_ever);
	call_well(WHILE_MS);
	kill_child(child);
	check_busy(100, 0);
	call_well(5);
}
END_TEST

static void punch_for_ever(int began_fd)
{
	began(began_fd);
	for (unsigned i = 0;; i++) {
		off_t from = i < 100 ? RING_HEADER_SIZE : 0; // without the header nobody is rung
		raw_call(RING_CALL, VICTIM_ECHO, 0, 1);
		fallocate(victim->memory_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from,
			  1 << 20);
		if (ftruncate(victim->memory_fd, 0) == 0)
			_exit(1); // it is sealed
	}
}

START_TEST(memory_with_holes)
{
	pid_t child = start(punch_for_ever);
	call_well(WHILE_MS);
	kill_child(child);
	call_well(5);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hostile");
	TCase *tests = tcase_create("hostile");
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, begin, end);
	tcase_add_test(tests, a_full_doorbell);
	tcase_add_test(tests, flags_that_change);
	tcase_add_test(tests, events_that_nobody_reads);
	tcase_add_test(tests, descriptors_that_nobody_takes);
	tcase_add_test(tests, a_process_that_is_stopped);
	tcase_add_test(tests, a_ring_that_changes);
	tcase_add_test(tests, hints_that_lie);
	tcase_add_test(tests, memory_with_holes);
	suite_add_tcase(suite, tests);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
