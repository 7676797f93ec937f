/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/carry.h>

#include <inttypes.h>
#include <string.h>

/* Elements that an array parameter may have: a message body has 128 KiB, an element 8 bytes. */
#define ARRAY_MAX      4096
#define NAME_MAX_BYTES 4096

const struct carry_form carry_forms[N_CARRIES] = {
	[CARRY_AS_IS] = { .name = "as is", .by_value = true },
	[CARRY_INTEGER] = { .name = "integer", .by_value = true },
	[CARRY_INTEGER_OUT] = { .name = "integer", .returns = true },
	[CARRY_STRUCT] = { .name = "structure", .by_value = true },
	[CARRY_STRUCT_IN] = { .name = "structure" },
	[CARRY_STRUCT_OUT] = { .name = "structure", .returns = true },
	[CARRY_OBJECT] = { .name = "object", .by_value = true },
	[CARRY_OBJECT_OUT] = { .name = "object", .returns = true },
	[CARRY_OBJECT_ARRAY] = { .name = "objects", .has_room = true, .counted = true },
	[CARRY_NAME] = { .name = "name", .has_room = true },
	[CARRY_ARRAY] = { .name = "array", .has_room = true, .counted = true },
	[CARRY_ARRAY_OUT] = { .name = "array", .returns = true, .has_room = true, .counted = true },
	[CARRY_COUNT] = { .name = "count", .by_value = true },
	[CARRY_COUNT_OUT] = { .name = "count" },
	[CARRY_FD] = { .name = "descriptor", .by_value = true },
	[CARRY_FD_OUT] = { .name = "descriptor", .returns = true },
	[CARRY_FD_ARRAY] = { .name = "descriptors", .has_room = true, .counted = true },
};

static bool is_number(const struct type *type)
{
	return type->kind == TYPE_INTEGER || type->kind == TYPE_BOOL || type->kind == TYPE_ENUM;
}

static bool is_char(const struct type *type)
{
	return type->kind == TYPE_INTEGER && type->name != NULL && strcmp(type->name, "char") == 0;
}

static const char *check_number(const struct type *type)
{
	if (type->is_port)
		return "there are no Mach ports here: pass a dext_fd_t or an object";
	return type->varies
		       ? "its size depends on the architecture: use a fixed-size integer such as "
			 "uint64_t"
		       : NULL;
}

/* ---- structures ---- */

static const char *check_record(struct arena *arena, const struct type *type);

/* What keeps a field from travelling, or NULL. */
static const char *check_field(struct arena *arena, const struct field *field)
{
	const struct type *type = field->type;
	if (*field->name == '\0')
		return "has no name: give it one";
	if (field->is_bitfield)
		return "is a bit field, whose place is the compiler's choice: use whole integers and "
		       "masks";
	bool constant = type->is_const;
	for (; type->kind == TYPE_ARRAY; type = type->inner)
		constant |= type->inner->is_const;
	if (constant)
		return "is const and cannot be filled in: remove const";
	if (type->kind == TYPE_RECORD)
		return check_record(arena, type);
	if (type->kind == TYPE_POINTER || type->kind == TYPE_OBJECT)
		return "is a pointer, and what it points at does not travel: pass it as a parameter, "
		       "or use a memory descriptor";
	if (type->is_fd)
		return "is a descriptor: pass it as a parameter of its own";
	if (!is_number(type))
		return "is of a kind that cannot travel: use integers of a fixed size";
	return check_number(type);
}

/* What keeps a structure from travelling, or NULL: "field next of struct Part is a pointer: …". */
static const char *check_record(struct arena *arena, const struct type *type)
{
	if (type->is_union)
		return "is a union, and which member is meant is not said: pass one of them";
	if (!type->complete)
		return "is not complete here: include the file that declares it";
	if (type->n_fields == 0)
		return "has no fields: C knows no empty structures";
	for (size_t i = 0; i < type->n_fields; i++) {
		const struct field *field = &type->fields[i];
		const char *wrong = check_field(arena, field);
		if (wrong == NULL)
			continue;
		return strncmp(wrong, "field ", 6) == 0
			       ? wrong
			       : arena_format(arena, "field %s of %s %s", field->name, type->name,
					      wrong);
	}
	return NULL;
}

static const char *carry_record(struct arena *arena, const struct type *type)
{
	const char *wrong = check_record(arena, type);
	if (wrong == NULL || strncmp(wrong, "field ", 6) == 0)
		return wrong;
	return arena_format(arena, "%s %s", type->name, wrong);
}

uint64_t carry_packed_size(const struct type *type)
{
	if (type->kind == TYPE_ARRAY)
		return type->count * carry_packed_size(type->inner);
	if (type->kind != TYPE_RECORD)
		return type->bits / 8;
	uint64_t size = 0;
	for (size_t i = 0; i < type->n_fields; i++)
		size += carry_packed_size(type->fields[i].type);
	return size;
}

/* ---- parameters ---- */

