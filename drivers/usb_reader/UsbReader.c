// SPDX-License-Identifier: Apache-2.0
/*
 * A driver that reads a bulk pipe with several transfers in flight.
 *
 * UsbReader opens the interface and makes eight Transfers. Each owns a buffer and a completion
 * whose target it is itself; the completion's reference block says which reader it reads for. When
 * a read ends, Transfer_completeCallback hands its bytes to the reader and submits again.
 *
 * A completion runs on the queue on which it was made: the reader's. So do Start, Stop and the
 * methods of UsbReader, and nothing here needs a lock.
 *
 * The reader reads while an application follows it. Pausing is not submitting again; stopping is
 * aborting, and calling the super class's Stop from the last completion. After an error that halted
 * the pipe it waits for all transfers to come back, clears the halt, and begins again.
 */

#include <string.h>

#include <DriverKit/IOLib.h>

#include "UsbReader.h"
#include "usb_reader.h"

enum {
	TRANSFERS = 8,
	PACKETS_PER_TRANSFER = 32,
	PACKET_MAX = 1024, // bulk, at any speed
	SEQUENCE_SIZE = 8, // at the head of a transfer
	WAITERS_MAX = 32,
	FAILURES_MAX = 8, // in a row, without a byte read: then it gives up
};

/* --- one transfer --- */

/* In the reference block of a transfer's completion. */
struct transfer_context {
	UsbReader *reader; // borrowed: it outlives its transfers
	unsigned index;
};

struct Transfer_IVars {
	IOUSBHostPipe *pipe;
	IOBufferMemoryDescriptor *buffer;
	OSAction *complete;
	const uint8_t *bytes; // of the buffer
	uint32_t length;
	bool reading;
};

static void reader_take(UsbReader *self, Transfer *transfer, IOReturn status, uint32_t length,
			uint64_t timestamp);

bool IMPL(Transfer, init)
{
	if (!Transfer_super_init(self))
		return false;
	self->ivars = IONewZero(struct Transfer_IVars, 1);
	return self->ivars != NULL;
}

void IMPL(Transfer, free)
{
	if (self->ivars != NULL)
		Transfer_teardown(self);
	IOSafeDeleteNULL(self->ivars, struct Transfer_IVars, 1);
	Transfer_super_free(self);
}

static kern_return_t make_buffer(struct Transfer_IVars *iv, uint32_t length)
{
	IOAddressSegment range;
	kern_return_t ret =
		IOBufferMemoryDescriptor_Create(kIOMemoryDirectionIn, length, 0, &iv->buffer);
	if (ret == kIOReturnSuccess)
		ret = IOBufferMemoryDescriptor_GetAddressRange(iv->buffer, &range);
	if (ret != kIOReturnSuccess)
		return ret;
	iv->bytes = (const uint8_t *)(uintptr_t)range.address;
	iv->length = length;
	return kIOReturnSuccess;
}

kern_return_t IMPL(Transfer, setup)
{
	struct Transfer_IVars *iv = self->ivars;
	if (maxPacketSize == 0 || maxPacketSize > PACKET_MAX)
		return kIOReturnBadArgument;
	kern_return_t ret = IOUSBHostInterface_CopyPipe(interface, endpoint, &iv->pipe);
	if (ret == kIOReturnSuccess)
		ret = make_buffer(iv, maxPacketSize * PACKETS_PER_TRANSFER);
	if (ret == kIOReturnSuccess)
		ret = Transfer_CreateActioncompleteCallback(self, sizeof(struct transfer_context),
							    &iv->complete);
	if (ret != kIOReturnSuccess)
		Transfer_teardown(self);
	return ret;
}

/* The completion keeps its target, so it must be cancelled for either to be freed. */
void IMPL(Transfer, teardown)
{
	struct Transfer_IVars *iv = self->ivars;
	OSAction *complete = iv->complete;
	iv->complete = NULL;
	OSSafeReleaseNULL(iv->pipe);
	OSSafeReleaseNULL(iv->buffer);
	if (complete != NULL) {
		OSAction_Cancel_f(complete, NULL, NULL);
		OSObjectRelease(complete);
	}
}

kern_return_t IMPL(Transfer, submit)
{
	struct Transfer_IVars *iv = self->ivars;
	kern_return_t ret = IOUSBHostPipe_AsyncIO(
		iv->pipe, IOBufferMemoryDescriptor_as_IOMemoryDescriptor(iv->buffer), iv->length,
		iv->complete, 0);
	if (ret == kIOReturnSuccess)
		iv->reading = true;
	return ret;
}

