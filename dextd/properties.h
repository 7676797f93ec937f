/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Values in and out of OSDictionary, for code that builds and reads properties by the dozen.
 * Setters return false without memory, so that a row of them reads as one `&&`.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <DriverKit/OSCollections.h>

bool properties_set_string(OSDictionary *dictionary, const char *key, const char *value);
bool properties_set_number(OSDictionary *dictionary, const char *key, uint64_t value);
bool properties_set_boolean(OSDictionary *dictionary, const char *key, bool value);
/* `value` is consumed, also on failure; NULL counts as out of memory. Any collection or value. */
bool properties_set_consumed(OSDictionary *dictionary, const char *key, void *value);
bool properties_append_string(OSArray *array, const char *value);
bool properties_append_number(OSArray *array, uint64_t value);
bool properties_append_consumed(OSArray *array, void *value);
bool properties_merge(OSDictionary *into, OSDictionary *from); // values are shared

/* NULL, false: absent or of another type. Borrowed. */
const char *properties_string(OSDictionary *dictionary, const char *key);
bool properties_number(OSDictionary *dictionary, const char *key, uint64_t *value);
bool properties_boolean(OSDictionary *dictionary, const char *key); // absent is false
OSArray *properties_array(OSDictionary *dictionary, const char *key);
OSDictionary *properties_dictionary(OSDictionary *dictionary, const char *key);

/* Equal in type and value; numbers whatever their width. */
bool properties_equal(OSObject *a, OSObject *b);
/* Bytes that `dictionary` takes in a message; SIZE_MAX: it cannot be encoded. */
size_t properties_size(OSDictionary *dictionary);
bool text_is_utf8(const char *text, size_t size);

void properties_releasep(OSDictionary **dictionary); // for CLEANUP()
void properties_release_arrayp(OSArray **array);
