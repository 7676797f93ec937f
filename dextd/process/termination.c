// SPDX-License-Identifier: Apache-2.0
/*
 * From EndService to RemoveService. First dextd has the drivers stop that run on the entry: each
 * within the stop timeout, or it is killed. Then the driver that made the service has the stop
 * timeout for that service's own Stop, or it is killed too: what waits for a word that never comes
 * does not wait for ever, and the log names who did not say it.
 */

#include <dextd/process/termination.h>

#include <stdlib.h>

#include <base/clock.h>
#include <base/log.h>
#include <base/reason.h>
#include <base/text.h>
#include <dextd/daemon.h>
#include <dextd/device/published.h>
#include <dextd/process/dext.h>
#include <dextd/process/service.h>
#include <wire/channel.h>

struct termination {
	struct list link; // service.terminations
	struct service *service;
	struct entry *entry;       // borrowed: RemoveService ends both
	struct channel_call *call; // owned; NULL: answered
	struct loop_timer late;    // once answered: when its Stop must have ended
};

static void termination_free(struct termination *t)
{
	channel_reply(t->call, kIOReturnAborted, "the process is ending");
	loop_timer_stop(&t->late);
	list_remove(&t->link);
	free(t);
}

static void on_late(void *context)
{
	struct termination *t = context;
	struct dext *dext = t->service->dext;
	char text[REASON_MAX];
	text_print(text, sizeof(text),
		   "the Stop of %s, which was terminated, did not return within %u ms: it must "
		   "call the super's Stop",
		   t->entry->name, dext->daemon->options.stop_timeout_ms);
	log_warn("service %llu: %s", (unsigned long long)t->entry->id, text);
	dext_kill(dext, text);
}

/* Nobody runs on it any more: now it may stop. */
static void check(struct termination *t)
{
	const struct daemon *daemon = t->service->device->daemon;
	if (t->call == NULL || published_below(t->service, t->entry))
		return;
	channel_reply(t->call, kIOReturnSuccess, NULL);
	t->call = NULL;
	loop_timer_start(&t->late, clock_deadline_ns(daemon->options.stop_timeout_ms));
}

void termination_begin(struct service *service, struct entry *entry, struct channel_call *call)
{
	struct daemon *daemon = service->device->daemon;
	struct termination *t = calloc(1, sizeof(*t));
	if (t == NULL) {
		channel_reply(call, kIOReturnNoMemory, "no memory for the end of a service");
		return;
	}
	t->service = service;
	t->entry = entry;
	t->call = call;
	loop_timer_init(&t->late, daemon->loop, on_late, t);
	list_append(&service->terminations, &t->link);
	entry->ending = true;
	entry->wants_register = false;
	registry_withdraw(&daemon->registry, entry);
	published_end(service, entry, "its service was terminated");
	check(t);
}

void termination_end(struct service *service, const struct entry *entry)
{
	struct termination *t, *tmp;
	list_for_each_safe(t, tmp, &service->terminations, link)
		if (registry_is_below(t->entry, entry))
			termination_free(t);
}

void termination_check(struct service *service)
{
	struct termination *t;
	list_for_each(t, &service->terminations, link)
		check(t);
}

void termination_forget_all(struct service *service)
{
	struct termination *t, *tmp;
	list_for_each_safe(t, tmp, &service->terminations, link)
		termination_free(t);
}
