/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/emit_cxx.h>

#include <inttypes.h>
#include <string.h>

#include <iig/emit.h>

/*
 * The header of an interface for C++. A class is a class there, and a method an inline that calls
 * the C stub, which goes through the class table: objects made in C have no vtable.
 *
 * A class that is implemented in C++ has three more things. Its author's members: Start_Impl for a
 * method that may be called from elsewhere, and init itself, virtual, for a LOCALONLY one. Between
 * it and its super class X_Super, where super::init() finds the implementation above: the super
 * class's own init() would go through the table, and come back. And the overloads that
 * SUPERDISPATCH selects.
 */

struct cxx {
	struct text *out;
	struct arena *arena;
	const struct model *model;
	bool implements;
};

/* ---- what both files need ---- */

bool cxx_is_plain_member(const struct model_method *method)
{
	return method->is_localonly;
}

void emit_cxx_signature(struct text *out, struct arena *arena, const struct cxx_signature *s)
{
	const struct model_method *method = s->method;
	const char **items = NULL;
	size_t n_items = 0;
	if (s->self != NULL)
		ARENA_APPEND(arena, items, n_items,
			     (const char *)arena_format(arena, "%s *self", s->self));
	for (size_t i = 0; i < method->n_params; i++) {
		const struct model_param *param = &method->params[i];
		const char *item = param->declared;
		if (s->with_fallbacks && param->default_value != NULL)
			item = arena_format(arena, "%s = %s", item, param->default_value);
		ARENA_APPEND(arena, items, n_items, item);
	}
	if (s->more != NULL)
		ARENA_APPEND(arena, items, n_items, s->more);
	text_add_list(
		out,
		&(struct text_list){
			.head = arena_format(arena, "%s%s(",
					     result_lead(arena, s->lead, method->result), s->name),
			.items = items,
			.n_items = n_items,
			.tail = arena_format(arena, ")%s%s",
					     method->is_const && s->self == NULL ? " const" : "",
					     s->tail),
		});
}

void emit_cxx_call(struct text *out, struct arena *arena, const struct model_method *method,
		   const char *indent, const char *callee, const char *self)
{
	const char *result = method->result_type->kind == TYPE_VOID ? "" : "return ";
	emit_arguments(out, arena,
		       &(struct text_list){
			       .head = arena_format(arena, "%s%s%s(", indent, result, callee),
			       .items = &self,
			       .n_items = self != NULL,
			       .tail = ");\n",
		       },
		       method);
}

/* ---- what C has ---- */

static const char *self_type(struct cxx *c, const struct model_class *cls,
			     const struct model_method *method)
{
	if (!model_has_self(method))
		return NULL;
	return arena_format(c->arena, "%s%s", method->is_const ? "const " : "", cls->self);
}

static void emit_c_function(struct cxx *c, const struct model_class *cls,
			    const struct model_method *method, const char *name)
{
	emit_cxx_signature(c->out, c->arena,
			   &(struct cxx_signature){
				   .lead = "",
				   .name = name,
				   .self = self_type(c, cls, method),
				   .method = method,
				   .tail = ";\n",
			   });
}

static void emit_c_method(struct cxx *c, const struct model_class *cls,
			  const struct model_method *method)
{
	switch (method->kind) {
	case METHOD_VIRTUAL:
	case METHOD_PROTOTYPE:
	case METHOD_CLASS:
	case METHOD_PLAIN:
	case METHOD_STATIC:
		emit_c_function(c, cls, method, method->full);
		return;
	case METHOD_CALLBACK:
		emit_create_action_signature(c->out, c->arena, "", cls, method->name, ");\n");
		return;
	case METHOD_OVERRIDE:
		if (c->implements)
			emit_c_function(
				c, cls, method,
				arena_format(c->arena, "%s_super_%s", cls->name, method->name));
		return;
	}
}

/* What a call names: an override or a callback is reached by another name. */
static bool has_api(const struct model_method *method)
{
	return method->kind != METHOD_OVERRIDE && method->kind != METHOD_CALLBACK;
}

/* Where it may be missing is said of the member. */
static void emit_block_function(struct cxx *c, const struct model_class *cls,
				const struct model_method *method)
{
	if (method->block == NULL)
		return;
	struct model_method always = *method;
	struct model_block block = *method->block;
	block.form.availability = (struct availability){ 0 };
	always.block = &block;
	emit_block(c->out, c->arena, cls->self, &always);
}

