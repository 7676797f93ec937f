/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/check.h>

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include <iig/block.h>
#include <iig/carry.h>
#include <iig/id.h>

/* ---- names ---- */

static bool one_of(const char *name, const char *const *words)
{
	for (; *words != NULL; words++)
		if (strcmp(*words, name) == 0)
			return true;
	return false;
}

/* C++ refuses most of them already; these are words of C alone, or names of generated code. */
static const char *const reserved_params[] = {
	"self", "ret", "msg", "restrict", "_Bool", "_Atomic", "_Generic", "_Noreturn", NULL,
};
static const char *const reserved_methods[] = {
	"retain", "release", "restrict", "super", "ivars", "OSDispatchSuper", NULL,
};

static bool begins_with(const char *name, const char *prefix)
{
	return strncmp(name, prefix, strlen(prefix)) == 0;
}

static bool ends_with_generated(const char *name)
{
	static const char *const endings[] = { "_ID",    "_Msg",   "_Args",       "_Impl", "_Shape",
					       "_IVars", "_Block", "_BlockEnded", NULL };
	size_t size = strlen(name);
	for (const char *const *ending = endings; *ending != NULL; ending++)
		if (size >= strlen(*ending) && strcmp(name + size - strlen(*ending), *ending) == 0)
			return true;
	return false;
}

static bool is_identifier(const char *name)
{
	for (; *name != '\0'; name++)
		if (!isalnum((unsigned char)*name) && *name != '_')
			return false;
	return true;
}

/* Of a method, or of its form with a block. */
static bool is_generated(const char *name)
{
	return one_of(name, reserved_methods) || begins_with(name, "super_") ||
	       begins_with(name, "as_") || begins_with(name, "CreateAction") ||
	       ends_with_generated(name);
}

static void check_method_name(struct unit *unit, const struct method *method)
{
	const char *name = method->name;
	size_t function;
	if (!is_identifier(name))
		unit_error(unit, method->where,
			   "method %s: operators are not supported: write a method with a name",
			   name);
	else if (is_generated(name))
		unit_error(unit, method->where,
			   "method %s: iig generates a function of that name: choose another",
			   name);
	else if (block_function(method, &function) &&
		 is_generated(arena_copy(unit->arena, name, strlen(name) - 2)))
		unit_error(unit, method->where,
			   "method %s: iig generates a function of the name of its form with a "
			   "block: choose another",
			   name);
	for (const struct method *m = method->cls->methods; m < method; m++)
		if (strcmp(m->name, name) == 0)
			unit_error(
				unit, method->where,
				"method %s: overloads line %u: C has no overloads; choose another name",
				name, m->where.line);
}

static void check_param_names(struct unit *unit, const struct method *method)
{
	for (size_t i = 0; i < method->n_params; i++) {
		const struct param *param = &method->params[i];
		if (*param->name == '\0')
			unit_error(unit, param->where,
				   "method %s: parameter %zu has no name: give it one",
				   method->name, i + 1);
		else if (one_of(param->name, reserved_params))
			unit_error(
				unit, param->where,
				"method %s: generated code uses the name %s: rename the parameter",
				method->name, param->name);
	}
}

/* ---- types ---- */

static bool check_object_type(struct unit *unit, const struct method *method, struct location where,
			      const struct type *type)
{
	if (type->kind == TYPE_OBJECT) {
		if (!type->cls->is_complete || class_derives(type->cls, ROOT_CLASS))
			return true;
		unit_error(unit, where, "method %s: class %s does not derive from " ROOT_CLASS,
			   method->name, type->cls->name);
		return false;
	}
	return type->inner == NULL || check_object_type(unit, method, where, type->inner);
}

