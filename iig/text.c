/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/text.h>

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS 100
#define TAB 8

void text_deinit(struct text *text)
{
	free(text->data);
	*text = (struct text){0};
}

static void add(struct text *text, const char *data, size_t size)
{
	if (text->size + size + 1 > text->capacity) {
		size_t capacity = 2 * (text->size + size + 1);
		char *grown = realloc(text->data, capacity);
		if (grown == NULL) {
			fputs("iig: out of memory\n", stderr);
			exit(EXIT_FAILURE);
		}
		text->data = grown;
		text->capacity = capacity;
	}
	memcpy(text->data + text->size, data, size);
	text->size += size;
	text->data[text->size] = '\0';
}

void text_add(struct text *text, const char *literal)
{
	add(text, literal, strlen(literal));
}

static const char *field_value(const struct text_field *fields, const char *name, size_t size)
{
	for (; fields->name != NULL; fields++)
		if (strlen(fields->name) == size && memcmp(fields->name, name, size) == 0)
			return fields->value;
	return NULL;
}

void text_emit(struct text *text, const char *pattern, const struct text_field *fields)
{
	while (*pattern != '\0') {
		size_t plain = strcspn(pattern, "$");
		add(text, pattern, plain);
		pattern += plain;
		if (*pattern == '\0')
			return;
		size_t size = strcspn(pattern + 1, "$");
		const char *value = field_value(fields, pattern + 1, size);
		assert(value != NULL && pattern[1 + size] == '$');
		text_add(text, value);
		pattern += size + 2;
	}
}

/* The column behind `line`, which holds no newline. */
static size_t columns(const char *line, size_t start)
{
	size_t column = start;
	for (; *line != '\0'; line++)
		column = *line == '\t' ? (column / TAB + 1) * TAB : column + 1;
	return column;
}

static void pad(struct text *text, size_t column)
{
	for (; column >= TAB; column -= TAB)
		text_add(text, "\t");
	for (; column > 0; column--)
		text_add(text, " ");
}

/* What stands behind item `i`: a comma, or the tail up to its first line end. */
static size_t behind(const struct text_list *list, size_t i)
{
	return i + 1 < list->n_items ? 1 : strcspn(list->tail, "\n");
}

static bool items_fit(const struct text_list *list, size_t column)
{
	for (size_t i = 0; i < list->n_items; i++)
		if (column + strlen(list->items[i]) + behind(list, i) > COLUMNS)
			return false;
	return true;
}

static size_t indentation(const char *head)
{
	size_t tabs = strspn(head, "\t");
	return tabs * TAB;
}

void text_add_list(struct text *text, const struct text_list *list)
{
	size_t column = columns(list->head, 0);
	size_t align = column;
	text_add(text, list->head);
	if (!items_fit(list, column)) {
		align = indentation(list->head) + TAB;
		text_add(text, "\n");
		pad(text, align);
		column = align;
	}
	for (size_t i = 0; i < list->n_items; i++) {
		size_t size = strlen(list->items[i]);
		if (i > 0) {
			text_add(text, ",");
			column++;
			if (column + 1 + size + behind(list, i) > COLUMNS) {
				text_add(text, "\n");
				pad(text, align);
				column = align;
			} else {
				text_add(text, " ");
				column++;
			}
		}
		text_add(text, list->items[i]);
		column += size;
	}
	text_add(text, list->tail);
}

/* The escape of a macro's line end stands in the last column, reached by tabs as far as possible. */
static void escape_line(struct text *text, size_t column)
{
	while ((column / TAB + 1) * TAB < COLUMNS) {
		text_add(text, "\t");
		column = (column / TAB + 1) * TAB;
	}
	for (; column < COLUMNS - 1; column++)
		text_add(text, " ");
	text_add(text, "\\\n");
}

void text_add_macro(struct text *text, const struct text_list *list)
{
	size_t column = columns(list->head, 0);
	size_t total = column;
	for (size_t i = 0; i < list->n_items; i++)
		total += strlen(list->items[i]) + (i + 1 < list->n_items ? 2 : 0);
	text_add(text, list->head);
	bool wrap = total > COLUMNS;
	if (wrap) {
		escape_line(text, column);
		text_add(text, "\t");
		column = TAB;
	}
	for (size_t i = 0; i < list->n_items; i++) {
		size_t size = strlen(list->items[i]);
		if (i > 0) {
			text_add(text, ",");
			column++;
			if (wrap && column + 1 + size + 3 > COLUMNS) {
				escape_line(text, column);
				text_add(text, "\t");
				column = TAB;
			} else {
				text_add(text, " ");
				column++;
			}
		}
		text_add(text, list->items[i]);
		column += size;
	}
	text_add(text, "\n");
}

void text_add_comment(struct text *text, const char *indent, const char *comment)
{
	if (comment == NULL)
		return;
	for (bool first = true;; first = false) {
		size_t size = strcspn(comment, "\n");
		text_add(text, indent);
		if (!first && *comment == '*')
			text_add(text, " ");
		size_t used = size;
		while (used > 0 && strchr(" \t\r", comment[used - 1]) != NULL)
			used--;
		add(text, comment, used);
		text_add(text, "\n");
		comment += size;
		if (*comment == '\0')
			return;
		comment += 1 + strspn(comment + 1, " \t");
	}
}
