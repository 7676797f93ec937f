// SPDX-License-Identifier: Apache-2.0
/* What drivers watch: what they are told when they ask, in which order, and how little is kept. */

#include <base/unit_test.h>

#include <errno.h>
#include <string.h>

#include <dextd/daemon.h>
#include <dextd/process/dext.h>
#include <dextd/process/service.h>
#include <dextd/process/watches.h>
#include <dextd/properties.h>

static struct daemon dextd;
static struct dext dext; // without a conversation: what it is told goes nowhere
static struct service service;

static void on_published(void *context, struct entry *entry)
{
	watches_published(context, entry);
}

static void on_withdrawn(void *context, struct entry *entry)
{
	watches_withdrawn(context, entry);
}

static void on_busy(void *context, const struct entry *entry)
{
	(void)context;
	(void)entry;
}

static void on_removed(void *context, const struct entry *entry)
{
	(void)context;
	(void)entry;
}

static const struct registry_events events = { on_published, on_withdrawn, on_removed, on_busy };

static void set_up(void)
{
	ck_assert_int_eq(registry_init(&dextd.registry), 0);
	dextd.registry.events = &events;
	dextd.registry.context = &dextd;
	list_init(&dextd.dexts);
	list_init(&dext.watches);
	dext.daemon = &dextd;
	list_append(&dextd.dexts, &dext.link);
	service.dext = &dext; // its own: it sees them all
}

static void tear_down(void)
{
	watches_end_all(&dext);
	registry_deinit(&dextd.registry);
}

static struct entry *come(const char *user_class)
{
	struct entry *entry = NULL;
	ck_assert_int_eq(registry_add(&dextd.registry, dextd.registry.root, ENTRY_SERVICE,
				      "IOUserService", NULL, &entry),
			 0);
	ck_assert_int_eq(registry_set_user_class(entry, user_class), 0);
	entry->service = &service;
	registry_publish(&dextd.registry, entry);
	return entry;
}

static int watch(uint64_t cookie, const char *user_class)
{
	OSDictionary *matching = OSDictionary_withCapacity(1);
	ck_assert(properties_set_string(matching, "IOUserClass", user_class));
	int ret = watches_add(&dext, cookie, matching);
	OSObjectRelease(matching);
	return ret;
}

/* Ask once, and compare how many ended and came. */
static bool ask(uint64_t cookie, unsigned n_ended, unsigned n_begun)
{
	OSArray *ended = NULL, *begun = NULL;
	bool more = false;
	ck_assert_int_eq(watches_take_changes(&dext, cookie, &ended, &begun, &more), 0);
	ck_assert_uint_eq(OSArray_getCount(ended), n_ended);
	ck_assert_uint_eq(OSArray_getCount(begun), n_begun);
	OSObjectRelease(ended);
	OSObjectRelease(begun);
	return more;
}

START_TEST(the_difference_is_told_once)
{
	set_up();
	struct entry *first = come("A"), *found = NULL;
	come("B");
	ck_assert_int_eq(watch(7, "A"), 0);
	ck_assert(!watches_know(&dext, first)); // not before it was told
	ck_assert(!ask(7, 0, 1));
	ck_assert(watches_know(&dext, first));
	ck_assert_int_eq(watches_find(&dext, 7, first->id, &found), 0);
	ck_assert_ptr_eq(found, first);
	ck_assert(!ask(7, 0, 0));
	come("A");
	come("B");
	registry_withdraw(&dextd.registry, first);
	ck_assert(!watches_know(&dext, first));
	ck_assert_int_eq(watches_find(&dext, 7, first->id, &found), -ENOENT);
	ck_assert(!ask(7, 1, 1));
	ck_assert(!ask(7, 0, 0));
	tear_down();
}
END_TEST

START_TEST(one_that_came_again_has_ended_too)
{
	set_up();
	struct entry *entry = come("A");
	ck_assert_int_eq(watch(1, "A"), 0);
	ck_assert(!ask(1, 0, 1));
	registry_withdraw(&dextd.registry, entry);
	registry_publish(&dextd.registry, entry);
	ck_assert(!ask(1, 1, 1));
	tear_down();
}
END_TEST

START_TEST(what_came_and_went_unseen_is_not_told)
{
	set_up();
	ck_assert_int_eq(watch(1, "A"), 0);
	for (int i = 0; i < 20000; i++) // more than the registry has room for at once
		registry_remove(&dextd.registry, come("A"));
	ck_assert(!ask(1, 0, 0));
	tear_down();
}
END_TEST

START_TEST(much_is_told_piece_by_piece)
{
	enum { N = 600 };
	struct entry *entries[N];
	set_up();
	ck_assert_int_eq(watch(1, "A"), 0);
	for (int i = 0; i < N; i++)
		entries[i] = come("A");
	ck_assert(ask(1, 0, 256));
	registry_remove(&dextd.registry, entries[0]);     // told
	registry_remove(&dextd.registry, entries[N - 1]); // not told
	ck_assert(ask(1, 1, 255));
	ck_assert(!ask(1, 0, 88));
	for (int i = 1; i < N - 1; i++)
		registry_remove(&dextd.registry, entries[i]);
	ck_assert(ask(1, 256, 0));
	ck_assert(ask(1, 256, 0));
	ck_assert(!ask(1, 86, 0));
	tear_down();
}
END_TEST

START_TEST(watches_are_bounded_and_apart)
{
	OSArray *none = NULL;
	bool more;
	set_up();
	come("A");
	for (uint64_t i = 0; i < DEXT_WATCHES_MAX; i++)
		ck_assert_int_eq(watch(i, i % 2 == 0 ? "A" : "B"), 0);
	ck_assert_int_eq(watch(1000, "A"), -EDQUOT);
	ck_assert_int_eq(watch(3, "A"), -EINVAL); // taken
	ck_assert(!ask(2, 0, 1));
	ck_assert(!ask(3, 0, 0));
	ck_assert_int_eq(watches_end(&dext, 3), 0);
	ck_assert_int_eq(watches_end(&dext, 3), -ENOENT);
	ck_assert_int_eq(watches_take_changes(&dext, 3, &none, &none, &more), -ENOENT);
	ck_assert_int_eq(watch(1000, "A"), 0);
	tear_down();
}
END_TEST

UNIT_TESTS("dextd-watches", the_difference_is_told_once, one_that_came_again_has_ended_too,
	   what_came_and_went_unseen_is_not_told, much_is_told_piece_by_piece,
	   watches_are_bounded_and_apart)
