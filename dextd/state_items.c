// SPDX-License-Identifier: Apache-2.0
#include <dextd/state_items.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <base/reason.h>
#include <dextd/properties.h>

struct item {
	struct list link;             // entry.items
	char *name;                   // owned
	OSDictionary *schema, *value; // kept; NULL: anything; not set
	size_t size;                  // of both
	uint64_t changed;
};

static struct item *find(const struct list *items, const char *name)
{
	struct item *item;

	list_for_each(item, items, link)
		if (strcmp(item->name, name) == 0)
			return item;
	return NULL;
}

static void item_free(struct item *item)
{
	list_remove(&item->link);
	OSObjectRelease(item->schema);
	OSObjectRelease(item->value);
	free(item->name);
	free(item);
}

static size_t size_of(OSDictionary *dictionary)
{
	return dictionary != NULL ? properties_size(dictionary) : 0;
}

/* Of all of them, with `instead` for the size of `item`, which may be NULL. */
static int check_size(const struct list *items, const struct item *item, size_t instead)
{
	size_t size = instead;
	const struct item *other;

	list_for_each(other, items, link)
		size += other != item ? other->size : 0;
	if (instead <= STATE_ITEMS_SIZE_MAX && size <= STATE_ITEMS_SIZE_MAX)
		return 0;
	(void)refuse(kIOReturnOverrun, "the state of one service is limited to %u KiB",
		     STATE_ITEMS_SIZE_MAX / 1024);
	return -EOVERFLOW;
}

static int check_new(const struct list *items, const char *name)
{
	unsigned n = 0;
	const struct item *item;

	list_for_each(item, items, link)
		n++;
	if (n >= STATE_ITEMS_MAX) {
		(void)refuse(kIOReturnNoSpace, "a service has at most %u items of state",
			     STATE_ITEMS_MAX);
		return -ENOSPC;
	}
	if (find(items, name) == NULL)
		return 0;
	(void)refuse(kIOReturnExclusiveAccess, "the service has an item %s already", name);
	return -EEXIST;
}

int state_item_add(struct list *items, const char *name, OSDictionary *schema)
{
	bool any = schema == NULL || OSDictionary_getCount(schema) == 0;
	size_t size = any ? 0 : size_of(schema);
	int ret = check_new(items, name);

	if (ret == 0)
		ret = check_size(items, NULL, size);
	struct item *item = ret == 0 ? calloc(1, sizeof(*item)) : NULL;
	if (item == NULL)
		return ret < 0 ? ret : -ENOMEM;
	list_init(&item->link);
	item->name = strdup(name);
	if (item->name == NULL) {
		item_free(item);
		return -ENOMEM;
	}
	if (!any)
		OSObjectRetain(schema);
	item->schema = any ? NULL : schema;
	item->size = size;
	list_append(items, &item->link);
	return 0;
}

static int check_value(const struct item *item, OSDictionary *value)
{
	const char *key;
	OSObject *object;

	for (uint32_t i = 0; OSDictionary_getEntry(value, i, &key, &object); i++) {
		OSObject *model = OSDictionary_getObject(item->schema, key);
		if (model != NULL && model->meta == object->meta)
			continue;
		(void)refuse(kIOReturnBadArgument, "item %s: %s is %s", item->name, key,
			     model == NULL ? "not in its schema" : "of another type in its schema");
		return -EINVAL;
	}
	return 0;
}

int state_item_set(struct list *items, const char *name, OSDictionary *value, uint64_t number,
		   bool *changed)
{
	struct item *item = find(items, name);

	if (item == NULL) {
		(void)refuse(kIOReturnNotFound, "the service has no item %s: create it first",
			     name);
		return -ENOENT;
	}
	int ret = item->schema != NULL ? check_value(item, value) : 0;
	size_t size = size_of(item->schema) + size_of(value);
	if (ret == 0)
		ret = check_size(items, item, size);
	if (ret < 0)
		return ret;
	*changed = !properties_equal(OSDictionary_as_OSObject(item->value),
				     OSDictionary_as_OSObject(value));
	if (!*changed)
		return 0;
	OSObjectRetain(value);
	OSObjectRelease(item->value);
	item->value = value;
	item->size = size;
	item->changed = number;
	return 0;
}

OSDictionary *state_item_value(const struct list *items, const char *name)
{
	const struct item *item = find(items, name);

	return item != NULL ? item->value : NULL;
}

uint64_t state_item_changed(const struct list *items, const char *name)
{
	const struct item *item = find(items, name);

	return item != NULL ? item->changed : 0;
}

void state_items_clear(struct list *items)
{
	while (!list_empty(items))
		item_free(container_of(items->next, struct item, link));
}
