/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/source.h>

#include <inttypes.h>
#include <string.h>

/*
 * The source of an interface: shapes with encode and decode, stubs, thunks, class tables. Which
 * helper functions the file needs is known only when all of it was written, so the parts are
 * written apart and joined at the end.
 */

static const struct {
	enum helper helper;
	const char *text;
} helper_texts[] = {
	{ HELPER_FILL_NAME,
	  "/* Copy a name into its room, terminator included. */\n"
	  "static kern_return_t fill_name(const struct OSMethodShape *shape, const char *name,\n"
	  "\t\t\t       const char *param, char *field, size_t room)\n"
	  "{\n"
	  "\tif (name == NULL)\n"
	  "\t\treturn OSMethodRefuse(shape, kIOReturnBadArgument, param);\n"
	  "\tconst char *end = memchr(name, '\\0', room);\n"
	  "\tif (end == NULL)\n"
	  "\t\treturn OSMethodRefuse(shape, kIOReturnOverrun, param);\n"
	  "\tmemcpy(field, name, (size_t)(end - name) + 1);\n"
	  "\treturn kIOReturnSuccess;\n"
	  "}\n\n" },
	{ HELPER_GET_INTEGER, "static uint64_t get_integer(struct wire_reader *r, uint64_t max)\n"
			      "{\n"
			      "\tuint64_t value = 0;\n"
			      "\treturn wire_get_u64(r, max, &value) == 0 ? value : 0;\n"
			      "}\n\n" },
	{ HELPER_GET_COUNT, "static uint32_t get_count(struct wire_reader *r, uint32_t room)\n"
			    "{\n"
			    "\tuint64_t count = 0;\n"
			    "\treturn wire_get_count(r, room, &count) == 0 ? (uint32_t)count : 0;\n"
			    "}\n\n" },
	{ HELPER_GET_PACKED,
	  "static uint64_t get_packed(struct wire_reader *r, size_t size, uint64_t max)\n"
	  "{\n"
	  "\tuint64_t value = 0;\n"
	  "\treturn wire_get_packed(r, size, max, &value) == 0 ? value : 0;\n"
	  "}\n\n" },
	{ HELPER_GET_OBJECT,
	  "static OSObject *get_object(struct wire_reader *r, const OSMetaClass *meta)\n"
	  "{\n"
	  "\tOSObject *object = NULL;\n"
	  "\treturn wire_get_object(r, meta, &object) == 0 ? object : NULL;\n"
	  "}\n\n" },
	{ HELPER_GET_FD, "static dext_fd_t get_fd(struct wire_reader *r)\n"
			 "{\n"
			 "\tint fd = -1;\n"
			 "\treturn wire_get_fd(r, &fd) == 0 ? fd : -1;\n"
			 "}\n\n" },
	{ HELPER_DROP_FD, "static void drop_fd(dext_fd_t fd)\n"
			  "{\n"
			  "\tif (fd >= 0)\n"
			  "\t\tclose(fd);\n"
			  "}\n\n" },
	{ HELPER_PUT_NOTHING, "static int put_nothing(struct wire_writer *w, const void *msg)\n"
			      "{\n"
			      "\t(void)msg;\n"
			      "\treturn w->error;\n"
			      "}\n\n" },
	{ HELPER_GET_NOTHING, "static int get_nothing(struct wire_reader *r, void *msg)\n"
			      "{\n"
			      "\t(void)msg;\n"
			      "\treturn r->error;\n"
			      "}\n\n" },
};

const char *source_number(struct source *s, uint64_t value)
{
	return arena_format(s->arena, "%" PRIu64, value);
}

bool param_is_out(const struct model_param *param)
{
	return carry_forms[param->carry].returns;
}

/* ---- class tables ---- */

static const char *thunk_argument(struct source *s, const struct model_param *param)
{
	const struct carry_form *form = &carry_forms[param->carry];
	bool pointer = !form->by_value && !form->has_room;
	return arena_format(s->arena, "%sm->%s", pointer ? "&" : "", param->name);
}

void emit_drop_outputs(struct source *s, const struct model_method *message, const char *prefix)
{
	for (size_t i = 0; i < message->n_params; i++) {
		const struct text_field fields[] = {
			{ "field",
			  arena_format(s->arena, "%s%s", prefix, message->params[i].name) },
			{ NULL, NULL },
		};
		if (message->params[i].carry == CARRY_OBJECT_OUT) {
			text_emit(s->out, "\t\tOSSafeReleaseNULL($field$);\n", fields);
		} else if (message->params[i].carry == CARRY_FD_OUT) {
			s->helpers |= HELPER_DROP_FD;
			text_emit(s->out, "\t\tdrop_fd($field$);\n\t\t$field$ = -1;\n", fields);
		}
	}
}

/* Arrays that come back: `before` the call their rooms are noted, after it they are held to them.
 */
