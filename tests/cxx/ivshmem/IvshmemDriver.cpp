// SPDX-License-Identifier: Apache-2.0
/*
 * drivers/ivshmem a second time: the same interface file, personality and application, written as a
 * DriverKit author writes it.
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

	kern_return_t open(IvshmemDriver *driver, IOPCIDevice *device);
	void close(IvshmemDriver *driver);
};

/* --- the service --- */

bool IvshmemDriver::init()
{
	if (!super::init())
		return false;
	ivars = IONewZero(IvshmemDriver_IVars, 1);
	return ivars != nullptr;
}

void IvshmemDriver::free()
{
	IOSafeDeleteNULL(ivars, IvshmemDriver_IVars, 1);
	super::free();
}

void IvshmemDriver_IVars::close(IvshmemDriver *driver)
{
	if (pci == nullptr)
		return;
	pci->Close(driver);
	OSSafeReleaseNULL(pci);
}

kern_return_t IvshmemDriver_IVars::open(IvshmemDriver *driver, IOPCIDevice *found)
{
	kern_return_t ret = found->Open(driver);
	if (ret != kIOReturnSuccess)
		return ret;
	found->retain();
	pci = found;

	uint16_t command;
	pci->ConfigurationRead16(kIOPCIConfigurationOffsetCommand, &command);
	pci->ConfigurationWrite16(kIOPCIConfigurationOffsetCommand,
				  command | kIOPCICommandMemorySpace);
	pci->ConfigurationRead16(kIOPCIConfigurationOffsetVendorID, &vendor);
	pci->ConfigurationRead16(kIOPCIConfigurationOffsetDeviceID, &device);
	ret = pci->GetBARInfo(kBARRegisters, &registersIndex);
	if (ret != kIOReturnSuccess)
		return ret;
	return pci->GetBARInfo(kBARMemory, &memoryIndex, &memorySize);
}

kern_return_t IMPL(IvshmemDriver, Start)
{
	kern_return_t ret = Start(provider, SUPERDISPATCH);
	if (ret != kIOReturnSuccess)
		return ret;
	auto pci = OSDynamicCast(IOPCIDevice, provider);
	ret = pci != nullptr ? ivars->open(this, pci) : kIOReturnBadArgument;
	if (ret == kIOReturnSuccess)
		ret = RegisterService();
	if (ret != kIOReturnSuccess)
		ivars->close(this);
	return ret;
}

kern_return_t IMPL(IvshmemDriver, Stop)
{
	ivars->close(this);
	return super::Stop(provider);
}

kern_return_t IvshmemDriver::NewUserClient_Impl(uint32_t, IOUserClient **userClient)
{
	IOService *client = nullptr;
	kern_return_t ret = Create(this, "UserClientProperties", &client);
	if (ret == kIOReturnSuccess)
		*userClient = OSRequiredCast(IOUserClient, client);
	return ret;
}

kern_return_t IvshmemDriver::CopyMemory(IOMemoryDescriptor **memory)
{
	if (ivars->pci == nullptr)
		return kIOReturnNotOpen;
	return ivars->pci->CopyDeviceMemoryWithIndex(ivars->memoryIndex, memory, this);
}

void IvshmemDriver::GetInfo(uint64_t *info)
{
	uint32_t position = UINT32_MAX;
	ivars->pci->MemoryRead32(ivars->registersIndex, kRegisterPosition, &position);
	info[kIvshmemInfoVendor] = ivars->vendor;
	info[kIvshmemInfoDevice] = ivars->device;
	info[kIvshmemInfoMemorySize] = ivars->memorySize;
	info[kIvshmemInfoPosition] = position == UINT32_MAX ? 0 : position;
}

void IvshmemDriver::Ring(uint32_t doorbell)
{
	ivars->pci->MemoryWrite32(ivars->registersIndex, kRegisterDoorbell, doorbell);
}

/* --- the user client --- */

static kern_return_t getInfo(OSObject *target, void *, IOUserClientMethodArguments *arguments)
{
	OSRequiredCast(IvshmemDriver, target)->GetInfo(arguments->scalarOutput);
	return kIOReturnSuccess;
}

static kern_return_t ring(OSObject *target, void *, IOUserClientMethodArguments *arguments)
{
	if (arguments->scalarInput[0] > UINT32_MAX)
		return kIOReturnBadArgument;
	OSRequiredCast(IvshmemDriver, target)
		->Ring(static_cast<uint32_t>(arguments->scalarInput[0]));
	return kIOReturnSuccess;
}

static const IOUserClientMethodDispatch methods[kIvshmemMethodCount] = {
	/* function, completion, scalars and structure in, scalars and structure out */
	{ getInfo, 0, 0, 0, kIvshmemInfoCount, 0 },
	{ ring, 0, 1, 0, 0, 0 },
};

kern_return_t IvshmemUserClient::ExternalMethod(uint64_t selector,
						IOUserClientMethodArguments *arguments,
						const IOUserClientMethodDispatch *dispatch,
						OSObject *, void *reference)
{
	if (selector < kIvshmemMethodCount)
		dispatch = &methods[selector];
	return super::ExternalMethod(selector, arguments, dispatch, GetProvider(), reference);
}

kern_return_t IMPL(IvshmemUserClient, CopyClientMemoryForType)
{
	if (type != kIvshmemMemoryShared) // the super refuses, and says why
		return CopyClientMemoryForType(type, options, memory, SUPERDISPATCH);
	return OSRequiredCast(IvshmemDriver, GetProvider())->CopyMemory(memory);
}
