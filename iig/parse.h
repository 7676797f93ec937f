/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The first phase: source text to tree, with libclang. */

#include <iig/tree.h>

/* Read `unit->file`, with the include paths given. Syntax errors, and constructs that the tree
 * cannot hold, are reported and counted in the unit. False: the file could not be read at all. */
bool parse(struct unit *unit, const char *const *include_dirs, size_t n_include_dirs);