static void emit_c_functions(struct cxx *c, const struct model_class *cls)
{
	for (size_t i = 0; i < cls->n_methods; i++) {
		const struct model_method *method = &cls->methods[i];
		if (method->canonical != NULL && method->kind != METHOD_OVERRIDE)
			EMIT(c->out, "#define $full$_ID 0x$id$ULL\n", { "full", method->full },
			     { "id", arena_format(c->arena, "%016" PRIx64, method->id) });
	}
	for (size_t i = 0; i < cls->n_methods; i++)
		if (has_api(&cls->methods[i]))
			emit_api(c->out, c->arena, &cls->methods[i]);
	text_add(c->out, "extern \"C\" {\n");
	if (!cls->is_extension)
		EMIT(c->out, "extern const OSMetaClass g$cls$MetaClass;\n", { "cls", cls->name });
	for (size_t i = 0; i < cls->n_methods; i++)
		emit_c_method(c, cls, &cls->methods[i]);
	text_add(c->out, "}\n\n");
	for (size_t i = 0; i < cls->n_methods; i++)
		emit_block_function(c, cls, &cls->methods[i]);
}

/* ---- members that call ---- */

static void emit_forward(struct cxx *c, const struct model_method *method, const char *callee)
{
	if (method->kind != METHOD_OVERRIDE)
		text_add_comment(c->out, "\t", method->doc);
	const char *api = has_api(method) ? api_prefix(c->arena, method) : "";
	emit_cxx_signature(c->out, c->arena,
			   &(struct cxx_signature){
				   .lead = arena_format(c->arena, "\t%s%s", api,
							model_has_self(method) ? "" : "static "),
				   .name = method->name,
				   .method = method,
				   .with_fallbacks = true,
				   .tail = "\n\t{\n",
			   });
	emit_cxx_call(c->out, c->arena, method, "\t\t", callee,
		      model_has_self(method) ? "this" : NULL);
	text_add(c->out, "\t}\n\n");
}

static void emit_create_action(struct cxx *c, const struct model_class *cls,
			       const struct model_method *method)
{
	EMIT(c->out,
	     "\t/*! An action that runs $name$() of this object. Returned. */\n"
	     "\tkern_return_t CreateAction$name$(size_t referenceSize, OSAction **action)\n"
	     "\t{\n"
	     "\t\treturn $cls$_CreateAction$name$(this, referenceSize, action);\n"
	     "\t}\n\n",
	     { "name", method->name }, { "cls", cls->name });
}

/* A member over the function that emit_block() writes. */
static void emit_block_member(struct cxx *c, const struct model_method *method)
{
	if (method->block == NULL)
		return;
	text_add(c->out, "#ifdef __BLOCKS__\n");
	emit_forward(c, &method->block->form, method->block->form.full);
	text_trim(c->out);
	text_add(c->out, "#endif\n\n");
}

/* ---- members that an author writes ---- */

static void emit_args_macro(struct cxx *c, const struct model_method *method)
{
	const char **items = NULL;
	size_t n_items = 0;
	for (size_t i = 0; i < method->n_params; i++)
		ARENA_APPEND(c->arena, items, n_items, method->params[i].declared);
	text_add_macro(c->out,
		       &(struct text_list){
			       .head = arena_format(c->arena, "#define %s_Args", method->full),
			       .items = items,
			       .n_items = n_items,
		       });
}

static void emit_member(struct cxx *c, const struct model_method *method, const char *lead,
			const char *name)
{
	if (method->kind != METHOD_VIRTUAL || name == method->name) // else said where it is called
		text_add_comment(c->out, "\t", method->doc);
	emit_cxx_signature(c->out, c->arena,
			   &(struct cxx_signature){
				   .lead = lead,
				   .name = name,
				   .method = method,
				   .with_fallbacks = name == method->name,
				   .tail = ";\n\n",
			   });
}

