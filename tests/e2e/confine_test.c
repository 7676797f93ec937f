// SPDX-License-Identifier: Apache-2.0
/*
 * Confinement, seen from an application: the driver is asked to do what it must not, in the process
 * that dextd really started. In a build with sanitizers the filter is wider, so these run in the
 * plain build only.
 */

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rig.h"
#include "victim.h"

static struct rig rig;
static io_connect_t victim;

static void begin(void)
{
	rig_start(&rig, NULL, NULL);
	victim = rig_open();
}

static void end(void)
{
	IOServiceClose(victim);
	rig_stop(&rig);
}

static void assert_denied(uint32_t selector)
{
	uint64_t error = 0;
	uint32_t count = 1;
	kern_return_t ret = IOConnectCallScalarMethod(victim, selector, NULL, 0, &error, &count);
	ck_assert_msg(ret == kIOReturnSuccess, "%s: %s", IOReturnString(ret), dext_last_reason());
	ck_assert_uint_eq(error, EACCES);
}

START_TEST(a_path_gives_eacces)
{
	assert_denied(VICTIM_OPEN);
}
END_TEST

START_TEST(a_socket_gives_eacces)
{
	assert_denied(VICTIM_SOCKET);
}
END_TEST

START_TEST(a_program_gives_eacces)
{
	assert_denied(VICTIM_EXEC);
}
END_TEST

START_TEST(an_unknown_system_call_kills_the_driver)
{
	uint64_t error = 0;
	uint32_t count = 1;
	kern_return_t ret =
		IOConnectCallScalarMethod(victim, VICTIM_FORBIDDEN, NULL, 0, &error, &count);
	ck_assert_msg(ret == kIOReturnAborted, "%s", IOReturnString(ret));
	ck_assert_msg(strstr(dext_last_reason(), "SIGSYS") != NULL ||
			      strstr(dext_last_reason(), "system call") != NULL,
		      "the reason does not say what happened: %s", dext_last_reason());
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("confine");
	TCase *tc = tcase_create("confine");
	tcase_add_checked_fixture(tc, begin, end);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, a_path_gives_eacces);
	tcase_add_test(tc, a_socket_gives_eacces);
	tcase_add_test(tc, a_program_gives_eacces);
	tcase_add_test(tc, an_unknown_system_call_kills_the_driver);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
