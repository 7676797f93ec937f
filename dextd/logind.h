/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The machine's sleep, as systemd-logind tells of it on the system bus: it waits until the drivers
 * are off, for InhibitDelayMaxSec of its own settings at most.
 */

struct daemon;
struct logind;

/* Never waits for the bus. Without one, or without libsystemd when this was built, that is logged,
 * and *out is NULL: `dextctl sleep` and `wake` are left. */
void logind_start(struct logind **out, struct daemon *daemon);
struct logind *logind_stop(struct logind *logind); // takes NULL; returns NULL
