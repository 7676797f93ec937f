/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A private dextd with the Victim driver in a folder of its own: what every end-to-end test begins
 * with. Everything is a real process; the test itself is the application.
 */

#include <sys/types.h>

#include <IOKit/IOKitLib.h>
#include <opendext/client.h>

struct rig {
	char folder[64];
	pid_t dextd;
	int n_fds; // open descriptors of the test at its begin
};

/* `misbehave` is the personality's Misbehave key, NULL for none; `options` are further arguments of
 * dextd, ended by NULL, or NULL. OPENDEXT_SOCKET is set. */
void rig_start(struct rig *rig, const char *misbehave, const char *const *options);
/* The same, with further keys of the personality as property list text. */
void rig_start_with(struct rig *rig, const char *keys, const char *const *options);
/* Replaces the bundle by one with another Misbehave, NULL for none, of which the next process will
 * be: dextd has read it. Each value at most once in a test. */
void rig_upgrade(const struct rig *rig, const char *misbehave);
/* Ends dextd and checks that it ended well, that no process of it is left, and that the test has no
 * more descriptors open than before. */
void rig_stop(struct rig *rig);

/* Wait until a service of the class is registered; fails the test after 10 s. */
io_service_t rig_wait_service(const char *class_name);
/* The same, opened. */
io_connect_t rig_open(void);
/* The process that serves the Victim now; 0: none does. */
pid_t rig_process(void);
/* Wait until `port` has dispatched `*flag` to non-zero; fails the test after 10 s. */
void rig_wait_flag(IONotificationPortRef port, const int *flag);
/* Ask `dextctl why device` until it says `part`; fails the test after 10 s. */
void rig_wait_explained(const char *device, const char *part);
/* Ask `dextctl command` until it says `part`; fails the test after 10 s. */
void rig_wait_said(const char *command, const char *part);
/* Run `dextctl command argument`; fails the test when it fails. */
void rig_control(const char *command, const char *argument);
/* Entries of a process's folder of open descriptors: for comparing, before and after. */
int rig_count_fds(pid_t pid);
/* A property of a registry entry as a number; 0 when absent. */
uint64_t rig_number(io_registry_entry_t entry, const char *key);
