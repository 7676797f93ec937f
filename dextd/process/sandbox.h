/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The layers of confinement that dextd puts on a process it starts. sandbox_open finds out once
 * what this machine allows; sandbox_ruleset prepares one start; sandbox_enter runs in the child,
 * between fork and exec, and is async-signal-safe.
 *
 * The last layer, the system call filter, is installed by libdext itself in the new process, which
 * reports it (DextRegistrar::Confined).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum sandbox_layer {
	SANDBOX_NAMESPACES = 1 << 0,
	SANDBOX_LANDLOCK = 1 << 1,
	SANDBOX_SECCOMP = 1 << 2,
	SANDBOX_RLIMITS = 1 << 3,
	SANDBOX_USER = 1 << 4,
	SANDBOX_ALL = (1 << 5) - 1,
};

#define SANDBOX_N_LAYERS     5
#define SANDBOX_N_NAMESPACES 4

struct sandbox {
	uint32_t layers; // enum sandbox_layer: those that dextd can put on; never SECCOMP
	/* What a person reads about each layer, by bit number. */
	char details[SANDBOX_N_LAYERS][128];
	int namespaces[SANDBOX_N_NAMESPACES]; // owned; user, net, ipc, uts; -1: not joined
	int landlock_abi;                     // 0: none
	bool change_user;
	uid_t uid;
	gid_t gid;
	char *library_dir; // owned: where libdext is
};

/* `user`: a name or a number, NULL for the default. Negative errno with a reason. */
int sandbox_open(struct sandbox *sandbox, const char *user);
void sandbox_close(struct sandbox *sandbox);

const char *sandbox_layer_name(unsigned number);               // 0 to SANDBOX_N_LAYERS - 1
uint32_t sandbox_layer_named(const char *name, size_t length); // 0: unknown; "all": all

/* A Landlock ruleset for a program in `directory`; -1 in *fd where there is no Landlock. */
int sandbox_ruleset(const struct sandbox *sandbox, const char *directory, int *fd);

enum sandbox_step {
	SANDBOX_STEP_DESCRIPTORS = 1,
	SANDBOX_STEP_NAMESPACES,
	SANDBOX_STEP_RLIMITS,
	SANDBOX_STEP_USER,
	SANDBOX_STEP_PRIVILEGES,
	SANDBOX_STEP_LANDLOCK,
	SANDBOX_STEP_EXEC,
};

/* In the child. 0, or the errno of the step in *step. */
int sandbox_enter(const struct sandbox *sandbox, int ruleset_fd, enum sandbox_step *step);
const char *sandbox_step_text(unsigned step);
