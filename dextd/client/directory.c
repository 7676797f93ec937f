// SPDX-License-Identifier: Apache-2.0
/*
 * One row per method: who may call it, and its handler. The row's wrapper asks policy.c before the
 * handler sees the message.
 */

#include <dextd/client/directory.h>

#include <errno.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/reason.h>
#include <dextd/client/awake.h>
#include <dextd/client/client.h>
#include <dextd/client/connection.h>
#include <dextd/client/interest.h>
#include <dextd/daemon.h>
#include <dextd/device/describe.h>
#include <dextd/match/explain.h>
#include <dextd/match/match.h>
#include <dextd/client/policy.h>
#include <dextd/client/quiet.h>
#include <dextd/properties.h>
#include <dextd/process/service.h>
#include <protocol/dextd.h>

enum { ENTRIES_MAX = 4096 };

static void answer(struct channel_call *call, int ret)
{
	if (ret == 0)
		channel_reply(call, kIOReturnSuccess, NULL);
	else
		channel_reply(call, return_from_errno(ret), reason_last());
}

static int append_id(OSArray *ids, const struct entry *entry)
{
	if (OSArray_getCount(ids) >= ENTRIES_MAX) {
		(void)refuse(kIOReturnOverrun, "more than %d entries: narrow the question",
			     ENTRIES_MAX);
		return -EOVERFLOW;
	}
	return properties_append_number(ids, entry->id) ? 0 : -ENOMEM;
}

static int copy_matching(const struct client *client, OSDictionary *matching, OSArray **out)
{
	if (matching == NULL) {
		(void)refuse(kIOReturnBadArgument, "a matching dictionary is needed");
		return -EINVAL;
	}
	CLEANUP(properties_release_arrayp) OSArray *ids = OSArray_withCapacity(8);
	if (ids == NULL)
		return -ENOMEM;
	/* The root is checked first and never counts: so a wrong key is an error on an empty
	 * registry too. */
	const struct registry *registry = &client->daemon->registry;
	int ret = match_service(registry->root, matching);
	const struct entry *entry;
	list_for_each(entry, &registry->published, published) {
		if (ret < 0)
			break;
		ret = match_service(entry, matching);
		if (ret == 1)
			ret = append_id(ids, entry);
	}
	if (ret < 0)
		return ret;
	*out = ids;
	ids = NULL;
	return 0;
}

static void copy_matching_services(struct client *client, struct channel_call *call, void *message)
{
	struct DextDirectory_CopyMatchingServices_Msg *msg = message;
	answer(call, copy_matching(client, msg->matching, &msg->entries));
}

static void not_found(struct channel_call *call, uint64_t id)
{
	(void)refuse(kIOReturnNotFound, "no entry %llu: it may have ended", (unsigned long long)id);
	channel_reply(call, kIOReturnNotFound, reason_last());
}

static void copy_entry(struct client *client, struct channel_call *call, void *message)
{
	struct DextDirectory_CopyEntry_Msg *msg = message;
	const struct entry *entry = registry_find(&client->daemon->registry, msg->entry);
	if (entry == NULL) {
		not_found(call, msg->entry);
		return;
	}
	msg->properties = describe_entry(entry);
	answer(call, msg->properties != NULL ? 0 : -ENOMEM);
}

static void copy_children(struct client *client, struct channel_call *call, void *message)
{
	struct DextDirectory_CopyChildren_Msg *msg = message;
	const struct entry *entry = registry_find(&client->daemon->registry, msg->entry);
	if (entry == NULL) {
		not_found(call, msg->entry);
		return;
	}
	CLEANUP(properties_release_arrayp) OSArray *ids = OSArray_withCapacity(8);
	int ret = ids != NULL ? 0 : -ENOMEM;
	const struct entry *child;
	list_for_each(child, &entry->children, sibling) {
		if (ret < 0)
			break;
		ret = append_id(ids, child);
	}
	if (ret == 0) {
		msg->entries = ids;
		ids = NULL;
	}
	answer(call, ret);
}

static void open_service(struct client *client, struct channel_call *call, void *message)
{
	struct DextDirectory_Open_Msg *msg = message;
	connection_open(client, registry_find(&client->daemon->registry, msg->entry), call, msg);
}

