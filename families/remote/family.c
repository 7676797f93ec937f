// SPDX-License-Identifier: Apache-2.0
/*
 * A provider that is a service of another driver: dextd gives a socket to it, and the names of its
 * classes.
 */

#include <DriverKit/OSCollections.h>
#include <base/reason.h>
#include <families/family.h>
#include <families/remote/link.h>

static kern_return_t create_provider(struct device_handover *handover, IOService **provider)
{
	OSArray *classes = OSDynamicCast(
		OSArray, OSDictionary_getObject(handover->properties, "IOUserClasses"));
	struct remote_link *link = NULL;
	int ret = remote_link_open(&link, handover_take_fd(handover, 0), NULL, NULL, NULL);

	if (ret < 0)
		return refuse(return_from_errno(ret),
			      "the socket to the provider's driver cannot be used");
	kern_return_t status = remote_link_take_root(link, classes, provider);
	if (status != kIOReturnSuccess)
		remote_link_close(link);
	else
		provider_identify(*provider, handover);
	return status;
}

static const struct family_ops remote_family = {
	.provider_class = FAMILY_REMOTE,
	.create_provider = create_provider,
};

__attribute__((constructor)) static void register_family(void)
{
	family_register(&remote_family);
}
