// SPDX-License-Identifier: Apache-2.0
/*
 * drivers/usb_reader a second time: the same interface file, personality and application, written
 * as a DriverKit author writes it. What it does, and why, is told in
 * drivers/usb_reader/UsbReader.c; where C++ and its idioms make no difference the two are the same.
 */

#include <string.h>

#include <DriverKit/IOLib.h>

#include "UsbReader.h"
#include "usb_reader.h"

enum {
	TRANSFERS = 8,
	PACKETS_PER_TRANSFER = 32,
	PACKET_MAX = 1024,
	SEQUENCE_SIZE = 8,
	WAITERS_MAX = 32,
	FAILURES_MAX = 8,
};

/* --- the reader's state --- */

struct Waiter {
	UsbReaderUserClient *client; // kept
	OSAction *completion;        // kept
	uint64_t atBytes;
};

struct UsbReaderUserClient_IVars {
	bool follows;
};

struct UsbReader_IVars {
	IOUSBHostInterface *interface; // kept while open
	IOService *provider;           // borrowed
	Transfer *transfers[TRANSFERS];
	unsigned reading = 0, followers = 0;
	unsigned failures = 0; // in a row
	bool stopping = false, recovering = false, stopped = false;

	uint32_t packetSize;
	bool withSequence, inStep;
	uint64_t nextNumber;
	uint8_t packet[PACKET_MAX];

	uint64_t bytes = 0, done = 0, errors = 0;
	uint64_t activeNs = 0, lastNs = 0;
	Waiter waiters[WAITERS_MAX];
	unsigned waiting = 0;

	bool wantsToRead() const
	{
		return followers > 0 && !stopping && !recovering && failures < FAILURES_MAX;
	}

	void fail(const char *what, IOReturn status)
	{
		errors++;
		if (++failures == FAILURES_MAX)
			IOLog("UsbReader: %s: %s; it stops reading", what, IOReturnString(status));
	}

	void submit(Transfer *transfer);
	void begin();
	void recover();
	bool check(const uint8_t *data, uint32_t length);
	void count(Transfer *transfer, uint32_t length, uint64_t timestamp);
	void tell(unsigned index, IOReturn status);
	void tellProgress();
	void tellAborted(const UsbReaderUserClient *client);
	void tearDown(UsbReader *reader);
	kern_return_t finishStop(UsbReader *reader);
	void drained(UsbReader *reader);
	void take(UsbReader *reader, Transfer *transfer, IOReturn status, uint32_t length,
		  uint64_t timestamp);
	void follow(UsbReaderUserClient *client);
	kern_return_t readPattern(UsbReader *reader);
	kern_return_t makeTransfer(UsbReader *reader, unsigned index, uint8_t endpoint);
	kern_return_t makeTransfers(UsbReader *reader);
	kern_return_t setUp(UsbReader *reader, IOService *provider);
};

/* --- one transfer --- */

/* In the reference block of a transfer's completion. */
struct TransferContext {
	UsbReader *reader; // borrowed: it outlives its transfers
};

struct Transfer_IVars {
	IOUSBHostPipe *pipe;
	IOBufferMemoryDescriptor *buffer;
	OSAction *complete;
	const uint8_t *bytes; // of the buffer
	uint32_t length;
	bool reading;
};

bool Transfer::init()
{
	if (!super::init())
		return false;
	ivars = IONewZero(Transfer_IVars, 1);
	return ivars != nullptr;
}

void Transfer::free()
{
	if (ivars != nullptr)
		teardown();
	IOSafeDeleteNULL(ivars, Transfer_IVars, 1);
	super::free();
}

kern_return_t Transfer::setup(IOUSBHostInterface *interface, uint8_t endpoint,
			      uint32_t maxPacketSize)
{
	IOAddressSegment range = {};
	if (maxPacketSize == 0 || maxPacketSize > PACKET_MAX)
		return kIOReturnBadArgument;
	ivars->length = maxPacketSize * PACKETS_PER_TRANSFER;
	kern_return_t ret = interface->CopyPipe(endpoint, &ivars->pipe);
	if (ret == kIOReturnSuccess)
		ret = IOBufferMemoryDescriptor::Create(kIOMemoryDirectionIn, ivars->length, 0,
						       &ivars->buffer);
	if (ret == kIOReturnSuccess)
		ret = ivars->buffer->GetAddressRange(&range);
	ivars->bytes = reinterpret_cast<const uint8_t *>(range.address);
	if (ret == kIOReturnSuccess)
		ret = CreateActioncompleteCallback(sizeof(TransferContext), &ivars->complete);
	if (ret != kIOReturnSuccess)
		teardown();
	return ret;
}

