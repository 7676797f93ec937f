/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/parser.h>

/*
 * An interface file is C++ to libclang; its attributes are annotations
 * (interfaces/DriverKit/iig.h). Each cursor is either turned into a part of the tree or is an
 * error: nothing is skipped because it is not known. Classes of included files are read the same
 * way, since their methods are inherited; of everything else in an included file only the types
 * that methods use are taken.
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

static const char *doc_of(struct parser *p, CXCursor cursor)
{
	const char *comment = parser_take(p, clang_Cursor_getRawCommentText(cursor));
	return *comment == '\0' ? NULL : comment;
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

static bool in_main_file(struct parser *p, CXCursor cursor)
{
	CXFile file = NULL;
	clang_getExpansionLocation(clang_getCursorLocation(cursor), &file, NULL, NULL, NULL);
	return file != NULL && clang_File_isEqual(file, p->main_file);
}

/* ---- attributes ---- */

/* "type:Class::Method" behind its colon. */
static struct method_name read_method_name(struct parser *p, const char *text)
{
	const char *colons = strstr(text, "::");
	if (colons == NULL)
		return (struct method_name){ NULL, text };
	return (struct method_name){ arena_copy(p->unit->arena, text, (size_t)(colons - text)),
				     colons + 2 };
}

static bool strip_prefix(const char *text, const char *prefix, const char **rest)
{
	size_t size = strlen(prefix);
	if (strncmp(text, prefix, size) != 0)
		return false;
	*rest = text + size;
	return true;
}

static void unknown_attribute(struct parser *p, CXCursor cursor, const char *what)
{
	const char *text = parser_spelling(p, cursor);
	unit_error(p->unit, parser_where(p, cursor),
		   "%s: unknown attribute %s%s%s: remove it; the attributes are those of "
		   "<DriverKit/iig.h>",
		   what, *text == '\0' ? "" : "\"", text, *text == '\0' ? "" : "\"");
}

/* An attribute without an argument, and the flag of the tree that it sets. */
struct flag_attribute {
	const char *text;
	size_t offset; // of a bool
};

static bool set_flag(const struct flag_attribute *known, size_t n_known, const char *text,
		     void *node)
{
	for (size_t i = 0; i < n_known; i++) {
		if (strcmp(known[i].text, text) != 0)
			continue;
		*(bool *)((char *)node + known[i].offset) = true;
		return true;
	}
	return false;
}

#define SET_FLAG(known, text, node) \
	set_flag((known), sizeof(known) / sizeof((known)[0]), (text), (node))

/* libclang has no cursor kind for it: it is known by its text. */
static bool is_availability(struct parser *p, CXCursor cursor)
{
	static const char name[] = "availability";
	unsigned begin = 0;
	clang_getExpansionLocation(clang_getRangeStart(clang_getCursorExtent(cursor)), NULL, NULL,
				   NULL, &begin);
	return in_main_file(p, cursor) && begin + sizeof(name) <= p->source_size &&
	       memcmp(p->source + begin, name, sizeof(name) - 1) == 0;
}

/* A version of DriverKit: whole, since DEXT_API counts whole ones. */
static unsigned read_version(struct parser *p, struct location where, CXVersion version)
{
	if (version.Major < 0)
		return 0;
	if (version.Minor > 0 || version.Subminor > 0 || version.Major == 0)
		unit_error(p->unit, where,
			   "availability: DEXT_API counts whole versions from 1 on: write %d",
			   version.Major + (version.Minor > 0 || version.Major == 0));
	return (unsigned)version.Major;
}

static void read_availability(struct parser *p, CXCursor cursor, struct availability *out)
{
	CXPlatformAvailability found[4];
	struct location where = parser_where(p, cursor);
	int count = clang_getCursorPlatformAvailability(cursor, NULL, NULL, NULL, NULL, found, 4);
	for (int i = 0; i < count && i < 4; i++) {
		const char *platform = clang_getCString(found[i].Platform);
		const char *message = clang_getCString(found[i].Message);
		if (platform == NULL || strcmp(platform, "driverkit") != 0)
			unit_error(p->unit, where,
				   "availability(%s): versions are those of DriverKit: write "
				   "availability(driverkit, introduced=NN)",
				   platform == NULL ? "" : platform);
		else if (found[i].Unavailable)
			unit_error(
				p->unit, where,
				"availability: what is not available at all is left out: remove it");
		*out = (struct availability){
			.introduced = read_version(p, where, found[i].Introduced),
			.deprecated = read_version(p, where, found[i].Deprecated),
			.obsoleted = read_version(p, where, found[i].Obsoleted),
		};
		if (message != NULL && *message != '\0')
			out->message = arena_copy(p->unit->arena, message, strlen(message));
		clang_disposeCXPlatformAvailability(&found[i]);
	}
}

