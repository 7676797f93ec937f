/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/emit.h>

#include <inttypes.h>
#include <string.h>

/*
 * The source of an interface: shapes with encode and decode, stubs, thunks, class tables. Which
 * helper functions the file needs is known only when all of it was written, so the parts are
 * written apart and joined at the end.
 */

enum helper {
	HELPER_FILL_NAME = 1 << 0,
	HELPER_GET_INTEGER = 1 << 1,
	HELPER_GET_OBJECT = 1 << 2,
	HELPER_GET_FD = 1 << 3,
	HELPER_DROP_FD = 1 << 4,
	HELPER_PUT_NOTHING = 1 << 5,
	HELPER_GET_NOTHING = 1 << 6,
	HELPER_STRING_H = 1 << 7,
	HELPER_CODEC_H = 1 << 8,
};

struct source {
	struct text *out; // the part behind the helpers
	struct arena *arena;
	const struct model *model;
	unsigned helpers; // enum helper
	const char **extern_classes; // named by a decoder, declared nowhere
	size_t n_extern_classes;
};

static const struct {
	enum helper helper;
	const char *text;
} helper_texts[] = {
	{HELPER_FILL_NAME,
	 "/* Copy a name into its room, terminator included. */\n"
	 "static kern_return_t fill_name(char *field, const char *name, size_t room)\n"
	 "{\n"
	 "\tif (name == NULL)\n"
	 "\t\treturn kIOReturnBadArgument;\n"
	 "\tconst char *end = memchr(name, '\\0', room);\n"
	 "\tif (end == NULL)\n"
	 "\t\treturn kIOReturnOverrun;\n"
	 "\tmemcpy(field, name, (size_t)(end - name) + 1);\n"
	 "\treturn kIOReturnSuccess;\n"
	 "}\n\n"},
	{HELPER_GET_INTEGER,
	 "static uint64_t get_integer(struct wire_reader *r, uint64_t max)\n"
	 "{\n"
	 "\tuint64_t value = 0;\n"
	 "\treturn wire_get_u64(r, max, &value) == 0 ? value : 0;\n"
	 "}\n\n"},
	{HELPER_GET_OBJECT,
	 "static OSObject *get_object(struct wire_reader *r, const OSMetaClass *meta)\n"
	 "{\n"
	 "\tOSObject *object = NULL;\n"
	 "\treturn wire_get_object(r, meta, &object) == 0 ? object : NULL;\n"
	 "}\n\n"},
	{HELPER_GET_FD,
	 "static dext_fd_t get_fd(struct wire_reader *r)\n"
	 "{\n"
	 "\tint fd = -1;\n"
	 "\treturn wire_get_fd(r, &fd) == 0 ? fd : -1;\n"
	 "}\n\n"},
	{HELPER_DROP_FD,
	 "static void drop_fd(dext_fd_t *fd)\n"
	 "{\n"
	 "\tif (*fd >= 0)\n"
	 "\t\tclose(*fd);\n"
	 "\t*fd = -1;\n"
	 "}\n\n"},
	{HELPER_PUT_NOTHING,
	 "static int put_nothing(struct wire_writer *w, const void *msg)\n"
	 "{\n"
	 "\t(void)msg;\n"
	 "\treturn w->error;\n"
	 "}\n\n"},
	{HELPER_GET_NOTHING,
	 "static int get_nothing(struct wire_reader *r, void *msg)\n"
	 "{\n"
	 "\t(void)msg;\n"
	 "\treturn r->error;\n"
	 "}\n\n"},
};

static const char *number(struct source *s, uint64_t value)
{
	return arena_format(s->arena, "%" PRIu64, value);
}

/* ---- encode and decode ---- */

static bool is_out(const struct model_param *param)
{
	return param->carry == CARRY_INTEGER_OUT || param->carry == CARRY_OBJECT_OUT ||
	       param->carry == CARRY_FD_OUT;
}

static unsigned count_params(const struct model_method *method, bool out)
{
	unsigned count = 0;
	for (size_t i = 0; i < method->n_params; i++)
		count += is_out(&method->params[i]) == out;
	return count;
}

/* The unsigned type by which a signed one travels. */
static const char *wire_type(struct source *s, const struct type *type)
{
	return arena_format(s->arena, "uint%u_t", type->bits);
}

