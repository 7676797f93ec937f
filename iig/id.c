/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/id.h>

#include <inttypes.h>
#include <nettle/sha2.h>
#include <stdlib.h>
#include <string.h>

static const char *canonical_type(struct arena *arena, const struct type *type);

static const char *canonical_integer(struct arena *arena, const struct type *type)
{
	if (type->is_fd)
		return "fd";
	if (type->kind == TYPE_INTEGER && type->name != NULL && strcmp(type->name, "char") == 0)
		return "char";
	if (type->varies) // legal in LOCALONLY methods only
		return type->is_signed ? "iword" : "uword";
	return arena_format(arena, "%c%u", type->is_signed ? 'i' : 'u', type->bits);
}

static const char *canonical_record(struct arena *arena, const struct type *type)
{
	if (!type->complete)
		return type->name;
	const char *text = "{";
	for (size_t i = 0; i < type->n_fields; i++)
		text = arena_format(arena, "%s%s%s", text, i == 0 ? "" : ",",
				    canonical_type(arena, type->fields[i].type));
	return arena_format(arena, "%s}", text);
}

static const char *canonical_type(struct arena *arena, const struct type *type)
{
	switch (type->kind) {
	case TYPE_VOID:
		return type->is_const ? "const:void" : "void";
	case TYPE_BOOL:
		return "bool";
	case TYPE_INTEGER:
	case TYPE_ENUM:
		return arena_format(arena, "%s%s", type->is_const ? "const:" : "",
				    canonical_integer(arena, type));
	case TYPE_FLOAT:
		return arena_format(arena, "f%u", type->bits);
	case TYPE_POINTER:
		if (type->inner == NULL)
			return "pointer";
		if (type->inner->kind == TYPE_OBJECT)
			return arena_format(arena, "%sobject:%s",
					    type->inner->is_const ? "const:" : "",
					    type->inner->cls->name);
		return arena_format(arena, "%s*", canonical_type(arena, type->inner));
	case TYPE_ARRAY: {
		struct type element = *type->inner; // const says nothing more in an array parameter
		element.is_const = false;
		return arena_format(arena, "%s[%" PRIu64 "]", canonical_type(arena, &element),
				    type->count);
	}
	case TYPE_RECORD:
		return arena_format(arena, "%s%s", type->is_const ? "const:" : "",
				    canonical_record(arena, type));
	case TYPE_FUNCTION:
		return "function";
	default:
		return "other";
	}
}

/* A parameter's own const is the callee's business. */
static const char *canonical_param(struct arena *arena, const struct type *type)
{
	struct type plain = *type;
	plain.is_const = false;
	return canonical_type(arena, &plain);
}

const char *canonical_signature(struct arena *arena, const struct method *method)
{
	const char *text = "(";
	for (size_t i = 0; i < method->n_params; i++)
		text = arena_format(arena, "%s%s%s", text, i == 0 ? "" : ",",
				    canonical_param(arena, method->params[i].type));
	return arena_format(arena, "%s)%s", text, canonical_param(arena, method->result));
}

const char *canonical_method(struct arena *arena, const struct method *method)
{
	return arena_format(arena, "%s::%s%s", method->cls->name, method->name,
			    canonical_signature(arena, method));
}

uint64_t method_id(struct arena *arena, const struct method *method)
{
	const char *text = canonical_method(arena, method);
	struct sha256_ctx sha;
	uint8_t digest[8];
	sha256_init(&sha);
	sha256_update(&sha, strlen(text), (const uint8_t *)text);
	sha256_digest(&sha, sizeof(digest), digest);
	uint64_t id = 0;
	for (size_t i = 0; i < sizeof(digest); i++)
		id = id << 8 | digest[i];
	return id;
}

static int by_id(const void *a, const void *b)
{
	const struct method_id *x = a, *y = b;
	return (x->id > y->id) - (x->id < y->id);
}

bool ids_collide(struct method_id *ids, size_t n_ids, size_t *at)
{
	if (n_ids > 0)
		qsort(ids, n_ids, sizeof(ids[0]), by_id);
	for (size_t i = 0; i + 1 < n_ids; i++) {
		if (ids[i].id != ids[i + 1].id)
			continue;
		*at = i;
		return true;
	}
	return false;
}
