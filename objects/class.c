/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Classes: who is derived from whom, which class has which name, and which row serves a method.
 *
 * Names are kept in one sorted array under a mutex: it grows before main, and is read when a
 * service starts.
 *
 * The row of (class, id) is looked up on every call, so what was found once is remembered in a
 * hash table of the process that is read without a lock: an entry is written before it is linked
 * and never changed or removed after, and there are at most as many as methods are in use. A miss,
 * or no memory for an entry, costs a binary search in each class up the chain and in
 * their extensions.
 */

#include <DriverKit/OSMetaClass.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <base/log.h>
#include <base/reason.h>
#include <objects/class.h>
#include <objects/ledger.h>

#define LOOKUP_BITS    9U
#define LOOKUP_BUCKETS (1U << LOOKUP_BITS)

/* --- the chain --- */

bool OSMetaClassIsSubclass(const OSMetaClass *meta, const OSMetaClass *ancestor)
{
	while (meta != NULL && meta != ancestor)
		meta = meta->super;
	return meta != NULL;
}

void *OSMetaClassCast(const OSMetaClass *meta, const void *object)
{
	const OSObject *instance = object;

	if (instance != NULL && OSMetaClassIsSubclass(instance->meta, meta))
		return (void *)(uintptr_t)object;
	ledger_check(instance, "cast");
	return NULL;
}

void *OSMetaClassRequiredCast(const OSMetaClass *meta, const void *object)
{
	void *cast = OSMetaClassCast(meta, object);

	if (cast != NULL || object == NULL)
		return cast;
	log_fatal("OSRequiredCast: an object of class %s is required to be of class %s",
		  OSObjectGetClassName(object), meta->name);
	abort();
}

const OSMetaClass *OSObjectGetMetaClass(const void *object)
{
	const OSObject *instance = object;

	return instance != NULL ? instance->meta : NULL;
}

const char *OSObjectGetClassName(const void *object)
{
	const OSMetaClass *meta = OSObjectGetMetaClass(object);

	return meta != NULL ? meta->name : NULL;
}

/* --- names --- */

static struct {
	pthread_mutex_t lock;
	const OSMetaClass **classes; // guarded by lock; ascending by name
	size_t count, room;          // guarded by lock
} registry = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Where `name` is, or would be. With the lock held. */
static size_t find_name(const char *name, bool *found)
{
	size_t low = 0, high = registry.count;

	*found = false;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(registry.classes[middle]->name, name);

		if (order == 0) {
			*found = true;
			return middle;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static kern_return_t insert_class(size_t position, const OSMetaClass *meta)
{
	if (registry.count == registry.room) {
		size_t room = registry.room == 0 ? 64 : 2 * registry.room;
		const OSMetaClass **grown =
			reallocarray(registry.classes, room, sizeof(const OSMetaClass *));

		if (grown == NULL)
			return refuse(kIOReturnNoMemory, "no memory to register class %s",
				      meta->name);
		registry.classes = grown;
		registry.room = room;
	}
	memmove(registry.classes + position + 1, registry.classes + position,
		(registry.count - position) * sizeof(*registry.classes));
	registry.classes[position] = meta;
	registry.count++;
	return kIOReturnSuccess;
}

/* What rows_find relies on. */
kern_return_t rows_check(const char *owner, const struct OSMethod *rows, uint32_t n_rows)
{
	for (uint32_t i = 1; i < n_rows; i++)
		if (rows[i - 1].shape->id >= rows[i].shape->id)
			return refuse(kIOReturnBadArgument,
				      "class %s: the rows of %s and %s are not in ascending order "
				      "of their ids: build it again with iig",
				      owner, rows[i - 1].shape->name, rows[i].shape->name);
	return kIOReturnSuccess;
}

/* What rows_find relies on, and what keeps a base class inside its derived one. */
static kern_return_t check_table(const OSMetaClass *meta)
{
	size_t base = meta->super != NULL ? meta->super->instance_size : sizeof(OSObject);

	if (meta->instance_size < base)
		return refuse(kIOReturnBadArgument,
			      "class %s is smaller than its super class: build it again with iig",
			      meta->name);
	return rows_check(meta->name, meta->methods, meta->n_methods);
}

kern_return_t OSMetaClassRegister(const OSMetaClass *meta)
{
	kern_return_t ret = check_table(meta);
	size_t position;
	bool found;

	if (ret != kIOReturnSuccess)
		return ret;
	pthread_mutex_lock(&registry.lock);
	position = find_name(meta->name, &found);
	if (!found && extension_is_named(meta->name))
		ret = refuse(kIOReturnExclusiveAccess,
			     "an extension named %s is registered already: give this class another "
			     "name",
			     meta->name);
	else if (!found)
		ret = insert_class(position, meta);
	else if (registry.classes[position] != meta)
		ret = refuse(kIOReturnExclusiveAccess,
			     "a class named %s is registered already: give this one another name",
			     meta->name);
	pthread_mutex_unlock(&registry.lock);
	return ret;
}

const OSMetaClass *OSMetaClassGetNamed(const char *name)
{
	const OSMetaClass *meta = NULL;
	size_t position;
	bool found;

	if (name == NULL)
		return NULL;
	pthread_mutex_lock(&registry.lock);
	position = find_name(name, &found);
	if (found)
		meta = registry.classes[position];
	pthread_mutex_unlock(&registry.lock);
	return meta;
}

/* --- methods --- */

struct lookup {
	const OSMetaClass *meta;
	uint64_t id;
	const struct OSMethod *row;
	struct lookup *next;
};

static _Atomic(struct lookup *) lookups[LOOKUP_BUCKETS];

static _Atomic(struct lookup *) *lookup_bucket(const OSMetaClass *meta, uint64_t id)
{
	uint64_t mixed = (id ^ (uint64_t)(uintptr_t)meta) * 0x9e3779b97f4a7c15ULL;

	return &lookups[mixed >> (64U - LOOKUP_BITS)];
}

static void lookup_remember(_Atomic(struct lookup *) *bucket, const OSMetaClass *meta, uint64_t id,
			    const struct OSMethod *row)
{
	struct lookup *entry = malloc(sizeof(*entry));

	if (entry == NULL)
		return;
	/* Two threads that miss together both add theirs: a bounded waste. */
	*entry = (struct lookup){ .meta = meta, .id = id, .row = row };
	entry->next = atomic_load_explicit(bucket, memory_order_acquire);
	while (!atomic_compare_exchange_weak_explicit(bucket, &entry->next, entry,
						      memory_order_release, memory_order_acquire))
		continue;
}

const struct OSMethod *rows_find(const struct OSMethod *rows, uint32_t n_rows, uint64_t id)
{
	uint32_t low = 0, high = n_rows;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		uint64_t here = rows[middle].shape->id;

		if (here == id)
			return &rows[middle];
		if (here < id)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

const struct OSMethod *OSMetaClassFindMethod(const OSMetaClass *meta, uint64_t id)
{
	_Atomic(struct lookup *) *bucket = lookup_bucket(meta, id);
	const struct OSMethod *row = NULL;

	for (const struct lookup *entry = atomic_load_explicit(bucket, memory_order_acquire);
	     entry != NULL; entry = entry->next)
		if (entry->meta == meta && entry->id == id)
			return entry->row;
	for (const OSMetaClass *class = meta; class != NULL && row == NULL; class = class->super) {
		row = rows_find(class->methods, class->n_methods, id);
		if (row == NULL)
			row = extension_find_row(class, id);
	}
	if (row != NULL)
		lookup_remember(bucket, meta, id, row);
	return row;
}
