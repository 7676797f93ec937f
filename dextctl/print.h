/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Reading dictionaries that dextd sent, and printing them. Text comes from bundles and devices:
 * what a terminal would obey is escaped.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <DriverKit/OSCollections.h>

/* The value of a key; "", 0, false or NULL when it is absent or of another type. Borrowed. */
const char *field_text(OSDictionary *dictionary, const char *key);
uint64_t field_number(OSDictionary *dictionary, const char *key);
bool field_boolean(OSDictionary *dictionary, const char *key);
OSArray *field_array(OSDictionary *dictionary, const char *key);
OSDictionary *field_dictionary(OSDictionary *dictionary, const char *key);

/* The dictionary at `index`; NULL: none, or no dictionary. `array` may be NULL. Borrowed. */
OSDictionary *array_dictionary(OSArray *array, uint32_t index);
uint32_t array_count(OSArray *array); // of NULL: 0

void print_text(FILE *out, const char *text);
/* In a column of at least `width`, followed by two spaces. */
void print_column(FILE *out, const char *text, int width);
/* JSON; data is a string of hexadecimal digits. NULL is null. */
void print_json(FILE *out, OSObject *object);
void print_json_text(FILE *out, const char *text);
