/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A family turns a device that dextd handed over into the provider object a driver is started on.
 * families/service/host.c serves DextHost: for StartService it finds the family by the device's
 * IOProviderClass, lets it create the provider, allocates the personality's IOUserClass and calls
 * Start. Families register from a constructor; so do backends with their family.
 */

#include <stdint.h>

#include <DriverKit/IOService.h>

struct device_handover {
	uint64_t provider;        // the device's registry entry; 0: nobody is told of a loss
	OSDictionary *properties; // borrowed: the device's registry properties
	int fds[8];               // owned by the handover until taken; -1: none
	unsigned n_fds;
	IODispatchQueue *queue; // borrowed: where the backend's descriptors are served
};

/* The provider class, so to speak, of every service of another driver (OpenDextBackend "dext"). */
#define FAMILY_REMOTE "dext"

struct family_ops {
	const char *provider_class; // "IOUSBHostInterface"
	/* Required. May block, before Start. Takes the descriptors it keeps; names the provider
	 * (provider_identify) before the backend can lose its device. Returned. */
	kern_return_t (*create_provider)(struct device_handover *handover, IOService **provider);
	/* Optional. What the device is, for a bus that has no sysfs: an array of one dictionary of
	 * registry properties per function or interface, as matching wants them. Called in a
	 * confined process of its own (dext-probe), never in dextd. Returned. */
	kern_return_t (*copy_identity)(struct device_handover *handover, OSArray **identity);
	/* Optional. The service `client`, the matched one or one it created, has stopped:
	 * force-close what it left open. */
	void (*client_stopped)(IOService *provider, IOService *client);
};

void family_register(const struct family_ops *ops);               // at most 16; `ops` is constant
const struct family_ops *family_find(const char *provider_class); // NULL: none

/* A descriptor of the handover; consumed by the caller; -1: none left or already taken. */
int handover_take_fd(struct device_handover *handover, unsigned index);
void handover_deinit(struct device_handover *handover); // closes what nobody took
/* Give a fresh, init()ed provider its registry entry and its properties. */
void provider_identify(IOService *provider, const struct device_handover *handover);
/* The device is gone or unusable: tells dextd, once. */
void provider_lost(IOService *provider, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
