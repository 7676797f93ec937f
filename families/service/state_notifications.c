// SPDX-License-Identifier: Apache-2.0
/*
 * Changes of a service's state, for drivers: a watch of dextd's (dextd/process/state_watches.c)
 * that tells once each time that it was begun, below; the rules of all sources above.
 */

#include <DriverKit/IOServiceStateNotificationDispatchSource.h>

#include <stdlib.h>

#include <base/reason.h>
#include <families/service/host.h>
#include <families/service/service.h>
#include <families/service/watch.h>
#include <protocol/dextd.h>
#include <runtime/dispatch_source.h>

struct notifications {
	struct watch watch;
	struct IODispatchSource_IVars *state; // a reference, until it is stopped
};

struct IOServiceStateNotificationDispatchSource_IVars {
	struct notifications *notifications; // the state's, as long as the object lives
};

static void on_changed(void *context)
{
	struct notifications *n = context;

	source_signal(n->state, 0);
}

static void fill(void *context, unsigned line, OSAction *handler, void *room)
{
	struct IOServiceStateNotificationDispatchSource_StateNotificationReady_Msg *msg = room;

	(void)context;
	(void)line;
	msg->action = handler;
}

static void stop(void *context)
{
	struct notifications *n = context;

	watch_end(&n->watch);
	source_unref(n->state);
}

static const struct source_ops state_ops = {
	.name = "IOServiceStateNotificationDispatchSource",
	.n_lines = 1,
	.shapes = { &IOServiceStateNotificationDispatchSource_StateNotificationReady_Shape },
	.fill = fill,
	.stop = stop,
	.free = free,
};

_Static_assert(sizeof(struct IOServiceStateNotificationDispatchSource_StateNotificationReady_Msg) <=
		       SOURCE_MESSAGE_MAX,
	       "the message fits");

static kern_return_t set_up(IOServiceStateNotificationDispatchSource *self, IOService *service,
			    OSArray *items, IODispatchQueue *queue)
{
	struct notifications *n = calloc(1, sizeof(*n));

	self->ivars = calloc(1, sizeof(*self->ivars));
	if (n == NULL || self->ivars == NULL) {
		free(n);
		return refuse(kIOReturnNoMemory, "out of memory for notifications");
	}
	kern_return_t ret = source_init(&self->super, &state_ops, n, queue, true);
	if (ret != kIOReturnSuccess) {
		free(n);
		return ret;
	}
	self->ivars->notifications = n;
	n->state = source_ref(self->super.ivars);
	watch_begin(&n->watch, on_changed, n);
	struct DextRegistrar_WatchState_Msg msg = {
		.cookie = n->watch.cookie,
		.service = service_id(service),
		.items = items,
	};
	return host_call(&DextRegistrar_WatchState_Shape, &msg, NULL);
}

kern_return_t
IOServiceStateNotificationDispatchSource_Create(IOService *service, OSArray *items,
						IODispatchQueue *queue,
						IOServiceStateNotificationDispatchSource **source)
{
	if (service == NULL || items == NULL || queue == NULL || source == NULL)
		return refuse(kIOReturnBadArgument,
			      "state notifications need a service, items, a queue and a place");
	IOServiceStateNotificationDispatchSource *made =
		OSTypeAlloc(IOServiceStateNotificationDispatchSource);
	if (made == NULL)
		return refuse(kIOReturnNoMemory, "out of memory for notifications");
	kern_return_t ret = set_up(made, service, items, queue);
	if (ret != kIOReturnSuccess) {
		OSObjectRelease(made);
		return ret;
	}
	*source = made;
	return kIOReturnSuccess;
}

void IMPL(IOServiceStateNotificationDispatchSource, free)
{
	free(self->ivars);
	self->ivars = NULL;
	IOServiceStateNotificationDispatchSource_super_free(self);
}

kern_return_t
IOServiceStateNotificationDispatchSource_SetHandler(IOServiceStateNotificationDispatchSource *self,
						    OSAction *action)
{
	return source_set_handler(
		IOServiceStateNotificationDispatchSource_as_IODispatchSource(self), 0, action);
}

kern_return_t IOServiceStateNotificationDispatchSource_StateNotificationBegin(
	IOServiceStateNotificationDispatchSource *self)
{
	kern_return_t ret =
		source_check(IOServiceStateNotificationDispatchSource_as_IODispatchSource(self),
			     "StateNotificationBegin");

	if (ret != kIOReturnSuccess)
		return ret;
	struct DextRegistrar_BeginStateWatch_Msg msg = {
		.cookie = self->ivars->notifications->watch.cookie,
	};
	return host_call(&DextRegistrar_BeginStateWatch_Shape, &msg, NULL);
}
