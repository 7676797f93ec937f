/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/source.h>

#include <string.h>

/*
 * Stubs: pack the arguments into the method's message, make the call, hand out the results.
 */

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
		return arena_format(s->arena, "return (%s){ 0 };", method->result);
	default:
		return "return 0;";
	}
}

/* "if (CONDITION)" refuse with a reason that names the parameter. */
static void emit_refusal(struct source *s, const struct model_method *method, const char *condition,
			 const char *status, const char *param)
{
	const char *const items[] = {
		arena_format(s->arena, "&%s_Shape", model_shape(method)->full),
		status,
		arena_format(s->arena, "\"%s\"", param),
	};
	struct text_list call = {
		.lead = method->returns_status ? "\t\treturn " : NULL,
		.head = method->returns_status ? "OSMethodRefuse(" : "\t\tOSMethodRefuse(",
		.items = items,
		.n_items = 3,
		.tail = ");\n",
	};
	EMIT(s->out, "\tif ($condition$)$brace$\n", { "condition", condition },
	     { "brace", method->returns_status ? "" : " {" });
	text_add_list(s->out, &call);
	if (!method->returns_status)
		EMIT(s->out, "\t\t$fail$\n\t}\n", { "fail", give_up(s, method, "ret") });
}

/* Whom a call goes to, object or action, is checked where it arrives. */
static void emit_stub_checks(struct source *s, const struct model_method *method)
{
	struct arena *arena = s->arena;
	for (size_t i = 0; i < method->n_params; i++) {
		const struct model_param *param = &method->params[i];
		const char *name = param->name;
		if (param->carry == CARRY_STRUCT_IN)
			emit_refusal(s, method, arena_format(arena, "%s == NULL", name),
				     "kIOReturnBadArgument", name);
		if (!carry_forms[param->carry].counted)
			continue;
		const char *count = method->params[i + 1].name;
		const char *room = source_number(s, param->room);
		if (param->carry == CARRY_ARRAY_OUT) {
			emit_refusal(s, method, arena_format(arena, "%s == NULL", count),
				     "kIOReturnBadArgument", count);
			count = arena_format(arena, "*%s", count);
		}
		emit_refusal(s, method, arena_format(arena, "%s > %s", count, room),
			     "kIOReturnOverrun", name);
		emit_refusal(s, method, arena_format(arena, "%s == NULL && %s > 0", name, count),
			     "kIOReturnBadArgument", name);
	}
}

/* What a field of the message starts with; NULL: zero, or filled later. `field` is the name that
 * the message's first declaration gave it. */
static const char *initializer(struct source *s, const struct model_param *param, const char *field)
{
	if (param->carry == CARRY_FD_OUT)
		return arena_format(s->arena, ".%s = -1", field);
	if (param->carry == CARRY_COUNT_OUT || param->carry == CARRY_STRUCT_IN)
		return arena_format(s->arena, ".%s = *%s", field, param->name);
	if (carry_forms[param->carry].by_value)
		return arena_format(s->arena, ".%s = %s", field, param->name);
	return NULL;
}

static void emit_stub_message(struct source *s, const struct model_method *method)
{
	const struct model_method *message = model_message(method);
	const char **items = NULL;
	size_t n_items = 0;
	for (size_t i = 0; i < method->n_params; i++) {
		const char *item = initializer(s, &method->params[i], message->params[i].name);
		if (item != NULL)
			ARENA_APPEND(s->arena, items, n_items, item);
	}
	EMIT(s->out, "\tstruct $message$_Msg msg = {", { "message", message->full });
	if (n_items <= 1)
		EMIT(s->out, " $item$ };\n", { "item", n_items == 0 ? "0" : items[0] });
	else {
		text_add(s->out, "\n");
		for (size_t i = 0; i < n_items; i++)
			EMIT(s->out, "\t\t$item$,\n", { "item", items[i] });
		text_add(s->out, "\t};\n");
	}
}

