/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Actions: an object, one of its methods, and a reference block.
 *
 * To invoke one is to copy the message, keep the objects in it, and post the copy to the queue on
 * which the target's method runs; nothing waits. An invocation that was accepted is delivered, for
 * a queue runs what it accepted even when it is cancelled, and so is the action: Cancel refuses
 * what comes later, and its handler runs when the last invocation accepted before has returned
 * (`under_way`). A custom action counts nothing: it delivers at once, under a lock of its maker's,
 * who can tell by that when the last delivery is over. The handler goes to the queue of the target;
 * if that is cancelled already, to the root queue, so that the two cancels may come in any order.
 *
 * An abort, and whoever waits for the action: abort.c. What is left when its service stops:
 * action_set.c.
 *
 * References: an invocation under way keeps its action; the action keeps its target until the
 * cancel handler has run, or to its end.
 */

#include <runtime/action_parts.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <base/reason.h>
#include <objects/invoke.h>
#include <runtime/route.h>
#include <runtime/strand.h>

struct cancel_request {
	struct queue_item item;
	OSAction *action;           // kept
	IODispatchFunction handler; // may be NULL
	void *context;
};

/* One delivery, with a copy of its message. */
struct invocation {
	struct queue_item item;
	OSAction *action; // kept
	const struct OSMethodShape *shape;
	void (*done)(void *context); // NULL: nobody asked
	void *context;
	max_align_t msg[];
};

static OSAction *action_new(size_t reference_size)
{
	OSAction *action = OSTypeAlloc(OSAction);
	struct OSAction_IVars *iv = NULL;

	if (action == NULL)
		return NULL;
	if (reference_size <= SIZE_MAX - sizeof(*iv))
		iv = calloc(1, sizeof(*iv) + reference_size);
	if (iv == NULL) {
		OSObjectRelease(action);
		return NULL;
	}
	pthread_mutex_init(&iv->lock, NULL);
	list_init(&iv->link);
	iv->self = action;
	iv->reference_size = reference_size;
	iv->made_on = queue_current();
	OSObjectRetain(iv->made_on);
	action->ivars = iv;
	return action;
}

/* A target's own set, or that of the queue the action is made on. */
static kern_return_t join_set(struct OSAction_IVars *iv, OSObject *target)
{
	struct action_set *set = object_actions(target);

	if (set == NULL && iv->made_on != NULL)
		set = queue_actions(iv->made_on);
	if (set == NULL || action_set_add(set, iv))
		return kIOReturnSuccess;
	return refuse(kIOReturnOffline, "the service that makes this action has stopped");
}

kern_return_t OSAction_Create(OSObject *target, uint64_t targetmsgid, uint64_t msgid,
			      size_t referenceSize, OSAction **action)
{
	if (target == NULL || action == NULL)
		return refuse(kIOReturnBadArgument, "an action needs a target and a place");
	const struct OSMethod *row = OSMetaClassFindMethod(target->meta, targetmsgid);
	if (row == NULL)
		return refuse(kIOReturnUnsupported,
			      "class %s has no method %#llx to be an action's target",
			      target->meta->name, (unsigned long long)targetmsgid);
	if ((row->shape->flags & kOSMethodTarget) == 0)
		return refuse(kIOReturnUnsupported,
			      "%s::%s cannot be an action's target: declare it with TYPE(…)",
			      row->shape->class_name, row->shape->name);
	OSAction *made = action_new(referenceSize);
	if (made == NULL)
		return refuse(kIOReturnNoMemory, "out of memory for an action with %zu bytes",
			      referenceSize);
	OSObjectRetain(target);
	made->ivars->target = target;
	made->ivars->row = row;
	made->ivars->msgid = msgid;
	kern_return_t ret = join_set(made->ivars, target);
	if (ret != kIOReturnSuccess) {
		OSObjectRelease(made);
		return ret;
	}
	*action = made;
	return kIOReturnSuccess;
}

kern_return_t action_create_custom(const struct action_ops *ops, void *context, OSAction **action)
{
	OSAction *made = action_new(0);

	if (made == NULL)
		return refuse(kIOReturnNoMemory, "out of memory for an action");
	made->ivars->ops = ops;
	made->ivars->context = context;
	*action = made;
	return kIOReturnSuccess;
}

