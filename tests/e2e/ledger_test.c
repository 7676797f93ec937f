// SPDX-License-Identifier: Apache-2.0
/*
 * OPENDEXT_DEBUG=objects, seen by who debugs a driver: set for dextd, it reaches the driver, and
 * the driver's report comes though the driver may open nothing.
 */

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rig.h"
#include "victim.h"

static char out[256 * 1024];

static kern_return_t misuse(io_connect_t victim)
{
	return IOConnectCallScalarMethod(victim, VICTIM_MISUSE, NULL, 0, NULL, NULL);
}

static void on_completion(void *refcon, IOReturn result)
{
	(void)refcon;
	(void)result;
}

/* An asynchronous call stays under way, and its application closes. */
static kern_return_t forget(io_connect_t victim)
{
	IONotificationPortRef port = IONotificationPortCreate(kIOMainPortDefault);
	uint64_t reference[kIOAsyncCalloutCount] = {
		[kIOAsyncCalloutFuncIndex] = (uint64_t)(uintptr_t)on_completion,
	};
	kern_return_t ret = IOConnectCallAsyncScalarMethod(
		victim, VICTIM_KEEP, IONotificationPortGetMachPort(port), reference,
		kIOAsyncCalloutCount, NULL, 0, NULL, NULL);
	if (ret == kIOReturnSuccess)
		ret = IOConnectCallScalarMethod(victim, VICTIM_FORGET, NULL, 0, NULL, NULL);
	IONotificationPortDestroy(port);
	return ret;
}

/* Everything that the driver writes, and dextd too, while `use` has it open. */
static void debug_use(kern_return_t (*use)(io_connect_t victim))
{
	struct rig rig;
	char path[] = "/tmp/dext-e2e-ledger.XXXXXX";
	int fd = mkstemp(path), saved = dup(STDERR_FILENO);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	setenv("OPENDEXT_DEBUG", "objects", 1);
	rig_start(&rig, NULL, NULL);
	io_connect_t victim = rig_open();
	kern_return_t ret = use(victim);
	IOServiceClose(victim);
	rig_stop(&rig);
	ck_assert_int_eq(dup2(saved, STDERR_FILENO), STDERR_FILENO);
	ck_assert_int_eq(ret, kIOReturnSuccess);
	ssize_t size = pread(fd, out, sizeof(out) - 1, 0);
	ck_assert_int_gt(size, 0);
	out[size] = '\0';
	close(fd);
	close(saved);
}

/* The part of a driver's line behind its name and process. */
static const char *driver_line(const char *part)
{
	for (const char *line = out; *line != '\0'; line = strchr(line, '\n') + 1) {
		const char *found = strstr(line, part);
		if (strncmp(line, "victim[", 7) == 0 && found != NULL && found < strchr(line, '\n'))
			return found;
	}
	ck_abort_msg("the driver wrote no line with \"%s\":\n%s", part, out);
}

START_TEST(a_confined_driver_reports)
{
	debug_use(misuse);
	driver_line("release of a freed OSNumber, at victim+0x"); // a function of the driver
	driver_line("it was made at OSNumber_withNumber+0x");
	driver_line("and freed at victim+0x");
	driver_line("alive at exit: 1 OSObject with 1 references, made at victim+0x");
	driver_line(" 1 wrong uses");
}
END_TEST

/* What holds a completion hears that its application is gone, before it is stopped; and a client
 * whose author forgot to cancel its own action is freed all the same, and the log says why. */
START_TEST(a_driver_that_forgets_is_told_and_freed)
{
	debug_use(forget);
	const char *told = strstr(out, "the application of what was kept is gone");
	const char *stopped = strstr(out, "the client stops");
	const char *log = driver_line("VictimUserClient: Stop left 1 actions uncancelled, one of "
				      "them for VictimUserClient::forgotten");
	const char *freed = strstr(out, "the client is freed");
	ck_assert(told != NULL && stopped != NULL && freed != NULL);
	ck_assert(told < stopped && stopped < log && log < freed);
	ck_assert_ptr_null(strstr(out, "VictimUserClient with"));
	ck_assert_ptr_null(strstr(out, "OSAction with"));
	driver_line(" 0 wrong uses");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ledger");
	TCase *tc = tcase_create("ledger");
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, a_confined_driver_reports);
	tcase_add_test(tc, a_driver_that_forgets_is_told_and_freed);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
