/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How each parameter travels: what its declaration means in a message. */

#include <iig/tree.h>

/* What one message may carry (wire/codec.h). */
#define OBJECTS_MAX 64
#define FDS_MAX     16
#define BODY_MAX    (128 * 1024)

enum carry {
	CARRY_AS_IS,        // LOCALONLY: the argument as declared
	CARRY_INTEGER,      // integers, bool, enumerations
	CARRY_INTEGER_OUT,  // T *x
	CARRY_STRUCT,       // S x
	CARRY_STRUCT_IN,    // const S *x
	CARRY_STRUCT_OUT,   // S *x
	CARRY_OBJECT,       // Class *x
	CARRY_OBJECT_OUT,   // Class **x
	CARRY_OBJECT_ARRAY, // Class * const x[N], uint32_t xCount
	CARRY_NAME,         // const a char[N] typedef
	CARRY_ARRAY,        // const T x[N], uint32_t xCount
	CARRY_ARRAY_OUT,    // T x[N], uint32_t *xCount
	CARRY_COUNT,        // the xCount of an array that enters
	CARRY_COUNT_OUT,    // the xCount of one that comes back: enters as its room
	CARRY_FD,
	CARRY_FD_OUT,
	CARRY_FD_ARRAY,
	N_CARRIES,
};

/* What the phases must know of each. */
struct carry_form {
	const char *name;
	bool returns;  // comes back with the reply
	bool by_value; // the message's field is the argument
	bool has_room; // an array in the message
	bool counted;  // the next parameter is its count
};
extern const struct carry_form carry_forms[N_CARRIES];

/* How parameter `i` of `method` travels. NULL, or what is wrong with it and how to mend it. */
const char *carry_param(struct arena *arena, const struct method *method, size_t i,
			enum carry *carry);

/* Bytes of a value on the wire, in a structure: its fields without padding. */
uint64_t carry_packed_size(const struct type *type);
