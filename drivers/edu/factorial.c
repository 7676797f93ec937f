/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Let the edu card compute: factorial [--wire] N... Each result comes as an event, after an
 * interrupt of the card: a message, or with --wire INTx. Waits up to ten seconds for the driver to
 * be there.
 */

#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <IOKit/IOKitLib.h>
#include <opendext/client.h>

#include "edu.h"

enum { PATIENCE_MS = 10000 };

struct factorial {
	IONotificationPortRef port;
	io_service_t service;
	io_connect_t connect;
	bool is_there;
	IOReturn status;
	uint64_t value, interrupts;
};

static void on_match(void *refcon, io_iterator_t iterator)
{
	struct factorial *f = refcon;
	io_service_t service;
	while ((service = IOIteratorNext(iterator)) != IO_OBJECT_NULL) {
		IOObjectRelease(f->service);
		f->service = service;
	}
}

static void on_event(void *refcon, IOReturn status, void **args, uint32_t n_args)
{
	struct factorial *f = refcon;
	f->status = status;
	if (status == kIOReturnSuccess &&
	    (n_args != kEduEventCount || (uintptr_t)args[kEduEventReason] != kEduReasonFactorial))
		return; // another application's
	f->is_there = true;
	if (status != kIOReturnSuccess)
		return;
	f->value = (uintptr_t)args[kEduEventFactorial];
	f->interrupts = (uintptr_t)args[kEduEventInterrupts];
}

static bool wait_port(struct factorial *f)
{
	struct pollfd p = { .fd = dext_notification_port_get_fd(f->port), .events = POLLIN };
	return poll(&p, 1, PATIENCE_MS) == 1 &&
	       dext_notification_port_dispatch(f->port) == kIOReturnSuccess;
}

static kern_return_t find(struct factorial *f)
{
	io_iterator_t iterator = IO_OBJECT_NULL;
	kern_return_t ret = IOServiceAddMatchingNotification(
		f->port, kIOMatchedNotification, IOServiceMatching("Edu"), on_match, f, &iterator);
	if (ret == kIOReturnSuccess)
		on_match(f, iterator); // those that are there already
	while (ret == kIOReturnSuccess && f->service == IO_OBJECT_NULL)
		if (!wait_port(f))
			ret = kIOReturnNotFound;
	IOObjectRelease(iterator);
	return ret;
}

static kern_return_t listen(struct factorial *f, uint64_t interrupt)
{
	uint64_t reference[kIOAsyncCalloutCount] = { 0 };
	reference[kIOAsyncCalloutFuncIndex] = (uint64_t)(uintptr_t)on_event;
	reference[kIOAsyncCalloutRefconIndex] = (uint64_t)(uintptr_t)f;
	kern_return_t ret = IOServiceOpen(f->service, mach_task_self(), 0, &f->connect);
	if (ret == kIOReturnSuccess)
		ret = IOConnectCallScalarMethod(f->connect, kEduMethodSetInterrupt, &interrupt, 1,
						NULL, NULL);
	if (ret == kIOReturnSuccess)
		ret = IOConnectCallAsyncScalarMethod(
			f->connect, kEduMethodNotify, IONotificationPortGetMachPort(f->port),
			reference, kIOAsyncCalloutCount, NULL, 0, NULL, NULL);
	return ret;
}

static kern_return_t compute(struct factorial *f, uint64_t n)
{
	f->is_there = false;
	kern_return_t ret =
		IOConnectCallScalarMethod(f->connect, kEduMethodCompute, &n, 1, NULL, NULL);
	while (ret == kIOReturnSuccess && !f->is_there)
		if (!wait_port(f))
			ret = kIOReturnTimeout;
	if (ret == kIOReturnSuccess)
		ret = f->status;
	if (ret == kIOReturnSuccess)
		printf("%" PRIu64 "! = %" PRIu64 "\n", n, f->value);
	return ret;
}

int main(int argc, char **argv)
{
	bool by_wire = argc > 1 && strcmp(argv[1], "--wire") == 0;
	struct factorial f = { .port = IONotificationPortCreate(kIOMainPortDefault) };
	kern_return_t ret = f.port != NULL ? find(&f) : kIOReturnNoResources;
	if (ret == kIOReturnSuccess)
		ret = listen(&f, by_wire ? kEduInterruptWire : kEduInterruptMessage);
	for (int i = by_wire ? 2 : 1; ret == kIOReturnSuccess && i < argc; i++)
		ret = compute(&f, strtoull(argv[i], NULL, 0));
	if (ret != kIOReturnSuccess)
		fprintf(stderr, "factorial: %s: %s\n", IOReturnString(ret), dext_last_reason());
	if (f.connect != IO_OBJECT_NULL)
		IOServiceClose(f.connect);
	IOObjectRelease(f.service);
	if (f.port != NULL)
		IONotificationPortDestroy(f.port);
	return ret == kIOReturnSuccess ? EXIT_SUCCESS : EXIT_FAILURE;
}
