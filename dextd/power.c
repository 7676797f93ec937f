// SPDX-License-Identifier: Apache-2.0
/*
 * power_advance() looks at the whole tree, each time: what everybody is to have, then who may be
 * asked to change now. Nothing else decides; each answer, and each limit that passes, looks again.
 *
 * An entry comes later in the registry than the one above it, so that two walks over the list do:
 * drivers decide how deep the tree is, and nothing here is as deep.
 */

#include <dextd/power.h>

#include <stdlib.h>

#include <base/clock.h>
#include <base/log.h>
#include <base/reason.h>
#include <dextd/daemon.h>
#include <dextd/latency.h>
#include <dextd/process/dext.h>
#include <dextd/process/service.h>
#include <dextd/registry.h>
#include <protocol/dextd.h>

static const struct {
	uint32_t flags;
	const char *name;
} ranks[] = {
	[POWER_OFF] = { kIOServicePowerCapabilityOff, "off" },
	[POWER_LOW] = { kIOServicePowerCapabilityLow, "low" },
	[POWER_ON] = { kIOServicePowerCapabilityOn, "on" },
};
enum { N_RANKS = sizeof(ranks) / sizeof(ranks[0]) };

const char *power_name(enum power_rank rank)
{
	return ranks[rank].name;
}

static enum power_rank higher(enum power_rank a, enum power_rank b)
{
	return a > b ? a : b;
}

/* --- asking --- */

struct change {
	struct daemon *daemon;
	struct dext *dext;
	uint64_t id; // of the entry; 0: nobody waits for its answer any more
	enum power_rank rank;
	struct loop_timer late;
};

/* The entry that this change is still about; NULL: none. */
static struct entry *entry_of(const struct change *c)
{
	struct entry *entry = c->id != 0 ? registry_find(&c->daemon->registry, c->id) : NULL;
	return entry != NULL && entry->power.asked && entry->power.state == c->rank ? entry : NULL;
}

static void on_late(void *context)
{
	struct change *c = context;
	struct entry *entry = entry_of(c);
	c->id = 0;
	if (entry == NULL)
		return;
	log_warn("service %llu: %s did not acknowledge power state %s within %u ms: it must call "
		 "the super's SetPowerState; going on without it",
		 (unsigned long long)entry->id, entry->name, power_name(c->rank),
		 c->daemon->options.power_timeout_ms);
	entry->power.asked = false;
	power_advance(c->daemon);
}

static void on_changed(void *context, kern_return_t status, const char *reason, void *msg)
{
	struct change *c = context;
	struct daemon *daemon = c->daemon;
	struct entry *entry = entry_of(c);
	(void)msg;
	dext_answered(c->dext);
	loop_timer_stop(&c->late);
	if (entry != NULL) {
		entry->power.asked = false;
		if (status != kIOReturnSuccess)
			log_warn("service %llu: %s: power state %s: %s",
				 (unsigned long long)entry->id, entry->name, power_name(c->rank),
				 reason[0] != '\0' ? reason : IOReturnString(status));
	}
	free(c);
	if (entry != NULL)
		power_advance(daemon);
}

/* Without a driver that can be asked it is done. */
static void ask(struct daemon *daemon, struct entry *entry)
{
	struct dext *dext = entry->service->dext;
	const struct DextHost_SetPowerState_Msg msg = {
		.service = entry->id,
		.flags = ranks[entry->power.want].flags,
	};
	struct change *c = calloc(1, sizeof(*c));
	entry->power.state = entry->power.want;
	if (c == NULL) {
		log_error("no memory to tell %s of power state %s", entry->name,
			  power_name(entry->power.want));
		return;
	}
	*c = (struct change){
		.daemon = daemon, .dext = dext, .id = entry->id, .rank = entry->power.want
	};
	loop_timer_init(&c->late, daemon->loop, on_late, c);
	/* The limit is ours: an answer that comes later is an answer still. */
	if (dext_request(dext, &DextHost_SetPowerState_Shape, &msg, 0, on_changed, c) < 0) {
		dext_kill(dext, "SetPowerState cannot be sent to it");
		free(c);
		return;
	}
	entry->power.asked = true;
	loop_timer_start(&c->late, clock_deadline_ns(daemon->options.power_timeout_ms));
}

/* --- deciding --- */

static bool takes_part(const struct entry *entry)
{
	const struct service *s = entry->service;
	return entry->power.joined && s != NULL && s->dext != NULL && !s->dext->ending &&
	       !s->dext->killed && !s->stop_sent;
}

/* Has it what it is to have, or less and nothing above that? */
static bool is_down(const struct entry_power *p)
{
	return !p->asked && p->state <= p->want;
}

static bool is_up(const struct entry_power *p)
{
	return !p->asked && p->state >= p->want;
}

