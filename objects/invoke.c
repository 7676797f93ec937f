/* SPDX-License-Identifier: Apache-2.0 */

/* Calls on objects: find the row, then let the runtime's router carry it, or make the call here. */

#include <objects/invoke.h>

#include <string.h>

#include <base/log.h>
#include <base/reason.h>
#include <objects/ledger.h>

static _Atomic(object_router_fn) current_router;

void object_router_set(object_router_fn router)
{
	atomic_store_explicit(&current_router, router, memory_order_release);
}

static kern_return_t nobody_implements(const OSMetaClass *meta, const struct OSMethodShape *shape)
{
	return refuse(kIOReturnUnsupported, "class %s has no implementation of %s::%s", meta->name,
		      shape->class_name, shape->name);
}

static kern_return_t on_no_object(const struct OSMethodShape *shape)
{
	return refuse(kIOReturnBadArgument, "%s::%s was called on no object", shape->class_name,
		      shape->name);
}

kern_return_t OSObjectInvoke(OSObject *self, const struct OSMethodShape *shape, void *msg)
{
	object_router_fn router;
	const struct OSMethod *method;

	if (self == NULL)
		return on_no_object(shape);
	method = OSMetaClassFindMethod(self->meta, shape->id);
	if (method == NULL) {
		ledger_check(self, shape->name);
		return nobody_implements(self->meta, shape);
	}
	router = atomic_load_explicit(&current_router, memory_order_acquire);
	if (router != NULL)
		return router(self, method, msg);
	method->invoke(self, msg);
	return kIOReturnSuccess;
}

kern_return_t OSObjectInvokeSuper(const OSMetaClass *super, OSObject *self,
				  const struct OSMethodShape *shape, void *msg)
{
	const struct OSMethod *method = OSMetaClassFindMethod(super, shape->id);

	if (self == NULL)
		return on_no_object(shape);
	if (method == NULL)
		return nobody_implements(super, shape);
	method->invoke(self, msg);
	return kIOReturnSuccess;
}

kern_return_t OSMetaClassInvoke(const OSMetaClass *meta, const struct OSMethodShape *shape,
				void *msg)
{
	const struct OSMethod *method = OSMetaClassFindMethod(meta, shape->id);

	if (method == NULL)
		return nobody_implements(meta, shape);
	if ((method->shape->flags & kOSMethodClass) == 0)
		return refuse(kIOReturnBadArgument,
			      "%s::%s is not static: call it on an object of class %s",
			      shape->class_name, shape->name, meta->name);
	method->invoke(NULL, msg);
	return kIOReturnSuccess;
}

kern_return_t OSMethodRefuse(const struct OSMethodShape *shape, kern_return_t status,
			     const char *parameter)
{
	refuse(status, "%s::%s: %s %s", shape->class_name, shape->name, parameter,
	       status == kIOReturnOverrun ? "is longer than its room" : "is missing");
	if ((shape->flags & kOSMethodOneway) != 0)
		log_error("%s", reason_last());
	return status;
}

/* A message is the author's struct: its pointers are read without a type of their own. */
static OSObject *object_at(const struct OSMethodShape *shape, const void *msg, uint16_t index)
{
	OSObject *object;

	memcpy(&object, (const char *)msg + shape->objects[index], sizeof(object));
	return object;
}

void message_keep_objects(const struct OSMethodShape *shape, const void *msg)
{
	for (uint16_t i = 0; i < shape->n_objects; i++)
		OSObjectRetain(object_at(shape, msg, i));
}

void message_release_objects(const struct OSMethodShape *shape, const void *msg)
{
	for (uint16_t i = 0; i < shape->n_objects; i++)
		OSObjectRelease(object_at(shape, msg, i));
}
