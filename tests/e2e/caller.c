// SPDX-License-Identifier: Apache-2.0
/* An application that dies while its call is in the driver's hands. */

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <IOKit/IOKitLib.h>

#include "victim.h"

static io_connect_t victim;

static void *call(void *unused)
{
	IOConnectCallScalarMethod(victim, VICTIM_WAIT, NULL, 0, NULL, NULL);
	return unused;
}

int main(void)
{
	io_service_t service =
		IOServiceGetMatchingService(kIOMainPortDefault, IOServiceMatching("Victim"));
	mach_vm_address_t address = 0;
	mach_vm_size_t size = 0;
	pthread_t caller;
	if (IOServiceOpen(service, mach_task_self(), 0, &victim) != kIOReturnSuccess ||
	    IOConnectMapMemory64(victim, VICTIM_TYPE_SHARED, mach_task_self(), &address, &size,
				 kIOMapAnywhere) != kIOReturnSuccess ||
	    pthread_create(&caller, NULL, call, NULL) != 0)
		return EXIT_FAILURE;
	/* The driver says in the memory that it has the call. */
	const _Atomic uint8_t *bytes = (const _Atomic uint8_t *)(uintptr_t)address;
	while (bytes[0] == 0)
		sched_yield();
	kill(getpid(), SIGKILL);
	return EXIT_FAILURE;
}
