/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Asking a virtual device what it is, in a process of its own: dext-probe, confined as a driver is.
 * Its answer is data from outside and is checked as such.
 */

#include <stddef.h>
#include <stdint.h>

#include <DriverKit/OSCollections.h>
#include <base/reason.h>
#include <dextd/loop.h>

struct daemon;

#define PROBE_TIMEOUT_MS  5000U
#define PROBE_ANSWER_MAX  (128U * 1024)
#define PROBE_DEVICES_MAX 32U

/* identity: dictionaries that hold an IOProviderClass; borrowed; NULL: failed, for `reason`. */
typedef void (*probe_done_fn)(void *context, OSArray *identity, const char *reason);

struct probe {
	struct daemon *daemon;
	struct loop_child child;
	struct loop_fd output;
	struct loop_timer deadline;
	int output_fd;   // owned
	int report_fd;   // owned
	uint8_t *answer; // owned; PROBE_ANSWER_MAX + 1 bytes while it runs; NULL: it does not
	size_t size;
	probe_done_fn done;
	void *context;
	char reason[REASON_MAX];
};

/* `device_fd` is consumed, also on failure. `done` is called once, later, unless cancelled. */
int probe_start(struct probe *probe, struct daemon *daemon, const char *kind, int device_fd,
		probe_done_fn done, void *context);
void probe_cancel(struct probe *probe); // harmless when it does not run

/* The name that the registry shows: "usb1d6b,104@0" or "pci1af4,1110". */
void probe_name(OSDictionary *identity, char *name, size_t room);
