// SPDX-License-Identifier: Apache-2.0
/* Have a room warmed: warm [DEGREES [MINUTES]]. Succeeds if it is that warm in the end. */

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include <IOKit/IOKitLib.h>
#include <opendext/client.h>

#include "thermostat.h"

struct minute {
	bool over;
	IOReturn result;
	int32_t temperature;
	bool heats;
};

static void on_minute(void *refcon, IOReturn result, void *temperature, void *heats)
{
	struct minute *minute = refcon;
	minute->over = true;
	minute->result = result;
	minute->temperature = (int32_t)(intptr_t)temperature;
	minute->heats = heats != NULL;
}

static kern_return_t pass_minute(io_connect_t connect, IONotificationPortRef port,
				 struct minute *minute)
{
	uint64_t reference[kIOAsyncCalloutCount] = {
		[kIOAsyncCalloutFuncIndex] = (uint64_t)(uintptr_t)on_minute,
		[kIOAsyncCalloutRefconIndex] = (uint64_t)(uintptr_t)minute,
	};
	*minute = (struct minute){ 0 };
	kern_return_t ret = IOConnectCallAsyncScalarMethod(
		connect, THERMOSTAT_PASS_MINUTE, IONotificationPortGetMachPort(port), reference,
		kIOAsyncCalloutCount, NULL, 0, NULL, NULL);
	struct pollfd p = { .fd = dext_notification_port_get_fd(port), .events = POLLIN };
	while (ret == kIOReturnSuccess && !minute->over)
		if (poll(&p, 1, -1) >= 0)
			ret = dext_notification_port_dispatch(port);
	return ret == kIOReturnSuccess ? minute->result : ret;
}

static kern_return_t warm(io_connect_t connect, IONotificationPortRef port, uint64_t target,
			  long minutes, struct minute *last)
{
	kern_return_t ret =
		IOConnectCallScalarMethod(connect, THERMOSTAT_SET_TARGET, &target, 1, NULL, NULL);
	for (long i = 1; ret == kIOReturnSuccess && i <= minutes; i++) {
		ret = pass_minute(connect, port, last);
		if (ret == kIOReturnSuccess && i % 10 == 0)
			printf("%3ld min  %6.2f degrees%s\n", i, last->temperature / 1000.0,
			       last->heats ? ", heating" : "");
	}
	return ret;
}

int main(int argc, char **argv)
{
	uint64_t target = (uint64_t)(1000 * (argc > 1 ? strtod(argv[1], NULL) : 21));
	long minutes = argc > 2 ? strtol(argv[2], NULL, 10) : 60;
	struct minute last = { 0 };
	io_connect_t connect = IO_OBJECT_NULL;
	io_service_t service =
		IOServiceGetMatchingService(kIOMainPortDefault, IOServiceMatching("Thermostat"));
	IONotificationPortRef port = IONotificationPortCreate(kIOMainPortDefault);
	kern_return_t ret = port != NULL && service != IO_OBJECT_NULL
				    ? IOServiceOpen(service, mach_task_self(), 0, &connect)
				    : kIOReturnNotFound;
	if (ret == kIOReturnSuccess)
		ret = warm(connect, port, target, minutes, &last);
	if (ret != kIOReturnSuccess)
		fprintf(stderr, "%s: %s\n", IOReturnString(ret), dext_last_reason());
	IOServiceClose(connect);
	IONotificationPortDestroy(port);
	IOObjectRelease(service);
	return ret == kIOReturnSuccess && llabs(last.temperature - (long long)target) < 1000
		       ? EXIT_SUCCESS
		       : EXIT_FAILURE;
}
