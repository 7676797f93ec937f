/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The kernel's PM QoS request for the latency of idle CPUs, which lasts as long as its file is
 * open: none at all for connections that poll (client/awake.h), and as little as the strictest
 * service wants (RequireMaxBusStall). Only with --allow-low-latency.
 */

#include <stdint.h>

#include <DriverKit/IOReturn.h>

struct daemon;
struct entry;

/* Somebody wants another latency, or none any more. Negative errno with a reason: the kernel keeps
 * what it had. */
int latency_update(struct daemon *daemon);
/* RequireMaxBusStall of a driver; 0: any. */
IOReturn latency_require(struct daemon *daemon, struct entry *entry, uint64_t max_stall_ns);