static void close_connection(struct client *client, struct channel_call *call, void *message)
{
	const struct DextDirectory_Close_Msg *msg = message;
	struct connection *connection = connection_find(client, msg->connection);
	if (connection == NULL || connection->call != NULL) {
		channel_reply(call, kIOReturnNotFound, "this process has no such connection");
		return;
	}
	connection_close(connection);
	channel_reply(call, kIOReturnSuccess, NULL);
}

static void keep_awake(struct client *client, struct channel_call *call, void *message)
{
	const struct DextDirectory_KeepAwake_Msg *msg = message;
	struct connection *connection = connection_find(client, msg->connection);
	if (connection == NULL || connection->call != NULL) {
		channel_reply(call, kIOReturnNotFound, "this process has no such connection");
		return;
	}
	int ret = 0;
	if (msg->keep != 0)
		ret = awake_hold(client->daemon, connection);
	else
		awake_release(client->daemon, connection);
	channel_reply(call, ret < 0 ? kIOReturnNotPermitted : kIOReturnSuccess, reason_last());
}

static void wait_quiet(struct client *client, struct channel_call *call, void *message)
{
	const struct DextDirectory_WaitQuiet_Msg *msg = message;
	quiet_wait(client, call, msg->entry, msg->timeoutMs);
}

static int watch_type_named(const char *name, enum watch_type *type)
{
	static const struct {
		const char *name;
		enum watch_type type;
	} types[] = {
		{ "IOServiceMatched", WATCH_MATCHED },
		{ "IOServicePublish", WATCH_MATCHED },
		{ "IOServiceFirstMatch", WATCH_MATCHED },
		{ "IOServiceFirstPublish", WATCH_MATCHED },
		{ "IOServiceTerminate", WATCH_TERMINATED },
		{ "IOServiceWillTerminate", WATCH_TERMINATED },
	};
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (strcmp(types[i].name, name) == 0) {
			*type = types[i].type;
			return 0;
		}
	}
	(void)refuse(kIOReturnBadArgument,
		     "%s cannot be watched: use IOServiceMatched, IOServicePublish, "
		     "IOServiceFirstMatch, IOServiceFirstPublish, IOServiceTerminate or "
		     "IOServiceWillTerminate",
		     name);
	return -EINVAL;
}

static void watch(struct client *client, struct channel_call *call, void *message)
{
	struct DextDirectory_Watch_Msg *msg = message;
	enum watch_type type;
	int ret = watch_type_named(msg->type, &type);
	if (ret == 0)
		ret = copy_matching(client, msg->matching, &msg->entries);
	if (ret == 0)
		ret = client_watch(client, type, msg->matching, msg->cookie);
	if (ret < 0)
		OSSafeReleaseNULL(msg->entries); // a refusal carries nothing
	answer(call, ret);
}

static void unwatch(struct client *client, struct channel_call *call, void *message)
{
	const struct DextDirectory_Unwatch_Msg *msg = message;
	if (client_unwatch(client, msg->cookie) == 0)
		channel_reply(call, kIOReturnSuccess, NULL);
	else
		channel_reply(call, kIOReturnNotFound, "nothing is watched with this cookie");
}

static void watch_entry(struct client *client, struct channel_call *call, void *message)
{
	const struct DextDirectory_WatchEntry_Msg *msg = message;
	struct entry *entry = registry_find(&client->daemon->registry, msg->entry);
	if (entry == NULL)
		not_found(call, msg->entry);
	else
		answer(call, interest_add(client, msg->cookie, entry));
}

static void unwatch_entry(struct client *client, struct channel_call *call, void *message)
{
	const struct DextDirectory_UnwatchEntry_Msg *msg = message;
	if (interest_end(client, msg->cookie) == 0)
		channel_reply(call, kIOReturnSuccess, NULL);
	else
		channel_reply(call, kIOReturnNotFound, "no entry is watched with this cookie");
}

static void copy_explanation(struct client *client, struct channel_call *call, void *message)
{
	struct DextDirectory_CopyExplanation_Msg *msg = message;
	struct device *device = device_find(client->daemon, msg->device);
	if (device == NULL) {
		(void)refuse(kIOReturnNotFound,
			     "no device is called %s: dextctl list shows names and ids",
			     msg->device);
		channel_reply(call, kIOReturnNotFound, reason_last());
		return;
	}
	msg->explanation = explain_device(device);
	answer(call, msg->explanation != NULL ? 0 : -ENOMEM);
}

