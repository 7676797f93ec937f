// SPDX-License-Identifier: Apache-2.0
/*
 * A dext names services by their entry ids; own_entry() is the one check that an id is its own.
 * What it may read beyond that is the device it was given, and services that it was told of.
 */

#include <dextd/process/registrar.h>

#include <errno.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/log.h>
#include <base/reason.h>
#include <dextd/client/connection.h>
#include <dextd/client/interest.h>
#include <dextd/daemon.h>
#include <dextd/latency.h>
#include <dextd/device/published.h>
#include <dextd/process/dext.h>
#include <dextd/process/service.h>
#include <dextd/process/state_watches.h>
#include <dextd/process/termination.h>
#include <dextd/process/watches.h>
#include <dextd/properties.h>
#include <dextd/state_items.h>
#include <protocol/dextd.h>

static struct entry *own_entry(const struct dext *dext, uint64_t id)
{
	struct entry *entry = registry_find(&dext->daemon->registry, id);
	if (entry == NULL || entry->service == NULL || entry->service->dext != dext)
		return NULL;
	return entry;
}

static void answer(struct channel_call *call, int ret)
{
	if (ret == 0)
		channel_reply(call, kIOReturnSuccess, NULL);
	else
		channel_reply(call, return_from_errno(ret), reason_last());
}

/* Its properties were to be changed. */
static void answer_change(const struct dext *dext, struct channel_call *call,
			  const struct entry *entry, int ret)
{
	if (ret == 0)
		interest_changed(dext->daemon, entry, kDextEntryPropertiesChanged);
	answer(call, ret);
}

static void not_yours(struct channel_call *call)
{
	channel_reply(call, kIOReturnNotFound, "this process has no such service");
}

static void register_service(void *context, struct channel_call *call, void *message)
{
	struct DextRegistrar_RegisterService_Msg *msg = message;
	struct entry *entry = own_entry(context, msg->service);
	if (entry == NULL || entry->kind != ENTRY_SERVICE) {
		not_yours(call);
		return;
	}
	if (entry->ending) {
		channel_reply(call, kIOReturnOffline, "RegisterService: it was terminated");
		return;
	}
	service_register(entry->service, entry);
	channel_reply(call, kIOReturnSuccess, NULL);
}

static void set_properties(void *context, struct channel_call *call, void *message)
{
	struct DextRegistrar_SetProperties_Msg *msg = message;
	struct entry *entry = own_entry(context, msg->service);
	reason_clear();
	if (entry == NULL)
		not_yours(call);
	else if (msg->properties == NULL)
		channel_reply(call, kIOReturnBadArgument, "SetProperties needs a dictionary");
	else
		answer_change(context, call, entry, registry_merge(entry, msg->properties));
}

static struct entry *readable_entry(const struct dext *dext, uint64_t id)
{
	struct entry *entry = registry_find(&dext->daemon->registry, id);
	const struct service *service;
	if (entry != NULL && watches_know(dext, entry))
		return entry;
	list_for_each(service, &dext->services, dext_link) {
		if (service->device->entry->id == id)
			return service->device->entry;
	}
	return own_entry(dext, id);
}

static void copy_properties(void *context, struct channel_call *call, void *message)
{
	struct DextRegistrar_CopyProperties_Msg *msg = message;
	const struct entry *entry = readable_entry(context, msg->service);
	if (entry == NULL) {
		not_yours(call);
		return;
	}
	msg->properties = registry_copy(entry);
	channel_reply(call, msg->properties != NULL ? kIOReturnSuccess : kIOReturnNoMemory, NULL);
}

static void set_name(void *context, struct channel_call *call, void *message)
{
	struct DextRegistrar_SetName_Msg *msg = message;
	struct entry *entry = own_entry(context, msg->service);
	reason_clear();
	if (entry == NULL)
		not_yours(call);
	else
		answer_change(context, call, entry, registry_set_name(entry, msg->name));
}

/* --- looking up --- */

enum { PROVIDERS_SIZE_MAX = 96 * 1024 }; // of the 128 KiB that a message may have

