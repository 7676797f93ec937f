/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A subcommand of dextctl: one file, one entry in main.c's table, from which the usage is printed.
 */

#include <stdbool.h>

#include <DriverKit/IOReturn.h>

struct options {
	bool json;
};

struct command {
	const char *name;
	const char *argument; // what it takes, for the usage; NULL: nothing
	const char *help;
	bool takes_json;
	/* `argument` is NULL when it takes none. A failure has a reason. */
	kern_return_t (*run)(const struct options *options, const char *argument);
};

extern const struct command list_command, tree_command, why_command, status_command, kill_command,
	restart_command, sleep_command, wake_command;
