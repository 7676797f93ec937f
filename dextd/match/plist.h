/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A property list, XML or binary, as collections. libplist does the parsing; what it would follow
 * without a bound is checked before it sees the bytes: size, depth, number of values, entities and
 * document types, integers that do not fit, and in a binary list references that share or repeat.
 *
 * Of keys that occur twice the last one counts. Dates, reals and UIDs have no counterpart among
 * DriverKit's collections and are refused.
 */

#include <stddef.h>

#include <DriverKit/OSCollections.h>

#define PLIST_SIZE_MAX  (1024U * 1024)
#define PLIST_DEPTH_MAX 32U
#define PLIST_NODES_MAX 65536U

/* The top dictionary; returned. -EINVAL with a reason, -ENOMEM. */
int plist_read(const void *data, size_t size, OSDictionary **out);
