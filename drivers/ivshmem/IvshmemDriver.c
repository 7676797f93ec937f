/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The ivshmem card has four registers in BAR0 and memory in BAR2. The driver switches the card on,
 * keeps it open while it runs, and gives BAR2 to whoever asks for memory of type 0. It never
 * touches that memory itself.
 *
 * A card with doorbells has a vector of MSI-X for each: each is a source of its own, whose action
 * says which it is.
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

struct waiter {
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
	struct waiter waiters[kWaitersMax];
	unsigned waiterCount;
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

/* --- doorbells --- */

static void stopListening(struct IvshmemDriver_IVars *ivars)
{
	for (uint32_t i = 0; i < kIvshmemVectorsMax; i++) {
		if (ivars->sources[i] != NULL)
			IOInterruptDispatchSource_Cancel_f(ivars->sources[i], NULL, NULL);
		if (ivars->rung[i] != NULL)
			OSAction_Cancel_f(ivars->rung[i], NULL, NULL);
		OSSafeReleaseNULL(ivars->sources[i]);
		OSSafeReleaseNULL(ivars->rung[i]);
	}
	ivars->vectors = 0;
}

kern_return_t IvshmemDriver_Listen(IvshmemDriver *self, uint32_t vector, uint32_t index)
{
	struct IvshmemDriver_IVars *ivars = self->ivars;
	IODispatchQueue *queue = NULL;
	kern_return_t ret = IvshmemDriver_CopyDispatchQueue(self, "Default", &queue);
	if (ret == kIOReturnSuccess)
		ret = IOInterruptDispatchSource_Create(IOPCIDevice_as_IOService(ivars->pci), index,
						       queue, &ivars->sources[vector]);
	OSSafeReleaseNULL(queue);
	if (ret == kIOReturnSuccess)
		ret = IvshmemDriver_CreateActionRung(self, sizeof(vector), &ivars->rung[vector]);
	if (ret != kIOReturnSuccess)
		return ret;
	*(uint32_t *)OSAction_GetReference(ivars->rung[vector]) = vector;
	ret = IOInterruptDispatchSource_SetHandler(ivars->sources[vector], ivars->rung[vector]);
	if (ret == kIOReturnSuccess)
		ret = IOInterruptDispatchSource_SetEnable(ivars->sources[vector], true);
	return ret;
}

/* The wire, if there is one, comes before the messages. */
kern_return_t IvshmemDriver_ListenToAll(IvshmemDriver *self)
{
	IOService *provider = IOPCIDevice_as_IOService(self->ivars->pci);
	uint64_t type;
	kern_return_t ret = IOPCIDevice_ConfigureInterrupts(
		self->ivars->pci, kIOInterruptTypePCIMessagedX, 1, kIvshmemVectorsMax, 0);
	if (ret == kIOReturnUnsupported)
		return kIOReturnSuccess; // a card without doorbells
	for (uint32_t index = 0; ret == kIOReturnSuccess; index++) {
		if (IOInterruptDispatchSource_GetInterruptType(provider, index, &type) !=
		    kIOReturnSuccess)
			return kIOReturnSuccess;
		if ((type & kIOInterruptTypePCIMessagedX) == 0)
			continue;
		ret = IvshmemDriver_Listen(self, self->ivars->vectors, index);
		self->ivars->vectors++;
	}
	return ret;
}

void IMPL(IvshmemDriver, Rung)
{
	const struct IvshmemDriver_IVars *ivars = self->ivars;
	const IOUserClientAsyncArgumentsArray event = {
		[kIvshmemEventVector] = *(uint32_t *)OSAction_GetReference(action),
		[kIvshmemEventRings] = count,
		[kIvshmemEventTime] = time,
	};
	for (unsigned i = 0; i < ivars->waiterCount; i++)
		IvshmemUserClient_AsyncCompletion(ivars->waiters[i].client,
						  ivars->waiters[i].completion, kIOReturnSuccess,
						  event, kIvshmemEventCount);
}

kern_return_t IMPL(IvshmemDriver, Notify)
{
	struct IvshmemDriver_IVars *ivars = self->ivars;
	if (ivars->vectors == 0)
		return kIOReturnUnsupported;
	if (ivars->waiterCount == kWaitersMax)
		return kIOReturnNoResources;
	OSObjectRetain(client);
	OSObjectRetain(completion);
	ivars->waiters[ivars->waiterCount++] = (struct waiter){ client, completion };
	return kIOReturnSuccess;
}

/* NULL: of all clients. */
static void forget(struct IvshmemDriver_IVars *ivars, const IvshmemUserClient *client)
{
	for (unsigned i = ivars->waiterCount; i-- > 0;) {
		struct waiter waiter = ivars->waiters[i];
		if (client != NULL && waiter.client != client)
			continue;
		ivars->waiters[i] = ivars->waiters[--ivars->waiterCount];
		OSObjectRelease(waiter.completion);
		OSObjectRelease(waiter.client);
	}
}

kern_return_t IMPL(IvshmemDriver, ClientStopped)
{
	forget(self->ivars, client);
	return kIOReturnSuccess;
}

/* --- the card --- */

static void closeDevice(IvshmemDriver *self)
{
	if (self->ivars->pci == NULL)
		return;
	stopListening(self->ivars);
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
					 command | kIOPCICommandMemorySpace | kIOPCICommandBusLead);
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
		ret = IvshmemDriver_ListenToAll(self);
	if (ret == kIOReturnSuccess)
		ret = IvshmemDriver_RegisterService(self);
	if (ret != kIOReturnSuccess)
		closeDevice(self);
	return ret;
}

kern_return_t IMPL(IvshmemDriver, Stop)
{
	forget(self->ivars, NULL);
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
	info[kIvshmemInfoVectors] = ivars->vectors;
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

static kern_return_t notify(OSObject *target, void *reference,
			    IOUserClientMethodArguments *arguments)
{
	return IvshmemDriver_Notify(OSDynamicCast(IvshmemDriver, target), reference,
				    arguments->completion);
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
	[kIvshmemMethodNotify] = {
		.function = notify,
		.checkCompletionExists = 1,
	},
};

kern_return_t IMPL(IvshmemUserClient, ExternalMethod)
{
	(void)target;
	(void)reference;
	if (selector < kIvshmemMethodCount)
		dispatch = &methods[selector];
	/* The methods are the driver's; for `reference` each gets the client that called. */
	IOService *driver = IvshmemUserClient_GetProvider(self);
	return IvshmemUserClient_super_ExternalMethod(self, selector, arguments, dispatch,
						      IOService_as_OSObject(driver), self);
}

kern_return_t IMPL(IvshmemUserClient, Stop)
{
	IvshmemDriver_ClientStopped(OSDynamicCast(IvshmemDriver, provider), self);
	return IvshmemUserClient_super_Stop(self, provider);
}

kern_return_t IMPL(IvshmemUserClient, CopyClientMemoryForType)
{
	if (type != kIvshmemMemoryShared) // the super refuses, and says why
		return IvshmemUserClient_super_CopyClientMemoryForType(self, type, options, memory);
	IvshmemDriver *driver = OSDynamicCast(IvshmemDriver, IvshmemUserClient_GetProvider(self));
	return IvshmemDriver_CopyMemory(driver, memory);
}
