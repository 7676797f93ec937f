/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/parser.h>

/*
 * A class: its base, its attributes, its methods with theirs, and their parameters. Each is visited
 * with a table of the attributes that it may have; what is in none of them is an error.
 */

#include <stddef.h>
#include <string.h>

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
	return parser_in_main_file(p, cursor) && begin + sizeof(name) <= p->source_size &&
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
		.doc = parser_doc(p, cursor),
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
struct class *parser_read_class(struct parser *p, CXCursor cursor)
{
	struct class *cls = parser_class(p, cursor);
	cls->is_named_here |= parser_in_main_file(p, cursor);
	if (!clang_isCursorDefinition(cursor))
		return NULL;
	cls->is_complete = true;
	cls->is_main = parser_in_main_file(p, cursor);
	cls->doc = parser_doc(p, cursor);
	cls->where = parser_where(p, cursor);
	read_availability(p, cursor, &cls->availability);
	struct class_visit visit = { .p = p, .cls = cls };
	clang_visitChildren(cursor, visit_class, &visit);
	return cls;
}
