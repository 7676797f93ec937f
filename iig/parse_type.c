/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/parser.h>

/* Types: what a declaration's type means, and how C spells it. */

#include <string.h>

static const struct type *read_type(struct parser *p, CXType source, bool in_record);

struct class *parser_class(struct parser *p, CXCursor declaration)
{
	struct unit *unit = p->unit;
	const char *name = parser_spelling(p, declaration);
	for (size_t i = 0; i < unit->n_classes; i++)
		if (strcmp(unit->classes[i]->name, name) == 0)
			return unit->classes[i];
	struct class *cls = arena_alloc(unit->arena, sizeof(*cls));
	cls->name = name;
	cls->where = parser_where(p, declaration);
	ARENA_APPEND(unit->arena, unit->classes, unit->n_classes, cls);
	return cls;
}

struct field_visit {
	struct parser *p;
	struct type *record;
};

static enum CXVisitorResult visit_field(CXCursor cursor, CXClientData data)
{
	struct field_visit *visit = data;
	struct field field = {
		.name = parser_spelling(visit->p, cursor),
		.type = read_type(visit->p, clang_getCursorType(cursor), true),
		.is_bitfield = clang_Cursor_isBitField(cursor),
	};
	ARENA_APPEND(visit->p->unit->arena, visit->record->fields, visit->record->n_fields, field);
	return CXVisit_Continue;
}

static void read_record(struct parser *p, struct type *type, CXType source)
{
	CXCursor declaration = clang_getTypeDeclaration(source);
	enum CXCursorKind kind = clang_getCursorKind(declaration);
	if (kind == CXCursor_ClassDecl) {
		type->kind = TYPE_OBJECT;
		type->cls = parser_class(p, declaration);
		type->name = type->cls->name;
		return;
	}
	type->kind = kind == CXCursor_StructDecl || kind == CXCursor_UnionDecl ? TYPE_RECORD
									       : TYPE_OTHER;
	type->is_union = kind == CXCursor_UnionDecl;
	type->name = arena_format(p->unit->arena, "%s %s", type->is_union ? "union" : "struct",
				  parser_spelling(p, declaration));
	type->complete = clang_Type_getSizeOf(source) >= 0;
	struct field_visit visit = { p, type };
	if (type->complete)
		clang_Type_visitFields(source, visit_field, &visit);
}

/* Names whose meaning is fixed, whatever they are a typedef of. */
static bool read_known_typedef(struct type *type, const char *name)
{
	static const struct {
		const char *name;
		unsigned bits;
		bool is_signed, varies;
	} known[] = {
		{ "uint8_t", 8, false, false },   { "uint16_t", 16, false, false },
		{ "uint32_t", 32, false, false }, { "uint64_t", 64, false, false },
		{ "int8_t", 8, true, false },     { "int16_t", 16, true, false },
		{ "int32_t", 32, true, false },   { "int64_t", 64, true, false },
		{ "size_t", 64, false, true },    { "ssize_t", 64, true, true },
		{ "uintptr_t", 64, false, true }, { "intptr_t", 64, true, true },
		{ "ptrdiff_t", 64, true, true },
	};
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcmp(known[i].name, name) != 0)
			continue;
		type->kind = TYPE_INTEGER;
		type->bits = known[i].bits;
		type->is_signed = known[i].is_signed;
		type->varies = known[i].varies;
		return true;
	}
	return false;
}

/* A function's result and parameters. One that takes a variable list keeps its form to itself. */
static void read_function(struct parser *p, struct type *type, CXType source)
{
	type->kind = TYPE_FUNCTION;
	type->inner = read_type(p, clang_getResultType(source), false);
	int count = clang_isFunctionTypeVariadic(source) ? 0 : clang_getNumArgTypes(source);
	for (int i = 0; i < count; i++) {
		struct field param = {
			.name = "",
			.type = read_type(p, clang_getArgType(source, (unsigned)i), false),
		};
		ARENA_APPEND(p->unit->arena, type->fields, type->n_fields, param);
	}
}

struct names_visit {
	struct parser *p;
	struct type *function;
	size_t n_named;
};

static enum CXChildVisitResult visit_name(CXCursor cursor, CXCursor parent, CXClientData data)
{
	(void)parent;
	struct names_visit *visit = data;
	struct type *function = visit->function;
	if (clang_getCursorKind(cursor) == CXCursor_ParmDecl && visit->n_named < function->n_fields)
		function->fields[visit->n_named++].name = parser_spelling(visit->p, cursor);
	return CXChildVisit_Continue;
}

/* The names of a function's parameters stand with the typedef, and not with the type. */
static const struct type *name_params(struct parser *p, const struct type *function,
				      CXCursor declaration)
{
	struct type *named = arena_alloc(p->unit->arena, sizeof(*named));
	*named = *function;
	struct names_visit visit = { .p = p, .function = named };
	clang_visitChildren(declaration, visit_name, &visit);
	return named;
}

