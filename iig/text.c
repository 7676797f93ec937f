/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/text.h>

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS 100
#define TAB     8

void text_deinit(struct text *text)
{
	free(text->data);
	*text = (struct text){ 0 };
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

static void text_add_if(struct text *text, const char *literal)
{
	if (text != NULL)
		text_add(text, literal);
}

static const char *field_value(const struct text_field *fields, const char *name, size_t size)
{
	for (; fields->name != NULL; fields++)
		if (strlen(fields->name) == size && memcmp(fields->name, name, size) == 0)
			return fields->value;
	return NULL;
}

void text_trim(struct text *text)
{
	while (text->size > 1 && text->data[text->size - 1] == '\n' &&
	       text->data[text->size - 2] == '\n')
		text->data[--text->size] = '\0';
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

/* What stands behind item `i` on its line: a comma, or the tail up to its line end. */
static size_t behind(const struct text_list *list, size_t i)
{
	return i + 1 < list->n_items ? 1 : strcspn(list->tail, "\n");
}

#define DOES_NOT_FIT SIZE_MAX

/* Lay the items out from `column` on, later lines beginning at `align`; print them if `text` is
 * not NULL. Returns the number of lines, or DOES_NOT_FIT. */
static size_t lay_out(struct text *text, const struct text_list *list, size_t column, size_t align)
{
	size_t lines = 1;
	for (size_t i = 0; i < list->n_items; i++) {
		size_t need = strlen(list->items[i]) + behind(list, i);
		bool first = i == 0;
		bool wrap = !first && column + 1 + need > COLUMNS;
		if (wrap) {
			lines++;
			column = align;
		} else if (!first) {
			column++;
		}
		if (column + need > COLUMNS)
			return DOES_NOT_FIT;
		column += need;
		if (text == NULL)
			continue;
		if (wrap) {
			text_add(text, "\n");
			pad(text, align);
		} else if (!first) {
			text_add(text, " ");
		}
		text_add(text, list->items[i]);
		if (i + 1 < list->n_items)
			text_add(text, ",");
	}
	return lines;
}

/* One way to break a list: where the head goes, and where its items. */
struct layout {
	bool split;   // a line end behind the lead
	bool hang;    // a line end behind the head
	size_t lines; // in all
	size_t head_column, column, align;
};

static struct layout try_layout(const struct text_list *list, bool split, bool hang)
{
	const char *lead = list->lead != NULL ? list->lead : "";
	size_t indent = TAB * strspn(*lead != '\0' ? lead : list->head, "\t");
	bool assignment = *lead == '\t';
	struct layout layout = { .split = split, .hang = hang };
	layout.head_column = split ? (assignment ? indent + TAB : 0) : columns(lead, 0);
	layout.column = columns(list->head, layout.head_column);
	if (layout.column > COLUMNS) {
		layout.lines = DOES_NOT_FIT;
		return layout;
	}
	if (hang)
		layout.column = (split && assignment ? indent + TAB : indent) + TAB;
	layout.align = layout.column;
	layout.lines = lay_out(NULL, list, layout.column, layout.align);
	if (layout.lines != DOES_NOT_FIT)
		layout.lines += split + hang;
	return layout;
}

/* A declaration is broken behind its result or its items; a call behind its head, at need. */
static struct layout choose_layout(const struct text_list *list)
{
	struct layout best = try_layout(list, false, false);
	if (best.lines == 1)
		return best;
	bool call = *(list->lead != NULL ? list->lead : list->head) == '\t';
	if (list->lead != NULL) {
		struct layout split = try_layout(list, true, false);
		if (split.lines < best.lines || (call && split.lines == best.lines))
			best = split;
	}
	if (best.lines > 2 && (call || best.lines == DOES_NOT_FIT)) {
		struct layout hang = try_layout(list, false, true);
		if (hang.lines < best.lines)
			best = hang;
	}
	if (best.lines == DOES_NOT_FIT)
		best = try_layout(list, list->lead != NULL, true);
	return best;
}

static void text_add_trimmed(struct text *text, const char *line)
{
	size_t size = strlen(line);
	while (size > 0 && line[size - 1] == ' ')
		size--;
	add(text, line, size);
}

void text_add_list(struct text *text, const struct text_list *list)
{
	struct layout layout = choose_layout(list);
	if (layout.split) {
		text_add_trimmed(text, list->lead);
		text_add(text, "\n");
		pad(text, layout.head_column);
	} else if (list->lead != NULL) {
		text_add(text, list->lead);
	}
	text_add(text, list->head);
	if (layout.hang) {
		text_add(text, "\n");
		pad(text, layout.align);
	}
	if (layout.lines == DOES_NOT_FIT) { // a name longer than a line: nothing can be done
		for (size_t i = 0; i < list->n_items; i++) {
			text_add(text, i > 0 ? ", " : "");
			text_add(text, list->items[i]);
		}
	} else {
		lay_out(text, list, layout.column, layout.align);
	}
	text_add(text, list->tail);
}

/* End a macro's line that is `size` columns wide, the escape standing behind column `width`. */
static void escape_line(struct text *text, size_t size, size_t width)
{
	for (; size < width; size++)
		text_add(text, " ");
	text_add(text, " \\\n");
}

/* Lay a macro's items out on lines of their own; the escapes of their ends stand in one column.
 * Returns the width of the widest line; prints if `text` is not NULL, with that width given. */
static size_t lay_out_macro(struct text *text, const struct text_list *list, size_t width)
{
	size_t column = TAB, widest = strlen(list->head);
	for (size_t i = 0; i < list->n_items; i++) {
		bool last = i + 1 == list->n_items;
		size_t need = strlen(list->items[i]) + (last ? 0 : 1);
		bool wrap = i > 0 && column + 1 + need + (last ? 0 : 2) > COLUMNS;
		if (wrap) {
			widest = column > widest ? column : widest;
			if (text != NULL) {
				escape_line(text, column, width);
				text_add(text, "\t\t");
			}
			column = TAB + TAB;
		} else if (i > 0) {
			column++;
			text_add_if(text, " ");
		}
		column += need;
		text_add_if(text, list->items[i]);
		text_add_if(text, last ? "\n" : ",");
	}
	return widest;
}

void text_add_macro(struct text *text, const struct text_list *list)
{
	size_t total = strlen(list->head) + 1;
	for (size_t i = 0; i < list->n_items; i++)
		total += strlen(list->items[i]) + (i > 0 ? 2 : 0);
	text_add(text, list->head);
	if (total > COLUMNS) {
		size_t width = lay_out_macro(NULL, list, 0);
		escape_line(text, strlen(list->head), width);
		text_add(text, "\t");
		lay_out_macro(text, list, width);
		return;
	}
	for (size_t i = 0; i < list->n_items; i++) {
		text_add(text, i > 0 ? ", " : " ");
		text_add(text, list->items[i]);
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

/* A line of a comment without what marks it as one, and without the blanks around it. */
static const char *comment_line(struct arena *arena, const char *line, size_t size)
{
	static const char *const marks[] = { "/**<", "/*!<", "///<", "//!<", "/**", "/*!",
					     "///",  "//!",  "/*",   "//",   "*/" };
	line += strspn(line, " \t") < size ? strspn(line, " \t") : size;
	const char *text = arena_copy(arena, line, strcspn(line, "\n"));
	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
		if (strncmp(text, marks[i], strlen(marks[i])) != 0)
			continue;
		text += strlen(marks[i]);
		break;
	}
	if (*text == '*' && strncmp(text, "*/", 2) != 0)
		text++;
	text += strspn(text, " \t");
	size = strlen(text);
	if (size >= 2 && strcmp(text + size - 2, "*/") == 0)
		size -= 2;
	while (size > 0 && strchr(" \t\r", text[size - 1]) != NULL)
		size--;
	return arena_copy(arena, text, size);
}

const char *text_of_comment(struct arena *arena, const char *comment)
{
	const char *text = "";
	if (comment == NULL)
		return NULL;
	while (*comment != '\0') {
		size_t size = strcspn(comment, "\n");
		const char *line = comment_line(arena, comment, size);
		text = arena_format(arena, "%s%s%s", text, *text == '\0' ? "" : "\n", line);
		comment += size + (comment[size] == '\n');
	}
	size_t size = strlen(text);
	while (size > 0 && text[size - 1] == '\n')
		size--;
	return arena_copy(arena, text, size);
}
