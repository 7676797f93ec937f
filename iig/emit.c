/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/emit.h>

#include <string.h>

static const char *result_prefix(struct arena *arena, const struct signature *s)
{
	const char *result = s->method->result;
	bool pointer = result[strlen(result) - 1] == '*';
	return arena_format(arena, "%s%s%s%s(", s->prefix, result, pointer ? "" : " ", s->name);
}

void emit_signature(struct text *out, struct arena *arena, const struct signature *s)
{
	const struct model_method *method = s->method;
	const char **items = NULL;
	size_t n_items = 0;
	if (s->cls != NULL)
		ARENA_APPEND(arena, items, n_items,
			     (const char *)arena_format(arena, "%s%s *self",
							method->is_const ? "const " : "", s->cls));
	for (size_t i = 0; i < method->n_params; i++)
		ARENA_APPEND(arena, items, n_items, method->params[i].declared);
	if (n_items == 0)
		ARENA_APPEND(arena, items, n_items, "void");
	text_add_list(out, &(struct text_list){
				   .head = result_prefix(arena, s),
				   .items = items,
				   .n_items = n_items,
				   .tail = arena_format(arena, ")%s", s->tail),
			   });
}

void emit_arguments(struct text *out, struct arena *arena, const struct text_list *call,
		    const struct model_method *method)
{
	const char **items = NULL;
	size_t n_items = 0;
	for (size_t i = 0; i < call->n_items; i++)
		ARENA_APPEND(arena, items, n_items, call->items[i]);
	for (size_t i = 0; i < method->n_params; i++)
		ARENA_APPEND(arena, items, n_items, method->params[i].name);
	text_add_list(out, &(struct text_list){call->head, items, n_items, call->tail});
}

const char *upcast(struct arena *arena, const char *cls, const char *to, bool is_const)
{
	if (strcmp(cls, to) == 0)
		return "self";
	if (is_const)
		return arena_format(arena, "(const %s *)self", to);
	return arena_format(arena, "%s_as_%s(self)", cls, to);
}
