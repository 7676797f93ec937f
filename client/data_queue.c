/* SPDX-License-Identifier: Apache-2.0 */

/*
 * An application's end of a data queue: a mapping, and the ring's two ends over it, of which the
 * application uses one. Entries are copied before they are looked at.
 *
 * A driver that waits is told by a call of the method that it offers for that: a call finds the
 * driver's thread wherever it sleeps, and costs nothing as long as the driver is busy.
 *
 * Memory of a driver that died stays as it was left. What is in it is taken out first; then the
 * queue of the driver that follows is mapped in its place. That there is one, the ring says; one
 * who sleeps on a word of the dead one's memory looks there twice a second.
 */

#include <IOKit/IODataQueueClient.h>

#include <stdlib.h>
#include <string.h>

#include <base/clock.h>
#include <base/reason.h>
#include <client/connection.h>
#include <wire/data_queue.h>

#define LOOK_NS 500000000U

struct IODataQueueMemory {
	io_connect_t connect;
	struct connection *connection; // a reference
	uint32_t generation;           // of the driver whose memory this is, or one before it
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

/* --- the memory --- */

static void unmap(const IODataQueueMemory *queue, mach_vm_address_t address)
{
	IOConnectUnmapMemory64(queue->connect, queue->type, mach_task_self(), address);
}

/* Of the driver that there is now. The generation is read first: a driver that comes in between is
 * followed once more. */
static kern_return_t map(IODataQueueMemory *queue)
{
	struct data_queue producer, consumer;
	mach_vm_address_t address = 0;
	mach_vm_size_t size = 0;
	uint32_t generation = ring_client_generation(queue->connection->ring);
	kern_return_t ret = IOConnectMapMemory64(queue->connect, queue->type, mach_task_self(),
						 &address, &size, kIOMapAnywhere);
	if (ret != kIOReturnSuccess)
		return ret;
	void *memory = (void *)(uintptr_t)address;
	if (data_queue_open_producer(&producer, memory, size) < 0 ||
	    data_queue_open_consumer(&consumer, memory, size) < 0) {
		unmap(queue, address);
		return refuse(kIOReturnUnformattedMedia,
			      "the driver's memory of type %u holds no data queue", queue->type);
	}
	queue->generation = generation;
	queue->address = address;
	queue->producer = producer;
	queue->consumer = consumer;
	return kIOReturnSuccess;
}

static bool is_behind(const IODataQueueMemory *queue)
{
	return queue->generation != ring_client_generation(queue->connection->ring);
}

/* Go on with the driver that follows. */
static kern_return_t follow(IODataQueueMemory *queue)
{
	mach_vm_address_t before = queue->address;
	kern_return_t ret = map(queue);
	if (ret == kIOReturnSuccess)
		unmap(queue, before);
	return ret;
}

kern_return_t dext_data_queue_open(io_connect_t connect, uint32_t type, uint32_t selector,
				   IODataQueueMemory **queue)
{
	if (queue == NULL)
		return no_queue("dext_data_queue_open");
	struct connection *c = connection_get(connect);
	if (c == NULL)
		return kIOReturnBadArgument;
	IODataQueueMemory *made = calloc(1, sizeof(*made));
	if (made == NULL) {
		connection_unref(c);
		return refuse(kIOReturnNoMemory, "out of memory");
	}
	made->connect = connect;
	made->connection = c;
	made->type = type;
	made->selector = selector;
	kern_return_t ret = map(made);
	if (ret == kIOReturnSuccess) {
		*queue = made;
		return ret;
	}
	connection_unref(c);
	free(made);
	return ret;
}

void dext_data_queue_close(IODataQueueMemory *queue)
{
	if (queue == NULL)
		return;
	unmap(queue, queue->address);
	connection_unref(queue->connection);
	free(queue->copy);
	free(queue);
}

/* --- entries --- */

static kern_return_t tell_driver(IODataQueueMemory *queue, enum data_queue_wait whom, uint64_t what)
{
	if (whom == DATA_QUEUE_AWAKE || queue->selector == DEXT_DATA_QUEUE_NO_SELECTOR ||
	    is_behind(queue))
		return kIOReturnSuccess;
	return IOConnectCallScalarMethod(queue->connect, queue->selector, &what, 1, NULL, NULL);
}

bool IODataQueueDataAvailable(IODataQueueMemory *queue)
{
	if (queue == NULL)
		return false;
	if (!data_queue_has_data(&queue->consumer) && is_behind(queue))
		follow(queue);
	return data_queue_has_data(&queue->consumer);
}

/* Until there is data, or it is time to look whether the driver is still the same. */
static bool wait_for_data(IODataQueueMemory *queue, uint64_t deadline_ns)
{
	uint64_t look_ns = clock_now_ns() + LOOK_NS;
	return data_queue_wait(&queue->consumer, look_ns < deadline_ns ? look_ns : deadline_ns) ==
	       0;
}

kern_return_t dext_data_queue_wait(IODataQueueMemory *queue, uint32_t timeout_ms)
{
	uint64_t deadline_ns = clock_deadline_ns(timeout_ms);
	if (queue == NULL)
		return no_queue("dext_data_queue_wait");
	while (!wait_for_data(queue, deadline_ns)) {
		kern_return_t ret = is_behind(queue) ? follow(queue) : kIOReturnSuccess;
		if (ret != kIOReturnSuccess)
			return ret;
		if (ring_client_is_closed(queue->connection->ring))
			return refuse(kIOReturnOffline, "the connection has ended");
		if (clock_now_ns() >= deadline_ns)
			return refuse(kIOReturnTimeout, "nothing was put into the queue in %u ms",
				      timeout_ms);
	}
	return kIOReturnSuccess;
}

static kern_return_t peek(IODataQueueMemory *queue, const char *call, const void **data,
			  uint32_t *size)
{
	int ret = data_queue_peek(&queue->consumer, data, size);

	if (ret == DATA_QUEUE_EMPTY && is_behind(queue)) {
		kern_return_t status = follow(queue);
		if (status != kIOReturnSuccess)
			return status;
		ret = data_queue_peek(&queue->consumer, data, size);
	}
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
	kern_return_t status = is_behind(queue) ? follow(queue) : kIOReturnSuccess;
	if (status != kIOReturnSuccess)
		return status;
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
