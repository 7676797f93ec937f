/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/parser.h>

/*
 * An interface file is C++ to libclang; its attributes are annotations
 * (interfaces/DriverKit/iig.h). Each cursor is either turned into a part of the tree or is an
 * error: nothing is skipped because it is not known. Comments may speak to iig, too
 * (parse_comment.c). Classes (parse_class.c) of included files are
 * read the same way, since their methods are inherited; of everything else in an included file only
 * the types that methods use are taken.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *parser_take(struct parser *p, CXString string)
{
	const char *text = clang_getCString(string);
	const char *copy = text == NULL ? "" : arena_copy(p->unit->arena, text, strlen(text));
	clang_disposeString(string);
	return copy;
}

const char *parser_spelling(struct parser *p, CXCursor cursor)
{
	return parser_take(p, clang_getCursorSpelling(cursor));
}

struct location parser_locate(struct parser *p, CXSourceLocation location)
{
	CXFile file = NULL;
	unsigned line = 0;
	clang_getExpansionLocation(location, &file, &line, NULL, NULL);
	const char *name = file == NULL ? p->unit->file : parser_take(p, clang_getFileName(file));
	return (struct location){ name, line };
}

struct location parser_where(struct parser *p, CXCursor cursor)
{
	return parser_locate(p, clang_getCursorLocation(cursor));
}

bool parser_in_main_file(struct parser *p, CXCursor cursor)
{
	CXFile file = NULL;
	clang_getExpansionLocation(clang_getCursorLocation(cursor), &file, NULL, NULL, NULL);
	return file != NULL && clang_File_isEqual(file, p->main_file);
}

/* ---- the file's top level ---- */

static void span(CXCursor cursor, unsigned *begin, unsigned *end)
{
	CXSourceRange range = clang_getCursorExtent(cursor);
	clang_getExpansionLocation(clang_getRangeStart(range), NULL, NULL, NULL, begin);
	clang_getExpansionLocation(clang_getRangeEnd(range), NULL, NULL, NULL, end);
}

/* #include <DriverKit/X.iig> includes X.h in the header; iig.h is for iig only. */
static void read_include(struct parser *p, CXCursor cursor)
{
	unsigned begin, end;
	span(cursor, &begin, &end);
	const char *name = parser_spelling(p, cursor);
	size_t size = strlen(name);
	if (strcmp(name, "DriverKit/iig.h") == 0)
		return;
	if (size > 4 && strcmp(name + size - 4, ".iig") == 0)
		name = arena_format(p->unit->arena, "%.*s.h", (int)(size - 4), name);
	bool quoted = memchr(p->source + begin, '"', end - begin) != NULL;
	struct item item = {
		.kind = ITEM_INCLUDE,
		.offset = begin,
		.end = end,
		.text = arena_format(p->unit->arena, quoted ? "#include \"%s\"" : "#include <%s>",
				     name),
	};
	ARENA_APPEND(p->unit->arena, p->unit->items, p->unit->n_items, item);
}

static void read_macro(struct parser *p, CXCursor cursor)
{
	unsigned begin, end;
	span(cursor, &begin, &end);
	const char *body = arena_copy(p->unit->arena, p->source + begin, end - begin);
	struct item item = {
		.kind = ITEM_TEXT,
		.offset = begin,
		.end = end,
		.text = arena_format(p->unit->arena, "#define %s", body),
	};
	ARENA_APPEND(p->unit->arena, p->unit->items, p->unit->n_items, item);
}

static enum CXChildVisitResult visit_plain_struct(CXCursor cursor, CXCursor parent,
						  CXClientData data)
{
	(void)parent;
	struct parser *p = data;
	enum CXCursorKind kind = clang_getCursorKind(cursor);
	if (kind != CXCursor_FieldDecl && kind != CXCursor_StructDecl &&
	    kind != CXCursor_UnionDecl && kind != CXCursor_EnumDecl && !clang_isAttribute(kind))
		unit_error(
			p->unit, parser_where(p, cursor),
			"\"%s\" in a structure: a structure holds data only; a class is declared "
			"with \"class\"",
			parser_spelling(p, cursor));
	return CXChildVisit_Continue;
}

