// SPDX-License-Identifier: Apache-2.0
/*
 * Every change of an item has a number (state_items.h). A watch knows the number of the newest
 * change that it has told of, and is armed or not: so it is told neither twice of one change, nor
 * of none.
 *
 * It is a watch of one registration. When that is over it tells once more, and never again.
 */

#include <dextd/process/state_watches.h>

#include <errno.h>
#include <stdlib.h>

#include <base/reason.h>
#include <dextd/daemon.h>
#include <dextd/process/dext.h>
#include <dextd/state_items.h>
#include <protocol/dextd.h>

struct state_watch {
	struct list link; // dext.state_watches
	struct dext *dext;
	uint64_t cookie, entry, publication;
	OSArray *items; // kept: strings
	uint64_t seen;
	bool armed, told_end;
};

/* NULL: it has ended. */
static const struct entry *entry_of(const struct state_watch *watch)
{
	const struct entry *entry = registry_find(&watch->dext->daemon->registry, watch->entry);

	/* One that was never registered ends with its entry alone. */
	return entry != NULL && (watch->publication == 0 ||
				 (entry->registered && entry->publication == watch->publication))
		       ? entry
		       : NULL;
}

static uint64_t newest(const struct state_watch *watch, const struct entry *entry)
{
	uint64_t number = 0;

	for (uint32_t i = 0; i < OSArray_getCount(watch->items); i++) {
		OSString *name = OSDynamicCast(OSString, OSArray_getObject(watch->items, i));
		uint64_t changed =
			state_item_changed(&entry->items, OSString_getCStringNoCopy(name));
		number = changed > number ? changed : number;
	}
	return number;
}

static void tell_if_changed(struct state_watch *watch)
{
	const struct DextHost_WatchChanged_Msg msg = { .cookie = watch->cookie };
	const struct entry *entry = entry_of(watch);
	uint64_t number = entry != NULL ? newest(watch, entry) : 0;

	if (!watch->armed || (entry != NULL && number <= watch->seen))
		return;
	watch->armed = false;
	watch->told_end = entry == NULL;
	watch->seen = number;
	/* What fails here is the end of the conversation, which is noticed there. */
	(void)conversation_call(&watch->dext->conversation, &DextHost_WatchChanged_Shape, &msg, 0,
				NULL, NULL);
}

void state_watches_changed(struct daemon *daemon, const struct entry *entry)
{
	struct dext *dext;
	struct state_watch *watch;

	list_for_each(dext, &daemon->dexts, link)
		list_for_each(watch, &dext->state_watches, link)
			if (watch->entry == entry->id)
				tell_if_changed(watch);
}

/* --- life --- */

static void watch_free(struct state_watch *watch)
{
	list_remove(&watch->link);
	OSObjectRelease(watch->items);
	free(watch);
}

static struct state_watch *find(const struct dext *dext, uint64_t cookie)
{
	struct state_watch *watch;

	list_for_each(watch, &dext->state_watches, link)
		if (watch->cookie == cookie)
			return watch;
	return NULL;
}

static int check_items(OSArray *items)
{
	uint32_t n = items != NULL ? OSArray_getCount(items) : 0;
	bool names = n > 0 && n <= STATE_ITEMS_MAX;

	for (uint32_t i = 0; i < n && names; i++)
		names = OSDynamicCast(OSString, OSArray_getObject(items, i)) != NULL;
	if (names)
		return 0;
	(void)refuse(kIOReturnBadArgument, "the names of 1 to %u items are needed",
		     STATE_ITEMS_MAX);
	return -EINVAL;
}

int state_watches_add(struct dext *dext, uint64_t cookie, const struct entry *entry, OSArray *items)
{
	unsigned n = 0;
	struct state_watch *watch;
	int ret = check_items(items);

	list_for_each(watch, &dext->state_watches, link)
		n++;
	if (ret == 0 && n >= DEXT_STATE_WATCHES_MAX) {
		(void)refuse(kIOReturnNoResources, "one process may wait for states %u times",
			     DEXT_STATE_WATCHES_MAX);
		ret = -EDQUOT;
	}
	if (ret == 0 && find(dext, cookie) != NULL)
		ret = -EINVAL;
	watch = ret == 0 ? calloc(1, sizeof(*watch)) : NULL;
	if (watch == NULL)
		return ret < 0 ? ret : -ENOMEM;
	watch->dext = dext;
	watch->cookie = cookie;
	watch->entry = entry->id;
	watch->publication = entry->registered ? entry->publication : 0;
	OSObjectRetain(items);
	watch->items = items;
	list_append(&dext->state_watches, &watch->link);
	return 0;
}

int state_watches_begin(struct dext *dext, uint64_t cookie)
{
	struct state_watch *watch = find(dext, cookie);

	if (watch == NULL) {
		(void)refuse(kIOReturnNotFound, "no state is waited for with this cookie");
		return -ENOENT;
	}
	if (watch->told_end) {
		(void)refuse(kIOReturnOffline, "the service has ended");
		return -ESHUTDOWN;
	}
	watch->armed = true;
	tell_if_changed(watch);
	return 0;
}

int state_watches_end(struct dext *dext, uint64_t cookie)
{
	struct state_watch *watch = find(dext, cookie);

	if (watch == NULL)
		return -ENOENT;
	watch_free(watch);
	return 0;
}

void state_watches_end_all(struct dext *dext)
{
	while (!list_empty(&dext->state_watches))
		watch_free(container_of(dext->state_watches.next, struct state_watch, link));
}
