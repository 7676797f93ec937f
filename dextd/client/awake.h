/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Idle CPUs kept out of deep sleep, as long as a connection that polls asks for it and policy
 * grants it (--allow-low-latency): the kernel's PM QoS request, which lasts as long as its file is
 * open.
 */

#include <stdbool.h>

struct connection;
struct daemon;

/* Negative errno, with a reason: it is not granted, or the kernel has no such file. */
int awake_hold(struct daemon *daemon, struct connection *connection);
void awake_release(struct daemon *daemon, struct connection *connection); // also when not held
