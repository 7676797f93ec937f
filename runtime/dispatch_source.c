/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Sources of callbacks.
 *
 * A line is `pending` when something happened that its handler was not yet called for, and `active`
 * from there until the handler has returned, wherever that runs. Whoever changes what stands in the
 * way (the end of a callback, SetEnable, SetHandler) looks at what is pending. So events that come
 * meanwhile become one callback, and none is forgotten.
 *
 * The handlers of SetEnable and Cancel wait until no line is active, and are posted then: to the
 * source's queue, or to the root queue if that was cancelled. Cancel gives up the actions with
 * them, which breaks the circle of a target that keeps its source.
 *
 * The state is counted apart from the object: it is kept by the object, by what reports events, and
 * by each callback under way. So a callback under way never sees its source freed, and to free a
 * source never waits.
 */

#include <runtime/dispatch_source.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <base/log.h>
#include <base/reason.h>
#include <runtime/action.h>
#include <runtime/strand.h>

struct source_line {
	struct queue_item item; // source_signal's
	struct IODispatchSource_IVars *source;
	OSAction *handler; // kept; NULL: none
	bool posted;       // the item is queued
	bool pending, active;
};

/* A handler of SetEnable or Cancel. */
struct source_change {
	struct list link; // IODispatchSource_IVars.changes
	struct queue_item item;
	struct IODispatchSource_IVars *source; // kept
	IODispatchFunction handler;            // may be NULL
	void *context;
	bool cancels;
};

struct IODispatchSource_IVars {
	_Atomic uint32_t refs;
	const struct source_ops *ops;
	void *context;
	IODispatchQueue *queue; // kept
	pthread_mutex_t order;  // held while the class's own part changes; taken before `lock`
	pthread_mutex_t lock;   // guards all below
	bool enabled, cancelled;
	struct list changes; // source_change.link
	struct source_line lines[SOURCE_LINES_MAX];
};

static void run_line(struct queue_item *item);
static void run_change(struct queue_item *item);

/* --- life --- */

kern_return_t source_init(IODispatchSource *self, const struct source_ops *ops, void *context,
			  IODispatchQueue *queue, bool enabled)
{
	struct IODispatchSource_IVars *state = calloc(1, sizeof(*state));

	if (state == NULL)
		return refuse(kIOReturnNoMemory, "out of memory for a source");
	atomic_init(&state->refs, 1);
	state->ops = ops;
	state->context = context;
	state->queue = queue;
	OSObjectRetain(queue);
	state->enabled = enabled;
	pthread_mutex_init(&state->order, NULL);
	pthread_mutex_init(&state->lock, NULL);
	list_init(&state->changes);
	for (unsigned i = 0; i < SOURCE_LINES_MAX; i++) {
		state->lines[i].source = state;
		state->lines[i].item.run = run_line;
	}
	self->ivars = state;
	return kIOReturnSuccess;
}

struct IODispatchSource_IVars *source_ref(struct IODispatchSource_IVars *state)
{
	atomic_fetch_add_explicit(&state->refs, 1, memory_order_relaxed);
	return state;
}

void source_unref(void *context)
{
	struct IODispatchSource_IVars *state = context;

	if (atomic_fetch_sub_explicit(&state->refs, 1, memory_order_acq_rel) != 1)
		return;
	state->ops->free(state->context);
	for (unsigned i = 0; i < SOURCE_LINES_MAX; i++)
		OSObjectRelease(state->lines[i].handler);
	OSObjectRelease(state->queue);
	pthread_mutex_destroy(&state->order);
	pthread_mutex_destroy(&state->lock);
	free(state);
}

IODispatchQueue *source_queue(const struct IODispatchSource_IVars *state)
{
	return state->queue;
}

static bool is_cancelled(struct IODispatchSource_IVars *state)
{
	pthread_mutex_lock(&state->lock);
	bool cancelled = state->cancelled;
	pthread_mutex_unlock(&state->lock);
	return cancelled;
}

static kern_return_t cancelled_before(const struct IODispatchSource_IVars *state,
				      const char *method)
{
	return refuse(kIOReturnUnsupported, "%s: the %s was cancelled", method, state->ops->name);
}

