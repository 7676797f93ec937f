/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/source.h>

#include <inttypes.h>

/*
 * Encode and decode of structures: one statement for each integer in them, with a loop for each
 * array. Nothing is copied as a whole, so what lies between the fields of the C structure neither
 * leaves the process nor enters it.
 */

/* What is done with one number that is reached. */
typedef void (*leaf_fn)(struct source *s, const struct type *type, const char *value);

static void indent(struct source *s)
{
	for (unsigned i = 0; i <= s->depth; i++)
		text_add(s->out, "\t");
}

static void walk(struct source *s, const struct type *type, const char *value, leaf_fn leaf);

/* The outermost loop may be that of an array parameter, whose variable is `i`. */
static void walk_array(struct source *s, const struct type *type, const char *value, leaf_fn leaf)
{
	const char *index = arena_format(s->arena, "k%u", s->depth);
	indent(s);
	EMIT(s->out, "for (uint64_t $index$ = 0; $index$ < $count$; $index$++) {\n",
	     { "index", index }, { "count", source_number(s, type->count) });
	s->depth++;
	walk(s, type->inner, arena_format(s->arena, "%s[%s]", value, index), leaf);
	s->depth--;
	indent(s);
	text_add(s->out, "}\n");
}

static void walk(struct source *s, const struct type *type, const char *value, leaf_fn leaf)
{
	if (type->kind == TYPE_ARRAY) {
		walk_array(s, type, value, leaf);
		return;
	}
	if (type->kind != TYPE_RECORD) {
		indent(s);
		leaf(s, type, value);
		return;
	}
	for (size_t i = 0; i < type->n_fields; i++)
		walk(s, type->fields[i].type,
		     arena_format(s->arena, "%s.%s", value, type->fields[i].name), leaf);
}

static void put_leaf(struct source *s, const struct type *type, const char *value)
{
	EMIT(s->out, "wire_put_packed(w, $value$, $size$);\n",
	     { "value", source_wire_value(s, type, value) },
	     { "size", source_number(s, type->bits / 8) });
}

static void get_leaf(struct source *s, const struct type *type, const char *value)
{
	const char *max =
		type->kind == TYPE_BOOL ? "1" : arena_format(s->arena, "UINT%u_MAX", type->bits);
	const char *get = arena_format(s->arena, "get_packed(r, %u, %s)", type->bits / 8, max);
	s->helpers |= HELPER_GET_PACKED;
	EMIT(s->out, "$value$ = $get$;\n", { "value", value },
	     { "get", source_number_of(s, type, get) });
}

void emit_record_put(struct source *s, const struct type *type, const char *value)
{
	walk(s, type, value, put_leaf);
}

void emit_record_get(struct source *s, const struct type *type, const char *value)
{
	walk(s, type, value, get_leaf);
}
