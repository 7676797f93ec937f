// SPDX-License-Identifier: Apache-2.0
/*
 * What has no event to wait for (a state, a count) is asked for again every few milliseconds, until
 * a deadline far beyond what it takes.
 */

#include "rig.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/clock.h>
#include <protocol/dextd.h>

enum { PATIENCE_MS = 20000, PAUSE_MS = 5, OPTIONS_MAX = 32 };

static const char *need(const char *name)
{
	const char *value = getenv(name);
	ck_assert_msg(value != NULL, "set %s, or run this test through meson", name);
	return value;
}

static void run(const char *command)
{
	ck_assert_msg(system(command) == 0, "%s", command);
}

void rig_path(const struct rig *rig, char *path, const char *name)
{
	int n = snprintf(path, 128, "%s/%s", rig->folder, name);
	ck_assert(n > 0 && n < 128);
}

void rig_install(const struct rig *rig, const char *program, const char *name)
{
	char path[128], command[1024];
	rig_path(rig, path, name);
	int n = snprintf(command, sizeof(command), "cp '%s' '%s' && chmod 755 '%s'", need(program),
			 path, path);
	ck_assert(n > 0 && (size_t)n < sizeof(command));
	run(command);
}

/* --- dextd --- */

void rig_prepare(struct rig *rig)
{
	char path[128];
	*rig = (struct rig){ .folder = "/tmp/dextd-test.XXXXXX" };
	ck_assert_ptr_nonnull(mkdtemp(rig->folder));
	ck_assert_int_eq(chmod(rig->folder, 0755), 0);
	rig_path(rig, path, "bundles");
	ck_assert_int_eq(mkdir(path, 0755), 0);
}

void rig_bundle(const struct rig *rig, const char *name, const char *behaviour, const char *keys)
{
	char path[128], file[128];
	snprintf(file, sizeof(file), "bundles/%s.dext", name);
	rig_path(rig, path, file);
	ck_assert_int_eq(mkdir(path, 0755), 0);
	snprintf(file, sizeof(file), "bundles/%s.dext/%s", name, behaviour);
	rig_install(rig, "RAW_DEXT", file);
	snprintf(file, sizeof(file), "bundles/%s.dext/Info.plist", name);
	rig_path(rig, path, file);
	FILE *f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fprintf(f,
		"<plist version=\"1.0\"><dict><key>CFBundleIdentifier</key><string>org.test.%s"
		"</string><key>CFBundleExecutable</key><string>%s</string>"
		"<key>IOKitPersonalities</key><dict><key>%s</key><dict>"
		"<key>IOUserClass</key><string>%s</string>",
		name, behaviour, name, name);
	if (strstr(keys, "IOProviderClass") == NULL)
		fputs("<key>IOProviderClass</key><string>IOUserResources</string>", f);
	/* Each its own category, or only one of them would run. */
	if (strstr(keys, "IOMatchCategory") == NULL)
		fprintf(f, "<key>IOMatchCategory</key><string>%s</string>", name);
	fputs(keys, f);
	fputs("</dict></dict></dict></plist>", f);
	ck_assert_int_eq(fclose(f), 0);
}

static void exec_dextd(const struct rig *rig, const char *const *options, int ready_fd)
{
	char sock[128], bundles[128], ready[16];
	rig_path(rig, sock, "socket");
	rig_path(rig, bundles, "bundles");
	snprintf(ready, sizeof(ready), "%d", ready_fd);
	const char *argv[OPTIONS_MAX] = { "dextd", "--socket",   sock,  "--bundles",
					  bundles, "--ready-fd", ready, "--no-real",
					  "--log", "error" };
	int n = 10;
	for (; options != NULL && *options != NULL && n < OPTIONS_MAX - 1; options++)
		argv[n++] = *options;
	execv(need("DEXTD"), (char *const *)(uintptr_t)argv);
	_exit(127);
}

void rig_start(struct rig *rig, const char *const *options)
{
	int ready[2];
	char byte;
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
	ck_assert_msg(read(ready[0], &byte, 1) == 1, "dextd did not start");
	close(ready[0]);
}

void rig_signal(const struct rig *rig, int signal)
{
	ck_assert_int_eq(kill(rig->dextd, signal), 0);
}