void IMPL(OSAction, free)
{
	struct OSAction_IVars *iv = self->ivars;

	if (iv != NULL) {
		action_set_remove(iv);
		action_forget_handler(iv);
		free(atomic_load(&iv->wait));
		if (iv->ops != NULL)
			iv->ops->released(iv->context);
		OSObjectRelease(iv->target);
		OSObjectRelease(iv->made_on);
		pthread_mutex_destroy(&iv->lock);
		free(iv);
		self->ivars = NULL;
	}
	OSAction_super_free(self);
}

void *OSAction_GetReference(OSAction *self)
{
	return self != NULL && self->ivars->reference_size != 0 ? self->ivars->reference : NULL;
}

const struct OSMethodShape *action_prototype(OSAction *action)
{
	const struct OSMethod *row = action->ivars->row;

	return row == NULL                     ? NULL
	       : row->shape->prototype != NULL ? row->shape->prototype
					       : row->shape;
}

/* --- where to --- */

/* The target is kept by an invocation under way, or by a cancel that has not run yet. */
IODispatchQueue *action_copy_queue(const struct OSAction_IVars *iv)
{
	IODispatchQueue *queue = iv->target != NULL ? route_copy_queue(iv->target, iv->row) : NULL;

	if (queue != NULL)
		return queue;
	queue = iv->made_on != NULL ? iv->made_on : queue_root();
	OSObjectRetain(queue);
	return queue;
}

static bool post_to_target(const struct OSAction_IVars *iv, struct queue_item *item)
{
	IODispatchQueue *queue = action_copy_queue(iv);
	bool posted = queue != NULL && queue_post(queue, item);

	OSObjectRelease(queue);
	return posted;
}

bool action_post(const struct OSAction_IVars *iv, struct queue_item *item)
{
	return post_to_target(iv, item) || (queue_root() != NULL && queue_post(queue_root(), item));
}

bool action_revive(OSAction *action)
{
	OSObject *object = OSAction_as_OSObject(action);
	uint32_t count = atomic_load_explicit(&object->refcount, memory_order_relaxed);

	while (count != 0)
		if (atomic_compare_exchange_weak_explicit(&object->refcount, &count, count + 1,
							  memory_order_relaxed,
							  memory_order_relaxed))
			return true;
	return false;
}

/* --- cancelling --- */

static void run_cancel(struct queue_item *item)
{
	struct cancel_request cancel = *container_of(item, struct cancel_request, item);
	struct OSAction_IVars *iv = cancel.action->ivars;

	free(container_of(item, struct cancel_request, item));
	action_forget_handler(iv);
	if (cancel.handler != NULL)
		cancel.handler(cancel.context);
	action_wait_ended(iv);
	action_set_remove(iv);
	OSObject *target = iv->target;
	iv->target = NULL;
	OSObjectRelease(target);
	OSObjectRelease(cancel.action);
}

/* Nothing is under way any more, and nothing will be. */
static void finish_cancel(struct OSAction_IVars *iv, struct cancel_request *cancel)
{
	if (!action_post(iv, &cancel->item))
		run_cancel(&cancel->item); // out of memory: better here than never
}

kern_return_t OSAction_Cancel_f(OSAction *self, void *context, IODispatchFunction handler)
{
	if (self == NULL)
		return refuse(kIOReturnBadArgument, "Cancel: no action");
	struct OSAction_IVars *iv = self->ivars;
	struct cancel_request *cancel = malloc(sizeof(*cancel));
	if (cancel == NULL)
		return kIOReturnNoMemory;
	*cancel = (struct cancel_request){
		.item.run = run_cancel,
		.action = self,
		.handler = handler,
		.context = context,
	};
	pthread_mutex_lock(&iv->lock);
	bool again = iv->cancelled;
	bool at_once = !again && iv->under_way == 0;
	iv->cancelled = true;
	if (!again)
		OSObjectRetain(self);
	if (!again && !at_once)
		iv->cancel = cancel;
	pthread_mutex_unlock(&iv->lock);
	if (again) {
		free(cancel);
		return refuse(kIOReturnOffline, "the action was cancelled before");
	}
	if (iv->ops != NULL)
		iv->ops->cancelled(iv->context);
	if (at_once)
		finish_cancel(iv, cancel);
	return kIOReturnSuccess;
}

/* --- invoking --- */

bool action_begin(OSAction *action)
{
	struct OSAction_IVars *iv = action->ivars;

	pthread_mutex_lock(&iv->lock);
	bool cancelled = iv->cancelled;
	if (!cancelled)
		iv->under_way++;
	pthread_mutex_unlock(&iv->lock);
	if (!cancelled)
		OSObjectRetain(action);
	return !cancelled;
}

