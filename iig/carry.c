/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/carry.h>

#include <inttypes.h>
#include <string.h>

/* Elements that an array parameter may have: a message body has 128 KiB, an element 8 bytes. */
#define ARRAY_MAX      4096
#define NAME_MAX_BYTES 4096
#define FDS_MAX        16

static bool is_number(const struct type *type)
{
	return type->kind == TYPE_INTEGER || type->kind == TYPE_BOOL || type->kind == TYPE_ENUM;
}

static const char *check_number(const struct type *type)
{
	return type->varies
		       ? "its size depends on the architecture: use a fixed-size integer such as "
			 "uint64_t"
		       : NULL;
}

static const char *carry_pointer(const struct type *type, enum carry *carry)
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
	if (is_number(inner)) {
		*carry = inner->is_fd ? CARRY_FD_OUT : CARRY_INTEGER_OUT;
		if (inner->is_const)
			return "a pointer to const cannot travel: pass the value, a const array with its "
			       "count, or make the method LOCALONLY";
		if (inner->kind == TYPE_INTEGER && inner->bits == 8 && inner->is_signed &&
		    strcmp(inner->name, "char") == 0)
			return "a pointer to char cannot travel: use a typedef of a char array, OSString "
			       "or OSData";
		return check_number(inner);
	}
	if (inner->kind == TYPE_RECORD)
		return "structures cannot travel yet: pass their fields, use OSData, or make the method "
		       "LOCALONLY";
	return "a pointer of this kind cannot travel: use OSData or a memory "
	       "descriptor, or make the method LOCALONLY";
}

static const char *carry_array(struct arena *arena, const struct method *method, size_t i,
			       enum carry *carry)
{
	const struct param *param = &method->params[i];
	const struct type *type = param->type;
	const struct type *element = type->inner;
	if (!type_is_const_array(type))
		return "arrays travel one way only: declare it const";
	if (element->kind == TYPE_INTEGER && strcmp(element->name, "char") == 0) {
		*carry = CARRY_NAME;
		return type->count > NAME_MAX_BYTES ? "a name has at most 4096 bytes: use OSString"
						    : NULL;
	}
	*carry = element->is_fd ? CARRY_FD_ARRAY : CARRY_ARRAY;
	if (!is_number(element))
		return "only arrays of integers and of dext_fd_t travel: use OSArray";
	if (type->count > (element->is_fd ? FDS_MAX : ARRAY_MAX))
		return element->is_fd ? "a message carries at most 16 descriptors"
				      : "an array has at most 4096 elements: use OSData";
	const char *count = arena_format(arena, "%sCount", param->name);
	const struct param *next = i + 1 < method->n_params ? &method->params[i + 1] : NULL;
	if (next == NULL || strcmp(next->name, count) != 0 || next->type->kind != TYPE_INTEGER ||
	    next->type->bits != 32 || next->type->is_signed)
		return arena_format(
			arena, "an array is followed by its count: declare \"uint32_t %s\" next",
			count);
	return check_number(element);
}

/* Is parameter `i` the count of the array before it? */
static bool is_count(struct arena *arena, const struct method *method, size_t i)
{
	if (i == 0 || method->params[i - 1].type->kind != TYPE_ARRAY)
		return false;
	enum carry carry;
	return carry_array(arena, method, i - 1, &carry) == NULL && carry != CARRY_NAME;
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
		return carry_pointer(type, carry);
	case TYPE_ARRAY:
		return carry_array(arena, method, i, carry);
	case TYPE_RECORD:
		return "structures cannot travel yet: pass their fields, use OSData, or make the method "
		       "LOCALONLY";
	case TYPE_FLOAT:
		return "floating point cannot travel: use an integer";
	default:
		return "iig cannot carry this type: use an integer, an object or a name, or make the "
		       "method LOCALONLY";
	}
}