/* Returned; NULL: it has none. What the registry itself knows counts as a property too. */
static OSContainer *copy_property(const struct entry *entry, const char *name)
{
	CLEANUP(properties_releasep) OSDictionary *all = registry_copy(entry);
	OSContainer *value = OSDynamicCast(OSContainer, OSDictionary_getObject(all, name));
	OSObjectRetain(value);
	return value;
}

static void search_property(void *context, struct channel_call *call, void *message)
{
	struct DextRegistrar_SearchProperty_Msg *msg = message;
	const struct entry *entry = readable_entry(context, msg->service);
	if (entry == NULL) {
		not_yours(call);
		return;
	}
	for (; entry != NULL && msg->property == NULL;
	     entry = msg->parents == 1 ? entry->parent : NULL)
		msg->property = copy_property(entry, msg->name);
	if (msg->property == NULL)
		(void)refuse(kIOReturnNotFound, "%s: no such property%s", msg->name,
			     msg->parents == 1 ? " here or above" : "");
	channel_reply(call, msg->property != NULL ? kIOReturnSuccess : kIOReturnNotFound,
		      msg->property != NULL ? NULL : reason_last());
}

static void remove_property(void *context, struct channel_call *call, void *message)
{
	struct DextRegistrar_RemoveProperty_Msg *msg = message;
	struct entry *entry = own_entry(context, msg->service);
	reason_clear();
	if (entry == NULL)
		not_yours(call);
	else
		answer_change(context, call, entry, registry_remove_property(entry, msg->name));
}

/* Those of `keys`; returned. */
static OSDictionary *copy_some(const struct entry *entry, OSArray *keys)
{
	CLEANUP(properties_releasep) OSDictionary *all = registry_copy(entry);
	OSDictionary *some = OSDictionary_withCapacity(4);
	for (uint32_t i = 0; all != NULL && some != NULL && i < OSArray_getCount(keys); i++) {
		OSString *key = OSDynamicCast(OSString, OSArray_getObject(keys, i));
		const char *name = key != NULL ? OSString_getCStringNoCopy(key) : "";
		OSObject *value = OSDictionary_getObject(all, name);
		if (value != NULL && !OSDictionary_setObject(some, name, value))
			OSSafeReleaseNULL(some);
	}
	if (all == NULL)
		OSSafeReleaseNULL(some);
	return some;
}

static int copy_providers(const struct entry *entry, OSArray *keys, OSArray **out)
{
	CLEANUP(properties_release_arrayp) OSArray *found = OSArray_withCapacity(4);
	size_t size = 0;
	if (found == NULL)
		return -ENOMEM;
	for (entry = entry->parent; entry != NULL && entry->parent != NULL; entry = entry->parent) {
		OSDictionary *one = keys != NULL ? copy_some(entry, keys) : registry_copy(entry);
		if (one == NULL)
			return -ENOMEM;
		size += properties_size(one);
		if (size <= PROVIDERS_SIZE_MAX && !properties_append_consumed(found, one))
			return -ENOMEM;
		if (size > PROVIDERS_SIZE_MAX) {
			OSObjectRelease(one);
			(void)refuse(kIOReturnOverrun,
				     "the providers have more than %d KiB of properties: name "
				     "the keys",
				     PROVIDERS_SIZE_MAX / 1024);
			return -EOVERFLOW;
		}
	}
	*out = found;
	found = NULL;
	return 0;
}

static void copy_provider_properties(void *context, struct channel_call *call, void *message)
{
	struct DextRegistrar_CopyProviderProperties_Msg *msg = message;
	const struct entry *entry = readable_entry(context, msg->service);
	reason_clear();
	if (entry == NULL)
		not_yours(call);
	else
		answer(call, copy_providers(entry, msg->keys, &msg->properties));
}

/* --- busy --- */

static void adjust_busy(void *context, struct channel_call *call, void *message)
{
	struct DextRegistrar_AdjustBusy_Msg *msg = message;
	const struct dext *dext = context;
	struct entry *entry = own_entry(dext, msg->service);
	reason_clear();
	if (entry == NULL)
		not_yours(call);
	else
		answer(call, registry_adjust_busy(&dext->daemon->registry, entry, msg->delta));
}