/* No process runs from the test's folder any more. */
static void check_none_left(const struct rig *rig)
{
	DIR *dir = opendir("/proc");
	struct dirent *e;
	ck_assert_ptr_nonnull(dir);
	while ((e = readdir(dir)) != NULL) {
		char link[300], target[256];
		snprintf(link, sizeof(link), "/proc/%s/exe", e->d_name);
		ssize_t n = readlink(link, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = '\0';
		ck_assert_msg(strncmp(target, rig->folder, strlen(rig->folder)) != 0,
			      "process %s is left: %s", e->d_name, target);
	}
	closedir(dir);
}

static int wait_exit(pid_t pid)
{
	struct pollfd p = { .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };
	int status;
	ck_assert_int_ge(p.fd, 0);
	ck_assert_msg(poll(&p, 1, PATIENCE_MS) == 1, "dextd does not exit");
	close(p.fd);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

void rig_stop(struct rig *rig)
{
	char command[128];
	rig_signal(rig, SIGTERM);
	int status = wait_exit(rig->dextd);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "dextd ended with 0x%x",
		      (unsigned)status);
	check_none_left(rig);
	snprintf(command, sizeof(command), "rm -rf %s", rig->folder);
	run(command);
	rig->dextd = 0;
}

/* --- a client --- */

int rig_connect(const struct rig *rig)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", rig->folder);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void on_changed(void *context, struct channel_call *call, void *message)
{
	struct client *client = context;
	const struct DextWatcher_ServiceChanged_Msg *msg = message;
	(void)call;
	client->n_changes++;
	client->last_cookie = msg->cookie;
	client->last_entry = msg->entry;
}

static void on_entry_changed(void *context, struct channel_call *call, void *message)
{
	struct client *client = context;
	const struct DextWatcher_EntryChanged_Msg *msg = message;
	client->n_entry_changes++;
	client->last_cookie = msg->cookie;
	client->last_what = msg->what;
	if (!client->mute)
		channel_reply(call, kIOReturnSuccess, NULL);
}

static void on_restarted(void *context, struct channel_call *call, void *message)
{
	struct client *client = context;
	const struct DextWatcher_ConnectionRestarted_Msg *msg = message;
	ck_assert_int_ge(msg->socket, 0);
	client->n_restarts++;
	client->last_generation = msg->generation;
	if (!client->mute)
		channel_reply(call, kIOReturnSuccess, NULL);
}

static void on_ended(void *context, struct channel_call *call, void *message)
{
	struct client *client = context;
	(void)message;
	client->n_ends++;
	if (!client->mute)
		channel_reply(call, kIOReturnSuccess, NULL);
}

static const struct channel_method methods[] = {
	{ &DextWatcher_ConnectionRestarted_Shape, on_restarted },
	{ &DextWatcher_ConnectionEnded_Shape, on_ended },
	{ &DextWatcher_ServiceChanged_Shape, on_changed },
	{ &DextWatcher_EntryChanged_Shape, on_entry_changed },
	{ NULL, NULL },
};

static void on_hangup(void *context, struct channel *channel, int error)
{
	struct client *client = context;
	(void)channel;
	(void)error;
	client->hung_up = true;
}

static const struct channel_events events = { .on_hangup = on_hangup };

void client_open(struct client *client, const struct rig *rig)
{
	*client = (struct client){ 0 };
	ck_assert_int_eq(channel_open(&client->channel, rig_connect(rig), methods, &events, client),
			 0);
}

void client_close(struct client *client)
{
	client->channel = channel_close(client->channel);
}

kern_return_t client_ask(struct client *client, const struct OSMethodShape *shape, void *msg)
{
	return channel_call_sync(client->channel, shape, msg, PATIENCE_MS, NULL);
}

void client_wait_changes(struct client *client, unsigned n)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	while (client->n_changes < n) {
		struct pollfd p = { .fd = channel_fd(client->channel), .events = POLLIN };
		ck_assert_msg(clock_now_ns() < deadline, "%u changes instead of %u",
			      client->n_changes, n);
		(void)poll(&p, 1, PATIENCE_MS);
		channel_dispatch(client->channel);
	}
}

/* --- questions --- */

uint64_t number_of(OSDictionary *dictionary, const char *key)
{
	OSNumber *number = OSDynamicCast(OSNumber, OSDictionary_getObject(dictionary, key));
	ck_assert_msg(number != NULL, "no number %s", key);
	return OSNumber_unsigned64BitValue(number);
}

const char *text_of(OSDictionary *dictionary, const char *key)
{
	OSString *string = OSDynamicCast(OSString, OSDictionary_getObject(dictionary, key));
	return string != NULL ? OSString_getCStringNoCopy(string) : "";
}

