/* SPDX-License-Identifier: Apache-2.0 */

/* One lock serves all iterators: it is held for a few instructions. */

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <base/list.h>
#include <base/log.h>
#include <base/reason.h>
#include <client/entry.h>
#include <client/iterator.h>

#define IDS_MAX 65536U

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct iterator *iterator_of(struct object *object)
{
	return container_of(object, struct iterator, object);
}

static void iterator_free(struct object *object)
{
	struct iterator *iterator = iterator_of(object);
	free(iterator->ids);
	free(iterator);
}

struct iterator *iterator_new(void (*on_close)(struct object *object))
{
	struct iterator *iterator = calloc(1, sizeof(*iterator));
	if (iterator == NULL)
		return NULL;
	object_init(&iterator->object, OBJECT_ITERATOR, on_close, iterator_free);
	iterator->grows = on_close != NULL;
	return iterator;
}

/* With the lock held: room for `n` more, what was read dropped. */
static bool make_room(struct iterator *iterator, uint32_t n)
{
	if (iterator->grows && iterator->position > 0) {
		iterator->n_ids -= iterator->position;
		memmove(iterator->ids, iterator->ids + iterator->position,
			iterator->n_ids * sizeof(uint64_t));
		iterator->position = 0;
	}
	if (iterator->n_ids + n <= iterator->room)
		return true;
	uint32_t room = iterator->n_ids + n + 16;
	if (room > IDS_MAX)
		return false;
	uint64_t *grown = realloc(iterator->ids, room * sizeof(uint64_t));
	if (grown == NULL)
		return false;
	iterator->ids = grown;
	iterator->room = room;
	return true;
}

static bool are_numbers(OSArray *entries)
{
	for (uint32_t i = 0; i < OSArray_getCount(entries); i++)
		if (OSDynamicCast(OSNumber, OSArray_getObject(entries, i)) == NULL)
			return false;
	return true;
}

kern_return_t iterator_put_first(struct iterator *iterator, OSArray *entries)
{
	if (entries == NULL || !are_numbers(entries))
		return refuse(kIOReturnIPCError, "dextd sent no array of entries");
	uint32_t n = OSArray_getCount(entries);
	if (n > IDS_MAX / 2)
		return refuse(kIOReturnNoResources, "%u entries are too many", n);
	pthread_mutex_lock(&lock);
	bool room = make_room(iterator, n);
	if (room) {
		if (iterator->n_ids > 0)
			memmove(iterator->ids + n, iterator->ids,
				iterator->n_ids * sizeof(uint64_t));
		for (uint32_t i = 0; i < n; i++)
			iterator->ids[i] = OSNumber_unsigned64BitValue(
				OSDynamicCast(OSNumber, OSArray_getObject(entries, i)));
		iterator->n_ids += n;
	}
	pthread_mutex_unlock(&lock);
	return room ? kIOReturnSuccess : refuse(kIOReturnNoMemory, "out of memory");
}

bool iterator_append(struct iterator *iterator, uint64_t id)
{
	pthread_mutex_lock(&lock);
	bool room = make_room(iterator, 1);
	bool armed = iterator->armed && room;
	if (room) {
		iterator->ids[iterator->n_ids++] = id;
		iterator->armed = false;
	}
	pthread_mutex_unlock(&lock);
	if (!room)
		log_warn("a service was not told of: %u others were not read", IDS_MAX);
	return armed;
}

io_object_t IOIteratorNext(io_iterator_t handle)
{
	uint64_t id = 0;
	reason_clear();
	struct object *object = handle_get(handle, OBJECT_ITERATOR);
	if (object == NULL)
		return IO_OBJECT_NULL;
	struct iterator *iterator = iterator_of(object);
	pthread_mutex_lock(&lock);
	bool found = iterator->position < iterator->n_ids;
	if (found)
		id = iterator->ids[iterator->position++];
	iterator->armed = !found;
	pthread_mutex_unlock(&lock);
	object_unref(object);
	return found ? entry_new(id) : IO_OBJECT_NULL;
}

bool IOIteratorIsValid(io_iterator_t handle)
{
	reason_clear();
	struct object *object = handle_get(handle, OBJECT_ITERATOR);
	object_unref(object);
	return object != NULL;
}

void IOIteratorReset(io_iterator_t handle)
{
	reason_clear();
	struct object *object = handle_get(handle, OBJECT_ITERATOR);
	if (object == NULL)
		return;
	struct iterator *iterator = iterator_of(object);
	pthread_mutex_lock(&lock);
	if (!iterator->grows)
		iterator->position = 0;
	pthread_mutex_unlock(&lock);
	object_unref(object);
}
