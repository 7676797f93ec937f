/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/model.h>

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <iig/block.h>
#include <iig/id.h>

struct builder {
	struct model *model;
	struct model_class **all; // main and included, each behind its super
	size_t n_all;
};

static const struct model_class *built_class(const struct builder *b, const char *name)
{
	for (size_t i = 0; i < b->n_all; i++)
		if (strcmp(b->all[i]->name, name) == 0)
			return b->all[i];
	return NULL;
}

/* The methods of a built class stand in the order of their declarations. */
static const struct model_method *built_method(const struct builder *b, const struct method *source)
{
	const struct model_class *cls = built_class(b, source->cls->name);
	assert(cls != NULL);
	return &cls->methods[source - source->cls->methods];
}

/* An array parameter is a pointer in C. It is declared as one: an array's length there would be a
 * promise of the caller, and a short string is a good name. */
static const char *declare_param(struct arena *arena, const struct type *type, const char *name)
{
	if (type->kind != TYPE_ARRAY)
		return type_declare(arena, type, name);
	struct type element = *type->inner;
	element.is_const |= type->is_const;
	return type_declare(arena, &element, arena_format(arena, "*%s", name));
}

/* Its field of the message; `type` as declared. */
static const char *declare_field(struct arena *arena, const struct model_param *param,
				 const struct type *type)
{
	struct type plain = *param->type;
	plain.is_const = false;
	if (param->room > 0)
		return type_declare(
			arena, &plain,
			arena_format(arena, "%s[%" PRIu64 "]", param->name, param->room));
	if (type->kind == TYPE_ARRAY)
		return declare_param(arena, type, param->name);
	return type_declare(arena, &plain, param->name);
}

static bool enters_as_object(const struct type *type)
{
	return type->kind == TYPE_POINTER && type->inner != NULL &&
	       type->inner->kind == TYPE_OBJECT;
}

/* The declaration that says how a method's parameters travel: its prototype's, or the first. */
static const struct method *carrier(const struct unit *unit, const struct method *method)
{
	if (method->overrides)
		method = inherited_method(method->cls, method->name);
	if (method->prototype.method != NULL)
		method = prototype_method(unit, method->cls, method->prototype);
	return method;
}

static struct model_param build_param(struct arena *arena, const struct method *method,
				      const struct method *as, size_t i)
{
	const struct param *source = &method->params[i];
	struct model_param param = {
		.name = source->name,
		.where = source->where,
		.declared = declare_param(arena, source->type, source->name),
		.default_value = source->default_value,
		.type = source->type,
		.is_object = enters_as_object(source->type),
	};
	const char *wrong = carry_param(arena, as, i, &param.carry);
	assert(wrong == NULL);
	(void)wrong;
	const struct carry_form *form = &carry_forms[param.carry];
	if (!form->by_value)
		param.type = source->type->inner;
	if (form->has_room)
		param.room = source->type->count;
	param.field = declare_field(arena, &param, source->type);
	return param;
}

static enum method_kind kind_of(const struct method *method)
{
	if (method->is_static)
		return method->is_localonly ? METHOD_STATIC : METHOD_CLASS;
	if (!method->is_virtual)
		return METHOD_PLAIN;
	if (method->overrides)
		return METHOD_OVERRIDE;
	if (method->prototype.method != NULL)
		return METHOD_CALLBACK;
	return method_is_prototype(method) ? METHOD_PROTOTYPE : METHOD_VIRTUAL;
}

const char *model_kind_name(enum method_kind kind)
{
	static const char *const names[] = {
		[METHOD_VIRTUAL] = "virtual",        [METHOD_OVERRIDE] = "override",
		[METHOD_CALLBACK] = "callback",      [METHOD_PROTOTYPE] = "prototype",
		[METHOD_CLASS] = "static",           [METHOD_PLAIN] = "function",
		[METHOD_STATIC] = "static-function",
	};
	return names[kind];
}

/* The queue that a row names: its own, or that of the nearest class above. */
static const char *queue_of(const struct method *method)
{
	const char *queue = method->queue;
	for (const struct class *c = method->cls->super; queue == NULL && c != NULL; c = c->super) {
		const struct method *above = class_method(c, method->name);
		queue = above == NULL ? NULL : above->queue;
	}
	return queue;
}

static void resolve(struct builder *b, const struct method *source, struct model_method *method)
{
	const struct unit *unit = b->model->unit;
	if (method->kind == METHOD_OVERRIDE) {
		const struct method *base = inherited_method(source->cls, source->name);
		method->base = built_method(b, base);
		method->prototype = method->base->prototype;
		method->is_localonly = method->base->is_localonly;
		method->is_oneway = method->base->is_oneway;
	}
	if (method->kind == METHOD_CALLBACK) {
		const struct method *prototype =
			prototype_method(unit, source->cls, source->prototype);
		method->prototype = built_method(b, prototype);
	}
}

static unsigned later(unsigned a, unsigned b)
{
	return a > b ? a : b;
}

