/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Between the files that read an interface: parse.c declarations, parse_type.c types. The only
 * files that know libclang. */

#include <clang-c/Index.h>

#include <iig/parse.h>

struct parser {
	struct unit *unit;
	CXTranslationUnit tu;
	CXFile main_file;
	const char *source; // borrowed from the translation unit
	size_t source_size;
};

/* The string, copied; "" if it has none. Disposes of it. */
const char *parser_take(struct parser *p, CXString string);
const char *parser_spelling(struct parser *p, CXCursor cursor);
struct location parser_locate(struct parser *p, CXSourceLocation location);
struct location parser_where(struct parser *p, CXCursor cursor);

/* The class of that name; made if it is new. */
struct class *parser_class(struct parser *p, CXCursor declaration);
const struct type *parser_type(struct parser *p, CXType source);
