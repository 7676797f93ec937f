/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What an application has here beside IOKit's own functions (<IOKit/IOKitLib.h>).
 */

#include <stdbool.h>
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

/* How the two sides of a connection wait for each other: a property of the connection. */
enum dext_latency {
	/* Look for the other side for some microseconds, while it runs on another CPU and as long
	 * as that has paid; else sleep. What a new connection has. */
	DEXT_LATENCY_BALANCED = 0,
	/* Look for up to a millisecond: for calls that come a thousand times a second and more.
	 * Where dextd allows it (--allow-low-latency), idle CPUs are kept awake as long as the
	 * connection lives. */
	DEXT_LATENCY_BUSY_POLL = 1,
	/* Always sleep. */
	DEXT_LATENCY_POWER_SAVER = 2,
};

/* kIOReturnSuccess with a reason in dext_last_reason: both sides wait as asked, but idle CPUs are
 * not kept awake. */
kern_return_t dext_connect_set_latency(io_connect_t connect, enum dext_latency latency);

/* Has the memory behind a mapping of IOConnectMapMemory64 vanished (its device or its file was
 * removed or cut)? It then reads as zeroes. `address`: any in the mapping, as long as it is
 * mapped. */
bool dext_mapping_is_lost(const void *address);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
