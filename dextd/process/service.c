// SPDX-License-Identifier: Apache-2.0
/*
 * Matching and the life of a service.
 *
 * A start is always scheduled, never made on the spot: whoever publishes a device, or tells of a
 * death, is not called back into. After a crash the service starts again at once the first time,
 * then after 100 ms, doubling up to 30 s; five crashes in ten seconds, or five starts in a row that
 * never succeeded, put it into quarantine until a person restarts it.
 */

#include <dextd/process/service.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <base/clock.h>
#include <base/log.h>
#include <base/text.h>
#include <dextd/match/bundle.h>
#include <dextd/client/connection.h>
#include <dextd/daemon.h>
#include <dextd/device/published.h>
#include <dextd/process/dext.h>
#include <dextd/process/termination.h>
#include <dextd/match/match.h>
#include <dextd/properties.h>
#include <dextd/state_items.h>

static struct daemon *daemon_of(const struct service *s)
{
	return s->device->daemon;
}

static void set_reason(struct service *s, const char *reason)
{
	size_t n = strnlen(reason, sizeof(s->reason) - 1);
	memmove(s->reason, reason, n);
	s->reason[n] = '\0';
}

/* --- life --- */

static void on_time(void *context);
static void on_refused(void *context);

static void service_free(struct service *s)
{
	loop_timer_stop(&s->timer);
	loop_timer_stop(&s->refused);
	list_remove(&s->device_link);
	list_remove(&s->dext_link);
	device_fds_close(&s->handover);
	connection_end_orphans(s, s->reason[0] != '\0' ? s->reason : "its service has ended");
	if (s->entry != NULL)
		registry_remove(&daemon_of(s)->registry, s->entry);
	daemon_of(s)->n_services--;
	bundle_unref(s->personality->bundle);
	free(s);
}

static int add_entry(struct service *s)
{
	const struct personality *p = s->personality;
	const char *user_class = personality_string(p, "IOUserClass", "");
	int ret =
		registry_add(&daemon_of(s)->registry, s->device->entry, ENTRY_SERVICE,
			     personality_string(p, "IOClass", "IOUserService"), p->keys, &s->entry);
	if (ret == 0)
		ret = registry_set_user_class(s->entry, user_class);
	if (ret == 0)
		ret = registry_set_name(s->entry, user_class);
	if (ret == 0)
		s->entry->service = s;
	return ret;
}

static int service_new(struct service **out, struct device *device, struct personality *personality,
		       int64_t score)
{
	struct service *s = calloc(1, sizeof(*s));
	if (s == NULL)
		return -ENOMEM;
	s->device = device;
	s->personality = personality;
	s->score = score;
	bundle_ref(personality->bundle);
	list_init(&s->dext_link);
	list_init(&s->published);
	list_init(&s->terminations);
	list_init(&s->orphans);
	device_fds_init(&s->handover);
	loop_timer_init(&s->timer, device->daemon->loop, on_time, s);
	loop_timer_init(&s->refused, device->daemon->loop, on_refused, s);
	list_append(&device->services, &s->device_link);
	device->daemon->n_services++;
	int ret = add_entry(s);
	if (ret < 0) {
		service_free(s);
		return ret;
	}
	*out = s;
	return 0;
}

/* Matching, starting and stopping count as busy. */
static void set_working(struct service *s, bool working)
{
	registry_set_working(&daemon_of(s)->registry, s->entry, working);
}

static void schedule(struct service *s, uint32_t delay_ms)
{
	set_working(s, true);
	s->start_deferred = false;
	loop_timer_start(&s->timer, clock_deadline_ns(delay_ms));
}

/* --- matching --- */

struct candidate {
	struct personality *personality;
	int64_t score;
	size_t order;
};

static int by_score(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;
	if (x->score != y->score)
		return x->score > y->score ? -1 : 1;
	return x->order < y->order ? -1 : 1;
}

