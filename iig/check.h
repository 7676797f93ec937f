/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The second phase: every rule of the interface language. After it nothing can fail any more. */

#include <iig/tree.h>

/* Errors are reported and counted in the unit. */
void check(struct unit *unit);
