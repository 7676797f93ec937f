// SPDX-License-Identifier: Apache-2.0
/*
 * Entries hang in four lists: all of them by age, one bucket by id, their parent's children, and,
 * once published, the order of publication. What the registry knows is laid over an entry's
 * properties when they are read, so no driver can claim another id or class.
 */

#include <dextd/registry.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <base/reason.h>
#include <dextd/properties.h>
#include <dextd/state_items.h>

static int set_text(IOServiceName room, const char *what, const char *text)
{
	size_t size = strlen(text) + 1;
	if (size > sizeof(IOServiceName)) {
		(void)refuse(kIOReturnOverrun, "%s is longer than %zu bytes: %.32s…", what,
			     sizeof(IOServiceName) - 1, text);
		return -EOVERFLOW;
	}
	memcpy(room, text, size);
	return 0;
}

static int check_size(OSDictionary *properties)
{
	if (properties_size(properties) <= REGISTRY_PROPERTIES_MAX)
		return 0;
	(void)refuse(kIOReturnOverrun, "the properties of one entry are limited to %u KiB",
		     REGISTRY_PROPERTIES_MAX / 1024);
	return -EOVERFLOW;
}

static struct entry *new_entry(enum entry_kind kind)
{
	struct entry *entry = calloc(1, sizeof(*entry));
	if (entry == NULL)
		return NULL;
	entry->properties = OSDictionary_withCapacity(8);
	if (entry->properties == NULL) {
		free(entry);
		return NULL;
	}
	entry->kind = kind;
	list_init(&entry->link);
	list_init(&entry->bucket);
	list_init(&entry->sibling);
	list_init(&entry->children);
	list_init(&entry->published);
	list_init(&entry->items);
	return entry;
}

static void free_entry(struct entry *entry)
{
	list_remove(&entry->link);
	list_remove(&entry->bucket);
	list_remove(&entry->sibling);
	list_remove(&entry->published);
	OSObjectRelease(entry->properties);
	state_items_clear(&entry->items);
	free(entry);
}

static void link_entry(struct registry *registry, struct entry *parent, struct entry *entry)
{
	entry->id = registry->next_id++;
	entry->parent = parent;
	list_append(&registry->entries, &entry->link);
	list_append(&registry->buckets[entry->id % REGISTRY_BUCKETS], &entry->bucket);
	if (parent != NULL)
		list_append(&parent->children, &entry->sibling);
	registry->n_entries++;
}

/* Upwards as long as that makes an edge. */
static void add_busy(struct registry *registry, struct entry *entry, int64_t delta)
{
	for (; entry != NULL && delta != 0; entry = entry->parent) {
		bool was = entry->busy != 0;
		entry->busy = (uint32_t)(entry->busy + delta);
		bool is = entry->busy != 0;
		if (was == is)
			return;
		if (registry->events != NULL)
			registry->events->on_busy(registry->context, entry);
		delta = is ? 1 : -1;
	}
}

int registry_init(struct registry *registry)
{
	*registry = (struct registry){ 0 };
	list_init(&registry->entries);
	list_init(&registry->published);
	for (unsigned i = 0; i < REGISTRY_BUCKETS; i++)
		list_init(&registry->buckets[i]);

	struct entry *root = new_entry(ENTRY_ROOT);
	if (root == NULL)
		return -ENOMEM;
	root->state = ENTRY_STATE_RUNNING;
	(void)set_text(root->name, "name", "Root");
	(void)set_text(root->class_name, "class", "IORegistryEntry");
	link_entry(registry, NULL, root); // id 0
	registry->root = root;
	return 0;
}

void registry_deinit(struct registry *registry)
{
	if (registry->root != NULL)
		registry_remove(registry, registry->root);
	registry->root = NULL;
}

static enum entry_state first_state(enum entry_kind kind)
{
	if (kind == ENTRY_DEVICE)
		return ENTRY_STATE_DEVICE;
	return kind == ENTRY_CLIENT ? ENTRY_STATE_CLIENT : ENTRY_STATE_MATCHED;
}

