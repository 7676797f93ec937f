// SPDX-License-Identifier: Apache-2.0
/* The registry: ids, the tree, what is laid over properties, who is told, and its bounds. */

#include <base/unit_test.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <dextd/properties.h>
#include <dextd/registry.h>

static struct registry registry;
static unsigned n_published, n_withdrawn, n_edges;
static uint64_t last_withdrawn, last_busy;

static void on_published(void *context, struct entry *entry)
{
	(void)entry;
	ck_assert_ptr_eq(context, &registry);
	n_published++;
}

static void on_withdrawn(void *context, struct entry *entry)
{
	ck_assert_ptr_eq(context, &registry);
	last_withdrawn = entry->id;
	n_withdrawn++;
}

static void on_busy(void *context, const struct entry *entry)
{
	(void)context;
	n_edges++;
	last_busy = entry->id;
}

static void on_removed(void *context, const struct entry *entry)
{
	(void)context;
	(void)entry;
}

static const struct registry_events events = { on_published, on_withdrawn, on_removed, on_busy };

static void set_up(void)
{
	ck_assert_int_eq(registry_init(&registry), 0);
	registry.events = &events;
	registry.context = &registry;
}

static void tear_down(void)
{
	registry_deinit(&registry);
	ck_assert_uint_eq(registry.n_entries, 0);
	ck_assert(list_empty(&registry.entries));
	ck_assert(list_empty(&registry.published));
}

static struct entry *add(struct entry *parent, enum entry_kind kind)
{
	struct entry *entry = NULL;
	ck_assert_int_eq(registry_add(&registry, parent, kind, "Class", NULL, &entry), 0);
	return entry;
}

START_TEST(test_ids)
{
	set_up();
	ck_assert_uint_eq(registry.root->id, 0);
	struct entry *a = add(registry.root, ENTRY_DEVICE), *b = add(a, ENTRY_SERVICE);
	uint64_t id = b->id;
	ck_assert_ptr_eq(registry_find(&registry, a->id), a);
	ck_assert_ptr_eq(registry_find(&registry, id), b);
	registry_remove(&registry, b);
	ck_assert_ptr_null(registry_find(&registry, id));
	ck_assert_uint_gt(add(a, ENTRY_SERVICE)->id, id); // never reused
	ck_assert_ptr_null(registry_find(&registry, UINT64_MAX));
	tear_down();
}
END_TEST

START_TEST(test_tree)
{
	set_up();
	struct entry *device = add(registry.root, ENTRY_DEVICE);
	struct entry *service = add(device, ENTRY_SERVICE), *child = add(service, ENTRY_SERVICE);
	struct entry *client = add(child, ENTRY_CLIENT), *other = add(device, ENTRY_SERVICE);

	ck_assert(registry_is_below(client, device));
	ck_assert(registry_is_below(client, client));
	ck_assert(!registry_is_below(other, service));
	ck_assert_uint_eq(registry_count_services(service), 2);
	ck_assert_uint_eq(registry_count_services(device), 3);
	ck_assert_uint_eq(registry_count_services(client), 0);

	registry_publish(&registry, child);
	registry_publish(&registry, child); // once
	registry_publish(&registry, service);
	ck_assert_uint_eq(n_published, 2);
	uint64_t last = service->id;
	registry_remove(&registry, service);
	ck_assert_uint_eq(n_withdrawn, 2);
	ck_assert_uint_eq(last_withdrawn, last); // children first
	ck_assert_uint_eq(registry.n_entries, 3);
	tear_down();
}
END_TEST

START_TEST(test_deep)
{
	set_up();
	struct entry *entry = registry.root;
	for (unsigned i = 0; i < 10000; i++)
		entry = add(entry, ENTRY_SERVICE);
	registry_remove(&registry,
			container_of(registry.root->children.next, struct entry, sibling));
	ck_assert_uint_eq(registry.n_entries, 1);
	tear_down();
}
END_TEST

START_TEST(test_full)
{
	set_up();
	struct entry *entry = NULL;
	while (registry.n_entries < REGISTRY_ENTRIES_MAX)
		add(registry.root, ENTRY_SERVICE);
	ck_assert_int_eq(
		registry_add(&registry, registry.root, ENTRY_SERVICE, "Class", NULL, &entry),
		-ENOSPC);
	ck_assert_ptr_null(entry);
	tear_down();
}
END_TEST

