// SPDX-License-Identifier: Apache-2.0
/*
 * The machine's sleep as logind tells of it. The bus and logind are one further process of this
 * test, which speaks to dextd alone: no bus needs to run, and no machine sleeps.
 */

#include <check.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <systemd/sd-bus.h>

#include <base/clock.h>
#include <tests/e2e/rig.h>

#include "tower_rig.h"

enum { PATIENCE_MS = 10000 };

/* --- the process --- */

static struct {
	sd_bus *bus;
	int orders;    // 's' sleep, 'w' wake
	int events;    // 'i' an inhibitor was taken, 'r' it was let go of
	int inhibitor; // our end of it; -1: none
} fake = { .inhibitor = -1 };

static void need(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "fake logind: %s\n", what);
	_exit(EXIT_FAILURE);
}

static void say(char event)
{
	need(write(fake.events, &event, 1) == 1, "nobody listens");
}

static int give_inhibitor(sd_bus_message *call)
{
	const char *what, *who, *why, *mode;
	int pair[2];
	need(sd_bus_message_read(call, "ssss", &what, &who, &why, &mode) >= 0, "Inhibit");
	need(strcmp(what, "sleep") == 0 && strcmp(who, "dextd") == 0 && strcmp(mode, "delay") == 0,
	     "it is no delay of sleep");
	need(fake.inhibitor < 0 && pipe(pair) == 0, "a second inhibitor");
	need(sd_bus_reply_method_return(call, "h", pair[1]) >= 0 && sd_bus_flush(fake.bus) >= 0,
	     "no answer");
	close(pair[1]);
	fake.inhibitor = pair[0];
	say('i');
	return 1;
}

static int on_message(sd_bus_message *m, void *context, sd_bus_error *error)
{
	(void)context;
	(void)error;
	if (sd_bus_message_is_method_call(m, "org.freedesktop.DBus", "Hello"))
		return sd_bus_reply_method_return(m, "s", ":1.7");
	if (sd_bus_message_is_method_call(m, "org.freedesktop.DBus", "AddMatch"))
		return sd_bus_reply_method_return(m, "");
	if (sd_bus_message_is_method_call(m, "org.freedesktop.login1.Manager", "Inhibit"))
		return give_inhibitor(m);
	return 0;
}

static void emit(bool asleep)
{
	sd_bus_message *m = NULL;
	need(sd_bus_message_new_signal(fake.bus, &m, "/org/freedesktop/login1",
				       "org.freedesktop.login1.Manager", "PrepareForSleep") >= 0 &&
		     sd_bus_message_set_sender(m, "org.freedesktop.login1") >= 0 &&
		     sd_bus_message_append(m, "b", asleep ? 1 : 0) >= 0 &&
		     sd_bus_send(fake.bus, m, NULL) >= 0 && sd_bus_flush(fake.bus) >= 0,
	     "the signal was not sent");
	sd_bus_message_unref(m);
}

static void serve_once(void)
{
	int ret;
	char order;
	do
		ret = sd_bus_process(fake.bus, NULL);
	while (ret > 0);
	need(ret == 0, "dextd has hung up");
	struct pollfd fds[] = {
		{ .fd = sd_bus_get_fd(fake.bus), .events = (short)sd_bus_get_events(fake.bus) },
		{ .fd = fake.orders, .events = POLLIN },
		{ .fd = fake.inhibitor },
	};
	need(poll(fds, 3, PATIENCE_MS) > 0, "nothing happens");
	if ((fds[2].revents & POLLHUP) != 0) {
		close(fake.inhibitor);
		fake.inhibitor = -1;
		say('r');
	}
	if ((fds[1].revents & POLLIN) != 0) {
		need(read(fake.orders, &order, 1) == 1, "no order");
		emit(order == 's');
	}
}

