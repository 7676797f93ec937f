/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The object model, on classes whose tables are written by hand: a base with two methods, and a
 * class derived from it that overrides one.
 */

#include <base/unit_test.h>
#include <objects/invoke.h>
#include <objects/ledger.h>
#include <objects/object.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <DriverKit/OSCollectionConstants.h>
#include <base/log.h>
#include <base/reason.h>

struct call_msg {
	int ret;
};

static void base_name(OSObject *self, void *msg)
{
	(void)self;
	((struct call_msg *)msg)->ret = 1;
}

static void base_other(OSObject *self, void *msg)
{
	(void)self;
	((struct call_msg *)msg)->ret = 2;
}

static void derived_name(OSObject *self, void *msg)
{
	(void)self;
	((struct call_msg *)msg)->ret = 3;
}

static unsigned freed, states_freed;

static void count_free(OSObject *self, void *msg)
{
	struct OSObject_free_Msg *super_msg = msg;

	freed++;
	OSObjectInvokeSuper(&gOSObjectMetaClass, self, &OSObject_free_Shape, super_msg);
}

static const struct OSMethodShape name_shape = { .id = 10, .class_name = "Base", .name = "name" };
static const struct OSMethodShape other_shape = { .id = 20, .class_name = "Base", .name = "other" };
static const struct OSMethodShape absent_shape = { .id = 30,
						   .class_name = "Base",
						   .name = "absent" };

static const struct OSMethod base_rows[] = { { &name_shape, base_name, 0 },
					     { &other_shape, base_other, 0 } };
static const struct OSMethod derived_rows[] = { { &name_shape, derived_name, 0 } };
static const struct OSMethod counted_rows[] = { { &OSObject_free_Shape, count_free, 0 } };
static const struct OSMethod unsorted_rows[] = { { &other_shape, base_other, 0 },
						 { &name_shape, base_name, 0 } };

static const OSMetaClass base_class = {
	.name = "Base",
	.super = &gOSObjectMetaClass,
	.instance_size = sizeof(OSObject) + 8,
	.n_methods = 2,
	.methods = base_rows,
};
static const OSMetaClass derived_class = {
	.name = "Derived",
	.super = &base_class,
	.instance_size = sizeof(OSObject) + 16,
	.n_methods = 1,
	.methods = derived_rows,
};
static const OSMetaClass counted_class = {
	.name = "Counted",
	.super = &gOSObjectMetaClass,
	.instance_size = sizeof(OSObject) + 8,
	.n_methods = 1,
	.methods = counted_rows,
};
static const OSMetaClass impostor_class = {
	.name = "Base",
	.super = &gOSObjectMetaClass,
	.instance_size = sizeof(OSObject) + 8,
};
static const OSMetaClass unsorted_class = {
	.name = "Unsorted",
	.super = &gOSObjectMetaClass,
	.instance_size = sizeof(OSObject) + 8,
	.n_methods = 2,
	.methods = unsorted_rows,
};
static const OSMetaClass small_class = {
	.name = "Small",
	.super = &derived_class,
	.instance_size = sizeof(OSObject),
};

static int call(OSObject *object, const struct OSMethodShape *shape)
{
	struct call_msg msg = { 0 };

	ck_assert_int_eq(OSObjectInvoke(object, shape, &msg), kIOReturnSuccess);
	return msg.ret;
}

START_TEST(allocated_object_is_zeroed_and_has_one_reference)
{
	OSObject *object = OSObjectAllocate(&derived_class);

	ck_assert_ptr_eq(object->meta, &derived_class);
	ck_assert_uint_eq(atomic_load(&object->refcount), 1);
	ck_assert_ptr_null(object->ivars);
	ck_assert_ptr_null(object->cxx);
	ck_assert(OSObject_init(object));
	OSObjectRelease(object);
}
END_TEST

static OSObject *constructed;

static void construct(OSObject *self)
{
	constructed = self;
}

