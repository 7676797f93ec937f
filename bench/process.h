/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the kernel tells of a process. -1: it does not. */

#include <sys/types.h>

/* Bytes that only this process has, but for the rings of its connections. */
double process_private_bytes(pid_t pid);
/* How often its threads have gone to run, in all. */
double process_switches(pid_t pid);