static void emit_name_copy(struct source *s, const struct model_method *method, const char *field,
			   const char *name, bool first)
{
	const char *const items[] = {
		arena_format(s->arena, "&%s_Shape", model_shape(method)->full),
		name,
		arena_format(s->arena, "\"%s\"", name),
		arena_format(s->arena, "msg.%s", field),
		arena_format(s->arena, "sizeof(msg.%s)", field),
	};
	s->helpers |= HELPER_FILL_NAME | HELPER_STRING_H;
	text_add_list(s->out, &(struct text_list){
				      .lead = first ? "\tkern_return_t ret = " : "\tret = ",
				      .head = "fill_name(",
				      .items = items,
				      .n_items = 5,
				      .tail = ");\n",
			      });
	EMIT(s->out, "\tif (ret != kIOReturnSuccess)\n\t\t$fail$\n",
	     { "fail", give_up(s, method, "ret") });
}

/* Names and arrays. Returns whether `ret` was declared for them. */
static bool emit_stub_copies(struct source *s, const struct model_method *method)
{
	const struct model_method *message = model_message(method);
	bool declared = false;
	for (size_t i = 0; i < method->n_params; i++) {
		const struct model_param *param = &method->params[i];
		const char *field = message->params[i].name;
		if (param->carry == CARRY_NAME) {
			emit_name_copy(s, method, field, param->name, !declared);
			declared = true;
		} else if (carry_forms[param->carry].counted && !param_is_out(param)) {
			s->helpers |= HELPER_STRING_H;
			EMIT(s->out,
			     "\tif ($count$ > 0)\n"
			     "\t\tmemcpy(msg.$field$, $name$, $count$ * sizeof(msg.$field$[0]));\n",
			     { "field", field }, { "name", param->name },
			     { "count", method->params[i + 1].name });
		}
	}
	return declared;
}

/* What came back must fit what the caller has, whoever sent it. */
static void emit_array_check(struct source *s, const struct model_method *method, size_t i)
{
	const struct model_method *message = model_message(method);
	EMIT(s->out, "\tif (msg.ret == kIOReturnSuccess && msg.$counted$ > *$count$) {\n",
	     { "counted", message->params[i + 1].name }, { "count", method->params[i + 1].name });
	emit_drop_outputs(s, message, "msg.");
	EMIT(s->out,
	     "\t\treturn OSMethodRefuse(&$shape$_Shape, kIOReturnOverrun, \"$name$\");\n\t}\n",
	     { "shape", model_shape(method)->full }, { "name", method->params[i].name });
}

static void emit_array_output(struct source *s, const struct model_method *method, size_t i)
{
	const struct model_method *message = model_message(method);
	s->helpers |= HELPER_STRING_H;
	EMIT(s->out,
	     "\tif (msg.ret == kIOReturnSuccess) {\n"
	     "\t\tif (msg.$counted$ > 0)\n"
	     "\t\t\tmemcpy($name$, msg.$field$, msg.$counted$ * sizeof(msg.$field$[0]));\n"
	     "\t\t*$count$ = msg.$counted$;\n"
	     "\t}\n",
	     { "name", method->params[i].name }, { "count", method->params[i + 1].name },
	     { "field", message->params[i].name }, { "counted", message->params[i + 1].name });
}

static void emit_stub_outputs(struct source *s, const struct model_method *method)
{
	const struct model_method *message = model_message(method);
	for (size_t i = 0; i < method->n_params; i++)
		if (method->params[i].carry == CARRY_ARRAY_OUT)
			emit_array_check(s, method, i);
	for (size_t i = 0; i < method->n_params; i++) {
		const struct model_param *param = &method->params[i];
		const char *field = message->params[i].name;
		if (param->carry == CARRY_ARRAY_OUT)
			emit_array_output(s, method, i);
		else if (param->carry == CARRY_INTEGER_OUT || param->carry == CARRY_STRUCT_OUT)
			EMIT(s->out, "\tif ($name$ != NULL)\n\t\t*$name$ = msg.$field$;\n",
			     { "name", param->name }, { "field", field });
		else if (param->carry == CARRY_OBJECT_OUT)
			EMIT(s->out,
			     "\tif (msg.ret == kIOReturnSuccess && $name$ != NULL)\n"
			     "\t\t*$name$ = msg.$field$;\n"
			     "\telse if (msg.ret == kIOReturnSuccess)\n"
			     "\t\tOSObjectRelease(msg.$field$);\n",
			     { "name", param->name }, { "field", field });
		else if (param->carry == CARRY_FD_OUT) {
			s->helpers |= HELPER_DROP_FD;
			EMIT(s->out,
			     "\tif (msg.ret == kIOReturnSuccess && $name$ != NULL)\n"
			     "\t\t*$name$ = msg.$field$;\n"
			     "\telse if (msg.ret == kIOReturnSuccess)\n"
			     "\t\tdrop_fd(msg.$field$);\n",
			     { "name", param->name }, { "field", field });
		}
	}
}

