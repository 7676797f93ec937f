/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * An interface file as it was written: what parse.c makes of libclang's cursors, and all that the
 * later phases know of the source. Everything lives in one arena and is constant after parsing.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <iig/arena.h>

struct location {
	const char *file;
	unsigned line;
};

enum type_kind {
	TYPE_VOID,
	TYPE_BOOL,
	TYPE_INTEGER,
	TYPE_ENUM,
	TYPE_FLOAT,
	TYPE_POINTER,
	TYPE_ARRAY,
	TYPE_OBJECT, // a class; `cls`
	TYPE_RECORD, // a C structure or union; `fields`
	TYPE_FUNCTION,
	TYPE_REFERENCE,
	TYPE_BLOCK,
	TYPE_OTHER,
};

struct field {
	const char *name; // "" if none was given
	const struct type *type;
	bool is_bitfield;
};

struct type {
	enum type_kind kind;
	const char *name; // C's spelling where it has one; NULL: built from `inner`
	bool is_const;
	bool is_fd;     // dext_fd_t or a typedef of it
	bool is_status; // kern_return_t or a typedef of it
	bool is_port;   // mach_port_t or a typedef of it
	bool varies;    // an integer whose size depends on the architecture
	bool is_signed;
	unsigned bits;            // integers, enumerations and floats
	const struct type *inner; // pointee, element or a function's result; NULL for pointers
				  // inside records
	uint64_t count;           // elements of an array
	const struct class *cls;
	bool complete; // a record whose fields are known
	bool is_union;
	struct field *fields; // of a record, or a function's parameters
	size_t n_fields;
};

/* TYPE(Class::Method). `method` is NULL without the attribute, `cls` where only Method was given.
 */
struct method_name {
	const char *cls;
	const char *method;
};

struct param {
	const char *name; // "" if none was given
	struct location where;
	const struct type *type;
	bool is_target, is_noescape;
	struct method_name prototype;
	const char *default_value; // as it was written, or NULL
};

/* Versions of DriverKit's API; 0: not said. */
struct availability {
	unsigned introduced, deprecated, obsoleted;
	const char *message; // what to use instead, or NULL
};

struct method {
	const char *name;
	const char *doc; // the comment, or NULL
	struct location where;
	const struct class *cls;
	const struct type *result;
	struct param *params;
	size_t n_params;
	bool is_virtual, is_static, is_const, is_override;
	bool overrides; // some class above declares it, whether or not `override` was written
	bool is_local, is_localonly, is_remote, is_localhost;
	bool is_reply, is_invokereply, is_kernel, is_native;
	struct method_name prototype;
	const char *queue; // QUEUENAME, or NULL
	struct availability availability;
};

struct class
{
	const char *name;
	const char *doc;
	struct location where;
	const struct class *super; // NULL for the root, an extension, or while only declared
	const char *extends;       // EXTENDS: the class that it adds methods to, or NULL
	bool is_complete;
	bool is_main;       // defined in the file being compiled
	bool is_named_here; // declared in it, at least
	bool is_serializable, is_protocol, is_kernel, is_native, is_local, is_concrete;
	struct availability availability;
	struct method *methods;
	size_t n_methods;
};

enum item_kind { ITEM_INCLUDE, ITEM_TEXT, ITEM_CLASS };

/* What stands at the file's top level, in order. */
struct item {
	enum item_kind kind;
	unsigned offset, end;
	const char *text; // INCLUDE: the directive for the header; TEXT: the declaration
	const char *doc;
	const char *tag; // TEXT: "struct x" or "enum x" if it needs a typedef of its own
	const struct class *cls;
};

struct unit {
	struct arena *arena;
	const char *file;
	const char *license;        // its SPDX expression, or NULL
	const char *implementation; // for the generated source; NULL: none
	struct item *items;
	size_t n_items;
	struct class **classes; // of all files, in the order they were met
	size_t n_classes;
	const char **dependencies; // files that were read, without the system's
	size_t n_dependencies;
	unsigned n_errors;
};

#define ROOT_CLASS "OSObject"

/* Report an error at `where`; counts it. */
void unit_error(struct unit *unit, struct location where, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* NULL: none. */
const struct class *unit_class(const struct unit *unit, const char *name);
const struct method *class_method(const struct class *cls, const char *name);

/* The first declaration of a method in the class above `cls` and beyond; NULL: none. */
const struct method *inherited_method(const struct class *cls, const char *name);
bool class_derives(const struct class *cls, const char *ancestor);

/* The method that a TYPE() of `cls` names; NULL: unknown. */
const struct method *prototype_method(const struct unit *unit, const struct class *cls,
				      struct method_name name);
bool method_is_prototype(const struct method *method); // TARGET without TYPE
bool method_is_class(const struct method *method);     // static, and in the class table
bool method_has_id(const struct method *method);       // of its own

/* How C declares `name` with this type: "const char *name". */
const char *type_declare(struct arena *arena, const struct type *type, const char *name);
const char *type_spelling(struct arena *arena, const struct type *type);

/* A parameter's array is a pointer in C. */
bool type_is_const_array(const struct type *type);