int registry_add(struct registry *registry, struct entry *parent, enum entry_kind kind,
		 const char *class_name, OSDictionary *properties, struct entry **out)
{
	if (registry->n_entries >= REGISTRY_ENTRIES_MAX) {
		(void)refuse(kIOReturnNoResources, "the registry is full: %u entries",
			     REGISTRY_ENTRIES_MAX);
		return -ENOSPC;
	}
	struct entry *entry = new_entry(kind);
	if (entry == NULL)
		return -ENOMEM;
	int ret = set_text(entry->class_name, "a class name", class_name);
	if (ret == 0)
		ret = set_text(entry->name, "a name", class_name);
	if (ret == 0 && properties != NULL)
		ret = registry_merge(entry, properties);
	if (ret < 0) {
		free_entry(entry);
		return ret;
	}
	entry->state = first_state(kind);
	link_entry(registry, parent, entry);
	*out = entry;
	return 0;
}

/* Depth first without recursion: drivers decide how deep their services nest. */
static struct entry *deepest(struct entry *entry)
{
	while (!list_empty(&entry->children))
		entry = container_of(entry->children.next, struct entry, sibling);
	return entry;
}

void registry_remove(struct registry *registry, struct entry *entry)
{
	struct entry *last;
	do {
		last = deepest(entry);
		registry_withdraw(registry, last);
		if (registry->events != NULL)
			registry->events->on_removed(registry->context, last);
		add_busy(registry, last, -(int64_t)last->busy);
		free_entry(last);
		registry->n_entries--;
	} while (last != entry);
}

void registry_move(struct registry *registry, struct entry *entry, struct entry *parent)
{
	int busy = entry->busy != 0 ? 1 : 0;
	add_busy(registry, entry->parent, -busy);
	add_busy(registry, parent, busy);
	list_remove(&entry->sibling);
	list_append(&parent->children, &entry->sibling);
	entry->parent = parent;
}

struct entry *registry_find(const struct registry *registry, uint64_t id)
{
	const struct list *bucket = &registry->buckets[id % REGISTRY_BUCKETS];
	struct entry *entry;
	list_for_each(entry, bucket, bucket) {
		if (entry->id == id)
			return entry;
	}
	return NULL;
}

bool registry_is_below(const struct entry *entry, const struct entry *ancestor)
{
	while (entry != NULL && entry != ancestor)
		entry = entry->parent;
	return entry != NULL;
}

/* The next of the subtree of `top`, parents first; NULL: that was the last. */
static const struct entry *next_below(const struct entry *entry, const struct entry *top)
{
	if (!list_empty(&entry->children))
		return container_of(entry->children.next, struct entry, sibling);
	for (; entry != top; entry = entry->parent) {
		if (entry->sibling.next != &entry->parent->children)
			return container_of(entry->sibling.next, struct entry, sibling);
	}
	return NULL;
}

unsigned registry_count_services(const struct entry *entry)
{
	unsigned n = 0;
	for (const struct entry *e = entry; e != NULL; e = next_below(e, entry))
		n += e->kind == ENTRY_SERVICE ? 1 : 0;
	return n;
}

int registry_set_name(struct entry *entry, const char *name)
{
	return set_text(entry->name, "a name", name);
}

int registry_set_user_class(struct entry *entry, const char *name)
{
	return set_text(entry->user_class, "IOUserClass", name);
}

int registry_merge(struct entry *entry, OSDictionary *properties)
{
	OSDictionary *merged = OSDictionary_withDictionary(entry->properties);
	if (merged == NULL)
		return -ENOMEM;
	int ret = properties_merge(merged, properties) ? check_size(merged) : -ENOMEM;
	if (ret < 0) {
		OSObjectRelease(merged);
		return ret;
	}
	OSObjectRelease(entry->properties);
	entry->properties = merged;
	return 0;
}

int registry_reset(struct entry *entry, OSDictionary *properties)
{
	int ret = check_size(properties);
	if (ret < 0)
		return ret;
	OSObjectRetain(properties);
	OSObjectRelease(entry->properties);
	entry->properties = properties;
	return 0;
}