static const char *read_tag(struct parser *p, CXCursor cursor)
{
	enum CXCursorKind kind = clang_getCursorKind(cursor);
	const char *name = parser_spelling(p, cursor);
	if (kind == CXCursor_TypedefDecl || clang_Cursor_isAnonymous(cursor) || *name == '\0')
		return NULL;
	const char *keyword = kind == CXCursor_EnumDecl    ? "enum"
			      : kind == CXCursor_UnionDecl ? "union"
							   : "struct";
	return arena_format(p->unit->arena, "%s %s", keyword, name);
}

/* A typedef, an enumeration or a structure: C as it stands, copied up to its semicolon. */
static void read_text(struct parser *p, CXCursor cursor)
{
	struct unit *unit = p->unit;
	unsigned begin, end;
	span(cursor, &begin, &end);
	const char *semicolon = memchr(p->source + end, ';', p->source_size - end);
	if (semicolon != NULL)
		end = (unsigned)(semicolon - p->source) + 1;

	struct item item = {
		.kind = ITEM_TEXT,
		.offset = begin,
		.end = end,
		.doc = parser_doc(p, cursor),
		.tag = read_tag(p, cursor),
	};
	/* typedef struct { … } x; is two cursors: the outer one, which comes last, is the text. */
	struct item *last = unit->n_items > 0 ? &unit->items[unit->n_items - 1] : NULL;
	if (last != NULL && last->kind == ITEM_TEXT && last->end == end) {
		item.offset = last->offset < begin ? last->offset : begin;
		item.doc = item.doc != NULL ? item.doc : last->doc;
		unit->n_items--;
	}
	item.text = arena_copy(unit->arena, p->source + item.offset, end - item.offset);
	ARENA_APPEND(unit->arena, unit->items, unit->n_items, item);
}

static void read_enumeration(struct parser *p, CXCursor cursor)
{
	unsigned begin, end;
	span(cursor, &begin, &end);
	const char *brace = memchr(p->source + begin, '{', end - begin);
	size_t head = brace == NULL ? end - begin : (size_t)(brace - (p->source + begin));
	if (clang_EnumDecl_isScoped(cursor) || memchr(p->source + begin, ':', head) != NULL)
		unit_error(
			p->unit, parser_where(p, cursor),
			"enum %s: C knows no \"enum class\" and no underlying type: declare a plain "
			"enum",
			parser_spelling(p, cursor));
	read_text(p, cursor);
}

static void read_main_cursor(struct parser *p, CXCursor cursor)
{
	struct unit *unit = p->unit;
	switch (clang_getCursorKind(cursor)) {
	case CXCursor_InclusionDirective:
		read_include(p, cursor);
		return;
	case CXCursor_MacroDefinition:
		read_macro(p, cursor);
		return;
	case CXCursor_MacroExpansion:
		return;
	case CXCursor_TypedefDecl:
		read_text(p, cursor);
		return;
	case CXCursor_EnumDecl:
		read_enumeration(p, cursor);
		return;
	case CXCursor_StructDecl:
	case CXCursor_UnionDecl:
		clang_visitChildren(cursor, visit_plain_struct, p);
		read_text(p, cursor);
		return;
	case CXCursor_ClassDecl: {
		struct item item = { .kind = ITEM_CLASS };
		span(cursor, &item.offset, &item.end);
		item.cls = parser_read_class(p, cursor);
		if (item.cls != NULL)
			ARENA_APPEND(unit->arena, unit->items, unit->n_items, item);
		return;
	}
	default:
		unit_error(
			unit, parser_where(p, cursor),
			"\"%s\": only classes, typedefs, enumerations, structures and macros may "
			"stand in an interface file",
			parser_spelling(p, cursor));
		return;
	}
}