static void get_busy_state(void *context, struct channel_call *call, void *message)
{
	struct DextRegistrar_GetBusyState_Msg *msg = message;
	const struct entry *entry = readable_entry(context, msg->service);
	if (entry == NULL) {
		not_yours(call);
		return;
	}
	msg->busy = entry->busy;
	channel_reply(call, kIOReturnSuccess, NULL);
}

static int add_child(struct dext *dext, struct entry *parent, const char *user_class,
		     struct entry **out)
{
	struct service *service = parent->service;
	if (service->n_children >= DEXT_SERVICES_MAX) {
		(void)refuse(kIOReturnNoResources, "a driver may have %u further services",
			     DEXT_SERVICES_MAX);
		return -ENOSPC;
	}
	struct registry *registry = &dext->daemon->registry;
	int ret = registry_add(registry, parent, ENTRY_SERVICE, "IOUserService", NULL, out);
	if (ret < 0)
		return ret;
	ret = registry_set_user_class(*out, user_class);
	if (ret == 0)
		ret = registry_set_name(*out, user_class);
	if (ret < 0) {
		registry_remove(registry, *out);
		return ret;
	}
	(*out)->service = service;
	(*out)->state = ENTRY_STATE_RUNNING;
	service->n_children++;
	return 0;
}

static void add_service(void *context, struct channel_call *call, void *message)
{
	struct DextRegistrar_AddService_Msg *msg = message;
	struct entry *parent = own_entry(context, msg->parent), *entry = NULL;
	reason_clear();
	if (parent == NULL || parent->kind != ENTRY_SERVICE) {
		not_yours(call);
		return;
	}
	if (parent->ending) {
		channel_reply(call, kIOReturnOffline, "Create: its maker was terminated");
		return;
	}
	int ret = add_child(context, parent, msg->userClass, &entry);
	if (ret == 0)
		msg->service = entry->id;
	answer(call, ret);
}

/* What a driver made with Create, and only that. */
static struct entry *own_child(const struct dext *dext, uint64_t id)
{
	struct entry *entry = own_entry(dext, id);
	return entry != NULL && entry->kind == ENTRY_SERVICE && entry != entry->service->entry
		       ? entry
		       : NULL;
}

static void end_service(void *context, struct channel_call *call, void *message)
{
	struct DextRegistrar_EndService_Msg *msg = message;
	struct entry *entry = own_child(context, msg->service);
	if (entry == NULL)
		not_yours(call);
	else if (entry->ending)
		channel_reply(call, kIOReturnBadArgument, "EndService: it is ending already");
	else
		termination_begin(entry->service, entry, call);
}

static void remove_service(void *context, struct channel_call *call, void *message)
{
	struct dext *dext = context;
	struct DextRegistrar_RemoveService_Msg *msg = message;
	struct entry *entry = own_child(dext, msg->service);
	if (entry == NULL) {
		not_yours(call);
		return;
	}
	termination_end(entry->service, entry);
	published_end(entry->service, entry, "its service was terminated");
	connection_end_below(dext, entry, "its service was terminated");
	entry->service->n_children -= registry_count_services(entry);
	power_leave(dext->daemon, entry);
	registry_remove(&dext->daemon->registry, entry);
	power_advance(dext->daemon);
	channel_reply(call, kIOReturnSuccess, NULL);
}

/* --- services of others --- */

static void watch_services(void *context, struct channel_call *call, void *message)
{
	struct DextRegistrar_WatchServices_Msg *msg = message;
	reason_clear();
	answer(call, watches_add(context, msg->cookie, msg->matching));
}

static void copy_service_changes(void *context, struct channel_call *call, void *message)
{
	struct DextRegistrar_CopyServiceChanges_Msg *msg = message;
	bool more = false;
	reason_clear();
	int ret = watches_take_changes(context, msg->cookie, &msg->ended, &msg->begun, &more);
	msg->more = more;
	answer(call, ret);
}

static void open_watched(void *context, struct channel_call *call, void *message)
{
	struct DextRegistrar_OpenWatched_Msg *msg = message;
	struct entry *entry = NULL;
	reason_clear();
	int ret = watches_find(context, msg->cookie, msg->service, &entry);
	if (ret == 0 && entry->service->dext == context) {
		(void)refuse(kIOReturnNotFound, "%s is of this process", entry->name);
		ret = -ENOENT;
	}
	if (ret == 0)
		ret = published_observe(entry->service, entry, &msg->socket, &msg->classes);
	if (ret == 0)
		OSObjectRetain(msg->classes);
	answer(call, ret);
}

