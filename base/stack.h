/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Where a thread is: return addresses, and how people and addr2line read them. Nothing is opened:
 * a confined driver may use it. Any thread.
 */

#include <stddef.h>

enum { STACK_FRAMES = 8, STACK_TEXT = 1024 };

/* Innermost first; NULL behind the last. */
struct stack {
	void *frames[STACK_FRAMES];
};

/* Where the calling thread is: from the return address `caller` outwards; all of it where that is
 * not found, or is NULL. Some microseconds. */
void stack_take(struct stack *stack, const void *caller);

/* "function+0x2a < file.so+0x1234 < …"; what does not fit `room` is left out. STACK_TEXT is enough
 * for names of the usual length. */
void stack_print(char *text, size_t room, const struct stack *stack);