static size_t count_personalities(const struct list *bundles)
{
	size_t n = 0;
	const struct bundle *bundle;
	list_for_each(bundle, bundles, link) {
		const struct personality *p;
		list_for_each(p, &bundle->personalities, link)
			n++;
	}
	return n;
}

static size_t collect(const struct device *device, struct candidate *candidates)
{
	struct match_subject subject = match_subject_of(device->entry);
	size_t n = 0;
	const struct bundle *bundle;
	list_for_each(bundle, &device->daemon->bundles, link) {
		struct personality *p;
		list_for_each(p, &bundle->personalities, link) {
			struct match_result result;
			match_personality(&subject, p->keys, &result);
			if (result.matched && device_rejection(device, p) == NULL) {
				candidates[n] = (struct candidate){ p, result.score, n };
				n++;
			}
		}
	}
	return n;
}

static const struct service *holder_of(const struct device *device, const char *category)
{
	const struct service *s;
	list_for_each(s, &device->services, device_link) {
		if (strcmp(match_category(s->personality->keys), category) == 0)
			return s;
	}
	return NULL;
}

static void match_one(struct device *device, const struct candidate *candidate)
{
	struct service *s = NULL;
	if (holder_of(device, match_category(candidate->personality->keys)) != NULL)
		return;
	int ret = service_new(&s, device, candidate->personality, candidate->score);
	if (ret < 0) {
		log_error("%s: no service for %s: %s", device->entry->name,
			  candidate->personality->name, strerror(-ret));
		return;
	}
	log_info("service %llu: %s of %s on %s, score %lld", (unsigned long long)s->entry->id,
		 s->entry->name, s->personality->bundle->identifier, device->entry->name,
		 (long long)s->score);
	device->entry->state = ENTRY_STATE_MATCHED;
	schedule(s, 0);
}

void service_match(struct device *device)
{
	if (device->gone || device->daemon->stopping)
		return;
	size_t room = count_personalities(&device->daemon->bundles);
	if (room == 0)
		return;
	struct candidate *candidates = calloc(room, sizeof(*candidates));
	if (candidates == NULL) {
		log_error("%s is not matched: out of memory", device->entry->name);
		return;
	}
	size_t n = collect(device, candidates);
	qsort(candidates, n, sizeof(*candidates), by_score);
	for (size_t i = 0; i < n; i++)
		match_one(device, &candidates[i]);
	free(candidates);
}

void service_rematch(struct device *device)
{
	struct service *s, *tmp;
	device_forget_rejections(device);
	list_for_each_safe(s, tmp, &device->services, device_link) {
		if (s->entry->state == ENTRY_STATE_STOPPED ||
		    s->entry->state == ENTRY_STATE_QUARANTINED)
			service_free(s);
	}
	if (list_empty(&device->services))
		device->entry->state = ENTRY_STATE_DEVICE;
	service_match(device);
}

/* --- starting --- */

/* The bundle may have been read anew since the last start. */
static void use_newest_personality(struct service *s)
{
	struct personality *newest = bundle_find_personality(
		&daemon_of(s)->bundles, s->personality->bundle->path, s->personality->name);
	if (newest == NULL || newest == s->personality)
		return;
	bundle_ref(newest->bundle);
	bundle_unref(s->personality->bundle);
	s->personality = newest;
	if (registry_reset(s->entry, newest->keys) < 0)
		log_warn("service %llu keeps its old properties: %s",
			 (unsigned long long)s->entry->id, reason_last());
}

/* The layers that are required and that dextd itself cannot put on. */
static bool layers_missing(const struct daemon *daemon, char *reason, size_t room)
{
	uint32_t missing =
		daemon->options.required_layers & ~daemon->sandbox.layers & ~SANDBOX_SECCOMP;
	for (unsigned i = 0; i < SANDBOX_N_LAYERS; i++) {
		if ((missing & 1U << i) == 0)
			continue;
		text_print(reason, room, "--require-layers: %s does not hold: %s",
			   sandbox_layer_name(i), daemon->sandbox.details[i]);
		return true;
	}
	return false;
}

