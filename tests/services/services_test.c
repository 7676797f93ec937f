// SPDX-License-Identifier: Apache-2.0
/* A service and the registry: what a driver asks of it, and what applications then see. */

#include <check.h>
#include <stdlib.h>

#include <tests/e2e/rig.h>

static struct rig rig;

static void start(void)
{
	const char *const options[] = { "--bundles", getenv("SERVICES_BUNDLES"), NULL };
	rig_start(&rig, NULL, options);
}

START_TEST(a_driver_asks_the_registry)
{
	start();
	io_service_t clerk = rig_wait_service("Clerk");
	ck_assert_uint_gt(rig_number(clerk, "Checked"), 50);
	ck_assert_msg(rig_number(clerk, "Failed") == 0, "Clerk.c:%llu",
		      (unsigned long long)rig_number(clerk, "Failed"));
	ck_assert_uint_eq(rig_number(clerk, "a"), 0); // removed
	ck_assert_uint_eq(rig_number(clerk, "b"), 2);
	io_name_t name;
	ck_assert_int_eq(IORegistryEntryGetName(clerk, name), kIOReturnSuccess);
	ck_assert_str_eq(name, "the clerk");
	IOObjectRelease(clerk);
	rig_stop(&rig);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("services");
	TCase *tc = tcase_create("services");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_driver_asks_the_registry);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