/* --- state --- */

/* Whose state it is: a driver on a driver knows its provider by the device that this is for it. */
static struct entry *entry_with_state(const struct dext *dext, uint64_t id)
{
	struct entry *entry = readable_entry(dext, id);
	if (entry != NULL && entry->kind == ENTRY_DEVICE)
		entry = published_entry(entry->device);
	return entry;
}

static void create_state_item(void *context, struct channel_call *call, void *message)
{
	struct DextRegistrar_CreateStateItem_Msg *msg = message;
	struct entry *entry = own_entry(context, msg->service);
	reason_clear();
	if (entry == NULL)
		not_yours(call);
	else
		answer(call, state_item_add(&entry->items, msg->name, msg->schema));
}

static int set_item(struct daemon *daemon, struct entry *entry, const char *name,
		    OSDictionary *value)
{
	bool changed = false;
	uint64_t number = daemon->registry.last_change + 1;
	int ret = state_item_set(&entry->items, name, value, number, &changed);
	if (!changed)
		return ret;
	daemon->registry.last_change = number;
	state_watches_changed(daemon, entry);
	return ret;
}

static void set_state_item(void *context, struct channel_call *call, void *message)
{
	struct DextRegistrar_SetStateItem_Msg *msg = message;
	const struct dext *dext = context;
	struct entry *entry = own_entry(dext, msg->service);
	reason_clear();
	if (entry == NULL)
		not_yours(call);
	else if (msg->value == NULL)
		channel_reply(call, kIOReturnBadArgument, "an item's value is a dictionary");
	else
		answer(call, set_item(dext->daemon, entry, msg->name, msg->value));
}

static void copy_state_item(void *context, struct channel_call *call, void *message)
{
	struct DextRegistrar_CopyStateItem_Msg *msg = message;
	const struct entry *entry = entry_with_state(context, msg->service);
	reason_clear();
	if (entry == NULL) {
		not_yours(call);
		return;
	}
	msg->value = state_item_value(&entry->items, msg->name);
	OSObjectRetain(msg->value);
	if (msg->value == NULL)
		(void)refuse(kIOReturnNotFound, "%s has no item %s, or it was never set",
			     entry->name, msg->name);
	channel_reply(call, msg->value != NULL ? kIOReturnSuccess : kIOReturnNotFound,
		      reason_last());
}

static void watch_state(void *context, struct channel_call *call, void *message)
{
	struct DextRegistrar_WatchState_Msg *msg = message;
	const struct entry *entry = entry_with_state(context, msg->service);
	reason_clear();
	if (entry == NULL)
		not_yours(call);
	else
		answer(call, state_watches_add(context, msg->cookie, entry, msg->items));
}

static void begin_state_watch(void *context, struct channel_call *call, void *message)
{
	const struct DextRegistrar_BeginStateWatch_Msg *msg = message;
	reason_clear();
	answer(call, state_watches_begin(context, msg->cookie));
}

static void unwatch(void *context, struct channel_call *call, void *message)
{
	const struct DextRegistrar_Unwatch_Msg *msg = message;
	reason_clear();
	answer(call, state_watches_end(context, msg->cookie) == 0
			     ? 0
			     : watches_end(context, msg->cookie));
}

/* --- power --- */

/* A service of this dext; NULL: it was answered. */
static struct entry *powered_entry(const struct dext *dext, uint64_t id, struct channel_call *call)
{
	struct entry *entry = own_entry(dext, id);
	reason_clear();
	if (entry != NULL && entry->kind == ENTRY_SERVICE)
		return entry;
	not_yours(call);
	return NULL;
}

static void answer_status(struct channel_call *call, IOReturn status)
{
	channel_reply(call, status, status == kIOReturnSuccess ? NULL : reason_last());
}