static void serve(int listen_fd)
{
	sd_id128_t id =
		SD_ID128_MAKE(01, 02, 03, 04, 05, 06, 07, 08, 09, 0a, 0b, 0c, 0d, 0e, 0f, 10);
	int fd = accept(listen_fd, NULL, NULL);
	need(fd >= 0 && sd_bus_new(&fake.bus) >= 0 && sd_bus_set_fd(fake.bus, fd, fd) >= 0 &&
		     sd_bus_set_server(fake.bus, 1, id) >= 0 &&
		     sd_bus_negotiate_fds(fake.bus, 1) >= 0 &&
		     sd_bus_add_filter(fake.bus, NULL, on_message, NULL) >= 0 &&
		     sd_bus_start(fake.bus) >= 0,
	     "no bus");
	for (;;)
		serve_once();
}

/* --- the test's side --- */

static struct {
	char folder[64], path[80];
	pid_t pid;
	int orders, events;
} logind;

static void logind_fork(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char text[160];
	int orders[2], events[2];
	strcpy(logind.folder, "/tmp/dext-bus.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(logind.folder));
	snprintf(logind.path, sizeof(logind.path), "%s/bus", logind.folder);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", logind.path);
	snprintf(text, sizeof(text), "unix:path=%s", logind.path);
	ck_assert_int_eq(setenv("DBUS_SYSTEM_BUS_ADDRESS", text, 1), 0);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	ck_assert_int_eq(pipe(orders), 0);
	ck_assert_int_eq(pipe(events), 0);
	logind.pid = fork();
	ck_assert_int_ge(logind.pid, 0);
	if (logind.pid == 0) {
		fake.orders = orders[0];
		fake.events = events[1];
		serve(fd);
	}
	close(fd);
	close(orders[0]);
	close(events[1]);
	logind.orders = orders[1];
	logind.events = events[0];
}

static void logind_kill(void)
{
	ck_assert_int_eq(kill(logind.pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(logind.pid, NULL, 0), logind.pid);
}

static void logind_end(void)
{
	close(logind.orders);
	close(logind.events);
	ck_assert_int_eq(unlink(logind.path), 0);
	ck_assert_int_eq(rmdir(logind.folder), 0);
}

static void order(char what)
{
	ck_assert_int_eq(write(logind.orders, &what, 1), 1);
}

static void expect(char wanted)
{
	char event = 0;
	struct pollfd p = { .fd = logind.events, .events = POLLIN };
	ck_assert_msg(poll(&p, 1, PATIENCE_MS) == 1, "no '%c':\n%s", wanted, tower_read_log());
	ck_assert_int_eq(read(logind.events, &event, 1), 1);
	ck_assert_int_eq(event, wanted);
}

/* The last to come up, so many times. */
static void await_roofs_on(unsigned n)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	while (tower_count_in_log("life: roof 1 on") < n ||
	       tower_count_in_log("life: roof 2 on") < n)
		ck_assert_msg(clock_now_ns() < deadline, "not all came up:\n%s", tower_read_log());
}

START_TEST(the_machine_sleeps_when_all_drivers_are_off)
{
	static const char *const options[] = { "--logind", NULL };
	logind_fork();
	tower_start("LIFE_APART", options);
	for (unsigned round = 1; round <= 2; round++) {
		expect('i');
		order('s');
		expect('r');
		ck_assert_uint_eq(tower_count_in_log("life: roof 1 off"), round);
		ck_assert_uint_eq(tower_count_in_log("life: story 2 off"), round);
		ck_assert_uint_eq(tower_count_in_log("life: ground off"), round);
		order('w');
		await_roofs_on(round);
	}
	expect('i'); // for the next time
	order('s');
	expect('r');
	logind_kill(); // the bus goes while the machine seems to sleep
	tower_await_log("the machine's sleep is not followed any more");
	await_roofs_on(3);
	tower_stop();
	tower_end();
	logind_end();
}
END_TEST

START_TEST(without_a_bus_all_else_goes_on)
{
	static const char *const options[] = { "--logind", NULL };
	setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus", 1);
	tower_start("LIFE_APART", options);
	tower_await_log("the machine's sleep is not followed");
	rig_control("sleep", NULL);
	rig_control("wake", NULL);
	tower_stop();
	tower_end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("logind");
	TCase *tc = tcase_create("logind");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, the_machine_sleeps_when_all_drivers_are_off);
	tcase_add_test(tc, without_a_bus_all_else_goes_on);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