static enum CXChildVisitResult visit_bases(CXCursor cursor, CXCursor parent, CXClientData data)
{
	(void)parent;
	CXCursor *base = data;
	if (clang_getCursorKind(cursor) != CXCursor_CXXBaseSpecifier)
		return CXChildVisit_Continue;
	*base = clang_getTypeDeclaration(clang_getCursorType(cursor));
	return CXChildVisit_Break;
}

static enum CXChildVisitResult visit_extends(CXCursor cursor, CXCursor parent, CXClientData data)
{
	(void)parent;
	bool *extends = data;
	CXString text = clang_getCursorSpelling(cursor);
	if (clang_getCursorKind(cursor) == CXCursor_AnnotateAttr)
		*extends |= strncmp(clang_getCString(text), "extends:", 8) == 0;
	clang_disposeString(text);
	return CXChildVisit_Continue;
}

static bool is_object_class(struct parser *p, CXCursor cursor)
{
	bool extends = false;
	clang_visitChildren(cursor, visit_extends, &extends);
	if (extends)
		return true;
	while (strcmp(parser_spelling(p, cursor), ROOT_CLASS) != 0) {
		CXCursor base = clang_getNullCursor();
		clang_visitChildren(cursor, visit_bases, &base);
		if (clang_Cursor_isNull(base))
			return false;
		cursor = clang_getCursorDefinition(base);
	}
	return true;
}

/* Of an included file's classes only those of objects are read; of others no more is known than
 * that they are something else. */
static void read_included_class(struct parser *p, CXCursor cursor)
{
	if (!clang_isCursorDefinition(cursor))
		return;
	if (is_object_class(p, cursor))
		parser_read_class(p, cursor);
	else
		parser_class(p, cursor)->is_complete = true;
}

static enum CXChildVisitResult visit_top(CXCursor cursor, CXCursor parent, CXClientData data)
{
	(void)parent;
	struct parser *p = data;
	if (parser_in_main_file(p, cursor))
		read_main_cursor(p, cursor);
	else if (clang_getCursorKind(cursor) == CXCursor_ClassDecl)
		read_included_class(p, cursor);
	return CXChildVisit_Continue;
}

CXToken *parser_tokens(struct parser *p, unsigned *count)
{
	CXSourceLocation begin = clang_getLocationForOffset(p->tu, p->main_file, 0);
	CXSourceLocation end =
		clang_getLocationForOffset(p->tu, p->main_file, (unsigned)p->source_size);
	CXToken *tokens = NULL;
	*count = 0;
	clang_tokenize(p->tu, clang_getRange(begin, end), &tokens, count);
	return tokens;
}

/* Of the preprocessor's directives only these have a meaning in the generated header. */
static void check_directives(struct parser *p)
{
	unsigned count;
	CXToken *tokens = parser_tokens(p, &count);
	unsigned last_line = 0;
	for (unsigned i = 0; i < count; i++) {
		struct location where = parser_locate(p, clang_getTokenLocation(p->tu, tokens[i]));
		bool starts_line = where.line != last_line;
		last_line = where.line;
		if (!starts_line || i + 1 == count)
			continue;
		if (strcmp(parser_take(p, clang_getTokenSpelling(p->tu, tokens[i])), "#") != 0)
			continue;
		const char *name = parser_take(p, clang_getTokenSpelling(p->tu, tokens[i + 1]));
		if (strcmp(name, "include") != 0 && strcmp(name, "define") != 0 &&
		    strcmp(name, "pragma") != 0)
			unit_error(
				p->unit, where,
				"#%s: conditions cannot be carried into the generated header: an "
				"interface file knows #pragma once, #include and #define",
				name);
	}
	clang_disposeTokens(p->tu, tokens, count);
}

/* ---- the translation unit ---- */

/* The licence that the file's first lines name, which is that of the generated files too. */
static const char *read_license(struct parser *p)
{
	static const char mark[] = "SPDX-License-Identifier: ";
	const char *text = p->source;
	for (unsigned line = 0; line < 3; line++) {
		size_t size = strcspn(text, "\n");
		const char *at = memmem(text, size, mark, sizeof(mark) - 1);
		if (at != NULL) {
			at += sizeof(mark) - 1;
			return arena_copy(p->unit->arena, at, strcspn(at, " \t\r\n*"));
		}
		text += size + (text[size] == '\n');
	}
	return NULL;
}