/* The forms that no method can have, LOCALONLY or not. NULL: fine. */
static const char *refuse_type(const struct type *type)
{
	switch (type->kind) {
	case TYPE_REFERENCE:
		return "references are not supported: use a pointer";
	case TYPE_BLOCK:
		return "blocks are not supported: pass a context and a function, and name the method "
		       "with _f";
	case TYPE_OBJECT:
		return "objects have no value: use a pointer";
	case TYPE_FUNCTION:
		return "write the function's type as a typedef";
	case TYPE_OTHER:
		return "iig does not know this type: use a plain C type";
	case TYPE_POINTER:
		if (type->name != NULL || type->inner == NULL || type->inner->kind == TYPE_OBJECT)
			return NULL;
		if (type->inner->kind == TYPE_ARRAY && type->inner->name == NULL)
			return "write a pointer to an array as a typedef";
		return refuse_type(type->inner);
	case TYPE_ARRAY:
		if (type->inner->kind == TYPE_ARRAY && type->inner->name == NULL)
			return "write the inner array as a typedef";
		return refuse_type(type->inner);
	default:
		return NULL;
	}
}

static void check_protocol_object(struct unit *unit, const struct method *method,
				  const struct param *param)
{
	const struct type *type = param->type;
	while (type->inner != NULL)
		type = type->inner;
	if (type->kind == TYPE_OBJECT && !type->cls->is_serializable)
		unit_error(unit, param->where,
			   "method %s, parameter %s: an object of class %s cannot be serialized: a "
			   "PROTOCOL carries SERIALIZABLE classes such as OSDictionary",
			   method->name, param->name, type->cls->name);
}

static void check_param(struct unit *unit, const struct method *method, size_t i)
{
	const struct param *param = &method->params[i];
	const char *wrong = refuse_type(param->type);
	enum carry carry = CARRY_AS_IS;
	if (wrong == NULL)
		wrong = carry_param(unit->arena, method, i, &carry);
	if (wrong == NULL && carry_forms[carry].returns && method->result->kind == TYPE_VOID)
		wrong = "a void method has no reply, so nothing can come back: return kern_return_t";
	if (wrong != NULL) {
		unit_error(unit, param->where, "method %s, parameter \"%s\": %s", method->name,
			   type_declare(unit->arena, param->type, param->name), wrong);
		return;
	}
	check_object_type(unit, method, param->where, param->type);
	if (method->cls->is_protocol)
		check_protocol_object(unit, method, param);
}

/* What the parameters of one direction need. */
struct load {
	uint64_t objects, fds;
	uint64_t wire, memory; // bytes, at most
};

static void load_param(struct load *load, const struct param *param, enum carry carry)
{
	const struct type *value = param->type->inner != NULL ? param->type->inner : param->type;
	uint64_t room = carry_forms[carry].has_room ? param->type->count : 1;
	uint64_t memory = 8;
	uint64_t wire = 8;
	if (value->kind == TYPE_RECORD) {
		wire = carry_packed_size(value);
		memory = 2 * wire; // with its padding
	} else if (carry == CARRY_NAME || carry == CARRY_ARRAY || carry == CARRY_ARRAY_OUT) {
		memory = value->bits / 8;
		wire = carry == CARRY_NAME ? 1 : 8;
	}
	load->wire += room * wire + 16;
	load->memory += room * memory + 16;
	load->objects += carry == CARRY_OBJECT || carry == CARRY_OBJECT_OUT ? 1 : 0;
	load->objects += carry == CARRY_OBJECT_ARRAY ? room : 0;
	load->fds += carry == CARRY_FD || carry == CARRY_FD_OUT ? 1 : 0;
	load->fds += carry == CARRY_FD_ARRAY ? room : 0;
}

