// SPDX-License-Identifier: Apache-2.0
/*
 * The bundle is made anew for each test, so that tests run side by side and each can say how its
 * driver starts. Where things were built comes from the environment: DEXTD, VICTIM, VICTIM_PLIST.
 */

#include <assert.h>
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/clock.h>
#include <opendext/client.h>

#include "rig.h"

enum { PATIENCE_MS = 10000 };

int rig_count_fds(pid_t pid)
{
	char path[64];
	int n = 0;
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	DIR *dir = opendir(path);
	ck_assert_ptr_nonnull(dir);
	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n;
}

static const char *need_env(const char *name)
{
	const char *value = getenv(name);
	ck_assert_msg(value != NULL, "set %s, or run this test through meson", name);
	return value;
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

static void run(const char *program, const char *option, const char *from, const char *to)
{
	pid_t pid = fork();
	if (pid == 0) {
		execlp(program, program, option, from, to, (char *)NULL);
		_exit(127);
	}
	int status;
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(status == 0, "%s %s %s failed", program, option, from);
}

static void make_folder(const struct rig *rig, const char *name)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%s", rig->folder, name);
	ck_assert_int_eq(mkdir(path, 0755), 0);
}

static void write_plist(const struct rig *rig, const char *keys)
{
	char path[128], text[8192], plist[10000];
	FILE *f = fopen(need_env("VICTIM_PLIST"), "r");
	ck_assert_ptr_nonnull(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
	char *mark = strstr(text, "@EXTRA@");
	ck_assert_ptr_nonnull(mark);
	*mark = '\0';
	snprintf(plist, sizeof(plist), "%s%s%s", text, keys, mark + strlen("@EXTRA@"));
	snprintf(path, sizeof(path), "%s/bundles/victim.dext/Info.plist", rig->folder);
	write_file(path, plist);
}

static void make_bundle(const struct rig *rig, const char *keys)
{
	char path[128];
	make_folder(rig, "bundles");
	make_folder(rig, "bundles/victim.dext");
	snprintf(path, sizeof(path), "%s/bundles/victim.dext", rig->folder);
	run("cp", "-p", need_env("VICTIM"), path);
	write_plist(rig, keys);
}

static void exec_dextd(const struct rig *rig, const char *const *options, int ready_fd)
{
	char sock[128], bundles[128], ready[16];
	snprintf(sock, sizeof(sock), "%s/socket", rig->folder);
	snprintf(bundles, sizeof(bundles), "%s/bundles", rig->folder);
	snprintf(ready, sizeof(ready), "%d", ready_fd);
	/* The devices of the machine that the tests run on are none of their business. */
	const char *argv[32] = { "dextd", "--no-real",  "--socket", sock, "--bundles",
				 bundles, "--ready-fd", ready,      NULL };
	int n = 8;
	for (; options != NULL && *options != NULL && n < 31; options++)
		argv[n++] = *options;
	argv[n] = NULL;
	execv(need_env("DEXTD"), (char *const *)(uintptr_t)argv);
	_exit(127);
}

static void print_misbehave(char *keys, size_t room, const char *misbehave)
{
	keys[0] = '\0';
	if (misbehave != NULL)
		snprintf(keys, room, "<key>Misbehave</key><string>%s</string>", misbehave);
}

void rig_start(struct rig *rig, const char *misbehave, const char *const *options)
{
	char keys[256];
	print_misbehave(keys, sizeof(keys), misbehave);
	rig_start_with(rig, keys, options);
}

void rig_start_with(struct rig *rig, const char *keys, const char *const *options)
{
	strcpy(rig->folder, "/tmp/dext-e2e.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(rig->folder));
	ck_assert_int_eq(chmod(rig->folder, 0755), 0);
	make_bundle(rig, keys);

	int ready[2];
	ck_assert_int_eq(pipe(ready), 0);
	rig->dextd = fork();
	ck_assert_int_ge(rig->dextd, 0);
	if (rig->dextd == 0) {
		close(ready[0]);
		exec_dextd(rig, options, ready[1]);
	}
	close(ready[1]);
	struct pollfd p = { .fd = ready[0], .events = POLLIN };
	ck_assert_int_eq(poll(&p, 1, PATIENCE_MS), 1);
	char byte;
	ck_assert_msg(read(ready[0], &byte, 1) == 1, "dextd did not start");
	close(ready[0]);

	char sock[128];
	snprintf(sock, sizeof(sock), "%s/socket", rig->folder);
	setenv("OPENDEXT_SOCKET", sock, 1);
	/* The library connects at its first use, and stays connected. */
	IOServiceGetMatchingService(kIOMainPortDefault, IOServiceMatching("NoSuchClass"));
	rig->n_fds = rig_count_fds(getpid());
}

/* No process runs from the test's folder any more. */
static void check_no_process_left(const struct rig *rig)
{
	DIR *dir = opendir("/proc");
	ck_assert_ptr_nonnull(dir);
	struct dirent *e;
	while ((e = readdir(dir)) != NULL) {
		char link[300], target[256];
		snprintf(link, sizeof(link), "/proc/%s/exe", e->d_name);
		ssize_t n = readlink(link, target, sizeof(target) - 1);
		if (n <= 0)
			continue;
		target[n] = '\0';
		ck_assert_msg(strncmp(target, rig->folder, strlen(rig->folder)) != 0,
			      "process %s of this test is left: %s", e->d_name, target);
	}
	closedir(dir);
}

void rig_stop(struct rig *rig)
{
	ck_assert_int_eq(rig_count_fds(getpid()), rig->n_fds);
	ck_assert_int_eq(kill(rig->dextd, SIGTERM), 0);
	int status;
	ck_assert_int_eq(waitpid(rig->dextd, &status, 0), rig->dextd);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "dextd ended with %#x",
		      status);
	check_no_process_left(rig);
	run("rm", "-r", rig->folder, NULL);
}

void rig_wait_flag(IONotificationPortRef port, const int *flag)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	while (*flag == 0) {
		uint64_t now = clock_now_ns();
		ck_assert_msg(now < deadline, "nothing came within %d ms", PATIENCE_MS);
		struct pollfd p = { .fd = dext_notification_port_get_fd(port), .events = POLLIN };
		poll(&p, 1, (int)((deadline - now) / 1000000 + 1));
		dext_notification_port_dispatch(port);
	}
}

