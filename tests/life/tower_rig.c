// SPDX-License-Identifier: Apache-2.0
#include "tower_rig.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/clock.h>
#include <tests/e2e/rig.h>

#include "tower.h"

enum { PATIENCE_MS = 10000, LOG_MAX = 128 * 1024, OPTIONS_MAX = 8 };

static struct rig rig;
io_connect_t tower_ground;
static int log_fd, saved_fd;
static char text[LOG_MAX];

const char *tower_read_log(void)
{
	ssize_t size = pread(log_fd, text, sizeof(text) - 1, 0);
	ck_assert_int_ge(size, 0);
	text[size] = '\0';
	return text;
}

unsigned tower_count_in_log(const char *part)
{
	unsigned n = 0;
	for (const char *at = tower_read_log(); (at = strstr(at, part)) != NULL; at++)
		n++;
	return n;
}

unsigned tower_count_services(const char *class_name)
{
	unsigned n = 0;
	io_service_t service;
	io_iterator_t all = IO_OBJECT_NULL;
	ck_assert_int_eq(IOServiceGetMatchingServices(kIOMainPortDefault,
						      IOServiceMatching(class_name), &all),
			 kIOReturnSuccess);
	for (; (service = IOIteratorNext(all)) != IO_OBJECT_NULL; n++)
		IOObjectRelease(service);
	IOObjectRelease(all);
	return n;
}

void tower_await_roofs(void)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	while (tower_count_services("Roof") < 2)
		ck_assert_msg(clock_now_ns() < deadline, "no two roofs:\n%s", tower_read_log());
}

uint64_t tower_await_process(const char *class_name, uint64_t old)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS), pid = old;
	while (pid == old || pid == 0) {
		ck_assert_msg(clock_now_ns() < deadline, "no other %s than in process %llu",
			      class_name, (unsigned long long)old);
		io_service_t service = rig_wait_service(class_name);
		pid = rig_number(service, "OpenDextProcess");
		IOObjectRelease(service);
	}
	return pid;
}

void tower_start(const char *kind, const char *const *more)
{
	char path[] = "/tmp/dext-life.XXXXXX";
	const char *options[OPTIONS_MAX] = { "--bundles", getenv(kind), "--stop-timeout-ms",
					     "1000" };
	for (int n = 4; more != NULL && *more != NULL && n < OPTIONS_MAX - 1; n++)
		options[n] = *more++;
	log_fd = mkstemp(path);
	saved_fd = dup(STDERR_FILENO);
	ck_assert_int_ge(log_fd, 0);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(dup2(log_fd, STDERR_FILENO), STDERR_FILENO);
	rig_start(&rig, NULL, options);
	io_service_t service = rig_wait_service("Ground");
	kern_return_t ret = IOServiceOpen(service, mach_task_self(), 0, &tower_ground);
	ck_assert_msg(ret == kIOReturnSuccess, "%s: %s", IOReturnString(ret), dext_last_reason());
	IOObjectRelease(service);
	tower_await_roofs();
}

/* The log can be read until tower_end(). */
void tower_stop(void)
{
	IOServiceClose(tower_ground);
	rig_stop(&rig);
	ck_assert_int_eq(dup2(saved_fd, STDERR_FILENO), STDERR_FILENO);
}

void tower_end(void)
{
	close(log_fd);
	close(saved_fd);
}

kern_return_t tower_try(uint32_t what, uint64_t argument, uint64_t *result)
{
	uint32_t n = 1;
	*result = 0;
	return IOConnectCallScalarMethod(tower_ground, what, &argument, 1, result, &n);
}

uint64_t tower_must(uint32_t what, uint64_t argument)
{
	uint64_t result;
	kern_return_t ret = tower_try(what, argument, &result);
	ck_assert_msg(ret == kIOReturnSuccess, "%u: %s: %s", what, IOReturnString(ret),
		      dext_last_reason());
	return result;
}

void tower_await(uint32_t what, uint64_t wanted)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS), value;
	while ((value = tower_must(what, 0)) != wanted)
		ck_assert_msg(clock_now_ns() < deadline, "%u stays %llu:\n%s", what,
			      (unsigned long long)value, tower_read_log());
}

void tower_check_lines(const char *const *expected)
{
	static const char mark[] = "life: ";
	const char *at = tower_read_log();
	while ((at = strstr(at, mark)) != NULL) {
		at += strlen(mark);
		ck_assert_msg(*expected != NULL, "too many lines:\n%s", text);
		size_t size = strlen(*expected);
		ck_assert_msg(strncmp(at, *expected, size) == 0 && at[size] == '\n',
			      "not \"%s\":\n%s", *expected, text);
		expected++;
	}
	ck_assert_msg(*expected == NULL, "no \"%s\":\n%s", *expected, text);
}

void tower_await_log(const char *part)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	while (tower_count_in_log(part) == 0)
		ck_assert_msg(clock_now_ns() < deadline, "no \"%s\":\n%s", part, text);
}

/* The position of a line, which is there once. */
static const char *place_of(const char *line)
{
	ck_assert_msg(tower_count_in_log(line) == 1, "\"%s\" is there %u times:\n%s", line,
		      tower_count_in_log(line), text);
	return strstr(text, line);
}

void tower_check_order(const char *first, const char *then)
{
	ck_assert_msg(place_of(first) < place_of(then), "\"%s\" is after \"%s\":\n%s", first, then,
		      text);
}
