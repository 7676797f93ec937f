// SPDX-License-Identifier: Apache-2.0
/*
 * IOUserResources: the provider of a driver without a device. It is always there.
 */

#include <DriverKit/IOService.h>
#include <base/reason.h>
#include <families/family.h>

static kern_return_t create_provider(struct device_handover *handover, IOService **provider)
{
	IOService *made = OSTypeAlloc(IOService);
	if (made == NULL || !IOService_init(made)) {
		OSObjectRelease(made);
		return refuse(kIOReturnNoMemory, "no memory for the provider");
	}
	provider_identify(made, handover);
	*provider = made;
	return kIOReturnSuccess;
}

static const struct family_ops resources_family = {
	.provider_class = "IOUserResources",
	.create_provider = create_provider,
};

__attribute__((constructor)) static void register_family(void)
{
	family_register(&resources_family);
}