/* Stay in the registry without a process, for people to see and to restart. */
static void rest(struct service *s, enum entry_state state, const char *reason)
{
	set_reason(s, reason);
	s->entry->state = state;
	s->goal = SERVICE_RUN;
	set_working(s, false);
	connection_end_orphans(s, s->reason);
	device_give_back(s->device);
	log_error("service %llu: %s is %s: %s", (unsigned long long)s->entry->id, s->entry->name,
		  registry_state_name(state), s->reason);
}

/* Leave the category to the next candidate; without one, rest. */
static void yield_to_next(struct service *s)
{
	struct device *device = s->device;
	struct match_subject subject = match_subject_of(device->entry);
	const char *category = match_category(s->personality->keys);
	bool another = false;
	const struct bundle *bundle;

	(void)device_reject(device, s->personality, s->reason);
	list_for_each(bundle, &device->daemon->bundles, link) {
		struct personality *p;
		list_for_each(p, &bundle->personalities, link) {
			struct match_result result;
			match_personality(&subject, p->keys, &result);
			another =
				another || (result.matched && device_rejection(device, p) == NULL &&
					    strcmp(match_category(p->keys), category) == 0);
		}
	}
	if (!another) {
		rest(s, ENTRY_STATE_STOPPED, s->reason);
		return;
	}
	log_warn("service %llu: %s was refused: %s", (unsigned long long)s->entry->id,
		 s->entry->name, s->reason);
	service_free(s);
	service_match(device);
}

/* The device cannot be opened for the driver. */
static void open_failed(struct service *s, int error)
{
	char reason[REASON_MAX];
	text_print(reason, sizeof(reason), "%s",
		   reason_last()[0] != '\0' ? reason_last() : strerror(-error));
	set_reason(s, reason);
	if (error == -ENODEV) {
		device_lost(s->device, reason); // frees the service
		return;
	}
	yield_to_next(s);
}

static void start(struct service *s)
{
	struct daemon *daemon = daemon_of(s);
	char reason[REASON_MAX];

	if (layers_missing(daemon, reason, sizeof(reason))) {
		rest(s, ENTRY_STATE_STOPPED, reason);
		return;
	}
	reason_clear();
	s->goal = SERVICE_RUN;
	s->entry->state = ENTRY_STATE_STARTING;
	use_newest_personality(s);
	int ret = bundle_check_executable(s->personality->bundle);
	if (ret < 0) {
		set_reason(s, reason_last());
		yield_to_next(s);
		return;
	}
	if (s->device->ops->open != NULL) {
		ret = s->device->ops->open(s->device, s->personality, &s->handover);
		if (ret < 0) {
			device_fds_close(&s->handover);
			open_failed(s, ret);
			return;
		}
	}
	ret = dext_start_service(daemon, s);
	if (ret < 0) {
		device_fds_close(&s->handover);
		text_print(reason, sizeof(reason), "its process cannot be started: %s",
			   strerror(-ret));
		service_process_ended(s, reason);
	}
}

static void on_time(void *context)
{
	struct service *s = context;
	if (daemon_of(s)->power.asleep)
		s->start_deferred = true;
	else
		start(s);
}

void service_start_deferred(struct daemon *daemon)
{
	struct device *device;
	list_for_each(device, &daemon->devices, link) {
		struct service *s;
		list_for_each(s, &device->services, device_link)
			if (s->start_deferred)
				schedule(s, 0);
	}
}

/* What asked for it while its driver was starting: the service, and what it made in its Start. */
static void register_waiting(struct service *s, struct entry *entry)
{
	struct entry *child;
	if (entry->wants_register)
		service_register(s, entry);
	list_for_each(child, &entry->children, sibling)
		if (child->kind == ENTRY_SERVICE && child->service == s)
			register_waiting(s, child);
}

