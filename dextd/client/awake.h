/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a connection that polls is granted where policy allows it (--allow-low-latency), as long as
 * it lives: idle CPUs kept out of deep sleep by the kernel's PM QoS request, which lasts as long as
 * its file is open, and a raised priority for its driver's threads (process/priority.h).
 */

#include <stdbool.h>

struct connection;
struct daemon;

/* Negative errno, with a reason, when one of the two is not to be had; the other is granted all the
 * same. */
int awake_hold(struct daemon *daemon, struct connection *connection);
void awake_release(struct daemon *daemon, struct connection *connection); // also when not held