static OSArray *children_of(struct client *client, uint64_t id)
{
	struct DextDirectory_CopyChildren_Msg msg = { .entry = id };
	if (client_ask(client, &DextDirectory_CopyChildren_Shape, &msg) != kIOReturnSuccess)
		return OSArray_withCapacity(1); // it ended between two questions
	return msg.entries;
}

static uint64_t search(struct client *client, uint64_t id, const char *name,
		       OSDictionary **properties)
{
	struct DextDirectory_CopyEntry_Msg msg = { .entry = id };
	if (client_ask(client, &DextDirectory_CopyEntry_Shape, &msg) == kIOReturnSuccess) {
		if (strcmp(text_of(msg.properties, "IOUserClass"), name) == 0) {
			*properties = msg.properties;
			return id;
		}
		OSObjectRelease(msg.properties);
	}
	OSArray *children = children_of(client, id);
	uint64_t found = 0;
	for (uint32_t i = 0; i < OSArray_getCount(children) && found == 0; i++) {
		OSNumber *child = OSDynamicCast(OSNumber, OSArray_getObject(children, i));
		found = search(client, OSNumber_unsigned64BitValue(child), name, properties);
	}
	OSObjectRelease(children);
	return found;
}

uint64_t find_entry(struct client *client, const char *name, OSDictionary **properties)
{
	*properties = NULL;
	return search(client, 0, name, properties);
}

uint64_t wait_state(struct client *client, const char *name, const char *state)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	for (;;) {
		OSDictionary *properties;
		uint64_t id = find_entry(client, name, &properties);
		char now[32] = "absent", why[512] = "";
		if (id != 0) {
			snprintf(now, sizeof(now), "%s", text_of(properties, "OpenDextState"));
			snprintf(why, sizeof(why), "%s", text_of(properties, "OpenDextReason"));
		}
		OSObjectRelease(properties);
		if (strcmp(now, state) == 0)
			return id;
		ck_assert_msg(clock_now_ns() < deadline, "%s is %s, not %s: %s", name, now, state,
			      why);
		poll(NULL, 0, PAUSE_MS);
	}
}

uint64_t wait_new_process(struct client *client, const char *name, uint64_t old_pid)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	for (;;) {
		OSDictionary *properties;
		uint64_t pid = 0;
		wait_state(client, name, "running");
		if (find_entry(client, name, &properties) != 0 &&
		    OSDictionary_getObject(properties, "OpenDextProcess") != NULL)
			pid = number_of(properties, "OpenDextProcess");
		OSObjectRelease(properties);
		if (pid != 0 && pid != old_pid)
			return pid;
		ck_assert_msg(clock_now_ns() < deadline, "%s is not started anew", name);
		poll(NULL, 0, PAUSE_MS);
	}
}

uint64_t status_number(struct client *client, const char *key)
{
	struct DextDirectory_CopyStatus_Msg msg = { 0 };
	ck_assert_int_eq(client_ask(client, &DextDirectory_CopyStatus_Shape, &msg),
			 kIOReturnSuccess);
	uint64_t value = number_of(msg.status, key);
	OSObjectRelease(msg.status);
	return value;
}

void wait_status(struct client *client, const char *key, uint64_t value)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS), now;
	while ((now = status_number(client, key)) != value) {
		ck_assert_msg(clock_now_ns() < deadline, "%s is %llu, not %llu", key,
			      (unsigned long long)now, (unsigned long long)value);
		poll(NULL, 0, PAUSE_MS);
	}
}

void explanation_of(struct client *client, const char *device, const char *name, const char *key,
		    char *text)
{
	struct DextDirectory_CopyExplanation_Msg msg = { 0 };
	char bundle[64];
	snprintf(msg.device, sizeof(msg.device), "%s", device);
	ck_assert_int_eq(client_ask(client, &DextDirectory_CopyExplanation_Shape, &msg),
			 kIOReturnSuccess);
	OSArray *rows =
		OSDynamicCast(OSArray, OSDictionary_getObject(msg.explanation, "candidates"));
	ck_assert_ptr_nonnull(rows);
	snprintf(bundle, sizeof(bundle), "/%s.dext", name);
	text[0] = '\0';
	for (uint32_t i = 0; i < OSArray_getCount(rows); i++) {
		OSDictionary *row = OSDynamicCast(OSDictionary, OSArray_getObject(rows, i));
		if (strstr(text_of(row, "bundle"), bundle) != NULL)
			snprintf(text, 512, "%s", text_of(row, key));
	}
	OSObjectRelease(msg.explanation);
}
