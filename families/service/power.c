// SPDX-License-Identifier: Apache-2.0
/*
 * A change is told to the service on its default queue, and has its answer when the base class is
 * reached, on whatever queue, at whatever time: nobody waits here. dextd has the limit. A further
 * change of the same service takes the place of one that was not acknowledged.
 */

#include <families/service/power.h>

#include <stdlib.h>

#include <base/list.h>
#include <base/log.h>
#include <base/reason.h>
#include <families/service/host.h>
#include <families/service/hosted.h>
#include <families/service/service.h>
#include <protocol/dextd.h>
#include <runtime/queue.h>
#include <wire/channel.h>

struct change {
	struct list link; // changes
	const struct hosted *hosted;
	uint64_t id;
	uint32_t flags;
	struct channel_call *call; // owned
};

static struct list changes = { &changes, &changes }; // change.link

static void change_end(struct change *c, kern_return_t status, const char *reason)
{
	list_remove(&c->link);
	host_reply(c->call, status, reason);
	free(c);
}

static struct change *find(uint64_t id)
{
	struct change *c;
	list_for_each(c, &changes, link)
		if (c->id == id)
			return c;
	return NULL;
}

void power_forget(const struct hosted *hosted)
{
	struct change *c, *next;
	list_for_each_safe(c, next, &changes, link)
		if (c->hosted == hosted)
			change_end(c, kIOReturnAborted, "the service has stopped");
}

/* --- telling --- */

struct telling {
	struct queue_item item;
	IOService *service; // kept
	uint32_t flags;
};

static void on_telling(struct queue_item *item)
{
	struct telling *t = container_of(item, struct telling, item);
	kern_return_t ret = IOService_SetPowerState(t->service, t->flags);
	if (ret != kIOReturnSuccess)
		log_warn("%s: SetPowerState(0x%x) returned %s",
			 IOService_as_OSObject(t->service)->meta->name, t->flags,
			 IOReturnString(ret));
	OSObjectRelease(t->service);
	free(t);
}

static bool tell(IOService *service, uint32_t flags)
{
	IODispatchQueue *queue = NULL;
	struct telling *t = calloc(1, sizeof(*t));
	kern_return_t ret =
		OSObject_CopyDispatchQueue(IOService_as_OSObject(service), "Default", &queue);
	bool told = t != NULL && ret == kIOReturnSuccess;
	if (told) {
		OSObjectRetain(service);
		t->service = service;
		t->flags = flags;
		t->item.run = on_telling;
		told = queue_post(queue, &t->item);
		if (!told)
			OSObjectRelease(service);
	}
	if (!told)
		free(t);
	OSObjectRelease(queue);
	return told;
}

void power_serve(struct hosted *hosted, IOService *service, struct channel_call *call,
		 uint32_t flags)
{
	uint64_t id = service_id(service);
	struct change *before = find(id), *c = calloc(1, sizeof(*c));
	if (before != NULL)
		change_end(before, kIOReturnAborted, "it was not acknowledged when the next came");
	if (c == NULL) {
		channel_reply(call, kIOReturnNoMemory, "no memory for a change of power");
		return;
	}
	*c = (struct change){ .hosted = hosted, .id = id, .flags = flags, .call = call };
	list_append(&changes, &c->link);
	if (id == hosted->id && flags == kIOServicePowerCapabilityOff)
		hosted_hold_calls(hosted, true);
	if (!tell(service, flags))
		change_end(c, kIOReturnOffline, "its queue is gone, or there is no memory");
}

/* --- the answer --- */

struct acknowledgement {
	struct queue_item item;
	struct hosted *hosted; // its end was put off
	uint64_t id;
	uint32_t flags;
};

static void on_acknowledged(struct queue_item *item)
{
	struct acknowledgement *a = container_of(item, struct acknowledgement, item);
	struct change *c = find(a->id);
	if (c != NULL && c->flags == a->flags) {
		change_end(c, kIOReturnSuccess, NULL);
		if (a->id == a->hosted->id && a->flags != kIOServicePowerCapabilityOff)
			hosted_hold_calls(a->hosted, false);
	}
	hosted_ended(a->hosted);
	free(a);
}

kern_return_t IMPL(IOService, SetPowerState)
{
	kern_return_t ret = service_need_host(self, "SetPowerState");
	if (ret != kIOReturnSuccess)
		return ret;
	struct acknowledgement *a = calloc(1, sizeof(*a));
	if (a == NULL)
		return refuse(kIOReturnNoMemory, "SetPowerState: no memory for the answer");
	a->hosted = self->ivars->hosted;
	a->id = self->ivars->id;
	a->flags = powerFlags;
	a->item.run = on_acknowledged;
	hosted_announce_end(a->hosted);
	if (host_post(&a->item))
		return kIOReturnSuccess;
	hosted_ended(a->hosted);
	free(a);
	return refuse(kIOReturnOffline, "SetPowerState: this dext is ending");
}

/* --- what a driver asks for --- */

kern_return_t IMPL(IOService, JoinPMTree)
{
	kern_return_t ret = service_need_host(self, "JoinPMTree");
	struct DextRegistrar_JoinPower_Msg msg = { .service = self->ivars->id };
	return ret != kIOReturnSuccess ? ret
				       : host_call(&DextRegistrar_JoinPower_Shape, &msg, NULL);
}

kern_return_t IMPL(IOService, ChangePowerState)
{
	kern_return_t ret = service_need_host(self, "ChangePowerState");
	struct DextRegistrar_ChangePower_Msg msg = { .service = self->ivars->id,
						     .flags = powerFlags };
	return ret != kIOReturnSuccess ? ret
				       : host_call(&DextRegistrar_ChangePower_Shape, &msg, NULL);
}

kern_return_t IMPL(IOService, SetPowerOverride)
{
	kern_return_t ret = service_need_host(self, "SetPowerOverride");
	struct DextRegistrar_OverridePower_Msg msg = { .service = self->ivars->id,
						       .enable = enable ? 1U : 0U };
	return ret != kIOReturnSuccess ? ret
				       : host_call(&DextRegistrar_OverridePower_Shape, &msg, NULL);
}

kern_return_t IMPL(IOService, RequireMaxBusStall)
{
	kern_return_t ret = service_need_host(self, "RequireMaxBusStall");
	struct DextRegistrar_RequireMaxBusStall_Msg msg = { .service = self->ivars->id,
							    .maxStallNs = maxBusStall };
	return ret != kIOReturnSuccess
		       ? ret
		       : host_call(&DextRegistrar_RequireMaxBusStall_Shape, &msg, NULL);
}
