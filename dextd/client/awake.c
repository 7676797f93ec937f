// SPDX-License-Identifier: Apache-2.0
/* The file is opened for the first who asks and closed after the last; a driver's priority is
 * raised for its first connection that asks and taken back after the last. */

#include <dextd/client/awake.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/log.h>
#include <base/reason.h>
#include <base/text.h>
#include <dextd/client/connection.h>
#include <dextd/daemon.h>
#include <dextd/process/dext.h>

/* How many microseconds a CPU may take to wake up; the kernel's interface is binary. */
static const int32_t no_latency_us = 0;

static int request(struct daemon *daemon)
{
	const char *path = daemon->options.latency_path;
	CLEANUP(close_fdp) int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	int ret = fd < 0 ? -errno : 0;
	if (ret == 0 && write(fd, &no_latency_us, sizeof(no_latency_us)) < 0)
		ret = -errno;
	if (ret < 0) {
		(void)refuse(kIOReturnNotPermitted, "idle CPUs cannot be kept awake: %s: %s", path,
			     strerror(-ret));
		return ret;
	}
	daemon->awake_fd = steal_fd(&fd);
	log_info("idle CPUs are kept awake");
	return 0;
}

static int keep_cpus_awake(struct daemon *daemon, struct connection *c)
{
	if (c->awake)
		return 0;
	int ret = daemon->n_awake == 0 ? request(daemon) : 0;
	if (ret < 0)
		return ret;
	daemon->n_awake++;
	c->awake = true;
	return 0;
}

/* One that is about to die is left alone: its number may soon be another's. */
static int raise_priority(struct connection *c)
{
	c->urgent = true;
	return c->dext != NULL && !c->dext->killed ? priority_raise(c->dext) : 0;
}

int awake_hold(struct daemon *daemon, struct connection *c)
{
	char reason[REASON_MAX] = "";
	if (daemon->options.latency_path == NULL) {
		(void)refuse(kIOReturnNotPermitted, "idle CPUs are not kept awake: dextd runs "
						    "without --allow-low-latency");
		return -EPERM;
	}
	int cpus = keep_cpus_awake(daemon, c);
	if (cpus < 0)
		text_print(reason, sizeof(reason), "%s", reason_last());
	int priority = raise_priority(c);
	if (cpus < 0 && priority < 0)
		(void)refuse(kIOReturnNotPermitted,
			     "%s; and the driver keeps its ordinary priority", reason);
	else if (cpus < 0)
		(void)refuse(kIOReturnNotPermitted, "%s", reason);
	return cpus < 0 ? cpus : priority;
}

static bool is_urgent(const struct dext *dext)
{
	const struct connection *c;
	bool urgent = false;
	list_for_each(c, &dext->connections, dext_link)
		urgent = urgent || c->urgent;
	return urgent;
}

void awake_release(struct daemon *daemon, struct connection *c)
{
	bool was_urgent = c->urgent;
	c->urgent = false;
	if (was_urgent && c->dext != NULL && !c->dext->killed && !is_urgent(c->dext))
		priority_restore(c->dext);
	if (!c->awake)
		return;
	c->awake = false;
	if (--daemon->n_awake > 0)
		return;
	close_fdp(&daemon->awake_fd);
	log_info("idle CPUs may sleep");
}
