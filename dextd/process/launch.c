// SPDX-License-Identifier: Apache-2.0
/*
 * clone3 gives the child and its pidfd in one step. Everything that allocates happens before it, in
 * the parent (struct plan); between clone3 and execve the child makes system calls only. What goes
 * wrong there is written to a pipe that closes itself at exec.
 */

#include <dextd/process/launch.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <base/cleanup.h>

enum { FIRST_FD = 3, SPARE_FD = 64, ENVIRONMENT_MAX = 32 };

struct report {
	uint32_t step, error;
};

struct plan {
	const struct sandbox *sandbox;
	const struct launch_request *request;
	const char *argv[3];
	const char *environment[ENVIRONMENT_MAX];
	unsigned n_environment;
	char log_variable[32];
	int null_fd, ruleset_fd, report_fd;
	pid_t parent;
};

/* --- the parent's half --- */

/* A driver sees of dextd's environment only what developers set to look into it. */
static bool inherited(const char *variable)
{
	static const char *const prefixes[] = { "ASAN_OPTIONS=", "LSAN_OPTIONS=", "UBSAN_OPTIONS=",
						"TSAN_OPTIONS=", "OPENDEXT_DEBUG=" };
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
		if (strncmp(variable, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	}
	return false;
}

static void plan_environment(struct plan *plan)
{
	static const char *const levels[] = { "error", "warn", "info", "debug" };
	(void)snprintf(plan->log_variable, sizeof(plan->log_variable), "OPENDEXT_LOG=%s",
		       levels[plan->request->log_level]);
	plan->environment[plan->n_environment++] = "OPENDEXT_DEXT=1";
	plan->environment[plan->n_environment++] = plan->log_variable;
	for (char **variable = environ; *variable != NULL; variable++) {
		if (plan->n_environment < ENVIRONMENT_MAX - 1 && inherited(*variable))
			plan->environment[plan->n_environment++] = *variable;
	}
}

/* --- the child's half: system calls only --- */

static void give_up(const struct plan *plan, enum sandbox_step step, int error)
	__attribute__((noreturn));

static void give_up(const struct plan *plan, enum sandbox_step step, int error)
{
	struct report report = { .step = (uint32_t)step, .error = (uint32_t)error };
	(void)!write(plan->report_fd, &report, sizeof(report));
	_exit(127);
}

static int spare(int *fd)
{
	if (*fd < 0)
		return 0;
	*fd = fcntl(*fd, F_DUPFD_CLOEXEC, SPARE_FD);
	return *fd < 0 ? -errno : 0;
}

/* First out of the way of the numbers that are promised, then onto them. */
static int arrange_descriptors(struct plan *plan)
{
	int fds[2] = { plan->request->fds[0], plan->request->fds[1] };
	int ret = spare(&plan->report_fd);
	if (ret == 0)
		ret = spare(&plan->ruleset_fd);
	for (unsigned i = 0; i < plan->request->n_fds && ret == 0; i++)
		ret = spare(&fds[i]);
	if (ret == 0 && dup2(plan->null_fd, 0) < 0)
		ret = -errno;
	for (unsigned i = 0; i < plan->request->n_fds && ret == 0; i++)
		ret = dup2(fds[i], FIRST_FD + (int)i) < 0 ? -errno : 0;
	if (ret == 0 && close_range(FIRST_FD + plan->request->n_fds, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		ret = -errno;
	return ret;
}

static void reset_signals(void)
{
	sigset_t none;
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
}

static void become(struct plan *plan) __attribute__((noreturn));

static void become(struct plan *plan)
{
	enum sandbox_step step;
	reset_signals();
	(void)setsid(); // a terminal's ^C is for dextd, which stops its drivers in order

	int error = -arrange_descriptors(plan);
	if (error != 0)
		give_up(plan, SANDBOX_STEP_DESCRIPTORS, error);
	error = sandbox_enter(plan->sandbox, plan->ruleset_fd, &step);
	if (error != 0)
		give_up(plan, step, error);
	if (getppid() != plan->parent)
		_exit(127); // dextd died before the death signal was set
	(void)execve(plan->request->executable, (char *const *)(uintptr_t)plan->argv,
		     (char *const *)(uintptr_t)plan->environment);
	give_up(plan, SANDBOX_STEP_EXEC, errno);
}

int launch(const struct sandbox *sandbox, const struct launch_request *request,
	   struct launched *launched)
{
	int report[2];
	if (pipe2(report, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	CLEANUP(close_fdp) int report_out = report[0];
	CLEANUP(close_fdp) int report_in = report[1];
	CLEANUP(close_fdp) int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null_fd < 0)
		return -errno;
	CLEANUP(close_fdp) int ruleset_fd = -1;
	int ret = sandbox_ruleset(sandbox, request->directory, &ruleset_fd);
	if (ret < 0)
		return ret;

	struct plan plan = {
		.sandbox = sandbox,
		.request = request,
		.argv = { request->executable, request->argument, NULL },
		.null_fd = null_fd,
		.ruleset_fd = ruleset_fd,
		.report_fd = report_in,
		.parent = getpid(),
	};
	plan_environment(&plan);

	int pidfd = -1;
	struct clone_args args = {
		.flags = CLONE_PIDFD,
		.pidfd = (uint64_t)(uintptr_t)&pidfd,
		.exit_signal = SIGCHLD,
	};
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (pid < 0)
		return -errno;
	if (pid == 0)
		become(&plan);
	launched->pid = pid;
	launched->pidfd = pidfd;
	launched->report_fd = steal_fd(&report_out);
	return 0;
}

bool launch_failure(int report_fd, char *text, size_t room)
{
	struct report report;
	if (read(report_fd, &report, sizeof(report)) != (ssize_t)sizeof(report))
		return false;
	(void)snprintf(text, room, "%s failed: %s", sandbox_step_text(report.step),
		       strerror((int)report.error));
	return true;
}
