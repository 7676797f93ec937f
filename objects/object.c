/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The life of an object, and the root class.
 *
 * A count of references, nothing more: relaxed on the way up, for whoever retains holds a reference
 * already; acquire and release on the way down, so that the last release sees all that the others
 * did. The last release calls the class's free() at once, on the releasing thread and never through
 * a queue: a queued call would need a reference, and there is none left. free() ends in the root's,
 * which gives the memory back.
 */

#include <objects/object.h>

#include <stdlib.h>

#include <DriverKit/OSObject.h>
#include <base/log.h>
#include <base/reason.h>
#include <objects/invoke.h>
#include <objects/ledger.h>

#define UNLIKELY(condition) __builtin_expect((condition), 0)

#define COUNT_MAX  0x80000000U // references that are believed
#define COUNT_LOST 0xc0000000U

static _Atomic(object_state_free_fn) state_free;

void object_state_free_set(object_state_free_fn free_state)
{
	atomic_store_explicit(&state_free, free_state, memory_order_release);
}

/* A class in C that is derived from one in C++ has that one's constructors. They set every field
 * that C++ knows of, so the flags are kept for them. */
static void construct(const OSMetaClass *meta, OSObject *object)
{
	const uint32_t flags = object->flags;

	while (meta != NULL && meta->construct == NULL)
		meta = meta->super;
	if (meta == NULL)
		return;
	meta->construct(object);
	object->flags = flags;
}

OSObject *OSObjectAllocate(const OSMetaClass *meta)
{
	if (UNLIKELY((meta->flags & kOSClassRemote) != 0)) {
		refuse(kIOReturnUnsupported, "class %s is implemented in another driver",
		       meta->name);
		return NULL;
	}
	OSObject *object = UNLIKELY(ledger_is_kept) ? ledger_allocate(meta, meta->instance_size,
								      __builtin_return_address(0))
						    : calloc(1, meta->instance_size);

	if (object == NULL)
		return NULL;
	construct(meta, object);
	object->meta = meta;
	atomic_init(&object->refcount, 1);
	return object;
}

/* The one place that forgets const: a reference is held on constant objects too. */
static OSObject *counted(const void *object)
{
	return (OSObject *)(uintptr_t)object;
}

/*
 * The count was `before` and cannot be right. It is set amidst the counts that are not believed,
 * where neither 2^30 retains nor as many releases bring it back; so the object stays for good.
 */
static void refuse_count(OSObject *self, uint32_t before, const char *what)
{
	atomic_store_explicit(&self->refcount, COUNT_LOST, memory_order_relaxed);
	if (before == 0)
		log_error("an object of class %s was %s after its last release", self->meta->name,
			  what);
	else if (before == COUNT_MAX + 1)
		log_error("an object of class %s has 2^31 references: it is not freed any more",
			  self->meta->name);
}

void OSObjectRetain(const void *object)
{
	OSObject *self = counted(object);
	uint32_t before;

	if (self == NULL || (self->flags & (OBJECT_IMMORTAL | OBJECT_DEAD)) != 0) {
		ledger_check(self, "retain");
		return;
	}
	before = atomic_fetch_add_explicit(&self->refcount, 1, memory_order_relaxed);
	if (UNLIKELY(before - 1 >= COUNT_MAX))
		refuse_count(self, before, "retained");
}

static void end_life(OSObject *self, void *caller)
{
	struct OSObject_free_Msg msg = { 0 };

	if (UNLIKELY((self->flags & OBJECT_LEDGER) != 0))
		ledger_free(self, caller);
	else
		OSObjectInvokeSuper(self->meta, self, &OSObject_free_Shape, &msg);
}

void OSObjectRelease(const void *object)
{
	OSObject *self = counted(object);
	uint32_t before;

	if (self == NULL || (self->flags & (OBJECT_IMMORTAL | OBJECT_DEAD)) != 0) {
		ledger_check(self, "release");
		return;
	}
	before = atomic_fetch_sub_explicit(&self->refcount, 1, memory_order_acq_rel);
	if (before == 1)
		end_life(self, __builtin_return_address(0));
	else if (UNLIKELY(before - 1 >= COUNT_MAX))
		refuse_count(self, before, "released");
}

uint32_t OSObjectGetRetainCount(const void *object)
{
	OSObject *self = counted(object);

	return self != NULL ? atomic_load_explicit(&self->refcount, memory_order_relaxed) : 0;
}

bool IMPL(OSObject, init)
{
	return self != NULL;
}

void IMPL(OSObject, free)
{
	object_state_free_fn free_state = atomic_load_explicit(&state_free, memory_order_acquire);

	if (self->ivars != NULL && free_state != NULL)
		free_state(self);
	if (UNLIKELY((self->flags & OBJECT_LEDGER) != 0))
		ledger_bury(self);
	else
		free(self);
}

bool IMPL(OSObject, isEqualTo)
{
	return self == other;
}
