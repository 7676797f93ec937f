/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The same model for C++: emit_cxx.c writes the header, emit_cxx_source.c what joins an author's
 * members to the class tables. Nothing here can fail. */

#include <iig/model.h>
#include <iig/text.h>

/* `implements`: the classes are implemented in C++, so the header declares what their author
 * writes. */
void emit_cxx_header(struct text *out, const struct model *model, bool implements);

/* `header` is the name by which the source includes the header, brackets or quotes included. */
void emit_cxx_source(struct text *out, const struct model *model, const char *header);

/* How a method is written down in C++. */
struct cxx_signature {
	const char *lead; // "\tvirtual "
	const char *name; // qualified, as the place wants it
	const char *self; // the type of a first parameter `self`; NULL: none
	const struct model_method *method;
	bool with_fallbacks; // default arguments
	const char *more;    // a further parameter's type; NULL: none
	const char *tail;
};
void emit_cxx_signature(struct text *out, struct arena *arena, const struct cxx_signature *s);

/* "INDENT[return ]CALLEE(SELF, a, b);" */
void emit_cxx_call(struct text *out, struct arena *arena, const struct model_method *method,
		   const char *indent, const char *callee, const char *self);

/* The author writes it as an ordinary member: LOCALONLY, and whatever overrides such a method. */
bool cxx_is_plain_member(const struct model_method *method);
