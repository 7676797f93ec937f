/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A dextd of the benchmark's own, with the Echo driver in a folder that goes with it. Everything is
 * a real process; the benchmark is the application. What cannot be had ends the program.
 */

#include <sys/types.h>

#include <IOKit/IOKitLib.h>

struct rig {
	char folder[64]; // empty: not started
	pid_t dextd;
};

/* Starts dextd with a bundle of each name; "unfiltered…" is the driver that runs without the system
 * call filter. Sets OPENDEXT_SOCKET. `options`: further arguments of dextd, ended by NULL; or NULL.
 */
void rig_start(struct rig *rig, const char *const *names, unsigned n_names,
	       const char *const *options);
void rig_stop(struct rig *rig); // twice is harmless

/* Waits until it is registered; returned. */
io_service_t rig_find(const char *name);
/* The process of a service. */
pid_t rig_process(io_service_t service);
io_connect_t rig_open(const char *name, pid_t *dext); // dext may be NULL
