/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Between the files that write an interface's source: emit_source.c the file and the class tables,
 * emit_shape.c shapes with their encode and decode, emit_record.c that of structures, emit_stub.c
 * the functions that callers call.
 */

#include <iig/emit.h>

/* What the file needs in front, known only when the rest was written. */
enum helper {
	HELPER_FILL_NAME = 1 << 0,
	HELPER_GET_INTEGER = 1 << 1,
	HELPER_GET_OBJECT = 1 << 2,
	HELPER_GET_FD = 1 << 3,
	HELPER_DROP_FD = 1 << 4,
	HELPER_PUT_NOTHING = 1 << 5,
	HELPER_GET_NOTHING = 1 << 6,
	HELPER_STRING_H = 1 << 7,
	HELPER_CODEC_H = 1 << 8,
	HELPER_GET_COUNT = 1 << 9,
	HELPER_GET_PACKED = 1 << 10,
};

struct source {
	struct text *out; // the part behind the helpers
	struct arena *arena;
	const struct model *model;
	bool is_cxx;                 // the classes are implemented in C++
	unsigned helpers;            // enum helper
	const char **extern_classes; // named by a decoder, declared nowhere
	size_t n_extern_classes;
	unsigned depth; // of the loops around the statement that is written
	bool remote;    // the classes are implemented elsewhere: stubs and shapes only
};

/* The digits of a number. */
const char *source_number(struct source *s, uint64_t value);
bool param_is_out(const struct model_param *param);

/* "(int16_t)get_integer(r, UINT16_MAX)": a number read by `get`, as its type. */
const char *source_number_of(struct source *s, const struct type *type, const char *get);
/* A number as the unsigned value that travels. */
const char *source_wire_value(struct source *s, const struct type *type, const char *value);

/* The statements that put or get a structure, `value` being an lvalue: "m->range". */
void emit_record_put(struct source *s, const struct type *type, const char *value);
void emit_record_get(struct source *s, const struct type *type, const char *value);

/* The statements that give up objects and descriptors that would have come back, in a block. */
void emit_drop_outputs(struct source *s, const struct model_method *message, const char *prefix);

void emit_shape(struct source *s, const struct model_method *method);

enum stub {
	STUB_INVOKE, // through the object
	STUB_SUPER,  // the super class's implementation
	STUB_ACTION, // through the action
	STUB_CLASS,  // through the class: no object
};
void emit_stub(struct source *s, const struct model_class *cls, const struct model_method *method,
	       enum stub stub);
void emit_create_action(struct source *s, const struct model_class *cls,
			const struct model_method *method);
