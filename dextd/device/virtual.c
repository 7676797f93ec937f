// SPDX-License-Identifier: Apache-2.0
/*
 * One `virtual` per --virtual option. It is absent, probing or present; a plug or a hang-up leads
 * to a probe, a probe to devices or to the next try. A device that keeps hanging up is tried at
 * growing intervals (100 ms to 30 s), and afresh when its socket appears anew.
 */

#include <dextd/device/virtual.h>

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/log.h>
#include <base/text.h>
#include <dextd/daemon.h>
#include <dextd/device/device.h>
#include <dextd/process/launch.h>
#include <dextd/device/probe.h>
#include <dextd/properties.h>

enum {
	PLUG_RETRY_MS = 10, // the socket is there before its owner listens
	PLUG_RETRIES = 8,   // 10 ms, 20 … 1280 ms
	REPLUG_FIRST_MS = 100,
	REPLUG_MAX_MS = 30000,
};

enum virtual_state { VIRTUAL_ABSENT, VIRTUAL_PROBING, VIRTUAL_PRESENT };

struct virtual
{
	struct list link; // daemon.virtuals
	struct daemon *daemon;
	const char *spec, *path; // borrowed from the options
	const struct device_ops *ops;
	enum virtual_state state;
	struct list devices; // virtual_device.link
	struct probe probe;
	int inotify_fd; // owned
	struct loop_fd watch;
	struct loop_timer retry;
	unsigned retries;        // after a plug
	uint32_t replug_ms;      // after a hang-up; 0: none yet
	uint64_t present_at_ns;  // when it was last published
	char reason[REASON_MAX]; // why it is absent
};

struct virtual_device {
	struct device device;
	struct list link;       // virtual.devices
	struct virtual *source; // NULL: dextd stops, and it is gone
};

static struct virtual_device *virtual_device_of(struct device *device)
{
	return container_of(device, struct virtual_device, device);
}

/* --- connecting --- */

static int connect_device(const char *path, int *out)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path));
	/* Not blocking: a device whose backlog is full must not hold dextd up. */
	CLEANUP(close_fdp) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
		return -errno;
	*out = steal_fd(&fd);
	return 0;
}

/* --- devices --- */

static int virtual_open(struct device *device, const struct personality *personality,
			struct device_fds *fds)
{
	const struct virtual *v = virtual_device_of(device)->source;
	(void)personality;
	if (v == NULL) {
		(void)refuse(kIOReturnOffline, "dextd stops");
		return -ENODEV;
	}
	int ret = connect_device(v->path, &fds->fds[0]);
	if (ret == 0) {
		fds->n = 1;
		return 0;
	}
	(void)refuse(kIOReturnNoDevice, "%s: %s", v->path, strerror(-ret));
	return ret == -ECONNREFUSED || ret == -ENOENT ? -ENODEV : ret;
}

static void unplug(struct virtual *v, const char *reason);
static void try_after_hangup(struct virtual *v);

static void virtual_lost(struct device *device, const char *reason)
{
	struct virtual *v = virtual_device_of(device)->source;
	if (v == NULL || v->state != VIRTUAL_PRESENT)
		return;
	unplug(v, reason);
	try_after_hangup(v);
}

static void virtual_free(struct device *device)
{
	struct virtual_device *d = virtual_device_of(device);
	list_remove(&d->link);
	free(d);
}

static const struct device_ops usbredir_ops = {
	.backend = "usbredir",
	.open = virtual_open,
	.lost = virtual_lost,
	.free = virtual_free,
};

static const struct device_ops vfio_user_ops = {
	.backend = "vfio-user",
	.open = virtual_open,
	.lost = virtual_lost,
	.free = virtual_free,
};

static int publish(struct virtual *v, OSDictionary *identity)
{
	char name[64];
	struct virtual_device *d = calloc(1, sizeof(*d));
	if (d == NULL)
		return -ENOMEM;
	d->source = v;
	list_append(&v->devices, &d->link);
	probe_name(identity, name, sizeof(name));
	if (!properties_set_string(identity, "OpenDextPath", v->path)) {
		virtual_free(&d->device);
		return -ENOMEM;
	}
	return device_publish(v->daemon, &d->device, v->ops, name, identity);
}

static void absent(struct virtual *v, const char *reason)
{
	v->state = VIRTUAL_ABSENT;
	text_copy(v->reason, sizeof(v->reason), reason);
	log_warn("%s: %s", v->spec, v->reason);
}

static void on_identity(void *context, OSArray *identity, const char *reason)
{
	struct virtual *v = context;
	if (identity == NULL) {
		absent(v, reason);
		return;
	}
	v->state = VIRTUAL_PRESENT;
	v->present_at_ns = clock_now_ns();
	v->reason[0] = '\0';
	for (uint32_t i = 0; i < OSArray_getCount(identity); i++) {
		OSDictionary *one = OSDynamicCast(OSDictionary, OSArray_getObject(identity, i));
		int ret = publish(v, one);
		if (ret < 0)
			log_error("%s: it cannot be published: %s", v->spec, strerror(-ret));
	}
}

/* --- plug and unplug --- */

static void begin_probe(struct virtual *v)
{
	CLEANUP(close_fdp) int fd = -1;
	if (v->state != VIRTUAL_ABSENT || v->daemon->stopping)
		return;
	int ret = connect_device(v->path, &fd);
	if (ret == -ECONNREFUSED && v->retries < PLUG_RETRIES) {
		loop_timer_start(&v->retry,
				 clock_deadline_ns((uint32_t)PLUG_RETRY_MS << v->retries));
		v->retries++;
		return;
	}
	if (ret == 0)
		ret = probe_start(&v->probe, v->daemon, v->ops->backend, steal_fd(&fd), on_identity,
				  v);
	if (ret < 0)
		absent(v, ret == -ENOENT ? "no device listens there yet" : strerror(-ret));
	else
		v->state = VIRTUAL_PROBING;
}