/* As in C++, where constructors set all that they know of. */
static void construct_head(OSObject *self)
{
	constructed = self;
	self->cxx = &constructed;
	self->meta = NULL;
	self->refcount = 0;
	self->flags = 0;
	self->ivars = NULL;
}

START_TEST(construct_of_the_nearest_class_above_serves)
{
	OSMetaClass above = base_class, middle = derived_class, below = derived_class;
	OSObject *object;

	above.construct = construct;
	middle.construct = construct_head;
	middle.super = &above;
	below.super = &middle;
	constructed = NULL;
	object = OSObjectAllocate(&below);
	ck_assert_ptr_eq(constructed, object);
	ck_assert_ptr_eq(object->cxx, &constructed);
	ck_assert_ptr_eq(object->meta, &below);
	ck_assert_uint_eq(atomic_load(&object->refcount), 1);
	OSObjectRelease(object);
}
END_TEST

/* An object of the ledger has a flag before it has a class. */
START_TEST(construct_leaves_the_flags)
{
	OSMetaClass meta = base_class;
	OSObject *object;

	meta.construct = construct_head;
	ledger_is_kept = true;
	object = OSObjectAllocate(&meta);
	ck_assert_uint_eq(object->flags, OBJECT_LEDGER);
	OSObjectRelease(object);
}
END_TEST

START_TEST(construct_runs_on_the_new_object)
{
	OSMetaClass meta = base_class;
	OSObject *object;

	meta.construct = construct;
	object = OSObjectAllocate(&meta);
	ck_assert_ptr_eq(constructed, object);
	OSObjectRelease(object);
}
END_TEST

START_TEST(last_release_frees_once)
{
	OSObject *object = OSObjectAllocate(&counted_class);

	OSObjectRetain(object);
	OSObjectRelease(object);
	ck_assert_uint_eq(freed, 0);
	OSObjectRelease(object);
	ck_assert_uint_eq(freed, 1);
	OSObjectRetain(NULL);
	OSObjectRelease(NULL);
}
END_TEST

static kern_return_t refusing_router(OSObject *self, const struct OSMethod *method, void *msg)
{
	(void)self, (void)method, (void)msg;
	return kIOReturnOffline;
}

static void free_state(OSObject *self)
{
	states_freed++;
	self->ivars = NULL;
}

/* A queue cannot hold an object that has no reference left: free() never goes through the router.
 */
START_TEST(free_is_not_routed)
{
	OSObject *object = OSObjectAllocate(&counted_class);

	object_router_set(refusing_router);
	OSObjectRelease(object);
	ck_assert_uint_eq(freed, 1);
}
END_TEST

START_TEST(runtime_state_is_freed_when_there_is_some)
{
	OSObject *plain = OSObjectAllocate(&counted_class);
	OSObject *with_state = OSObjectAllocate(&counted_class);

	object_state_free_set(free_state);
	OSObjectRelease(plain);
	ck_assert_uint_eq(states_freed, 0);
	with_state->ivars = (struct OSObject_IVars *)(void *)with_state;
	OSObjectRelease(with_state);
	ck_assert_uint_eq(states_freed, 1);
	ck_assert_uint_eq(freed, 2);
}
END_TEST

START_TEST(cast_follows_the_chain)
{
	OSObject *object = OSObjectAllocate(&derived_class);

	ck_assert_ptr_eq(OSMetaClassCast(&derived_class, object), object);
	ck_assert_ptr_eq(OSMetaClassCast(&base_class, object), object);
	ck_assert_ptr_eq(OSMetaClassCast(&gOSObjectMetaClass, object), object);
	ck_assert_ptr_null(OSMetaClassCast(&counted_class, object));
	ck_assert_ptr_null(OSMetaClassCast(&base_class, NULL));
	ck_assert(OSMetaClassIsSubclass(&derived_class, &base_class));
	ck_assert(!OSMetaClassIsSubclass(&base_class, &derived_class));
	ck_assert(!OSMetaClassIsSubclass(NULL, &base_class));
	OSObjectRelease(object);
}
END_TEST