void service_start_answered(struct service *s, IOReturn status, const char *reason)
{
	if (status == kIOReturnSuccess) {
		s->started = true;
		s->started_at_ns = clock_now_ns();
		s->failed_starts = 0;
		s->entry->state = ENTRY_STATE_RUNNING;
		s->reason[0] = '\0';
		log_info("service %llu: %s runs in process %d", (unsigned long long)s->entry->id,
			 s->entry->name, (int)s->dext->child.pid);
		connection_resume_all(s->dext);
		register_waiting(s, s->entry);
		power_join(daemon_of(s), s->entry);
		set_working(s, false);    // after that: its clients start before it is quiet
		service_match(s->device); // for those that wait with IOMatchedServiceCountMatch
		return;
	}
	text_print(s->reason, sizeof(s->reason), "Start returned %s%s%s", IOReturnString(status),
		   reason[0] != '\0' ? ": " : "", reason);
	/* The end of the channel looks like such an answer too, and is told right after it: that
	 * would be a crash. */
	loop_timer_start(&s->refused, clock_now_ns());
}

static void on_refused(void *context)
{
	struct service *s = context;
	if (s->dext->ending)
		return; // its process ends or is stopped already
	if (s->goal == SERVICE_RUN)
		s->goal = SERVICE_NEXT;
	dext_release_service(s->dext, s);
}

void service_register(struct service *s, struct entry *entry)
{
	entry->wants_register = !s->started; // known to applications once Start has returned
	if (!s->started)
		return;
	if (s->goal != SERVICE_RUN)
		return;
	registry_publish(&daemon_of(s)->registry, entry);
	int ret = published_add(s, entry);
	if (ret < 0)
		log_error("service %llu: no driver can run on it: %s",
			  (unsigned long long)entry->id, strerror(-ret));
}

/* --- ending --- */

/* As it was matched: what its driver set, or took away, was of that process. */
static void forget_properties(struct service *s)
{
	if (registry_reset(s->entry, s->personality->keys) < 0 ||
	    registry_set_name(s->entry, s->entry->user_class) < 0)
		log_warn("service %llu keeps what its driver set: %s",
			 (unsigned long long)s->entry->id, reason_last());
}

/* What belonged to the process: entries below, but for the connections that another process is to
 * go on with, and publication. */
static void clear_process(struct service *s, const char *reason)
{
	struct registry *registry = &daemon_of(s)->registry;
	bool keep = s->goal == SERVICE_RUN || s->goal == SERVICE_RESTART;
	registry_withdraw(registry, s->entry);
	registry_forget_busy(registry, s->entry);
	forget_properties(s);
	state_items_clear(&s->entry->items);
	s->stop_waits = false;
	termination_forget_all(s);
	published_end(s, NULL, "its driver has ended");
	published_orphan(s);
	text_print(s->last_end, sizeof(s->last_end), "%s", reason);
	if (s->dext != NULL)
		connection_service_left(s->dext, s, keep,
					s->reason[0] != '\0' ? s->reason : reason);
	struct entry *child, *next;
	list_for_each_safe(child, next, &s->entry->children, sibling)
		if (child->kind != ENTRY_CLIENT)
			registry_remove(registry, child);
	s->n_children = 0;
	loop_timer_stop(&s->refused);
	s->dext = NULL;
	list_remove(&s->dext_link);
	device_fds_close(&s->handover);
	s->entry->wants_register = s->start_waits = s->stop_sent = false;
	power_leave(daemon_of(s), s->entry);
}

static bool crashed_too_often(struct service *s, uint64_t now)
{
	s->crashes_ns[s->n_crashes++ % SERVICE_CRASHES] = now;
	if (!s->started)
		s->failed_starts++;
	if (s->failed_starts >= SERVICE_CRASHES)
		return true;
	/* The ring's next slot holds the oldest of the last five. */
	uint64_t oldest = s->crashes_ns[s->n_crashes % SERVICE_CRASHES];
	return s->n_crashes >= SERVICE_CRASHES && now - oldest < SERVICE_CRASH_WINDOW_NS;
}

