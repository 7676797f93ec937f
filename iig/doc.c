/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/doc.h>

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

struct doc {
	struct text *out;
	struct arena *arena;
	unsigned depth;
	bool first; // of the object or array that is written
};

/* ---- JSON ---- */

static void next_value(struct doc *d)
{
	text_add(d->out, d->first ? "\n" : ",\n");
	d->first = false;
	for (unsigned i = 0; i < d->depth; i++)
		text_add(d->out, " ");
}

static void key(struct doc *d, const char *name)
{
	next_value(d);
	if (name != NULL)
		EMIT(d->out, "\"$name$\": ", { "name", name });
}

static void open_value(struct doc *d, const char *name, const char *bracket)
{
	key(d, name);
	text_add(d->out, bracket);
	d->depth++;
	d->first = true;
}

static void close_value(struct doc *d, const char *bracket)
{
	d->depth--;
	if (!d->first) {
		d->first = true;
		next_value(d);
	}
	d->first = false;
	text_add(d->out, bracket);
}

static void string(struct doc *d, const char *text)
{
	text_add(d->out, "\"");
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;
		const char *escaped = arena_format(d->arena, "%c", c);
		if (c == '"' || c == '\\')
			escaped = arena_format(d->arena, "\\%c", c);
		else if (c == '\n')
			escaped = "\\n";
		else if (c < 0x20)
			escaped = arena_format(d->arena, "\\u%04x", c);
		text_add(d->out, escaped);
	}
	text_add(d->out, "\"");
}

/* Left out if there is no text. */
static void field(struct doc *d, const char *name, const char *text)
{
	if (text == NULL)
		return;
	key(d, name);
	string(d, text);
}

/* Left out if it is 0. */
static void number(struct doc *d, const char *name, uint64_t value)
{
	if (value == 0)
		return;
	key(d, name);
	EMIT(d->out, "$value$", { "value", arena_format(d->arena, "%" PRIu64, value) });
}

/* ---- the model ---- */

static void where(struct doc *d, struct location location)
{
	field(d, "file", location.file);
	number(d, "line", location.line);
}

static void availability(struct doc *d, const struct availability *a)
{
	number(d, "since", a->introduced);
	number(d, "deprecated", a->deprecated);
	number(d, "obsoleted", a->obsoleted);
	field(d, "message", a->message);
}

struct attribute {
	bool is_set;
	const char *name;
};

static void attributes(struct doc *d, const struct attribute *known, size_t n_known)
{
	open_value(d, "attributes", "[");
	for (size_t i = 0; i < n_known; i++) {
		if (!known[i].is_set)
			continue;
		next_value(d);
		string(d, known[i].name);
	}
	close_value(d, "]");
}

static void write_param(struct doc *d, const struct model_param *param, const struct param *source)
{
	const struct carry_form *form = &carry_forms[param->carry];
	bool both = param->carry == CARRY_COUNT_OUT;
	open_value(d, NULL, "{");
	field(d, "name", param->name);
	field(d, "declaration", param->declared);
	field(d, "carry", form->name);
	field(d, "direction", both ? "inout" : form->returns ? "out" : "in");
	number(d, "room", param->room);
	field(d, "default", param->default_value);
	if (source->prototype.method != NULL)
		field(d, "type",
		      source->prototype.cls == NULL
			      ? source->prototype.method
			      : arena_format(d->arena, "%s::%s", source->prototype.cls,
					     source->prototype.method));
	close_value(d, "}");
}

static void write_block(struct doc *d, const struct model_block *block)
{
	static const char *const lives[] = {
		[BLOCK_DURING] = "during",
		[BLOCK_ONCE] = "once",
		[BLOCK_UNTIL_ENDED] = "until-ended",
	};
	open_value(d, "block", "{");
	field(d, "name", block->form.name);
	field(d, "function", block->form.full);
	field(d, "kept", lives[block->life]);
	open_value(d, "params", "[");
	for (size_t i = 0; i < block->form.n_params; i++) {
		next_value(d);
		string(d, block->form.params[i].declared);
	}
	close_value(d, "]");
	close_value(d, "}");
}

