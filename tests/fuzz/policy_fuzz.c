/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The bytes of a policy file. What is refused has a reason; what is taken decides for some clients,
 * with and without their processes known, and never gives what is dextd's to give.
 */

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include <base/reason.h>
#include <dextd/client/client.h>
#include <dextd/client/policy.h>
#include <dextd/client/rules.h>
#include <dextd/match/bundle.h>
#include <dextd/match/entitlements.h>
#include <dextd/properties.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(const struct rules *rules, uid_t uid)
{
	char path[] = "/b.dext", name[] = "P", identifier[] = "org.test.b";
	struct bundle bundle = { .path = path, .identifier = identifier };
	struct personality personality = {
		.bundle = &bundle,
		.name = name,
		.keys = OSDictionary_withCapacity(1),
	};
	const struct client client = { .uid = uid, .gid = uid, .pidfd = -1 };
	const struct policy_request request = {
		.rules = rules,
		.client = &client,
		.personality = &personality,
		.class_name = "Driver",
	};
	OSDictionary *held = NULL;
	reason_clear();
	IOReturn ret = policy_may_open(&request, &held);
	assert((ret == kIOReturnSuccess) == (held != NULL));
	assert(ret == kIOReturnSuccess || reason_last()[0] != '\0');
	assert(held == NULL || properties_boolean(held, ENTITLEMENT_ADMIN) == (uid == 0));
	OSObjectRelease(held);
	OSObjectRelease(personality.keys);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rules *rules = rules_new("/p");
	assert(rules != NULL);
	reason_clear();
	int ret = rules_add(rules, "/p", data, size);
	assert(ret == 0 || (ret == -EINVAL && reason_last()[0] != '\0'));
	if (ret == 0) {
		ask(rules, 0);
		ask(rules, 70002);
	}
	rules_free(rules);
	return 0;
}