START_TEST(objects_tell_their_class)
{
	OSObject *object = OSObjectAllocate(&derived_class);

	ck_assert_ptr_eq(OSObjectGetMetaClass(object), &derived_class);
	ck_assert_str_eq(OSObjectGetClassName(object), "Derived");
	ck_assert_uint_eq(OSObjectGetRetainCount(object), 1);
	ck_assert_ptr_eq(OSMTypeID(OSObject), &gOSObjectMetaClass);
	ck_assert_ptr_null(OSObjectGetMetaClass(NULL));
	ck_assert_ptr_null(OSObjectGetClassName(NULL));
	ck_assert_uint_eq(OSObjectGetRetainCount(NULL), 0);
	OSObjectRelease(object);
}
END_TEST

START_TEST(required_cast_keeps_null_and_what_fits)
{
	OSString *string = OSString_withCString("x");

	ck_assert_ptr_eq(OSRequiredCast(OSContainer, string), (OSContainer *)string);
	ck_assert_ptr_null(OSRequiredCast(OSNumber, NULL));
	OSObjectRelease(string);
}
END_TEST

/* The process ends, but never without saying why: with a log and without. */
START_TEST(required_cast_of_another_class_names_both_and_ends)
{
	for (int with_log = 0; with_log < 2; with_log++) {
		char out[512] = "";
		int ends[2], status;
		pid_t pid;

		ck_assert_int_eq(pipe(ends), 0);
		pid = fork();
		if (pid == 0) {
			dup2(ends[1], STDERR_FILENO);
			if (with_log)
				log_to_stderr("driver", LOG_LEVEL_ERROR);
			OSRequiredCast(OSNumber, OSObjectAllocate(&derived_class));
			_exit(0);
		}
		close(ends[1]);
		ck_assert_int_gt(read(ends[0], out, sizeof(out) - 1), 0);
		close(ends[0]);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
		ck_assert_msg(strstr(out, "an object of class Derived is required to be of class "
					  "OSNumber\n") != NULL,
			      "%s", out);
	}
}
END_TEST

static char logged[256];
static unsigned n_logged;

static void remember(enum log_level level, const char *line)
{
	(void)level;
	n_logged++;
	snprintf(logged, sizeof(logged), "%s", line);
}

static void release_in_free(OSObject *self, void *msg)
{
	freed++;
	OSObjectRelease(self); // the mistake
	OSObjectRetain(self);
	OSObjectInvokeSuper(&gOSObjectMetaClass, self, &OSObject_free_Shape, msg);
}

/* Seen while the memory is still the object's: free() runs once, and the log says what happened. */
START_TEST(release_too_many_is_logged_and_not_followed)
{
	static const struct OSMethod rows[] = { { &OSObject_free_Shape, release_in_free, 0 } };
	OSMetaClass meta = counted_class;
	OSObject *object;

	log_set_sink(remember, LOG_LEVEL_ERROR);
	meta.methods = rows;
	object = OSObjectAllocate(&meta);
	OSObjectRelease(object);
	ck_assert_uint_eq(freed, 1);
	ck_assert_uint_eq(n_logged, 1);
	ck_assert_str_eq(logged, "an object of class Counted was released after its last release");
}
END_TEST

/* 2^31 references: a count that went round would free what is in use. */
START_TEST(count_that_overflows_keeps_the_object)
{
	OSObject *object = OSObjectAllocate(&counted_class);

	log_set_sink(remember, LOG_LEVEL_ERROR);
	atomic_store(&object->refcount, 0x80000000U);
	OSObjectRetain(object);
	ck_assert_uint_eq(n_logged, 0);
	OSObjectRetain(object);
	ck_assert_str_eq(logged, "an object of class Counted has 2^31 references: it is not freed "
				 "any more");
	for (int i = 0; i < 10; i++)
		OSObjectRelease(object);
	OSObjectRetain(object);
	ck_assert_uint_eq(n_logged, 1);
	ck_assert_uint_ge(OSObjectGetRetainCount(object), 0xb0000000U);
	ck_assert_uint_eq(freed, 0);
	atomic_store(&object->refcount, 1);
	OSObjectRelease(object);
	ck_assert_uint_eq(freed, 1);
}
END_TEST

