/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Spare closures.
 *
 * A thread keeps them in two magazines, lists of at most CLOSURES_KEPT. It takes from one and gives
 * to the same; when that is empty, or full, it goes on with the other. So a thread that runs what
 * it posted itself allocates nothing, whichever way the level moves.
 *
 * A thread that runs what others posted fills both: a full one then goes to the depot, where who
 * posts finds it. The depot has room for one magazine and is a single word, so that neither side
 * waits; the one that finds no room there is freed. A process hence keeps no more than the depot's
 * and two magazines for each thread, and those of a thread end with it.
 *
 * Under AddressSanitizer CLOSURES_KEPT is 0 and nothing is kept: it is to see each use of a closure
 * after its end.
 */

#include <runtime/closure.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

_Thread_local struct closure_store closure_store __attribute__((tls_model("initial-exec")));

static _Atomic(struct closure *) depot; // a full magazine's first; NULL: none

static pthread_key_t key; // its value only says that the thread has a store
static bool has_key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void free_all(struct closure *closure)
{
	while (closure != NULL) {
		struct closure *next = (struct closure *)closure->item.next;
		free(closure);
		closure = next;
	}
}

/* The thread ends. What it still runs after this is not kept. */
static void free_store(void *store)
{
	struct closure_store *s = store;

	free_all(s->loaded.first);
	free_all(s->other.first);
	*s = (struct closure_store){ .ended = true };
}

static void make_key(void)
{
	has_key = pthread_key_create(&key, free_store) == 0;
}

/* From now on the thread keeps closures, if somebody frees them when it ends. */
static void open_store(struct closure_store *s)
{
	pthread_once(&once, make_key);
	if (CLOSURES_KEPT > 0 && !s->ended && has_key && pthread_setspecific(key, s) == 0)
		s->room = CLOSURES_KEPT;
}

static void change_magazines(struct closure_store *s)
{
	struct magazine other = s->other;

	s->other = s->loaded;
	s->loaded = other;
}

static struct magazine take_from_depot(void)
{
	struct closure *first = atomic_exchange_explicit(&depot, NULL, memory_order_acquire);

	if (first == NULL)
		return (struct magazine){ 0 };
	return (struct magazine){ .first = first, .n = CLOSURES_KEPT };
}

static void give_to_depot(struct magazine full)
{
	free_all(atomic_exchange_explicit(&depot, full.first, memory_order_acq_rel));
}

struct closure *closure_new_slowly(void)
{
	struct closure_store *s = &closure_store;

	if (s->room == 0)
		open_store(s);
	if (s->other.n > 0)
		change_magazines(s);
	else if (s->room > 0)
		s->loaded = take_from_depot();
	return s->loaded.n > 0 ? closure_new() : malloc(sizeof(struct closure));
}

void closure_free_slowly(struct closure *closure)
{
	struct closure_store *s = &closure_store;

	if (s->room == 0)
		open_store(s);
	if (s->room == 0) {
		free(closure);
		return;
	}
	if (s->loaded.n >= s->room) {
		if (s->other.n > 0)
			give_to_depot(s->other);
		s->other = s->loaded;
		s->loaded = (struct magazine){ 0 };
	}
	closure_free(closure);
}