void IMPL(Transfer, completeCallback)
{
	struct transfer_context *context = OSAction_GetReference(action);
	self->ivars->reading = false;
	reader_take(context->reader, self, status, actualByteCount, completionTimestamp);
}

/* --- the reader --- */

struct UsbReaderUserClient_IVars {
	bool follows; // counted in n_followers; of the reader's queue
};

struct waiter {
	UsbReaderUserClient *client; // kept
	OSAction *completion;        // kept
	uint64_t at_bytes;
};

struct UsbReader_IVars {
	IOUSBHostInterface *interface; // kept while open
	IOService *provider;           // borrowed: what Stop hands to its super
	Transfer *transfers[TRANSFERS];
	unsigned n_reading;
	unsigned n_followers;
	unsigned n_failures; // in a row
	bool stopping, recovering, stopped;

	uint32_t packet_size;
	bool with_sequence;
	bool in_step; // next_number is known
	uint64_t next_number;
	uint8_t packet[PACKET_MAX]; // what every packet must hold

	uint64_t bytes, n_transfers, n_errors;
	uint64_t active_ns, last_ns; // last_ns: of the latest completion; 0: not reading
	struct waiter waiters[WAITERS_MAX];
	unsigned n_waiters;
};

bool IMPL(UsbReader, init)
{
	if (!UsbReader_super_init(self))
		return false;
	self->ivars = IONewZero(struct UsbReader_IVars, 1);
	return self->ivars != NULL;
}

void IMPL(UsbReader, free)
{
	IOSafeDeleteNULL(self->ivars, struct UsbReader_IVars, 1);
	UsbReader_super_free(self);
}

/* --- what was read --- */

static uint64_t read_number(const uint8_t *bytes)
{
	uint64_t number = 0;
	for (unsigned i = 0; i < SEQUENCE_SIZE; i++)
		number |= (uint64_t)bytes[i] << (8 * i);
	return number;
}

/* Is this the transfer that follows the one before? */
static bool check_sequence(struct UsbReader_IVars *iv, const uint8_t *bytes, uint32_t length)
{
	if (length < SEQUENCE_SIZE)
		return false;
	uint64_t number = read_number(bytes);
	bool good = !iv->in_step || number == iv->next_number;
	iv->in_step = true;
	iv->next_number = number + 1;
	return good;
}

static bool check_pattern(const struct UsbReader_IVars *iv, const uint8_t *bytes, uint32_t length)
{
	for (uint32_t at = 0; at < length; at += iv->packet_size) {
		uint32_t n = length - at < iv->packet_size ? length - at : iv->packet_size;
		uint32_t skip = at == 0 && iv->with_sequence ? SEQUENCE_SIZE : 0;
		if (n > skip && memcmp(bytes + at + skip, iv->packet + skip, n - skip) != 0)
			return false;
	}
	return true;
}

static void count(struct UsbReader_IVars *iv, Transfer *transfer, uint32_t length,
		  uint64_t timestamp)
{
	const uint8_t *bytes = transfer->ivars->bytes;
	bool good = check_pattern(iv, bytes, length);
	if (iv->with_sequence && !check_sequence(iv, bytes, length))
		good = false;
	iv->bytes += length;
	iv->n_transfers++;
	iv->n_errors += !good;
	if (iv->last_ns != 0 && timestamp > iv->last_ns)
		iv->active_ns += timestamp - iv->last_ns;
	iv->last_ns = timestamp;
}

/* --- those who wait for progress --- */

static void tell(struct UsbReader_IVars *iv, unsigned index, IOReturn status)
{
	struct waiter waiter = iv->waiters[index];
	iv->waiters[index] = iv->waiters[--iv->n_waiters];
	const IOUserClientAsyncArgumentsArray data = { iv->bytes, iv->n_transfers, iv->n_errors };
	UsbReaderUserClient_AsyncCompletion(waiter.client, waiter.completion, status, data,
					    status == kIOReturnSuccess ? 3 : 0);
	OSObjectRelease(waiter.completion);
	OSObjectRelease(waiter.client);
}

static void tell_progress(struct UsbReader_IVars *iv)
{
	for (unsigned i = iv->n_waiters; i-- > 0;)
		if (iv->bytes >= iv->waiters[i].at_bytes)
			tell(iv, i, kIOReturnSuccess);
}

