/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How each parameter travels: what its declaration means in a message. */

#include <iig/tree.h>

enum carry {
	CARRY_AS_IS,       // LOCALONLY: the argument as declared
	CARRY_INTEGER,     // integers, bool, enumerations
	CARRY_INTEGER_OUT, // T *x
	CARRY_OBJECT,      // Class *x
	CARRY_OBJECT_OUT,  // Class **x
	CARRY_NAME,        // const a char[N] typedef
	CARRY_ARRAY,       // const T x[N], uint32_t xCount
	CARRY_COUNT,       // the xCount of one
	CARRY_FD,
	CARRY_FD_OUT,
	CARRY_FD_ARRAY,
};

/* How parameter `i` of `method` travels. NULL, or what is wrong with it and how to mend it. */
const char *carry_param(struct arena *arena, const struct method *method, size_t i,
			enum carry *carry);
