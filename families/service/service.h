/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A service from the inside: what families set on the providers they create, and what the host
 * keeps with the services it runs.
 */

#include <stdatomic.h>
#include <stdint.h>

#include <DriverKit/IOService.h>
#include <base/list.h>

struct action_set;
struct hosted;
struct interrupts;
struct iommu;
struct served_call;

/* Before Start, or on the service's default queue after; `stopped` is a futex word. */
struct IOService_IVars {
	uint64_t id;                   // registry entry; 0: none yet
	OSDictionary *properties;      // kept: a driver's personality, a provider's device
	IOService *provider;           // kept from Start until the end of Stop
	struct hosted *hosted;         // borrowed; NULL for a provider object
	struct iommu *iommu;           // kept; of a provider that does DMA; NULL: none
	struct interrupts *interrupts; // kept; of a provider that interrupts; NULL: none
	struct action_set *actions;    // kept; cancelled when it has stopped
	_Atomic uint32_t stopped;      // 1 once the base class's Stop was reached
	_Atomic bool ending;           // its Stop has begun, or is over

	/* Of a user client: the call that its connection has it execute; NULL: none. */
	struct served_call *_Atomic call;
};

/* Say who a fresh service is. `properties` is kept; may be NULL. */
void service_identify(IOService *service, uint64_t id, OSDictionary *properties);

uint64_t service_id(IOService *service);

/* Start on the service's own queue: the provider is kept from here on. */
kern_return_t service_start(IOService *service, IOService *provider);

/* Run Stop, wait for the base class to be reached, let go of the provider. Not on the service's
 * queue. A service that was stopped already, or never started, is left alone. */
void service_stop(IOService *service);

/* A service without a host is a provider: it is not this driver's to change. */
kern_return_t service_need_host(IOService *self, const char *what);

/* May `client` open a provider? Not from its Stop on, after which nobody would close it. A family
 * asks where its client_stopped comes later than the answer. kIOReturnOffline with a reason. */
kern_return_t service_may_open(IOService *client);

/* Make an instance of the class that `properties` names as IOUserClass: init()ed, with a default
 * queue. Returned. Refuses with a reason: no such key, no such class, not an IOService. */
kern_return_t service_instantiate(OSDictionary *properties, IOService **service);
