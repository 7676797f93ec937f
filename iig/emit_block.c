/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/emit.h>

/*
 * The form of a method that takes a block: inline functions over the form that takes a function,
 * the same for C and for C++. The context is the block, and the function one that calls it.
 */

static const char *argument_name(struct arena *arena, const struct type *function, size_t i)
{
	const char *name = function->fields[i].name;
	return *name != '\0' ? name : arena_format(arena, "argument%zu", i);
}

/* The function that calls the block. */
static void emit_call(struct text *out, struct arena *arena, const struct model_block *block)
{
	const struct type *function = block->function;
	const char **params = NULL, **arguments = NULL;
	size_t n_params = 0, n_arguments = 0;
	ARENA_APPEND(arena, params, n_params, (const char *)"void *context");
	for (size_t i = 1; i < function->n_fields; i++) {
		const char *name = argument_name(arena, function, i);
		ARENA_APPEND(arena, params, n_params,
			     type_declare(arena, function->fields[i].type, name));
		ARENA_APPEND(arena, arguments, n_arguments, name);
	}
	text_add_list(out, &(struct text_list){
				   .lead = result_lead(arena, "static inline ",
						       type_spelling(arena, function->inner)),
				   .head = arena_format(arena, "%s_Block(", block->form.full),
				   .items = params,
				   .n_items = n_params,
				   .tail = ")\n{\n",
			   });
	bool gives = function->inner->kind != TYPE_VOID;
	text_add_list(out, &(struct text_list){
				   .head = arena_format(arena, "\t%s((%s)context)(",
							gives ? "return " : "", block->type),
				   .items = arguments,
				   .n_items = n_arguments,
				   .tail = ");\n",
			   });
	if (block->life == BLOCK_ONCE)
		text_add(out, "\t_Block_release(context);\n");
	text_add(out, "}\n\n");
	if (block->life == BLOCK_UNTIL_ENDED)
		EMIT(out,
		     "static inline void $full$_BlockEnded(void *context)\n"
		     "{\n"
		     "\t_Block_release(context);\n"
		     "}\n\n",
		     { "full", block->form.full });
}

/* "X_f(self, a, context, function, ended)" behind `head`. */
static void emit_inner_call(struct text *out, struct arena *arena,
			    const struct model_method *method, const char *head,
			    const char *context)
{
	const struct model_block *block = method->block;
	const char **items = NULL;
	size_t n_items = 0;
	if (model_has_self(method))
		ARENA_APPEND(arena, items, n_items, (const char *)"self");
	for (size_t i = 0; i < block->context; i++)
		ARENA_APPEND(arena, items, n_items, method->params[i].name);
	ARENA_APPEND(arena, items, n_items,
		     (const char *)arena_format(arena, "%s%s",
						block->life == BLOCK_DURING ? "(void *)" : "",
						context));
	ARENA_APPEND(arena, items, n_items,
		     (const char *)arena_format(arena, "%s != NULL ? %s_Block : NULL", context,
						block->form.full));
	if (block->life == BLOCK_UNTIL_ENDED)
		ARENA_APPEND(arena, items, n_items,
			     (const char *)arena_format(arena, "%s != NULL ? %s_BlockEnded : NULL",
							context, block->form.full));
	text_add_list(out, &(struct text_list){
				   .lead = head,
				   .head = arena_format(arena, "%s(", method->full),
				   .items = items,
				   .n_items = n_items,
				   .tail = ");\n",
			   });
}

static void emit_body(struct text *out, struct arena *arena, const struct model_method *method)
{
	const struct model_block *block = method->block;
	const char *given = block->form.params[block->context].name;
	if (block->life == BLOCK_DURING) {
		bool gives = method->result_type->kind != TYPE_VOID;
		emit_inner_call(out, arena, method, gives ? "\treturn " : "\t", given);
		return;
	}
	const char *copy = arena_format(arena, "%s_copy", given);
	EMIT(out,
	     "\tvoid *$copy$ = $given$ != NULL ? _Block_copy((const void *)$given$) : NULL;\n"
	     "\tif ($given$ != NULL && $copy$ == NULL)\n"
	     "\t\treturn kIOReturnNoMemory;\n",
	     { "copy", copy }, { "given", given });
	emit_inner_call(
		out, arena, method,
		arena_format(arena, "\t%s ret = ", type_spelling(arena, method->result_type)),
		copy);
	EMIT(out,
	     "\tif (ret != kIOReturnSuccess && $copy$ != NULL)\n"
	     "\t\t_Block_release($copy$);\n"
	     "\treturn ret;\n",
	     { "copy", copy });
}

void emit_block(struct text *out, struct arena *arena, const char *self,
		const struct model_method *method)
{
	const struct model_method *form = &method->block->form;
	const struct signature signature = {
		.prefix = arena_format(arena, "%sstatic inline ", api_prefix(arena, form)),
		.cls = model_has_self(method) ? self : NULL,
		.name = form->full,
		.method = form,
		.tail = "\n{\n",
	};
	text_add(out, "#ifdef __BLOCKS__\n");
	emit_call(out, arena, method->block);
	text_add_comment(out, "", form->doc);
	emit_api_inline_begin(out, arena, &signature);
	emit_signature(out, arena, &signature);
	emit_body(out, arena, method);
	text_add(out, "}\n");
	emit_api_inline_end(out, form);
	text_add(out, "#endif\n\n");
}

void emit_block_includes(struct text *out, const struct model *model)
{
	for (size_t c = 0; c < model->n_classes; c++) {
		const struct model_class *cls = model->classes[c];
		for (size_t m = 0; m < cls->n_methods; m++) {
			const struct model_block *block = cls->methods[m].block;
			if (block == NULL || block->life == BLOCK_DURING)
				continue;
			text_add(out, "#ifdef __BLOCKS__\n#include <Block.h>\n#endif\n");
			return;
		}
	}
}