/* The overload of an overridden method that calls the implementation above. */
static void emit_super_overload(struct cxx *c, const struct model_class *cls,
				const struct model_method *method)
{
	emit_cxx_signature(c->out, c->arena,
			   &(struct cxx_signature){
				   .lead = "\t",
				   .name = method->name,
				   .method = method,
				   .more = "OSDispatchSuper",
				   .tail = "\n\t{\n",
			   });
	emit_cxx_call(c->out, c->arena, method, "\t\t",
		      arena_format(c->arena, "%s_super_%s", cls->name, method->name), "this");
	text_add(c->out, "\t}\n\n");
}

/* A method of a class implemented in C++. */
static void emit_own_method(struct cxx *c, const struct model_class *cls,
			    const struct model_method *method)
{
	const char *impl = arena_format(c->arena, "%s_Impl", method->name);
	switch (method->kind) {
	case METHOD_PROTOTYPE:
		emit_forward(c, method, method->full);
		return;
	case METHOD_PLAIN:
		emit_member(c, method, "\t", method->name);
		return;
	case METHOD_STATIC:
		emit_member(c, method, "\tstatic ", method->name);
		return;
	case METHOD_CLASS:
		emit_forward(c, method, method->full);
		emit_member(c, method, "\tstatic ", impl);
		return;
	case METHOD_VIRTUAL:
	case METHOD_OVERRIDE:
	case METHOD_CALLBACK:
		break;
	}
	if (cxx_is_plain_member(method)) {
		emit_member(c, method, "\tvirtual ", method->name);
		return;
	}
	if (method->kind == METHOD_VIRTUAL)
		emit_forward(c, method, method->full);
	else if (method->kind == METHOD_CALLBACK)
		emit_create_action(c, cls, method);
	else if (method->base->kind == METHOD_VIRTUAL)
		emit_forward(c, method, method->base->full);
	if (method->kind == METHOD_OVERRIDE)
		emit_super_overload(c, cls, method);
	emit_member(c, method, "\t", impl);
}

/* A method of a class that is implemented in C: what it overrides is inherited. */
static void emit_foreign_method(struct cxx *c, const struct model_class *cls,
				const struct model_method *method)
{
	switch (method->kind) {
	case METHOD_VIRTUAL:
	case METHOD_PROTOTYPE:
	case METHOD_CLASS:
	case METHOD_PLAIN:
	case METHOD_STATIC:
		emit_forward(c, method, method->full);
		break;
	case METHOD_CALLBACK:
		emit_create_action(c, cls, method);
		break;
	case METHOD_OVERRIDE:
		break;
	}
}

/* ---- a class ---- */

/* super::init(): what X_Super's members call is the implementation above, whatever the object. */
static void emit_super_class(struct cxx *c, const struct model_class *cls)
{
	EMIT(c->out,
	     "/* What super:: is in $cls$'s members: the implementations above it. */\n"
	     "class $cls$_Super : public $super$\n"
	     "{\n"
	     "public:\n",
	     { "cls", cls->name }, { "super", cls->super });
	const char *self = arena_format(c->arena, "reinterpret_cast<%s *>(this)", cls->name);
	const char *const_self =
		arena_format(c->arena, "reinterpret_cast<const %s *>(this)", cls->name);
	for (size_t i = 0; i < cls->n_methods; i++) {
		const struct model_method *method = &cls->methods[i];
		if (method->kind != METHOD_OVERRIDE)
			continue;
		emit_cxx_signature(c->out, c->arena,
				   &(struct cxx_signature){
					   .lead = "\t",
					   .name = method->name,
					   .method = method,
					   .tail = "\n\t{\n",
				   });
		emit_cxx_call(c->out, c->arena, method, "\t\t",
			      arena_format(c->arena, "%s_super_%s", cls->name, method->name),
			      method->is_const ? const_self : self);
		text_add(c->out, "\t}\n\n");
	}
	EMIT(c->out,
	     "protected:\n"
	     "\t$cls$_Super() = default;\n"
	     "\t~$cls$_Super() = default;\n"
	     "};\n\n",
	     { "cls", cls->name });
}

static void emit_class_end(struct cxx *c, const struct model_class *cls)
{
	if (!cls->is_root)
		EMIT(c->out, "\tstruct $cls$_IVars *ivars = nullptr;\n\n", { "cls", cls->name });
	EMIT(c->out,
	     "protected:\n"
	     "\t$cls$() = default;\n"
	     "\t~$cls$() = default;\n"
	     "};\n",
	     { "cls", cls->name });
	if (cls->is_root)
		text_add(c->out,
			 "static_assert(sizeof(" ROOT_CLASS ") == sizeof(OSMetaClassBase),\n"
			 "\t      \"the root adds nothing\");\n\n");
	else
		EMIT(c->out,
		     "static_assert(sizeof($cls$) == sizeof($super$) + sizeof(void *),\n"
		     "\t      \"a class adds one pointer\");\n\n",
		     { "cls", cls->name }, { "super", cls->super });
}