static void read_typedef(struct parser *p, struct type *type, CXType source, bool in_record)
{
	const char *name = parser_take(p, clang_getTypedefName(source));
	bool is_const = type->is_const;
	if (!read_known_typedef(type, name)) {
		CXCursor declaration = clang_getTypeDeclaration(source);
		CXType under = clang_getTypedefDeclUnderlyingType(declaration);
		*type = *read_type(p, under, in_record);
		type->is_const |= is_const;
		if (type->inner != NULL && type->inner->kind == TYPE_FUNCTION)
			type->inner = name_params(p, type->inner, declaration);
	}
	type->name = name;
	type->is_fd |= strcmp(name, "dext_fd_t") == 0;
	type->is_status |= strcmp(name, "kern_return_t") == 0;
	type->is_port |= strcmp(name, "mach_port_t") == 0;
}

static void read_integer(struct type *type, const char *name, CXType source, bool is_signed)
{
	type->kind = TYPE_INTEGER;
	type->name = name;
	type->bits = (unsigned)(8 * clang_Type_getSizeOf(source));
	type->is_signed = is_signed;
	type->varies = source.kind == CXType_Long || source.kind == CXType_ULong;
}

static void read_builtin(struct parser *p, struct type *type, CXType source)
{
	CXType plain = clang_getCanonicalType(source);
	const char *name = parser_take(p, clang_getTypeSpelling(plain));
	if (strncmp(name, "const ", 6) == 0)
		name += 6;
	switch (source.kind) {
	case CXType_Void:
		type->kind = TYPE_VOID;
		type->name = name;
		return;
	case CXType_Bool:
		type->kind = TYPE_BOOL;
		type->name = name;
		type->bits = 8;
		return;
	case CXType_Char_S:
	case CXType_SChar:
	case CXType_Short:
	case CXType_Int:
	case CXType_Long:
	case CXType_LongLong:
		read_integer(type, name, source, true);
		return;
	case CXType_Char_U:
	case CXType_UChar:
	case CXType_UShort:
	case CXType_UInt:
	case CXType_ULong:
	case CXType_ULongLong:
		read_integer(type, name, source, false);
		return;
	case CXType_Float:
	case CXType_Double:
	case CXType_LongDouble:
	case CXType_Half:
	case CXType_Float16:
	case CXType_Float128:
		type->kind = TYPE_FLOAT;
		type->name = name;
		type->bits = (unsigned)(8 * clang_Type_getSizeOf(source));
		return;
	case CXType_LValueReference:
	case CXType_RValueReference:
		type->kind = TYPE_REFERENCE;
		type->name = name;
		return;
	case CXType_BlockPointer:
		type->kind = TYPE_BLOCK;
		type->name = name;
		return;
	default:
		type->kind = TYPE_OTHER;
		type->name = name;
		return;
	}
}

static void read_enum(struct parser *p, struct type *type, CXType source)
{
	CXCursor declaration = clang_getTypeDeclaration(source);
	struct type under = { 0 };
	read_builtin(p, &under, clang_getCanonicalType(clang_getEnumDeclIntegerType(declaration)));
	type->kind = TYPE_ENUM;
	type->name = arena_format(p->unit->arena, "enum %s", parser_spelling(p, declaration));
	type->bits = under.bits;
	type->is_signed = under.is_signed;
}

static const struct type *read_type(struct parser *p, CXType source, bool in_record)
{
	struct type *type = arena_alloc(p->unit->arena, sizeof(*type));
	type->is_const = clang_isConstQualifiedType(source);
	if (clang_isVolatileQualifiedType(source) || clang_isRestrictQualifiedType(source)) {
		type->kind = TYPE_OTHER;
		type->name = parser_take(p, clang_getTypeSpelling(source));
		return type;
	}
	switch (source.kind) {
	case CXType_Elaborated:
		*type = *read_type(p, clang_Type_getNamedType(source), in_record);
		type->is_const |= clang_isConstQualifiedType(source);
		break;
	case CXType_Unexposed: // a type in parentheses, as in a pointer to a function
		if (clang_getCanonicalType(source).kind == CXType_FunctionProto)
			read_function(p, type, source);
		else
			read_builtin(p, type, source);
		break;
	case CXType_FunctionProto:
	case CXType_FunctionNoProto:
		read_function(p, type, source);
		break;
	case CXType_Typedef:
		read_typedef(p, type, source, in_record);
		break;
	case CXType_Pointer:
		type->kind = TYPE_POINTER;
		if (!in_record) // a record may lead back to itself
			type->inner = read_type(p, clang_getPointeeType(source), false);
		break;
	case CXType_ConstantArray:
		type->kind = TYPE_ARRAY;
		type->inner = read_type(p, clang_getArrayElementType(source), in_record);
		type->count = (uint64_t)clang_getArraySize(source);
		break;
	case CXType_Record:
		read_record(p, type, source);
		break;
	case CXType_Enum:
		read_enum(p, type, source);
		break;
	default:
		read_builtin(p, type, source);
		break;
	}
	return type;
}

const struct type *parser_type(struct parser *p, CXType source)
{
	return read_type(p, source, false);
}
