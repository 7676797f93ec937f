/* SPDX-License-Identifier: Apache-2.0 */

#include <base/text.h>

#include <stdio.h>
#include <string.h>

static const char ellipsis[] = "\xe2\x80\xa6"; // U+2026

/* A byte inside a UTF-8 character, not its first. */
static int is_continuation(char byte)
{
	return ((unsigned char)byte & 0xc0U) == 0x80U;
}

void text_cut(char *text, size_t room)
{
	size_t end = room - sizeof(ellipsis);

	while (end > 0 && is_continuation(text[end]))
		end--;
	memcpy(text + end, ellipsis, sizeof(ellipsis));
}

void text_format(char *text, size_t room, const char *format, va_list args)
{
	int length = vsnprintf(text, room, format, args);

	if (length < 0)
		text[0] = '\0';
	else if ((size_t)length >= room)
		text_cut(text, room);
}

void text_print(char *text, size_t room, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	text_format(text, room, format, args);
	va_end(args);
}

void text_copy(char *text, size_t room, const char *source)
{
	size_t length = strlen(source);

	if (length < room) {
		memmove(text, source, length + 1);
	} else {
		memmove(text, source, room);
		text_cut(text, room);
	}
}