/* `client` NULL: all. */
static void tell_aborted(struct UsbReader_IVars *iv, const UsbReaderUserClient *client)
{
	for (unsigned i = iv->n_waiters; i-- > 0;)
		if (client == NULL || iv->waiters[i].client == client)
			tell(iv, i, kIOReturnAborted);
}

/* --- reading --- */

static bool wants_to_read(const struct UsbReader_IVars *iv)
{
	return iv->n_followers > 0 && !iv->stopping && !iv->recovering &&
	       iv->n_failures < FAILURES_MAX;
}

static void fail(struct UsbReader_IVars *iv, const char *what, IOReturn status)
{
	iv->n_errors++;
	if (++iv->n_failures == FAILURES_MAX)
		IOLog("UsbReader: %s: %s; it stops reading", what, IOReturnString(status));
}

static void submit(struct UsbReader_IVars *iv, Transfer *transfer)
{
	kern_return_t ret = Transfer_submit(transfer);
	if (ret == kIOReturnSuccess)
		iv->n_reading++;
	else if (ret !=
		 kUSBHostReturnPipeStalled) // the transfer that halted the pipe is on its way
		fail(iv, "submit", ret);
}

static void begin(struct UsbReader_IVars *iv)
{
	iv->in_step = false;
	iv->last_ns = 0;
	for (unsigned i = 0; i < TRANSFERS && wants_to_read(iv); i++)
		if (!iv->transfers[i]->ivars->reading)
			submit(iv, iv->transfers[i]);
}

static void recover(struct UsbReader_IVars *iv)
{
	kern_return_t ret = IOUSBHostPipe_ClearStall(iv->transfers[0]->ivars->pipe, true);
	iv->recovering = false;
	if (ret != kIOReturnSuccess) {
		fail(iv, "ClearStall", ret);
		iv->n_failures = FAILURES_MAX;
	}
	begin(iv);
}

static void tear_down(UsbReader *self)
{
	struct UsbReader_IVars *iv = self->ivars;
	for (unsigned i = 0; i < TRANSFERS; i++) {
		if (iv->transfers[i] != NULL)
			Transfer_teardown(iv->transfers[i]);
		OSSafeReleaseNULL(iv->transfers[i]);
	}
	if (iv->interface != NULL)
		IOUSBHostInterface_Close(iv->interface, UsbReader_as_IOService(self), 0);
	OSSafeReleaseNULL(iv->interface);
}

static kern_return_t finish_stop(UsbReader *self)
{
	if (self->ivars->stopped)
		return kIOReturnSuccess;
	self->ivars->stopped = true;
	tear_down(self);
	return UsbReader_super_Stop(self, self->ivars->provider);
}

/* Nothing is in flight: what was waiting for that? */
static void drained(UsbReader *self)
{
	struct UsbReader_IVars *iv = self->ivars;
	iv->last_ns = 0;
	if (iv->stopping)
		finish_stop(self);
	else if (iv->recovering)
		recover(iv);
}

static void reader_take(UsbReader *self, Transfer *transfer, IOReturn status, uint32_t length,
			uint64_t timestamp)
{
	struct UsbReader_IVars *iv = self->ivars;
	iv->n_reading--;
	if (status == kIOReturnSuccess) {
		iv->n_failures = 0;
		count(iv, transfer, length, timestamp);
		tell_progress(iv);
	} else if (status == kIOReturnNoDevice) {
		iv->n_failures = FAILURES_MAX; // Stop follows
	} else if (status != kIOReturnAborted && !iv->recovering) {
		fail(iv, "read", status);
		iv->recovering = true;
	}
	if (wants_to_read(iv))
		submit(iv, transfer);
	if (iv->n_reading == 0)
		drained(self);
}

/* --- the service --- */

/* What the personality says must be in the data. */
static kern_return_t read_pattern(UsbReader *self)
{
	struct UsbReader_IVars *iv = self->ivars;
	OSDictionary *properties = NULL;
	kern_return_t ret = UsbReader_CopyProperties(self, &properties);
	if (ret != kIOReturnSuccess)
		return ret;
	OSString *pattern = OSDynamicCast(OSString, OSDictionary_getObject(properties, "Pattern"));
	iv->with_sequence = pattern != NULL && OSString_isEqualToCString(pattern, "sequence");
	bool known = iv->with_sequence ||
		     (pattern != NULL && OSString_isEqualToCString(pattern, "mod63"));
	OSSafeReleaseNULL(properties);
	if (!known)
		IOLog("UsbReader: the personality's Pattern must be mod63 or sequence");
	return known ? kIOReturnSuccess : kIOReturnBadArgument;
}

