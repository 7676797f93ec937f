/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What an application has here beside IOKit's own functions (<IOKit/IOKitLib.h>).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <IOKit/IOKitLib.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/*
 * Receive without a run loop: a notification port is ONE descriptor. Poll it for input in any event
 * loop; when it is readable, dispatch.
 *
 *	struct pollfd p = {.fd = dext_notification_port_get_fd(port), .events = POLLIN};
 *	while (poll(&p, 1, -1) >= 0)
 *		dext_notification_port_dispatch(port);
 *
 * The descriptor belongs to the port: never read or close it.
 */
int dext_notification_port_get_fd(IONotificationPortRef notify);

/* Run the callbacks that are due, on this thread. Never blocks. One thread at a time for callbacks
 * in order. kIOReturnOffline: dextd is gone, and with it this port's matching notifications. */
kern_return_t dext_notification_port_dispatch(IONotificationPortRef notify);

/* Why the last call of this thread failed, in words: which check, which key, what to do about it.
 * Never NULL; empty when there is nothing to say. Valid until this thread's next call. */
const char *dext_last_reason(void);

/* How long a call waits at most, 1 ms to one day: 30 s, or OPENDEXT_CALL_TIMEOUT_MS from the
 * environment. It then fails with kIOReturnTimeout; the driver may still be executing it. */
kern_return_t dext_call_timeout_set(uint32_t timeout_ms);
uint32_t dext_call_timeout_get(void);

/*
 * Calls in flight from one thread: submit as many as you like up to DEXT_CALLS_MAX, do something
 * else, then wait for each. The driver carries out the calls of a connection in the order in which
 * they were submitted; a submitted call needs no wait to go on. To keep calls under way without
 * waiting in their order, wait for the oldest.
 *
 *	for (int i = 0; i < 4; i++)
 *		dext_call_submit(connect, READ, &block[i], 1, NULL, 0, 0, sizeof(data[i]),
 *				 i < 3 ? DEXT_CALL_MORE : 0, &calls[i]);
 *	for (int i = 0; i < 4; i++)
 *		dext_call_wait(calls[i], NULL, NULL, data[i], &size[i]);
 */

/* The number of a call: never 0, and never that of another call as long as it is under way. */
typedef uint64_t dext_call_t;

/* Calls of a connection that were submitted and neither waited for nor given up. Some more remain
 * for the synchronous ones. */
#define DEXT_CALLS_MAX 28U

/* Options of dext_call_submit. */
enum dext_call_options {
	/* More follow at once, and form a group. The driver, should it sleep, is not woken for this
	 * call, but by the next one of the connection without the option, by dext_call_flush, or by
	 * whoever waits for one of its calls. Who waits for this call may learn of the reply up to
	 * 10 ms late, while calls that were submitted later are still under way. In return the
	 * group costs one wake-up each way; on one CPU a wake-up is nearly all that a call costs.
	 */
	DEXT_CALL_MORE = 1,
};

/* As IOConnectCallMethod, but it returns when the driver has the call before it. outputCnt and
 * outputStructCnt are the room that the driver is told of; kIOConnectMethodVarOutputSize is
 * kIOReturnUnsupported. The input is copied. The time limit (dext_call_timeout_set) begins now.
 *
 * Never waits for another call. kIOReturnNoResources: DEXT_CALLS_MAX calls are under way, or seven
 * with structures above 4096 bytes, or other threads' calls have taken the rest: nothing was
 * submitted. A structure larger than any before it is prepared with a synchronous call to the
 * driver. */
kern_return_t dext_call_submit(io_connect_t connect, uint32_t selector, const uint64_t *input,
			       uint32_t inputCnt, const void *inputStruct, size_t inputStructCnt,
			       uint32_t outputCnt, size_t outputStructCnt, uint32_t options,
			       dext_call_t *call);
/* Wake the driver for what was submitted with DEXT_CALL_MORE. */
kern_return_t dext_call_flush(io_connect_t connect);

/* Wait for the reply, and take it: as IOConnectCallMethod returns. Any thread may, not only the one
 * that submitted, but one alone (the other gets kIOReturnBusy). Whatever it returns, the call is
 * over and its number is no more.
 *
 * kIOReturnTimeout: the time limit, which began with the submission, is over; the driver may still
 * be executing the call. kIOReturnAborted: the driver died, or the connection was closed while this
 * thread was waiting. kIOReturnBadArgument: there is less room than the call was submitted with,
 * and it was given up; or there is no such call: it was waited for before, or given up, or its
 * connection was closed. */
