// SPDX-License-Identifier: Apache-2.0
#include <dextd/latency.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/log.h>
#include <base/reason.h>
#include <dextd/daemon.h>

enum { NS_PER_US = 1000 };

/* How many microseconds a CPU may take to wake up; -1: as many as it likes. */
static int32_t wanted_us(const struct daemon *daemon)
{
	uint64_t least_ns = UINT64_MAX;
	const struct entry *entry;
	if (daemon->n_awake > 0)
		return 0;
	list_for_each(entry, &daemon->registry.entries, link) {
		uint64_t ns = entry->power.max_stall_ns;
		if (ns != 0 && ns < least_ns)
			least_ns = ns;
	}
	if (least_ns == UINT64_MAX)
		return -1;
	return least_ns / NS_PER_US < INT32_MAX ? (int32_t)(least_ns / NS_PER_US) : INT32_MAX;
}

static int fail(const char *path, int error)
{
	(void)refuse(kIOReturnNotPermitted, "idle CPUs cannot be kept awake: %s: %s", path,
		     strerror(error));
	return -error;
}

/* A further write replaces the request of the file. The kernel's interface is binary. */
static int request(struct daemon *daemon, int32_t us)
{
	const char *path = daemon->options.latency_path;
	CLEANUP(close_fdp) int fd = steal_fd(&daemon->awake_fd);
	if (fd < 0)
		fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return fail(path, errno);
	if (pwrite(fd, &us, sizeof(us), 0) < 0) {
		int error = errno;
		if (daemon->awake_us >= 0)
			daemon->awake_fd = steal_fd(&fd);
		return fail(path, error);
	}
	daemon->awake_fd = steal_fd(&fd);
	daemon->awake_us = us;
	if (us == 0)
		log_info("idle CPUs are kept awake");
	else
		log_info("idle CPUs wake within %d µs", us);
	return 0;
}

int latency_update(struct daemon *daemon)
{
	int32_t us = wanted_us(daemon);
	if (us == daemon->awake_us)
		return 0;
	if (us >= 0)
		return request(daemon, us);
	close_fdp(&daemon->awake_fd);
	daemon->awake_us = us;
	log_info("idle CPUs may sleep");
	return 0;
}

IOReturn latency_require(struct daemon *daemon, struct entry *entry, uint64_t max_stall_ns)
{
	uint64_t before = entry->power.max_stall_ns;
	if (daemon->options.latency_path == NULL)
		return refuse(kIOReturnNotPermitted, "RequireMaxBusStall: dextd runs without "
						     "--allow-low-latency");
	entry->power.max_stall_ns = max_stall_ns;
	int ret = latency_update(daemon);
	if (ret == 0)
		return kIOReturnSuccess;
	entry->power.max_stall_ns = before;
	return return_from_errno(ret);
}
