/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The table of numbers: 20 bits of place, 12 bits that change each time the place is used again.
 *
 * A thread that calls, calls on the same connection again: it remembers the last object it
 * borrowed, with a reference. What it remembers is good while no number has ended since (`ended`),
 * which one load tells; then borrowing counts in the thread alone. While something is borrowed the
 * memory is not changed, so what a callback borrows meanwhile is counted as usual.
 */

#include <pthread.h>
#include <stdlib.h>

#include <base/reason.h>
#include <client/handle.h>

#define INDEX_BITS 20
#define INDEX_MASK ((1U << INDEX_BITS) - 1)
#define AGE_MASK   ((1U << (32 - INDEX_BITS)) - 1)

struct place {
	struct object *object; // a reference; NULL: free
	uint32_t count;        // the application's references
	uint32_t age;
	uint32_t next_free; // 1 + index; 0: none
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct place *places; // lock, as all below
static uint32_t n_places;
static uint32_t first_free;    // 1 + index; 0: none
static _Atomic uint64_t ended; // numbers so far; changed with the lock held

static _Thread_local struct {
	struct object *object; // a reference; NULL: none
	uint64_t ended;        // what `ended` was before it was found
	io_object_t handle;
	uint32_t n_borrowed;
} last __attribute__((tls_model("initial-exec")));

static pthread_once_t last_once = PTHREAD_ONCE_INIT;
static pthread_key_t last_key; // its value: that `last` has something to let go
static bool has_last_key;

void object_init(struct object *object, enum object_kind kind,
		 void (*on_close)(struct object *object), void (*on_free)(struct object *object))
{
	object->kind = kind;
	object->on_close = on_close;
	object->on_free = on_free;
	atomic_init(&object->refs, 1);
}

void *object_ref(struct object *object)
{
	atomic_fetch_add_explicit(&object->refs, 1, memory_order_relaxed);
	return object;
}

struct object *object_unref(struct object *object)
{
	if (object != NULL &&
	    atomic_fetch_sub_explicit(&object->refs, 1, memory_order_acq_rel) == 1)
		object->on_free(object);
	return NULL;
}

static struct object *close_object(struct object *object)
{
	if (object->on_close != NULL)
		object->on_close(object);
	return object_unref(object);
}

/* With the lock held. Place 0 is never used, so that no number is 0. */
static bool grow(void)
{
	uint32_t n = n_places == 0 ? 64 : n_places * 2;
	if (n > INDEX_MASK)
		return false;
	struct place *grown = realloc(places, n * sizeof(*grown));
	if (grown == NULL)
		return false;
	places = grown;
	for (uint32_t i = n_places == 0 ? 1 : n_places; i < n; i++) {
		places[i] = (struct place){ .next_free = first_free };
		first_free = 1 + i;
	}
	n_places = n;
	return true;
}

io_object_t handle_new(struct object *object)
{
	io_object_t handle = IO_OBJECT_NULL;
	pthread_mutex_lock(&lock);
	if (first_free != 0 || grow()) {
		uint32_t index = first_free - 1;
		struct place *place = &places[index];
		first_free = place->next_free;
		place->object = object;
		place->count = 1;
		handle = place->age << INDEX_BITS | index;
	}
	pthread_mutex_unlock(&lock);
	if (handle == IO_OBJECT_NULL) {
		close_object(object);
		refuse(kIOReturnNoMemory, "no room for another object");
	}
	return handle;
}

/* With the lock held. NULL: no such number. */
static struct place *find(io_object_t handle)
{
	uint32_t index = handle & INDEX_MASK;
	if (index == 0 || index >= n_places)
		return NULL;
	struct place *place = &places[index];
	if (place->object == NULL || place->age != handle >> INDEX_BITS)
		return NULL;
	return place;
}

static kern_return_t refuse_handle(io_object_t handle)
{
	if (handle == IO_OBJECT_NULL)
		return refuse(kIOReturnBadArgument, "the object is IO_OBJECT_NULL");
	return refuse(kIOReturnBadArgument, "0x%08x is no object, or was released", handle);
}

struct object *handle_get(io_object_t handle, enum object_kind kind)
{
	static const char *const kinds[] = {
		[OBJECT_ENTRY] = "registry entry",   [OBJECT_ITERATOR] = "iterator",
		[OBJECT_CONNECTION] = "connection",  [OBJECT_INTEREST] = "notification",
		[OBJECT_PORT] = "notification port",
	};
	struct object *object = NULL;
	pthread_mutex_lock(&lock);
	struct place *place = find(handle);
	bool found = place != NULL;
	if (found && place->object->kind == kind)
		object = object_ref(place->object);
	pthread_mutex_unlock(&lock);
	if (!found)
		refuse_handle(handle);
	else if (object == NULL)
		refuse(kIOReturnBadArgument, "0x%08x is no %s", handle, kinds[kind]);
	return object;
}

/* --- what a thread remembers --- */

static void forget_last(void *value)
{
	struct object *object = last.object;
	(void)value;
	last.object = NULL;
	last.handle = IO_OBJECT_NULL;
	object_unref(object);
}

static void make_last_key(void)
{
	has_last_key = pthread_key_create(&last_key, forget_last) == 0;
}

/* Without a key nobody would let go of it at the thread's end: then it is not remembered. */
static bool will_forget(void)
{
	pthread_once(&last_once, make_last_key);
	return has_last_key && pthread_setspecific(last_key, &last) == 0;
}

/* `object`, with the caller's reference, was found when `before` numbers had ended. */
static void remember(struct object *object, io_object_t handle, uint64_t before)
{
	if (!will_forget())
		return;
	last.object = object;
	last.handle = handle;
	last.ended = before;
	last.n_borrowed = 1;
}

static bool is_fresh(void)
{
	return last.ended == atomic_load_explicit(&ended, memory_order_acquire);
}

static bool remembers(io_object_t handle, enum object_kind kind)
{
	return last.object != NULL && last.handle == handle && last.object->kind == kind &&
	       is_fresh();
}

struct object *handle_borrow(io_object_t handle, enum object_kind kind)
{
	if (remembers(handle, kind)) {
		last.n_borrowed++;
		return last.object;
	}
	if (last.n_borrowed == 0)
		forget_last(NULL);
	uint64_t before = atomic_load_explicit(&ended, memory_order_acquire);
	struct object *object = handle_get(handle, kind);
	if (object != NULL && last.n_borrowed == 0) {
		remember(object, handle, before);
	} else if (object != NULL && object == last.object) {
		last.n_borrowed++;
		object_unref(object); // not the last: `last` has one
	}
	return object;
}

void handle_return(struct object *object)
{
	if (object != last.object)
		object_unref(object);
	else if (--last.n_borrowed == 0 && !is_fresh())
		forget_last(NULL); // another thread may have closed it meanwhile
}

kern_return_t handle_kind(io_object_t handle, enum object_kind *kind)
{
	pthread_mutex_lock(&lock);
	struct place *place = find(handle);
	bool found = place != NULL;
	if (found)
		*kind = place->object->kind;
	pthread_mutex_unlock(&lock);
	return found ? kIOReturnSuccess : refuse_handle(handle);
}

kern_return_t handle_retain(io_object_t handle)
{
	pthread_mutex_lock(&lock);
	struct place *place = find(handle);
	bool found = place != NULL && place->count < UINT32_MAX;
	if (found)
		place->count++;
	pthread_mutex_unlock(&lock);
	return found ? kIOReturnSuccess : refuse_handle(handle);
}

kern_return_t handle_release(io_object_t handle)
{
	struct object *object = NULL;
	pthread_mutex_lock(&lock);
	struct place *place = find(handle);
	bool found = place != NULL;
	if (found && --place->count == 0) {
		object = place->object;
		place->object = NULL;
		place->age = (place->age + 1) & AGE_MASK;
		place->next_free = first_free;
		first_free = 1 + (handle & INDEX_MASK);
		atomic_fetch_add(&ended, 1);
	}
	pthread_mutex_unlock(&lock);
	if (!found)
		return refuse_handle(handle);
	if (object != NULL) {
		close_object(object);
		if (last.object == object && last.n_borrowed == 0)
			forget_last(NULL);
	}
	return kIOReturnSuccess;
}
