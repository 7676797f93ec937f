/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/arena.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct arena_block {
	struct arena_block *next;
	_Alignas(max_align_t) unsigned char data[];
};

void arena_deinit(struct arena *arena)
{
	while (arena->blocks != NULL) {
		struct arena_block *next = arena->blocks->next;
		free(arena->blocks);
		arena->blocks = next;
	}
}

void *arena_alloc(struct arena *arena, size_t size)
{
	struct arena_block *block = calloc(1, sizeof(*block) + size);
	if (block == NULL) {
		fputs("iig: out of memory\n", stderr);
		exit(EXIT_FAILURE);
	}
	block->next = arena->blocks;
	arena->blocks = block;
	return block->data;
}

char *arena_copy(struct arena *arena, const char *text, size_t size)
{
	char *copy = arena_alloc(arena, size + 1);
	memcpy(copy, text, size);
	return copy;
}

char *arena_format(struct arena *arena, const char *format, ...)
{
	va_list args, again;
	va_start(args, format);
	va_copy(again, args);
	int size = vsnprintf(NULL, 0, format, args);
	va_end(args);

	char *text = arena_alloc(arena, (size_t)size + 1);
	vsnprintf(text, (size_t)size + 1, format, again);
	va_end(again);
	return text;
}

void *arena_grow(struct arena *arena, void *array, size_t count, size_t element)
{
	/* Full exactly when the count is a power of two (or nothing was allocated yet). */
	if (count != 0 && (count & (count - 1)) != 0)
		return array;
	void *grown = arena_alloc(arena, (count == 0 ? 1 : 2 * count) * element);
	if (count != 0)
		memcpy(grown, array, count * element);
	return grown;
}