static void check_message(struct unit *unit, const struct method *method)
{
	struct load loads[2] = { 0 }; // in, out
	for (size_t i = 0; i < method->n_params; i++) {
		enum carry carry;
		if (carry_param(unit->arena, method, i, &carry) == NULL && carry != CARRY_AS_IS)
			load_param(&loads[carry_forms[carry].returns], &method->params[i], carry);
	}
	for (unsigned out = 0; out < 2; out++) {
		if (loads[out].objects > OBJECTS_MAX || loads[out].fds > FDS_MAX)
			unit_error(unit, method->where,
				   "method %s: a message carries at most %d objects and %d "
				   "descriptors: split the method",
				   method->name, OBJECTS_MAX, FDS_MAX);
		if (loads[out].wire > BODY_MAX)
			unit_error(
				unit, method->where,
				"method %s: a message carries at most %d bytes, and this one might "
				"need %" PRIu64 ": use OSData or a memory descriptor",
				method->name, BODY_MAX, loads[out].wire);
	}
	/* It lies on the caller's stack, and its objects are found by 16-bit offsets. */
	if (loads[0].memory + loads[1].memory > UINT16_MAX)
		unit_error(
			unit, method->where,
			"method %s: its parameters take more than 64 KiB: use OSData or a memory "
			"descriptor",
			method->name);
}

static void check_result(struct unit *unit, const struct method *method)
{
	const struct type *result = method->result;
	const char *wrong = refuse_type(result);
	if (wrong == NULL && result->kind == TYPE_ARRAY)
		wrong = "a method cannot return an array: use a pointer";
	if (wrong == NULL && !method->is_localonly && !result->is_status &&
	    result->kind != TYPE_VOID)
		wrong = "a method that may be remote returns kern_return_t or void: give the result "
			"through a pointer, or make the method LOCALONLY";
	if (wrong != NULL)
		unit_error(unit, method->where, "method %s, result \"%s\": %s", method->name,
			   type_spelling(unit->arena, result), wrong);
	else
		check_object_type(unit, method, method->where, result);
}

/* ---- attributes ---- */

static bool is_action_pointer(const struct type *type)
{
	return type->kind == TYPE_POINTER && type->inner != NULL &&
	       type->inner->kind == TYPE_OBJECT && strcmp(type->inner->cls->name, "OSAction") == 0;
}

static void check_target(struct unit *unit, const struct method *method)
{
	for (size_t i = 0; i < method->n_params; i++) {
		const struct param *param = &method->params[i];
		if (!param->is_target)
			continue;
		if (i > 0 || !is_action_pointer(param->type))
			unit_error(
				unit, param->where,
				"method %s: TARGET belongs to the first parameter, an OSAction *",
				method->name);
		else if (!method->is_virtual || method->is_localonly ||
			 method->result->kind != TYPE_VOID)
			unit_error(
				unit, method->where,
				"method %s: a callback is virtual, returns void and is not LOCALONLY",
				method->name);
	}
}

static void check_noescape(struct unit *unit, const struct method *method)
{
	for (size_t i = 0; i < method->n_params; i++) {
		size_t function;
		if (!method->params[i].is_noescape)
			continue;
		if (!block_function(method, &function) || function != i)
			unit_error(
				unit, method->params[i].where,
				"method %s: NOESCAPE belongs to the function of a method X_f(…, void "
				"*context, function), whose first parameter is that context: remove it",
				method->name);
		else if (i + 1 < method->n_params)
			unit_error(
				unit, method->params[i].where,
				"method %s: NOESCAPE and a function that tells the end exclude each "
				"other: remove one",
				method->name);
	}
}

/* The prototype of a TYPE(), or NULL when it names none; reports that. */
static const struct method *check_type_name(struct unit *unit, const struct class *cls,
					    struct location where, struct method_name name)
{
	const struct method *prototype = prototype_method(unit, cls, name);
	const char *class_name = name.cls != NULL ? name.cls : cls->name;
	if (prototype == NULL)
		unit_error(
			unit, where,
			"TYPE(%s::%s): there is no such method: include the file that declares it",
			class_name, name.method);
	else if (!method_is_prototype(prototype))
		unit_error(
			unit, where,
			"TYPE(%s::%s): that method is no callback: its first parameter must be an "
			"OSAction * with TARGET",
			class_name, name.method);
	else
		return prototype;
	return NULL;
}

