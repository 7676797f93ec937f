// SPDX-License-Identifier: Apache-2.0
/*
 * A provider that is a service of another driver: dextd gives a socket to it, and the names of its
 * classes.
 */

#include <DriverKit/OSCollections.h>
#include <base/reason.h>
#include <families/family.h>
#include <families/remote/link.h>

kern_return_t remote_open_service(int fd, OSArray *classes, IOService **service)
{
	struct remote_link *link = NULL;
	int ret = remote_link_open(&link, fd, NULL, NULL, NULL);

	if (ret < 0)
		return refuse(return_from_errno(ret),
			      "the socket to the service's driver cannot be used");
	kern_return_t status = remote_link_take_root(link, classes, service);
	if (status != kIOReturnSuccess)
		remote_link_close(link);
	return status;
}

static kern_return_t create_provider(struct device_handover *handover, IOService **provider)
{
	OSArray *classes = OSDynamicCast(
		OSArray, OSDictionary_getObject(handover->properties, "IOUserClasses"));
	kern_return_t status =
		remote_open_service(handover_take_fd(handover, 0), classes, provider);

	if (status == kIOReturnSuccess)
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
