// SPDX-License-Identifier: Apache-2.0
/*
 * A watch remembers which registrations its driver was told of, and the number of the last one that
 * it has looked at; registrations are numbered in order. So what has changed since is the
 * difference to the registry of now: what was told of and is not registered any more, and those
 * registered later that match. A service that was registered anew has another number, and is in
 * both.
 */

#include <dextd/process/watches.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/reason.h>
#include <dextd/daemon.h>
#include <dextd/device/published.h>
#include <dextd/match/bundle.h>
#include <dextd/match/match.h>
#include <dextd/process/dext.h>
#include <dextd/process/service.h>
#include <dextd/properties.h>
#include <protocol/dextd.h>

enum { MATCHING_MAX = 16 * 1024, CHANGES_AT_ONCE = 256 };

/* A registration that the driver knows of. */
struct told {
	uint64_t entry, publication;
};

struct watch {
	struct list link; // dext.watches
	struct dext *dext;
	uint64_t cookie;
	OSDictionary *matching; // kept
	uint64_t seen;          // registrations up to here were looked at
	struct told *told;      // owned
	unsigned n_told, room;
	bool telling; // WatchChanged was sent, and nobody has asked since
};

/* --- who sees what --- */

/* As one process may be shared by services: the same name, of the same bundle. */
static bool same_server(const struct dext *a, const struct dext *b)
{
	return strcmp(a->server_name, b->server_name) == 0 &&
	       strcmp(a->bundle->path, b->bundle->path) == 0;
}

static bool may_see(const struct dext *dext, const struct entry *entry)
{
	const struct service *s = entry->service;

	if (entry->kind != ENTRY_SERVICE || s == NULL || s->dext == NULL)
		return false;
	if (s->dext == dext)
		return true;
	return published_is_possible(entry) &&
	       (same_server(s->dext, dext) ||
		properties_boolean(s->personality->keys, "OpenDextPublish"));
}

static bool wants(const struct watch *watch, const struct entry *entry)
{
	return may_see(watch->dext, entry) && match_service(entry, watch->matching) == 1;
}

static struct entry *entry_of(const struct watch *watch, const struct told *told)
{
	struct entry *entry = registry_find(&watch->dext->daemon->registry, told->entry);

	return entry != NULL && entry->registered && entry->publication == told->publication ? entry
											     : NULL;
}

/* --- telling --- */

static void tell(struct watch *watch)
{
	const struct DextHost_WatchChanged_Msg msg = { .cookie = watch->cookie };

	if (watch->telling)
		return;
	watch->telling = true;
	/* What fails here is the end of the conversation, which is noticed there. */
	(void)conversation_call(&watch->dext->conversation, &DextHost_WatchChanged_Shape, &msg, 0,
				NULL, NULL);
}

void watches_published(struct daemon *daemon, const struct entry *entry)
{
	struct dext *dext;
	struct watch *watch;

	list_for_each(dext, &daemon->dexts, link)
		list_for_each(watch, &dext->watches, link)
			if (!watch->telling && wants(watch, entry))
				tell(watch);
}

void watches_withdrawn(struct daemon *daemon, const struct entry *entry)
{
	struct dext *dext;
	struct watch *watch;

	list_for_each(dext, &daemon->dexts, link)
		list_for_each(watch, &dext->watches, link)
			for (unsigned i = 0; i < watch->n_told && !watch->telling; i++)
				if (watch->told[i].entry == entry->id)
					tell(watch);
}

/* --- life --- */

static void watch_free(struct watch *watch)
{
	list_remove(&watch->link);
	OSObjectRelease(watch->matching);
	free(watch->told);
	free(watch);
}

static struct watch *find(const struct dext *dext, uint64_t cookie)
{
	struct watch *watch;

	list_for_each(watch, &dext->watches, link)
		if (watch->cookie == cookie)
			return watch;
	return NULL;
}

static unsigned count(const struct dext *dext)
{
	const struct watch *watch;
	unsigned n = 0;

	list_for_each(watch, &dext->watches, link)
		n++;
	return n;
}

static int check(const struct dext *dext, uint64_t cookie, OSDictionary *matching)
{
	if (matching == NULL || find(dext, cookie) != NULL) {
		(void)refuse(kIOReturnBadArgument,
			     "a matching dictionary is needed, and a number of its own");
		return -EINVAL;
	}
	if (count(dext) >= DEXT_WATCHES_MAX) {
		(void)refuse(kIOReturnNoResources, "one process may watch %u times",
			     DEXT_WATCHES_MAX);
		return -EDQUOT;
	}
	if (properties_size(matching) > MATCHING_MAX) {
		(void)refuse(kIOReturnOverrun, "a matching dictionary is limited to %u KiB",
			     MATCHING_MAX / 1024);
		return -EOVERFLOW;
	}
	/* The root never counts: so a wrong key is an error on an empty registry too. */
	int ret = match_service(dext->daemon->registry.root, matching);
	return ret < 0 ? ret : 0;
}