static void check_callback(struct unit *unit, const struct method *method)
{
	if (method->prototype.method == NULL)
		return;
	const struct method *prototype =
		check_type_name(unit, method->cls, method->where, method->prototype);
	if (prototype == NULL)
		return;
	const char *mine = canonical_signature(unit->arena, method);
	const char *theirs = canonical_signature(unit->arena, prototype);
	if (method->n_params == 0 || !method->params[0].is_target)
		unit_error(unit, method->where,
			   "method %s: a TYPE() method begins with \"OSAction * action TARGET\"",
			   method->name);
	else if (strcmp(mine, theirs) != 0)
		unit_error(
			unit, method->where,
			"method %s: its signature %s differs from %s of %s::%s (%s:%u): make them equal",
			method->name, mine, theirs, prototype->cls->name, prototype->name,
			prototype->where.file, prototype->where.line);
}

static void check_param_types(struct unit *unit, const struct method *method)
{
	for (size_t i = 0; i < method->n_params; i++) {
		const struct param *param = &method->params[i];
		if (param->prototype.method == NULL)
			continue;
		if (!is_action_pointer(param->type))
			unit_error(unit, param->where,
				   "method %s: TYPE() belongs to an OSAction * parameter",
				   method->name);
		else
			check_type_name(unit, method->cls, param->where, param->prototype);
	}
}

/* Attributes that contradict each other: of one method at most one of each row. */
static void check_exclusive(struct unit *unit, const struct method *method)
{
	const struct {
		const char *names[2];
		bool both;
	} rows[] = {
		{ { "LOCAL", "LOCALONLY" }, method->is_local && method->is_localonly },
		{ { "LOCAL", "REMOTE" }, method->is_local && method->is_remote },
		{ { "LOCALONLY", "REMOTE" }, method->is_localonly && method->is_remote },
		{ { "LOCALONLY", "LOCALHOST" }, method->is_localonly && method->is_localhost },
		{ { "REMOTE", "LOCALHOST" }, method->is_remote && method->is_localhost },
		{ { "LOCALONLY", "INVOKEREPLY" }, method->is_localonly && method->is_invokereply },
		{ { "LOCALONLY", "REPLY" }, method->is_localonly && method->is_reply },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].both)
			unit_error(unit, method->where,
				   "method %s: %s and %s exclude each other: remove one",
				   method->name, rows[i].names[0], rows[i].names[1]);
}

static void check_replies(struct unit *unit, const struct method *method)
{
	if (method->is_reply && !method_is_prototype(method))
		unit_error(unit, method->where,
			   "method %s: REPLY belongs to the prototype of a callback, whose first "
			   "parameter is an OSAction * with TARGET: remove it",
			   method->name);
	if (method->is_invokereply && (method_is_prototype(method) || !method->is_virtual))
		unit_error(
			unit, method->where,
			"method %s: INVOKEREPLY belongs to a virtual method that a REPLY callback "
			"answers: remove it",
			method->name);
}

/* It has no object that could be elsewhere, and so runs in the process that calls. */
static void check_class_method(struct unit *unit, const struct method *method)
{
	if (method->is_remote || method->is_localhost)
		unit_error(unit, method->where,
			   "method %s: a static method runs in the process that calls it: remove "
			   "%s, or make it a method of an object that lives elsewhere",
			   method->name, method->is_remote ? "REMOTE" : "LOCALHOST");
	if (method->prototype.method != NULL)
		unit_error(
			unit, method->where,
			"method %s: a callback is virtual, since an object is its target: remove "
			"static or TYPE()",
			method->name);
}

static void check_dispatch(struct unit *unit, const struct method *method)
{
	check_exclusive(unit, method);
	check_replies(unit, method);
	if (method_is_class(method))
		check_class_method(unit, method);
	else if (!method->is_virtual && !method->is_localonly)
		unit_error(
			unit, method->where,
			"method %s: a method that is not virtual cannot be called from elsewhere: "
			"declare it virtual, or LOCALONLY",
			method->name);
	if (method->queue != NULL && (!method->is_virtual || method_is_prototype(method)))
		unit_error(
			unit, method->where,
			"method %s: QUEUENAME belongs to a virtual method with an implementation: "
			"remove it",
			method->name);
	if (method->queue != NULL && !is_identifier(method->queue))
		unit_error(unit, method->where,
			   "method %s: QUEUENAME(%s): the name is an identifier", method->name,
			   method->queue);
}

