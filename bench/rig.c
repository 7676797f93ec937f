// SPDX-License-Identifier: Apache-2.0
/* Where things were built is compiled in: a benchmark measures the build it belongs to. */

#include <bench/rig.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <opendext/client.h>

enum { PATIENCE_MS = 20000 };

extern char **environ;

static void die(const char *what, const char *why) __attribute__((noreturn));

static void die(const char *what, const char *why)
{
	fprintf(stderr, "bench: %s: %s\n", what, why);
	exit(EXIT_FAILURE);
}

static void run(const char *program, const char *first, const char *second, const char *third)
{
	const char *argv[] = { program, first, second, third, NULL };
	pid_t pid;
	int status;
	int error =
		posix_spawnp(&pid, program, NULL, NULL, (char *const *)(uintptr_t)argv, environ);
	if (error != 0)
		die(program, strerror(error));
	if (waitpid(pid, &status, 0) != pid || status != 0)
		die(program, "it failed");
}

/* --- bundles --- */

static void replace(char *text, size_t size, const char *mark, const char *value)
{
	char rest[4096];
	for (char *at; (at = strstr(text, mark)) != NULL;) {
		snprintf(rest, sizeof(rest), "%s", at + strlen(mark));
		snprintf(at, size - (size_t)(at - text), "%s%s", value, rest);
	}
}

static void make_bundle(const struct rig *rig, const char *name)
{
	bool unfiltered = strncmp(name, "unfiltered", strlen("unfiltered")) == 0;
	const char *program = unfiltered ? BENCH_UNFILTERED : BENCH_ECHO;
	char path[256], plist[4096] = "";
	snprintf(path, sizeof(path), "%s/bundles/%s.dext", rig->folder, name);
	if (mkdir(path, 0755) < 0)
		die(path, strerror(errno));
	run("cp", "-p", program, path);

	FILE *in = fopen(BENCH_PLIST, "r");
	if (in == NULL)
		die(BENCH_PLIST, strerror(errno));
	plist[fread(plist, 1, sizeof(plist) - 1, in)] = '\0';
	fclose(in);
	replace(plist, sizeof(plist), "@NAME@", name);
	replace(plist, sizeof(plist), "@EXECUTABLE@", strrchr(program, '/') + 1);
	snprintf(path, sizeof(path), "%s/bundles/%s.dext/Info.plist", rig->folder, name);
	FILE *out = fopen(path, "w");
	if (out == NULL || fputs(plist, out) < 0 || fclose(out) != 0)
		die(path, strerror(errno));
}

/* --- dextd --- */

static void exec_dextd(const struct rig *rig, const char *const *options, int ready_fd)
{
	char sock[128], bundles[128], ready[16];
	snprintf(sock, sizeof(sock), "%s/socket", rig->folder);
	snprintf(bundles, sizeof(bundles), "%s/bundles", rig->folder);
	snprintf(ready, sizeof(ready), "%d", ready_fd);
	const char *argv[32] = { "dextd",      "--socket", sock,    "--bundles", bundles,
				 "--ready-fd", ready,      "--log", "error",     "--no-real" };
	int n = 10;
	for (; options != NULL && *options != NULL && n < 31; options++)
		argv[n++] = *options;
	argv[n] = NULL;
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	execv(BENCH_DEXTD, (char *const *)(uintptr_t)argv);
	_exit(127);
}

static void wait_ready(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char byte;
	if (poll(&p, 1, PATIENCE_MS) != 1 || read(fd, &byte, 1) != 1)
		die("dextd", "it did not start");
}

void rig_start(struct rig *rig, const char *const *names, unsigned n_names,
	       const char *const *options)
{
	char path[128];
	strcpy(rig->folder, "/tmp/dext-bench.XXXXXX");
	if (mkdtemp(rig->folder) == NULL || chmod(rig->folder, 0755) < 0)
		die(rig->folder, strerror(errno));
	snprintf(path, sizeof(path), "%s/bundles", rig->folder);
	if (mkdir(path, 0755) < 0)
		die(path, strerror(errno));
	for (unsigned i = 0; i < n_names; i++)
		make_bundle(rig, names[i]);

	int ready[2];
	if (pipe(ready) < 0)
		die("pipe", strerror(errno));
	fflush(NULL);
	rig->dextd = fork();
	if (rig->dextd < 0)
		die("fork", strerror(errno));
	if (rig->dextd == 0) {
		close(ready[0]);
		exec_dextd(rig, options, ready[1]);
	}
	close(ready[1]);
	wait_ready(ready[0]);
	close(ready[0]);
	snprintf(path, sizeof(path), "%s/socket", rig->folder);
	setenv("OPENDEXT_SOCKET", path, 1);
}

void rig_stop(struct rig *rig)
{
	if (rig->folder[0] == '\0')
		return;
	kill(rig->dextd, SIGTERM);
	waitpid(rig->dextd, NULL, 0);
	run("rm", "-r", rig->folder, NULL);
	rig->folder[0] = '\0';
}

/* --- finding --- */

struct search {
	const char *name;
	io_service_t found;
};

static bool is_named(io_service_t service, const char *name)
{
	OSObject *value = NULL;
	if (IORegistryEntryCreateProperty(service, "BenchName", &value) != kIOReturnSuccess)
		return false;
	OSString *text = OSDynamicCast(OSString, value);
	bool same = text != NULL && OSString_isEqualToCString(text, name);
	OSObjectRelease(value);
	return same;
}

static void on_service(void *refcon, io_iterator_t iterator)
{
	struct search *search = refcon;
	for (io_service_t s; (s = IOIteratorNext(iterator)) != IO_OBJECT_NULL;) {
		if (search->found == IO_OBJECT_NULL && is_named(s, search->name))
			search->found = s;
		else
			IOObjectRelease(s);
	}
}

io_service_t rig_find(const char *name)
{
	struct search search = { .name = name };
	io_iterator_t iterator = IO_OBJECT_NULL;
	IONotificationPortRef port = IONotificationPortCreate(kIOMainPortDefault);
	if (port == NULL || IOServiceAddMatchingNotification(
				    port, kIOMatchedNotification, IOServiceMatching("Echo"),
				    on_service, &search, &iterator) != kIOReturnSuccess)
		die(name, dext_last_reason());
	on_service(&search, iterator);
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	while (search.found == IO_OBJECT_NULL) {
		struct pollfd p = { .fd = dext_notification_port_get_fd(port), .events = POLLIN };
		if (clock_now_ns() > deadline)
			die(name, "the driver did not start");
		poll(&p, 1, PATIENCE_MS);
		dext_notification_port_dispatch(port);
	}
	IOObjectRelease(iterator);
	IONotificationPortDestroy(port);
	return search.found;
}

pid_t rig_process(io_service_t service)
{
	OSObject *value = NULL;
	if (IORegistryEntryCreateProperty(service, "OpenDextProcess", &value) != kIOReturnSuccess)
		die("a driver's process", dext_last_reason());
	OSNumber *number = OSDynamicCast(OSNumber, value);
	pid_t pid = number != NULL ? (pid_t)OSNumber_unsigned64BitValue(number) : 0;
	OSObjectRelease(value);
	return pid;
}

io_connect_t rig_open(const char *name, pid_t *dext)
{
	io_connect_t connect = IO_OBJECT_NULL;
	io_service_t service = rig_find(name);
	if (IOServiceOpen(service, mach_task_self(), 0, &connect) != kIOReturnSuccess)
		die(name, dext_last_reason());
	if (dext != NULL)
		*dext = rig_process(service);
	IOObjectRelease(service);
	return connect;
}