void Transfer::teardown()
{
	OSAction *complete = ivars->complete;
	ivars->complete = nullptr;
	OSSafeReleaseNULL(ivars->pipe);
	OSSafeReleaseNULL(ivars->buffer);
	if (complete != nullptr) {
		complete->Cancel_f(nullptr, nullptr);
		complete->release();
	}
}

kern_return_t Transfer::submit()
{
	kern_return_t ret = ivars->pipe->AsyncIO(ivars->buffer, ivars->length, ivars->complete, 0);
	if (ret == kIOReturnSuccess)
		ivars->reading = true;
	return ret;
}

void IMPL(Transfer, completeCallback)
{
	auto context = static_cast<TransferContext *>(action->GetReference());
	ivars->reading = false;
	context->reader->ivars->take(context->reader, this, status, actualByteCount,
				     completionTimestamp);
}

/* --- what was read --- */

bool UsbReader_IVars::check(const uint8_t *data, uint32_t length)
{
	for (uint32_t at = 0; at < length; at += packetSize) {
		uint32_t n = length - at < packetSize ? length - at : packetSize;
		uint32_t skip = at == 0 && withSequence ? SEQUENCE_SIZE : 0;
		if (n > skip && memcmp(data + at + skip, packet + skip, n - skip) != 0)
			return false;
	}
	if (!withSequence)
		return true;
	if (length < SEQUENCE_SIZE)
		return false;
	uint64_t number = 0;
	for (unsigned i = 0; i < SEQUENCE_SIZE; i++)
		number |= static_cast<uint64_t>(data[i]) << (8 * i);
	bool good = !inStep || number == nextNumber;
	inStep = true;
	nextNumber = number + 1;
	return good;
}

void UsbReader_IVars::count(Transfer *transfer, uint32_t length, uint64_t timestamp)
{
	if (!check(transfer->ivars->bytes, length))
		errors++;
	bytes += length;
	done++;
	if (lastNs != 0 && timestamp > lastNs)
		activeNs += timestamp - lastNs;
	lastNs = timestamp;
}

/* --- those who wait for progress --- */

void UsbReader_IVars::tell(unsigned index, IOReturn status)
{
	Waiter waiter = waiters[index];
	waiters[index] = waiters[--waiting];
	const IOUserClientAsyncArgumentsArray data = { bytes, done, errors };
	waiter.client->AsyncCompletion(waiter.completion, status, data,
				       status == kIOReturnSuccess ? 3 : 0);
	waiter.completion->release();
	waiter.client->release();
}

void UsbReader_IVars::tellProgress()
{
	for (unsigned i = waiting; i-- > 0;)
		if (bytes >= waiters[i].atBytes)
			tell(i, kIOReturnSuccess);
}

/* `client` NULL: all. */
void UsbReader_IVars::tellAborted(const UsbReaderUserClient *client)
{
	for (unsigned i = waiting; i-- > 0;)
		if (client == nullptr || waiters[i].client == client)
			tell(i, kIOReturnAborted);
}

/* --- reading --- */

void UsbReader_IVars::submit(Transfer *transfer)
{
	kern_return_t ret = transfer->submit();
	if (ret == kIOReturnSuccess)
		reading++;
	else if (ret != kUSBHostReturnPipeStalled)
		fail("submit", ret);
}

void UsbReader_IVars::begin()
{
	inStep = false;
	lastNs = 0;
	for (unsigned i = 0; i < TRANSFERS && wantsToRead(); i++)
		if (!transfers[i]->ivars->reading)
			submit(transfers[i]);
}

void UsbReader_IVars::recover()
{
	kern_return_t ret = transfers[0]->ivars->pipe->ClearStall(true);
	recovering = false;
	if (ret != kIOReturnSuccess) {
		fail("ClearStall", ret);
		failures = FAILURES_MAX;
	}
	begin();
}

void UsbReader_IVars::tearDown(UsbReader *reader)
{
	for (Transfer *&transfer : transfers) {
		if (transfer != nullptr)
			transfer->teardown();
		OSSafeReleaseNULL(transfer);
	}
	if (interface != nullptr)
		interface->Close(reader, 0);
	OSSafeReleaseNULL(interface);
}

kern_return_t UsbReader_IVars::finishStop(UsbReader *reader)
{
	if (stopped)
		return kIOReturnSuccess;
	stopped = true;
	tearDown(reader);
	return reader->super::Stop(provider);
}