void action_end(OSAction *action)
{
	struct OSAction_IVars *iv = action->ivars;
	struct cancel_request *cancel = NULL;

	pthread_mutex_lock(&iv->lock);
	if (--iv->under_way == 0) {
		cancel = iv->cancel;
		iv->cancel = NULL;
	}
	pthread_mutex_unlock(&iv->lock);
	if (cancel != NULL)
		finish_cancel(iv, cancel);
	OSObjectRelease(action);
}

static void invocation_free(struct invocation *invocation)
{
	message_release_objects(invocation->shape, invocation->msg);
	free(invocation);
}

static void run_invocation(struct queue_item *item)
{
	struct invocation *invocation = container_of(item, struct invocation, item);
	OSAction *action = invocation->action;
	struct OSAction_IVars *iv = action->ivars;
	void (*done)(void *context) = invocation->done;
	void *context = invocation->context;

	iv->row->invoke(iv->target, invocation->msg);
	invocation_free(invocation);
	action_wait_delivered(iv);
	action_end(action);
	if (done != NULL)
		done(context);
}

static kern_return_t deliver_later(OSAction *action, const struct OSMethodShape *shape,
				   const void *msg, void (*done)(void *context), void *context)
{
	struct invocation *invocation = malloc(sizeof(*invocation) + shape->msg_size);

	if (invocation == NULL)
		return refuse(kIOReturnNoMemory, "%s: out of memory for the message", shape->name);
	invocation->item.run = run_invocation;
	invocation->done = done;
	invocation->context = context;
	invocation->action = action;
	invocation->shape = shape;
	memcpy(invocation->msg, msg, shape->msg_size);
	message_keep_objects(shape, msg);
	if (post_to_target(action->ivars, &invocation->item))
		return kIOReturnSuccess;
	invocation_free(invocation);
	return refuse(kIOReturnOffline, "%s: the queue of the action's target was cancelled",
		      shape->name);
}

bool action_is_for(OSAction *action, const struct OSMethodShape *shape)
{
	const struct OSAction_IVars *iv = action->ivars;

	return iv->ops != NULL ||
	       (shape->id == iv->msgid && shape->msg_size == iv->row->shape->msg_size);
}

static kern_return_t check_and_begin(OSAction *action, const struct OSMethodShape *shape)
{
	if (!action_is_for(action, shape))
		return refuse(kIOReturnBadMessageID, "the action was not made for %s::%s",
			      shape->class_name, shape->name);
	if (!action_begin(action))
		return refuse(kIOReturnOffline, "the action was cancelled");
	return kIOReturnSuccess;
}

kern_return_t OSActionInvoke(OSAction *action, const struct OSMethodShape *shape, const void *msg)
{
	if (action == NULL)
		return refuse(kIOReturnBadArgument, "%s: no action", shape->name);
	struct OSAction_IVars *iv = action->ivars;
	if (iv->ops != NULL)
		return iv->ops->deliver(iv->context, shape, msg);
	kern_return_t ret = check_and_begin(action, shape);
	if (ret != kIOReturnSuccess)
		return ret;
	ret = deliver_later(action, shape, msg, NULL, NULL);
	if (ret != kIOReturnSuccess)
		action_end(action); // else when it has run
	return ret;
}

kern_return_t action_deliver(OSAction *action, IODispatchQueue *here,
			     const struct OSMethodShape *shape, void *msg,
			     void (*done)(void *context), void *context)
{
	struct OSAction_IVars *iv = action->ivars;

	if (iv->ops != NULL) {
		kern_return_t delivered = iv->ops->deliver(iv->context, shape, msg);
		if (delivered == kIOReturnSuccess)
			done(context);
		return delivered;
	}
	kern_return_t ret = check_and_begin(action, shape);
	if (ret != kIOReturnSuccess)
		return ret;
	IODispatchQueue *queue = route_copy_queue(iv->target, iv->row);
	bool later = queue != NULL && queue != here;
	if (later)
		ret = deliver_later(action, shape, msg, done, context);
	else
		iv->row->invoke(iv->target, msg);
	OSObjectRelease(queue);
	if (later && ret == kIOReturnSuccess)
		return ret;
	if (!later)
		action_wait_delivered(iv);
	action_end(action);
	if (ret == kIOReturnSuccess)
		done(context);
	return ret;
}
