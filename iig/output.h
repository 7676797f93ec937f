/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The files that iig reads and writes as a whole. */

#include <iig/arena.h>

/* Write `text`, unless the file holds it already, so that nothing is built again because of it. The
 * file is whole or not there. 0, or a negative errno, which was reported. */
int output_save(struct arena *arena, const char *path, const char *text);

/* The file's text, in the arena; NULL: it could not be read, which was reported. */
const char *output_load(struct arena *arena, const char *path);