/* The call itself, its result going to `lead` ("\tret = "), if not NULL. */
static void emit_invocation(struct source *s, const struct model_class *cls,
			    const struct model_method *method, enum stub stub, const char *lead)
{
	static const char *const functions[] = {
		[STUB_INVOKE] = "OSObjectInvoke(",
		[STUB_SUPER] = "OSObjectInvokeSuper(",
		[STUB_ACTION] = "OSActionInvoke(",
		[STUB_CLASS] = "OSMetaClassInvoke(",
	};
	const char *to = upcast(s->arena, cls->self, ROOT_CLASS, false);
	if (method->is_const) // the object itself may change: its class decides
		to = "(" ROOT_CLASS " *)(uintptr_t)self";
	const char **items = NULL;
	size_t n_items = 0;
	if (stub == STUB_SUPER)
		ARENA_APPEND(s->arena, items, n_items,
			     (const char *)arena_format(s->arena, "&g%sMetaClass", cls->super));
	if (stub == STUB_CLASS)
		to = arena_format(s->arena, "&g%sMetaClass", cls->self);
	ARENA_APPEND(s->arena, items, n_items, stub == STUB_ACTION ? method->params[0].name : to);
	ARENA_APPEND(s->arena, items, n_items,
		     (const char *)arena_format(s->arena, "&%s_Shape", model_shape(method)->full));
	ARENA_APPEND(s->arena, items, n_items, "&msg");
	text_add_list(s->out,
		      &(struct text_list){
			      .lead = lead,
			      .head = arena_format(s->arena, "%s%s", lead == NULL ? "\t" : "",
						   functions[stub]),
			      .items = items,
			      .n_items = n_items,
			      .tail = ");\n",
		      });
}

static void emit_stub_call(struct source *s, const struct model_class *cls,
			   const struct model_method *method, enum stub stub, bool ret_is_declared)
{
	if (method->result_type->kind == TYPE_VOID) {
		emit_invocation(s, cls, method, stub, NULL);
		return;
	}
	emit_invocation(s, cls, method, stub,
			ret_is_declared ? "\tret = " : "\tkern_return_t ret = ");
	EMIT(s->out, "\tif (ret != kIOReturnSuccess)\n\t\t$fail$\n",
	     { "fail", give_up(s, method, "ret") });
	emit_stub_outputs(s, method);
	text_add(s->out, "\treturn msg.ret;\n");
}

void emit_stub(struct source *s, const struct model_class *cls, const struct model_method *method,
	       enum stub stub)
{
	emit_signature(s->out, s->arena,
		       &(struct signature){
			       .prefix = "",
			       .cls = model_has_self(method) ? cls->self : NULL,
			       .name = stub == STUB_SUPER ? arena_format(s->arena, "%s_super_%s",
									 cls->name, method->name)
							  : method->full,
			       .method = method,
			       .tail = "\n{\n",
		       });
	if (stub == STUB_ACTION)
		text_add(s->out, "\t(void)self;\n");
	emit_stub_checks(s, method);
	emit_stub_message(s, method);
	bool ret_is_declared = emit_stub_copies(s, method);
	emit_stub_call(s, cls, method, stub, ret_is_declared);
	text_add(s->out, "}\n\n");
}

void emit_create_action(struct source *s, const struct model_class *cls,
			const struct model_method *method)
{
	emit_create_action_signature(s->out, s->arena, "", cls, method->name, ")\n{\n");
	const char *const arguments[] = {
		upcast(s->arena, cls->self, ROOT_CLASS, false),
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