/* The first bulk IN endpoint of the interface; NULL: none that this driver can read. */
static const IOUSBEndpointDescriptor *
find_endpoint(IOUSBHostInterface *interface, const IOUSBConfigurationDescriptor *configuration)
{
	const IOUSBInterfaceDescriptor *descriptor =
		IOUSBHostInterface_GetInterfaceDescriptor(interface, configuration);
	const IOUSBEndpointDescriptor *e = NULL;
	while ((e = IOUSBGetNextEndpointDescriptor(configuration, descriptor, (const void *)e)))
		if ((e->bmAttributes & 3) == kIOUSBEndpointTypeBulk &&
		    (e->bEndpointAddress & kIOUSBEndpointDirectionIn) != 0 &&
		    e->wMaxPacketSize > 0 && e->wMaxPacketSize <= PACKET_MAX)
			return e;
	return NULL;
}

static kern_return_t make_transfer(UsbReader *self, unsigned index, uint8_t endpoint)
{
	struct UsbReader_IVars *iv = self->ivars;
	Transfer *transfer = OSTypeAlloc(Transfer);
	if (transfer == NULL || !Transfer_init(transfer)) {
		OSSafeReleaseNULL(transfer);
		return kIOReturnNoMemory;
	}
	kern_return_t ret = Transfer_setup(transfer, iv->interface, endpoint, iv->packet_size);
	if (ret != kIOReturnSuccess) {
		OSSafeReleaseNULL(transfer);
		return ret;
	}
	struct transfer_context *context = OSAction_GetReference(transfer->ivars->complete);
	*context = (struct transfer_context){ .reader = self, .index = index };
	iv->transfers[index] = transfer;
	return kIOReturnSuccess;
}

static kern_return_t make_transfers(UsbReader *self)
{
	struct UsbReader_IVars *iv = self->ivars;
	const IOUSBConfigurationDescriptor *configuration =
		IOUSBHostInterface_CopyConfigurationDescriptor(iv->interface);
	if (configuration == NULL)
		return kIOReturnNoMemory;
	const IOUSBEndpointDescriptor *endpoint = find_endpoint(iv->interface, configuration);
	kern_return_t ret = kIOReturnNotFound;
	if (endpoint != NULL) {
		iv->packet_size = endpoint->wMaxPacketSize;
		ret = kIOReturnSuccess;
	}
	for (unsigned i = 0; ret == kIOReturnSuccess && i < TRANSFERS; i++)
		ret = make_transfer(self, i, endpoint->bEndpointAddress);
	IOUSBHostFreeDescriptor(configuration);
	return ret;
}

static kern_return_t set_up(UsbReader *self, IOService *provider)
{
	struct UsbReader_IVars *iv = self->ivars;
	IOUSBHostInterface *interface = OSDynamicCast(IOUSBHostInterface, provider);
	if (interface == NULL)
		return kIOReturnBadArgument;
	kern_return_t ret = read_pattern(self);
	if (ret == kIOReturnSuccess)
		ret = IOUSBHostInterface_Open(interface, UsbReader_as_IOService(self), 0, NULL);
	if (ret != kIOReturnSuccess)
		return ret;
	OSObjectRetain(interface);
	iv->interface = interface;
	for (unsigned i = 0; i < PACKET_MAX; i++)
		iv->packet[i] = (uint8_t)(i % 63);
	return make_transfers(self);
}

kern_return_t IMPL(UsbReader, Start)
{
	kern_return_t ret = UsbReader_super_Start(self, provider);
	if (ret != kIOReturnSuccess)
		return ret;
	self->ivars->provider = provider;
	ret = set_up(self, provider);
	if (ret == kIOReturnSuccess)
		ret = UsbReader_RegisterService(self);
	if (ret != kIOReturnSuccess) {
		IOLog("UsbReader: cannot start: %s", IOReturnString(ret));
		tear_down(self);
	}
	return ret;
}

/* The super's Stop, which is what says "stopped", waits for the last transfer. */
kern_return_t IMPL(UsbReader, Stop)
{
	struct UsbReader_IVars *iv = self->ivars;
	iv->stopping = true;
	iv->provider = provider;
	tell_aborted(iv, NULL);
	if (iv->n_reading == 0)
		return finish_stop(self);
	return IOUSBHostPipe_Abort(iv->transfers[0]->ivars->pipe, kIOUSBAbortAsynchronous,
				   kIOReturnAborted, UsbReader_as_IOService(self));
}

