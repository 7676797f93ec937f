// SPDX-License-Identifier: Apache-2.0
/* Who may do what: root, dextd's own user, one who is listed, and a stranger. */

#include <base/unit_test.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/reason.h>
#include <dextd/match/bundle.h>
#include <dextd/client/client.h>
#include <dextd/match/plist.h>
#include <dextd/client/policy.h>

enum { LISTED = 70001, STRANGER = 70002 };

static const char keys[] = "<plist version=\"1.0\"><dict><key>OpenDextAllowedUsers</key><array>"
			   "<integer>70001</integer></array></dict></plist>";

START_TEST(owner_may_and_stranger_may_not)
{
	const struct client root = { .uid = 0 }, own = { .uid = geteuid() };
	const struct client listed = { .uid = LISTED }, stranger = { .uid = STRANGER };
	char path[] = "/b.dext", name[] = "P";
	struct bundle bundle = { .path = path };
	struct personality personality = { .bundle = &bundle, .name = name };
	ck_assert_int_eq(plist_read(keys, strlen(keys), &personality.keys), 0);

	ck_assert_int_eq(policy_may_open(&root, &personality), kIOReturnSuccess);
	ck_assert_int_eq(policy_may_open(&own, &personality), kIOReturnSuccess);
	ck_assert_int_eq(policy_may_open(&listed, &personality), kIOReturnSuccess);
	ck_assert_int_eq(policy_may_open(&stranger, &personality), kIOReturnNotPermitted);
	ck_assert_ptr_nonnull(strstr(reason_last(), "add the user to OpenDextAllowedUsers of P"));

	ck_assert_int_eq(policy_may_call(&stranger, POLICY_ANYONE, "look"), kIOReturnSuccess);
	ck_assert_int_eq(policy_may_call(&root, POLICY_OWNER, "kill"), kIOReturnSuccess);
	ck_assert_int_eq(policy_may_call(&own, POLICY_OWNER, "kill"), kIOReturnSuccess);
	ck_assert_int_eq(policy_may_call(&listed, POLICY_OWNER, "kill"), kIOReturnNotPermitted);
	ck_assert_ptr_nonnull(strstr(reason_last(), "kill is for root"));
	OSObjectRelease(personality.keys);
}
END_TEST

/* What has a name and no list is for dextd's user alone. */
START_TEST(no_list_is_nobody)
{
	const struct client stranger = { .uid = STRANGER };
	char path[] = "/b.dext", name[] = "P";
	struct bundle bundle = { .path = path };
	struct personality personality = {
		.bundle = &bundle,
		.name = name,
		.keys = OSDictionary_withCapacity(1),
	};
	ck_assert_int_eq(policy_may_open(&stranger, &personality), kIOReturnNotPermitted);
	OSObjectRelease(personality.keys);
}
END_TEST

UNIT_TESTS("dextd-policy", owner_may_and_stranger_may_not, no_list_is_nobody)
