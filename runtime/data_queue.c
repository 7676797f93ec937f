/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Data queues for drivers: the ring (wire/data_queue.c) in a sealed buffer below, the rules of all
 * sources (dispatch_source.c) above, with a line for each of the two messages.
 *
 * The driver has both ends at hand and uses one, or both for a queue within itself. What it takes
 * out it sees as a private copy, which an application cannot change under its eyes.
 *
 * Whom to wake is known when an entry is put in or taken out, and remembered (`owed`) until it is
 * done, for the …WithCoalesce calls leave that for later. A Send… that owes nothing comes from an
 * application and is for the driver: it calls the handler.
 */

#include <DriverKit/IODataQueueDispatchSource.h>

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <base/reason.h>
#include <runtime/dispatch_source.h>
#include <wire/data_queue.h>

enum line { DATA_AVAILABLE, DATA_SERVICED, N_LINES };

struct ring {
	IOBufferMemoryDescriptor *memory; // kept
	struct data_queue producer, consumer;
	void *copy; // of an entry; grows
	size_t copy_size;
	_Atomic uint32_t owed[N_LINES]; // enum data_queue_wait
};

struct IODataQueueDispatchSource_IVars {
	struct ring *ring; // the state's, as long as the object lives
};

static void fill(void *context, unsigned line, OSAction *handler, void *room)
{
	(void)context;
	if (line == DATA_AVAILABLE)
		((struct IODataQueueDispatchSource_DataAvailable_Msg *)room)->action = handler;
	else
		((struct IODataQueueDispatchSource_DataServiced_Msg *)room)->action = handler;
}

/* Nobody reports events but the driver's own calls. */
static void stop(void *context)
{
	(void)context;
}

static void ring_free(void *context)
{
	struct ring *ring = context;

	OSObjectRelease(ring->memory);
	free(ring->copy);
	free(ring);
}

static const struct source_ops data_queue_ops = {
	.name = "IODataQueueDispatchSource",
	.n_lines = N_LINES,
	.shapes = { &IODataQueueDispatchSource_DataAvailable_Shape,
		    &IODataQueueDispatchSource_DataServiced_Shape },
	.fill = fill,
	.stop = stop,
	.free = ring_free,
};

_Static_assert(sizeof(struct IODataQueueDispatchSource_DataAvailable_Msg) <= SOURCE_MESSAGE_MAX,
	       "the message fits");

/* --- making --- */

static kern_return_t ring_set_up(struct ring *ring, uint32_t capacity)
{
	IOAddressSegment range = { 0 };
	kern_return_t ret = IOBufferMemoryDescriptor_Create(
		kIOMemoryDirectionInOut, data_queue_memory_size(capacity), 0, &ring->memory);

	if (ret == kIOReturnSuccess)
		ret = IOBufferMemoryDescriptor_GetAddressRange(ring->memory, &range);
	if (ret != kIOReturnSuccess)
		return ret;
	void *memory = (void *)(uintptr_t)range.address;
	data_queue_format(memory, capacity);
	if (data_queue_open_producer(&ring->producer, memory, range.length) < 0 ||
	    data_queue_open_consumer(&ring->consumer, memory, range.length) < 0)
		return refuse(kIOReturnInternalError, "a fresh data queue cannot be opened");
	return kIOReturnSuccess;
}

static kern_return_t set_up(IODataQueueDispatchSource *self, uint32_t capacity,
			    IODispatchQueue *queue)
{
	struct ring *ring = calloc(1, sizeof(*ring));

	self->ivars = calloc(1, sizeof(*self->ivars));
	if (ring == NULL || self->ivars == NULL) {
		free(ring);
		return refuse(kIOReturnNoMemory, "out of memory for a data queue");
	}
	kern_return_t ret = ring_set_up(ring, capacity);
	if (ret == kIOReturnSuccess)
		ret = source_init(&self->super, &data_queue_ops, ring, queue, true);
	if (ret != kIOReturnSuccess) {
		ring_free(ring);
		return ret;
	}
	self->ivars->ring = ring;
	return kIOReturnSuccess;
}

kern_return_t IODataQueueDispatchSource_Create(uint64_t queueByteCount, IODispatchQueue *queue,
					       IODataQueueDispatchSource **source)
{
	if (queue == NULL || source == NULL)
		return refuse(kIOReturnBadArgument, "a data queue needs a queue and a place");
	if (queueByteCount == 0 || queueByteCount % 4 != 0 ||
	    queueByteCount > DATA_QUEUE_CAPACITY_MAX)
		return refuse(kIOReturnBadArgument,
			      "a data queue of %llu bytes: a multiple of 4 up to %u is needed",
			      (unsigned long long)queueByteCount, DATA_QUEUE_CAPACITY_MAX);
	IODataQueueDispatchSource *made = OSTypeAlloc(IODataQueueDispatchSource);
	if (made == NULL)
		return refuse(kIOReturnNoMemory, "out of memory for a data queue");
	kern_return_t ret = set_up(made, (uint32_t)queueByteCount, queue);
	if (ret != kIOReturnSuccess) {
		OSObjectRelease(made);
		return ret;
	}
	*source = made;
	return kIOReturnSuccess;
}

