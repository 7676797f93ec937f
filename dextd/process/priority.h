/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The priority of a driver's threads, raised as long as one of its connections polls and policy
 * grants it (client/awake.h): the driver then answers beside a busy process as it does on an idle
 * CPU.
 */

struct dext;

enum priority {
	PRIORITY_ORDINARY,
	PRIORITY_REAL_TIME, // SCHED_RR, the lowest there is
	PRIORITY_NICE,      // nice -20
};

/* Raise it as far as dextd may. Negative errno, with a reason: it may not. */
int priority_raise(struct dext *dext);
void priority_restore(struct dext *dext); // also when it was not raised

const char *priority_name(enum priority priority);
