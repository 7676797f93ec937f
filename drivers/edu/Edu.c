/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How a driver takes interrupts, and passes them on to applications as events.
 *
 *	application ──Compute──► EduUserClient ──► Edu ──register──► the card
 *	application ◄──event──── AsyncCompletion ◄── Interrupted ◄── IOInterruptDispatchSource
 *
 * The card has a wire, INTx, and one message, MSI; the driver begins with the message. A message is
 * an edge: it came once, so its handler sees to every reason that there is. The wire is a level: it
 * is masked until the handler has returned and comes again while a reason is left, so its handler
 * sees to one at a time.
 *
 * The card copies to and from memory by itself. It reaches the driver's buffer from when a command
 * has prepared it until that is completed, and nothing else: an address that it makes up is caught
 * by the IOMMU.
 */

#include <DriverKit/IOLib.h>
#include <PCIDriverKit/PCIDriverKit.h>

#include "Edu.h"
#include "edu.h"

enum { CLIENTS_MAX = 16, RAISES_MAX = 1000 };

enum { // byte offsets in BAR0
	kRegisterIdentity = 0x00,
	kRegisterFactorial = 0x08,
	kRegisterStatus = 0x20,
	kRegisterInterrupts = 0x24,
	kRegisterRaise = 0x60,
	kRegisterAcknowledge = 0x64,
	kRegisterSource = 0x80, // this and the next: 64 bits, addresses of the card's
	kRegisterDestination = 0x88,
	kRegisterTransferCount = 0x90,
	kRegisterTransferCommand = 0x98,
};

enum { kTransferStart = 0x1, kTransferToBuffer = 0x2, kTransferInterrupt = 0x4 };
enum { kCardMemory = 0x40000, kCardAddressBits = 28 };
enum { kStatusInterrupt = 0x80 }; // interrupt when a factorial is there

struct waiter {
	EduUserClient *client; // kept
	OSAction *completion;  // kept
};

struct Edu_IVars {
	IOPCIDevice *pci; // kept while it is open; NULL: closed
	uint8_t memory;   // the memory index of BAR0
	IOInterruptDispatchSource *source;
	OSAction *interrupted; // its handler
	uint64_t interrupt;    // its index
	IOBufferMemoryDescriptor *buffer;
	IODMACommand *command; // prepared while the card copies
	bool is_computing, is_copying;
	struct waiter waiters[CLIENTS_MAX];
	unsigned n_waiters;
};

bool IMPL(Edu, init)
{
	if (!Edu_super_init(self))
		return false;
	self->ivars = IONewZero(struct Edu_IVars, 1);
	return self->ivars != NULL;
}

void IMPL(Edu, free)
{
	IOSafeDeleteNULL(self->ivars, struct Edu_IVars, 1);
	Edu_super_free(self);
}

static uint32_t readRegister(struct Edu_IVars *iv, uint64_t offset)
{
	uint32_t value;
	IOPCIDevice_MemoryRead32(iv->pci, iv->memory, offset, &value);
	return value;
}

static void writeRegister(struct Edu_IVars *iv, uint64_t offset, uint32_t value)
{
	IOPCIDevice_MemoryWrite32(iv->pci, iv->memory, offset, value);
}

/* --- interrupts --- */

/* The action keeps the driver, which keeps the action, until it is cancelled. */
static void stopListening(struct Edu_IVars *iv)
{
	if (iv->source != NULL)
		IOInterruptDispatchSource_Cancel_f(iv->source, NULL, NULL);
	if (iv->interrupted != NULL)
		OSAction_Cancel_f(iv->interrupted, NULL, NULL);
	OSSafeReleaseNULL(iv->source);
	OSSafeReleaseNULL(iv->interrupted);
}

static kern_return_t enable(Edu *self)
{
	struct Edu_IVars *iv = self->ivars;
	kern_return_t ret = Edu_CreateActionInterrupted(self, 0, &iv->interrupted);
	if (ret == kIOReturnSuccess)
		ret = IOInterruptDispatchSource_SetHandler(iv->source, iv->interrupted);
	if (ret == kIOReturnSuccess)
		ret = IOInterruptDispatchSource_SetEnable(iv->source, true);
	return ret;
}