void IMPL(IODataQueueDispatchSource, free)
{
	free(self->ivars);
	self->ivars = NULL;
	IODataQueueDispatchSource_super_free(self);
}

/* --- telling --- */

static void owe(struct ring *ring, enum line line, enum data_queue_wait whom)
{
	if (whom != DATA_QUEUE_AWAKE)
		atomic_store_explicit(&ring->owed[line], (uint32_t)whom, memory_order_relaxed);
}

static kern_return_t send(IODataQueueDispatchSource *self, enum line line)
{
	kern_return_t ret =
		source_check(IODataQueueDispatchSource_as_IODispatchSource(self), "SendData");

	if (ret != kIOReturnSuccess)
		return ret;
	struct ring *ring = self->ivars->ring;
	uint32_t owed =
		atomic_exchange_explicit(&ring->owed[line], DATA_QUEUE_AWAKE, memory_order_relaxed);
	if (owed == DATA_QUEUE_ASLEEP && line == DATA_AVAILABLE)
		data_queue_wake_consumer(&ring->producer);
	else
		source_signal(self->super.ivars, line);
	return kIOReturnSuccess;
}

kern_return_t IODataQueueDispatchSource_SendDataAvailable(IODataQueueDispatchSource *self)
{
	return send(self, DATA_AVAILABLE);
}

kern_return_t IODataQueueDispatchSource_SendDataServiced(IODataQueueDispatchSource *self)
{
	return send(self, DATA_SERVICED);
}

/* --- putting in --- */

static kern_return_t corrupt(const char *method)
{
	return refuse(kIOReturnError,
		      "%s: the other side has written what cannot be into the queue", method);
}

static kern_return_t full(const char *method, const struct ring *ring, uint32_t size)
{
	if (data_queue_entry_size(size) > ring->producer.capacity)
		return refuse(kIOReturnOverrun,
			      "%s: an entry of %u bytes never fits into a queue of %u", method,
			      size, ring->producer.capacity);
	return refuse(kIOReturnOverrun, "%s: no room for %u bytes", method, size);
}

kern_return_t IODataQueueDispatchSource_EnqueueWithCoalesce_f(IODataQueueDispatchSource *self,
							      uint32_t callerDataSize,
							      bool *sendDataAvailable,
							      void *context,
							      IODataQueueEnqueueFunction function)
{
	void *room;
	kern_return_t ret =
		source_check(IODataQueueDispatchSource_as_IODispatchSource(self), "Enqueue");

	if (ret != kIOReturnSuccess)
		return ret;
	if (sendDataAvailable == NULL || function == NULL)
		return refuse(kIOReturnBadArgument, "Enqueue: an argument is missing");
	struct ring *ring = self->ivars->ring;
	int error = data_queue_reserve(&ring->producer, callerDataSize, &room);
	if (error < 0)
		return corrupt("Enqueue");
	if (error != 0)
		return full("Enqueue", ring, callerDataSize);
	function(context, room, callerDataSize);
	enum data_queue_wait whom = data_queue_put(&ring->producer, callerDataSize);
	owe(ring, DATA_AVAILABLE, whom);
	*sendDataAvailable |= whom != DATA_QUEUE_AWAKE;
	return kIOReturnSuccess;
}

kern_return_t IODataQueueDispatchSource_Enqueue_f(IODataQueueDispatchSource *self,
						  uint32_t callerDataSize, void *context,
						  IODataQueueEnqueueFunction function)
{
	bool tell = false;
	kern_return_t ret = IODataQueueDispatchSource_EnqueueWithCoalesce_f(
		self, callerDataSize, &tell, context, function);

	if (tell)
		send(self, DATA_AVAILABLE);
	return ret;
}

kern_return_t IODataQueueDispatchSource_CanEnqueueData(IODataQueueDispatchSource *self,
						       uint32_t callerDataSize, uint32_t dataCount)
{
	kern_return_t ret =
		source_check(IODataQueueDispatchSource_as_IODispatchSource(self), "CanEnqueueData");

	if (ret != kIOReturnSuccess)
		return ret;
	int error = data_queue_can_put(&self->ivars->ring->producer, callerDataSize, dataCount);
	if (error < 0)
		return corrupt("CanEnqueueData");
	return error == 0 ? kIOReturnSuccess
			  : full("CanEnqueueData", self->ivars->ring, callerDataSize);
}

/* --- taking out --- */

