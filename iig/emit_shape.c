/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/source.h>

#include <inttypes.h>
#include <string.h>

/*
 * The shape of a method, with its encode and decode. What a decoder took before it met an
 * error is given back by the reader, which remembers it (wire/codec.h).
 */

/* ---- encode and decode ---- */

static unsigned count_params(const struct model_method *method, bool out)
{
	unsigned count = 0;
	for (size_t i = 0; i < method->n_params; i++)
		count += param_is_out(&method->params[i]) == out;
	return count;
}

/* The unsigned type by which a signed one travels. */
static const char *wire_type(struct source *s, const struct type *type)
{
	return arena_format(s->arena, "uint%u_t", type->bits);
}

const char *source_wire_value(struct source *s, const struct type *type, const char *value)
{
	if (type->kind != TYPE_BOOL && type->is_signed)
		return arena_format(s->arena, "(%s)%s", wire_type(s, type), value);
	return value;
}

const char *source_number_of(struct source *s, const struct type *type, const char *get)
{
	if (type->kind == TYPE_BOOL)
		return arena_format(s->arena, "%s != 0", get);
	struct type plain = *type;
	plain.is_const = false;
	const char *name = type_spelling(s->arena, &plain);
	if (strchr(name, '(') != NULL) // an enumeration without a name
		name = wire_type(s, type);
	if (!type->is_signed && type->bits == 64)
		return get;
	return arena_format(s->arena, "(%s)%s", name, get);
}

static const char *integer_from_wire(struct source *s, const struct type *type)
{
	s->helpers |= HELPER_GET_INTEGER;
	if (type->kind == TYPE_BOOL)
		return source_number_of(s, type, "get_integer(r, 1)");
	return source_number_of(s, type,
				arena_format(s->arena, "get_integer(r, UINT%u_MAX)", type->bits));
}

/* The statement that puts one element. */
static void put_element(struct source *s, const struct model_param *param, const char *value)
{
	if (param->carry == CARRY_FD_ARRAY)
		EMIT(s->out, "\t\t\twire_put_fd(w, $value$);\n", { "value", value });
	else if (param->carry == CARRY_OBJECT_ARRAY)
		EMIT(s->out, "\t\t\twire_put_object(w, (const OSObject *)$value$);\n",
		     { "value", value });
	else
		EMIT(s->out, "\t\t\twire_put_u64(w, $value$);\n",
		     { "value", source_wire_value(s, param->type, value) });
}

static void put_array(struct source *s, const struct model_param *param)
{
	bool records = param->type->kind == TYPE_RECORD;
	EMIT(s->out,
	     "\tif (wire_put_count(w, m->$name$Count, $room$) == 0)\n"
	     "\t\tfor (uint32_t i = 0; i < m->$name$Count; i++)$brace$\n",
	     { "name", param->name }, { "room", source_number(s, param->room) },
	     { "brace", records ? " {" : "" });
	const char *value = arena_format(s->arena, "m->%s[i]", param->name);
	if (!records) {
		put_element(s, param, value);
		return;
	}
	s->depth = 2;
	emit_record_put(s, param->type, value);
	s->depth = 0;
	text_add(s->out, "\t\t}\n\twire_put_end(w);\n");
}

static void put_param(struct source *s, const struct model_param *param)
{
	const struct text_field fields[] = { { "name", param->name }, { NULL, NULL } };
	switch (param->carry) {
	case CARRY_INTEGER:
	case CARRY_INTEGER_OUT:
		EMIT(s->out, "\twire_put_u64(w, $value$);\n",
		     { "value", source_wire_value(s, param->type,
						  arena_format(s->arena, "m->%s", param->name)) });
		return;
	case CARRY_STRUCT:
	case CARRY_STRUCT_IN:
	case CARRY_STRUCT_OUT:
		emit_record_put(s, param->type, arena_format(s->arena, "m->%s", param->name));
		text_add(s->out, "\twire_put_end(w);\n");
		return;
	case CARRY_OBJECT:
	case CARRY_OBJECT_OUT:
		text_emit(s->out, "\twire_put_object(w, (const OSObject *)m->$name$);\n", fields);
		return;
	case CARRY_NAME:
		text_emit(s->out, "\twire_put_string(w, m->$name$, sizeof(m->$name$));\n", fields);
		return;
	case CARRY_FD:
	case CARRY_FD_OUT:
		text_emit(s->out, "\twire_put_fd(w, m->$name$);\n", fields);
		return;
	case CARRY_ARRAY:
	case CARRY_ARRAY_OUT:
	case CARRY_OBJECT_ARRAY:
	case CARRY_FD_ARRAY:
		put_array(s, param);
		return;
	case CARRY_COUNT_OUT: // the room; the number travels before its array
		EMIT(s->out, "\twire_put_count(w, m->$name$, $room$);\n", { "name", param->name },
		     { "room", source_number(s, param[-1].room) });
		return;
	case CARRY_COUNT: // travels before its array
	case CARRY_AS_IS:
	case N_CARRIES:
		return;
	}
}