void UsbReader_IVars::drained(UsbReader *reader)
{
	lastNs = 0;
	if (stopping)
		finishStop(reader);
	else if (recovering)
		recover();
}

void UsbReader_IVars::take(UsbReader *reader, Transfer *transfer, IOReturn status, uint32_t length,
			   uint64_t timestamp)
{
	reading--;
	if (status == kIOReturnSuccess) {
		failures = 0;
		count(transfer, length, timestamp);
		tellProgress();
	} else if (status == kIOReturnNoDevice) {
		failures = FAILURES_MAX; // Stop follows
	} else if (status != kIOReturnAborted && !recovering) {
		fail("read", status);
		recovering = true;
	}
	if (wantsToRead())
		submit(transfer);
	if (reading == 0)
		drained(reader);
}

/* --- the service --- */

bool UsbReader::init()
{
	if (!super::init())
		return false;
	ivars = IONewZero(UsbReader_IVars, 1);
	return ivars != nullptr;
}

void UsbReader::free()
{
	IOSafeDeleteNULL(ivars, UsbReader_IVars, 1);
	super::free();
}

kern_return_t UsbReader_IVars::readPattern(UsbReader *reader)
{
	OSDictionary *properties = nullptr;
	kern_return_t ret = reader->CopyProperties(&properties);
	if (ret != kIOReturnSuccess)
		return ret;
	auto pattern = OSDynamicCast(OSString, properties->getObject("Pattern"));
	withSequence = pattern != nullptr && pattern->isEqualToCString("sequence");
	bool known = withSequence || (pattern != nullptr && pattern->isEqualToCString("mod63"));
	OSSafeReleaseNULL(properties);
	if (!known)
		IOLog("UsbReader: the personality's Pattern must be mod63 or sequence");
	return known ? kIOReturnSuccess : kIOReturnBadArgument;
}

static const IOUSBEndpointDescriptor *
findEndpoint(IOUSBHostInterface *interface, const IOUSBConfigurationDescriptor *configuration)
{
	auto descriptor = interface->GetInterfaceDescriptor(configuration);
	const IOUSBEndpointDescriptor *e = nullptr;
	while ((e = IOUSBGetNextEndpointDescriptor(
			configuration, descriptor,
			reinterpret_cast<const IOUSBDescriptorHeader *>(e))) != nullptr)
		if ((e->bmAttributes & 3) == kIOUSBEndpointTypeBulk &&
		    (e->bEndpointAddress & kIOUSBEndpointDirectionIn) != 0 &&
		    e->wMaxPacketSize > 0 && e->wMaxPacketSize <= PACKET_MAX)
			return e;
	return nullptr;
}

kern_return_t UsbReader_IVars::makeTransfer(UsbReader *reader, unsigned index, uint8_t endpoint)
{
	Transfer *transfer = OSTypeAlloc(Transfer);
	kern_return_t ret = kIOReturnNoMemory;
	if (transfer != nullptr && transfer->init())
		ret = transfer->setup(interface, endpoint, packetSize);
	if (ret != kIOReturnSuccess) {
		OSSafeReleaseNULL(transfer);
		return ret;
	}
	static_cast<TransferContext *>(transfer->ivars->complete->GetReference())->reader = reader;
	transfers[index] = transfer;
	return kIOReturnSuccess;
}

kern_return_t UsbReader_IVars::makeTransfers(UsbReader *reader)
{
	auto configuration = interface->CopyConfigurationDescriptor();
	if (configuration == nullptr)
		return kIOReturnNoMemory;
	auto endpoint = findEndpoint(interface, configuration);
	kern_return_t ret = kIOReturnNotFound;
	if (endpoint != nullptr) {
		packetSize = endpoint->wMaxPacketSize;
		ret = kIOReturnSuccess;
	}
	for (unsigned i = 0; ret == kIOReturnSuccess && i < TRANSFERS; i++)
		ret = makeTransfer(reader, i, endpoint->bEndpointAddress);
	IOUSBHostFreeDescriptor(configuration);
	return ret;
}

kern_return_t UsbReader_IVars::setUp(UsbReader *reader, IOService *from)
{
	auto found = OSDynamicCast(IOUSBHostInterface, from);
	if (found == nullptr)
		return kIOReturnBadArgument;
	kern_return_t ret = readPattern(reader);
	if (ret == kIOReturnSuccess)
		ret = found->Open(reader, 0, nullptr);
	if (ret != kIOReturnSuccess)
		return ret;
	found->retain();
	interface = found;
	for (unsigned i = 0; i < PACKET_MAX; i++)
		packet[i] = static_cast<uint8_t>(i % 63);
	return makeTransfers(reader);
}

