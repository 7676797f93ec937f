// SPDX-License-Identifier: Apache-2.0
/* The file is opened for the first who asks and closed after the last. */

#include <dextd/client/awake.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/log.h>
#include <base/reason.h>
#include <dextd/client/connection.h>
#include <dextd/daemon.h>

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

int awake_hold(struct daemon *daemon, struct connection *c)
{
	if (c->awake)
		return 0;
	if (daemon->options.latency_path == NULL) {
		(void)refuse(kIOReturnNotPermitted, "idle CPUs are not kept awake: dextd runs "
						    "without --allow-low-latency");
		return -EPERM;
	}
	int ret = daemon->n_awake == 0 ? request(daemon) : 0;
	if (ret < 0)
		return ret;
	daemon->n_awake++;
	c->awake = true;
	return 0;
}

void awake_release(struct daemon *daemon, struct connection *c)
{
	if (!c->awake)
		return;
	c->awake = false;
	if (--daemon->n_awake > 0)
		return;
	close_fdp(&daemon->awake_fd);
	log_info("idle CPUs may sleep");
}
