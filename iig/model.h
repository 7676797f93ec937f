/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The third phase: a checked tree, resolved into what the emitters print. Read-only for them;
 * building it cannot fail.
 */

#include <iig/carry.h>
#include <iig/tree.h>

enum method_kind {
	METHOD_VIRTUAL,   // declared first here: id, message, shape, stub, implementation
	METHOD_OVERRIDE,  // an implementation of a method of a class above
	METHOD_CALLBACK,  // TYPE(): an implementation, called with the prototype's message
	METHOD_PROTOTYPE, // TARGET: id, message, shape, and a stub that goes through the action
	METHOD_CLASS,     // static: id, message, shape, row; the stub asks the class, not an object
	METHOD_PLAIN,     // an ordinary function of the author
	METHOD_STATIC,    // the same, without an object
};

struct model_param {
	const char *name;
	struct location where;
	const char *declared;      // "const IOServiceName name"
	const char *default_value; // as it was written, or NULL; C always passes the argument
	const char *field;         // its field of the message, declared; NULL: none
	enum carry carry;
	const struct type *type; // of the value: the pointee of an output, the element of an array
	uint64_t room;           // elements of an array or bytes of a name; 0: none
	bool is_object;          // an object that enters with the message
};

/* How long a method X_f(…, void *context, function) keeps what X(…, block) gives it. */
enum block_life {
	BLOCK_DURING,      // until it returns: the block is not copied
	BLOCK_ONCE,        // where it succeeds, until the function has run, once
	BLOCK_UNTIL_ENDED, // where it succeeds, until the function behind, `ended`, is called
};

struct model_block;

struct model_method {
	enum method_kind kind;
	const struct method *source; // attributes and place
	const char *name;
	const char *full; // Class_Method
	const char *doc;
	const char *cls;
	uint64_t id;
	const char *canonical;
	const char *result; // C spelling
	const struct type *result_type;
	bool returns_status;
	bool is_const, is_localonly, is_oneway;
	const struct model_param *params;
	size_t n_params;
	const char *queue;                    // NULL: the default queue
	struct availability availability;     // its own, or its class's
	const char *api;                      // the method whose name the macros of it have
	const struct model_block *block;      // its form with a block; NULL: none
	const struct model_method *base;      // OVERRIDE: the first declaration
	const struct model_method *prototype; // CALLBACK, and an override of one
};

struct model_block {
	enum block_life life;
	size_t context;              // of the parameters; the function is the next
	const struct type *function; // its type
	const char *type;            // of the block, "bool (^)(OSObject *object)"
	struct model_method form;    // X, with the block in the place of both
};

struct model_class {
	const struct class *source; // attributes and place
	const char *name;
	const char *doc;
	const char *super; // NULL for the root and for an extension
	const char *self;  // the class of the objects: its own name, or that of the class extended
	bool is_root, is_protocol, is_extension;
	const struct model_class *parent; // NULL where `super` is
	struct model_method *methods;
	size_t n_methods;
	const struct model_method **rows; // with an implementation, ascending by id
	size_t n_rows;
	const char **queues;
	size_t n_queues;
};

struct model {
	struct arena *arena;
	const struct unit *unit;
	const struct model_class **classes; // of the main file, in order
	size_t n_classes;
	const char **declared; // classes that are only named here: each needs a typedef
	size_t n_declared;
	bool only_protocols;
};

const struct model *model_new(const struct unit *unit);

const char *model_kind_name(enum method_kind kind);

/* The message that the implementation of `method` is called with, its owner. */
const struct model_method *model_message(const struct model_method *method);
/* The shape of its row. */
const struct model_method *model_shape(const struct model_method *method);
bool model_has_row(const struct model_method *method);
bool model_has_self(const struct model_method *method); // an object is called