kern_return_t source_check(const IODispatchSource *self, const char *method)
{
	if (self == NULL || self->ivars == NULL)
		return refuse(kIOReturnBadArgument, "%s: no source", method);
	return is_cancelled(self->ivars) ? cancelled_before(self->ivars, method) : kIOReturnSuccess;
}

kern_return_t source_enter(IODispatchSource *self, const char *method)
{
	kern_return_t ret = source_check(self, method);

	if (ret != kIOReturnSuccess)
		return ret;
	pthread_mutex_lock(&self->ivars->order);
	if (!is_cancelled(self->ivars))
		return kIOReturnSuccess;
	pthread_mutex_unlock(&self->ivars->order);
	return cancelled_before(self->ivars, method);
}

void source_leave(IODispatchSource *self)
{
	pthread_mutex_unlock(&self->ivars->order);
}

void IMPL(IODispatchSource, free)
{
	struct IODispatchSource_IVars *state = self->ivars;

	if (state != NULL) {
		pthread_mutex_lock(&state->order);
		pthread_mutex_lock(&state->lock);
		bool again = state->cancelled;
		state->cancelled = true;
		pthread_mutex_unlock(&state->lock);
		if (!again)
			state->ops->stop(state->context);
		pthread_mutex_unlock(&state->order);
		source_unref(state);
		self->ivars = NULL;
	}
	IODispatchSource_super_free(self);
}

/* --- calling --- */

static bool can_call(const struct IODispatchSource_IVars *state, const struct source_line *line)
{
	return state->enabled && !state->cancelled && line->handler != NULL && line->pending &&
	       !line->active;
}

/* Locked; unlocks. The line may be called for: post that, once. */
static void post_and_unlock(struct IODispatchSource_IVars *state, struct source_line *line)
{
	bool post = can_call(state, line) && !line->posted;

	if (post)
		line->posted = true;
	pthread_mutex_unlock(&state->lock);
	if (!post)
		return;
	source_ref(state);
	if (queue_post(state->queue, &line->item))
		return;
	/* The queue was cancelled: it stays posted for ever, and nobody is called. */
	source_unref(state);
}

static void post_pending(struct IODispatchSource_IVars *state)
{
	for (unsigned i = 0; i < state->ops->n_lines; i++) {
		pthread_mutex_lock(&state->lock);
		post_and_unlock(state, &state->lines[i]);
	}
}

/* Locked. Give out the changes that have nothing to wait for any more. */
static void take_changes(struct IODispatchSource_IVars *state, struct list *ready)
{
	list_init(ready);
	for (unsigned i = 0; i < state->ops->n_lines; i++)
		if (state->lines[i].active)
			return;
	while (!list_empty(&state->changes)) {
		struct list *first = state->changes.next;
		list_remove(first);
		list_append(ready, first);
	}
}

static void post_change(struct source_change *change)
{
	if (queue_post(change->source->queue, &change->item))
		return;
	if (queue_root() != NULL && queue_post(queue_root(), &change->item))
		return;
	run_change(&change->item); // out of memory: better here than never
}

static void post_changes(struct list *ready)
{
	while (!list_empty(ready)) {
		struct source_change *change =
			container_of(ready->next, struct source_change, link);
		list_remove(&change->link);
		post_change(change);
	}
}

/* A callback has returned. */
static void called(void *context)
{
	struct source_line *line = context;
	struct IODispatchSource_IVars *state = line->source;
	struct list ready;

	if (state->ops->called != NULL)
		state->ops->called(state->context, (unsigned)(line - state->lines));
	pthread_mutex_lock(&state->lock);
	line->active = false;
	take_changes(state, &ready);
	post_and_unlock(state, line);
	post_changes(&ready);
	source_unref(state);
}

