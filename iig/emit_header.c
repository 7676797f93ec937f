/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/emit.h>

#include <inttypes.h>
#include <string.h>

/*
 * The header of an interface: first what everybody may use, with default visibility; then, hidden,
 * what the author of the classes needs to implement them.
 */

struct header {
	struct text *out;
	struct arena *arena;
	const struct model *model;
};

/* ---- the file ---- */

static void emit_includes(struct header *h, const char *cxx)
{
	emit_origin(h->out, h->model);
	text_add(h->out, "#pragma once\n\n");
	if (cxx != NULL)
		EMIT(h->out, "#ifdef __cplusplus\n#include \"$cxx$\"\n#else\n", { "cxx", cxx });
	text_add(h->out, "#include <DriverKit/OSMetaClass.h>\n");
	for (size_t i = 0; i < h->model->unit->n_items; i++) {
		const struct item *item = &h->model->unit->items[i];
		if (item->kind == ITEM_INCLUDE)
			EMIT(h->out, "$text$\n", { "text", item->text });
	}
	emit_block_includes(h->out, h->model);
	text_add(h->out, "\n");
}

static void emit_typedefs(struct header *h)
{
	const struct model *model = h->model;
	size_t n_typedefs = 0;
	for (size_t i = 0; i < model->n_declared; i++, n_typedefs++)
		EMIT(h->out, "typedef struct $cls$ $cls$;\n", { "cls", model->declared[i] });
	for (size_t i = 0; i < model->n_classes; i++) {
		const struct model_class *cls = model->classes[i];
		if (cls->is_root || cls->is_protocol || cls->is_extension)
			continue;
		EMIT(h->out, "typedef struct $cls$ $cls$;\n", { "cls", cls->name });
		n_typedefs++;
	}
	if (n_typedefs > 0)
		text_add(h->out, "\n");
}

static void emit_text_item(struct header *h, const struct item *item)
{
	text_add_comment(h->out, "", item->doc);
	EMIT(h->out, "$text$\n", { "text", item->text });
	if (item->tag != NULL)
		EMIT(h->out, "typedef $tag$ $name$;\n", { "tag", item->tag },
		     { "name", strchr(item->tag, ' ') + 1 });
	text_add(h->out, "\n");
}

/* ---- a class ---- */

static void emit_upcast(struct header *h, const char *cls, const char *up)
{
	const char *self = arena_format(h->arena, "%s *self", cls);
	text_add_list(h->out, &(struct text_list){
				      .lead = arena_format(h->arena, "static inline %s *", up),
				      .head = arena_format(h->arena, "%s_as_%s(", cls, up),
				      .items = &self,
				      .n_items = 1,
				      .tail = ")\n{\n",
			      });
	EMIT(h->out, "\treturn ($up$ *)self;\n}\n\n", { "up", up });
}

static void emit_struct(struct header *h, const struct model_class *cls)
{
	if (cls->is_root) {
		text_add_comment(h->out, "", cls->doc);
	} else {
		EMIT(h->out, "struct $cls$_IVars;\n", { "cls", cls->name });
		text_add_comment(h->out, "", cls->doc);
		EMIT(h->out,
		     "struct $cls$ {\n"
		     "\t$super$ super;\n"
		     "\tstruct $cls$_IVars *ivars;\n"
		     "};\n"
		     "extern const OSMetaClass g$cls$MetaClass;\n\n",
		     { "cls", cls->name }, { "super", cls->super });
	}
	for (const struct model_class *up = cls->parent; up != NULL; up = up->parent)
		emit_upcast(h, cls->name, up->name);
	EMIT(h->out,
	     "static inline void $cls$_retain($cls$ *self)\n"
	     "{\n"
	     "\tOSObjectRetain(self);\n"
	     "}\n\n"
	     "static inline void $cls$_release($cls$ *self)\n"
	     "{\n"
	     "\tOSObjectRelease(self);\n"
	     "}\n\n",
	     { "cls", cls->name });
}

static void emit_id(struct header *h, const struct model_method *method)
{
	EMIT(h->out, "#define $full$_ID 0x$id$ULL\n", { "full", method->full },
	     { "id", arena_format(h->arena, "%016" PRIx64, method->id) });
}

static void emit_message(struct header *h, const struct model_method *method)
{
	EMIT(h->out, "struct $full$_Msg {\n", { "full", method->full });
	for (size_t i = 0; i < method->n_params; i++)
		EMIT(h->out, "\t$field$;\n", { "field", method->params[i].field });
	if (method->result_type->kind != TYPE_VOID)
		EMIT(h->out, "\t$field$;\n",
		     { "field", type_declare(h->arena, method->result_type, "ret") });
	else if (method->n_params == 0)
		text_add(h->out, "\tuint8_t nothing; // C has no empty structures\n");
	EMIT(h->out, "};\nextern const struct OSMethodShape $full$_Shape;\n",
	     { "full", method->full });
}

