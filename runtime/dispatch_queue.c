/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The class IODispatchQueue over the queue that queue.c turns: making one, what may be asked of it,
 * and its end. DispatchAsync and DispatchSync are beside what they inline, in queue.c; Sleep and
 * Wakeup are sleep.c.
 *
 * Cancel pushes its item together with the flag, so that nothing can come after it; its handler
 * runs when also the last sleeper's piece has ended.
 */

#include <runtime/strand.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <base/reason.h>
#include <runtime/action_set.h>
#include <runtime/queue_word.h>
#include <runtime/sharing.h>
#include <runtime/wait.h>

/* --- making --- */

static kern_return_t queue_new(const char *name, uint64_t options, IODispatchQueue **out)
{
	size_t size = strlen(name) + 1;
	IODispatchQueue *queue = OSTypeAlloc(IODispatchQueue);

	if (queue == NULL)
		return kIOReturnNoMemory;
	struct IODispatchQueue_IVars *q = calloc(1, sizeof(*q) + size);
	if (q == NULL) {
		OSObjectRelease(queue);
		return kIOReturnNoMemory;
	}
	bool reentrant = (options & kIODispatchQueueReentrant) != 0;
	if (reentrant && sharing_new(&q->sharing) < 0) {
		free(q);
		OSObjectRelease(queue);
		return kIOReturnNoMemory;
	}
	list_init(&q->sleepers);
	q->options = options;
	memcpy(q->name, name, size);
	queue->ivars = q;
	queue_turn_init(queue);
	queues_add(q);
	*out = queue;
	return kIOReturnSuccess;
}

#define ROOT_NAME "Root"
#define OPTIONS   (kIODispatchQueueReentrant | kIODispatchQueueMethodsNotSynchronized)

static pthread_once_t root_once = PTHREAD_ONCE_INIT;
static IODispatchQueue *_Atomic root; // NULL until somebody asked for it

static void make_root(void)
{
	IODispatchQueue *made;

	if (queue_new(ROOT_NAME, 0, &made) == kIOReturnSuccess)
		atomic_store(&root, made);
}

IODispatchQueue *queue_root(void)
{
	pthread_once(&root_once, make_root);
	return atomic_load_explicit(&root, memory_order_relaxed);
}

static kern_return_t copy_root(uint64_t options, IODispatchQueue **queue)
{
	if (options != 0)
		return refuse(kIOReturnBadArgument, "queue \"" ROOT_NAME "\": options must be 0");
	if (queue_root() == NULL)
		return refuse(kIOReturnNoMemory, "out of memory for a queue");
	OSObjectRetain(queue_root());
	*queue = queue_root();
	return kIOReturnSuccess;
}

kern_return_t IODispatchQueue_Create(const char *name, uint64_t options, uint64_t priority,
				     IODispatchQueue **queue)
{
	if (name == NULL || queue == NULL)
		return refuse(kIOReturnBadArgument, "a queue needs a name and a place to put it");
	if (strlen(name) >= sizeof(IODispatchQueueName))
		return refuse(kIOReturnOverrun, "the name of a queue has at most %zu bytes",
			      sizeof(IODispatchQueueName) - 1);
	if ((options & ~(uint64_t)OPTIONS) != 0)
		return refuse(kIOReturnBadArgument, "queue \"%s\": options %#llx are not known",
			      name, (unsigned long long)(options & ~(uint64_t)OPTIONS));
	if (priority != 0)
		return refuse(kIOReturnBadArgument, "queue \"%s\": there are no priorities: pass 0",
			      name);
	if (strcmp(name, ROOT_NAME) == 0)
		return copy_root(options, queue);
	return queue_new(name, options, queue);
}

void IMPL(IODispatchQueue, free)
{
	if (self->ivars != NULL) {
		queues_remove(self->ivars);
		sharing_free(self->ivars->sharing);
		action_set_unref(self->ivars->actions);
		free(self->ivars);
		self->ivars = NULL;
	}
	IODispatchQueue_super_free(self);
}

/* --- what is asked of it --- */

bool IODispatchQueue_OnQueue(IODispatchQueue *self)
{
	return self != NULL && (queue_is_held(self->ivars) || queue_is_shared(self->ivars));
}

