/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The last phase: a model to C. Nothing here can fail. */

#include <iig/model.h>
#include <iig/text.h>

/* `cxx` is the header that C++ is sent to, beside this one; NULL: C alone. */
void emit_header(struct text *out, const struct model *model, const char *cxx);

/* `header` is the name by which the source includes the header, brackets or quotes included.
 * What the source is: */
enum source_kind {
	SOURCE_C,
	SOURCE_CXX,    // the classes are implemented in C++, and bring their constructors
	SOURCE_REMOTE, // for a process that calls the classes and does not implement them
};
void emit_source(struct text *out, const struct model *model, const char *header,
		 enum source_kind kind);

/* The lines that every generated file begins with. */
void emit_origin(struct text *out, const struct model *model);
/* What the interface file has for the source, and an empty line; nothing if it has none. */
void emit_copied(struct text *out, const struct model *model);

/* "kern_return_t Class_Method(Class *self, …)" + tail. `prefix` goes before the result. */
struct signature {
	const char *prefix;
	const char *cls;  // of self; NULL: no self
	const char *name; // of the function
	const struct model_method *method;
	const char *tail;
};
void emit_signature(struct text *out, struct arena *arena, const struct signature *signature);

/* prefix + result, ready for the function's name: "static inline bool ", "OSString *". */
const char *result_lead(struct arena *arena, const char *prefix, const char *result);

void emit_create_action_signature(struct text *out, struct arena *arena, const char *prefix,
				  const struct model_class *cls, const char *method,
				  const char *tail);

/* The macro Class_Method_API, which declarations of the method begin with (`api_prefix`); nothing
 * for a method that has no availability. */
void emit_api(struct text *out, struct arena *arena, const struct model_method *method);
const char *api_prefix(struct arena *arena, const struct model_method *method);
bool api_is_limited(const struct model_method *method);
/* Some versions have it not: Class_Method_API_MISSING is defined for them. */
bool api_may_be_missing(const struct model_method *method);
/* Around an inline function that calls the method: a version that has it not gets the declaration
 * alone, `signature`, so that nothing but its use is an error. */
void emit_api_inline_begin(struct text *out, struct arena *arena,
			   const struct signature *signature);
void emit_api_inline_end(struct text *out, const struct model_method *method);

/* The form of a method that takes a block (`method->block`), as functions of C and C++ alike, for
 * compilers that know blocks; `self` is the class of the objects. The file includes what
 * emit_block_includes writes. */
void emit_block(struct text *out, struct arena *arena, const char *self,
		const struct model_method *method);
void emit_block_includes(struct text *out, const struct model *model);

/* "\tHEAD self, a, b TAIL": a call that passes a method's parameters on. */
void emit_arguments(struct text *out, struct arena *arena, const struct text_list *call,
		    const struct model_method *method);

/* A pointer to a class's object, as `to`. */
const char *upcast(struct arena *arena, const char *cls, const char *to, bool is_const);
