/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/tree.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void unit_error(struct unit *unit, struct location where, const char *format, ...)
{
	fprintf(stderr, "%s:%u: error: ", where.file, where.line);
	va_list args;
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	unit->n_errors++;
}

const struct class *unit_class(const struct unit *unit, const char *name)
{
	for (size_t i = 0; i < unit->n_classes; i++)
		if (strcmp(unit->classes[i]->name, name) == 0)
			return unit->classes[i];
	return NULL;
}

const struct method *class_method(const struct class *cls, const char *name)
{
	for (size_t i = 0; i < cls->n_methods; i++)
		if (strcmp(cls->methods[i].name, name) == 0)
			return &cls->methods[i];
	return NULL;
}

const struct method *inherited_method(const struct class *cls, const char *name)
{
	const struct method *first = NULL;
	for (const struct class *c = cls->super; c != NULL; c = c->super) {
		const struct method *method = class_method(c, name);
		if (method != NULL)
			first = method;
	}
	return first;
}

bool class_derives(const struct class *cls, const char *ancestor)
{
	for (; cls != NULL; cls = cls->super)
		if (strcmp(cls->name, ancestor) == 0)
			return true;
	return false;
}

const struct method *prototype_method(const struct unit *unit, const struct class *cls,
				      struct method_name name)
{
	if (name.cls != NULL)
		cls = unit_class(unit, name.cls);
	return cls == NULL ? NULL : class_method(cls, name.method);
}

bool method_is_prototype(const struct method *method)
{
	return method->n_params > 0 && method->params[0].is_target &&
	       method->prototype.method == NULL;
}

bool method_is_class(const struct method *method)
{
	return method->is_static && !method->is_localonly;
}

bool method_has_id(const struct method *method)
{
	return method_is_class(method) || (method->is_virtual && !method->overrides);
}

const char *type_declare(struct arena *arena, const struct type *type, const char *name)
{
	const char *constant = type->is_const ? "const " : "";
	if (type->name != NULL)
		return arena_format(arena, "%s%s%s%s", constant, type->name,
				    *name == '\0' ? "" : " ", name);
	if (type->kind == TYPE_POINTER)
		return type_declare(arena, type->inner,
				    arena_format(arena, "*%s%s", constant, name));
	if (type->kind == TYPE_ARRAY)
		return type_declare(arena, type->inner,
				    arena_format(arena, "%s[%" PRIu64 "]", name, type->count));
	return arena_format(arena, "%s<unknown>%s", constant, name);
}

const char *type_spelling(struct arena *arena, const struct type *type)
{
	return type_declare(arena, type, "");
}

bool type_is_const_array(const struct type *type)
{
	return type->kind == TYPE_ARRAY && (type->is_const || type->inner->is_const);
}