kern_return_t IMPL(UsbReader, Start)
{
	kern_return_t ret = Start(provider, SUPERDISPATCH);
	if (ret != kIOReturnSuccess)
		return ret;
	ivars->provider = provider;
	ret = ivars->setUp(this, provider);
	if (ret == kIOReturnSuccess)
		ret = RegisterService();
	if (ret != kIOReturnSuccess) {
		IOLog("UsbReader: cannot start: %s", IOReturnString(ret));
		ivars->tearDown(this);
	}
	return ret;
}

kern_return_t UsbReader::Stop_Impl(IOService *provider)
{
	ivars->stopping = true;
	ivars->provider = provider;
	ivars->tellAborted(nullptr);
	if (ivars->reading == 0)
		return ivars->finishStop(this);
	return ivars->transfers[0]->ivars->pipe->Abort(kIOUSBAbortAsynchronous, kIOReturnAborted,
						       this);
}

kern_return_t UsbReader::NewUserClient_Impl(uint32_t, IOUserClient **userClient)
{
	IOService *client = nullptr;
	kern_return_t ret = Create(this, "UserClientProperties", &client);
	if (ret == kIOReturnSuccess)
		*userClient = OSRequiredCast(IOUserClient, client);
	return ret;
}

kern_return_t UsbReader::GetStatistics_Impl(uint64_t *bytes, uint64_t *transfers, uint64_t *errors,
					    uint64_t *activeNs)
{
	*bytes = ivars->bytes;
	*transfers = ivars->done;
	*errors = ivars->errors;
	*activeNs = ivars->activeNs;
	return kIOReturnSuccess;
}

void UsbReader_IVars::follow(UsbReaderUserClient *client)
{
	if (client->ivars->follows)
		return;
	client->ivars->follows = true;
	if (followers++ == 0) {
		failures = 0;
		begin();
	}
}

kern_return_t IMPL(UsbReader, NotifyAfter)
{
	if (ivars->stopping)
		return kIOReturnOffline;
	if (ivars->waiting == WAITERS_MAX)
		return kIOReturnNoResources;
	if (bytes > UINT64_MAX - ivars->bytes)
		return kIOReturnBadArgument;
	client->retain();
	completion->retain();
	ivars->waiters[ivars->waiting++] = { client, completion, ivars->bytes + bytes };
	ivars->follow(client);
	return kIOReturnSuccess;
}

kern_return_t IMPL(UsbReader, ClientStopped)
{
	ivars->tellAborted(client);
	if (client->ivars->follows)
		ivars->followers--;
	client->ivars->follows = false;
	return kIOReturnSuccess;
}

/* --- the user client --- */

bool UsbReaderUserClient::init()
{
	if (!super::init())
		return false;
	ivars = IONewZero(UsbReaderUserClient_IVars, 1);
	return ivars != nullptr;
}

void UsbReaderUserClient::free()
{
	IOSafeDeleteNULL(ivars, UsbReaderUserClient_IVars, 1);
	super::free();
}

static kern_return_t getStatistics(OSObject *target, void *, IOUserClientMethodArguments *arguments)
{
	uint64_t *out = arguments->scalarOutput;
	return OSRequiredCast(UsbReader, target)->GetStatistics(&out[0], &out[1], &out[2], &out[3]);
}

static kern_return_t notifyAfter(OSObject *target, void *reference,
				 IOUserClientMethodArguments *arguments)
{
	return OSRequiredCast(UsbReader, target)
		->NotifyAfter(static_cast<UsbReaderUserClient *>(reference), arguments->completion,
			      arguments->scalarInput[0]);
}

static const IOUserClientMethodDispatch methods[kUsbReaderMethodCount] = {
	/* function, completion, scalars and structure in, scalars and structure out */
	{ getStatistics, 0, 0, 0, kUsbReaderStatisticsCount, 0 },
	{ notifyAfter, 1, 1, 0, 0, 0 },
};

kern_return_t UsbReaderUserClient::ExternalMethod(uint64_t selector,
						  IOUserClientMethodArguments *arguments,
						  const IOUserClientMethodDispatch *dispatch,
						  OSObject *, void *)
{
	if (selector < kUsbReaderMethodCount)
		dispatch = &methods[selector];
	return super::ExternalMethod(selector, arguments, dispatch, GetProvider(), this);
}

kern_return_t IMPL(UsbReaderUserClient, Stop)
{
	auto reader = OSDynamicCast(UsbReader, provider);
	if (reader != nullptr)
		reader->ClientStopped(this);
	return Stop(provider, SUPERDISPATCH);
}
