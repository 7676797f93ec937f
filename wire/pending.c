/* SPDX-License-Identifier: Apache-2.0 */

#include <wire/pending.h>

#include <errno.h>
#include <stdlib.h>

#include <base/clock.h>
#include <base/text.h>

void pendings_init(struct pendings *pendings)
{
	*pendings = (struct pendings){ 0 };
	list_init(&pendings->list);
}

int pending_new(struct pending **out, struct pendings *pendings, const struct pending *template)
{
	struct pending *pending = malloc(sizeof(*pending));

	if (pending == NULL)
		return -ENOMEM;
	*pending = *template;
	pending->transaction = ++pendings->last_transaction;
	if (pending->timeout_ms != 0)
		pending->deadline_ns = clock_deadline_ns(pending->timeout_ms);
	*out = pending;
	return 0;
}

void pendings_add(struct pendings *pendings, struct pending *pending)
{
	list_append(&pendings->list, &pending->link);
}

struct pending *pendings_find(const struct pendings *pendings, uint64_t transaction)
{
	struct pending *pending;

	list_for_each(pending, &pendings->list, link)
		if (pending->transaction == transaction)
			return pending;
	return NULL;
}

void pendings_end(struct pendings *pendings, struct pending *pending, kern_return_t status,
		  const char *reason, void *msg)
{
	list_remove(&pending->link);
	if (pending->expired)
		pendings->n_expired--;
	else if (pending->on_reply != NULL)
		pending->on_reply(pending->context, status, reason, msg);
	free(pending);
}

void pendings_end_all(struct pendings *pendings, kern_return_t status, const char *reason)
{
	while (!list_empty(&pendings->list))
		pendings_end(pendings, container_of(pendings->list.next, struct pending, link),
			     status, reason, NULL);
}

/* --- deadlines --- */

static bool has_deadline(const struct pending *pending)
{
	return !pending->expired && pending->deadline_ns != 0;
}

uint64_t pendings_next_deadline(const struct pendings *pendings)
{
	uint64_t earliest = 0;
	struct pending *pending;

	list_for_each(pending, &pendings->list, link)
		if (has_deadline(pending) && (earliest == 0 || pending->deadline_ns < earliest))
			earliest = pending->deadline_ns;
	return earliest;
}

static struct pending *find_due(const struct pendings *pendings, uint64_t now_ns)
{
	struct pending *pending;

	list_for_each(pending, &pendings->list, link)
		if (has_deadline(pending) && pending->deadline_ns <= now_ns)
			return pending;
	return NULL;
}

bool pendings_expire_one(struct pendings *pendings, uint64_t now_ns)
{
	struct pending *pending = find_due(pendings, now_ns);
	char reason[CHANNEL_REASON_MAX];

	if (pending == NULL)
		return false;
	pending->expired = true;
	pendings->n_expired++;
	if (pending->on_reply == NULL)
		return true;
	text_print(reason, sizeof(reason), "no reply to %s::%s within %u ms",
		   pending->shape->class_name, pending->shape->name, pending->timeout_ms);
	pending->on_reply(pending->context, kIOReturnTimeout, reason, NULL);
	return true;
}