void queue_set_actions(IODispatchQueue *queue, struct action_set *set)
{
	queue->ivars->actions = action_set_ref(set);
}

struct action_set *queue_actions(IODispatchQueue *queue)
{
	return queue->ivars->actions;
}

bool queue_is_unsynchronized(IODispatchQueue *queue)
{
	return (queue->ivars->options & kIODispatchQueueMethodsNotSynchronized) != 0;
}

const char *IODispatchQueue_GetName(IODispatchQueue *self)
{
	return self != NULL ? self->ivars->name : NULL;
}

/* --- dispatching --- */

kern_return_t IODispatchQueue_DispatchConcurrent_f(IODispatchQueue *self, void *context,
						   IODispatchFunction function)
{
	if (self == NULL || function == NULL)
		return queue_nothing_to_call();
	struct IODispatchQueue_IVars *q = self->ivars;
	if (q->sharing == NULL)
		return refuse(kIOReturnUnsupported,
			      "DispatchConcurrent: queue \"%s\" is serial: create it with "
			      "kIODispatchQueueReentrant",
			      q->name);
	struct queue_item *item = sharing_piece(self, function, context);
	if (item == NULL)
		return kIOReturnNoMemory;
	OSObjectRetain(self); // once it is pushed, the queue may come to its end
	kern_return_t ret = kIOReturnSuccess;
	switch (word_push(q, item, false, 0)) {
	case PUSH_REFUSED:
		sharing_drop(item);
		ret = queue_refusal(self, -ECANCELED);
		break;
	case PUSH_HOLDING:
		queue_keep(self);
		pool_schedule(&q->turn);
		break;
	case PUSH_LEFT:
		sharing_nudge(q);
		break;
	}
	OSObjectRelease(self);
	return ret;
}

struct action_call {
	IODispatchAction action;
	void *context;
	kern_return_t result;
};

static void run_action(void *context)
{
	struct action_call *call = context;

	call->result = call->action(call->context);
}

kern_return_t IODispatchQueue_RunAction_f(IODispatchQueue *self, void *context,
					  IODispatchAction action)
{
	struct action_call call = { .action = action, .context = context };

	if (self == NULL || action == NULL)
		return queue_nothing_to_call();
	kern_return_t ret = IODispatchQueue_DispatchSync_f(self, &call, run_action);
	return ret != kIOReturnSuccess ? ret : call.result;
}

/* --- cancelling --- */

struct cancellation {
	struct queue_item item;
	IODispatchQueue *queue;
	IODispatchFunction handler; // may be NULL
	void *context;
};

void queue_run_cancel_handler(IODispatchQueue *queue)
{
	struct cancellation *cancellation = queue->ivars->cancellation;

	queue->ivars->cancellation = NULL;
	if (cancellation->handler != NULL)
		cancellation->handler(cancellation->context);
	free(cancellation);
}

static void run_cancellation(struct queue_item *item)
{
	struct cancellation *cancellation = container_of(item, struct cancellation, item);
	struct IODispatchQueue_IVars *q = cancellation->queue->ivars;

	queue_wake_for_cancel(q);
	q->cancellation = cancellation;
}

kern_return_t IODispatchQueue_Cancel_f(IODispatchQueue *self, void *context,
				       IODispatchFunction handler)
{
	if (self == NULL)
		return queue_nothing_to_call();
	if (self == atomic_load_explicit(&root, memory_order_relaxed))
		return refuse(kIOReturnNotPermitted,
			      "Cancel: queue \"" ROOT_NAME "\" serves the whole driver");
	struct cancellation *cancellation = malloc(sizeof(*cancellation));
	if (cancellation == NULL)
		return kIOReturnNoMemory;
	*cancellation = (struct cancellation){
		.item.run = run_cancellation,
		.queue = self,
		.handler = handler,
		.context = context,
	};
	switch (word_push(self->ivars, &cancellation->item, false, CANCELLED)) {
	case PUSH_REFUSED:
		free(cancellation);
		return queue_refusal(self, -ECANCELED);
	case PUSH_HOLDING:
		queue_keep(self);
		pool_schedule(&self->ivars->turn);
		break;
	case PUSH_LEFT:
		break;
	}
	return kIOReturnSuccess;
}