kern_return_t IMPL(UsbReader, NewUserClient)
{
	(void)type;
	IOService *client = NULL;
	kern_return_t ret = UsbReader_Create(self, UsbReader_as_IOService(self),
					     "UserClientProperties", &client);
	if (ret != kIOReturnSuccess)
		return ret;
	*userClient = OSDynamicCast(IOUserClient, client);
	return kIOReturnSuccess;
}

kern_return_t IMPL(UsbReader, GetStatistics)
{
	const struct UsbReader_IVars *iv = self->ivars;
	*bytes = iv->bytes;
	*transfers = iv->n_transfers;
	*errors = iv->n_errors;
	*activeNs = iv->active_ns;
	return kIOReturnSuccess;
}

static void follow(struct UsbReader_IVars *iv, UsbReaderUserClient *client)
{
	if (client->ivars->follows)
		return;
	client->ivars->follows = true;
	if (iv->n_followers++ == 0) {
		iv->n_failures = 0;
		begin(iv);
	}
}

kern_return_t IMPL(UsbReader, NotifyAfter)
{
	struct UsbReader_IVars *iv = self->ivars;
	if (iv->stopping)
		return kIOReturnOffline;
	if (iv->n_waiters == WAITERS_MAX)
		return kIOReturnNoResources;
	if (bytes > UINT64_MAX - iv->bytes)
		return kIOReturnBadArgument;
	OSObjectRetain(client);
	OSObjectRetain(completion);
	iv->waiters[iv->n_waiters++] = (struct waiter){
		.client = client,
		.completion = completion,
		.at_bytes = iv->bytes + bytes,
	};
	follow(iv, client);
	return kIOReturnSuccess;
}

kern_return_t IMPL(UsbReader, ClientStopped)
{
	tell_aborted(self->ivars, client);
	if (client->ivars->follows)
		self->ivars->n_followers--; // the last one: transfers come back and stay
	client->ivars->follows = false;
	return kIOReturnSuccess;
}

/* --- the user client --- */

bool IMPL(UsbReaderUserClient, init)
{
	if (!UsbReaderUserClient_super_init(self))
		return false;
	self->ivars = IONewZero(struct UsbReaderUserClient_IVars, 1);
	return self->ivars != NULL;
}

void IMPL(UsbReaderUserClient, free)
{
	IOSafeDeleteNULL(self->ivars, struct UsbReaderUserClient_IVars, 1);
	UsbReaderUserClient_super_free(self);
}

static kern_return_t get_statistics(OSObject *target, void *reference,
				    IOUserClientMethodArguments *arguments)
{
	(void)reference;
	uint64_t *out = arguments->scalarOutput;
	return UsbReader_GetStatistics(OSDynamicCast(UsbReader, target), &out[0], &out[1], &out[2],
				       &out[3]);
}

static kern_return_t notify_after(OSObject *target, void *reference,
				  IOUserClientMethodArguments *arguments)
{
	return UsbReader_NotifyAfter(OSDynamicCast(UsbReader, target), reference,
				     arguments->completion, arguments->scalarInput[0]);
}

static const IOUserClientMethodDispatch methods[kUsbReaderMethodCount] = {
	[kUsbReaderMethodGetStatistics] = {
		.function = get_statistics,
		.checkScalarOutputCount = kUsbReaderStatisticsCount,
	},
	[kUsbReaderMethodNotifyAfter] = {
		.function = notify_after,
		.checkCompletionExists = 1,
		.checkScalarInputCount = 1,
	},
};

kern_return_t IMPL(UsbReaderUserClient, ExternalMethod)
{
	(void)target;
	(void)reference;
	if (selector < kUsbReaderMethodCount)
		dispatch = &methods[selector];
	IOService *reader = UsbReaderUserClient_GetProvider(self);
	return UsbReaderUserClient_super_ExternalMethod(self, selector, arguments, dispatch,
							IOService_as_OSObject(reader), self);
}

kern_return_t IMPL(UsbReaderUserClient, Stop)
{
	UsbReader *reader = OSDynamicCast(UsbReader, provider);
	if (reader != NULL)
		UsbReader_ClientStopped(reader, self);
	return UsbReaderUserClient_super_Stop(self, provider);
}