static void write_method(struct doc *d, const struct model_method *method)
{
	const struct method *source = method->source;
	const struct attribute known[] = {
		{ source->is_local, "LOCAL" },   { method->is_localonly, "LOCALONLY" },
		{ source->is_remote, "REMOTE" }, { source->is_localhost, "LOCALHOST" },
		{ source->is_kernel, "KERNEL" }, { source->is_native, "NATIVE" },
		{ source->is_reply, "REPLY" },   { source->is_invokereply, "INVOKEREPLY" },
		{ method->is_const, "const" },   { method->is_oneway, "oneway" },
	};
	open_value(d, NULL, "{");
	field(d, "name", method->name);
	field(d, "function", method->full);
	field(d, "kind", model_kind_name(method->kind));
	if (method->canonical != NULL) {
		field(d, "id", arena_format(d->arena, "0x%016" PRIx64, method->id));
		field(d, "canonical", method->canonical);
	}
	attributes(d, known, sizeof(known) / sizeof(known[0]));
	field(d, "result", method->result);
	field(d, "queue", method->queue);
	if (method->prototype != NULL)
		field(d, "type",
		      arena_format(d->arena, "%s::%s", method->prototype->cls,
				   method->prototype->name));
	if (method->base != NULL)
		field(d, "overrides", method->base->cls);
	where(d, source->where);
	availability(d, &method->availability);
	field(d, "doc", text_of_comment(d->arena, method->doc));
	open_value(d, "params", "[");
	for (size_t i = 0; i < method->n_params; i++)
		write_param(d, &method->params[i], &source->params[i]);
	close_value(d, "]");
	if (method->block != NULL)
		write_block(d, method->block);
	close_value(d, "}");
}

static void write_class(struct doc *d, const struct model_class *cls)
{
	const struct class *source = cls->source;
	const struct attribute known[] = {
		{ source->is_kernel, "KERNEL" },
		{ source->is_native, "NATIVE" },
		{ source->is_local, "LOCAL" },
		{ source->is_concrete, "CONCRETE" },
		{ source->is_serializable, "SERIALIZABLE" },
		{ source->is_protocol, "PROTOCOL" },
	};
	open_value(d, NULL, "{");
	field(d, "name", cls->name);
	field(d, "super", cls->super);
	field(d, "extends", source->extends);
	attributes(d, known, sizeof(known) / sizeof(known[0]));
	where(d, source->where);
	availability(d, &source->availability);
	field(d, "doc", text_of_comment(d->arena, cls->doc));
	open_value(d, "methods", "[");
	for (size_t i = 0; i < cls->n_methods; i++)
		write_method(d, &cls->methods[i]);
	close_value(d, "]");
	close_value(d, "}");
}

static void write_type(struct doc *d, const struct item *item)
{
	open_value(d, NULL, "{");
	field(d, "text", item->text);
	field(d, "doc", text_of_comment(d->arena, item->doc));
	close_value(d, "}");
}

void doc_write(struct text *out, const struct model *model)
{
	struct doc d = { .out = out, .arena = model->arena, .depth = 1, .first = true };
	text_add(out, "{");
	number(&d, "iig", 1);
	field(&d, "file", model->unit->file);
	field(&d, "license", model->unit->license);
	open_value(&d, "types", "[");
	for (size_t i = 0; i < model->unit->n_items; i++)
		if (model->unit->items[i].kind == ITEM_TEXT)
			write_type(&d, &model->unit->items[i]);
	close_value(&d, "]");
	open_value(&d, "classes", "[");
	for (size_t i = 0; i < model->n_classes; i++)
		write_class(&d, model->classes[i]);
	close_value(&d, "]");
	text_add(out, "\n}\n");
}