static void put_integer(struct source *s, const struct type *type, const char *value)
{
	if (type->kind != TYPE_BOOL && type->is_signed)
		value = arena_format(s->arena, "(%s)%s", wire_type(s, type), value);
	EMIT(s->out, "wire_put_u64(w, $value$);\n", {"value", value});
}

static const char *integer_from_wire(struct source *s, const struct type *type)
{
	s->helpers |= HELPER_GET_INTEGER;
	if (type->kind == TYPE_BOOL)
		return "get_integer(r, 1) != 0";
	struct type plain = *type;
	plain.is_const = false;
	const char *name = type_spelling(s->arena, &plain);
	const char *get = arena_format(s->arena, "get_integer(r, UINT%u_MAX)", type->bits);
	if (!type->is_signed && type->bits == 64)
		return get;
	return arena_format(s->arena, "(%s)%s", name, get);
}

static void put_array(struct source *s, const struct model_param *param)
{
	s->helpers |= HELPER_CODEC_H;
	EMIT(s->out,
	     "\tif (m->$name$Count > $room$)\n"
	     "\t\treturn w->error = -EOVERFLOW;\n"
	     "\twire_put_u64(w, m->$name$Count);\n"
	     "\tfor (uint32_t i = 0; i < m->$name$Count; i++)\n\t\t",
	     {"name", param->name}, {"room", number(s, param->room)});
	const char *value = arena_format(s->arena, "m->%s[i]", param->name);
	if (param->carry == CARRY_FD_ARRAY)
		EMIT(s->out, "wire_put_fd(w, $value$);\n", {"value", value});
	else
		put_integer(s, param->type, value);
}