/* The first entry, in a private copy. */
static kern_return_t copy_entry(struct ring *ring, const char *method, uint32_t *size)
{
	const void *data;
	int error = data_queue_peek(&ring->consumer, &data, size);

	if (error < 0)
		return corrupt(method);
	if (error == DATA_QUEUE_EMPTY)
		return refuse(kIOReturnUnderrun, "%s: the queue is empty", method);
	if (*size > ring->copy_size) {
		void *grown = realloc(ring->copy, *size);
		if (grown == NULL)
			return refuse(kIOReturnNoMemory, "%s: out of memory for %u bytes", method,
				      *size);
		ring->copy = grown;
		ring->copy_size = *size;
	}
	if (*size != 0)
		memcpy(ring->copy, data, *size);
	return kIOReturnSuccess;
}

static kern_return_t read_entry(IODataQueueDispatchSource *self, const char *method, void *context,
				IODataQueueDequeueFunction function, uint32_t *size)
{
	kern_return_t ret =
		source_check(IODataQueueDispatchSource_as_IODispatchSource(self), method);

	if (ret != kIOReturnSuccess)
		return ret;
	if (function == NULL)
		return refuse(kIOReturnBadArgument, "%s: a function is needed", method);
	ret = copy_entry(self->ivars->ring, method, size);
	if (ret == kIOReturnSuccess)
		function(context, self->ivars->ring->copy, *size);
	return ret;
}

kern_return_t IODataQueueDispatchSource_Peek_f(IODataQueueDispatchSource *self, void *context,
					       IODataQueueDequeueFunction function)
{
	uint32_t size;

	return read_entry(self, "Peek", context, function, &size);
}

kern_return_t IODataQueueDispatchSource_DequeueWithCoalesce_f(IODataQueueDispatchSource *self,
							      bool *sendDataServiced, void *context,
							      IODataQueueDequeueFunction function)
{
	uint32_t size;

	if (sendDataServiced == NULL)
		return refuse(kIOReturnBadArgument, "Dequeue: an argument is missing");
	kern_return_t ret = read_entry(self, "Dequeue", context, function, &size);
	if (ret != kIOReturnSuccess)
		return ret;
	struct ring *ring = self->ivars->ring;
	enum data_queue_wait whom = data_queue_take(&ring->consumer, size);
	owe(ring, DATA_SERVICED, whom);
	*sendDataServiced |= whom != DATA_QUEUE_AWAKE;
	return kIOReturnSuccess;
}

kern_return_t IODataQueueDispatchSource_Dequeue_f(IODataQueueDispatchSource *self, void *context,
						  IODataQueueDequeueFunction function)
{
	bool tell = false;
	kern_return_t ret =
		IODataQueueDispatchSource_DequeueWithCoalesce_f(self, &tell, context, function);

	if (tell)
		send(self, DATA_SERVICED);
	return ret;
}

/* --- the rest --- */

bool IODataQueueDispatchSource_IsDataAvailable(IODataQueueDispatchSource *self)
{
	return self != NULL && data_queue_has_data(&self->ivars->ring->consumer);
}

size_t IODataQueueDispatchSource_GetDataQueueEntryHeaderSize(IODataQueueDispatchSource *self)
{
	(void)self;
	return DATA_QUEUE_ENTRY_HEADER_SIZE;
}

kern_return_t IODataQueueDispatchSource_SetDataAvailableHandler(IODataQueueDispatchSource *self,
								OSAction *action)
{
	return source_set_handler(IODataQueueDispatchSource_as_IODispatchSource(self),
				  DATA_AVAILABLE, action);
}

kern_return_t IODataQueueDispatchSource_SetDataServicedHandler(IODataQueueDispatchSource *self,
							       OSAction *action)
{
	return source_set_handler(IODataQueueDispatchSource_as_IODispatchSource(self),
				  DATA_SERVICED, action);
}

kern_return_t IODataQueueDispatchSource_CopyDataAvailableHandler(IODataQueueDispatchSource *self,
								 OSAction **action)
{
	return source_copy_handler(IODataQueueDispatchSource_as_IODispatchSource(self),
				   DATA_AVAILABLE, action);
}

kern_return_t IODataQueueDispatchSource_CopyDataServicedHandler(IODataQueueDispatchSource *self,
								OSAction **action)
{
	return source_copy_handler(IODataQueueDispatchSource_as_IODispatchSource(self),
				   DATA_SERVICED, action);
}

kern_return_t IODataQueueDispatchSource_CopyMemory(IODataQueueDispatchSource *self,
						   IOMemoryDescriptor **memory)
{
	if (self == NULL || memory == NULL)
		return refuse(kIOReturnBadArgument, "CopyMemory: an argument is missing");
	*memory = IOBufferMemoryDescriptor_as_IOMemoryDescriptor(self->ivars->ring->memory);
	OSObjectRetain(*memory);
	return kIOReturnSuccess;
}