static kern_return_t listen(Edu *self, uint64_t index)
{
	struct Edu_IVars *iv = self->ivars;
	IODispatchQueue *queue = NULL;
	stopListening(iv); // a device interrupts in one way at a time
	kern_return_t ret = Edu_CopyDispatchQueue(self, "Default", &queue);
	if (ret == kIOReturnSuccess)
		ret = IOInterruptDispatchSource_Create(IOPCIDevice_as_IOService(iv->pci),
						       (uint32_t)index, queue, &iv->source);
	OSSafeReleaseNULL(queue);
	if (ret == kIOReturnSuccess)
		ret = enable(self);
	iv->interrupt = index;
	return ret;
}

static void endTransfer(struct Edu_IVars *iv)
{
	if (iv->is_copying)
		IODMACommand_CompleteDMA(iv->command, 0);
	iv->is_copying = false;
}

static void tell(struct Edu_IVars *iv, uint32_t reason, uint64_t count, uint64_t time)
{
	const IOUserClientAsyncArgumentsArray event = {
		[kEduEventReason] = reason,
		[kEduEventFactorial] = readRegister(iv, kRegisterFactorial),
		[kEduEventInterrupts] = count,
		[kEduEventTime] = time,
	};
	if (reason == kEduReasonFactorial)
		iv->is_computing = false;
	if (reason == kEduReasonTransfer)
		endTransfer(iv);
	for (unsigned i = 0; i < iv->n_waiters; i++)
		EduUserClient_AsyncCompletion(iv->waiters[i].client, iv->waiters[i].completion,
					      kIOReturnSuccess, event, kEduEventCount);
}

void IMPL(Edu, Interrupted)
{
	struct Edu_IVars *iv = self->ivars;
	(void)action;
	if (iv->pci == NULL)
		return; // it came while the driver stopped
	uint32_t reasons = readRegister(iv, kRegisterInterrupts);
	while (reasons != 0 && reasons != UINT32_MAX) { // all ones: the card has gone
		uint32_t reason = reasons & -reasons;
		writeRegister(iv, kRegisterAcknowledge, reason);
		tell(iv, reason, count, time);
		if (iv->interrupt == kEduInterruptWire)
			return;
		reasons = readRegister(iv, kRegisterInterrupts);
	}
}

/* --- the service --- */

static void closeDevice(Edu *self)
{
	struct Edu_IVars *iv = self->ivars;
	if (iv->pci == NULL)
		return;
	stopListening(iv);
	IOPCIDevice_Close(iv->pci, Edu_as_IOService(self),
			  0); // whatever the card does, it is quiet
	endTransfer(iv);
	OSSafeReleaseNULL(iv->command);
	OSSafeReleaseNULL(iv->buffer);
	OSSafeReleaseNULL(iv->pci);
}

static kern_return_t makeBuffer(struct Edu_IVars *iv)
{
	const IODMACommandSpecification specification = { .maxAddressBits = kCardAddressBits };
	kern_return_t ret = IOBufferMemoryDescriptor_Create(kIOMemoryDirectionInOut, kEduBufferSize,
							    0, &iv->buffer);
	if (ret == kIOReturnSuccess)
		ret = IODMACommand_Create(IOPCIDevice_as_IOService(iv->pci), 0, &specification,
					  &iv->command);
	return ret;
}

static kern_return_t openDevice(Edu *self, IOPCIDevice *pci)
{
	struct Edu_IVars *iv = self->ivars;
	uint16_t command;
	kern_return_t ret = IOPCIDevice_Open(pci, Edu_as_IOService(self), 0);
	if (ret != kIOReturnSuccess)
		return ret;
	IOPCIDevice_retain(pci);
	iv->pci = pci;

	/* A message is a write to memory: without BusLead the card cannot send one. */
	IOPCIDevice_ConfigurationRead16(pci, kIOPCIConfigurationOffsetCommand, &command);
	IOPCIDevice_ConfigurationWrite16(pci, kIOPCIConfigurationOffsetCommand,
					 command | kIOPCICommandMemorySpace | kIOPCICommandBusLead);
	ret = IOPCIDevice_GetBARInfo(pci, 0, &iv->memory, NULL, NULL);
	if (ret == kIOReturnSuccess && (readRegister(iv, kRegisterIdentity) & 0xff) != 0xed)
		ret = kIOReturnUnsupported;
	if (ret == kIOReturnSuccess)
		ret = makeBuffer(iv);
	if (ret == kIOReturnSuccess)
		ret = IOPCIDevice_ConfigureInterrupts(pci, kIOInterruptTypePCIMessaged, 1, 1, 0);
	if (ret == kIOReturnSuccess)
		ret = listen(self, kEduInterruptMessage);
	if (ret == kIOReturnSuccess)
		writeRegister(iv, kRegisterStatus, kStatusInterrupt);
	return ret;
}