static void crashed(struct service *s)
{
	uint64_t now = clock_now_ns();
	char reason[REASON_MAX];

	if (s->started && now - s->started_at_ns >= SERVICE_CRASH_WINDOW_NS)
		s->backoff_ms = 0;
	if (crashed_too_often(s, now)) {
		text_print(reason, sizeof(reason),
			   "it failed %u times in a row, the last time: %s; dextctl restart "
			   "%llu starts it again",
			   SERVICE_CRASHES, s->reason, (unsigned long long)s->entry->id);
		rest(s, ENTRY_STATE_QUARANTINED, reason);
		return;
	}
	log_warn("service %llu: %s crashed: %s; again in %u ms", (unsigned long long)s->entry->id,
		 s->entry->name, s->reason, s->backoff_ms);
	s->entry->state = ENTRY_STATE_CRASHED;
	s->restarts++;
	schedule(s, s->backoff_ms);
	s->backoff_ms = s->backoff_ms == 0 ? SERVICE_BACKOFF_FIRST_MS : 2 * s->backoff_ms;
	if (s->backoff_ms > SERVICE_BACKOFF_MAX_MS)
		s->backoff_ms = SERVICE_BACKOFF_MAX_MS;
}

void service_process_ended(struct service *s, const char *reason)
{
	struct device *device = s->device;
	clear_process(s, reason);
	switch (s->goal) {
	case SERVICE_RUN:
		set_reason(s, reason);
		crashed(s);
		break;
	case SERVICE_RESTART:
		s->restarts++;
		s->entry->state = ENTRY_STATE_MATCHED;
		schedule(s, 0);
		break;
	case SERVICE_NEXT:
		yield_to_next(s); // may free it; it never started
		return;
	case SERVICE_REMOVE:
		service_free(s);
		device_service_ended(device);
		return;
	}
	s->started = false;
}

/* Clients before providers: drivers that run on it stop first. */
static void stop_process(struct service *s, const char *reason)
{
	set_working(s, true);
	published_end(s, NULL, reason);
	s->stop_waits = !list_empty(&s->published);
	if (!s->stop_waits)
		dext_stop_service(s->dext, s);
}

void service_lost_driver(struct service *s)
{
	termination_check(s);
	if (!s->stop_waits || !list_empty(&s->published))
		return;
	s->stop_waits = false;
	if (s->dext != NULL)
		dext_stop_service(s->dext, s);
}

static void end(struct service *s, enum service_goal goal, const char *reason)
{
	s->goal = goal;
	s->start_deferred = false;
	loop_timer_stop(&s->timer);
	registry_withdraw(&daemon_of(s)->registry, s->entry);
	if (s->dext != NULL)
		stop_process(s, reason);
	else
		service_process_ended(s, reason);
}

void service_end_all(struct device *device, const char *reason)
{
	struct service *s, *tmp;
	list_for_each_safe(s, tmp, &device->services, device_link) {
		s->goal = SERVICE_REMOVE;
		loop_timer_stop(&s->timer);
		registry_withdraw(&device->daemon->registry, s->entry);
		set_reason(s, reason);
		if (s->dext != NULL)
			stop_process(s, reason);
		else
			service_free(s);
	}
}

IOReturn service_kill(struct service *s)
{
	if (s->dext == NULL)
		return refuse(kIOReturnNotReady, "%s has no process: it is %s", s->entry->name,
			      registry_state_name(s->entry->state));
	dext_kill(s->dext, "killed by dextctl");
	return kIOReturnSuccess;
}

IOReturn service_restart(struct service *s)
{
	if (s->goal == SERVICE_REMOVE)
		return refuse(kIOReturnOffline, "its device is gone");
	s->n_crashes = s->failed_starts = 0;
	s->backoff_ms = 0;
	device_forget_rejections(s->device);
	end(s, SERVICE_RESTART, "restarted by dextctl");
	return kIOReturnSuccess;
}