static void join_power(void *context, struct channel_call *call, void *message)
{
	const struct dext *dext = context;
	struct DextRegistrar_JoinPower_Msg *msg = message;
	struct entry *entry = powered_entry(dext, msg->service, call);
	if (entry == NULL)
		return;
	power_join(dext->daemon, entry);
	answer_status(call, kIOReturnSuccess);
}

static void change_power(void *context, struct channel_call *call, void *message)
{
	const struct dext *dext = context;
	struct DextRegistrar_ChangePower_Msg *msg = message;
	struct entry *entry = powered_entry(dext, msg->service, call);
	if (entry != NULL)
		answer_status(call, power_wish(dext->daemon, entry, msg->flags));
}

static void override_power(void *context, struct channel_call *call, void *message)
{
	const struct dext *dext = context;
	struct DextRegistrar_OverridePower_Msg *msg = message;
	struct entry *entry = powered_entry(dext, msg->service, call);
	if (entry != NULL)
		answer_status(call, power_override(dext->daemon, entry, msg->enable != 0));
}

static void require_max_bus_stall(void *context, struct channel_call *call, void *message)
{
	const struct dext *dext = context;
	struct DextRegistrar_RequireMaxBusStall_Msg *msg = message;
	struct entry *entry = powered_entry(dext, msg->service, call);
	if (entry != NULL)
		answer_status(call, latency_require(dext->daemon, entry, msg->maxStallNs));
}

static void confined(void *context, struct channel_call *call, void *message)
{
	struct DextRegistrar_Confined_Msg *msg = message;
	uint32_t layer = sandbox_layer_named(msg->layer, strlen(msg->layer));
	(void)call;
	if (layer == SANDBOX_SECCOMP) // the others are dextd's own to put on and to know
		dext_confined(context, layer);
}

static void device_is_lost(void *context, struct channel_call *call, void *message)
{
	const struct dext *dext = context;
	struct DextRegistrar_DeviceLost_Msg *msg = message;
	(void)call;
	const struct service *service;
	list_for_each(service, &dext->services, dext_link) {
		if (service->device->entry->id != msg->provider)
			continue;
		device_lost(service->device, msg->reason);
		return;
	}
}

const struct channel_method registrar_methods[] = {
	{ &DextRegistrar_RegisterService_Shape, register_service },
	{ &DextRegistrar_SetProperties_Shape, set_properties },
	{ &DextRegistrar_CopyProperties_Shape, copy_properties },
	{ &DextRegistrar_SetName_Shape, set_name },
	{ &DextRegistrar_SearchProperty_Shape, search_property },
	{ &DextRegistrar_RemoveProperty_Shape, remove_property },
	{ &DextRegistrar_CopyProviderProperties_Shape, copy_provider_properties },
	{ &DextRegistrar_AdjustBusy_Shape, adjust_busy },
	{ &DextRegistrar_GetBusyState_Shape, get_busy_state },
	{ &DextRegistrar_AddService_Shape, add_service },
	{ &DextRegistrar_EndService_Shape, end_service },
	{ &DextRegistrar_RemoveService_Shape, remove_service },
	{ &DextRegistrar_WatchServices_Shape, watch_services },
	{ &DextRegistrar_CopyServiceChanges_Shape, copy_service_changes },
	{ &DextRegistrar_OpenWatched_Shape, open_watched },
	{ &DextRegistrar_CreateStateItem_Shape, create_state_item },
	{ &DextRegistrar_SetStateItem_Shape, set_state_item },
	{ &DextRegistrar_CopyStateItem_Shape, copy_state_item },
	{ &DextRegistrar_WatchState_Shape, watch_state },
	{ &DextRegistrar_BeginStateWatch_Shape, begin_state_watch },
	{ &DextRegistrar_Unwatch_Shape, unwatch },
	{ &DextRegistrar_JoinPower_Shape, join_power },
	{ &DextRegistrar_ChangePower_Shape, change_power },
	{ &DextRegistrar_OverridePower_Shape, override_power },
	{ &DextRegistrar_RequireMaxBusStall_Shape, require_max_bus_stall },
	{ &DextRegistrar_Confined_Shape, confined },
	{ &DextRegistrar_DeviceLost_Shape, device_is_lost },
	{ NULL, NULL },
};
