/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The table of numbers: 20 bits of place, 12 bits that change each time the place is used again.
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
static uint32_t first_free; // 1 + index; 0: none

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
	struct object *ended = NULL;
	pthread_mutex_lock(&lock);
	struct place *place = find(handle);
	bool found = place != NULL;
	if (found && --place->count == 0) {
		ended = place->object;
		place->object = NULL;
		place->age = (place->age + 1) & AGE_MASK;
		place->next_free = first_free;
		first_free = 1 + (handle & INDEX_MASK);
	}
	pthread_mutex_unlock(&lock);
	if (!found)
		return refuse_handle(handle);
	if (ended != NULL)
		close_object(ended);
	return kIOReturnSuccess;
}