/* From the leaves up: what each is to have, and whether something below it has still to go down. */
static void set_wants(struct daemon *daemon)
{
	struct entry *entry;
	list_for_each(entry, &daemon->registry.entries, link) {
		entry->power.below = POWER_OFF;
		entry->power.held_up = false;
	}
	struct list *at = daemon->registry.entries.prev;
	for (; at != &daemon->registry.entries; at = at->prev) {
		entry = container_of(at, struct entry, link);
		struct entry_power *p = &entry->power;
		enum power_rank wanted = p->below;
		bool held_up = p->held_up;
		if (takes_part(entry)) {
			p->want = daemon->power.asleep ? POWER_OFF
				  : p->override        ? p->wish
						       : higher(p->wish, p->below);
			wanted = p->want;
			held_up = held_up || !is_down(p);
		}
		if (entry->parent == NULL)
			continue;
		entry->parent->power.below = higher(entry->parent->power.below, wanted);
		entry->parent->power.held_up = entry->parent->power.held_up || held_up;
	}
}

/* From the root down: ask who may change now. Is anything under way? */
static bool ask_all(struct daemon *daemon)
{
	bool working = false;
	struct entry *entry;
	list_for_each(entry, &daemon->registry.entries, link) {
		struct entry_power *p = &entry->power;
		const struct entry *parent = entry->parent;
		p->above_is_up = parent == NULL       ? true
				 : takes_part(parent) ? is_up(&parent->power)
						      : parent->power.above_is_up;
		if (!takes_part(entry))
			continue;
		if (!p->asked && p->want != p->state &&
		    (p->want < p->state ? !p->held_up : p->above_is_up))
			ask(daemon, entry);
		working = working || p->asked || p->want != p->state;
	}
	return working;
}

/* A Start under way: it takes part as soon as it is over. */
static bool is_starting(const struct daemon *daemon)
{
	const struct dext *dext;
	list_for_each(dext, &daemon->dexts, link) {
		const struct service *s;
		list_for_each(s, &dext->services, dext_link)
			if (!s->started && !dext->killed)
				return true;
	}
	return false;
}

static void tell_waiters(struct power *power, IOReturn status)
{
	while (!list_empty(&power->waiters)) {
		struct power_waiter *w =
			container_of(power->waiters.next, struct power_waiter, link);
		list_remove(&w->link);
		list_init(&w->link);
		w->settled(w, status != kIOReturnSuccess || w->asleep == power->asleep
				      ? status
				      : kIOReturnAborted);
	}
}

void power_advance(struct daemon *daemon)
{
	set_wants(daemon);
	bool working = ask_all(daemon);
	if (!working && !(daemon->power.asleep && is_starting(daemon)))
		tell_waiters(&daemon->power, kIOReturnSuccess);
}

/* --- who takes part --- */

void power_init(struct power *power)
{
	list_init(&power->waiters);
}

void power_deinit(struct power *power)
{
	tell_waiters(power, kIOReturnOffline);
}

void power_join(struct daemon *daemon, struct entry *entry)
{
	if (entry->power.joined)
		return;
	entry->power = (struct entry_power){ .joined = true,
					     .state = POWER_ON,
					     .wish = POWER_ON,
					     .want = POWER_ON,
					     .max_stall_ns = entry->power.max_stall_ns };
	power_advance(daemon);
}

void power_leave(struct daemon *daemon, struct entry *entry)
{
	entry->power = (struct entry_power){ 0 };
	if (latency_update(daemon) < 0)
		log_warn("%s", reason_last());
	power_advance(daemon);
}

static IOReturn need_part(const struct entry *entry, const char *what)
{
	if (entry->power.joined)
		return kIOReturnSuccess;
	return refuse(kIOReturnNotReady,
		      "%s: %s takes no part in power management: JoinPMTree comes first", what,
		      entry->name);
}

IOReturn power_wish(struct daemon *daemon, struct entry *entry, uint32_t flags)
{
	IOReturn ret = need_part(entry, "ChangePowerState");
	if (ret != kIOReturnSuccess)
		return ret;
	for (int rank = 0; rank < N_RANKS; rank++) {
		if (ranks[rank].flags != flags)
			continue;
		entry->power.wish = (enum power_rank)rank;
		power_advance(daemon);
		return kIOReturnSuccess;
	}
	return refuse(kIOReturnBadArgument, "ChangePowerState: 0x%x is no power state", flags);
}

IOReturn power_override(struct daemon *daemon, struct entry *entry, bool enable)
{
	IOReturn ret = need_part(entry, "SetPowerOverride");
	if (ret != kIOReturnSuccess)
		return ret;
	entry->power.override = enable;
	power_advance(daemon);
	return kIOReturnSuccess;
}

bool power_is_off(const struct daemon *daemon, const struct entry *entry)
{
	return daemon->power.asleep || (entry->power.joined && entry->power.state == POWER_OFF);
}

/* --- the machine --- */

void power_set_asleep(struct daemon *daemon, bool asleep, struct power_waiter *waiter)
{
	bool changed = daemon->power.asleep != asleep;
	if (waiter != NULL) {
		waiter->asleep = asleep;
		list_append(&daemon->power.waiters, &waiter->link);
	}
	if (changed)
		log_info(asleep ? "the machine is to sleep" : "the machine has woken");
	daemon->power.asleep = asleep;
	if (changed && !asleep)
		service_start_deferred(daemon);
	power_advance(daemon);
}