static void emit_prototype(struct header *h, const struct model_class *cls,
			   const struct model_method *method)
{
	text_add_comment(h->out, "", method->doc);
	emit_signature(h->out, h->arena,
		       &(struct signature){
			       .prefix = api_prefix(h->arena, method),
			       .cls = model_has_self(method) ? cls->self : NULL,
			       .name = method->full,
			       .method = method,
			       .tail = ";\n\n",
		       });
}

static void emit_create_action(struct header *h, const struct model_class *cls,
			       const struct model_method *method)
{
	EMIT(h->out, "/*! An action that runs $name$() of `self`. Returned. */\n",
	     { "name", method->name });
	emit_create_action_signature(h->out, h->arena, "", cls, method->name, ");\n\n");
}

static void emit_forward_body(struct header *h, const struct model_class *cls,
			      const struct model_method *to)
{
	const char *self = upcast(h->arena, cls->name, to->cls, to->is_const);
	emit_arguments(
		h->out, h->arena,
		&(struct text_list){
			.head = arena_format(h->arena, "\t%s%s(",
					     to->result_type->kind == TYPE_VOID ? "" : "return ",
					     to->full),
			.items = &self,
			.n_items = 1,
			.tail = ");\n}\n",
		},
		to);
}

/* An inline of `cls` that forwards to the class that declared the method. */
static void emit_forward(struct header *h, const struct model_class *cls,
			 const struct model_method *to)
{
	const struct signature signature = {
		.prefix = arena_format(h->arena, "%sstatic inline ", api_prefix(h->arena, to)),
		.cls = cls->name,
		.name = arena_format(h->arena, "%s_%s", cls->name, to->name),
		.method = to,
		.tail = "\n{\n",
	};
	EMIT(h->out, "/*! $cls$::$name$(): see $full$(). */\n", { "cls", to->cls },
	     { "name", to->name }, { "full", to->full });
	emit_api_inline_begin(h->out, h->arena, &signature);
	emit_signature(h->out, h->arena, &signature);
	emit_forward_body(h, cls, to);
	emit_api_inline_end(h->out, to);
	text_add(h->out, "\n");
}

static void emit_block_forward(struct header *h, const struct model_class *cls,
			       const struct model_method *to)
{
	text_add(h->out, "#ifdef __BLOCKS__\n");
	emit_forward(h, cls, to);
	text_trim(h->out);
	text_add(h->out, "#endif\n\n");
}

static void emit_forward_create_action(struct header *h, const struct model_class *cls,
				       const struct model_method *to)
{
	emit_create_action_signature(h->out, h->arena, "static inline ", cls, to->name, ")\n{\n");
	const char *const arguments[] = {
		upcast(h->arena, cls->name, to->cls, false),
		"referenceSize",
		"action",
	};
	text_add_list(h->out, &(struct text_list){
				      .head = arena_format(h->arena, "\treturn %s_CreateAction%s(",
							   to->cls, to->name),
				      .items = arguments,
				      .n_items = 3,
				      .tail = ");\n}\n\n",
			      });
}

static void emit_method(struct header *h, const struct model_class *cls,
			const struct model_method *method)
{
	switch (method->kind) {
	case METHOD_VIRTUAL:
	case METHOD_PROTOTYPE:
	case METHOD_CLASS:
		emit_id(h, method);
		emit_message(h, method);
		emit_api(h->out, h->arena, method);
		emit_prototype(h, cls, method);
		return;
	case METHOD_CALLBACK:
		emit_id(h, method);
		EMIT(h->out, "extern const struct OSMethodShape $full$_Shape;\n",
		     { "full", method->full });
		emit_create_action(h, cls, method);
		return;
	case METHOD_OVERRIDE:
		if (method->base->kind != METHOD_CALLBACK)
			emit_forward(h, cls, method->base);
		return;
	case METHOD_PLAIN:
	case METHOD_STATIC:
		emit_api(h->out, h->arena, method);
		emit_prototype(h, cls, method);
		return;
	}
}

static bool declares(const struct model_class *cls, const char *name)
{
	for (size_t i = 0; i < cls->n_methods; i++)
		if (strcmp(cls->methods[i].name, name) == 0)
			return true;
	return false;
}

