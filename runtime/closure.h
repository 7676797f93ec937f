/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What IODispatchQueue_DispatchAsync_f queues: a function and its context. Closures come and go at
 * the rate of the queue, so a thread keeps those that it ran for those that it posts (closure.c).
 */

#include <DriverKit/IODispatchQueue.h>
#include <runtime/queue.h>

struct closure {
	struct queue_item item;
	IODispatchFunction function;
	void *context;
};

struct magazine {
	struct closure *first; // item.next
	uint32_t n;
};

/* The closures that the calling thread keeps. */
struct closure_store {
	struct magazine loaded; // given and taken here
	struct magazine other;  // empty or full
	uint32_t room;          // of a magazine; 0: the thread keeps none, or not yet
	bool ended;             // the thread is about to
};

extern _Thread_local struct closure_store closure_store __attribute__((tls_model("initial-exec")));

/* The same when the magazine is empty, or full. */
struct closure *closure_new_slowly(void);
void closure_free_slowly(struct closure *closure);

/* Not initialised. NULL: out of memory. */
static inline struct closure *closure_new(void)
{
	struct magazine *loaded = &closure_store.loaded;
	struct closure *closure = loaded->first;

	if (__builtin_expect(closure == NULL, false))
		return closure_new_slowly();
	loaded->first = (struct closure *)closure->item.next;
	loaded->n--;
	return closure;
}

/* On any thread. */
static inline void closure_free(struct closure *closure)
{
	struct magazine *loaded = &closure_store.loaded;

	if (__builtin_expect(loaded->n >= closure_store.room, false)) {
		closure_free_slowly(closure);
		return;
	}
	closure->item.next = &loaded->first->item;
	loaded->first = closure;
	loaded->n++;
}