kern_return_t IMPL(Edu, Start)
{
	kern_return_t ret = Edu_super_Start(self, provider);
	if (ret != kIOReturnSuccess)
		return ret;
	IOPCIDevice *pci = OSDynamicCast(IOPCIDevice, provider);
	ret = pci != NULL ? openDevice(self, pci) : kIOReturnBadArgument;
	if (ret == kIOReturnSuccess)
		ret = Edu_RegisterService(self);
	if (ret != kIOReturnSuccess)
		closeDevice(self);
	return ret;
}

static void forget(struct Edu_IVars *iv, unsigned index)
{
	struct waiter waiter = iv->waiters[index];
	iv->waiters[index] = iv->waiters[--iv->n_waiters];
	OSObjectRelease(waiter.completion);
	OSObjectRelease(waiter.client);
}

kern_return_t IMPL(Edu, Stop)
{
	while (self->ivars->n_waiters > 0)
		forget(self->ivars, 0);
	closeDevice(self);
	return Edu_super_Stop(self, provider);
}

kern_return_t IMPL(Edu, NewUserClient)
{
	(void)type;
	IOService *client = NULL;
	kern_return_t ret =
		Edu_Create(self, Edu_as_IOService(self), "UserClientProperties", &client);
	if (ret == kIOReturnSuccess)
		*userClient = OSDynamicCast(IOUserClient, client);
	return ret;
}

kern_return_t IMPL(Edu, Notify)
{
	struct Edu_IVars *iv = self->ivars;
	if (iv->pci == NULL)
		return kIOReturnOffline;
	if (iv->n_waiters == CLIENTS_MAX)
		return kIOReturnNoResources;
	OSObjectRetain(client);
	OSObjectRetain(completion);
	iv->waiters[iv->n_waiters++] = (struct waiter){ client, completion };
	return kIOReturnSuccess;
}

kern_return_t IMPL(Edu, Compute)
{
	struct Edu_IVars *iv = self->ivars;
	if (iv->pci == NULL)
		return kIOReturnOffline;
	if (n > kEduFactorialMax)
		return kIOReturnBadArgument;
	if (iv->is_computing)
		return kIOReturnBusy;
	iv->is_computing = true;
	writeRegister(iv, kRegisterFactorial, (uint32_t)n);
	return kIOReturnSuccess;
}

kern_return_t IMPL(Edu, Raise)
{
	struct Edu_IVars *iv = self->ivars;
	if (iv->pci == NULL)
		return kIOReturnOffline;
	if (reasons == 0 || (reasons & ~(uint64_t)kEduReasonsOwn) != 0 || times > RAISES_MAX)
		return kIOReturnBadArgument;
	for (; times > 0; times--)
		writeRegister(iv, kRegisterRaise, (uint32_t)reasons);
	return kIOReturnSuccess;
}

static void startTransfer(struct Edu_IVars *iv, bool toBuffer, const IOAddressSegment *segment)
{
	IOPCIDevice *pci = iv->pci;
	uint64_t source = toBuffer ? kCardMemory : segment->address;
	uint64_t destination = toBuffer ? segment->address : kCardMemory;
	uint64_t command = kTransferStart | kTransferInterrupt | (toBuffer ? kTransferToBuffer : 0);
	iv->is_copying = true;
	IOPCIDevice_MemoryWrite64(pci, iv->memory, kRegisterSource, source);
	IOPCIDevice_MemoryWrite64(pci, iv->memory, kRegisterDestination, destination);
	IOPCIDevice_MemoryWrite64(pci, iv->memory, kRegisterTransferCount, segment->length);
	IOPCIDevice_MemoryWrite64(pci, iv->memory, kRegisterTransferCommand, command);
}

