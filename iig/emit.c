/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/emit.h>

#include <string.h>

const char *result_lead(struct arena *arena, const char *prefix, const char *result)
{
	bool pointer = result[strlen(result) - 1] == '*';
	return arena_format(arena, "%s%s%s", prefix, result, pointer ? "" : " ");
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
				   .lead = result_lead(arena, s->prefix, method->result),
				   .head = arena_format(arena, "%s(", s->name),
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
	text_add_list(out, &(struct text_list){
				   .lead = call->lead,
				   .head = call->head,
				   .items = items,
				   .n_items = n_items,
				   .tail = call->tail,
			   });
}

const char *upcast(struct arena *arena, const char *cls, const char *to, bool is_const)
{
	if (strcmp(cls, to) == 0)
		return "self";
	if (is_const)
		return arena_format(arena, "(const %s *)self", to);
	return arena_format(arena, "%s_as_%s(self)", cls, to);
}

void emit_create_action_signature(struct text *out, struct arena *arena, const char *prefix,
				  const char *cls, const char *method, const char *tail)
{
	const char *const items[] = {
		arena_format(arena, "%s *self", cls),
		"size_t referenceSize",
		"OSAction **action",
	};
	text_add_list(out, &(struct text_list){
				   .lead = arena_format(arena, "%skern_return_t ", prefix),
				   .head = arena_format(arena, "%s_CreateAction%s(", cls, method),
				   .items = items,
				   .n_items = 3,
				   .tail = tail,
			   });
}