/* ---- inheritance ---- */

/* An extension adds; what the class has stays as it is. */
static void check_addition(struct unit *unit, const struct method *method)
{
	const struct class *cls = unit_class(unit, method->cls->extends);
	for (; cls != NULL; cls = cls->super) {
		const struct method *other = class_method(cls, method->name);
		if (other != NULL)
			unit_error(
				unit, method->where,
				"method %s: %s has it (%s:%u), and an extension only adds: rename it, "
				"or override it in a class derived from %s",
				method->name, cls->name, other->where.file, other->where.line,
				method->cls->extends);
	}
	if (method->queue != NULL)
		unit_error(
			unit, method->where,
			"method %s: the queues of %s are its own, and the methods of an extension "
			"run on the default queue: remove QUEUENAME",
			method->name, method->cls->extends);
}

static void check_override(struct unit *unit, const struct method *method)
{
	const struct method *base = inherited_method(method->cls, method->name);
	if (base == NULL || (method->is_static && base->is_static))
		return; // clang has refused an override without a base; static methods are not
			// inherited
	if (!method->overrides) {
		unit_error(
			unit, method->where,
			"method %s: hides %s::%s (%s:%u): rename it, or override it with the same "
			"signature",
			method->name, base->cls->name, base->name, base->where.file,
			base->where.line);
		return;
	}
	if (!method->is_override)
		unit_error(unit, method->where, "method %s: overrides %s::%s: write \"override\"",
			   method->name, base->cls->name, base->name);
	if (method_is_prototype(base))
		unit_error(
			unit, method->where,
			"method %s: %s::%s is the prototype of a callback and has no implementation: "
			"declare a method with TYPE(%s::%s)",
			method->name, base->cls->name, base->name, base->cls->name, base->name);
	if (method->is_localonly && !base->is_localonly)
		unit_error(unit, method->where,
			   "method %s: %s::%s is not LOCALONLY: remove LOCALONLY here",
			   method->name, base->cls->name, base->name);
	if (method->prototype.method != NULL &&
	    (base->prototype.method == NULL ||
	     prototype_method(unit, method->cls, method->prototype) !=
		     prototype_method(unit, base->cls, base->prototype)))
		unit_error(unit, method->where, "method %s: its TYPE() differs from that of %s::%s",
			   method->name, base->cls->name, base->name);
}

static void check_protocol_method(struct unit *unit, const struct method *method)
{
	if (!method->is_virtual || method->is_localonly || method->queue != NULL ||
	    method->is_override || method->prototype.method != NULL || method_is_prototype(method))
		unit_error(
			unit, method->where,
			"method %s: a PROTOCOL class holds plain virtual methods: no LOCALONLY, TYPE, "
			"TARGET, QUEUENAME or override",
			method->name);
}

static void check_extension_form(struct unit *unit, const struct class *cls)
{
	const struct class *to = unit_class(unit, cls->extends);
	if (to == NULL || !to->is_complete)
		unit_error(unit, cls->where,
			   "class %s: EXTENDS(%s): include the file that declares class %s",
			   cls->name, cls->extends, cls->extends);
	else if (to->extends != NULL || to->is_protocol || !class_derives(to, ROOT_CLASS))
		unit_error(
			unit, cls->where,
			"class %s: EXTENDS(%s): only a class of objects can be extended, and %s is "
			"none",
			cls->name, cls->extends, cls->extends);
	if (cls->super != NULL)
		unit_error(unit, cls->where,
			   "class %s: an extension has no super class: remove \": public %s\"",
			   cls->name, cls->super->name);
	if (cls->is_serializable || cls->is_protocol)
		unit_error(unit, cls->where,
			   "class %s: EXTENDS excludes SERIALIZABLE and PROTOCOL: remove one",
			   cls->name);
}