static void visit_inclusion(CXFile file, CXSourceLocation *stack, unsigned depth, CXClientData data)
{
	(void)stack;
	(void)depth;
	struct parser *p = data;
	CXSourceLocation start = clang_getLocation(p->tu, file, 1, 1);
	if (clang_Location_isInSystemHeader(start))
		return;
	const char *name = parser_take(p, clang_getFileName(file));
	ARENA_APPEND(p->unit->arena, p->unit->dependencies, p->unit->n_dependencies, name);
}

/* clang's own errors and warnings: all of them are errors here. */
static void report_diagnostics(struct parser *p)
{
	unsigned count = clang_getNumDiagnostics(p->tu);
	for (unsigned i = 0; i < count; i++) {
		CXDiagnostic diagnostic = clang_getDiagnostic(p->tu, i);
		const char *text = parser_take(p, clang_getDiagnosticSpelling(diagnostic));
		/* clang 14 does not know the platform, but reads the attribute. */
		bool known = strstr(text, "unknown platform 'driverkit'") != NULL;
		if (clang_getDiagnosticSeverity(diagnostic) >= CXDiagnostic_Warning && !known) {
			bool override = strstr(text, "override") != NULL;
			unit_error(
				p->unit, parser_locate(p, clang_getDiagnosticLocation(diagnostic)),
				"%s%s", text,
				override
					? ": declare it exactly as the class above does, or remove "
					  "\"override\""
					: "");
		}
		clang_disposeDiagnostic(diagnostic);
	}
}

static CXTranslationUnit open_unit(struct unit *unit, CXIndex index,
				   const char *const *include_dirs, size_t n_include_dirs)
{
	static const char *const fixed[] = {
		"-xc++",
		"-std=c++17",
		"-D__IIG=1",
		"-fblocks",
		"-Wno-pragma-once-outside-header",
		"-Wno-inaccessible-base",
		"-resource-dir",
		IIG_RESOURCE_DIR,
	};
	const char **args = NULL;
	size_t n_args = 0;
	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		ARENA_APPEND(unit->arena, args, n_args, fixed[i]);
	for (size_t i = 0; i < n_include_dirs; i++)
		ARENA_APPEND(unit->arena, args, n_args,
			     arena_format(unit->arena, "-I%s", include_dirs[i]));
	CXTranslationUnit tu = NULL;
	enum CXErrorCode error =
		clang_parseTranslationUnit2(index, unit->file, args, (int)n_args, NULL, 0,
					    CXTranslationUnit_DetailedPreprocessingRecord, &tu);
	return error == CXError_Success ? tu : NULL;
}

static int by_offset(const void *a, const void *b)
{
	const struct item *x = a, *y = b;
	return (x->offset > y->offset) - (x->offset < y->offset);
}

bool parse(struct unit *unit, const char *const *include_dirs, size_t n_include_dirs)
{
	CXIndex index = clang_createIndex(0, 0);
	struct parser p = { .unit = unit,
			    .tu = open_unit(unit, index, include_dirs, n_include_dirs) };
	bool opened = p.tu != NULL;
	if (opened) {
		p.main_file = clang_getFile(p.tu, unit->file);
		p.source = clang_getFileContents(p.tu, p.main_file, &p.source_size);
		opened = p.source != NULL;
	}
	if (opened) {
		report_diagnostics(&p);
		clang_getInclusions(p.tu, visit_inclusion, &p);
	}
	if (opened && unit->n_errors == 0) {
		unit->license = read_license(&p);
		check_directives(&p);
		parser_read_comments(&p);
		clang_visitChildren(clang_getTranslationUnitCursor(p.tu), visit_top, &p);
		if (unit->n_items > 0)
			qsort(unit->items, unit->n_items, sizeof(unit->items[0]), by_offset);
	}
	clang_disposeTranslationUnit(p.tu);
	clang_disposeIndex(index);
	return opened;
}
