/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Tables of methods, of a class or of an extension: rows in ascending order of their ids. */

#include <DriverKit/OSMetaClass.h>

/* The row of `id`; NULL: none. */
const struct OSMethod *rows_find(const struct OSMethod *rows, uint32_t n_rows, uint64_t id);

/* Refuses rows in another order, with a reason that names `owner`. */
kern_return_t rows_check(const char *owner, const struct OSMethod *rows, uint32_t n_rows);

/* The row of an extension of `meta` itself; NULL: none. Any thread, without a lock. */
const struct OSMethod *extension_find_row(const OSMetaClass *meta, uint64_t id);
bool extension_is_named(const char *name);
