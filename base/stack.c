/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Stacks, walked by the compiler's unwinder: backtrace() of the C library would open a library of
 * it when it is first called, and a confined driver opens nothing. Symbols come from what the
 * dynamic linker has in memory already.
 */

#include <base/stack.h>

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unwind.h>

#include <base/text.h>

/* The object model's and the class's, between free() and the last release. */
#define FRAMES_ABOVE 24

struct walk {
	void *frames[STACK_FRAMES + FRAMES_ABOVE];
	int n_frames;
};

static _Unwind_Reason_Code note_frame(struct _Unwind_Context *context, void *argument)
{
	struct walk *walk = argument;

	if (walk->n_frames == STACK_FRAMES + FRAMES_ABOVE)
		return _URC_END_OF_STACK;
	uintptr_t address = (uintptr_t)_Unwind_GetIP(context);
	if (address != 0)
		walk->frames[walk->n_frames++] = (void *)address;
	return _URC_NO_REASON;
}

void stack_take(struct stack *stack, const void *caller)
{
	struct walk walk = { .n_frames = 0 };
	int first = 0;

	_Unwind_Backtrace(note_frame, &walk);
	memset(stack, 0, sizeof(*stack));
	for (int i = 0; i < walk.n_frames && first == 0; i++)
		if (walk.frames[i] == caller)
			first = i;
	for (int i = first; i < walk.n_frames && i - first < STACK_FRAMES; i++)
		stack->frames[i - first] = walk.frames[i];
}

/* One address. It is a return address: the call is before it. */
static void print_frame(char *text, size_t room, void *frame)
{
	uintptr_t call = (uintptr_t)frame - 1;
	const char *file;
	Dl_info info;

	if (dladdr((void *)call, &info) == 0 || info.dli_fname == NULL) {
		text_print(text, room, "%#lx", (unsigned long)call);
		return;
	}
	file = strrchr(info.dli_fname, '/');
	file = file != NULL ? file + 1 : info.dli_fname;
	if (info.dli_sname != NULL)
		text_print(text, room, "%s+%#lx", info.dli_sname,
			   (unsigned long)(call - (uintptr_t)info.dli_saddr));
	else
		text_print(text, room, "%s+%#lx", file,
			   (unsigned long)(call - (uintptr_t)info.dli_fbase));
}

void stack_print(char *text, size_t room, const struct stack *stack)
{
	size_t used = 0;

	text_print(text, room, "an unknown place");
	for (int i = 0; i < STACK_FRAMES && stack->frames[i] != NULL; i++) {
		char frame[128];

		print_frame(frame, sizeof(frame), stack->frames[i]);
		if (used + strlen(frame) + 8 > room)
			break;
		used += (size_t)snprintf(text + used, room - used, "%s%s", i == 0 ? "" : " < ",
					 frame);
	}
}
