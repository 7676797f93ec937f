/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Who a client is, as the kernel says. Its user and groups are those with which it connected. Its
 * process is held by a pidfd: from the kernel itself where it has SO_PEERPIDFD (6.5), so that no
 * other process can come in its place; before that, made of the peer's number as soon as the
 * connection is accepted, and only if that process still has the peer's user.
 *
 * The executable and the unit are asked for when a rule needs them. What is promised:
 *
 *	unit		the system unit whose cgroup the process is in. A process cannot leave that
 *			without privileges. Units of a user's own manager do not count: the user
 *says what they are called; they are all inside user@UID.service. executable	the file that the
 *process ran at that moment, seen twice, the same file as the path names for dextd, and writable
 *for root and dextd's user only. No more than that: who may run the program may also send a request
 *and then become it, or run it under a debugger. So it tells the programs of a user apart who means
 *			well; against one who does not, name users, groups or units.
 */

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define IDENTITY_UNIT_MAX 256

struct identity {
	char unit[IDENTITY_UNIT_MAX]; // "": none, or unknown
	char executable[PATH_MAX];    // "": unknown
	bool unit_known;              // also when it has none
};

/* The process at the other end of `socket_fd`: a pidfd, or -1 when it cannot be told. `pid` and
 * `uid` are its credentials. */
int identity_pidfd(int socket_fd, pid_t pid, uid_t uid);
/* The groups of the peer beside its own: owned by the caller. Negative errno. */
int identity_groups(int socket_fd, gid_t **groups, unsigned *n_groups);

/* The process now. What cannot be told is left empty. */
void identity_read(struct identity *identity, int pidfd, pid_t pid);

/* The system unit of a cgroup's path as systemd lays them out; "" if there is none. */
void identity_unit_of(const char *cgroup, char unit[IDENTITY_UNIT_MAX]);