static void use_class(struct source *s, const char *cls)
{
	const struct class *known = unit_class(s->model->unit, cls);
	if (known->is_complete)
		return;
	for (size_t i = 0; i < s->n_extern_classes; i++)
		if (strcmp(s->extern_classes[i], cls) == 0)
			return;
	ARENA_APPEND(s->arena, s->extern_classes, s->n_extern_classes, cls);
}

static const char *object_from_wire(struct source *s, const char *cls)
{
	s->helpers |= HELPER_GET_OBJECT;
	use_class(s, cls);
	return arena_format(s->arena, "(%s *)get_object(r, &g%sMetaClass)", cls, cls);
}

/* An element that is read, and one that is not there. */
static const char *element_from_wire(struct source *s, const struct model_param *param,
				     const char **none)
{
	*none = "0";
	if (param->carry == CARRY_FD_ARRAY) {
		s->helpers |= HELPER_GET_FD;
		*none = "-1";
		return "get_fd(r)";
	}
	if (param->carry == CARRY_OBJECT_ARRAY) {
		*none = "NULL";
		return object_from_wire(s, param->type->inner->cls->name);
	}
	if (param->type->kind == TYPE_BOOL)
		*none = "false";
	return integer_from_wire(s, param->type);
}

static void get_array(struct source *s, const struct model_param *param)
{
	const char *room = source_number(s, param->room);
	s->helpers |= HELPER_GET_COUNT;
	EMIT(s->out, "\tm->$name$Count = get_count(r, $room$);\n", { "name", param->name },
	     { "room", room });
	if (param->type->kind == TYPE_RECORD) {
		EMIT(s->out,
		     "\tmemset(m->$name$, 0, sizeof(m->$name$));\n"
		     "\tfor (uint32_t i = 0; i < m->$name$Count; i++) {\n",
		     { "name", param->name });
		s->helpers |= HELPER_STRING_H;
		s->depth = 1;
		emit_record_get(s, param->type, arena_format(s->arena, "m->%s[i]", param->name));
		s->depth = 0;
		text_add(s->out, "\t}\n\twire_get_end(r);\n");
		return;
	}
	const char *none;
	const char *get = element_from_wire(s, param, &none);
	EMIT(s->out,
	     "\tfor (uint32_t i = 0; i < $room$; i++)\n"
	     "\t\tm->$name$[i] = i < m->$name$Count ? $get$ : $none$;\n",
	     { "name", param->name }, { "room", room }, { "get", get }, { "none", none });
}

static void get_param(struct source *s, const struct model_param *param)
{
	const struct text_field fields[] = { { "name", param->name }, { NULL, NULL } };
	switch (param->carry) {
	case CARRY_INTEGER:
	case CARRY_INTEGER_OUT:
		EMIT(s->out, "\tm->$name$ = $value$;\n", { "name", param->name },
		     { "value", integer_from_wire(s, param->type) });
		return;
	case CARRY_STRUCT:
	case CARRY_STRUCT_IN:
	case CARRY_STRUCT_OUT:
		emit_record_get(s, param->type, arena_format(s->arena, "m->%s", param->name));
		text_add(s->out, "\twire_get_end(r);\n");
		return;
	case CARRY_OBJECT:
	case CARRY_OBJECT_OUT:
		EMIT(s->out, "\tm->$name$ = $value$;\n", { "name", param->name },
		     { "value", object_from_wire(s, param->type->inner->cls->name) });
		return;
	case CARRY_NAME:
		text_emit(s->out, "\twire_get_string(r, m->$name$, sizeof(m->$name$));\n", fields);
		return;
	case CARRY_FD:
	case CARRY_FD_OUT:
		s->helpers |= HELPER_GET_FD;
		text_emit(s->out, "\tm->$name$ = get_fd(r);\n", fields);
		return;
	case CARRY_ARRAY:
	case CARRY_ARRAY_OUT:
	case CARRY_OBJECT_ARRAY:
	case CARRY_FD_ARRAY:
		get_array(s, param);
		return;
	case CARRY_COUNT_OUT:
		s->helpers |= HELPER_GET_COUNT;
		EMIT(s->out, "\tm->$name$ = get_count(r, $room$);\n", { "name", param->name },
		     { "room", source_number(s, param[-1].room) });
		return;
	case CARRY_COUNT:
	case CARRY_AS_IS:
	case N_CARRIES:
		return;
	}
}

static void emit_put(struct source *s, const struct model_method *method, bool out)
{
	EMIT(s->out,
	     "static int $full$_put_$what$(struct wire_writer *w, const void *msg)\n"
	     "{\n"
	     "\tconst struct $full$_Msg *m = msg;\n",
	     { "full", method->full }, { "what", out ? "reply" : "request" });
	for (size_t i = 0; i < method->n_params; i++)
		if (param_is_out(&method->params[i]) == out)
			put_param(s, &method->params[i]);
	text_add(s->out, "\treturn w->error;\n}\n\n");
}

