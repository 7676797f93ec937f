/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The other process of a case: forked before anything in this one has started threads. */

#include <sched.h>
#include <stddef.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* `serve` runs in a child that dies with this process. Exits on failure. */
pid_t server_fork(void (*serve)(void *context), void *context);
/* In the child, once it has what it needs: the filter of a dext, for all its threads. Exits on
 * failure. */
void server_confine(void);
/* Shared with the children forked later; zeroes. Exits on failure. */
void *server_shared_memory(size_t size);
/* Move all threads of a process. */
void server_place(pid_t pid, const cpu_set_t *set);
/* This process cannot go on. */
void server_die(const char *what) __attribute__((noreturn));

#ifdef __cplusplus
}
#endif
