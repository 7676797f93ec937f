/* SPDX-License-Identifier: Apache-2.0 */

/*
 * An application's end of a data queue: a mapping, and the ring's two ends over it, of which the
 * application uses one. Entries are copied before they are looked at.
 *
 * A driver that waits is told by a call of the method that it offers for that: a call finds the
 * driver's thread wherever it sleeps, and costs nothing as long as the driver is busy.
 */

#include <IOKit/IODataQueueClient.h>

#include <stdlib.h>
#include <string.h>

#include <base/clock.h>
#include <base/reason.h>
#include <wire/data_queue.h>

struct IODataQueueMemory {
	io_connect_t connect;
	uint32_t type, selector;
	mach_vm_address_t address;
	struct data_queue producer, consumer;
	IODataQueueEntry *copy; // Peek's; grows
	uint32_t copy_size;
};

static kern_return_t no_queue(const char *call)
{
	return refuse(kIOReturnBadArgument, "%s: an argument is NULL", call);
}

static kern_return_t corrupt(const char *call)
{
	return refuse(kIOReturnError, "%s: the driver has written what cannot be into the queue",
		      call);
}

kern_return_t dext_data_queue_open(io_connect_t connect, uint32_t type, uint32_t selector,
				   IODataQueueMemory **queue)
{
	mach_vm_address_t address = 0;
	mach_vm_size_t size = 0;

	if (queue == NULL)
		return no_queue("dext_data_queue_open");
	IODataQueueMemory *made = calloc(1, sizeof(*made));
	if (made == NULL)
		return refuse(kIOReturnNoMemory, "out of memory");
	kern_return_t ret = IOConnectMapMemory64(connect, type, mach_task_self(), &address, &size,
						 kIOMapAnywhere);
	if (ret != kIOReturnSuccess) {
		free(made);
		return ret;
	}
	made->connect = connect;
	made->type = type;
	made->selector = selector;
	made->address = address;
	void *memory = (void *)(uintptr_t)address;
	if (data_queue_open_producer(&made->producer, memory, size) < 0 ||
	    data_queue_open_consumer(&made->consumer, memory, size) < 0) {
		dext_data_queue_close(made);
		return refuse(kIOReturnUnformattedMedia,
			      "the driver's memory of type %u holds no data queue", type);
	}
	*queue = made;
	return kIOReturnSuccess;
}

void dext_data_queue_close(IODataQueueMemory *queue)
{
	if (queue == NULL)
		return;
	IOConnectUnmapMemory64(queue->connect, queue->type, mach_task_self(), queue->address);
	free(queue->copy);
	free(queue);
}

static kern_return_t tell_driver(IODataQueueMemory *queue, enum data_queue_wait whom, uint64_t what)
{
	if (whom == DATA_QUEUE_AWAKE || queue->selector == DEXT_DATA_QUEUE_NO_SELECTOR)
		return kIOReturnSuccess;
	return IOConnectCallScalarMethod(queue->connect, queue->selector, &what, 1, NULL, NULL);
}

bool IODataQueueDataAvailable(IODataQueueMemory *queue)
{
	return queue != NULL && data_queue_has_data(&queue->consumer);
}

kern_return_t dext_data_queue_wait(IODataQueueMemory *queue, uint32_t timeout_ms)
{
	if (queue == NULL)
		return no_queue("dext_data_queue_wait");
	if (data_queue_wait(&queue->consumer, clock_deadline_ns(timeout_ms)) == 0)
		return kIOReturnSuccess;
	return refuse(kIOReturnTimeout, "nothing was put into the queue in %u ms", timeout_ms);
}

static kern_return_t peek(IODataQueueMemory *queue, const char *call, const void **data,
			  uint32_t *size)
{
	int ret = data_queue_peek(&queue->consumer, data, size);

	if (ret < 0)
		return corrupt(call);
	if (ret == DATA_QUEUE_EMPTY)
		return refuse(kIOReturnUnderrun, "%s: the queue is empty", call);
	return kIOReturnSuccess;
}

IODataQueueEntry *IODataQueuePeek(IODataQueueMemory *queue)
{
	const void *data;
	uint32_t size;

	if (queue == NULL || peek(queue, "IODataQueuePeek", &data, &size) != kIOReturnSuccess)
		return NULL;
	if (queue->copy == NULL || size > queue->copy_size) {
		IODataQueueEntry *grown = realloc(queue->copy, sizeof(*grown) + size);
		if (grown == NULL) {
			refuse(kIOReturnNoMemory, "IODataQueuePeek: out of memory");
			return NULL;
		}
		queue->copy = grown;
		queue->copy_size = size;
	}
	queue->copy->size = size;
	memcpy(queue->copy->data, data, size);
	return queue->copy;
}

kern_return_t IODataQueueDequeue(IODataQueueMemory *queue, void *data, uint32_t *dataSize)
{
	const void *found;
	uint32_t size;

	if (queue == NULL || (data != NULL && dataSize == NULL))
		return no_queue("IODataQueueDequeue");
	kern_return_t ret = peek(queue, "IODataQueueDequeue", &found, &size);
	if (ret != kIOReturnSuccess)
		return ret;
	uint32_t room = data != NULL ? *dataSize : size;
	if (dataSize != NULL)
		*dataSize = size;
	if (size > room)
		return refuse(kIOReturnNoSpace,
			      "IODataQueueDequeue: the entry has %u bytes, the room %u", size,
			      room);
	if (data != NULL)
		memcpy(data, found, size);
	return tell_driver(queue, data_queue_take(&queue->consumer, size),
			   DEXT_DATA_QUEUE_SERVICED);
}

kern_return_t IODataQueueEnqueue(IODataQueueMemory *queue, const void *data, uint32_t dataSize)
{
	void *room;

	if (queue == NULL || (data == NULL && dataSize != 0))
		return no_queue("IODataQueueEnqueue");
	int ret = data_queue_reserve(&queue->producer, dataSize, &room);
	if (ret < 0)
		return corrupt("IODataQueueEnqueue");
	if (ret == DATA_QUEUE_FULL)
		return refuse(kIOReturnOverrun, "IODataQueueEnqueue: no room for %u bytes",
			      dataSize);
	if (dataSize != 0)
		memcpy(room, data, dataSize);
	return tell_driver(queue, data_queue_put(&queue->producer, dataSize),
			   DEXT_DATA_QUEUE_AVAILABLE);
}