void rig_wait_explained(const char *device, const char *part)
{
	char command[256];
	snprintf(command, sizeof(command), "why %s", device);
	rig_wait_said(command, part);
}

void rig_wait_said(const char *arguments, const char *part)
{
	char command[256], text[16384];
	snprintf(command, sizeof(command), "%s %s 2>&1", need_env("DEXTCTL"), arguments);
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	do {
		FILE *f = popen(command, "r");
		ck_assert_ptr_nonnull(f);
		text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
		pclose(f);
		if (strstr(text, part) != NULL)
			return;
	} while (clock_now_ns() < deadline);
	ck_abort_msg("dextctl %s does not say \"%s\":\n%s", arguments, part, text);
}

/* dextd has read the bundles when it lists the one that came with the change, which is empty. */
void rig_upgrade(const struct rig *rig, const char *misbehave)
{
	char keys[256], mark[64];
	print_misbehave(keys, sizeof(keys), misbehave);
	write_plist(rig, keys);
	snprintf(mark, sizeof(mark), "bundles/%s.dext", misbehave != NULL ? misbehave : "good");
	make_folder(rig, mark);
	ck_assert_int_eq(kill(rig->dextd, SIGHUP), 0);
	rig_wait_said("status", mark);
}

void rig_control(const char *command, const char *argument)
{
	run(need_env("DEXTCTL"), command, argument, NULL);
}

static void on_matched(void *refcon, io_iterator_t iterator)
{
	io_service_t service = IOIteratorNext(iterator);
	if (service == IO_OBJECT_NULL)
		return;
	io_service_t *found = refcon;
	if (*found != IO_OBJECT_NULL)
		IOObjectRelease(*found);
	*found = service;
	while ((service = IOIteratorNext(iterator)) != IO_OBJECT_NULL)
		IOObjectRelease(service);
}

io_service_t rig_wait_service(const char *class_name)
{
	IONotificationPortRef port = IONotificationPortCreate(kIOMainPortDefault);
	ck_assert_ptr_nonnull(port);
	io_service_t found = IO_OBJECT_NULL;
	io_iterator_t iterator = IO_OBJECT_NULL;
	kern_return_t ret = IOServiceAddMatchingNotification(port, kIOMatchedNotification,
							     IOServiceMatching(class_name),
							     on_matched, &found, &iterator);
	ck_assert_msg(ret == kIOReturnSuccess, "%s", dext_last_reason());
	on_matched(&found, iterator); // those that are there already; and arms it
	static_assert(sizeof(found) == sizeof(int), "a handle is a flag");
	rig_wait_flag(port, (const int *)&found);
	IOObjectRelease(iterator);
	IONotificationPortDestroy(port);
	return found;
}

io_connect_t rig_open(void)
{
	io_service_t service = rig_wait_service("Victim");
	io_connect_t connect = IO_OBJECT_NULL;
	kern_return_t ret = IOServiceOpen(service, mach_task_self(), 0, &connect);
	ck_assert_msg(ret == kIOReturnSuccess, "%s: %s", IOReturnString(ret), dext_last_reason());
	IOObjectRelease(service);
	return connect;
}

uint64_t rig_number(io_registry_entry_t entry, const char *key)
{
	OSDictionary *properties = NULL;
	if (IORegistryEntryCreateProperties(entry, &properties) != kIOReturnSuccess)
		return 0;
	OSNumber *number = OSDynamicCast(OSNumber, OSDictionary_getObject(properties, key));
	uint64_t value = number != NULL ? OSNumber_unsigned64BitValue(number) : 0;
	OSObjectRelease(properties);
	return value;
}

pid_t rig_process(void)
{
	io_service_t service = rig_wait_service("Victim");
	uint64_t pid = rig_number(service, "OpenDextProcess");
	IOObjectRelease(service);
	return (pid_t)pid;
}
