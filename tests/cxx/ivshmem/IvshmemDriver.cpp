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

enum { kWaitersMax = 16 };

struct Waiter {
	IvshmemUserClient *client; // kept
	OSAction *completion;      // kept
};

struct IvshmemDriver_IVars {
	IOPCIDevice *pci; // kept while it is open; NULL: closed
	uint16_t vendor, device;
	uint8_t registersIndex, memoryIndex; // memory indices of the two BARs
	uint64_t memorySize;
	IOInterruptDispatchSource *sources[kIvshmemVectorsMax];
	OSAction *rung[kIvshmemVectorsMax]; // their handlers
	uint32_t vectors;
	Waiter waiters[kWaitersMax];
	unsigned waiterCount;

	void stopListening();
	void forget(const IvshmemUserClient *client); // nullptr: of all clients
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

/* --- doorbells --- */

void IvshmemDriver_IVars::stopListening()
{
	for (uint32_t i = 0; i < kIvshmemVectorsMax; i++) {
		if (sources[i] != nullptr)
			sources[i]->Cancel_f(nullptr, nullptr);
		if (rung[i] != nullptr)
			rung[i]->Cancel_f(nullptr, nullptr);
		OSSafeReleaseNULL(sources[i]);
		OSSafeReleaseNULL(rung[i]);
	}
	vectors = 0;
}

kern_return_t IvshmemDriver::Listen(uint32_t vector, uint32_t index)
{
	IODispatchQueue *queue = nullptr;
	kern_return_t ret = CopyDispatchQueue("Default", &queue);
	if (ret == kIOReturnSuccess)
		ret = IOInterruptDispatchSource::Create(ivars->pci, index, queue,
							&ivars->sources[vector]);
	OSSafeReleaseNULL(queue);
	if (ret == kIOReturnSuccess)
		ret = CreateActionRung(sizeof(vector), &ivars->rung[vector]);
	if (ret != kIOReturnSuccess)
		return ret;
	*static_cast<uint32_t *>(ivars->rung[vector]->GetReference()) = vector;
	ret = ivars->sources[vector]->SetHandler(ivars->rung[vector]);
	if (ret == kIOReturnSuccess)
		ret = ivars->sources[vector]->SetEnable(true);
	return ret;
}

kern_return_t IvshmemDriver::ListenToAll()
{
	uint64_t type;
	kern_return_t ret = ivars->pci->ConfigureInterrupts(kIOInterruptTypePCIMessagedX, 1,
							    kIvshmemVectorsMax);
	if (ret == kIOReturnUnsupported)
		return kIOReturnSuccess; // a card without doorbells
	for (uint32_t index = 0; ret == kIOReturnSuccess; index++) {
		if (IOInterruptDispatchSource::GetInterruptType(ivars->pci, index, &type) !=
		    kIOReturnSuccess)
			return kIOReturnSuccess;
		if ((type & kIOInterruptTypePCIMessagedX) == 0)
			continue;
		ret = Listen(ivars->vectors, index);
		ivars->vectors++;
	}
	return ret;
}

void IMPL(IvshmemDriver, Rung)
{
	IOUserClientAsyncArgumentsArray event = { *static_cast<uint32_t *>(action->GetReference()),
						  count, time };
	for (unsigned i = 0; i < ivars->waiterCount; i++)
		ivars->waiters[i].client->AsyncCompletion(
			ivars->waiters[i].completion, kIOReturnSuccess, event, kIvshmemEventCount);
}

kern_return_t IMPL(IvshmemDriver, Notify)
{
	if (ivars->vectors == 0)
		return kIOReturnUnsupported;
	if (ivars->waiterCount == kWaitersMax)
		return kIOReturnNoResources;
	client->retain();
	completion->retain();
	ivars->waiters[ivars->waiterCount++] = { client, completion };
	return kIOReturnSuccess;
}

void IvshmemDriver_IVars::forget(const IvshmemUserClient *client)
{
	for (unsigned i = waiterCount; i-- > 0;) {
		Waiter waiter = waiters[i];
		if (client != nullptr && waiter.client != client)
			continue;
		waiters[i] = waiters[--waiterCount];
		waiter.completion->release();
		waiter.client->release();
	}
}

kern_return_t IMPL(IvshmemDriver, ClientStopped)
{
	ivars->forget(client);
	return kIOReturnSuccess;
}

/* --- the card --- */

void IvshmemDriver_IVars::close(IvshmemDriver *driver)
{
	if (pci == nullptr)
		return;
	stopListening();
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
				  command | kIOPCICommandMemorySpace | kIOPCICommandBusLead);
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
		ret = ListenToAll();
	if (ret == kIOReturnSuccess)
		ret = RegisterService();
	if (ret != kIOReturnSuccess)
		ivars->close(this);
	return ret;
}

kern_return_t IMPL(IvshmemDriver, Stop)
{
	ivars->forget(nullptr);
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
	info[kIvshmemInfoVectors] = ivars->vectors;
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

static kern_return_t notify(OSObject *target, void *reference,
			    IOUserClientMethodArguments *arguments)
{
	return OSRequiredCast(IvshmemDriver, target)
		->Notify(static_cast<IvshmemUserClient *>(reference), arguments->completion);
}

static const IOUserClientMethodDispatch methods[kIvshmemMethodCount] = {
	/* function, completion, scalars and structure in, scalars and structure out */
	{ getInfo, 0, 0, 0, kIvshmemInfoCount, 0 },
	{ ring, 0, 1, 0, 0, 0 },
	{ notify, 1, 0, 0, 0, 0 },
};

kern_return_t IvshmemUserClient::ExternalMethod(uint64_t selector,
						IOUserClientMethodArguments *arguments,
						const IOUserClientMethodDispatch *dispatch,
						OSObject *, void *)
{
	if (selector < kIvshmemMethodCount)
		dispatch = &methods[selector];
	return super::ExternalMethod(selector, arguments, dispatch, GetProvider(), this);
}

kern_return_t IMPL(IvshmemUserClient, Stop)
{
	OSRequiredCast(IvshmemDriver, provider)->ClientStopped(this);
	return super::Stop(provider);
}

kern_return_t IMPL(IvshmemUserClient, CopyClientMemoryForType)
{
	if (type != kIvshmemMemoryShared) // the super refuses, and says why
		return CopyClientMemoryForType(type, options, memory, SUPERDISPATCH);
	return OSRequiredCast(IvshmemDriver, GetProvider())->CopyMemory(memory);
}