static void put_param(struct source *s, const struct model_param *param)
{
	const struct text_field fields[] = {{"name", param->name}, {NULL, NULL}};
	switch (param->carry) {
	case CARRY_INTEGER:
	case CARRY_INTEGER_OUT:
		text_add(s->out, "\t");
		put_integer(s, param->type, arena_format(s->arena, "m->%s", param->name));
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
	case CARRY_FD_ARRAY:
		put_array(s, param);
		return;
	case CARRY_COUNT: // travels before its array
	case CARRY_AS_IS:
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

static void get_object(struct source *s, const struct model_param *param)
{
	s->helpers |= HELPER_GET_OBJECT;
	const char *cls = param->type->inner->cls->name;
	use_class(s, cls);
	EMIT(s->out, "\tm->$name$ = ($cls$ *)get_object(r, &g$cls$MetaClass);\n",
	     {"name", param->name}, {"cls", cls});
}

static void get_array(struct source *s, const struct model_param *param)
{
	bool fds = param->carry == CARRY_FD_ARRAY;
	s->helpers |= HELPER_GET_INTEGER | (fds ? HELPER_GET_FD : 0U);
	EMIT(s->out,
	     "\tm->$name$Count = (uint32_t)get_integer(r, $room$);\n"
	     "\tfor (uint32_t i = 0; i < $room$; i++)\n"
	     "\t\tm->$name$[i] = i < m->$name$Count ? $get$ : $none$;\n",
	     {"name", param->name}, {"room", number(s, param->room)},
	     {"get", fds ? "get_fd(r)" : integer_from_wire(s, param->type)},
	     {"none", fds ? "-1" : param->type->kind == TYPE_BOOL ? "false" : "0"});
}

static void get_param(struct source *s, const struct model_param *param)
{
	const struct text_field fields[] = {{"name", param->name}, {NULL, NULL}};
	switch (param->carry) {
	case CARRY_INTEGER:
	case CARRY_INTEGER_OUT:
		EMIT(s->out, "\tm->$name$ = $value$;\n", {"name", param->name},
		     {"value", integer_from_wire(s, param->type)});
		return;
	case CARRY_OBJECT:
	case CARRY_OBJECT_OUT:
		get_object(s, param);
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
	case CARRY_FD_ARRAY:
		get_array(s, param);
		return;
	case CARRY_COUNT:
	case CARRY_AS_IS:
		return;
	}
}

/* What a failed decode must give back. */
static void drop_param(struct source *s, const struct model_param *param)
{
	switch (param->carry) {
	case CARRY_OBJECT:
	case CARRY_OBJECT_OUT:
		EMIT(s->out, "\tOSSafeReleaseNULL(m->$name$);\n", {"name", param->name});
		return;
	case CARRY_FD:
	case CARRY_FD_OUT:
		s->helpers |= HELPER_DROP_FD;
		EMIT(s->out, "\tdrop_fd(&m->$name$);\n", {"name", param->name});
		return;
	case CARRY_FD_ARRAY:
		s->helpers |= HELPER_DROP_FD;
		EMIT(s->out,
		     "\tfor (uint32_t i = 0; i < $room$; i++)\n"
		     "\t\tdrop_fd(&m->$name$[i]);\n",
		     {"name", param->name}, {"room", number(s, param->room)});
		return;
	default:
		return;
	}
}

static bool owns(const struct model_param *param)
{
	return param->carry == CARRY_OBJECT || param->carry == CARRY_OBJECT_OUT ||
	       param->carry == CARRY_FD || param->carry == CARRY_FD_OUT ||
	       param->carry == CARRY_FD_ARRAY;
}

static void emit_put(struct source *s, const struct model_method *method, bool out)
{
	EMIT(s->out,
	     "static int $full$_put_$what$(struct wire_writer *w, const void *msg)\n"
	     "{\n"
	     "\tconst struct $full$_Msg *m = msg;\n",
	     {"full", method->full}, {"what", out ? "reply" : "request"});
	for (size_t i = 0; i < method->n_params; i++)
		if (is_out(&method->params[i]) == out)
			put_param(s, &method->params[i]);
	text_add(s->out, "\treturn w->error;\n}\n\n");
}

static void emit_get(struct source *s, const struct model_method *method, bool out)
{
	bool owning = false;
	EMIT(s->out,
	     "static int $full$_get_$what$(struct wire_reader *r, void *msg)\n"
	     "{\n"
	     "\tstruct $full$_Msg *m = msg;\n",
	     {"full", method->full}, {"what", out ? "reply" : "request"});
	for (size_t i = 0; i < method->n_params; i++) {
		if (is_out(&method->params[i]) != out)
			continue;
		get_param(s, &method->params[i]);
		owning |= owns(&method->params[i]);
	}
	if (owning) {
		text_add(s->out, "\tif (r->error == 0)\n\t\treturn 0;\n");
		for (size_t i = 0; i < method->n_params; i++)
			if (is_out(&method->params[i]) == out)
				drop_param(s, &method->params[i]);
	}
	text_add(s->out, "\treturn r->error;\n}\n\n");
}

/* ---- shapes ---- */

static const char *shape_flags(const struct model_method *method)
{
	const struct model_method *as = model_message(method);
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
	for (size_t i = 0; i < message->n_params; i++)
		if (message->params[i].is_object)
			ARENA_APPEND(s->arena, items, n_items,
				     (const char *)arena_format(s->arena, "offsetof(struct %s_Msg, %s)",
								message->full,
								message->params[i].name));
	if (n_items > 0) {
		EMIT(s->out, "static const uint16_t $full$_objects[] = {\n", {"full", method->full});
		for (size_t i = 0; i < n_items; i++)
			EMIT(s->out, "\t$item$,\n", {"item", items[i]});
		text_add(s->out, "};\n\n");
	}
	return n_items;
}

/* A callback's shape has no codec: what travels is the prototype's message, up to its action. */
static void emit_codec_fields(struct source *s, const struct model_method *method)
{
	static const char *const sides[] = {"request", "reply"};
	for (unsigned out = 0; out < 2; out++) {
		bool any = count_params(method, out) > 0;
		if (!any)
			s->helpers |= HELPER_PUT_NOTHING | HELPER_GET_NOTHING;
		const char *name = arena_format(s->arena, "%s_", method->full);
		EMIT(s->out, "\t.put_$side$ = $put$,\n\t.get_$side$ = $get$,\n", {"side", sides[out]},
		     {"put", any ? arena_format(s->arena, "%sput_%s", name, sides[out]) : "put_nothing"},
		     {"get", any ? arena_format(s->arena, "%sget_%s", name, sides[out]) : "get_nothing"});
	}
}

static void emit_shape(struct source *s, const struct model_method *method)
{
	bool travels = !method->is_localonly && method->kind != METHOD_CALLBACK;
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
	     {"canonical", method->canonical}, {"full", method->full}, {"cls", method->cls},
	     {"name", method->name}, {"flags", shape_flags(method)},
	     {"message", model_message(method)->full});
	if (n_objects > 0)
		EMIT(s->out, "\t.n_objects = $n$,\n\t.objects = $full$_objects,\n",
		     {"n", number(s, n_objects)}, {"full", method->full});
	if (travels) {
		s->helpers |= HELPER_CODEC_H;
		emit_codec_fields(s, method);
	}
	text_add(s->out, "};\n\n");
}

/* ---- stubs ---- */

enum stub {
	STUB_INVOKE, // through the object
	STUB_SUPER,  // the super class's implementation
	STUB_ACTION, // through the action
};

/* The statement that gives up with `status`. */
static const char *give_up(struct source *s, const struct model_method *method, const char *status)
{
	if (method->returns_status)
		return arena_format(s->arena, "return %s;", status);
	switch (method->result_type->kind) {
	case TYPE_VOID:
		return "return;";
	case TYPE_BOOL:
		return "return false;";
	case TYPE_POINTER:
		return "return NULL;";
	case TYPE_RECORD:
		return arena_format(s->arena, "return (%s){0};", method->result);
	default:
		return "return 0;";
	}
}

static void emit_stub_checks(struct source *s, const struct model_method *method, enum stub stub)
{
	EMIT(s->out, "\tif ($object$ == NULL)\n\t\t$fail$\n",
	     {"object", stub == STUB_ACTION ? method->params[0].name : "self"},
	     {"fail", give_up(s, method, "kIOReturnBadArgument")});
	for (size_t i = 0; i < method->n_params; i++) {
		const struct model_param *param = &method->params[i];
		if (param->carry != CARRY_ARRAY && param->carry != CARRY_FD_ARRAY)
			continue;
		EMIT(s->out,
		     "\tif ($name$Count > $room$)\n\t\t$overrun$\n"
		     "\tif ($name$ == NULL && $name$Count > 0)\n\t\t$missing$\n",
		     {"name", param->name}, {"room", number(s, param->room)},
		     {"overrun", give_up(s, method, "kIOReturnOverrun")},
		     {"missing", give_up(s, method, "kIOReturnBadArgument")});
	}
}

static bool by_value(const struct model_param *param)
{
	return param->carry == CARRY_AS_IS || param->carry == CARRY_INTEGER ||
	       param->carry == CARRY_OBJECT || param->carry == CARRY_COUNT || param->carry == CARRY_FD;
}

/* Outputs that need another start than zero. */
static const char *initializer(struct source *s, const struct model_param *param)
{
	if (param->carry == CARRY_FD_OUT)
		return arena_format(s->arena, ".%s = -1", param->name);
	return by_value(param) ? arena_format(s->arena, ".%s = %s", param->name, param->name) : NULL;
}

static void emit_stub_message(struct source *s, const struct model_method *method)
{
	const struct model_method *message = model_message(method);
	const char **items = NULL;
	size_t n_items = 0;
	for (size_t i = 0; i < method->n_params; i++) {
		struct model_param param = method->params[i];
		const char *item = initializer(s, &param);
		if (item == NULL)
			continue;
		/* The message's names are the first declaration's. */
		param.name = message->params[i].name;
		if (by_value(&param))
			item = arena_format(s->arena, ".%s = %s", param.name, method->params[i].name);
		ARENA_APPEND(s->arena, items, n_items, item);
	}
	EMIT(s->out, "\tstruct $message$_Msg msg = {", {"message", message->full});
	if (n_items <= 1)
		EMIT(s->out, "$item$};\n", {"item", n_items == 0 ? "0" : items[0]});
	else {
		text_add(s->out, "\n");
		for (size_t i = 0; i < n_items; i++)
			EMIT(s->out, "\t\t$item$,\n", {"item", items[i]});
		text_add(s->out, "\t};\n");
	}
}

static void emit_stub_copies(struct source *s, const struct model_method *method)
{
	const struct model_method *message = model_message(method);
	for (size_t i = 0; i < method->n_params; i++) {
		const struct model_param *param = &method->params[i];
		const char *field = message->params[i].name;
		if (param->carry == CARRY_NAME) {
			s->helpers |= HELPER_FILL_NAME | HELPER_STRING_H;
			EMIT(s->out,
			     "\tret = fill_name(msg.$field$, $name$, sizeof(msg.$field$));\n"
			     "\tif (ret != kIOReturnSuccess)\n\t\t$fail$\n",
			     {"field", field}, {"name", param->name},
			     {"fail", give_up(s, method, "ret")});
		} else if (param->carry == CARRY_ARRAY || param->carry == CARRY_FD_ARRAY) {
			s->helpers |= HELPER_STRING_H;
			EMIT(s->out,
			     "\tif ($name$Count > 0)\n"
			     "\t\tmemcpy(msg.$field$, $name$, $name$Count * sizeof(msg.$field$[0]));\n",
			     {"field", field}, {"name", param->name});
		}
	}
}

static void emit_stub_outputs(struct source *s, const struct model_method *method)
{
	const struct model_method *message = model_message(method);
	for (size_t i = 0; i < method->n_params; i++) {
		const struct model_param *param = &method->params[i];
		const char *field = message->params[i].name;
		if (param->carry == CARRY_INTEGER_OUT)
			EMIT(s->out, "\tif ($name$ != NULL)\n\t\t*$name$ = msg.$field$;\n",
			     {"name", param->name}, {"field", field});
		else if (param->carry == CARRY_OBJECT_OUT)
			EMIT(s->out,
			     "\tif (msg.ret == kIOReturnSuccess && $name$ != NULL)\n"
			     "\t\t*$name$ = msg.$field$;\n"
			     "\telse if (msg.ret == kIOReturnSuccess)\n"
			     "\t\tOSObjectRelease(msg.$field$);\n",
			     {"name", param->name}, {"field", field});
		else if (param->carry == CARRY_FD_OUT) {
			s->helpers |= HELPER_DROP_FD;
			EMIT(s->out,
			     "\tif (msg.ret == kIOReturnSuccess && $name$ != NULL)\n"
			     "\t\t*$name$ = msg.$field$;\n"
			     "\telse\n"
			     "\t\tdrop_fd(&msg.$field$);\n",
			     {"name", param->name}, {"field", field});
		}
	}
}

static bool has_names(const struct model_method *method)
{
	for (size_t i = 0; i < method->n_params; i++)
		if (method->params[i].carry == CARRY_NAME)
			return true;
	return false;
}

/* The expression that makes the call. */
static const char *invocation(struct source *s, const struct model_class *cls,
			      const struct model_method *method, enum stub stub)
{
	const char *shape = model_shape(method)->full;
	const char *self = cls->is_root ? "self"
					: arena_format(s->arena, "%s_as_" ROOT_CLASS "(self)", cls->name);
	if (method->is_const) // the object itself may change: its class decides
		self = "(" ROOT_CLASS " *)(uintptr_t)self";
	switch (stub) {
	case STUB_INVOKE:
		return arena_format(s->arena, "OSObjectInvoke(%s, &%s_Shape, &msg)", self, shape);
	case STUB_SUPER:
		return arena_format(s->arena, "OSObjectInvokeSuper(&g%sMetaClass, %s, &%s_Shape, &msg)",
				    cls->super, self, shape);
	case STUB_ACTION:
		break;
	}
	return arena_format(s->arena, "OSActionInvoke(%s, &%s_Shape, &msg)", method->params[0].name,
			    shape);
}

static void emit_stub_call(struct source *s, const struct model_class *cls,
			   const struct model_method *method, enum stub stub)
{
	const char *call = invocation(s, cls, method, stub);
	if (method->result_type->kind == TYPE_VOID) {
		EMIT(s->out, "\t$call$;\n", {"call", call});
		return;
	}
	EMIT(s->out, "\t$declare$ret = $call$;\n\tif (ret != kIOReturnSuccess)\n\t\t$fail$\n",
	     {"declare", has_names(method) ? "" : "kern_return_t "}, {"call", call},
	     {"fail", give_up(s, method, "ret")});
	emit_stub_outputs(s, method);
	text_add(s->out, "\treturn msg.ret;\n");
}

static void emit_stub(struct source *s, const struct model_class *cls,
		      const struct model_method *method, enum stub stub)
{
	emit_signature(s->out, s->arena,
		       &(struct signature){
			       .prefix = "",
			       .cls = cls->name,
			       .name = stub == STUB_SUPER
					       ? arena_format(s->arena, "%s_super_%s", cls->name,
							      method->name)
					       : method->full,
			       .method = method,
			       .tail = "\n{\n",
		       });
	if (stub == STUB_ACTION)
		text_add(s->out, "\t(void)self;\n");
	emit_stub_checks(s, method, stub);
	emit_stub_message(s, method);
	if (has_names(method))
		text_add(s->out, "\tkern_return_t ret;\n");
	emit_stub_copies(s, method);
	emit_stub_call(s, cls, method, stub);
	text_add(s->out, "}\n\n");
}

static void emit_create_action(struct source *s, const struct model_class *cls,
			       const struct model_method *method)
{
	const char *const params[] = {
		arena_format(s->arena, "%s *self", cls->name),
		"size_t referenceSize",
		"OSAction **action",
	};
	text_add_list(s->out, &(struct text_list){
				      .head = arena_format(s->arena, "kern_return_t %s_CreateAction%s(",
							   cls->name, method->name),
				      .items = params,
				      .n_items = 3,
				      .tail = ")\n{\n",
			      });
	const char *const arguments[] = {
		upcast(s->arena, cls->name, ROOT_CLASS, false),
		arena_format(s->arena, "%s_ID", method->full),
		arena_format(s->arena, "%s_ID", method->prototype->full),
		"referenceSize",
		"action",
	};
	text_add_list(s->out, &(struct text_list){
				      .head = "\treturn OSAction_Create(",
				      .items = arguments,
				      .n_items = 5,
				      .tail = ");\n}\n\n",
			      });
}

/* ---- class tables ---- */

static const char *thunk_argument(struct source *s, const struct model_param *param)
{
	return arena_format(s->arena, "%sm->%s", is_out(param) ? "&" : "", param->name);
}

static void emit_thunk(struct source *s, const struct model_class *cls,
		       const struct model_method *method)
{
	const struct model_method *message = model_message(method);
	bool empty = method->n_params == 0 && method->result_type->kind == TYPE_VOID;
	const char **items = NULL;
	size_t n_items = 0;
	ARENA_APPEND(s->arena, items, n_items,
		     (const char *)(cls->is_root ? "self"
						 : arena_format(s->arena, "(%s *)self", cls->name)));
	for (size_t i = 0; i < message->n_params; i++)
		ARENA_APPEND(s->arena, items, n_items, thunk_argument(s, &message->params[i]));

	EMIT(s->out, "static void $full$_Invoke(OSObject *self, void *msg)\n{\n",
	     {"full", method->full});
	if (empty)
		text_add(s->out, "\t(void)msg;\n");
	else
		EMIT(s->out, "\tstruct $message$_Msg *m = msg;\n", {"message", message->full});
	const char *assign = method->result_type->kind == TYPE_VOID ? "" : "m->ret = ";
	text_add_list(s->out, &(struct text_list){
				      .head = arena_format(s->arena, "\t%s%s_Impl(", assign, method->full),
				      .items = items,
				      .n_items = n_items,
				      .tail = ");\n}\n\n",
			      });
}

/* 0: the default queue. */
static size_t queue_index(const struct model_class *cls, const struct model_method *method)
{
	for (size_t i = 0; method->queue != NULL && i < cls->n_queues; i++)
		if (strcmp(cls->queues[i], method->queue) == 0)
			return i + 1;
	return 0;
}

static void emit_rows(struct source *s, const struct model_class *cls)
{
	if (cls->n_rows == 0)
		return;
	EMIT(s->out, "static const struct OSMethod $cls$_methods[] = {\n", {"cls", cls->name});
	for (size_t i = 0; i < cls->n_rows; i++)
		EMIT(s->out,
		     "\t{\n"
		     "\t\t.shape = &$shape$_Shape,\n"
		     "\t\t.invoke = $full$_Invoke,\n"
		     "\t\t.queue = $queue$,\n"
		     "\t},\n",
		     {"shape", model_shape(cls->rows[i])->full}, {"full", cls->rows[i]->full},
		     {"queue", number(s, queue_index(cls, cls->rows[i]))});
	text_add(s->out, "};\n\n");
	if (cls->n_queues == 0)
		return;
	EMIT(s->out, "static const char *const $cls$_queues[] = {\n", {"cls", cls->name});
	for (size_t i = 0; i < cls->n_queues; i++)
		EMIT(s->out, "\t\"$queue$\",\n", {"queue", cls->queues[i]});
	text_add(s->out, "};\n\n");
}

static void emit_metaclass(struct source *s, const struct model_class *cls)
{
	EMIT(s->out,
	     "const OSMetaClass g$cls$MetaClass = {\n"
	     "\t.name = \"$cls$\",\n"
	     "\t.super = $super$,\n"
	     "\t.instance_size = sizeof($cls$),\n",
	     {"cls", cls->name},
	     {"super", cls->is_root ? "NULL" : arena_format(s->arena, "&g%sMetaClass", cls->super)});
	if (cls->n_rows > 0)
		EMIT(s->out, "\t.n_methods = $n$,\n\t.methods = $cls$_methods,\n",
		     {"n", number(s, cls->n_rows)}, {"cls", cls->name});
	if (cls->n_queues > 0)
		EMIT(s->out, "\t.queue_names = $cls$_queues,\n\t.n_queue_names = $n$,\n",
		     {"n", number(s, cls->n_queues)}, {"cls", cls->name});
	EMIT(s->out,
	     "};\n\n"
	     "__attribute__((constructor)) static void register_$cls$(void)\n"
	     "{\n"
	     "\tOSMetaClassRegister(&g$cls$MetaClass);\n"
	     "}\n\n",
	     {"cls", cls->name});
}

static void emit_functions(struct source *s, const struct model_class *cls,
			   const struct model_method *method)
{
	switch (method->kind) {
	case METHOD_VIRTUAL:
		emit_stub(s, cls, method, STUB_INVOKE);
		break;
	case METHOD_PROTOTYPE:
		emit_stub(s, cls, method, STUB_ACTION);
		break;
	case METHOD_OVERRIDE:
		emit_stub(s, cls, method, STUB_SUPER);
		break;
	case METHOD_CALLBACK:
		emit_create_action(s, cls, method);
		break;
	case METHOD_PLAIN:
	case METHOD_STATIC:
		return;
	}
	if (model_has_row(method))
		emit_thunk(s, cls, method);
}

static bool has_shape(const struct model_method *method)
{
	return method->kind == METHOD_VIRTUAL || method->kind == METHOD_PROTOTYPE ||
	       method->kind == METHOD_CALLBACK;
}

static void emit_class(struct source *s, const struct model_class *cls)
{
	EMIT(s->out, "/* ---- $cls$ ---- */\n\n", {"cls", cls->name});
	for (size_t i = 0; i < cls->n_methods; i++) {
		if (has_shape(&cls->methods[i]))
			emit_shape(s, &cls->methods[i]);
		if (!cls->is_protocol)
			emit_functions(s, cls, &cls->methods[i]);
	}
	if (cls->is_protocol)
		return;
	emit_rows(s, cls);
	emit_metaclass(s, cls);
}

/* ---- the file ---- */

static void emit_head(struct source *s, struct text *out, const char *header)
{
	const char *slash = strrchr(s->model->unit->file, '/');
	EMIT(out, "/* Generated by iig from $file$: edit that file instead. */\n#include $header$\n\n",
	     {"file", slash == NULL ? s->model->unit->file : slash + 1}, {"header", header});
	if (s->helpers & HELPER_CODEC_H)
		text_add(out, "#include <errno.h>\n");
	text_add(out, "#include <stddef.h>\n");
	if (s->helpers & HELPER_STRING_H)
		text_add(out, "#include <string.h>\n");
	if (s->helpers & HELPER_DROP_FD)
		text_add(out, "#include <unistd.h>\n");
	if (s->helpers & HELPER_CODEC_H)
		text_add(out, "\n#include <wire/codec.h>\n");
	text_add(out, "\n");
	for (size_t i = 0; i < s->n_extern_classes; i++)
		EMIT(out, "extern const OSMetaClass g$cls$MetaClass;\n", {"cls", s->extern_classes[i]});
	if (s->n_extern_classes > 0)
		text_add(out, "\n");
	for (size_t i = 0; i < sizeof(helper_texts) / sizeof(helper_texts[0]); i++)
		if (s->helpers & (unsigned)helper_texts[i].helper)
			text_add(out, helper_texts[i].text);
}

void emit_source(struct text *out, const struct model *model, const char *header)
{
	struct text body = {0};
	struct source s = {.out = &body, .arena = model->arena, .model = model};
	for (size_t i = 0; i < model->n_classes; i++)
		emit_class(&s, model->classes[i]);
	emit_head(&s, out, header);
	if (body.size > 0) {
		while (body.size > 1 && body.data[body.size - 2] == '\n')
			body.data[--body.size] = '\0';
		text_add(out, body.data);
	}
	text_deinit(&body);
}
