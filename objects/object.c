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
#include <objects/invoke.h>

static _Atomic(object_state_free_fn) state_free;

void object_state_free_set(object_state_free_fn free_state)
{
	atomic_store_explicit(&state_free, free_state, memory_order_release);
}

OSObject *OSObjectAllocate(const OSMetaClass *meta)
{
	OSObject *object = calloc(1, meta->instance_size);

	if (object == NULL)
		return NULL;
	object->meta = meta;
	atomic_init(&object->refcount, 1);
	if (meta->construct != NULL)
		meta->construct(object);
	return object;
}

/* The one place that forgets const: a reference is held on constant objects too. */
static OSObject *counted(const void *object)
{
	return (OSObject *)(uintptr_t)object;
}

void OSObjectRetain(const void *object)
{
	OSObject *self = counted(object);

	if (self == NULL || (self->flags & OBJECT_IMMORTAL) != 0)
		return;
	atomic_fetch_add_explicit(&self->refcount, 1, memory_order_relaxed);
}

void OSObjectRelease(const void *object)
{
	OSObject *self = counted(object);
	struct OSObject_free_Msg msg = { 0 };

	if (self == NULL || (self->flags & OBJECT_IMMORTAL) != 0)
		return;
	if (atomic_fetch_sub_explicit(&self->refcount, 1, memory_order_acq_rel) == 1)
		OSObjectInvokeSuper(self->meta, self, &OSObject_free_Shape, &msg);
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
	free(self);
}

bool IMPL(OSObject, isEqualTo)
{
	return self == other;
}
