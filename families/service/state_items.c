// SPDX-License-Identifier: Apache-2.0
/* The items of a service's state. dextd keeps them (dextd/state_items.c): so others may read them
 * without asking the driver, and wait for them. */

#include <assert.h>
#include <string.h>

#include <base/reason.h>
#include <families/service/host.h>
#include <families/service/service.h>
#include <protocol/dextd.h>

static kern_return_t take_name(OSString *name, DextName room)
{
	size_t length = name != NULL ? OSString_getLength(name) : 0;

	if (length == 0 || length >= sizeof(DextName))
		return refuse(kIOReturnBadArgument, "the name of an item has 1 to %zu bytes",
			      sizeof(DextName) - 1);
	memcpy(room, OSString_getCStringNoCopy(name), length + 1);
	return kIOReturnSuccess;
}

kern_return_t IMPL(IOService, StateNotificationItemCreate)
{
	struct DextRegistrar_CreateStateItem_Msg msg = {
		.service = self->ivars->id,
		.schema = schema,
	};
	kern_return_t ret = service_need_host(self, "StateNotificationItemCreate");

	if (ret == kIOReturnSuccess)
		ret = take_name(itemName, msg.name);
	return ret == kIOReturnSuccess ? host_call(&DextRegistrar_CreateStateItem_Shape, &msg, NULL)
				       : ret;
}

kern_return_t IMPL(IOService, StateNotificationItemSet)
{
	struct DextRegistrar_SetStateItem_Msg msg = { .service = self->ivars->id, .value = value };
	kern_return_t ret = service_need_host(self, "StateNotificationItemSet");

	if (ret == kIOReturnSuccess)
		ret = take_name(itemName, msg.name);
	return ret == kIOReturnSuccess ? host_call(&DextRegistrar_SetStateItem_Shape, &msg, NULL)
				       : ret;
}

static void take_value(void *mine, void *reply)
{
	struct DextRegistrar_CopyStateItem_Msg *to = mine, *from = reply;

	to->value = from->value;
	OSObjectRetain(to->value);
}

kern_return_t IMPL(IOService, StateNotificationItemCopy)
{
	struct DextRegistrar_CopyStateItem_Msg msg = { .service = self->ivars->id };
	kern_return_t ret = take_name(itemName, msg.name);

	if (ret == kIOReturnSuccess)
		ret = host_call(&DextRegistrar_CopyStateItem_Shape, &msg, take_value);
	if (ret == kIOReturnSuccess)
		*value = msg.value;
	return ret;
}
