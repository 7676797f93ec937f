/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/emit_cxx.h>

#include <string.h>

#include <iig/emit.h>

/*
 * What joins the C source, with its class tables, to members written in C++: for each method the
 * function that its thunk calls, and the constructor.
 *
 * What is constructed is X_Instance, whose vtable leads back to the class table: a LOCALONLY method
 * is a virtual in C++, and the object may be of a class derived from X in C, which has no vtable of
 * its own.
 */

struct join {
	struct text *out;
	struct arena *arena;
};

/* The nearest declaration counts once, however many classes override it. */
static void emit_instance_methods(struct join *j, const struct model_class *cls)
{
	if (cls == NULL)
		return;
	emit_instance_methods(j, cls->parent);
	for (size_t i = 0; i < cls->n_methods; i++) {
		const struct model_method *method = &cls->methods[i];
		if (method->kind != METHOD_VIRTUAL || !cxx_is_plain_member(method))
			continue;
		emit_cxx_signature(j->out, j->arena,
				   &(struct cxx_signature){
					   .lead = "\t",
					   .name = method->name,
					   .method = method,
					   .tail = "\n\t{\n",
				   });
		emit_cxx_call(j->out, j->arena, method, "\t\t", method->full, "this");
		text_add(j->out, "\t}\n\n");
	}
}

static void emit_instance(struct join *j, const struct model_class *cls)
{
	EMIT(j->out,
	     "namespace\n{\n"
	     "/* What is constructed: its virtuals lead back to the class table. */\n"
	     "class $cls$_Instance final : public $cls$\n"
	     "{\n"
	     "public:\n"
	     "\t$cls$_Instance() = default;\n\n",
	     { "cls", cls->name });
	emit_instance_methods(j, cls);
	EMIT(j->out,
	     "protected:\n"
	     "\t~$cls$_Instance() = default;\n"
	     "};\n"
	     "static_assert(sizeof($cls$_Instance) == sizeof($cls$),\n"
	     "\t      \"an instance adds nothing\");\n"
	     "} // namespace\n\n",
	     { "cls", cls->name });
}

static const char *member_of(struct join *j, const struct model_class *cls,
			     const struct model_method *method)
{
	if (!model_has_self(method))
		return arena_format(j->arena, "%s::%s%s", cls->name, method->name,
				    method->kind == METHOD_CLASS ? "_Impl" : "");
	return arena_format(j->arena, "self->%s::%s%s", cls->name, method->name,
			    model_has_row(method) && !cxx_is_plain_member(method) ? "_Impl" : "");
}

static void emit_function(struct join *j, const struct model_class *cls,
			  const struct model_method *method)
{
	if (method->kind == METHOD_PROTOTYPE)
		return;
	const char *self =
		arena_format(j->arena, "%s%s", method->is_const ? "const " : "", cls->name);
	emit_cxx_signature(j->out, j->arena,
			   &(struct cxx_signature){
				   .lead = "",
				   .name = arena_format(j->arena, "%s%s", method->full,
							model_has_row(method) ? "_Impl" : ""),
				   .self = model_has_self(method) ? self : NULL,
				   .method = method,
				   .tail = "\n{\n",
			   });
	emit_cxx_call(j->out, j->arena, method, "\t", member_of(j, cls, method), NULL);
	text_add(j->out, "}\n\n");
}

static void emit_class(struct join *j, const struct model_class *cls)
{
	EMIT(j->out, "/* ---- $cls$ ---- */\n\n", { "cls", cls->name });
	emit_instance(j, cls);
	text_add(j->out, "extern \"C\" {\n\n");
	for (size_t i = 0; i < cls->n_methods; i++)
		emit_function(j, cls, &cls->methods[i]);
	EMIT(j->out,
	     "void $cls$_construct(OSObject *self)\n"
	     "{\n"
	     "\t::new (static_cast<void *>(self)) $cls$_Instance;\n"
	     "}\n\n"
	     "} // extern \"C\"\n\n",
	     { "cls", cls->name });
}

void emit_cxx_source(struct text *out, const struct model *model, const char *header)
{
	struct join j = { out, model->arena };
	emit_origin(out, model);
	EMIT(out, "#include $header$\n\n#include <new>\n\n", { "header", header });
	emit_copied(out, model);
	for (size_t i = 0; i < model->n_classes; i++)
		if (!model->classes[i]->is_extension) // its author writes C functions
			emit_class(&j, model->classes[i]);
	text_trim(out);
}
