/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A dextd with the tower, an application of it, and what all processes write, in one file, one line
 * each, in the order of the events. Whatever takes longer than 10 s fails the test.
 */

#include <stdint.h>

#include <IOKit/IOKitLib.h>

extern io_connect_t tower_ground;

/* `kind` is LIFE_APART, each service in a process of its own, or LIFE_TOGETHER. `options` are
 * further ones of dextd, at most 3, ended by NULL; or NULL. Two roofs are the last to come. */
void tower_start(const char *kind, const char *const *options);
/* The log can be read until tower_end(). */
void tower_stop(void);
void tower_end(void);

kern_return_t tower_try(uint32_t what, uint64_t argument, uint64_t *result);
uint64_t tower_must(uint32_t what, uint64_t argument);
void tower_await(uint32_t what, uint64_t wanted);

unsigned tower_count_services(const char *class_name);
void tower_await_roofs(void);
/* The process of the one service of the class, once it is another than `old`. */
uint64_t tower_await_process(const char *class_name, uint64_t old);

const char *tower_read_log(void); // until the next call
unsigned tower_count_in_log(const char *part);
void tower_await_log(const char *part);
/* The drivers' own lines, all of them, are these. */
void tower_check_lines(const char *const *expected);
/* Each is there once. */
void tower_check_order(const char *first, const char *then);
