/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Scalar types, fixed-size names and plain structures that interfaces share. Parsed by C, C++ and
 * iig alike, so it holds declarations only.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <DriverKit/IOReturn.h>

/* Options of a call, or-ed. A bit without a meaning is an error. */
typedef uint32_t IOOptionBits;

/* Names have a fixed room, terminator included. A longer one is kIOReturnOverrun, never cut. */
typedef char IODispatchQueueName[256];
typedef char IOServiceName[128];
typedef char IOPropertyName[128];
typedef char IORegistryPlaneName[128]; // there is one: kIOServicePlane

/* An open file descriptor that travels with a message; -1 is none. The receiver owns what it got.
 */
typedef int dext_fd_t;

/* A range, in bytes: of this process for the processor, of the device for DMA. */
typedef struct IOAddressSegment {
	uint64_t address;
	uint64_t length;
} IOAddressSegment;

/* The room for a method's structure output that stands for any size: IOConnectCallMethod
 * (<IOKit/IOKitLib.h>) says what then happens. */
enum {
	kIOConnectMethodVarOutputSize = -3,
};

/* Power states, of IOService::SetPowerState and ChangePowerState. */
enum {
	kIOServicePowerCapabilityOff = 0x00000000,
	kIOServicePowerCapabilityOn = 0x00000002,
	kIOServicePowerCapabilityLow = 0x00010000, // on, with less power and what it costs in time
};

/* Options of IOService::SearchProperty, which says what they do. */
enum {
	kIOServiceSearchPropertyParents = 1,
};

/* What IOServiceNotificationDispatchSource tells of a service. None is never told: it is for a
 * variable of one's own. */
enum {
	kIOServiceNotificationTypeTerminated = 0,
	kIOServiceNotificationTypeMatched = 1,
};
#define kIOServiceNotificationTypeNone 0xffffffffU

/* IOMemoryDescriptor: its direction, as the device, or whoever else it is given to, sees it: In is
 * written, Out is read. DisableCopyOnWrite changes nothing: nothing is copied. */
enum {
	kIOMemoryDirectionNone = 0,
	kIOMemoryDirectionIn = 1,
	kIOMemoryDirectionOut = 2,
	kIOMemoryDirectionOutIn = 3,
	kIOMemoryDirectionInOut = 3,
	kIOMemoryDisableCopyOnWrite = 0x10,
};

/* Options of IOMemoryDescriptor::CreateMapping, which says what each does. */
enum {
	kIOMemoryMapFixedAddress = 0x1,
	kIOMemoryMapReadOnly = 0x2,
	kIOMemoryMapGuardedMask = 0x1c,
	kIOMemoryMapGuardedDefault = 0,
	kIOMemoryMapGuardedNone = 0x4,
	kIOMemoryMapGuardedSmall = 0x8,
	kIOMemoryMapGuardedLarge = 0xc,
	kIOMemoryMapCacheModeDefault = 0,
	kIOMemoryMapCacheModeInhibit = 0x100,
	kIOMemoryMapCacheModeCopyback = 0x200,
	kIOMemoryMapCacheModeWriteThrough = 0x400,
	kIOMemoryMapCacheModeRealTime = 0x800,
};

/* IOUserClient::CopyClientMemoryForType sets it in *options: the application may not write. */
enum {
	kIOUserClientMemoryReadOnly = 1,
};

/* At most 16 numbers enter a call, come back from it, or come with a completion. */
enum { kIOUserClientAsyncArgumentsCountMax = 16, kIOUserClientScalarArgumentsCountMax = 16 };
typedef uint64_t IOUserClientAsyncArgumentsArray[kIOUserClientAsyncArgumentsCountMax];

/* Largest structure that a call carries by copy; a larger one is a memory descriptor. */
enum { kIOUserClientStructureMaximumInline = 4096 };