/* Each lookup twice: the second is served from what the first remembered. */
START_TEST(lookup_finds_own_inherited_and_none)
{
	for (int i = 0; i < 2; i++) {
		ck_assert_ptr_eq(OSMetaClassFindMethod(&derived_class, 10), &derived_rows[0]);
		ck_assert_ptr_eq(OSMetaClassFindMethod(&base_class, 10), &base_rows[0]);
		ck_assert_ptr_eq(OSMetaClassFindMethod(&derived_class, 20), &base_rows[1]);
		ck_assert_ptr_null(OSMetaClassFindMethod(&derived_class, 30));
		ck_assert_ptr_null(OSMetaClassFindMethod(&counted_class, 10));
		ck_assert_ptr_nonnull(OSMetaClassFindMethod(&derived_class, OSObject_free_ID));
	}
}
END_TEST

START_TEST(calls_reach_override_and_super)
{
	OSObject *object = OSObjectAllocate(&derived_class);
	struct call_msg msg = { 0 };

	ck_assert_int_eq(call(object, &name_shape), 3);
	ck_assert_int_eq(call(object, &other_shape), 2);
	ck_assert_int_eq(OSObjectInvokeSuper(&base_class, object, &name_shape, &msg),
			 kIOReturnSuccess);
	ck_assert_int_eq(msg.ret, 1);
	OSObjectRelease(object);
}
END_TEST

START_TEST(call_that_nobody_serves_is_refused_with_a_reason)
{
	OSObject *object = OSObjectAllocate(&derived_class);
	struct call_msg msg = { 0 };

	ck_assert_int_eq(OSObjectInvoke(object, &absent_shape, &msg), kIOReturnUnsupported);
	ck_assert_str_eq(reason_last(), "class Derived has no implementation of Base::absent");
	ck_assert_int_eq(OSObjectInvokeSuper(&base_class, object, &absent_shape, &msg),
			 kIOReturnUnsupported);
	ck_assert_int_eq(OSObjectInvoke(NULL, &name_shape, &msg), kIOReturnBadArgument);
	ck_assert(!OSObject_init(NULL));
	OSObjectRelease(object);
}
END_TEST

static const struct OSMethod *routed;

static kern_return_t router(OSObject *self, const struct OSMethod *method, void *msg)
{
	routed = method;
	method->invoke(self, msg);
	return kIOReturnSuccess;
}

START_TEST(router_is_given_the_row)
{
	OSObject *object = OSObjectAllocate(&derived_class);

	object_router_set(router);
	ck_assert_int_eq(call(object, &other_shape), 2);
	ck_assert_ptr_eq(routed, &base_rows[1]);
	object_router_set(NULL);
	ck_assert_int_eq(call(object, &name_shape), 3);
	ck_assert_ptr_eq(routed, &base_rows[1]);
	OSObjectRelease(object);
}
END_TEST

START_TEST(classes_are_known_by_name)
{
	ck_assert_ptr_eq(OSMetaClassGetNamed("OSDictionary"), &gOSDictionaryMetaClass);
	ck_assert_ptr_null(OSMetaClassGetNamed("Base"));
	ck_assert_int_eq(OSMetaClassRegister(&base_class), kIOReturnSuccess);
	ck_assert_ptr_eq(OSMetaClassGetNamed("Base"), &base_class);
	ck_assert_ptr_null(OSMetaClassGetNamed("Bas"));
	ck_assert_ptr_null(OSMetaClassGetNamed(NULL));
	ck_assert_int_eq(OSMetaClassRegister(&base_class), kIOReturnSuccess);
}
END_TEST