static void emit_rooms(struct source *s, const struct model_method *method, bool before)
{
	const struct model_method *message = model_message(method);
	for (size_t i = 0; i < message->n_params; i++) {
		const char *name = message->params[i].name;
		if (message->params[i].carry != CARRY_ARRAY_OUT)
			continue;
		if (before) {
			EMIT(s->out, "\tconst uint32_t $name$_room = m->$name$Count;\n",
			     { "name", name });
			continue;
		}
		EMIT(s->out,
		     "\tif (m->ret == kIOReturnSuccess && m->$name$Count > $name$_room) {\n",
		     { "name", name });
		emit_drop_outputs(s, message, "m->");
		EMIT(s->out,
		     "\t\tm->ret = OSMethodRefuse(&$shape$_Shape, kIOReturnOverrun, \"$name$\");\n"
		     "\t}\n",
		     { "name", name }, { "shape", model_shape(method)->full });
	}
}

static void emit_thunk(struct source *s, const struct model_class *cls,
		       const struct model_method *method)
{
	const struct model_method *message = model_message(method);
	bool empty = method->n_params == 0 && method->result_type->kind == TYPE_VOID;
	const char **items = NULL;
	size_t n_items = 0;
	if (model_has_self(method))
		ARENA_APPEND(s->arena, items, n_items,
			     (const char *)(cls->is_root ? "self"
							 : arena_format(s->arena, "(%s *)self",
									cls->self)));
	for (size_t i = 0; i < message->n_params; i++)
		ARENA_APPEND(s->arena, items, n_items, thunk_argument(s, &message->params[i]));

	EMIT(s->out, "static void $full$_Invoke(OSObject *self, void *msg)\n{\n",
	     { "full", method->full });
	if (!model_has_self(method))
		text_add(s->out, "\t(void)self;\n");
	if (empty)
		text_add(s->out, "\t(void)msg;\n");
	else
		EMIT(s->out, "\tstruct $message$_Msg *m = msg;\n", { "message", message->full });
	bool is_void = method->result_type->kind == TYPE_VOID;
	emit_rooms(s, method, true);
	text_add_list(s->out, &(struct text_list){
				      .lead = is_void ? NULL : "\tm->ret = ",
				      .head = arena_format(s->arena, "%s%s_Impl(",
							   is_void ? "\t" : "", method->full),
				      .items = items,
				      .n_items = n_items,
				      .tail = ");\n",
			      });
	emit_rooms(s, method, false);
	text_add(s->out, "}\n\n");
}

/* 0: the default queue. */
static size_t queue_index(const struct source *s, const struct model_class *cls,
			  const struct model_method *method)
{
	for (size_t i = 0; method->queue != NULL && i < cls->n_queues && !s->remote; i++)
		if (strcmp(cls->queues[i], method->queue) == 0)
			return i + 1;
	return 0;
}

/* What a class elsewhere does with the methods of its super classes, and as the target of actions,
 * is its own business. */
static bool concerns(const struct source *s, const struct model_method *method)
{
	return !s->remote || method->kind == METHOD_VIRTUAL || method->kind == METHOD_PROTOTYPE;
}

static size_t count_rows(const struct source *s, const struct model_class *cls)
{
	size_t n = 0;
	for (size_t i = 0; i < cls->n_rows; i++)
		n += concerns(s, cls->rows[i]);
	return n;
}

static void emit_rows(struct source *s, const struct model_class *cls)
{
	if (count_rows(s, cls) == 0)
		return;
	EMIT(s->out, "static const struct OSMethod $cls$_methods[] = {\n", { "cls", cls->name });
	for (size_t i = 0; i < cls->n_rows; i++) {
		if (!concerns(s, cls->rows[i]))
			continue;
		EMIT(s->out,
		     "\t{\n"
		     "\t\t.shape = &$shape$_Shape,\n"
		     "\t\t.invoke = $invoke$,\n"
		     "\t\t.queue = $queue$,\n"
		     "\t},\n",
		     { "shape", model_shape(cls->rows[i])->full },
		     { "invoke",
		       s->remote ? "NULL"
				 : arena_format(s->arena, "%s_Invoke", cls->rows[i]->full) },
		     { "queue", source_number(s, queue_index(s, cls, cls->rows[i])) });
	}
	text_add(s->out, "};\n\n");
	if (cls->n_queues == 0 || s->remote)
		return;
	EMIT(s->out, "static const char *const $cls$_queues[] = {\n", { "cls", cls->name });
	for (size_t i = 0; i < cls->n_queues; i++)
		EMIT(s->out, "\t\"$queue$\",\n", { "queue", cls->queues[i] });
	text_add(s->out, "};\n\n");
}