static void check_class_form(struct unit *unit, const struct class *cls)
{
	if (cls->extends != NULL) {
		check_extension_form(unit, cls);
		return;
	}
	bool root = strcmp(cls->name, ROOT_CLASS) == 0;
	if (root ? cls->super != NULL : !class_derives(cls->super, ROOT_CLASS))
		unit_error(unit, cls->where,
			   "class %s: every class derives from " ROOT_CLASS
			   ": write \"class %s : public " ROOT_CLASS "\"",
			   cls->name, cls->name);
	if (cls->super == NULL)
		return;
	if (cls->super->is_protocol ||
	    (cls->is_protocol && strcmp(cls->super->name, ROOT_CLASS) != 0))
		unit_error(unit, cls->where,
			   "class %s: a PROTOCOL class derives from " ROOT_CLASS
			   " and nothing derives "
			   "from it",
			   cls->name);
}

/* The binary form knows these and no others. */
static void check_serializable(struct unit *unit, const struct class *cls)
{
	static const char *const known[] = {
		"OSContainer",  "OSData",  "OSNumber", "OSString",     "OSBoolean",
		"OSDictionary", "OSArray", "OSSet",    "OSOrderedSet", NULL,
	};
	if (cls->is_serializable && !one_of(cls->name, known))
		unit_error(
			unit, cls->where,
			"class %s: SERIALIZABLE belongs to DriverKit's collections, whose binary "
			"form is fixed: remove it, and pass what is to travel in an OSDictionary",
			cls->name);
}

static void check_method(struct unit *unit, const struct method *method)
{
	check_method_name(unit, method);
	check_param_names(unit, method);
	/* An override travels as its base does and a callback as its prototype: checked there. */
	if (!method->overrides && method->prototype.method != NULL) {
		check_dispatch(unit, method);
	} else if (!method->overrides) {
		for (size_t i = 0; i < method->n_params; i++)
			check_param(unit, method, i);
		check_message(unit, method);
		check_result(unit, method);
		check_dispatch(unit, method);
	}
	check_target(unit, method);
	check_noescape(unit, method);
	check_callback(unit, method);
	check_param_types(unit, method);
	check_override(unit, method);
	if (method->cls->extends != NULL)
		check_addition(unit, method);
	if (method->cls->is_protocol)
		check_protocol_method(unit, method);
}

static void check_ids(struct unit *unit)
{
	struct method_id *ids = NULL;
	size_t n_ids = 0;
	for (size_t c = 0; c < unit->n_classes; c++) {
		for (size_t m = 0; m < unit->classes[c]->n_methods; m++) {
			const struct method *method = &unit->classes[c]->methods[m];
			if (!method_has_id(method))
				continue;
			struct method_id id = { method_id(unit->arena, method), method };
			ARENA_APPEND(unit->arena, ids, n_ids, id);
		}
	}
	size_t at;
	if (ids_collide(ids, n_ids, &at))
		unit_error(unit, ids[at].method->where,
			   "method %s::%s: its id is that of %s::%s: rename one of them",
			   ids[at].method->cls->name, ids[at].method->name,
			   ids[at + 1].method->cls->name, ids[at + 1].method->name);
}

void check(struct unit *unit)
{
	for (size_t c = 0; c < unit->n_classes; c++) {
		const struct class *cls = unit->classes[c];
		/* A class of an included C++ header that is no object is nobody's business here. */
		if (!cls->is_complete || (!cls->is_main && !class_derives(cls, ROOT_CLASS)))
			continue;
		check_class_form(unit, cls);
		check_serializable(unit, cls);
		for (size_t m = 0; m < cls->n_methods; m++)
			check_method(unit, &cls->methods[m]);
	}
	if (unit->n_errors == 0)
		check_ids(unit);
}