START_TEST(second_class_of_a_name_is_refused)
{
	OSMetaClassRegister(&base_class);
	ck_assert_int_eq(OSMetaClassRegister(&impostor_class), kIOReturnExclusiveAccess);
	ck_assert_ptr_nonnull(strstr(reason_last(), "class named Base"));
	ck_assert_ptr_eq(OSMetaClassGetNamed("Base"), &base_class);
}
END_TEST

START_TEST(broken_tables_are_refused)
{
	ck_assert_int_eq(OSMetaClassRegister(&unsorted_class), kIOReturnBadArgument);
	ck_assert_ptr_nonnull(strstr(reason_last(), "ascending"));
	ck_assert_int_eq(OSMetaClassRegister(&small_class), kIOReturnBadArgument);
	ck_assert_ptr_null(OSMetaClassGetNamed("Unsorted"));
}
END_TEST

static OSMetaClass many[256];

static void *register_many(void *context)
{
	OSObject *shared = context;

	for (size_t i = 0; i < sizeof(many) / sizeof(many[0]); i++) {
		OSMetaClassRegister(&many[i]);
		ck_assert_ptr_eq(OSMetaClassGetNamed(many[i].name), &many[i]);
		ck_assert_ptr_eq(OSMetaClassFindMethod(&many[i], 20), &base_rows[1]);
		OSObjectRetain(shared);
		OSObjectRelease(shared);
	}
	return NULL;
}

/* Names, lookups and counts, from four threads: for the thread sanitizer. */
START_TEST(threads_share_classes_and_objects)
{
	static char names[256][16];
	OSObject *shared = OSObjectAllocate(&counted_class);
	pthread_t threads[4];

	for (size_t i = 0; i < 256; i++) {
		snprintf(names[i], sizeof(names[i]), "Many%zu", i);
		many[i] = derived_class;
		many[i].name = names[i];
	}
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, register_many, shared);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(freed, 0);
	OSObjectRelease(shared);
	ck_assert_uint_eq(freed, 1);
}
END_TEST

START_TEST(default_equality_is_identity)
{
	OSObject *one = OSObjectAllocate(&base_class);
	OSObject *two = OSObjectAllocate(&base_class);

	ck_assert(OSObject_isEqualTo(one, one));
	ck_assert(!OSObject_isEqualTo(one, two));
	ck_assert(!OSObject_isEqualTo(one, NULL));
	OSObjectRelease(one);
	OSObjectRelease(two);
}
END_TEST

START_TEST(returns_have_names)
{
	ck_assert_str_eq(IOReturnString(kIOReturnSuccess), "kIOReturnSuccess");
	ck_assert_str_eq(IOReturnString(kIOReturnAborted), "kIOReturnAborted");
	ck_assert_str_eq(IOReturnString(kUSBHostReturnPipeStalled), "kUSBHostReturnPipeStalled");
	ck_assert_str_eq(IOReturnString((IOReturn)0xdeadbeefU), "0xdeadbeef");
}
END_TEST

static void extended(OSObject *self, void *msg)
{
	(void)self;
	((struct call_msg *)msg)->ret = 40;
}

static void on_class(OSObject *self, void *msg)
{
	((struct call_msg *)msg)->ret = self == NULL ? 50 : 51;
}

static const struct OSMethodShape added_shape = { .id = 25,
						  .class_name = "Extra",
						  .name = "added" };
static const struct OSMethodShape static_shape = { .id = 26,
						   .class_name = "Extra",
						   .name = "make",
						   .flags = kOSMethodLocalOnly | kOSMethodClass };
static const struct OSMethod added_rows[] = { { &added_shape, extended, 0 },
					      { &static_shape, on_class, 0 } };
static const struct OSClassExtension extra = {
	.name = "Extra",
	.meta = &base_class,
	.n_methods = 2,
	.methods = added_rows,
};

