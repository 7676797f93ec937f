/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Starting one confined program: a dext, or dext-probe. launch() forks and returns at once; whether
 * the child reached its exec is known when it has ended (launch_failure). The child gets /dev/null
 * as descriptor 0, dextd's 1 and 2, and `fds` from 3 on, nothing else.
 */

#include <stdbool.h>
#include <sys/types.h>

#include <base/log.h>
#include <dextd/process/sandbox.h>

struct launch_request {
	const char *executable;
	const char *argument;  // the one argument; may be NULL
	const char *directory; // what it may read and execute
	int fds[2];            // borrowed
	unsigned n_fds;
	enum log_level log_level; // its OPENDEXT_LOG
};

struct launched {
	pid_t pid;
	int pidfd;     // owned by the caller
	int report_fd; // owned by the caller: for launch_failure
};

int launch(const struct sandbox *sandbox, const struct launch_request *request,
	   struct launched *launched);

/* Did the child end before its exec? Then `text` says at which step and why. */
bool launch_failure(int report_fd, char *text, size_t room);
