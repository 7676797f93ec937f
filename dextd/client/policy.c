// SPDX-License-Identifier: Apache-2.0
/* Root and dextd's own user may do everything; others may look, and open what lists them. */

#include <dextd/client/policy.h>

#include <stdbool.h>
#include <unistd.h>

#include <base/reason.h>
#include <dextd/match/bundle.h>
#include <dextd/client/client.h>

static bool is_owner(const struct client *client)
{
	return client->uid == 0 || client->uid == geteuid();
}

IOReturn policy_may_call(const struct client *client, enum policy_access access, const char *what)
{
	if (access == POLICY_ANYONE || is_owner(client))
		return kIOReturnSuccess;
	return refuse(kIOReturnNotPermitted, "%s is for root and uid %u, not for uid %u", what,
		      geteuid(), client->uid);
}

IOReturn policy_may_open(const struct client *client, const struct personality *personality)
{
	if (is_owner(client) || personality_allows(personality, client->uid))
		return kIOReturnSuccess;
	return refuse(kIOReturnNotPermitted,
		      "uid %u may not open it: add the user to OpenDextAllowedUsers of %s in %s",
		      client->uid, personality->name, personality->bundle->path);
}