static unsigned earlier(unsigned a, unsigned b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

/* A method is there from when both it and its class are until one of them goes. */
static struct availability availability_of(const struct method *method)
{
	const struct availability *own = &method->availability, *all = &method->cls->availability;
	return (struct availability){
		.introduced = later(own->introduced, all->introduced),
		.deprecated = earlier(own->deprecated, all->deprecated),
		.obsoleted = earlier(own->obsoleted, all->obsoleted),
		.message = own->message != NULL ? own->message : all->message,
	};
}

static struct model_method build_method(struct builder *b, const struct method *source)
{
	struct arena *arena = b->model->arena;
	struct model_method method = {
		.kind = kind_of(source),
		.source = source,
		.name = source->name,
		.full = arena_format(arena, "%s_%s", source->cls->name, source->name),
		.doc = source->doc,
		.cls = source->cls->name,
		.result = type_spelling(arena, source->result),
		.result_type = source->result,
		.returns_status = source->result->is_status,
		.is_const = source->is_const,
		.is_localonly = source->is_localonly,
		.api = arena_format(arena, "%s_%s", source->cls->name, source->name),
		.availability = availability_of(source),
		.is_oneway = !source->is_localonly && source->result->kind == TYPE_VOID,
	};
	const struct method *as = carrier(b->model->unit, source);
	struct model_param *params = NULL;
	for (size_t i = 0; i < source->n_params; i++)
		ARENA_APPEND(arena, params, method.n_params, build_param(arena, source, as, i));
	method.params = params;
	method.block = block_form(arena, &method);

	if (source->is_virtual || method.kind == METHOD_CLASS) {
		const struct method *first =
			source->overrides ? inherited_method(source->cls, source->name) : source;
		method.id = method_id(arena, first);
		method.canonical = canonical_method(arena, first);
		method.queue = queue_of(source);
	}
	return method;
}

static int by_row_id(const void *a, const void *b)
{
	const struct model_method *x = *(const struct model_method *const *)a;
	const struct model_method *y = *(const struct model_method *const *)b;
	return (x->id > y->id) - (x->id < y->id);
}

static void build_rows(struct arena *arena, struct model_class *cls)
{
	for (size_t i = 0; i < cls->n_methods; i++) {
		const struct model_method *method = &cls->methods[i];
		if (!model_has_row(method))
			continue;
		ARENA_APPEND(arena, cls->rows, cls->n_rows, method);
		bool known = method->queue == NULL;
		for (size_t q = 0; q < cls->n_queues && !known; q++)
			known = strcmp(cls->queues[q], method->queue) == 0;
		if (!known)
			ARENA_APPEND(arena, cls->queues, cls->n_queues, method->queue);
	}
	if (cls->n_rows > 0)
		qsort(cls->rows, cls->n_rows, sizeof(cls->rows[0]), by_row_id);
}

static void build_class(struct builder *b, const struct class *source)
{
	bool known = class_derives(source, ROOT_CLASS) || source->extends != NULL;
	if (!known || built_class(b, source->name) != NULL)
		return;
	if (source->super != NULL)
		build_class(b, source->super);
	struct arena *arena = b->model->arena;
	struct model_class *cls = arena_alloc(arena, sizeof(*cls));
	*cls = (struct model_class){
		.source = source,
		.name = source->name,
		.doc = source->doc,
		.super = source->super == NULL ? NULL : source->super->name,
		.self = source->extends != NULL ? source->extends : source->name,
		.is_extension = source->extends != NULL,
		.is_root = source->super == NULL && source->extends == NULL,
		.is_protocol = source->is_protocol,
		.parent = source->super == NULL ? NULL : built_class(b, source->super->name),
	};
	for (size_t i = 0; i < source->n_methods; i++)
		ARENA_APPEND(arena, cls->methods, cls->n_methods,
			     build_method(b, &source->methods[i]));
	ARENA_APPEND(arena, b->all, b->n_all, cls);
}

/* Links between methods need every class in place. */
static void resolve_class(struct builder *b, struct model_class *cls)
{
	const struct class *source = unit_class(b->model->unit, cls->name);
	for (size_t i = 0; i < cls->n_methods; i++)
		resolve(b, &source->methods[i], &cls->methods[i]);
	build_rows(b->model->arena, cls);
}

static void list_classes(struct builder *b)
{
	struct model *model = b->model;
	model->only_protocols = true;
	for (size_t i = 0; i < model->unit->n_items; i++) {
		const struct item *item = &model->unit->items[i];
		if (item->kind != ITEM_CLASS)
			continue;
		const struct model_class *cls = built_class(b, item->cls->name);
		assert(cls != NULL);
		ARENA_APPEND(model->arena, model->classes, model->n_classes, cls);
		model->only_protocols &= cls->is_protocol;
	}
	/* Classes of included files bring their typedefs; those that are only named here do not. */
	for (size_t i = 0; i < model->unit->n_classes; i++) {
		const struct class *cls = model->unit->classes[i];
		if (cls->is_named_here && !cls->is_complete)
			ARENA_APPEND(model->arena, model->declared, model->n_declared, cls->name);
	}
}

const struct model *model_new(const struct unit *unit)
{
	struct model *model = arena_alloc(unit->arena, sizeof(*model));
	model->arena = unit->arena;
	model->unit = unit;
	struct builder b = { .model = model };
	for (size_t i = 0; i < unit->n_classes; i++)
		build_class(&b, unit->classes[i]);
	for (size_t i = 0; i < b.n_all; i++)
		resolve_class(&b, b.all[i]);
	list_classes(&b);
	return model;
}

const struct model_method *model_message(const struct model_method *method)
{
	if (method->prototype != NULL)
		return method->prototype;
	return method->base != NULL ? method->base : method;
}

const struct model_method *model_shape(const struct model_method *method)
{
	return method->base != NULL ? method->base : method;
}

bool model_has_row(const struct model_method *method)
{
	return method->kind == METHOD_VIRTUAL || method->kind == METHOD_OVERRIDE ||
	       method->kind == METHOD_CALLBACK || method->kind == METHOD_CLASS;
}

bool model_has_self(const struct model_method *method)
{
	return method->kind != METHOD_STATIC && method->kind != METHOD_CLASS;
}