/* The methods that a class gets from elsewhere stay functions: a class is closed in C++. */
static void emit_extension(struct cxx *c, const struct model_class *cls)
{
	text_add_comment(c->out, "", cls->doc);
	emit_c_functions(c, cls);
	if (!c->implements)
		return;
	EMIT(c->out, "/* What $cls$'s author writes. */\nextern \"C\" {\n", { "cls", cls->name });
	for (size_t i = 0; i < cls->n_methods; i++)
		if (model_has_row(&cls->methods[i]))
			emit_c_function(c, cls, &cls->methods[i],
					arena_format(c->arena, "%s_Impl", cls->methods[i].full));
	text_add(c->out, "}\n\n");
}

static void emit_class(struct cxx *c, const struct model_class *cls)
{
	if (cls->is_extension) {
		emit_extension(c, cls);
		return;
	}
	emit_c_functions(c, cls);
	if (c->implements)
		for (size_t i = 0; i < cls->n_methods; i++)
			if (model_has_row(&cls->methods[i]) &&
			    !cxx_is_plain_member(&cls->methods[i]))
				emit_args_macro(c, &cls->methods[i]);
	if (!cls->is_root)
		EMIT(c->out, "struct $cls$_IVars;\n\n", { "cls", cls->name });
	if (c->implements)
		emit_super_class(c, cls);
	text_add_comment(c->out, "", cls->doc);
	EMIT(c->out, "class $cls$ : public $super$\n{\npublic:\n", { "cls", cls->name },
	     { "super", cls->is_root    ? "OSMetaClassBase"
			: c->implements ? arena_format(c->arena, "%s_Super", cls->name)
					: cls->super });
	if (c->implements)
		EMIT(c->out,
		     "\tusing super = $cls$_Super;\n"
		     "\tstruct OSDispatchSuper {\n"
		     "\t};\n\n",
		     { "cls", cls->name });
	for (size_t i = 0; i < cls->n_methods; i++) {
		const struct model_method *method = &cls->methods[i];
		if (c->implements)
			emit_own_method(c, cls, method);
		else
			emit_foreign_method(c, cls, method);
		emit_block_member(c, method);
	}
	emit_class_end(c, cls);
}

/* ---- the file ---- */

static void emit_head(struct cxx *c)
{
	const struct model *model = c->model;
	emit_origin(c->out, model);
	text_add(c->out, "#pragma once\n\n#include <DriverKit/OSMetaClass.h>\n");
	for (size_t i = 0; i < model->unit->n_items; i++) {
		const struct item *item = &model->unit->items[i];
		if (item->kind == ITEM_INCLUDE)
			EMIT(c->out, "$text$\n", { "text", item->text });
	}
	emit_block_includes(c->out, model);
	text_add(c->out, "\n#pragma GCC visibility push(default)\n\n");
	for (size_t i = 0; i < model->n_declared; i++)
		EMIT(c->out, "class $cls$;\n", { "cls", model->declared[i] });
	for (size_t i = 0; i < model->n_classes; i++)
		if (!model->classes[i]->is_extension)
			EMIT(c->out, "class $cls$;\n", { "cls", model->classes[i]->name });
	text_add(c->out, "\n");
}

void emit_cxx_header(struct text *out, const struct model *model, bool implements)
{
	struct cxx c = { out, model->arena, model, implements };
	emit_head(&c);
	size_t next = 0;
	for (size_t i = 0; i < model->unit->n_items; i++) {
		const struct item *item = &model->unit->items[i];
		if (item->kind == ITEM_TEXT) {
			text_add_comment(out, "", item->doc);
			EMIT(out, "$text$\n\n", { "text", item->text });
		} else if (item->kind == ITEM_CLASS) {
			emit_class(&c, model->classes[next++]);
		}
	}
	text_add(out, "#pragma GCC visibility pop\n");
}
