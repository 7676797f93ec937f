/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Output of the emitters: a growing text, filled from templates with named fields, and the
 * wrapping of argument lists at 100 columns in the project's style.
 */

#include <stddef.h>
#include <stdio.h>

#include <iig/arena.h>

struct text {
	char *data; // owned; NUL-terminated once anything was written
	size_t size, capacity;
};

struct text_field {
	const char *name;
	const char *value;
};

void text_deinit(struct text *text);

/* Append `literal` as it is. */
void text_add(struct text *text, const char *literal);

/* Take empty lines off the end. */
void text_trim(struct text *text);

/* Append `pattern`, each $name$ in it replaced by the field of that name. */
void text_emit(struct text *text, const char *pattern, const struct text_field *fields);

/* EMIT(out, "$cls$_retain", {"cls", name}, …) */
#define EMIT(text, pattern, ...) \
	text_emit((text), (pattern), (const struct text_field[]){ __VA_ARGS__, { NULL, NULL } })

/*
 * A call or a declaration: lead, head, the items separated by commas, and tail. Where it is longer
 * than a line it is broken as clang-format would: behind the lead (a result type, or "x ="),
 * between items and aligned behind the head, or behind the head and indented.
 */
struct text_list {
	const char *lead; // NULL: none
	const char *head;
	const char *const *items;
	size_t n_items;
	const char *tail;
};
void text_add_list(struct text *text, const struct text_list *list);

/* The same for a macro: head and items, with escaped line ends where they do not fit. */
void text_add_macro(struct text *text, const struct text_list *list);

/* The text of a comment of the source, without its marks. NULL for NULL. */
const char *text_of_comment(struct arena *arena, const char *comment);

/* Append a comment of the source, its lines re-indented by `indent`. NULL: nothing. */
void text_add_comment(struct text *text, const char *indent, const char *comment);
