// SPDX-License-Identifier: Apache-2.0
/*
 * The policy with real processes: who is kept out is kept out before the driver hears of it, who
 * may open comes with the entitlements that the policy gives, and a SIGHUP brings new rules.
 */

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rig.h"
#include "victim.h"

#define HEAD       "<plist version=\"1.0\"><dict><key>Rules</key><array>"
#define TAIL       "</array></dict></plist>"
#define NAME(name) "<key>Name</key><string>" name "</string>"
#define DENY       "<key>Effect</key><string>deny</string>"
#define ALLOW      "<key>Effect</key><string>allow</string>"

static struct rig rig;
static char folder[64], policy[128], said[8192];

/* With `folder` for each "@". */
static void write_policy(const char *text)
{
	char aside[160];
	snprintf(aside, sizeof(aside), "%s.new", policy);
	FILE *f = fopen(aside, "w");
	ck_assert_ptr_nonnull(f);
	for (; *text != '\0'; text++)
		ck_assert_int_ge(*text == '@' ? fputs(folder, f) : fputc(*text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_int_eq(chmod(aside, 0644), 0);
	ck_assert_int_eq(rename(aside, policy), 0);
}

static void copy_opener(const char *name)
{
	char command[512];
	snprintf(command, sizeof(command), "install -m 755 %s %s/%s", getenv("OPENER"), folder,
		 name);
	ck_assert_int_eq(system(command), 0);
}

static void begin(const char *rules, const char *keys)
{
	strcpy(folder, "/tmp/dext-policy.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chmod(folder, 0755), 0);
	snprintf(policy, sizeof(policy), "%s/rules.plist", folder);
	copy_opener("a");
	copy_opener("b");
	write_policy(rules);
	const char *const options[] = { "--policy", policy, NULL };
	rig_start_with(&rig, keys, options);
	io_service_t service = rig_wait_service("Victim");
	IOObjectRelease(service);
}

static void end(void)
{
	char command[128];
	rig_stop(&rig);
	snprintf(command, sizeof(command), "rm -r %s", folder);
	ck_assert_int_eq(system(command), 0);
}

/* Run an opener, `before` its name; what it says. */
static void open_as(const char *before, const char *name, const char *type)
{
	char command[512];
	snprintf(command, sizeof(command), "%s %s/%s %s", before, folder, name, type);
	FILE *f = popen(command, "r");
	ck_assert_ptr_nonnull(f);
	said[fread(said, 1, sizeof(said) - 1, f)] = '\0';
	ck_assert_msg(pclose(f) == 0, "%s failed: %s", command, said);
}

static void assert_said(const char *part)
{
	ck_assert_msg(strstr(said, part) != NULL, "not \"%s\" but: %s", part, said);
}

#define AS_NOBODY "setpriv --reuid=65534 --regid=65534 --clear-groups"

static bool needs_root(const char *name)
{
	if (geteuid() == 0)
		return false;
	printf("# %s: skipped: only root can run a program as another user\n", name);
	return true;
}

/* Whom a rule denies, root and dextd's own user too, the driver never hears of. */
START_TEST(a_rule_that_denies_is_asked_before_the_driver)
{
	begin(HEAD "<dict>" NAME("no b") DENY
	      "<key>Executables</key><array><string>@/b</string></array></dict>" TAIL,
	      "");
	for (int i = 0; i < 3; i++) {
		open_as("", "b", "0");
		assert_said("kIOReturnNotPermitted\n");
		assert_said("rule no b of ");
		assert_said("rules.plist denies it");
		assert_said("SIGHUP");
	}
	open_as("", "a", "0");
	assert_said("kIOReturnSuccess\n");
	assert_said("asked 1 times");
	rig_wait_explained("IOUserResources", "was refused to pid ");
	rig_wait_explained("IOUserResources", "rule no b of ");
	end();
}
END_TEST

START_TEST(a_stranger_needs_a_rule)
{
	if (needs_root("a_stranger_needs_a_rule"))
		return;
	begin(HEAD "<dict>" NAME("a") ALLOW
	      "<key>Executables</key><array><string>@/a</string></array>"
	      "<key>Users</key><array><integer>65534</integer></array>"
	      "<key>UserClientTypes</key><array><integer>0</integer></array>"
	      "<key>Bundles</key><array><string>org.opendext.test.victim</string></array>"
	      "<key>Classes</key><array><string>Victim</string></array></dict>" TAIL,
	      "");
	open_as(AS_NOBODY, "b", "0");
	assert_said("kIOReturnNotPermitted\n");
	assert_said("uid 65534 may not open it: add the user to OpenDextAllowedUsers of Victim");
	assert_said("or a rule that allows it to the policy ");
	open_as(AS_NOBODY, "a", "7");
	assert_said("kIOReturnNotPermitted\n");
	open_as(AS_NOBODY, "a", "0");
	assert_said("kIOReturnSuccess\n");
	assert_said("asked 1 times");
	ck_assert_ptr_null(strstr(said, "administrator"));
	end();
}
END_TEST

START_TEST(a_group_may_be_one_of_many)
{
	if (needs_root("a_group_may_be_one_of_many"))
		return;
	begin(HEAD "<dict>" NAME("lab") ALLOW
	      "<key>Groups</key><array><integer>61234</integer></array></dict>" TAIL,
	      "");
	open_as("setpriv --reuid=65534 --regid=65534 --groups=61233,61235", "a", "0");
	assert_said("kIOReturnNotPermitted\n");
	open_as("setpriv --reuid=65534 --regid=65534 --groups=61233,61234", "a", "0");
	assert_said("kIOReturnSuccess\n");
	open_as("setpriv --reuid=65534 --regid=61234 --clear-groups", "a", "0");
	assert_said("kIOReturnSuccess\n");
	end();
}
END_TEST

/* The bundle is named by the client's entitlement, as with DriverKit. */
START_TEST(an_entitlement_names_the_bundle)
{
	if (needs_root("an_entitlement_names_the_bundle"))
		return;
	begin(HEAD "<dict>" NAME(
		      "a") "<key>Users</key><array><integer>65534</integer></array>"
			   "<key>Executables</key><array><string>@/a</string></array>"
			   "<key>Entitlements</key><dict>"
			   "<key>com.apple.developer.driverkit.userclient-access</key>"
			   "<array><string>org.opendext.test.victim</string></array></dict></dict>" TAIL,
	      "");
	open_as(AS_NOBODY, "b", "0");
	assert_said("kIOReturnNotPermitted\n");
	open_as(AS_NOBODY, "a", "0");
	assert_said("kIOReturnSuccess\n");
	assert_said("userclient-access=org.opendext.test.victim\n");
	end();
}
END_TEST

static const char demand[] =
	"<key>IOServiceDEXTEntitlements</key><array><string>org.test.one</string>"
	"<array><string>org.test.two</string><string>org.test.three</string></array></array>";

/* What the driver demands, everybody must hold; it is told of exactly what the client holds. */
START_TEST(a_demand_must_be_met)
{
	begin(HEAD "<dict>" NAME(
		      "half") "<key>Executables</key><array><string>@/b</string></array>"
			      "<key>Entitlements</key><dict><key>org.test.two</key><true/>"
			      "<key>org.test.one</key><false/></dict></dict>"
			      "<dict>" NAME(
				      "whole") "<key>Executables</key><array><string>@/a</string></array>"
					       "<key>Entitlements</key><dict><key>org.test.two</key><string>of 2</string>"
					       "<key>org.test.three</key><array><string>x</string></array></dict></dict>"
					       "<dict>" NAME(
						       "again") "<key>Executables</key><array><string>@/a</string></array>"
								"<key>Entitlements</key><dict><key>org.test.two</key><string>of 3</string>"
								"<key>org.test.three</key><array><string>x</string><string>y</string></array>"
								"</dict></dict>" TAIL,
	      demand);
	open_as("", "b", "0");
	assert_said("kIOReturnNotPermitted\n");
	assert_said("demands an entitlement that uid ");
	assert_said("org.test.one, or org.test.two and org.test.three");
	open_as("", "a", "0");
	assert_said("kIOReturnSuccess\n");
	assert_said("org.test.two=of 2\n");
	assert_said("org.test.three=x,y\n");
	assert_said("IOUserClientCreator=pid ");
	assert_said(", a\n");
	assert_said("asked 1 times");
	if (geteuid() == 0)
		assert_said("com.apple.developer.driverkit.administrator=a boolean\n");
	end();
}
END_TEST

/* New rules come with SIGHUP; rules with a mistake do not, and those of before stay. */
START_TEST(a_signal_brings_new_rules)
{
	begin(HEAD TAIL, "");
	open_as("", "a", "0");
	assert_said("kIOReturnSuccess\n");
	write_policy(HEAD "<dict>" NAME("nobody") DENY "</dict>" TAIL);
	ck_assert_int_eq(kill(rig.dextd, SIGHUP), 0);
	rig_wait_said("status", "policy: 1 rules of ");
	open_as("", "a", "0");
	assert_said("rule nobody of ");

	write_policy(HEAD
		     "<dict>" NAME("typo") "<key>Efect</key><string>deny</string></dict>" TAIL);
	ck_assert_int_eq(kill(rig.dextd, SIGHUP), 0);
	rig_wait_said("status", "rule typo: no rule has a key Efect");
	open_as("", "a", "0");
	assert_said("rule nobody of ");
	write_policy(HEAD TAIL);
	ck_assert_int_eq(kill(rig.dextd, SIGHUP), 0);
	rig_wait_said("status", "policy: 0 rules of ");
	open_as("", "a", "0");
	assert_said("kIOReturnSuccess\n");
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("e2e-policy");
	TCase *cases = tcase_create("policy");
	tcase_set_timeout(cases, 60);
	tcase_add_test(cases, a_rule_that_denies_is_asked_before_the_driver);
	tcase_add_test(cases, a_stranger_needs_a_rule);
	tcase_add_test(cases, a_group_may_be_one_of_many);
	tcase_add_test(cases, an_entitlement_names_the_bundle);
	tcase_add_test(cases, a_demand_must_be_met);
	tcase_add_test(cases, a_signal_brings_new_rules);
	suite_add_tcase(suite, cases);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
