/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Text for people, in a fixed room: cut between characters and ended with "…" when it is longer. */

#include <stdarg.h>
#include <stddef.h>

/* `room` is at least 8; the result is NUL-terminated. */
void text_format(char *text, size_t room, const char *format, va_list args)
	__attribute__((format(printf, 3, 0)));
void text_print(char *text, size_t room, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* A copy of `source`, which may overlap. */
void text_copy(char *text, size_t room, const char *source);
/* Mark `text`, which fills its room, as cut. */
void text_cut(char *text, size_t room);