kern_return_t dext_call_wait(dext_call_t call, uint64_t *output, uint32_t *outputCnt,
			     void *outputStruct, size_t *outputStructCnt);

/* Give a call up: its reply will be dropped. The driver carries it out all the same. Calls that are
 * neither waited for nor given up keep their places until IOServiceClose, which ends them all. */
kern_return_t dext_call_abandon(dext_call_t call);

/* How the two sides of a connection wait for each other: a property of the connection. */
enum dext_latency {
	/* Look for the other side for some microseconds, while it runs on another CPU and as long
	 * as that has paid; else sleep. What a new connection has. */
	DEXT_LATENCY_BALANCED = 0,
	/* Look for up to a millisecond: for calls that come a thousand times a second and more.
	 * Where dextd allows it (--allow-low-latency), idle CPUs are kept awake as long as the
	 * connection lives, and all the driver's threads run at a raised priority: the lowest
	 * real-time one, or nice -20 where that is refused or the kernel sets it no bound. A driver
	 * that does not sleep then takes up to 95 % of a CPU from everything ordinary; one that
	 * does not answer dextd either is killed as ever. */
	DEXT_LATENCY_BUSY_POLL = 1,
	/* Always sleep. */
	DEXT_LATENCY_POWER_SAVER = 2,
};

/* kIOReturnSuccess with a reason in dext_last_reason: both sides wait as asked, but idle CPUs are
 * not kept awake, or the driver's priority is not raised. */
kern_return_t dext_connect_set_latency(io_connect_t connect, enum dext_latency latency);

/*
 * Memory that the driver of `connect` may be pointed at: `size` bytes, zeroes, rounded up to pages,
 * at *address. Pass an address in it to a method as an ordinary number, with a length; the driver
 * makes a memory descriptor of that range (IOUserClient::CreateMemoryDescriptorFromClient) and
 * shares it with this process: nothing is copied.
 *
 * It must be such memory, and no other: a driver has no access to this process, and what it is to
 * see, it must be given beforehand, in a file that cannot shrink while it works. At most 64 of them
 * for a connection. They end with dext_buffer_free or IOServiceClose; what the driver made of one
 * until then, it keeps. Each has a descriptor of this process, so that a driver that follows the
 * one it was made for can be given it too: before its first call, so the address stays good for
 * calls, though what the driver had made of it is gone.
 *
 * A structure above 4096 bytes of a call (not of dext_call_submit) that lies in such memory stays
 * there, and is not copied either: the driver works on the very bytes. Whatever the call returns,
 * what lies in the room for output is then what the driver left there. Structures that overlap are
 * copied.
 *
 * kIOReturnNoResources: this process shares
 * as much with the driver as is left for all others.
 */
kern_return_t dext_buffer_create(io_connect_t connect, size_t size, void **address);
/* kIOReturnTimeout: the driver was not told in time, and the buffer is still there. */
kern_return_t dext_buffer_free(io_connect_t connect, void *address);

/*
 * A connection outlives its driver's process: when that dies, dextd starts another, and the
 * connection goes on with it; the application keeps its handle. A call that the driver had not
 * begun is executed by the new one. One that it was executing is executed anew if its method is
 * declared DEXT_IDEMPOTENT; else it ends with kIOReturnAborted and a reason. An asynchronous call
 * that it had accepted and not completed completes with kIOReturnAborted (in the callback,
 * dext_last_reason says why). A call of dext_call_submit that it had not begun is aborted,
 * too, if it has a structure above 4096 bytes or the connection has buffers of dext_buffer_create.
 * Calls made meanwhile wait, within their time limit. Mapped memory stays mapped, but is the dead
 * driver's: map it again. The new driver is given the buffers of dext_buffer_create before its
 * first call, and data queues go on with its queues. What the driver kept of this connection is
 * gone. When no driver follows, the connection ends, and every call says so.
 *
 * `callback` is then called by dispatches of `notify`, once for each restart, after the completions
 * of what the restart has aborted. `generation` counts the drivers: the second is 2. A callback of
 * NULL removes the handler; there is one at a time.
 */
typedef void (*dext_restart_callback)(void *refcon, io_connect_t connect, uint32_t generation);
kern_return_t dext_connect_set_restart_handler(io_connect_t connect, IONotificationPortRef notify,
					       dext_restart_callback callback, void *refcon);

/* Has the memory behind a mapping of IOConnectMapMemory64 vanished (its device or its file was
 * removed or cut)? It then reads as zeroes. `address`: any in the mapping, as long as it is
 * mapped. */
bool dext_mapping_is_lost(const void *address);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