/* One buffer of one file is one segment. */
kern_return_t IMPL(Edu, Transfer)
{
	struct Edu_IVars *iv = self->ivars;
	IOAddressSegment segment;
	uint64_t flags;
	uint32_t n = 1;
	if (iv->pci == NULL)
		return kIOReturnOffline;
	if (length == 0 || length > kEduTransferMax || offset > kEduBufferSize - length)
		return kIOReturnBadArgument;
	if (iv->is_copying)
		return kIOReturnBusy;
	kern_return_t ret = IODMACommand_PrepareForDMA(
		iv->command, 0, IOBufferMemoryDescriptor_as_IOMemoryDescriptor(iv->buffer), offset,
		length, &flags, &n, &segment);
	if (ret == kIOReturnSuccess)
		startTransfer(iv, toBuffer, &segment);
	return ret;
}

kern_return_t IMPL(Edu, CopyBuffer)
{
	if (self->ivars->pci == NULL)
		return kIOReturnOffline;
	IOBufferMemoryDescriptor_retain(self->ivars->buffer);
	*memory = IOBufferMemoryDescriptor_as_IOMemoryDescriptor(self->ivars->buffer);
	return kIOReturnSuccess;
}

kern_return_t IMPL(Edu, SetInterrupt)
{
	return self->ivars->pci != NULL ? listen(self, index) : kIOReturnOffline;
}

kern_return_t IMPL(Edu, ClientStopped)
{
	struct Edu_IVars *iv = self->ivars;
	for (unsigned i = iv->n_waiters; i-- > 0;)
		if (iv->waiters[i].client == client)
			forget(iv, i);
	return kIOReturnSuccess;
}

/* --- the user client --- */

static kern_return_t notify(OSObject *target, void *reference,
			    IOUserClientMethodArguments *arguments)
{
	return Edu_Notify(OSDynamicCast(Edu, target), reference, arguments->completion);
}

static kern_return_t compute(OSObject *target, void *reference,
			     IOUserClientMethodArguments *arguments)
{
	(void)reference;
	return Edu_Compute(OSDynamicCast(Edu, target), arguments->scalarInput[0]);
}

static kern_return_t raise(OSObject *target, void *reference,
			   IOUserClientMethodArguments *arguments)
{
	(void)reference;
	return Edu_Raise(OSDynamicCast(Edu, target), arguments->scalarInput[0],
			 arguments->scalarInput[1]);
}

static kern_return_t setInterrupt(OSObject *target, void *reference,
				  IOUserClientMethodArguments *arguments)
{
	(void)reference;
	if (arguments->scalarInput[0] > kEduInterruptMessage)
		return kIOReturnBadArgument;
	return Edu_SetInterrupt(OSDynamicCast(Edu, target), arguments->scalarInput[0]);
}

static kern_return_t transfer(OSObject *target, void *reference,
			      IOUserClientMethodArguments *arguments)
{
	const uint64_t *input = arguments->scalarInput;
	(void)reference;
	if (input[0] > 1)
		return kIOReturnBadArgument;
	return Edu_Transfer(OSDynamicCast(Edu, target), input[0] == 1, input[1], input[2]);
}

static const IOUserClientMethodDispatch methods[kEduMethodCount] = {
	[kEduMethodNotify] = {
		.function = notify,
		.checkCompletionExists = 1,
	},
	[kEduMethodCompute] = {
		.function = compute,
		.checkScalarInputCount = 1,
	},
	[kEduMethodRaise] = {
		.function = raise,
		.checkScalarInputCount = 2,
	},
	[kEduMethodSetInterrupt] = {
		.function = setInterrupt,
		.checkScalarInputCount = 1,
	},
	[kEduMethodTransfer] = {
		.function = transfer,
		.checkScalarInputCount = 3,
	},
};

kern_return_t IMPL(EduUserClient, ExternalMethod)
{
	(void)target;
	(void)reference;
	if (selector < kEduMethodCount)
		dispatch = &methods[selector];
	/* The methods are the card's; for `reference` each gets the client that called. */
	IOService *edu = EduUserClient_GetProvider(self);
	return EduUserClient_super_ExternalMethod(self, selector, arguments, dispatch,
						  IOService_as_OSObject(edu), self);
}

kern_return_t IMPL(EduUserClient, CopyClientMemoryForType)
{
	if (type != kEduMemoryBuffer) // the super refuses, and says why
		return EduUserClient_super_CopyClientMemoryForType(self, type, options, memory);
	return Edu_CopyBuffer(OSDynamicCast(Edu, EduUserClient_GetProvider(self)), memory);
}

kern_return_t IMPL(EduUserClient, Stop)
{
	Edu_ClientStopped(OSDynamicCast(Edu, provider), self);
	return EduUserClient_super_Stop(self, provider);
}
