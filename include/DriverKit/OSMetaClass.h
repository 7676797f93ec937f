/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The object model: what an object is, what a class is, and how a call finds its method.
 *
 * One pointer is one object, in C and in C++. An instance begins with struct OSObject; every
 * class in its chain then adds exactly one pointer (`ivars`), so a base class may grow without
 * changing any class derived from it. A class is a constant table that iig writes.
 *
 * A method has one table row: its id, its shape (what iig knows about it), and a thunk that takes
 * the object and a pointer to the method's message struct (struct Class_Method_Msg) and makes the
 * typed call. The same struct serves a direct call, a queued call and a remote one.
 *
 * Any thread. Retain and release are atomic; what a method may assume about queues is stated by
 * the method.
 */

#ifndef __cplusplus
#include <stdatomic.h>
#endif
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <DriverKit/IOReturn.h>

#ifdef __cplusplus
extern "C" {
class OSAction;
class OSObject;
#else
typedef struct OSAction OSAction;
typedef struct OSObject OSObject;
#endif
#pragma GCC visibility push(default)

typedef struct OSMetaClass OSMetaClass;
struct wire_reader;
struct wire_writer;

/* What iig knows about one declared method. Constant; one per declaration, shared by overrides. */
struct OSMethodShape {
	uint64_t id;            // SHA-256 over class, method and parameter types, first 64 bits
	const char *class_name; // the class that declared it first
	const char *name;
	uint32_t flags;          // OSMethodFlags
	uint32_t msg_size;       // sizeof(struct Class_Method_Msg)
	uint16_t n_objects;      // object pointers that enter with the message
	const uint16_t *objects; // their offsets in the message
	uint16_t ret;            // offset of its kern_return_t in the message; 0: it returns none
	const struct OSMethodShape *prototype; // of a callback: what its action is invoked with
	/* How it crosses a process. NULL for LOCALONLY. 0 or a negative errno; decode is strict. */
	int (*put_request)(struct wire_writer *w, const void *msg);
	int (*get_request)(struct wire_reader *r, void *msg);
	int (*put_reply)(struct wire_writer *w, const void *msg);
	int (*get_reply)(struct wire_reader *r, void *msg);
};

/* What kind of method it is. */
enum OSMethodFlags {
	kOSMethodLocalOnly = 1 << 0, // never leaves the process: may carry any pointer
	kOSMethodOneway = 1 << 1,    // returns void: nobody waits for it
	kOSMethodTarget = 1 << 2,    // a callback prototype: delivered through its OSAction
	kOSMethodClass = 1 << 3,     // static: called on the class, in the process that calls
};

/* One row of a class: this class's implementation of a method. */
struct OSMethod {
	const struct OSMethodShape *shape;
	void (*invoke)(OSObject *self, void *msg); // the generated thunk; NULL: kOSClassRemote
	uint8_t queue; // 0: the default queue; else 1 + index into the class's queue_names
};

/* A class: a constant table, which iig writes. */
struct OSMetaClass {
	const char *name;
	const OSMetaClass *super; // NULL for OSObject
	uint32_t instance_size;   // bytes, its super's included
	uint32_t n_methods;
	const struct OSMethod *methods; // ascending by shape->id
	const char *const *queue_names; // QUEUENAME(...)s of this class
	uint32_t n_queue_names;
	/* C++ constructors in place; NULL in C. That of the nearest class above serves then. It
	 * must not look at the object: its class and its count are set behind it. */
	void (*construct)(OSObject *self);
	uint32_t flags; // OSMetaClassFlags
};

/* What kind of class it is. */
enum OSMetaClassFlags {
	/* Only its interface is here (iig --remote): instances live in another driver, and this
	 * process has proxies of them. OSTypeAlloc gives NULL. */
	kOSClassRemote = 1 << 0,
};

/* Methods that another file adds to a class (EXTENDS). They serve its objects, and those of classes
 * derived from it, from its registration on. Their ids are the extension's own. */
struct OSClassExtension {
	const char *name;
	const OSMetaClass *meta; // the class
	uint32_t n_methods;
	const struct OSMethod *methods; // ascending by shape->id
};

#ifndef __cplusplus
/* The head of every instance. Fields are private to the object model. In C++ the same head is
 * OSMetaClassBase. */
struct OSObject {
	void *cxx; // belongs to C++: its vtable pointer, at offset 0
	const OSMetaClass *meta;
	_Atomic uint32_t refcount;
	uint32_t flags;
	struct OSObject_IVars *ivars; // private to the runtime
};
_Static_assert(offsetof(struct OSObject, cxx) == 0 &&
		       offsetof(struct OSObject, meta) == sizeof(void *) &&
		       offsetof(struct OSObject, refcount) == 2 * sizeof(void *) &&
		       offsetof(struct OSObject, flags) == 2 * sizeof(void *) + 4 &&
		       offsetof(struct OSObject, ivars) == 2 * sizeof(void *) + 8 &&
		       sizeof(struct OSObject) == 3 * sizeof(void *) + 8,
	       "the head of an object is the same in C and in C++");

/* The argument list of a method as iig wrote it; see IMPL. */
#define IMPL(cls, method) cls##_##method##_Impl(cls##_##method##_Args)
#endif

/*
 * Ownership goes by name. What a method named get… or Get… gives is borrowed (+0): valid while its
 * owner keeps it, to be retained by whoever keeps it longer. Every other object that is returned,
 * or written through a pointer, is the caller's (+1): release it. Objects given as parameters are
 * borrowed during the call; who keeps one takes a reference. A comment says where it is otherwise.
 */

/* The class of that name, constant. */
#define OSTypeID(type)  (&g##type##MetaClass)
#define OSMTypeID(type) OSTypeID(type)

/* Allocate an instance: zeroed, one reference, not yet init()ed; NULL without memory. The caller's
 * (+1). */
#define OSTypeAlloc(type) ((type *)OSObjectAllocate(OSTypeID(type)))

/* The same pointer, no reference more; NULL when `object` is NULL or not a `type`. */
#define OSDynamicCast(type, object) ((type *)OSMetaClassCast(OSTypeID(type), (object)))

/* The same pointer, no reference more; NULL stays NULL. An object that is not a `type` ends the
 * process, and the last line it writes names both classes: for what only a bug can make wrong. */
#define OSRequiredCast(type, object) ((type *)OSMetaClassRequiredCast(OSTypeID(type), (object)))

/* Release and forget. */
#define OSSafeReleaseNULL(object)          \
	do {                               \
		OSObjectRelease((object)); \
		(object) = NULL;           \
	} while (0)

/* The class of OSObject; OSTypeID(OSObject). */
extern const OSMetaClass gOSObjectMetaClass;

/* What OSTypeAlloc does, with the class as a value: the instance is the caller's (+1). NULL without
 * memory, and of a class that lives in another driver. */
OSObject *OSObjectAllocate(const OSMetaClass *meta);

/* What OSDynamicCast and OSRequiredCast do. `object` may be NULL; any pointer to an instance is
 * accepted. */
void *OSMetaClassCast(const OSMetaClass *meta, const void *object);
void *OSMetaClassRequiredCast(const OSMetaClass *meta, const void *object);

/* What an object is: its class, which is constant, and the name of it. NULL: no object. */
const OSMetaClass *OSObjectGetMetaClass(const void *object);
const char *OSObjectGetClassName(const void *object);

/* References held at this moment, for tests and the curious; 0: no object. */
uint32_t OSObjectGetRetainCount(const void *object);

/* Is `meta` the class `ancestor` or derived from it? */
bool OSMetaClassIsSubclass(const OSMetaClass *meta, const OSMetaClass *ancestor);

/*
 * One reference more, one less; NULL is ignored. The last release calls free() at once, on its own
 * thread. A count that was wrong is never followed: a retain after the last release, a release too
 * many and 2^31 references are logged, and from then on the object is not freed any more. What is
 * wrong with memory that is in use again cannot be seen so; OPENDEXT_DEBUG=objects sees it.
 */
void OSObjectRetain(const void *object);
void OSObjectRelease(const void *object);

/*
 * Make a class known by name, so that a personality can name it. The generated constructor calls
 * it before main. A second class of the same name is refused with kIOReturnExclusiveAccess.
 */
kern_return_t OSMetaClassRegister(const OSMetaClass *meta);

/*
 * Add methods to a class; the generated constructor calls it before main. `extension` is kept.
 * kIOReturnExclusiveAccess: a class or an extension has its name, or one of its ids is served
 * already; it is then left out as a whole, and the log says why.
 */
kern_return_t OSMetaClassExtend(const struct OSClassExtension *extension);

/* The class of that name, constant; NULL: none was registered. */
const OSMetaClass *OSMetaClassGetNamed(const char *name);

/* The row that serves `id` for `meta`: its own or an ancestor's; NULL: none. */
const struct OSMethod *OSMetaClassFindMethod(const OSMetaClass *meta, uint64_t id);

/*
 * Call a method: the stubs that iig writes end here. OSObjectInvoke goes through the object's
 * queue or its proxy; OSObjectInvokeSuper calls the implementation of `super` at once, on the
 * caller's queue. Both return whether the call was made; the method's own result is in the
 * message. kIOReturnUnsupported: nobody implements it.
 */
kern_return_t OSObjectInvoke(OSObject *self, const struct OSMethodShape *shape, void *msg);
kern_return_t OSObjectInvokeSuper(const OSMetaClass *super, OSObject *self,
				  const struct OSMethodShape *shape, void *msg);

/* Call a static method: the implementation of `meta`, at once and on the caller's queue. Returns
 * what OSObjectInvoke returns. */
kern_return_t OSMetaClassInvoke(const OSMetaClass *meta, const struct OSMethodShape *shape,
				void *msg);

/*
 * Deliver a callback (a TARGET method) through its action: the message is copied, the objects in
 * it are kept, and the action's target runs it on its own queue. Never blocks, never waits.
 */
kern_return_t OSActionInvoke(OSAction *action, const struct OSMethodShape *shape, const void *msg);

/* Refuse a call because of one of its parameters (NULL, or longer than its room): records the
 * reason, and logs it where a void method has nobody to tell. Returns `status`. */
kern_return_t OSMethodRefuse(const struct OSMethodShape *shape, kern_return_t status,
			     const char *parameter);

#pragma GCC visibility pop
#ifdef __cplusplus
}

#include <DriverKit/OSMetaClass.hpp>
#endif