struct param_visit {
	struct parser *p;
	struct param *param;
};

static void read_param_attribute(struct param_visit *visit, CXCursor cursor)
{
	const char *text = parser_spelling(visit->p, cursor);
	const char *rest;
	if (strcmp(text, "target") == 0)
		visit->param->is_target = true;
	else if (strcmp(text, "noescape") == 0)
		visit->param->is_noescape = true;
	else if (strip_prefix(text, "type:", &rest))
		visit->param->prototype = read_method_name(visit->p, rest);
	else if (strip_prefix(text, "port:", &rest))
		unit_error(visit->p->unit, parser_where(visit->p, cursor),
			   "parameter %s: %s: there are no Mach ports here: pass a dext_fd_t or an "
			   "object",
			   visit->param->name, rest);
	else
		unknown_attribute(visit->p, cursor, "parameter");
}

static enum CXChildVisitResult visit_param(CXCursor cursor, CXCursor parent, CXClientData data)
{
	(void)parent;
	struct param_visit *visit = data;
	enum CXCursorKind kind = clang_getCursorKind(cursor);
	if (kind == CXCursor_AnnotateAttr)
		read_param_attribute(visit, cursor);
	else if (clang_isAttribute(kind))
		unknown_attribute(visit->p, cursor, "parameter");
	return CXChildVisit_Continue; // names of types, default arguments
}

/* The default argument as it was written: what stands behind the "=". */
static const char *read_default(struct parser *p, CXCursor argument)
{
	CXToken *tokens = NULL;
	unsigned count = 0;
	const char *text = NULL;
	clang_tokenize(p->tu, clang_getCursorExtent(argument), &tokens, &count);
	for (unsigned i = 0; i < count; i++) {
		const char *token = parser_take(p, clang_getTokenSpelling(p->tu, tokens[i]));
		if (text != NULL)
			text = arena_format(p->unit->arena, "%s%s%s", text,
					    *text == '\0' ? "" : " ", token);
		else if (strcmp(token, "=") == 0)
			text = "";
	}
	clang_disposeTokens(p->tu, tokens, count);
	return text;
}

static void read_params(struct parser *p, struct method *method, CXCursor cursor)
{
	int count = clang_Cursor_getNumArguments(cursor);
	for (int i = 0; i < count; i++) {
		CXCursor argument = clang_Cursor_getArgument(cursor, (unsigned)i);
		struct param param = {
			.name = parser_spelling(p, argument),
			.where = parser_where(p, argument),
			.type = parser_type(p, clang_getCursorType(argument)),
			.default_value = read_default(p, argument),
		};
		struct param_visit visit = { p, &param };
		clang_visitChildren(argument, visit_param, &visit);
		ARENA_APPEND(p->unit->arena, method->params, method->n_params, param);
	}
}

/* ---- methods ---- */

struct method_visit {
	struct parser *p;
	struct method *method;
};

static void read_method_attribute(struct method_visit *visit, CXCursor cursor)
{
	static const struct flag_attribute flags[] = {
		{ "local", offsetof(struct method, is_local) },
		{ "localonly", offsetof(struct method, is_localonly) },
		{ "remote", offsetof(struct method, is_remote) },
		{ "localhost", offsetof(struct method, is_localhost) },
		{ "reply", offsetof(struct method, is_reply) },
		{ "invokereply", offsetof(struct method, is_invokereply) },
		{ "kernel", offsetof(struct method, is_kernel) },
		{ "native", offsetof(struct method, is_native) },
	};
	struct method *method = visit->method;
	const char *text = parser_spelling(visit->p, cursor);
	const char *rest;
	if (SET_FLAG(flags, text, method))
		return;
	if (strip_prefix(text, "type:", &rest))
		method->prototype = read_method_name(visit->p, rest);
	else if (strip_prefix(text, "queuename:", &rest))
		method->queue = rest;
	else
		unknown_attribute(visit->p, cursor, "method");
}

