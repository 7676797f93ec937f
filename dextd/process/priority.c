// SPDX-License-Identifier: Apache-2.0
/*
 * All threads of the process get it, and those it starts later inherit it. A thread may be started
 * while its siblings are visited, so they are visited until a pass finds nothing to change.
 *
 * What a driver could do with it. A real-time thread that never sleeps keeps ordinary ones from its
 * CPU, and a driver that polls for dense calls never sleeps: so a limit on its own time
 * (RLIMIT_RTTIME) would kill the healthy. What bounds it is the kernel, which leaves ordinary
 * threads a twentieth of each second (sched_rt_runtime_us), enough for dextd to find by its
 * heartbeat a driver that is stuck, and to kill it. Where that bound was switched off nothing gets
 * real-time priority from here, but nice -20, which takes 1 % less and is as good for the worst of
 * a hundred calls.
 */

#include <dextd/process/priority.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/log.h>
#include <base/reason.h>
#include <dextd/process/dext.h>

enum { PASSES_MAX = 8, NICE_MOST = -20, REAL_TIME_LEAST = 1 };

/* --- one thread: 1: it was changed; 0: it is as wanted, or gone; negative errno --- */

static int set_policy(pid_t thread, int policy, int priority)
{
	const struct sched_param param = { .sched_priority = priority };
	if (sched_getscheduler(thread) == policy)
		return 0;
	if (sched_setscheduler(thread, policy, &param) == 0)
		return 1;
	return errno == ESRCH ? 0 : -errno;
}

static int set_nice(pid_t thread, int value)
{
	errno = 0;
	if (getpriority(PRIO_PROCESS, (id_t)thread) == value && errno == 0)
		return 0;
	if (setpriority(PRIO_PROCESS, (id_t)thread, value) == 0)
		return 1;
	return errno == ESRCH ? 0 : -errno;
}

static int make_real_time(pid_t thread)
{
	return set_policy(thread, SCHED_RR, REAL_TIME_LEAST);
}

static int make_nice(pid_t thread)
{
	return set_nice(thread, NICE_MOST);
}

static int make_ordinary(pid_t thread)
{
	return set_policy(thread, SCHED_OTHER, 0);
}

/* As dextd itself, which a driver has it from. */
static int make_not_nice(pid_t thread)
{
	return set_nice(thread, getpriority(PRIO_PROCESS, 0));
}

/* --- all of them --- */

/* The number that changed, or the first error. */
static int visit_threads(pid_t process, int (*visit)(pid_t thread))
{
	char path[32];
	(void)snprintf(path, sizeof(path), "/proc/%d/task", (int)process);
	DIR *directory = opendir(path);
	if (directory == NULL)
		return -errno;
	int changed = 0, ret = 0;
	for (struct dirent *e; ret >= 0 && (e = readdir(directory)) != NULL;) {
		pid_t thread = (pid_t)strtol(e->d_name, NULL, 10);
		ret = thread > 0 ? visit(thread) : 0;
		changed += ret > 0 ? 1 : 0;
	}
	(void)closedir(directory);
	return ret < 0 ? ret : changed;
}

static int apply(const struct dext *dext, int (*visit)(pid_t thread))
{
	int ret = 1;
	for (int pass = 0; pass < PASSES_MAX && ret > 0; pass++)
		ret = visit_threads(dext->child.pid, visit);
	return ret < 0 ? ret : 0;
}

/* Does the kernel keep real-time threads from taking all there is? */
static bool real_time_is_bounded(void)
{
	char text[32] = "";
	CLEANUP(close_fdp)
	int fd = open("/proc/sys/kernel/sched_rt_runtime_us", O_RDONLY | O_CLOEXEC);
	return fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 && strtol(text, NULL, 10) >= 0;
}

/* Take back what some of the threads have got. */
static void restore(struct dext *dext, enum priority from)
{
	int ret = apply(dext, from == PRIORITY_REAL_TIME ? make_ordinary : make_not_nice);
	if (ret < 0)
		log_warn("dext %d: its priority stays raised: %s", (int)dext->child.pid,
			 strerror(-ret));
}

static int try_priority(struct dext *dext, enum priority priority)
{
	int ret = apply(dext, priority == PRIORITY_REAL_TIME ? make_real_time : make_nice);
	if (ret < 0) {
		restore(dext, priority);
		return ret;
	}
	dext->priority = priority;
	log_info("dext %d: its priority is raised: %s", (int)dext->child.pid,
		 priority_name(priority));
	return 0;
}

int priority_raise(struct dext *dext)
{
	if (dext->priority != PRIORITY_ORDINARY)
		return 0;
	int ret = real_time_is_bounded() ? try_priority(dext, PRIORITY_REAL_TIME) : -EPERM;
	if (ret < 0)
		ret = try_priority(dext, PRIORITY_NICE);
	if (ret < 0)
		(void)refuse(kIOReturnNotPermitted,
			     "the driver keeps its ordinary priority: dextd may not raise it: %s",
			     strerror(-ret));
	return ret;
}

void priority_restore(struct dext *dext)
{
	if (dext->priority == PRIORITY_ORDINARY)
		return;
	restore(dext, dext->priority);
	dext->priority = PRIORITY_ORDINARY;
	log_info("dext %d: its priority is ordinary", (int)dext->child.pid);
}

const char *priority_name(enum priority priority)
{
	static const char *const names[] = {
		[PRIORITY_ORDINARY] = "ordinary",
		[PRIORITY_REAL_TIME] = "real-time",
		[PRIORITY_NICE] = "nice -20",
	};
	return names[priority];
}