/* On the queue. */
static void call(struct IODispatchSource_IVars *state, struct source_line *line)
{
	_Alignas(max_align_t) char room[SOURCE_MESSAGE_MAX];
	unsigned number = (unsigned)(line - state->lines);
	OSAction *handler = NULL;

	pthread_mutex_lock(&state->lock);
	if (can_call(state, line)) {
		line->pending = false;
		line->active = true;
		handler = line->handler;
		OSObjectRetain(handler);
	}
	pthread_mutex_unlock(&state->lock);
	if (handler == NULL)
		return;
	state->ops->fill(state->context, number, handler, room);
	source_ref(state);
	kern_return_t ret = action_deliver(handler, state->queue, state->ops->shapes[number], room,
					   called, line);
	if (ret != kIOReturnSuccess) {
		log_info("a callback of an %s was dropped: %s", state->ops->name, reason_last());
		called(line);
	}
	OSObjectRelease(handler);
}

static void run_line(struct queue_item *item)
{
	struct source_line *line = container_of(item, struct source_line, item);
	struct IODispatchSource_IVars *state = line->source;

	pthread_mutex_lock(&state->lock);
	line->posted = false;
	pthread_mutex_unlock(&state->lock);
	call(state, line);
	source_unref(state);
}

void source_signal(struct IODispatchSource_IVars *state, unsigned line)
{
	pthread_mutex_lock(&state->lock);
	state->lines[line].pending = true;
	post_and_unlock(state, &state->lines[line]);
}

void source_deliver(struct IODispatchSource_IVars *state, unsigned line)
{
	pthread_mutex_lock(&state->lock);
	state->lines[line].pending = true;
	pthread_mutex_unlock(&state->lock);
	call(state, &state->lines[line]);
}

void source_forget(struct IODispatchSource_IVars *state, unsigned line)
{
	pthread_mutex_lock(&state->lock);
	state->lines[line].pending = false;
	pthread_mutex_unlock(&state->lock);
}

/* --- handlers --- */

kern_return_t source_set_handler(IODispatchSource *self, unsigned line, OSAction *handler)
{
	kern_return_t ret = source_check(self, "SetHandler");

	if (ret != kIOReturnSuccess)
		return ret;
	struct IODispatchSource_IVars *state = self->ivars;
	const struct OSMethodShape *shape = state->ops->shapes[line];
	if (handler != NULL && !action_is_for(handler, shape))
		return refuse(kIOReturnBadArgument,
			      "the handler was not made for %s::%s: use CreateAction%s",
			      shape->class_name, shape->name, shape->name);
	pthread_mutex_lock(&state->lock);
	if (state->cancelled) { // since the look above: nobody would release the handler any more
		pthread_mutex_unlock(&state->lock);
		return cancelled_before(state, "SetHandler");
	}
	OSObjectRetain(handler);
	OSAction *old = state->lines[line].handler;
	state->lines[line].handler = handler;
	post_and_unlock(state, &state->lines[line]);
	OSObjectRelease(old);
	return kIOReturnSuccess;
}

kern_return_t source_copy_handler(IODispatchSource *self, unsigned line, OSAction **handler)
{
	kern_return_t ret = source_check(self, "CopyHandler");

	if (ret != kIOReturnSuccess)
		return ret;
	if (handler == NULL)
		return refuse(kIOReturnBadArgument, "CopyHandler: no place for the handler");
	pthread_mutex_lock(&self->ivars->lock);
	OSAction *found = self->ivars->lines[line].handler;
	OSObjectRetain(found);
	pthread_mutex_unlock(&self->ivars->lock);
	if (found == NULL)
		return refuse(kIOReturnNotFound, "CopyHandler: no handler was set");
	*handler = found;
	return kIOReturnSuccess;
}

/* --- changes --- */

static void release_handlers(struct IODispatchSource_IVars *state)
{
	for (unsigned i = 0; i < state->ops->n_lines; i++) {
		pthread_mutex_lock(&state->lock);
		OSAction *handler = state->lines[i].handler;
		state->lines[i].handler = NULL;
		pthread_mutex_unlock(&state->lock);
		OSObjectRelease(handler);
	}
}

static void run_change(struct queue_item *item)
{
	struct source_change *change = container_of(item, struct source_change, item);

	if (change->handler != NULL)
		change->handler(change->context);
	if (change->cancels) {
		release_handlers(change->source);
		if (change->source->ops->let_go != NULL)
			change->source->ops->let_go(change->source->context);
	}
	source_unref(change->source);
	free(change);
}

