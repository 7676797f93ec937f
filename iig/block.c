/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/block.h>

#include <string.h>

/* Is it "void *", as a context is? */
static bool is_context(const struct type *type)
{
	return type->kind == TYPE_POINTER && type->inner != NULL &&
	       type->inner->kind == TYPE_VOID && !type->inner->is_const;
}

/* The function that `type` points to, if it takes a context first. */
static const struct type *function_of(const struct type *type)
{
	if (type->kind != TYPE_POINTER || type->name == NULL || type->inner == NULL ||
	    type->inner->kind != TYPE_FUNCTION || type->inner->n_fields == 0)
		return NULL;
	return is_context(type->inner->fields[0].type) ? type->inner : NULL;
}

/* Does it tell that a context is not needed any more: void (*)(void *context)? */
static bool is_end(const struct type *type)
{
	const struct type *function = function_of(type);
	return function != NULL && function->n_fields == 1 && function->inner->kind == TYPE_VOID;
}

bool block_function(const struct method *method, size_t *function)
{
	size_t size = strlen(method->name);
	if (size < 3 || strcmp(method->name + size - 2, "_f") != 0)
		return false;
	for (size_t i = 1; i < method->n_params; i++) {
		if (!is_context(method->params[i - 1].type) ||
		    function_of(method->params[i].type) == NULL)
			continue;
		*function = i;
		return i + 1 == method->n_params ||
		       (i + 2 == method->n_params && is_end(method->params[i + 1].type));
	}
	return false;
}

/* How long the block is kept; false: nobody could tell. */
static bool find_life(const struct method *method, size_t function, enum block_life *life)
{
	const struct param *param = &method->params[function];
	if (param->is_noescape || function_of(param->type)->inner->kind != TYPE_VOID)
		*life = BLOCK_DURING;
	else if (!method->result->is_status)
		return false;
	else
		*life = function + 1 < method->n_params ? BLOCK_UNTIL_ENDED : BLOCK_ONCE;
	return true;
}

static bool is_taken(const struct class *cls, const char *name)
{
	for (; cls != NULL; cls = cls->super)
		if (class_method(cls, name) != NULL)
			return true;
	return false;
}

static const char *declare_block(struct arena *arena, const struct type *function, const char *name)
{
	const char *params = "";
	for (size_t i = 1; i < function->n_fields; i++)
		params = arena_format(
			arena, "%s%s%s", params, i == 1 ? "" : ", ",
			type_declare(arena, function->fields[i].type, function->fields[i].name));
	return arena_format(arena, "%s (^%s)(%s)", type_spelling(arena, function->inner), name,
			    *params == '\0' ? "void" : params);
}

/* The comment of X, which leaves the rest to that of X_f. */
static const char *doc_of(struct arena *arena, const struct model_method *method,
			  enum block_life life)
{
	static const char *const kept[] = {
		[BLOCK_DURING] = "It is called before this returns only, and not copied.",
		[BLOCK_ONCE] = "It is copied, and released when it has run.",
		[BLOCK_UNTIL_ENDED] = "It is copied, and released when it will not run any more.",
	};
	return arena_format(arena, "/*! %s::%s() with a block.\n *  %s */", method->cls,
			    method->name, kept[life]);
}

const struct model_block *block_form(struct arena *arena, const struct model_method *method)
{
	const struct method *source = method->source;
	size_t function;
	enum block_life life;
	if (method->kind == METHOD_OVERRIDE || !block_function(source, &function) ||
	    !find_life(source, function, &life))
		return NULL;
	const char *name = arena_copy(arena, method->name, strlen(method->name) - 2);
	if (is_taken(source->cls, name))
		return NULL;

	struct model_block *block = arena_alloc(arena, sizeof(*block));
	*block = (struct model_block){
		.life = life,
		.context = function - 1,
		.function = function_of(source->params[function].type),
		.form = *method,
	};
	block->type = declare_block(arena, block->function, "");
	block->form.name = name;
	block->form.full = arena_format(arena, "%s_%s", method->cls, name);
	block->form.doc = doc_of(arena, method, life);
	struct model_param *params = NULL, param = method->params[function];
	block->form.n_params = 0;
	for (size_t i = 0; i < block->context; i++)
		ARENA_APPEND(arena, params, block->form.n_params, method->params[i]);
	param.declared = declare_block(arena, block->function, param.name);
	ARENA_APPEND(arena, params, block->form.n_params, param);
	block->form.params = params;
	return block;
}