static const char *carry_pointer(struct arena *arena, const struct type *type, enum carry *carry)
{
	const struct type *inner = type->inner;
	if (inner->kind == TYPE_OBJECT) {
		*carry = CARRY_OBJECT;
		return NULL;
	}
	if (inner->kind == TYPE_POINTER && inner->inner->kind == TYPE_OBJECT) {
		*carry = CARRY_OBJECT_OUT;
		return inner->inner->is_const || inner->is_const
			       ? "an object that comes back cannot be const: remove const"
			       : NULL;
	}
	if (inner->kind == TYPE_RECORD) {
		*carry = inner->is_const ? CARRY_STRUCT_IN : CARRY_STRUCT_OUT;
		return carry_record(arena, inner);
	}
	if (is_number(inner)) {
		*carry = inner->is_fd ? CARRY_FD_OUT : CARRY_INTEGER_OUT;
		if (inner->is_const)
			return "a pointer to const cannot travel: pass the value, a const array with its "
			       "count, or make the method LOCALONLY";
		if (is_char(inner))
			return "a pointer to char cannot travel: use a typedef of a char array, OSString "
			       "or OSData";
		return check_number(inner);
	}
	return "a pointer of this kind cannot travel: use OSData or a memory "
	       "descriptor, or make the method LOCALONLY";
}

static bool is_object_pointer(const struct type *type)
{
	return type->kind == TYPE_POINTER && type->inner != NULL &&
	       type->inner->kind == TYPE_OBJECT;
}

static bool is_u32(const struct type *type)
{
	return type->kind == TYPE_INTEGER && type->bits == 32 && !type->is_signed;
}

/* The array in front of `method`'s parameter `i` is followed by its count. */
static const char *check_count(struct arena *arena, const struct method *method, size_t i,
			       bool returns)
{
	const char *count = arena_format(arena, "%sCount", method->params[i].name);
	if (i + 1 < method->n_params) {
		const struct param *next = &method->params[i + 1];
		const struct type *type = next->type;
		if (returns)
			type = type->kind == TYPE_POINTER && !type->inner->is_const ? type->inner
										    : NULL;
		if (type != NULL && is_u32(type) && strcmp(next->name, count) == 0)
			return NULL;
	}
	if (returns)
		return arena_format(arena,
				    "an array that comes back is followed by its room and number: "
				    "declare \"uint32_t * %s\" next, or declare the array const if "
				    "it enters",
				    count);
	return arena_format(
		arena, "an array is followed by its count: declare \"uint32_t %s\" next", count);
}

static const char *carry_element(struct arena *arena, const struct type *type, bool returns,
				 enum carry *carry)
{
	const struct type *element = type->inner;
	*carry = returns ? CARRY_ARRAY_OUT : CARRY_ARRAY;
	if (element->kind == TYPE_RECORD) {
		const char *wrong = carry_record(arena, element);
		if (wrong != NULL)
			return wrong;
	} else if (is_object_pointer(element)) {
		*carry = CARRY_OBJECT_ARRAY;
		if (returns)
			return "objects come back one by one, or in an OSArray; an array of objects "
			       "that enters is declared Class * const";
		if (element->inner->is_const)
			return "an array of objects is declared Class * const: remove the const in front";
		return type->count > OBJECTS_MAX
			       ? "a message carries at most 64 objects: use OSArray"
			       : NULL;
	} else if (!is_number(element)) {
		return "only arrays of integers, structures, objects and dext_fd_t travel: use "
		       "OSArray";
	} else if (element->is_fd) {
		*carry = CARRY_FD_ARRAY;
		if (returns)
			return "descriptors come back one by one: declare the array const if it enters";
		return type->count > FDS_MAX ? "a message carries at most 16 descriptors" : NULL;
	}
	return type->count > ARRAY_MAX ? "an array has at most 4096 elements: use OSData" : NULL;
}

static const char *carry_array(struct arena *arena, const struct method *method, size_t i,
			       enum carry *carry)
{
	const struct type *type = method->params[i].type;
	const struct type *element = type->inner;
	bool returns = !type_is_const_array(type);
	if (is_char(element)) {
		*carry = CARRY_NAME;
		if (returns)
			return "a name enters only: declare it const; use OSString for one that comes "
			       "back";
		return type->count > NAME_MAX_BYTES ? "a name has at most 4096 bytes: use OSString"
						    : NULL;
	}
	const char *wrong = carry_element(arena, type, returns, carry);
	if (wrong == NULL)
		wrong = check_count(arena, method, i, returns);
	if (wrong == NULL && is_number(element))
		wrong = check_number(element);
	return wrong;
}

/* Is parameter `i` the count of the array before it? */
static bool is_count(struct arena *arena, const struct method *method, size_t i)
{
	if (i == 0 || method->params[i - 1].type->kind != TYPE_ARRAY)
		return false;
	enum carry carry;
	return carry_array(arena, method, i - 1, &carry) == NULL && carry_forms[carry].counted;
}

const char *carry_param(struct arena *arena, const struct method *method, size_t i,
			enum carry *carry)
{
	const struct type *type = method->params[i].type;
	*carry = CARRY_AS_IS;
	if (method->is_localonly)
		return type->kind == TYPE_OTHER ? "iig does not know this type: use a C type"
						: NULL;
	switch (type->kind) {
	case TYPE_BOOL:
	case TYPE_ENUM:
	case TYPE_INTEGER:
		*carry = type->is_fd ? CARRY_FD : CARRY_INTEGER;
		if (is_count(arena, method, i))
			*carry = CARRY_COUNT;
		return check_number(type);
	case TYPE_POINTER:
		if (is_count(arena, method, i)) {
			*carry = CARRY_COUNT_OUT;
			return NULL;
		}
		return carry_pointer(arena, type, carry);
	case TYPE_ARRAY:
		return carry_array(arena, method, i, carry);
	case TYPE_RECORD:
		*carry = CARRY_STRUCT;
		return carry_record(arena, type);
	case TYPE_FLOAT:
		return "floating point cannot travel: use an integer";
	default:
		return "iig cannot carry this type: use an integer, an object or a name, or make the "
		       "method LOCALONLY";
	}
}