int registry_remove_property(struct entry *entry, const char *key)
{
	if (OSDictionary_getObject(entry->properties, key) == NULL) {
		(void)refuse(kIOReturnNotFound, "%s has no property %s", entry->name, key);
		return -ENOENT;
	}
	OSDictionary *fewer = OSDictionary_withDictionary(entry->properties);
	if (fewer == NULL)
		return -ENOMEM;
	OSDictionary_removeObject(fewer, key);
	OSObjectRelease(entry->properties);
	entry->properties = fewer;
	return 0;
}

void registry_publish(struct registry *registry, struct entry *entry)
{
	if (entry->registered)
		return;
	entry->registered = true;
	entry->publication = ++registry->last_publication;
	list_append(&registry->published, &entry->published);
	if (registry->events != NULL)
		registry->events->on_published(registry->context, entry);
}

void registry_withdraw(struct registry *registry, struct entry *entry)
{
	if (!entry->registered)
		return;
	entry->registered = false;
	list_remove(&entry->published);
	if (registry->events != NULL)
		registry->events->on_withdrawn(registry->context, entry);
}

int registry_adjust_busy(struct registry *registry, struct entry *entry, int32_t delta)
{
	int64_t busy = (int64_t)entry->busy_driver + delta;
	if (busy < 0 || busy > REGISTRY_BUSY_MAX) {
		(void)refuse(kIOReturnBadArgument,
			     "AdjustBusy: the driver's own count would be %lld: 0 to %d",
			     (long long)busy, REGISTRY_BUSY_MAX);
		return -EINVAL;
	}
	entry->busy_driver = (uint32_t)busy;
	add_busy(registry, entry, delta);
	return 0;
}

void registry_forget_busy(struct registry *registry, struct entry *entry)
{
	add_busy(registry, entry, -(int64_t)entry->busy_driver);
	entry->busy_driver = 0;
}

void registry_set_working(struct registry *registry, struct entry *entry, bool working)
{
	if (entry->working == working)
		return;
	entry->working = working;
	add_busy(registry, entry, working ? 1 : -1);
}

static const struct entry *busy_child(const struct entry *entry)
{
	const struct entry *child;
	list_for_each(child, &entry->children, sibling)
		if (child->busy != 0)
			return child;
	return NULL;
}

const struct entry *registry_who_is_busy(const struct entry *entry)
{
	const struct entry *child;
	while ((child = busy_child(entry)) != NULL)
		entry = child;
	return entry;
}

const char *registry_state_name(enum entry_state state)
{
	static const char *const names[] = {
		[ENTRY_STATE_DEVICE] = "device",           [ENTRY_STATE_MATCHED] = "matched",
		[ENTRY_STATE_STARTING] = "starting",       [ENTRY_STATE_RUNNING] = "running",
		[ENTRY_STATE_STOPPED] = "stopped",         [ENTRY_STATE_CRASHED] = "crashed",
		[ENTRY_STATE_QUARANTINED] = "quarantined", [ENTRY_STATE_CLIENT] = "client",
	};
	return names[state];
}

OSDictionary *registry_copy(const struct entry *entry)
{
	OSDictionary *copy = OSDictionary_withDictionary(entry->properties);
	if (copy == NULL)
		return NULL;
	OSDictionary_removeObject(copy, "IOUserClass");
	if (properties_set_number(copy, "IORegistryEntryID", entry->id) &&
	    properties_set_string(copy, "IORegistryEntryName", entry->name) &&
	    properties_set_string(copy, "IOObjectClass", entry->class_name) &&
	    (entry->parent == NULL ||
	     properties_set_number(copy, "OpenDextParent", entry->parent->id)) &&
	    (entry->user_class[0] == '\0' ||
	     properties_set_string(copy, "IOUserClass", entry->user_class)) &&
	    properties_set_number(copy, "OpenDextBusy", entry->busy) &&
	    (!entry->power.joined ||
	     properties_set_string(copy, "OpenDextPower", power_name(entry->power.state))) &&
	    properties_set_string(copy, "OpenDextState", registry_state_name(entry->state)))
		return copy;
	OSObjectRelease(copy);
	return NULL;
}
