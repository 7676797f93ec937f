/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the classes of sources have in common: whether to call a handler now, later or never, and
 * when the handlers of SetEnable and Cancel may run. Of each class it knows a table.
 *
 * A source has one or two lines, each with a handler of its own (a data queue's DataAvailable and
 * DataServiced). Its state outlives the object while a callback is under way.
 */

#include <DriverKit/IODispatchSource.h>

enum { SOURCE_LINES_MAX = 2 };

struct source_ops {
	const char *name; // of the class, for reasons
	unsigned n_lines;
	const struct OSMethodShape *shapes[SOURCE_LINES_MAX]; // what the handlers are made for
	/* Required. On the source's queue, one line at a time: the message for the handler, its
	 * action included. `room` has SOURCE_MESSAGE_MAX bytes. */
	void (*fill)(void *context, unsigned line, OSAction *handler, void *room);
	/* Optional. A callback has returned, on any queue. */
	void (*called)(void *context, unsigned line);
	/* Optional. It was enabled or disabled; any thread, one at a time. */
	void (*set_enabled)(void *context, bool enabled);
	/* Required. Any thread, once: begin no event any more. */
	void (*stop)(void *context);
	/* Optional. Cancel's handler has run: let go of what it keeps, which may keep it. */
	void (*let_go)(void *context);
	/* Optional. On the source's queue: call source_deliver for what has happened by now. */
	void (*check)(void *context);
	/* Required. Nothing refers to the source any more. */
	void (*free)(void *context);
};

enum { SOURCE_MESSAGE_MAX = 64 };

struct IODispatchSource_IVars;

/* The state of a fresh `self`, which begins as said and calls on `queue`, which is kept. `context`
 * goes to the table's functions, and is the state's once this returned success. */
kern_return_t source_init(IODispatchSource *self, const struct source_ops *ops, void *context,
			  IODispatchQueue *queue, bool enabled);

/* For whatever reports events: source_unref when it will not any more. Any thread. */
struct IODispatchSource_IVars *source_ref(struct IODispatchSource_IVars *state);
void source_unref(void *state);

IODispatchQueue *source_queue(const struct IODispatchSource_IVars *state); // borrowed

/* kIOReturnUnsupported, with a reason, after Cancel. */
kern_return_t source_check(const IODispatchSource *self, const char *method);

/* The same, and it is not cancelled, enabled or disabled until source_leave. */
kern_return_t source_enter(IODispatchSource *self, const char *method);
void source_leave(IODispatchSource *self);

kern_return_t source_set_handler(IODispatchSource *self, unsigned line, OSAction *handler);
kern_return_t source_copy_handler(IODispatchSource *self, unsigned line, OSAction **handler);

/* Something happened: call the handler, once for all that happened before. From any thread … */
void source_signal(struct IODispatchSource_IVars *state, unsigned line);
/* … and from the source's queue, at once. */
void source_deliver(struct IODispatchSource_IVars *state, unsigned line);
/* What happened, and was not called for yet, counts no more. */
void source_forget(struct IODispatchSource_IVars *state, unsigned line);
