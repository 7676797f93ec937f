/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Memory of one run of the compiler: everything lives until the end and is freed at once. Running
 * out of memory ends the program with a message: iig is a build tool with nothing to save.
 */

#include <stddef.h>

struct arena {
	struct arena_block *blocks; // owned, newest first
};

void arena_deinit(struct arena *arena);

void *arena_alloc(struct arena *arena, size_t size);                  // zeroed
char *arena_copy(struct arena *arena, const char *text, size_t size); // adds the terminator
char *arena_format(struct arena *arena, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* `array` of `count` elements with room for one more; the old array stays in the arena. */
void *arena_grow(struct arena *arena, void *array, size_t count, size_t element);

/* Append `value` to the array `array`, whose length is `count`. */
#define ARENA_APPEND(arena, array, count, value)                                     \
	do {                                                                         \
		(array) = arena_grow((arena), (array), (count), sizeof((array)[0])); \
		(array)[(count)++] = (value);                                        \
	} while (0)