static void emit_inherited(struct header *h, const struct model_class *cls,
			   const struct model_class *from)
{
	if (from == NULL)
		return;
	emit_inherited(h, cls, from->parent);
	for (size_t i = 0; i < from->n_methods; i++) {
		const struct model_method *method = &from->methods[i];
		if (method->kind == METHOD_OVERRIDE || !model_has_self(method))
			continue;
		if (method->kind == METHOD_CALLBACK)
			emit_forward_create_action(h, cls, method);
		else if (!declares(cls, method->name))
			emit_forward(h, cls, method);
		if (method->block != NULL && !declares(cls, method->block->form.name))
			emit_block_forward(h, cls, &method->block->form);
	}
}

static void emit_class(struct header *h, const struct model_class *cls)
{
	if (cls->is_extension)
		text_add_comment(h->out, "", cls->doc);
	else
		emit_struct(h, cls);
	for (size_t i = 0; i < cls->n_methods; i++) {
		emit_method(h, cls, &cls->methods[i]);
		if (cls->methods[i].block != NULL)
			emit_block(h->out, h->arena, cls->self, &cls->methods[i]);
	}
	emit_inherited(h, cls, cls->parent);
}

static void emit_protocol(struct header *h, const struct model_class *cls)
{
	text_add_comment(h->out, "", cls->doc);
	text_add(h->out, "\n");
	for (size_t i = 0; i < cls->n_methods; i++) {
		text_add_comment(h->out, "", cls->methods[i].doc);
		emit_id(h, &cls->methods[i]);
		emit_message(h, &cls->methods[i]);
		text_add(h->out, "\n");
	}
}

/* ---- for the author of a class ---- */

static void emit_arguments_macro(struct header *h, const struct model_class *cls,
				 const struct model_method *method)
{
	const char **items = NULL;
	size_t n_items = 0;
	if (model_has_self(method))
		ARENA_APPEND(h->arena, items, n_items,
			     (const char *)arena_format(h->arena, "%s%s *self",
							method->is_const ? "const " : "",
							cls->self));
	else if (method->n_params == 0)
		ARENA_APPEND(h->arena, items, n_items, "void");
	for (size_t i = 0; i < method->n_params; i++)
		ARENA_APPEND(h->arena, items, n_items, method->params[i].declared);
	text_add_macro(h->out,
		       &(struct text_list){
			       .head = arena_format(h->arena, "#define %s_Args", method->full),
			       .items = items,
			       .n_items = n_items,
		       });
}

static void emit_implementation(struct header *h, const struct model_class *cls,
				const struct model_method *method)
{
	emit_arguments_macro(h, cls, method);
	text_add_comment(h->out, "", method->doc);
	EMIT(h->out, "$lead$$full$_Impl($full$_Args);\n",
	     { "lead", result_lead(h->arena, "", method->result) }, { "full", method->full });
	if (method->kind == METHOD_OVERRIDE)
		emit_signature(h->out, h->arena,
			       &(struct signature){
				       .prefix = "",
				       .cls = cls->name,
				       .name = arena_format(h->arena, "%s_super_%s", cls->name,
							    method->name),
				       .method = method,
				       .tail = ";\n",
			       });
	text_add(h->out, "\n");
}

static void emit_implementations(struct header *h, const struct model_class *cls)
{
	if (cls->is_protocol || cls->n_rows == 0)
		return;
	EMIT(h->out, "/* What $cls$'s author writes, and how it calls its super class. */\n\n",
	     { "cls", cls->name });
	for (size_t i = 0; i < cls->n_methods; i++)
		if (model_has_row(&cls->methods[i]))
			emit_implementation(h, cls, &cls->methods[i]);
}

void emit_header(struct text *out, const struct model *model, const char *cxx)
{
	struct header h = { out, model->arena, model };
	emit_includes(&h, cxx);
	if (!model->only_protocols)
		text_add(out, "#pragma GCC visibility push(default)\n\n");
	emit_typedefs(&h);
	size_t next = 0;
	for (size_t i = 0; i < model->unit->n_items; i++) {
		const struct item *item = &model->unit->items[i];
		if (item->kind == ITEM_TEXT)
			emit_text_item(&h, item);
		if (item->kind != ITEM_CLASS)
			continue;
		const struct model_class *cls = model->classes[next++];
		if (cls->is_protocol)
			emit_protocol(&h, cls);
		else
			emit_class(&h, cls);
	}
	if (!model->only_protocols)
		text_add(out, "#pragma GCC visibility pop\n\n");
	for (size_t i = 0; i < model->n_classes; i++)
		emit_implementations(&h, model->classes[i]);
	text_trim(out);
	if (cxx != NULL)
		text_add(out, "#endif\n");
}