static enum CXChildVisitResult visit_method(CXCursor cursor, CXCursor parent, CXClientData data)
{
	(void)parent;
	struct method_visit *visit = data;
	struct parser *p = visit->p;
	enum CXCursorKind kind = clang_getCursorKind(cursor);
	if (kind == CXCursor_AnnotateAttr)
		read_method_attribute(visit, cursor);
	else if (kind == CXCursor_CXXOverrideAttr)
		visit->method->is_override = true;
	else if (kind == CXCursor_CXXFinalAttr)
		unit_error(p->unit, parser_where(p, cursor),
			   "method %s: final is not supported: remove it", visit->method->name);
	else if (clang_isAttribute(kind) && !is_availability(p, cursor))
		unknown_attribute(p, cursor, "method");
	else if (kind == CXCursor_CompoundStmt)
		unit_error(
			p->unit, parser_where(p, cursor),
			"method %s: a body does not belong into an interface: end the declaration "
			"with a semicolon and write the code in C",
			visit->method->name);
	return CXChildVisit_Continue;
}

/* What C++ can say about a method and C cannot. */
static void refuse_method_form(struct parser *p, const struct method *method, CXCursor cursor)
{
	CXType type = clang_getCursorType(cursor);
	const char *what = NULL;
	if (clang_CXXMethod_isPureVirtual(cursor))
		what = "pure virtual: remove \"= 0\"; a method without implementation is unsupported "
		       "at run time";
	else if (clang_isFunctionTypeVariadic(type))
		what = "variable arguments: declare every parameter";
	else if (clang_Type_getCXXRefQualifier(type) != CXRefQualifier_None)
		what = "a reference qualifier: remove it";
	else if (clang_getExceptionSpecificationType(type) !=
		 CXCursor_ExceptionSpecificationKind_None)
		what = "an exception specification: remove it; nothing throws";
	else if (clang_CXXMethod_isDefaulted(cursor))
		what = "= default: remove it";
	if (what != NULL)
		unit_error(p->unit, method->where, "method %s: %s", method->name, what);
}

static void read_method(struct parser *p, struct class *cls, CXCursor cursor)
{
	struct method method = {
		.name = parser_spelling(p, cursor),
		.doc = doc_of(p, cursor),
		.where = parser_where(p, cursor),
		.cls = cls,
		.result = parser_type(p, clang_getCursorResultType(cursor)),
		.is_virtual = clang_CXXMethod_isVirtual(cursor),
		.is_static = clang_CXXMethod_isStatic(cursor),
		.is_const = clang_CXXMethod_isConst(cursor),
	};
	CXCursor *overridden = NULL;
	unsigned n_overridden = 0;
	clang_getOverriddenCursors(cursor, &overridden, &n_overridden);
	clang_disposeOverriddenCursors(overridden);
	method.overrides = n_overridden > 0;
	read_availability(p, cursor, &method.availability);

	read_params(p, &method, cursor);
	struct method_visit visit = { p, &method };
	clang_visitChildren(cursor, visit_method, &visit);
	refuse_method_form(p, &method, cursor);
	ARENA_APPEND(p->unit->arena, cls->methods, cls->n_methods, method);
}

/* ---- classes ---- */

static const char *class_member_fix(enum CXCursorKind kind)
{
	switch (kind) {
	case CXCursor_FieldDecl:
		return "data members do not belong into an interface: put them into struct "
		       "Class_IVars in your C file";
	case CXCursor_VarDecl:
		return "static data does not belong into an interface: put it into your C file";
	case CXCursor_FunctionTemplate:
		return "templates are not supported: write one method for each type";
	case CXCursor_Constructor:
		return "constructors are not supported: override init()";
	case CXCursor_Destructor:
		return "destructors are not supported: override free()";
	case CXCursor_ConversionFunction:
		return "conversion operators are not supported: write a method";
	case CXCursor_FriendDecl:
		return "friends are not supported: make the method public";
	case CXCursor_UsingDeclaration:
		return "using is not supported: inherited methods can be called as they are";
	case CXCursor_ClassDecl:
	case CXCursor_StructDecl:
	case CXCursor_UnionDecl:
	case CXCursor_EnumDecl:
	case CXCursor_TypedefDecl:
	case CXCursor_TypeAliasDecl:
		return "types inside a class are not supported: declare them before the class";
	default:
		return "only methods may stand in a class";
	}
}

struct class_visit {
	struct parser *p;
	struct class *cls;
	unsigned n_bases;
};

