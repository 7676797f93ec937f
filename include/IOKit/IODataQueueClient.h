/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The application's end of a driver's data queue (IODataQueueDispatchSource): entries of bytes, in
 * order, through memory that both have mapped. One side puts in, the other takes out, by whatever
 * the two agreed on. The calls on one queue come one after the other, from any thread; wait may
 * run beside none of them.
 *
 * A queue outlives its driver's process, as a connection does (<opendext/client.h>): what a driver
 * that died had put in is taken out, and then the queue is that which its successor gives for the
 * same type. What the dead driver had not taken out is gone. The first call that goes over to a
 * successor's queue maps it, and so may block within the time limit of a call; when that fails, the
 * call on the queue fails with it.
 *
 * IODataQueueMemory is a handle, not the memory itself: what the driver writes there is checked
 * against what the handle knows, and is kIOReturnError when it cannot be. The functions are
 * IOKit's; making a handle, and sleeping, are ours. dext_last_reason() (<opendext/client.h>) says
 * why something failed.
 */

#include <IOKit/IOKitLib.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* A data queue that this process has mapped. */
typedef struct IODataQueueMemory IODataQueueMemory;

/* An entry, as IODataQueuePeek gives it. */
typedef struct IODataQueueEntry {
	uint32_t size;
	uint8_t data[4]; // the first of `size` bytes, as IOKit declares them
} IODataQueueEntry;

/* The scalar that the external method gets: what to do for the driver's IODataQueueDispatchSource.
 */
enum {
	DEXT_DATA_QUEUE_AVAILABLE = 0, // SendDataAvailable
	DEXT_DATA_QUEUE_SERVICED = 1,  // SendDataServiced
};

/* In place of a selector: the driver never waits. */
#define DEXT_DATA_QUEUE_NO_SELECTOR 0xffffffffU

/* Map the queue that the driver gives as memory of `type`. `selector`: the external method that is
 * called, with one scalar, when the driver waits for what was put in or taken out;
 * DEXT_DATA_QUEUE_NO_SELECTOR: it never waits. kIOReturnUnformattedMedia: that memory holds no
 * queue. Close it before the connection. */
kern_return_t dext_data_queue_open(io_connect_t connect, uint32_t type, uint32_t selector,
				   IODataQueueMemory **queue);
/* Unmap the queue and forget it. NULL is allowed. */
void dext_data_queue_close(IODataQueueMemory *queue);

/* Sleep until there is an entry; of the driver's successor, too. kIOReturnTimeout after
 * `timeout_ms`. kIOReturnOffline: the connection has ended, which may be noticed half a second
 * later. */
kern_return_t dext_data_queue_wait(IODataQueueMemory *queue, uint32_t timeout_ms);

/* Is there an entry? */
bool IODataQueueDataAvailable(IODataQueueMemory *queue);

/* The first entry, which stays: a copy, good until the next call on the queue. NULL: there is none,
 * or the queue is corrupt (the reason says so). */
IODataQueueEntry *IODataQueuePeek(IODataQueueMemory *queue);

/* Take the first entry out. *dataSize: the room at `data`; then the entry's size. `data` NULL: it
 * is thrown away. kIOReturnUnderrun: the queue is empty. kIOReturnNoSpace: the entry is larger, and
 * stays. */
kern_return_t IODataQueueDequeue(IODataQueueMemory *queue, void *data, uint32_t *dataSize);

/* Put in a copy of `data`. kIOReturnOverrun: there is no room. */
kern_return_t IODataQueueEnqueue(IODataQueueMemory *queue, const void *data, uint32_t dataSize);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
