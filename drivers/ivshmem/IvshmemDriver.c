/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The ivshmem card has four registers in BAR0 and memory in BAR2. The driver switches the card on,
 * keeps it open while it runs, and gives BAR2 to whoever asks for memory of type 0. It never
 * touches that memory itself.
 */

#include <DriverKit/IOLib.h>
#include <PCIDriverKit/PCIDriverKit.h>

#include "IvshmemDriver.h"
#include "ivshmem.h"

enum { kBARRegisters = 0, kBARMemory = 2 };

enum { // byte offsets in the registers
	kRegisterPosition = 8,
	kRegisterDoorbell = 12,
};

struct IvshmemDriver_IVars {
	IOPCIDevice *pci; // kept while it is open; NULL: closed
	uint16_t vendor, device;
	uint8_t registersIndex, memoryIndex; // memory indices of the two BARs
	uint64_t memorySize;
};

/* --- the service --- */

bool IMPL(IvshmemDriver, init)
{
	if (!IvshmemDriver_super_init(self))
		return false;
	self->ivars = IONewZero(struct IvshmemDriver_IVars, 1);
	return self->ivars != NULL;
}

void IMPL(IvshmemDriver, free)
{
	IOSafeDeleteNULL(self->ivars, struct IvshmemDriver_IVars, 1);
	IvshmemDriver_super_free(self);
}

static void closeDevice(IvshmemDriver *self)
{
	if (self->ivars->pci == NULL)
		return;
	IOPCIDevice_Close(self->ivars->pci, IvshmemDriver_as_IOService(self), 0);
	OSSafeReleaseNULL(self->ivars->pci);
}

static kern_return_t openDevice(IvshmemDriver *self, IOPCIDevice *pci)
{
	struct IvshmemDriver_IVars *ivars = self->ivars;
	kern_return_t ret = IOPCIDevice_Open(pci, IvshmemDriver_as_IOService(self), 0);
	if (ret != kIOReturnSuccess)
		return ret;
	IOPCIDevice_retain(pci);
	ivars->pci = pci;

	uint16_t command;
	IOPCIDevice_ConfigurationRead16(pci, kIOPCIConfigurationOffsetCommand, &command);
	IOPCIDevice_ConfigurationWrite16(pci, kIOPCIConfigurationOffsetCommand,
					 command | kIOPCICommandMemorySpace);
	IOPCIDevice_ConfigurationRead16(pci, kIOPCIConfigurationOffsetVendorID, &ivars->vendor);
	IOPCIDevice_ConfigurationRead16(pci, kIOPCIConfigurationOffsetDeviceID, &ivars->device);

	ret = IOPCIDevice_GetBARInfo(pci, kBARRegisters, &ivars->registersIndex, NULL, NULL);
	if (ret != kIOReturnSuccess)
		return ret;
	return IOPCIDevice_GetBARInfo(pci, kBARMemory, &ivars->memoryIndex, &ivars->memorySize,
				      NULL);
}

kern_return_t IMPL(IvshmemDriver, Start)
{
	kern_return_t ret = IvshmemDriver_super_Start(self, provider);
	if (ret != kIOReturnSuccess)
		return ret;
	IOPCIDevice *pci = OSDynamicCast(IOPCIDevice, provider);
	ret = pci != NULL ? openDevice(self, pci) : kIOReturnBadArgument;
	if (ret == kIOReturnSuccess)
		ret = IvshmemDriver_RegisterService(self);
	if (ret != kIOReturnSuccess)
		closeDevice(self);
	return ret;
}

kern_return_t IMPL(IvshmemDriver, Stop)
{
	closeDevice(self);
	return IvshmemDriver_super_Stop(self, provider);
}

kern_return_t IMPL(IvshmemDriver, NewUserClient)
{
	(void)type;
	IOService *client = NULL;
	kern_return_t ret = IvshmemDriver_Create(self, IvshmemDriver_as_IOService(self),
						 "UserClientProperties", &client);
	if (ret != kIOReturnSuccess)
		return ret;
	*userClient = OSDynamicCast(IOUserClient, client);
	return kIOReturnSuccess;
}

kern_return_t IvshmemDriver_CopyMemory(IvshmemDriver *self, IOMemoryDescriptor **memory)
{
	if (self->ivars->pci == NULL)
		return kIOReturnNotOpen;
	/* The service has the device open, so the service is who asks. */
	return IOPCIDevice_CopyDeviceMemoryWithIndex(self->ivars->pci, self->ivars->memoryIndex,
						     memory, IvshmemDriver_as_IOService(self));
}

void IvshmemDriver_GetInfo(IvshmemDriver *self, uint64_t *info)
{
	const struct IvshmemDriver_IVars *ivars = self->ivars;
	uint32_t position = UINT32_MAX;
	IOPCIDevice_MemoryRead32(ivars->pci, ivars->registersIndex, kRegisterPosition, &position);
	info[kIvshmemInfoVendor] = ivars->vendor;
	info[kIvshmemInfoDevice] = ivars->device;
	info[kIvshmemInfoMemorySize] = ivars->memorySize;
	info[kIvshmemInfoPosition] = position == UINT32_MAX ? 0 : position;
}

void IvshmemDriver_Ring(IvshmemDriver *self, uint32_t doorbell)
{
	IOPCIDevice_MemoryWrite32(self->ivars->pci, self->ivars->registersIndex, kRegisterDoorbell,
				  doorbell);
}

/* --- the user client --- */

static kern_return_t getInfo(OSObject *target, void *reference,
			     IOUserClientMethodArguments *arguments)
{
	(void)reference;
	IvshmemDriver_GetInfo(OSDynamicCast(IvshmemDriver, target), arguments->scalarOutput);
	return kIOReturnSuccess;
}

static kern_return_t ring(OSObject *target, void *reference, IOUserClientMethodArguments *arguments)
{
	(void)reference;
	if (arguments->scalarInput[0] > UINT32_MAX)
		return kIOReturnBadArgument;
	IvshmemDriver_Ring(OSDynamicCast(IvshmemDriver, target),
			   (uint32_t)arguments->scalarInput[0]);
	return kIOReturnSuccess;
}

static const IOUserClientMethodDispatch methods[kIvshmemMethodCount] = {
	[kIvshmemMethodGetInfo] = {
		.function = getInfo,
		.checkScalarOutputCount = kIvshmemInfoCount,
	},
	[kIvshmemMethodRing] = {
		.function = ring,
		.checkScalarInputCount = 1,
	},
};

kern_return_t IMPL(IvshmemUserClient, ExternalMethod)
{
	(void)target;
	if (selector < kIvshmemMethodCount)
		dispatch = &methods[selector];
	IOService *driver = IvshmemUserClient_GetProvider(self);
	return IvshmemUserClient_super_ExternalMethod(self, selector, arguments, dispatch,
						      IOService_as_OSObject(driver), reference);
}

kern_return_t IMPL(IvshmemUserClient, CopyClientMemoryForType)
{
	if (type != kIvshmemMemoryShared) // the super refuses, and says why
		return IvshmemUserClient_super_CopyClientMemoryForType(self, type, options, memory);
	IvshmemDriver *driver = OSDynamicCast(IvshmemDriver, IvshmemUserClient_GetProvider(self));
	return IvshmemDriver_CopyMemory(driver, memory);
}
