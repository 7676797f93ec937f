/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Blocks: a method X_f(…, void *context, function) has a form X(…, block), for compilers that know
 * blocks. It is made here, so that all of iig takes it for one method more.
 */

#include <iig/model.h>

/* The parameter that is the function of such a method, with the context before it; false: none. */
bool block_function(const struct method *method, size_t *function);

/* The form of `method` with a block; NULL: it has none, since it takes no function, since another
 * method has the name, or since nobody could tell when the block is to be released. */
const struct model_block *block_form(struct arena *arena, const struct model_method *method);