static void control(struct client *client, struct channel_call *call, void *message)
{
	const struct DextDirectory_Control_Msg *msg = message;
	const struct entry *entry = registry_find(&client->daemon->registry, msg->entry);
	if (entry == NULL || entry->service == NULL) {
		channel_reply(call, kIOReturnNotFound, "no such service: dextctl list shows them");
		return;
	}
	IOReturn status;
	if (strcmp(msg->what, "kill") == 0)
		status = service_kill(entry->service);
	else if (strcmp(msg->what, "restart") == 0)
		status = service_restart(entry->service);
	else
		status = refuse(kIOReturnBadArgument, "%s: only kill and restart", msg->what);
	channel_reply(call, status, status == kIOReturnSuccess ? NULL : reason_last());
}

/* --- sleep --- */

struct sleep_call {
	struct power_waiter waiter;
	struct channel_call *call; // owned
};

static void on_settled(struct power_waiter *waiter, IOReturn status)
{
	struct sleep_call *s = container_of(waiter, struct sleep_call, waiter);
	channel_reply(s->call, status,
		      status == kIOReturnSuccess ? NULL : "the other was asked for");
	free(s);
}

static void set_sleep(struct client *client, struct channel_call *call, void *message)
{
	const struct DextDirectory_SetSleep_Msg *msg = message;
	struct sleep_call *s = calloc(1, sizeof(*s));
	if (s == NULL || msg->asleep > 1) {
		free(s);
		channel_reply(call, s == NULL ? kIOReturnNoMemory : kIOReturnBadArgument,
			      "SetSleep: 1 or 0, and memory for the answer");
		return;
	}
	s->call = call;
	s->waiter.settled = on_settled;
	power_set_asleep(client->daemon, msg->asleep == 1, &s->waiter);
}

static void copy_status(struct client *client, struct channel_call *call, void *message)
{
	struct DextDirectory_CopyStatus_Msg *msg = message;
	msg->status = describe_daemon(client->daemon);
	answer(call, msg->status != NULL ? 0 : -ENOMEM);
}

#define DIRECTORY_ROWS(X)                                                      \
	X(CopyMatchingServices, POLICY_ANYONE, copy_matching_services)         \
	X(CopyEntry, POLICY_ANYONE, copy_entry)                                \
	X(CopyChildren, POLICY_ANYONE, copy_children)                          \
	X(Open, POLICY_ANYONE, open_service) /* policy_may_open, by service */ \
	X(Close, POLICY_ANYONE, close_connection)                              \
	X(KeepAwake, POLICY_ANYONE, keep_awake) /* --allow-low-latency */      \
	X(Watch, POLICY_ANYONE, watch)                                         \
	X(Unwatch, POLICY_ANYONE, unwatch)                                     \
	X(WatchEntry, POLICY_ANYONE, watch_entry)                              \
	X(UnwatchEntry, POLICY_ANYONE, unwatch_entry)                          \
	X(WaitQuiet, POLICY_ANYONE, wait_quiet)                                \
	X(CopyExplanation, POLICY_ANYONE, copy_explanation)                    \
	X(Control, POLICY_OWNER, control)                                      \
	X(SetSleep, POLICY_OWNER, set_sleep)                                   \
	X(CopyStatus, POLICY_ANYONE, copy_status)

#define DIRECTORY_WRAPPER(method, access, handler)                                      \
	static void serve_##method(void *context, struct channel_call *call, void *msg) \
	{                                                                               \
		reason_clear();                                                         \
		IOReturn status = policy_may_call(context, access, #method);            \
		if (status == kIOReturnSuccess)                                         \
			handler(context, call, msg);                                    \
		else                                                                    \
			channel_reply(call, status, reason_last());                     \
	}
DIRECTORY_ROWS(DIRECTORY_WRAPPER)

#define DIRECTORY_ROW(method, access, handler) { &DextDirectory_##method##_Shape, serve_##method },

const struct channel_method directory_methods[] = {
	DIRECTORY_ROWS(DIRECTORY_ROW){ NULL, NULL },
};
