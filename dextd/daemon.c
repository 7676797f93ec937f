// SPDX-License-Identifier: Apache-2.0
/*
 * Start, stop, and reading the bundles again. Stopping unplugs every device: their services stop in
 * order, the processes exit or are made to, and when the last is gone the loop ends.
 */

#include <dextd/daemon.h>

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <base/log.h>
#include <base/reason.h>
#include <base/text.h>
#include <dextd/match/bundle.h>
#include <dextd/client/client.h>
#include <dextd/client/interest.h>
#include <dextd/client/quiet.h>
#include <dextd/client/rules.h>
#include <dextd/device/device.h>
#include <dextd/logind.h>
#include <dextd/device/pci.h>
#include <dextd/device/usb.h>
#include <dextd/device/virtual.h>
#include <dextd/process/dext.h>
#include <dextd/process/service.h>
#include <dextd/process/state_watches.h>
#include <dextd/process/watches.h>

/* --- bundles --- */

static void scan(struct daemon *daemon)
{
	for (unsigned i = 0; i < daemon->options.n_bundle_dirs; i++) {
		const char *directory = daemon->options.bundle_dirs[i];
		int ret = bundle_scan(&daemon->bundles, directory);
		if (ret < 0)
			log_error("%s: not all bundles are loaded: %s", directory,
				  ret == -E2BIG ? reason_last() : strerror(-ret));
	}
	const struct bundle *bundle;
	list_for_each(bundle, &daemon->bundles, link) {
		if (bundle->refused)
			log_warn("%s is refused: %s", bundle->path, bundle->reason);
		else
			log_debug("%s: %s", bundle->path, bundle->identifier);
	}
}

/* Files with a mistake change nothing: the rules of before stay, all of them. */
static void reread_rules(struct daemon *daemon)
{
	struct rules *rules = NULL;
	reason_clear();
	int ret = rules_read(&rules, daemon->options.policy_path);
	daemon->rules_reason[0] = '\0';
	if (ret < 0) {
		text_copy(daemon->rules_reason, sizeof(daemon->rules_reason),
			  ret == -EINVAL ? reason_last() : strerror(-ret));
		log_error("%s (the policy stays as it was)", daemon->rules_reason);
		return;
	}
	rules_free(daemon->rules);
	daemon->rules = rules;
	log_info("the policy %s: %u rules", rules->path, rules->n);
}

/* What runs goes on running; what rests is matched with the new bundles. */
void daemon_rescan(struct daemon *daemon)
{
	if (daemon->stopping)
		return;
	log_info("reading the bundles and the policy again");
	reread_rules(daemon);
	bundle_list_free(&daemon->bundles);
	scan(daemon);
	struct device *device;
	list_for_each(device, &daemon->devices, link)
		service_rematch(device);
}

/* --- signals --- */

static void on_signal(void *context, int signal)
{
	if (signal == SIGHUP)
		daemon_rescan(context);
	else
		daemon_stop(context);
}

void daemon_check_stopped(struct daemon *daemon)
{
	if (daemon->stopping && list_empty(&daemon->devices) && list_empty(&daemon->dexts))
		loop_quit(daemon->loop);
}

/* One that is still there. The end of a device may be that of others, which run on it. */
static struct device *find_present(struct daemon *daemon)
{
	struct device *device;
	list_for_each(device, &daemon->devices, link)
		if (!device->gone)
			return device;
	return NULL;
}

void daemon_stop(struct daemon *daemon)
{
	if (daemon->stopping) {
		struct dext *dext;
		list_for_each(dext, &daemon->dexts, link)
			dext_kill(dext, "dextd was told to stop at once");
		return;
	}
	log_info("stopping");
	daemon->stopping = true;
	daemon->logind = logind_stop(daemon->logind);
	client_unlisten(daemon);
	device_virtual_free_all(daemon);
	daemon->usb = real_devices_stop(daemon->usb);
	daemon->pci = real_devices_stop(daemon->pci);
	struct device *device;
	while ((device = find_present(daemon)) != NULL)
		device_unplug(device, "dextd stops");
	daemon_check_stopped(daemon);
}

/* --- life --- */

static void on_published(void *context, struct entry *entry)
{
	client_service_changed(context, entry, WATCH_MATCHED);
	watches_published(context, entry);
}