int watches_add(struct dext *dext, uint64_t cookie, OSDictionary *matching)
{
	int ret = check(dext, cookie, matching);
	struct watch *watch = ret == 0 ? calloc(1, sizeof(*watch)) : NULL;

	if (watch == NULL)
		return ret < 0 ? ret : -ENOMEM;
	watch->dext = dext;
	watch->cookie = cookie;
	OSObjectRetain(matching);
	watch->matching = matching;
	list_append(&dext->watches, &watch->link);
	const struct entry *entry;
	list_for_each(entry, &dext->daemon->registry.published, published) {
		if (watch->telling)
			break;
		if (wants(watch, entry))
			tell(watch);
	}
	return 0;
}

int watches_end(struct dext *dext, uint64_t cookie)
{
	struct watch *watch = find(dext, cookie);

	if (watch == NULL) {
		(void)refuse(kIOReturnNotFound, "nothing is watched with this cookie");
		return -ENOENT;
	}
	watch_free(watch);
	return 0;
}

void watches_end_all(struct dext *dext)
{
	while (!list_empty(&dext->watches))
		watch_free(container_of(dext->watches.next, struct watch, link));
}

/* --- asking --- */

/* What is to be told; nothing of the watch changes. */
struct changes {
	OSArray *ended, *begun;
	uint64_t seen; // with these
	bool more;
};

static int collect(const struct watch *watch, struct changes *c)
{
	unsigned n = 0;

	c->seen = watch->seen;
	for (unsigned i = 0; i < watch->n_told; i++) {
		if (entry_of(watch, &watch->told[i]) != NULL)
			continue;
		if (n++ == CHANGES_AT_ONCE) {
			c->more = true;
			return 0;
		}
		if (!properties_append_number(c->ended, watch->told[i].entry))
			return -ENOMEM;
	}
	const struct entry *entry;
	list_for_each(entry, &watch->dext->daemon->registry.published, published) {
		if (entry->publication <= watch->seen)
			continue;
		if (wants(watch, entry)) {
			if (n++ == CHANGES_AT_ONCE) {
				c->more = true;
				return 0;
			}
			if (!properties_append_number(c->begun, entry->id))
				return -ENOMEM;
		}
		c->seen = entry->publication;
	}
	return 0;
}

static int make_room(struct watch *watch, unsigned n)
{
	if (watch->n_told + n <= watch->room)
		return 0;
	unsigned room = watch->n_told + n + 16;
	struct told *grown = realloc(watch->told, room * sizeof(*grown));
	if (grown == NULL)
		return -ENOMEM;
	watch->told = grown;
	watch->room = room;
	return 0;
}

/* Remember that they were told of: the first `n_ended` that are over are not any more. */
static void remember(struct watch *watch, const struct changes *c)
{
	unsigned n_ended = OSArray_getCount(c->ended), kept = 0;

	for (unsigned i = 0; i < watch->n_told; i++) {
		if (n_ended > 0 && entry_of(watch, &watch->told[i]) == NULL)
			n_ended--;
		else
			watch->told[kept++] = watch->told[i];
	}
	watch->n_told = kept;
	for (uint32_t i = 0; i < OSArray_getCount(c->begun); i++) {
		OSNumber *id = OSDynamicCast(OSNumber, OSArray_getObject(c->begun, i));
		const struct entry *entry = registry_find(&watch->dext->daemon->registry,
							  OSNumber_unsigned64BitValue(id));
		watch->told[watch->n_told++] = (struct told){ entry->id, entry->publication };
	}
	watch->seen = c->seen;
	watch->telling = c->more;
}

int watches_take_changes(struct dext *dext, uint64_t cookie, OSArray **ended, OSArray **begun,
			 bool *more)
{
	CLEANUP(properties_release_arrayp) OSArray *gone = OSArray_withCapacity(4);
	CLEANUP(properties_release_arrayp) OSArray *come = OSArray_withCapacity(4);
	struct changes c = { .ended = gone, .begun = come };
	struct watch *watch = find(dext, cookie);

	if (watch == NULL) {
		(void)refuse(kIOReturnNotFound, "nothing is watched with this cookie");
		return -ENOENT;
	}
	int ret = gone != NULL && come != NULL ? collect(watch, &c) : -ENOMEM;
	if (ret == 0)
		ret = make_room(watch, OSArray_getCount(come));
	if (ret < 0)
		return ret;
	remember(watch, &c);
	*more = c.more;
	*ended = gone;
	*begun = come;
	gone = come = NULL;
	return 0;
}

/* NULL: it was not told of, or has ended. */
static struct entry *find_told(const struct watch *watch, uint64_t id)
{
	for (unsigned i = 0; i < watch->n_told; i++)
		if (watch->told[i].entry == id)
			return entry_of(watch, &watch->told[i]);
	return NULL;
}

int watches_find(struct dext *dext, uint64_t cookie, uint64_t id, struct entry **entry)
{
	const struct watch *watch = find(dext, cookie);

	*entry = watch != NULL ? find_told(watch, id) : NULL;
	if (*entry != NULL)
		return 0;
	(void)refuse(kIOReturnNotFound, "service %llu has ended, or was not told of",
		     (unsigned long long)id);
	return -ENOENT;
}

bool watches_know(const struct dext *dext, const struct entry *entry)
{
	const struct watch *watch;

	list_for_each(watch, &dext->watches, link)
		if (find_told(watch, entry->id) != NULL)
			return true;
	return false;
}
