// SPDX-License-Identifier: Apache-2.0

#include <dextd/client/quiet.h>

#include <stdlib.h>

#include <base/clock.h>
#include <base/reason.h>
#include <dextd/client/client.h>
#include <dextd/daemon.h>
#include <wire/channel.h>

struct waiter {
	struct list link; // client.waiters
	struct client *client;
	struct channel_call *call;
	uint64_t entry;
	struct loop_timer timer;
};

static void finish(struct waiter *w, IOReturn status, const char *reason)
{
	struct channel_call *call = w->call;
	loop_timer_stop(&w->timer);
	list_remove(&w->link);
	w->client->n_waiters--;
	free(w);
	channel_reply(call, status, reason);
}

/* One that has ended is not busy. */
static bool is_quiet(const struct daemon *daemon, uint64_t id)
{
	const struct entry *entry = registry_find(&daemon->registry, id);
	return entry == NULL || entry->busy == 0;
}

static void on_late(void *context)
{
	struct waiter *w = context;
	const struct entry *entry = registry_find(&w->client->daemon->registry, w->entry);
	if (entry == NULL) {
		finish(w, kIOReturnSuccess, NULL);
		return;
	}
	const struct entry *who = registry_who_is_busy(entry);
	(void)refuse(kIOReturnTimeout, "%s (%llu) is busy: %s", who->name,
		     (unsigned long long)who->id,
		     who->working ? registry_state_name(who->state) : "its driver says so");
	finish(w, kIOReturnTimeout, reason_last());
}

void quiet_wait(struct client *client, struct channel_call *call, uint64_t entry,
		uint32_t timeout_ms)
{
	if (is_quiet(client->daemon, entry)) {
		channel_reply(call, kIOReturnSuccess, NULL);
		return;
	}
	if (timeout_ms > QUIET_TIMEOUT_MS || client->n_waiters >= QUIET_WAITS_MAX) {
		channel_reply(call, kIOReturnNoResources,
			      timeout_ms > QUIET_TIMEOUT_MS ? "one may wait 60 s at a time"
							    : "one process may wait 16 times");
		return;
	}
	struct waiter *w = calloc(1, sizeof(*w));
	if (w == NULL) {
		channel_reply(call, kIOReturnNoMemory, NULL);
		return;
	}
	w->client = client;
	w->call = call;
	w->entry = entry;
	list_append(&client->waiters, &w->link);
	client->n_waiters++;
	loop_timer_init(&w->timer, client->daemon->loop, on_late, w);
	loop_timer_start(&w->timer, clock_deadline_ns(timeout_ms));
}

void quiet_client_left(struct client *client)
{
	while (!list_empty(&client->waiters))
		finish(container_of(client->waiters.next, struct waiter, link), kIOReturnOffline,
		       NULL);
}

void quiet_changed(struct daemon *daemon)
{
	struct client *client;
	struct waiter *w, *tmp;
	list_for_each(client, &daemon->clients, link)
		list_for_each_safe(w, tmp, &client->waiters, link)
			if (is_quiet(daemon, w->entry))
				finish(w, kIOReturnSuccess, NULL);
}
