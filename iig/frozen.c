/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/frozen.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <iig/id.h>

/*
 * A snapshot is lines of words: one for each class, followed by one for each method that it
 * declares. All that a caller which was built before relies on is in a line: how the method is
 * reached, the id, the layout of its parameters (the canonical text, last, since it may hold
 * spaces), where it runs, and since when. Overrides are not: what they change is who answers.
 *
 *	class Widget super=OSObject extends=- form=object since=0
 *	method 1d2c3b4a59687786 virtual flags=- queue=WidgetQueue type=- since=0
 *Widget::fill(i16[4],u32)i32
 *
 * Checking makes the same words of the interface as it is now and compares them one by one.
 */

#define HEAD "iig-frozen 1"

/* ---- the words of a line ---- */

enum { CLASS_SUPER, CLASS_EXTENDS, CLASS_FORM, CLASS_SINCE, N_CLASS_WORDS };
enum {
	METHOD_ID,
	METHOD_KIND,
	METHOD_FLAGS,
	METHOD_QUEUE,
	METHOD_TYPE,
	METHOD_SINCE,
	METHOD_CANONICAL,
	N_METHOD_WORDS
};

/* How a word is marked in the line, and what to do where it changed. */
struct word {
	const char *mark;
	const char *what;
	const char *fix;
};

static const char keep[] = "give it back, and add what is new under another name";

static const struct word class_words[N_CLASS_WORDS] = {
	[CLASS_SUPER] = { "super=", "super class", keep },
	[CLASS_EXTENDS] = { "extends=", "extended class", keep },
	[CLASS_FORM] = { "form=", "form", keep },
	[CLASS_SINCE] = { "since=", "availability", "it was available earlier: give it back" },
};

static const struct word method_words[N_METHOD_WORDS] = {
	[METHOD_ID] = { "", "id", keep },
	[METHOD_KIND] = { "", "kind", keep },
	[METHOD_FLAGS] = { "flags=", "attribute list", keep },
	[METHOD_QUEUE] = { "queue=", "QUEUENAME",
			   "drivers have set their queues by that name: give it back" },
	[METHOD_TYPE] = { "type=", "TYPE()", keep },
	[METHOD_SINCE] = { "since=", "availability", "it was available earlier: give it back" },
	[METHOD_CANONICAL] = { "", "signature", keep },
};

static const char *or_none(const char *text)
{
	return text == NULL ? "-" : text;
}

static const char *number(struct arena *arena, unsigned value)
{
	return arena_format(arena, "%u", value);
}

static void words_of_class(struct arena *arena, const struct model_class *cls, const char **words)
{
	words[CLASS_SUPER] = or_none(cls->super);
	words[CLASS_EXTENDS] = or_none(cls->source->extends);
	words[CLASS_FORM] = cls->is_protocol               ? "protocol"
			    : cls->source->is_serializable ? "serializable"
							   : "object";
	words[CLASS_SINCE] = number(arena, cls->source->availability.introduced);
}

static const char *flags_of(const struct model_method *method)
{
	if (method->is_localonly)
		return method->is_const ? "localonly,const" : "localonly";
	return method->is_const ? "const" : "-";
}

static void words_of_method(struct arena *arena, const struct model_method *method,
			    const char **words)
{
	words[METHOD_ID] =
		method->canonical == NULL ? "-" : arena_format(arena, "%016" PRIx64, method->id);
	words[METHOD_KIND] = model_kind_name(method->kind);
	words[METHOD_FLAGS] = flags_of(method);
	words[METHOD_QUEUE] = or_none(method->queue);
	words[METHOD_TYPE] = method->prototype == NULL
				     ? "-"
				     : arena_format(arena, "%s::%s", method->prototype->cls,
						    method->prototype->name);
	words[METHOD_SINCE] = number(arena, method->availability.introduced);
	words[METHOD_CANONICAL] = canonical_method(arena, method->source);
}

/* ---- writing ---- */

static void write_words(struct text *out, const struct word *table, const char *const *words,
			size_t n_words)
{
	for (size_t i = 0; i < n_words; i++)
		EMIT(out, " $mark$$word$", { "mark", table[i].mark }, { "word", words[i] });
	text_add(out, "\n");
}

void frozen_write(struct text *out, const struct model *model)
{
	struct arena *arena = model->arena;
	if (model->unit->license != NULL)
		EMIT(out, "# SPDX-License-Identifier: $license$\n",
		     { "license", model->unit->license });
	text_add(out, "# Written by iig freeze; iig check holds the interface to it.\n" HEAD "\n");
	for (size_t c = 0; c < model->n_classes; c++) {
		const struct model_class *cls = model->classes[c];
		const char *words[N_METHOD_WORDS];
		words_of_class(arena, cls, words);
		EMIT(out, "\nclass $name$", { "name", cls->name });
		write_words(out, class_words, words, N_CLASS_WORDS);
		for (size_t m = 0; m < cls->n_methods; m++) {
			if (cls->methods[m].kind == METHOD_OVERRIDE)
				continue;
			words_of_method(arena, &cls->methods[m], words);
			text_add(out, "method");
			write_words(out, method_words, words, N_METHOD_WORDS);
		}
	}
}

/* ---- reading ---- */

struct check {
	struct unit *unit;
	const struct model *model;
	struct location where; // in the snapshot
	const struct model_class *cls;
	bool cls_is_gone;
};

