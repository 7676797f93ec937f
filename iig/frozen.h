/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Snapshots of interfaces, and what a later version must keep of one. */

#include <iig/model.h>
#include <iig/text.h>

/* Write what callers of the main file's classes rely on. */
void frozen_write(struct text *out, const struct model *model);

/* Hold the model to a snapshot, the text of `path`. What is missing or different is reported and
 * counted in `unit`; what was added is not. */
void frozen_check(struct unit *unit, const struct model *model, const char *path, const char *text);