/* A driver may say what it likes about its properties; the registry has the last word. */
START_TEST(test_overlay)
{
	set_up();
	struct entry *entry = add(registry.root, ENTRY_SERVICE);
	OSDictionary *lies = OSDictionary_withCapacity(4);
	ck_assert(properties_set_number(lies, "IORegistryEntryID", 99) &&
		  properties_set_string(lies, "IOUserClass", "Root") &&
		  properties_set_string(lies, "OpenDextState", "running") &&
		  properties_set_string(lies, "mine", "x"));
	ck_assert_int_eq(registry_merge(entry, lies), 0);

	OSDictionary *copy = registry_copy(entry);
	uint64_t id = 0;
	ck_assert(properties_number(copy, "IORegistryEntryID", &id));
	ck_assert_uint_eq(id, entry->id);
	ck_assert_ptr_null(properties_string(copy, "IOUserClass"));
	ck_assert_str_eq(properties_string(copy, "OpenDextState"), "matched");
	ck_assert_str_eq(properties_string(copy, "mine"), "x");
	OSObjectRelease(copy);
	OSObjectRelease(lies);
	tear_down();
}
END_TEST

START_TEST(test_bounds)
{
	set_up();
	static char text[40 * 1024];
	struct entry *entry = add(registry.root, ENTRY_SERVICE);
	OSDictionary *one = OSDictionary_withCapacity(1), *two = OSDictionary_withCapacity(1);

	memset(text, 'x', sizeof(text) - 1);
	ck_assert(properties_set_string(one, "one", text) &&
		  properties_set_string(two, "two", text));
	ck_assert_int_eq(registry_merge(entry, one), 0);
	ck_assert_int_eq(registry_merge(entry, two), -EOVERFLOW);
	ck_assert_ptr_null(OSDictionary_getObject(entry->properties, "two")); // nothing changed

	text[127] = '\0';
	ck_assert_int_eq(registry_set_name(entry, text), 0);
	text[127] = 'x';
	text[128] = '\0';
	ck_assert_int_eq(registry_set_name(entry, text), -EOVERFLOW);
	ck_assert_uint_eq(strlen(entry->name), 127);
	OSObjectRelease(one);
	OSObjectRelease(two);
	tear_down();
}
END_TEST

START_TEST(test_busy)
{
	set_up();
	n_edges = 0;
	struct entry *device = add(registry.root, ENTRY_DEVICE);
	struct entry *one = add(device, ENTRY_SERVICE), *two = add(device, ENTRY_SERVICE);

	ck_assert_int_eq(registry_adjust_busy(&registry, one, 2), 0);
	ck_assert_uint_eq(n_edges, 3); // itself, the device, the root
	ck_assert_uint_eq(one->busy, 2);
	ck_assert_uint_eq(device->busy, 1); // an edge, not the count
	ck_assert_int_eq(registry_adjust_busy(&registry, one, -1), 0);
	registry_set_working(&registry, two, true);
	registry_set_working(&registry, two, true); // once
	ck_assert_uint_eq(device->busy, 2);
	ck_assert_uint_eq(n_edges, 4);
	ck_assert_ptr_eq(registry_who_is_busy(registry.root), one);
	ck_assert_int_eq(registry_adjust_busy(&registry, one, -2), -EINVAL);
	ck_assert_int_eq(registry_adjust_busy(&registry, one, REGISTRY_BUSY_MAX), -EINVAL);
	ck_assert_int_eq(registry_adjust_busy(&registry, one, INT32_MIN), -EINVAL);
	ck_assert_uint_eq(one->busy, 1); // nothing changed

	registry_forget_busy(&registry, one);
	ck_assert_ptr_eq(registry_who_is_busy(registry.root), two);
	registry_move(&registry, two, registry.root);
	ck_assert_uint_eq(device->busy, 0);
	ck_assert_uint_eq(registry.root->busy, 1);
	registry_remove(&registry, two);
	ck_assert_uint_eq(registry.root->busy, 0);
	ck_assert_uint_eq(last_busy, registry.root->id);
	tear_down();
}
END_TEST

UNIT_TESTS("dextd-registry", test_ids, test_tree, test_deep, test_full, test_overlay, test_bounds,
	   test_busy)