static void on_withdrawn(void *context, struct entry *entry)
{
	client_service_changed(context, entry, WATCH_TERMINATED);
	watches_withdrawn(context, entry);
	state_watches_changed(context, entry);
	interest_changed(context, entry, kDextEntryEnded);
}

static void on_removed(void *context, const struct entry *entry)
{
	interest_changed(context, entry, kDextEntryEnded);
}

static void on_busy(void *context, const struct entry *entry)
{
	interest_changed(context, entry, kDextEntryBusyChanged);
	if (entry->busy == 0)
		quiet_changed(context);
}

static const struct registry_events registry_events = {
	.on_published = on_published,
	.on_withdrawn = on_withdrawn,
	.on_removed = on_removed,
	.on_busy = on_busy,
};

/* A connection costs a descriptor: take as many as we may have. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int prepare(struct daemon *daemon)
{
	sigset_t signals;
	int ret = loop_new(&daemon->loop);
	if (ret < 0)
		return ret;
	sigemptyset(&signals);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	ret = loop_signals(daemon->loop, &signals, on_signal, daemon);
	if (ret < 0)
		return ret;
	if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return -errno;
	raise_descriptor_limit();
	ret = registry_init(&daemon->registry);
	daemon->registry.events = &registry_events;
	daemon->registry.context = daemon;
	return ret < 0 ? ret : sandbox_open(&daemon->sandbox, daemon->options.dext_user);
}

static int publish_devices(struct daemon *daemon)
{
	int ret = device_publish_resources(daemon);
	for (unsigned i = 0; i < daemon->options.n_virtual_specs && ret == 0; i++)
		ret = device_virtual_add(daemon, daemon->options.virtual_specs[i]);
	if (ret == 0 && daemon->options.real)
		ret = real_devices_start(&daemon->usb, daemon, &usb_devices);
	if (ret == 0 && daemon->options.real)
		ret = real_devices_start(&daemon->pci, daemon, &pci_devices);
	return ret;
}

static void say_ready(struct daemon *daemon)
{
	int fd = daemon->options.ready_fd;
	if (fd < 0)
		return;
	if (write(fd, "ready\n", 6) != 6)
		log_warn("--ready-fd %d cannot be written to", fd);
	(void)close(fd);
	daemon->options.ready_fd = -1;
}

int daemon_start(struct daemon *daemon, const struct options *options)
{
	*daemon = (struct daemon){
		.options = *options, .listen_fd = -1, .awake_fd = -1, .awake_us = -1
	};
	list_init(&daemon->bundles);
	list_init(&daemon->virtuals);
	list_init(&daemon->devices);
	list_init(&daemon->dexts);
	list_init(&daemon->clients);
	power_init(&daemon->power);
	reason_clear();
	int ret = prepare(daemon);
	if (ret == 0)
		ret = rules_read(&daemon->rules, daemon->options.policy_path);
	if (ret < 0)
		return ret;
	scan(daemon);
	ret = client_listen(daemon);
	if (ret == 0)
		ret = publish_devices(daemon);
	if (ret < 0)
		return ret;
	if (daemon->options.logind)
		logind_start(&daemon->logind, daemon);
	say_ready(daemon);
	return 0;
}

int daemon_run(struct daemon *daemon)
{
	return loop_run(daemon->loop);
}

void daemon_free(struct daemon *daemon)
{
	client_unlisten(daemon);
	daemon->logind = logind_stop(daemon->logind);
	power_deinit(&daemon->power);
	struct client *client, *tmp;
	list_for_each_safe(client, tmp, &daemon->clients, link)
		client_free(client);
	device_virtual_free_all(daemon);
	daemon->usb = real_devices_stop(daemon->usb);
	daemon->pci = real_devices_stop(daemon->pci);
	struct device *device, *next;
	list_for_each_safe(device, next, &daemon->devices, link)
		device_unplug(device, "dextd ends");
	registry_deinit(&daemon->registry);
	bundle_list_free(&daemon->bundles);
	daemon->rules = rules_free(daemon->rules);
	sandbox_close(&daemon->sandbox);
	daemon->loop = loop_free(daemon->loop);
}
