// SPDX-License-Identifier: Apache-2.0
/* Add a number to the counter driver's: count [AMOUNT] */

#include <stdio.h>
#include <stdlib.h>

#include <IOKit/IOKitLib.h>
#include <opendext/client.h>

int main(int argc, char **argv)
{
	uint64_t amount = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;

	io_service_t service =
		IOServiceGetMatchingService(kIOMainPortDefault, IOServiceMatching("Counter"));
	if (service == IO_OBJECT_NULL) {
		fprintf(stderr, "no counter: %s\n", dext_last_reason());
		return EXIT_FAILURE;
	}

	io_connect_t connect = IO_OBJECT_NULL;
	uint64_t total = 0;
	uint32_t count = 1;
	kern_return_t ret = IOServiceOpen(service, mach_task_self(), 0, &connect);
	if (ret == kIOReturnSuccess)
		ret = IOConnectCallScalarMethod(connect, 0, &amount, 1, &total, &count);
	if (ret == kIOReturnSuccess)
		printf("%llu\n", (unsigned long long)total);
	else
		fprintf(stderr, "%s: %s\n", IOReturnString(ret), dext_last_reason());

	IOServiceClose(connect);
	IOObjectRelease(service);
	return ret == kIOReturnSuccess ? EXIT_SUCCESS : EXIT_FAILURE;
}
