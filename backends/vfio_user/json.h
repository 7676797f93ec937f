/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * JSON as the vfio-user greeting needs it: a strict check of a bounded text (RFC 8259), and numbers
 * taken out of an object inside the outermost one. Nothing is allocated. Any thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JSON_DEPTH_MAX = 16, JSON_SIZE_MAX = 64 * 1024 };

/* {"OBJECT":{"NAME":value}} */
struct json_number {
	const char *object, *name;
	uint64_t value;
	bool found;
};

/* 0, or -EBADMSG with *problem saying what is wrong (a constant text): not JSON, too deep, too
 * long, or a wanted value that is not a non-negative integer below 2^63. */
int json_scan(const char *text, size_t size, struct json_number *wanted, unsigned n_wanted,
	      const char **problem);