static void read_base(struct class_visit *visit, CXCursor cursor)
{
	struct parser *p = visit->p;
	struct location where = parser_where(p, cursor);
	if (visit->n_bases++ > 0)
		unit_error(p->unit, where, "class %s: more than one super class: keep one",
			   visit->cls->name);
	if (clang_isVirtualBase(cursor) || clang_getCXXAccessSpecifier(cursor) != CX_CXXPublic)
		unit_error(p->unit, where,
			   "class %s: the super class must be \"public\", and not virtual",
			   visit->cls->name);
	CXCursor base = clang_getTypeDeclaration(clang_getCursorType(cursor));
	if (clang_getCursorKind(base) == CXCursor_ClassDecl)
		visit->cls->super = parser_class(p, base);
	else
		unit_error(p->unit, where,
			   "class %s: the super class must be a class, declared with "
			   "\"class\"",
			   visit->cls->name);
}

static void read_class_attribute(struct class_visit *visit, CXCursor cursor)
{
	static const struct flag_attribute flags[] = {
		{ "serializable", offsetof(struct class, is_serializable) },
		{ "protocol", offsetof(struct class, is_protocol) },
		{ "kernel", offsetof(struct class, is_kernel) },
		{ "native", offsetof(struct class, is_native) },
		{ "local", offsetof(struct class, is_local) },
		{ "concrete", offsetof(struct class, is_concrete) },
	};
	struct parser *p = visit->p;
	const char *text = parser_spelling(p, cursor);
	const char *rest;
	if (SET_FLAG(flags, text, visit->cls))
		return;
	if (strip_prefix(text, "extends:", &rest))
		visit->cls->extends = rest;
	else
		unknown_attribute(p, cursor, "class");
}

static enum CXChildVisitResult visit_class(CXCursor cursor, CXCursor parent, CXClientData data)
{
	(void)parent;
	struct class_visit *visit = data;
	struct parser *p = visit->p;
	enum CXCursorKind kind = clang_getCursorKind(cursor);
	if (kind == CXCursor_CXXBaseSpecifier)
		read_base(visit, cursor);
	else if (kind == CXCursor_CXXMethod)
		read_method(p, visit->cls, cursor);
	else if (kind == CXCursor_AnnotateAttr)
		read_class_attribute(visit, cursor);
	else if (clang_isAttribute(kind) && is_availability(p, cursor))
		return CXChildVisit_Continue; // read with the class
	else if (clang_isAttribute(kind))
		unknown_attribute(p, cursor, "class");
	else if (kind != CXCursor_CXXAccessSpecifier)
		unit_error(p->unit, parser_where(p, cursor), "class %s, \"%s\": %s",
			   visit->cls->name, parser_spelling(p, cursor), class_member_fix(kind));
	return CXChildVisit_Continue;
}

/* Returns the class if this cursor defines it. */
static struct class *read_class(struct parser *p, CXCursor cursor)
{
	struct class *cls = parser_class(p, cursor);
	cls->is_named_here |= in_main_file(p, cursor);
	if (!clang_isCursorDefinition(cursor))
		return NULL;
	cls->is_complete = true;
	cls->is_main = in_main_file(p, cursor);
	cls->doc = doc_of(p, cursor);
	cls->where = parser_where(p, cursor);
	read_availability(p, cursor, &cls->availability);
	struct class_visit visit = { .p = p, .cls = cls };
	clang_visitChildren(cursor, visit_class, &visit);
	return cls;
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
		.doc = doc_of(p, cursor),
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
		item.cls = read_class(p, cursor);
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
		read_class(p, cursor);
	else
		parser_class(p, cursor)->is_complete = true;
}

static enum CXChildVisitResult visit_top(CXCursor cursor, CXCursor parent, CXClientData data)
{
	(void)parent;
	struct parser *p = data;
	if (in_main_file(p, cursor))
		read_main_cursor(p, cursor);
	else if (clang_getCursorKind(cursor) == CXCursor_ClassDecl)
		read_included_class(p, cursor);
	return CXChildVisit_Continue;
}

/* Of the preprocessor's directives only these have a meaning in the generated header. */
static void check_directives(struct parser *p)
{
	CXSourceLocation begin = clang_getLocationForOffset(p->tu, p->main_file, 0);
	CXSourceLocation end =
		clang_getLocationForOffset(p->tu, p->main_file, (unsigned)p->source_size);
	CXToken *tokens = NULL;
	unsigned count = 0;
	clang_tokenize(p->tu, clang_getRange(begin, end), &tokens, &count);
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
		clang_visitChildren(clang_getTranslationUnitCursor(p.tu), visit_top, &p);
		if (unit->n_items > 0)
			qsort(unit->items, unit->n_items, sizeof(unit->items[0]), by_offset);
	}
	clang_disposeTranslationUnit(p.tu);
	clang_disposeIndex(index);
	return opened;
}