static struct source_change *change_new(struct IODispatchSource_IVars *state, void *context,
					IODispatchFunction handler, bool cancels)
{
	struct source_change *change = malloc(sizeof(*change));

	if (change == NULL)
		return NULL;
	*change = (struct source_change){
		.item.run = run_change,
		.source = source_ref(state),
		.handler = handler,
		.context = context,
		.cancels = cancels,
	};
	list_init(&change->link);
	return change;
}

static void change_drop(struct source_change *change)
{
	if (change == NULL)
		return;
	source_unref(change->source);
	free(change);
}

kern_return_t IODispatchSource_Cancel_f(IODispatchSource *self, void *context,
					IODispatchFunction handler)
{
	struct list ready;
	kern_return_t ret = source_check(self, "Cancel");

	if (ret != kIOReturnSuccess)
		return ret;
	struct IODispatchSource_IVars *state = self->ivars;
	struct source_change *change = change_new(state, context, handler, true);
	if (change == NULL)
		return refuse(kIOReturnNoMemory, "Cancel: out of memory");
	pthread_mutex_lock(&state->order);
	pthread_mutex_lock(&state->lock);
	bool again = state->cancelled;
	state->cancelled = true;
	list_init(&ready);
	if (!again) {
		list_append(&state->changes, &change->link);
		take_changes(state, &ready);
	}
	pthread_mutex_unlock(&state->lock);
	if (!again)
		state->ops->stop(state->context);
	pthread_mutex_unlock(&state->order);
	post_changes(&ready);
	if (!again)
		return kIOReturnSuccess;
	change_drop(change);
	return cancelled_before(state, "Cancel");
}

static kern_return_t set_enable(IODispatchSource *self, bool enable, struct source_change *change)
{
	struct IODispatchSource_IVars *state = self->ivars;
	struct list ready;

	pthread_mutex_lock(&state->order);
	pthread_mutex_lock(&state->lock);
	bool cancelled = state->cancelled;
	bool changes = !cancelled && state->enabled != enable;
	list_init(&ready);
	if (!cancelled) {
		state->enabled = enable;
		if (change != NULL)
			list_append(&state->changes, &change->link);
		take_changes(state, &ready);
	}
	pthread_mutex_unlock(&state->lock);
	if (changes && state->ops->set_enabled != NULL)
		state->ops->set_enabled(state->context, enable);
	pthread_mutex_unlock(&state->order);
	if (cancelled) {
		change_drop(change);
		return cancelled_before(state, "SetEnable");
	}
	post_changes(&ready);
	post_pending(state);
	return kIOReturnSuccess;
}

kern_return_t IODispatchSource_SetEnableWithCompletion_f(IODispatchSource *self, bool enable,
							 void *context, IODispatchFunction handler)
{
	kern_return_t ret = source_check(self, "SetEnable");

	if (ret != kIOReturnSuccess)
		return ret;
	struct source_change *change = change_new(self->ivars, context, handler, false);
	if (change == NULL)
		return refuse(kIOReturnNoMemory, "SetEnable: out of memory");
	return set_enable(self, enable, change);
}

kern_return_t IODispatchSource_SetEnable(IODispatchSource *self, bool enable)
{
	kern_return_t ret = source_check(self, "SetEnable");

	return ret != kIOReturnSuccess ? ret : set_enable(self, enable, NULL);
}

/* --- looking now --- */

static void check_now(void *context)
{
	struct IODispatchSource_IVars *state = context;

	if (state->ops->check != NULL)
		state->ops->check(state->context);
	for (unsigned i = 0; i < state->ops->n_lines; i++)
		call(state, &state->lines[i]);
}

static void check_later(void *context)
{
	check_now(context);
	source_unref(context);
}

kern_return_t IODispatchSource_CheckForWork(IODispatchSource *self, bool synchronous)
{
	kern_return_t ret = source_check(self, "CheckForWork");

	if (ret != kIOReturnSuccess)
		return ret;
	struct IODispatchSource_IVars *state = self->ivars;
	if (synchronous)
		return IODispatchQueue_DispatchSync_f(state->queue, state, check_now);
	ret = IODispatchQueue_DispatchAsync_f(state->queue, source_ref(state), check_later);
	if (ret != kIOReturnSuccess)
		source_unref(state);
	return ret;
}