static void on_retry(void *context)
{
	begin_probe(context);
}

static void unplug(struct virtual *v, const char *reason)
{
	loop_timer_stop(&v->retry);
	probe_cancel(&v->probe);
	v->state = VIRTUAL_ABSENT;
	text_copy(v->reason, sizeof(v->reason), reason);
	while (!list_empty(&v->devices)) {
		struct virtual_device *d =
			container_of(v->devices.next, struct virtual_device, link);
		list_remove(&d->link); // device_unplug may free it
		device_unplug(&d->device, reason);
	}
}

static void plug(struct virtual *v)
{
	if (v->state != VIRTUAL_ABSENT)
		unplug(v, "another device took its socket");
	loop_timer_stop(&v->retry);
	v->retries = 0;
	v->replug_ms = 0;
	begin_probe(v);
}

static void try_after_hangup(struct virtual *v)
{
	uint64_t stayed = clock_now_ns() - v->present_at_ns;
	if (stayed >= (uint64_t)REPLUG_MAX_MS * 1000000)
		v->replug_ms = 0;
	v->replug_ms = v->replug_ms == 0 ? REPLUG_FIRST_MS : 2 * v->replug_ms;
	if (v->replug_ms > REPLUG_MAX_MS)
		v->replug_ms = REPLUG_MAX_MS;
	v->retries = PLUG_RETRIES; // one try; the folder tells of a new socket
	loop_timer_start(&v->retry, clock_deadline_ns(v->replug_ms));
}

static void on_folder_event(struct virtual *v, const struct inotify_event *event)
{
	const char *slash = strrchr(v->path, '/');
	if ((event->mask & IN_Q_OVERFLOW) != 0) {
		plug(v); // anything may have happened
		return;
	}
	if (event->len == 0 || strcmp(event->name, slash + 1) != 0)
		return;
	if ((event->mask & (IN_CREATE | IN_MOVED_TO)) != 0)
		plug(v);
	else
		unplug(v, "its socket was removed");
}

static void on_folder(void *context, uint32_t ready)
{
	struct virtual *v = context;
	_Alignas(struct inotify_event) char buffer[4096];
	(void)ready;
	ssize_t n = read(v->inotify_fd, buffer, sizeof(buffer));
	for (ssize_t at = 0; at < n;) {
		const struct inotify_event *event = (const void *)(buffer + at);
		at += (ssize_t)(sizeof(*event) + event->len);
		on_folder_event(v, event);
	}
}

static int watch_folder(struct virtual *v)
{
	CLEANUP(freep) char *copy = strdup(v->path);
	if (copy == NULL)
		return -ENOMEM;
	v->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (v->inotify_fd < 0)
		return -errno;
	if (inotify_add_watch(v->inotify_fd, dirname(copy),
			      IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM | IN_ONLYDIR) < 0)
		return -errno;
	return loop_fd_add(v->daemon->loop, &v->watch, v->inotify_fd, EPOLLIN, on_folder, v);
}

/* --- life --- */

/* Its devices may outlive it: their drivers are stopping. */
static void free_one(struct virtual *v)
{
	while (!list_empty(&v->devices)) {
		struct virtual_device *d =
			container_of(v->devices.next, struct virtual_device, link);
		list_remove(&d->link);
		d->source = NULL;
	}
	loop_timer_stop(&v->retry);
	probe_cancel(&v->probe);
	loop_fd_remove(&v->watch);
	close_fdp(&v->inotify_fd);
	list_remove(&v->link);
	free(v);
}

int device_virtual_add(struct daemon *daemon, const char *spec)
{
	struct virtual *v = calloc(1, sizeof(*v));
	if (v == NULL)
		return -ENOMEM;
	v->daemon = daemon;
	v->spec = spec;
	v->path = strchr(spec, ':') + 1;
	v->ops = strncmp(spec, "usbredir:", 9) == 0 ? &usbredir_ops : &vfio_user_ops;
	v->inotify_fd = -1;
	list_init(&v->devices);
	loop_timer_init(&v->retry, daemon->loop, on_retry, v);
	list_append(&daemon->virtuals, &v->link);
	int ret = watch_folder(v);
	if (ret < 0) {
		(void)refuse(return_from_errno(ret),
			     "--virtual %s: its folder cannot be watched: "
			     "%s",
			     spec, strerror(-ret));
		free_one(v);
		return ret;
	}
	v->retries = 0;
	begin_probe(v);
	return 0;
}

void device_virtual_free_all(struct daemon *daemon)
{
	struct virtual *v, *tmp;
	list_for_each_safe(v, tmp, &daemon->virtuals, link)
		free_one(v);
}

OSArray *device_virtual_describe(const struct daemon *daemon)
{
	static const char *const states[] = {
		[VIRTUAL_ABSENT] = "absent",
		[VIRTUAL_PROBING] = "probing",
		[VIRTUAL_PRESENT] = "present",
	};
	CLEANUP(properties_release_arrayp) OSArray *array = OSArray_withCapacity(4);
	const struct virtual *v;
	list_for_each(v, &daemon->virtuals, link) {
		OSDictionary *row = OSDictionary_withCapacity(3);
		bool ok = row != NULL && properties_set_string(row, "device", v->spec) &&
			  properties_set_string(row, "state", states[v->state]) &&
			  properties_set_string(row, "reason", v->reason);
		if (!ok) {
			OSObjectRelease(row);
			return NULL;
		}
		if (array == NULL || !properties_append_consumed(array, row))
			return NULL;
	}
	OSArray *whole = array;
	array = NULL;
	return whole;
}