static void emit_metaclass(struct source *s, const struct model_class *cls)
{
	if (s->is_cxx)
		EMIT(s->out, "void $cls$_construct(OSObject *self); // in C++\n\n",
		     { "cls", cls->name });
	EMIT(s->out,
	     "const OSMetaClass g$cls$MetaClass = {\n"
	     "\t.name = \"$cls$\",\n"
	     "\t.super = $super$,\n"
	     "\t.instance_size = sizeof($cls$),\n",
	     { "cls", cls->name },
	     { "super",
	       cls->is_root ? "NULL" : arena_format(s->arena, "&g%sMetaClass", cls->super) });
	size_t n_rows = count_rows(s, cls);
	if (n_rows > 0)
		EMIT(s->out, "\t.n_methods = $n$,\n\t.methods = $cls$_methods,\n",
		     { "n", source_number(s, n_rows) }, { "cls", cls->name });
	if (s->remote)
		text_add(s->out, "\t.flags = kOSClassRemote,\n");
	if (cls->n_queues > 0 && !s->remote)
		EMIT(s->out, "\t.queue_names = $cls$_queues,\n\t.n_queue_names = $n$,\n",
		     { "n", source_number(s, cls->n_queues) }, { "cls", cls->name });
	if (s->is_cxx)
		EMIT(s->out, "\t.construct = $cls$_construct,\n", { "cls", cls->name });
	EMIT(s->out,
	     "};\n\n"
	     "__attribute__((constructor)) static void register_$cls$(void)\n"
	     "{\n"
	     "\tOSMetaClassRegister(&g$cls$MetaClass);\n"
	     "}\n\n",
	     { "cls", cls->name });
}

static void emit_extension(struct source *s, const struct model_class *cls)
{
	if (cls->n_rows == 0)
		return;
	EMIT(s->out,
	     "static const struct OSClassExtension $cls$_extension = {\n"
	     "\t.name = \"$cls$\",\n"
	     "\t.meta = &g$self$MetaClass,\n"
	     "\t.n_methods = $n$,\n"
	     "\t.methods = $cls$_methods,\n"
	     "};\n\n"
	     "__attribute__((constructor)) static void register_$cls$(void)\n"
	     "{\n"
	     "\tOSMetaClassExtend(&$cls$_extension);\n"
	     "}\n\n",
	     { "cls", cls->name }, { "self", cls->self }, { "n", source_number(s, cls->n_rows) });
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
	case METHOD_CLASS:
		emit_stub(s, cls, method, STUB_CLASS);
		break;
	case METHOD_PLAIN:
	case METHOD_STATIC:
		return;
	}
	if (model_has_row(method) && !s->remote)
		emit_thunk(s, cls, method);
}

static bool has_shape(const struct model_method *method)
{
	return method->kind == METHOD_VIRTUAL || method->kind == METHOD_PROTOTYPE ||
	       method->kind == METHOD_CALLBACK || method->kind == METHOD_CLASS;
}

static void emit_class(struct source *s, const struct model_class *cls)
{
	EMIT(s->out, "/* ---- $cls$ ---- */\n\n", { "cls", cls->name });
	for (size_t i = 0; i < cls->n_methods; i++) {
		if (!concerns(s, &cls->methods[i]))
			continue;
		if (has_shape(&cls->methods[i]))
			emit_shape(s, &cls->methods[i]);
		if (!cls->is_protocol)
			emit_functions(s, cls, &cls->methods[i]);
	}
	if (cls->is_protocol)
		return;
	emit_rows(s, cls);
	if (cls->is_extension)
		emit_extension(s, cls);
	else
		emit_metaclass(s, cls);
}

/* ---- the file ---- */

static void emit_head(struct source *s, struct text *out, const char *header)
{
	emit_origin(out, s->model);
	EMIT(out, "#include $header$\n\n", { "header", header });
	text_add(out, "#include <stddef.h>\n");
	if (s->helpers & HELPER_STRING_H)
		text_add(out, "#include <string.h>\n");
	if (s->helpers & HELPER_DROP_FD)
		text_add(out, "#include <unistd.h>\n");
	if (s->helpers & HELPER_CODEC_H)
		text_add(out, "\n#include <wire/codec.h>\n");
	text_add(out, "\n");
	if (!s->is_cxx && !s->remote)
		emit_copied(out, s->model);
	for (size_t i = 0; i < s->n_extern_classes; i++)
		EMIT(out, "extern const OSMetaClass g$cls$MetaClass;\n",
		     { "cls", s->extern_classes[i] });
	if (s->n_extern_classes > 0)
		text_add(out, "\n");
	for (size_t i = 0; i < sizeof(helper_texts) / sizeof(helper_texts[0]); i++)
		if (s->helpers & (unsigned)helper_texts[i].helper)
			text_add(out, helper_texts[i].text);
}

void emit_source(struct text *out, const struct model *model, const char *header,
		 enum source_kind kind)
{
	struct text body = { 0 };
	struct source s = {
		.out = &body,
		.arena = model->arena,
		.model = model,
		.is_cxx = kind == SOURCE_CXX,
		.remote = kind == SOURCE_REMOTE,
	};
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
