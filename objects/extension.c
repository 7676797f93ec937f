/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Extensions: methods that a class got from another file. They stand in a list that only grows, new
 * ones in front, so that a lookup walks it without a lock; one is linked when all of it was
 * checked. A lookup that found a row remembers it (class.c), so the list is walked once for each
 * method that is in use.
 */

#include <objects/class.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <base/log.h>
#include <base/reason.h>

struct extension {
	const struct OSClassExtension *table;
	const struct extension *next;
};

static pthread_mutex_t growing = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(const struct extension *) extensions; // changed with `growing` held

static const struct extension *first(void)
{
	return atomic_load_explicit(&extensions, memory_order_acquire);
}

const struct OSMethod *extension_find_row(const OSMetaClass *meta, uint64_t id)
{
	for (const struct extension *e = first(); e != NULL; e = e->next) {
		const struct OSMethod *row = NULL;

		if (e->table->meta == meta)
			row = rows_find(e->table->methods, e->table->n_methods, id);
		if (row != NULL)
			return row;
	}
	return NULL;
}

bool extension_is_named(const char *name)
{
	for (const struct extension *e = first(); e != NULL; e = e->next)
		if (strcmp(e->table->name, name) == 0)
			return true;
	return false;
}

/* Somebody else's row of that id, for objects that this extension could serve too. */
static const struct OSMethod *find_rival(const OSMetaClass *meta, uint64_t id)
{
	const struct OSMethod *row = OSMetaClassFindMethod(meta, id);

	for (const struct extension *e = first(); e != NULL && row == NULL; e = e->next)
		row = rows_find(e->table->methods, e->table->n_methods, id);
	return row;
}

static kern_return_t check(const struct OSClassExtension *table)
{
	kern_return_t ret = rows_check(table->name, table->methods, table->n_methods);

	if (ret != kIOReturnSuccess)
		return ret;
	if (extension_is_named(table->name) || OSMetaClassGetNamed(table->name) != NULL)
		return refuse(kIOReturnExclusiveAccess,
			      "a class or an extension named %s is registered already: give this "
			      "extension of %s another name",
			      table->name, table->meta->name);
	for (uint32_t i = 0; i < table->n_methods; i++) {
		const struct OSMethodShape *shape = table->methods[i].shape;
		const struct OSMethod *rival = find_rival(table->meta, shape->id);

		if (rival != NULL)
			return refuse(
				kIOReturnExclusiveAccess,
				"extension %s of class %s: the id of %s is that of %s::%s: rename "
				"the method",
				table->name, table->meta->name, shape->name,
				rival->shape->class_name, rival->shape->name);
	}
	return kIOReturnSuccess;
}

static kern_return_t link_extension(const struct OSClassExtension *table)
{
	struct extension *extension = malloc(sizeof(*extension));

	if (extension == NULL)
		return refuse(kIOReturnNoMemory, "no memory to register extension %s", table->name);
	*extension = (struct extension){ .table = table, .next = first() };
	atomic_store_explicit(&extensions, extension, memory_order_release);
	return kIOReturnSuccess;
}

kern_return_t OSMetaClassExtend(const struct OSClassExtension *extension)
{
	kern_return_t ret;

	pthread_mutex_lock(&growing);
	ret = check(extension);
	if (ret == kIOReturnSuccess)
		ret = link_extension(extension);
	pthread_mutex_unlock(&growing);
	if (ret != kIOReturnSuccess) // the generated constructor has nobody to tell
		log_error("%s", reason_last());
	return ret;
}
