// SPDX-License-Identifier: Apache-2.0

#include <dextd/client/interest.h>

#include <errno.h>
#include <stdlib.h>

#include <base/reason.h>
#include <dextd/client/client.h>
#include <dextd/daemon.h>

struct interest {
	struct list link;     // client.interests
	struct list due_link; // client.due, while there is something to tell
	struct client *client;
	uint64_t cookie, entry;
	uint32_t due;  // bits
	uint32_t busy; // 1: it is, or was when it ended
	bool ended;    // nothing more happens to it
};

static void tell_next(struct client *client);

static void on_answer(void *context, kern_return_t status, const char *reason, void *message)
{
	struct client *client = context;
	(void)status; // it may have let go of it meanwhile
	(void)reason;
	(void)message;
	client->telling_interest = false;
	if (client->conversation.channel != NULL)
		tell_next(client);
}

static void tell_next(struct client *client)
{
	if (client->telling_interest || list_empty(&client->due))
		return;
	struct interest *i = container_of(client->due.next, struct interest, due_link);
	const struct DextWatcher_EntryChanged_Msg msg = {
		.cookie = i->cookie,
		.what = i->due,
		.busy = i->busy,
	};
	list_remove(&i->due_link);
	i->due = 0;
	/* What fails here is the end of the conversation, which is noticed there. */
	client->telling_interest =
		conversation_call(&client->conversation, &DextWatcher_EntryChanged_Shape, &msg, 0,
				  on_answer, client) == 0;
}

static void happened(struct interest *i, const struct entry *entry, uint32_t what)
{
	if (i->ended)
		return;
	i->due |= what;
	i->busy = entry->busy != 0;
	i->ended = (what & kDextEntryEnded) != 0;
	if (list_empty(&i->due_link))
		list_append(&i->client->due, &i->due_link);
	tell_next(i->client);
}

void interest_changed(struct daemon *daemon, const struct entry *entry, uint32_t what)
{
	struct client *client;
	struct interest *i;
	if (entry->n_interests == 0)
		return;
	list_for_each(client, &daemon->clients, link)
		list_for_each(i, &client->interests, link)
			if (i->entry == entry->id)
				happened(i, entry, what);
}

/* --- life --- */

static struct interest *find(const struct client *client, uint64_t cookie)
{
	struct interest *i;
	list_for_each(i, &client->interests, link)
		if (i->cookie == cookie)
			return i;
	return NULL;
}

int interest_add(struct client *client, uint64_t cookie, struct entry *entry)
{
	if (find(client, cookie) != NULL) {
		(void)refuse(kIOReturnBadArgument, "the cookie is taken");
		return -EINVAL;
	}
	if (client->n_interests >= INTERESTS_PER_CLIENT_MAX) {
		(void)refuse(kIOReturnNoResources, "one process may be interested %u times",
			     INTERESTS_PER_CLIENT_MAX);
		return -EDQUOT;
	}
	struct interest *i = calloc(1, sizeof(*i));
	if (i == NULL)
		return -ENOMEM;
	i->client = client;
	i->cookie = cookie;
	i->entry = entry->id;
	list_init(&i->due_link);
	list_append(&client->interests, &i->link);
	client->n_interests++;
	entry->n_interests++;
	return 0;
}

static void interest_free(struct interest *i)
{
	struct entry *entry = registry_find(&i->client->daemon->registry, i->entry);
	if (entry != NULL)
		entry->n_interests--;
	i->client->n_interests--;
	list_remove(&i->link);
	list_remove(&i->due_link);
	free(i);
}

int interest_end(struct client *client, uint64_t cookie)
{
	struct interest *i = find(client, cookie);
	if (i == NULL)
		return -ENOENT;
	interest_free(i);
	return 0;
}

void interest_end_all(struct client *client)
{
	while (!list_empty(&client->interests))
		interest_free(container_of(client->interests.next, struct interest, link));
}