static void emit_get(struct source *s, const struct model_method *method, bool out)
{
	EMIT(s->out,
	     "static int $full$_get_$what$(struct wire_reader *r, void *msg)\n"
	     "{\n"
	     "\tstruct $full$_Msg *m = msg;\n",
	     { "full", method->full }, { "what", out ? "reply" : "request" });
	for (size_t i = 0; i < method->n_params; i++) {
		if (param_is_out(&method->params[i]) != out)
			continue;
		get_param(s, &method->params[i]);
	}
	text_add(s->out, "\treturn r->error;\n}\n\n");
}

/* ---- shapes ---- */

static const char *shape_flags(const struct model_method *method)
{
	const struct model_method *as = model_message(method);
	if (as->kind == METHOD_CLASS)
		return "kOSMethodLocalOnly | kOSMethodClass";
	if (as->is_localonly)
		return "kOSMethodLocalOnly";
	if (as->kind == METHOD_PROTOTYPE)
		return "kOSMethodOneway | kOSMethodTarget";
	return as->is_oneway ? "kOSMethodOneway" : "0";
}

static size_t emit_objects(struct source *s, const struct model_method *method)
{
	const struct model_method *message = model_message(method);
	const char **items = NULL;
	size_t n_items = 0;
	for (size_t i = 0; i < message->n_params; i++) {
		const struct model_param *param = &message->params[i];
		bool array = param->carry == CARRY_OBJECT_ARRAY;
		for (uint64_t k = 0; array ? k < param->room : k < param->is_object; k++) {
			const char *at = array ? arena_format(s->arena, "[%" PRIu64 "]", k) : "";
			ARENA_APPEND(s->arena, items, n_items,
				     (const char *)arena_format(s->arena,
								"offsetof(struct %s_Msg, %s%s)",
								message->full, param->name, at));
		}
	}
	if (n_items > 0) {
		EMIT(s->out, "static const uint16_t $full$_objects[] = {\n",
		     { "full", method->full });
		for (size_t i = 0; i < n_items; i++)
			EMIT(s->out, "\t$item$,\n", { "item", items[i] });
		text_add(s->out, "};\n\n");
	}
	return n_items;
}

/* A callback's shape has no codec: what travels is the prototype's message, up to its action. */
static void emit_codec_fields(struct source *s, const struct model_method *method)
{
	static const char *const sides[] = { "request", "reply" };
	for (unsigned out = 0; out < 2; out++) {
		bool any = count_params(method, out) > 0;
		if (!any)
			s->helpers |= HELPER_PUT_NOTHING | HELPER_GET_NOTHING;
		const char *name = arena_format(s->arena, "%s_", method->full);
		EMIT(s->out, "\t.put_$side$ = $put$,\n\t.get_$side$ = $get$,\n",
		     { "side", sides[out] },
		     { "put",
		       any ? arena_format(s->arena, "%sput_%s", name, sides[out]) : "put_nothing" },
		     { "get", any ? arena_format(s->arena, "%sget_%s", name, sides[out])
				  : "get_nothing" });
	}
}

void emit_shape(struct source *s, const struct model_method *method)
{
	bool travels = !method->is_localonly && method->kind != METHOD_CALLBACK &&
		       method->kind != METHOD_CLASS;
	for (unsigned out = 0; travels && out < 2; out++) {
		if (count_params(method, out) == 0)
			continue;
		emit_put(s, method, out);
		emit_get(s, method, out);
	}
	size_t n_objects = emit_objects(s, method);
	EMIT(s->out,
	     "/* $canonical$ */\n"
	     "const struct OSMethodShape $full$_Shape = {\n"
	     "\t.id = $full$_ID,\n"
	     "\t.class_name = \"$cls$\",\n"
	     "\t.name = \"$name$\",\n"
	     "\t.flags = $flags$,\n"
	     "\t.msg_size = sizeof(struct $message$_Msg),\n",
	     { "canonical", method->canonical }, { "full", method->full }, { "cls", method->cls },
	     { "name", method->name }, { "flags", shape_flags(method) },
	     { "message", model_message(method)->full });
	if (n_objects > 0)
		EMIT(s->out, "\t.n_objects = $n$,\n\t.objects = $full$_objects,\n",
		     { "n", source_number(s, n_objects) }, { "full", method->full });
	if (model_message(method)->returns_status)
		EMIT(s->out, "\t.ret = offsetof(struct $message$_Msg, ret),\n",
		     { "message", model_message(method)->full });
	if (method->kind == METHOD_CALLBACK)
		EMIT(s->out, "\t.prototype = &$prototype$_Shape,\n",
		     { "prototype", method->prototype->full });
	if (travels) {
		s->helpers |= HELPER_CODEC_H;
		emit_codec_fields(s, method);
	}
	text_add(s->out, "};\n\n");
}
