/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Between the files that read an interface: parse.c files, parse_comment.c comments,
 * parse_class.c classes, parse_type.c types. The only files that know libclang. */

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
bool parser_in_main_file(struct parser *p, CXCursor cursor);
/* The comment above a declaration; NULL: none, or it speaks to iig. */
const char *parser_doc(struct parser *p, CXCursor cursor);

/* The main file's tokens, comments too: for clang_disposeTokens. */
CXToken *parser_tokens(struct parser *p, unsigned *count);
/* What comments of the main file say to iig. */
void parser_read_comments(struct parser *p);

/* The class of that name; made if it is new. */
struct class *parser_class(struct parser *p, CXCursor declaration);
const struct type *parser_type(struct parser *p, CXType source);
/* Read a class's definition. NULL: it is only declared here, which is noted. */
struct class *parser_read_class(struct parser *p, CXCursor cursor);