/* The next word of a line; the last one takes the rest. NULL: the line is at its end. */
static const char *next_word(char **line, bool last)
{
	char *word = *line + strspn(*line, " ");
	if (*word == '\0')
		return NULL;
	char *end = last ? word + strlen(word) : word + strcspn(word, " ");
	*line = *end == '\0' ? end : end + 1;
	*end = '\0';
	return word;
}

static bool read_words(struct check *c, char *line, const struct word *table, const char **words,
		       size_t n_words)
{
	for (size_t i = 0; i < n_words; i++) {
		size_t mark = strlen(table[i].mark);
		words[i] = next_word(&line, i + 1 == n_words);
		if (words[i] == NULL || strncmp(words[i], table[i].mark, mark) != 0) {
			unit_error(c->unit, c->where,
				   "a snapshot's line says its %s here: write it again with iig "
				   "freeze, from the interface as it was",
				   table[i].what);
			return false;
		}
		words[i] += mark;
	}
	return true;
}

/* ---- comparing ---- */

/* Since when something is available may become earlier, never later. */
static bool is_kept(const struct word *word, const char *before, const char *now)
{
	if (strcmp(word->mark, "since=") == 0)
		return strtoul(now, NULL, 10) <= strtoul(before, NULL, 10);
	return strcmp(before, now) == 0;
}

/* The id follows from the canonical text, which says more. */
static void compare(struct check *c, struct location where, const char *what,
		    const struct word *table, const char *const *before, const char *const *now,
		    size_t n_words)
{
	for (size_t i = n_words; i-- > 0;) {
		if (is_kept(&table[i], before[i], now[i]))
			continue;
		unit_error(c->unit, where, "%s: its %s is %s, and was frozen as %s (%s:%u): %s",
			   what, table[i].what, now[i], before[i], c->where.file, c->where.line,
			   table[i].fix);
		return;
	}
}

static const struct model_class *find_class(const struct model *model, const char *name)
{
	for (size_t i = 0; i < model->n_classes; i++)
		if (strcmp(model->classes[i]->name, name) == 0)
			return model->classes[i];
	return NULL;
}

static void check_class(struct check *c, char *line)
{
	const char *name = next_word(&line, false);
	const char *before[N_CLASS_WORDS], *now[N_CLASS_WORDS];
	c->cls = NULL;
	c->cls_is_gone = true;
	if (name == NULL) {
		unit_error(c->unit, c->where, "a class without a name: write the snapshot again");
		return;
	}
	if (!read_words(c, line, class_words, before, N_CLASS_WORDS))
		return;
	c->cls = find_class(c->model, name);
	c->cls_is_gone = c->cls == NULL;
	if (c->cls == NULL) {
		unit_error(c->unit, (struct location){ c->unit->file, 1 },
			   "class %s is gone, and was frozen (%s:%u): give it back", name,
			   c->where.file, c->where.line);
		return;
	}
	words_of_class(c->model->arena, c->cls, now);
	compare(c, c->cls->source->where, arena_format(c->model->arena, "class %s", name),
		class_words, before, now, N_CLASS_WORDS);
}

/* "fill" of "Widget::fill(i16[4])i32". */
static const char *name_in(struct arena *arena, const char *canonical)
{
	const char *name = strstr(canonical, "::");
	return name == NULL ? "" : arena_copy(arena, name + 2, strcspn(name + 2, "("));
}

static void check_method(struct check *c, char *line)
{
	struct arena *arena = c->model->arena;
	const char *before[N_METHOD_WORDS], *now[N_METHOD_WORDS];
	if (!read_words(c, line, method_words, before, N_METHOD_WORDS) || c->cls_is_gone)
		return;
	if (c->cls == NULL) {
		unit_error(c->unit, c->where, "a method without a class: write the snapshot again");
		return;
	}
	const char *name = name_in(arena, before[METHOD_CANONICAL]);
	for (size_t i = 0; i < c->cls->n_methods; i++) {
		const struct model_method *method = &c->cls->methods[i];
		if (strcmp(method->name, name) != 0)
			continue;
		words_of_method(arena, method, now);
		compare(c, method->source->where, arena_format(arena, "method %s", name),
			method_words, before, now, N_METHOD_WORDS);
		return;
	}
	unit_error(c->unit, c->cls->source->where,
		   "method %s is gone, and was frozen as %s (%s:%u): give it back; a method that "
		   "nobody should call any more is marked deprecated",
		   name, before[METHOD_CANONICAL], c->where.file, c->where.line);
}

static void check_line(struct check *c, char *line, bool *headed)
{
	if (*line == '\0' || *line == '#')
		return;
	if (!*headed) {
		*headed = strcmp(line, HEAD) == 0;
		if (!*headed)
			unit_error(c->unit, c->where,
				   "a snapshot begins with \"" HEAD "\": write it with iig freeze");
		*headed = true;
		return;
	}
	if (strncmp(line, "class ", 6) == 0)
		check_class(c, line + 6);
	else if (strncmp(line, "method ", 7) == 0)
		check_method(c, line + 7);
	else
		unit_error(c->unit, c->where,
			   "a snapshot's line is a class or a method, not \"%s\"", line);
}

void frozen_check(struct unit *unit, const struct model *model, const char *path, const char *text)
{
	struct check c = { .unit = unit, .model = model, .where = { path, 0 } };
	bool headed = false;
	while (*text != '\0') {
		size_t size = strcspn(text, "\n");
		c.where.line++;
		check_line(&c, arena_copy(model->arena, text, size), &headed);
		text += size + (text[size] == '\n');
	}
	if (!headed)
		unit_error(unit, (struct location){ path, 1 },
			   "the snapshot is empty: write it with iig freeze");
}