START_TEST(an_extension_serves_the_class_and_those_below)
{
	OSObject *base = OSObjectAllocate(&base_class), *derived = OSObjectAllocate(&derived_class);
	struct call_msg msg = { 0 };

	ck_assert_ptr_null(OSMetaClassFindMethod(&derived_class, added_shape.id));
	ck_assert_int_eq(OSObjectInvoke(base, &added_shape, &msg), kIOReturnUnsupported);
	ck_assert_int_eq(OSMetaClassExtend(&extra), kIOReturnSuccess);
	ck_assert_int_eq(call(base, &added_shape), 40);
	ck_assert_int_eq(call(derived, &added_shape), 40);
	ck_assert_ptr_null(OSMetaClassFindMethod(&gOSObjectMetaClass, added_shape.id));
	OSObjectRelease(base);
	OSObjectRelease(derived);
}
END_TEST

START_TEST(a_static_method_is_called_on_the_class)
{
	struct call_msg msg = { 0 };

	ck_assert_int_eq(OSMetaClassExtend(&extra), kIOReturnSuccess);
	ck_assert_int_eq(OSMetaClassInvoke(&derived_class, &static_shape, &msg), kIOReturnSuccess);
	ck_assert_int_eq(msg.ret, 50);
	ck_assert_int_eq(OSMetaClassInvoke(&base_class, &name_shape, &msg), kIOReturnBadArgument);
	ck_assert_int_eq(OSMetaClassInvoke(&base_class, &absent_shape, &msg), kIOReturnUnsupported);
}
END_TEST

START_TEST(an_extension_that_collides_is_refused_as_a_whole)
{
	static const struct OSMethod taken[] = { { &other_shape, extended, 0 },
						 { &added_shape, extended, 0 } };
	static const struct OSMethod unsorted[] = { { &static_shape, on_class, 0 },
						    { &added_shape, extended, 0 } };
	struct OSClassExtension collides = extra, again = extra, disordered = extra, named = extra;
	OSMetaClass late = base_class;

	collides.name = "Collides", collides.methods = taken;
	ck_assert_int_eq(OSMetaClassExtend(&collides), kIOReturnExclusiveAccess);
	ck_assert_str_eq(reason_last(),
			 "extension Collides of class Base: the id of other is that of "
			 "Base::other: rename the method");
	ck_assert_ptr_null(OSMetaClassFindMethod(&base_class, added_shape.id));
	disordered.methods = unsorted;
	ck_assert_int_eq(OSMetaClassExtend(&disordered), kIOReturnBadArgument);
	named.name = "OSObject";
	ck_assert_int_eq(OSMetaClassExtend(&named), kIOReturnExclusiveAccess);

	ck_assert_int_eq(OSMetaClassExtend(&extra), kIOReturnSuccess);
	ck_assert_int_eq(OSMetaClassExtend(&extra), kIOReturnExclusiveAccess);
	again.name = "Again", again.meta = &derived_class;
	ck_assert_int_eq(OSMetaClassExtend(&again), kIOReturnExclusiveAccess);
	late.name = "Extra";
	ck_assert_int_eq(OSMetaClassRegister(&late), kIOReturnExclusiveAccess);
}
END_TEST

UNIT_TESTS("class", allocated_object_is_zeroed_and_has_one_reference,
	   construct_runs_on_the_new_object, construct_of_the_nearest_class_above_serves,
	   construct_leaves_the_flags, last_release_frees_once, free_is_not_routed,
	   runtime_state_is_freed_when_there_is_some, cast_follows_the_chain,
	   objects_tell_their_class, required_cast_keeps_null_and_what_fits,
	   required_cast_of_another_class_names_both_and_ends,
	   release_too_many_is_logged_and_not_followed, count_that_overflows_keeps_the_object,
	   lookup_finds_own_inherited_and_none, calls_reach_override_and_super,
	   call_that_nobody_serves_is_refused_with_a_reason, router_is_given_the_row,
	   classes_are_known_by_name, second_class_of_a_name_is_refused, broken_tables_are_refused,
	   threads_share_classes_and_objects, default_equality_is_identity, returns_have_names,
	   an_extension_serves_the_class_and_those_below, a_static_method_is_called_on_the_class,
	   an_extension_that_collides_is_refused_as_a_whole)
