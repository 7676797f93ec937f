// SPDX-License-Identifier: Apache-2.0
/*
 * An application that opens the Victim as type argv[1], and prints what came of it: the status,
 * then the reason, or the entitlements that the driver was told of and how often it was asked.
 * Tests run it as somebody else, and under other names.
 */

#include <stdio.h>
#include <stdlib.h>

#include <IOKit/IOKitLib.h>
#include <opendext/client.h>

#include "victim.h"

int main(int argc, char **argv)
{
	char text[4096] = "";
	size_t size = sizeof(text);
	uint64_t asked = 0;
	uint32_t n = 1;
	io_connect_t connect = IO_OBJECT_NULL;
	io_service_t service =
		IOServiceGetMatchingService(kIOMainPortDefault, IOServiceMatching("Victim"));
	uint32_t type = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 0) : 0;
	kern_return_t ret = IOServiceOpen(service, mach_task_self(), type, &connect);
	printf("%s\n", IOReturnString(ret));
	if (ret != kIOReturnSuccess) {
		printf("%s\n", dext_last_reason());
		return EXIT_SUCCESS;
	}
	ret = IOConnectCallStructMethod(connect, VICTIM_ENTITLED, NULL, 0, text, &size);
	if (ret == kIOReturnSuccess)
		ret = IOConnectCallScalarMethod(connect, VICTIM_ASKED, NULL, 0, &asked, &n);
	if (ret != kIOReturnSuccess)
		return EXIT_FAILURE;
	printf("%sasked %llu times\n", text, (unsigned long long)asked);
	IOServiceClose(connect);
	IOObjectRelease(service);
	return EXIT_SUCCESS;
}
