// SPDX-License-Identifier: Apache-2.0
/*
 * Namespaces: one holder makes an empty network, IPC and UTS namespace (inside a user namespace of
 * its own when dextd is not root), dextd keeps descriptors of them, and every child joins: that
 * costs microseconds where making them anew costs hundreds. Landlock is used at whatever level the
 * running kernel has, so its newer constants are spelled out here: the headers may be older.
 */

#include <dextd/process/sandbox.h>

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <libgen.h>
#include <limits.h>
#include <linux/landlock.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/reason.h>

enum { DEFAULT_UID = 65534, DEFAULT_GID = 65534 };

enum layer_number { NAMESPACES, LANDLOCK, SECCOMP, RLIMITS, USER };

static const char *const layer_names[SANDBOX_N_LAYERS] = {
	[NAMESPACES] = "namespaces", [LANDLOCK] = "landlock", [SECCOMP] = "seccomp",
	[RLIMITS] = "rlimits",       [USER] = "user",
};

const char *sandbox_layer_name(unsigned number)
{
	return layer_names[number];
}

uint32_t sandbox_layer_named(const char *name, size_t length)
{
	if (length == 3 && memcmp(name, "all", 3) == 0)
		return SANDBOX_ALL;
	for (unsigned i = 0; i < SANDBOX_N_LAYERS; i++) {
		if (strlen(layer_names[i]) == length && memcmp(layer_names[i], name, length) == 0)
			return 1U << i;
	}
	return 0;
}

static void layer(struct sandbox *s, enum layer_number number, bool holds, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static void layer(struct sandbox *s, enum layer_number number, bool holds, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	(void)vsnprintf(s->details[number], sizeof(s->details[number]), format, args);
	va_end(args);
	if (holds)
		s->layers |= 1U << number;
}

/* --- namespaces --- */

static const struct {
	const char *file;
	int flag;
} namespace_kinds[SANDBOX_N_NAMESPACES] = {
	{ "user", CLONE_NEWUSER },
	{ "net", CLONE_NEWNET },
	{ "ipc", CLONE_NEWIPC },
	{ "uts", CLONE_NEWUTS },
};

/* The holder: make the namespaces, say how it went, stay until they were opened. */
static void hold(int flags, int said, int release)
{
	int error = unshare(flags) < 0 ? errno : 0;
	if (write(said, &error, sizeof(error)) == (ssize_t)sizeof(error)) {
		char byte;
		(void)!read(release, &byte, 1);
	}
	_exit(0);
}

static int write_file(pid_t pid, const char *name, const char *text)
{
	char path[64];
	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	CLEANUP(close_fdp) int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* Every process keeps its own uid and gid inside. */
static int map_ids(pid_t pid)
{
	char text[64];
	int ret = write_file(pid, "setgroups", "deny");
	(void)snprintf(text, sizeof(text), "%u %u 1\n", geteuid(), geteuid());
	if (ret == 0)
		ret = write_file(pid, "uid_map", text);
	(void)snprintf(text, sizeof(text), "%u %u 1\n", getegid(), getegid());
	return ret == 0 ? write_file(pid, "gid_map", text) : ret;
}

static int open_namespaces(struct sandbox *s, pid_t pid, int flags)
{
	for (unsigned i = 0; i < SANDBOX_N_NAMESPACES; i++) {
		char path[64];
		if ((flags & namespace_kinds[i].flag) == 0)
			continue;
		(void)snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid,
			       namespace_kinds[i].file);
		s->namespaces[i] = open(path, O_RDONLY | O_CLOEXEC);
		if (s->namespaces[i] < 0)
			return -errno;
	}
	return 0;
}

static void close_namespaces(struct sandbox *s)
{
	for (unsigned i = 0; i < SANDBOX_N_NAMESPACES; i++)
		close_fdp(&s->namespaces[i]);
}

static int adopt(struct sandbox *s, pid_t pid, int flags, int said)
{
	int error;
	if (read(said, &error, sizeof(error)) != (ssize_t)sizeof(error))
		return -EPIPE;
	if (error != 0)
		return -error;
	int ret = (flags & CLONE_NEWUSER) != 0 ? map_ids(pid) : 0;
	if (ret == 0)
		ret = open_namespaces(s, pid, flags);
	if (ret < 0)
		close_namespaces(s);
	return ret;
}

static int make_namespaces(struct sandbox *s, int flags)
{
	int said[2], release[2];
	if (pipe2(said, O_CLOEXEC) < 0)
		return -errno;
	CLEANUP(close_fdp) int said_out = said[0];
	CLEANUP(close_fdp) int said_in = said[1];
	if (pipe2(release, O_CLOEXEC) < 0)
		return -errno;
	CLEANUP(close_fdp) int release_out = release[0];
	CLEANUP(close_fdp) int release_in = release[1];

	pid_t pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		close(release_in);
		hold(flags, said_in, release_out);
	}
	close_fdp(&said_in);
	int ret = adopt(s, pid, flags, said_out);
	close_fdp(&release_in);
	(void)waitpid(pid, NULL, 0);
	return ret;
}

static void find_namespaces(struct sandbox *s)
{
	int flags = CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
	if (geteuid() != 0)
		flags |= CLONE_NEWUSER;
	int ret = make_namespaces(s, flags);
	if (ret == 0)
		layer(s, NAMESPACES, true, "network, IPC and UTS%s",
		      geteuid() != 0 ? ", in a user namespace" : "");
	else
		layer(s, NAMESPACES, false, "this machine does not allow them: %s", strerror(-ret));
}

/* --- Landlock --- */

/* As far as ABI 6; a kernel reads as much of it as its level knows. */
struct ruleset_attr {
	uint64_t handled_access_fs;
	uint64_t handled_access_net;
	uint64_t scoped;
};

enum {
	FS_ABI_1 = (1 << 13) - 1,
	FS_REFER = 1 << 13,     // ABI 2
	FS_TRUNCATE = 1 << 14,  // ABI 3
	FS_IOCTL_DEV = 1 << 15, // ABI 5
	NET_TCP = 3,            // ABI 4: bind, connect
	SCOPE_ALL = 3,          // ABI 6: abstract UNIX sockets, signals
	READ_EXECUTE = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE |
		       LANDLOCK_ACCESS_FS_READ_DIR,
};

static void find_landlock(struct sandbox *s)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	if (abi < 1) {
		layer(s, LANDLOCK, false, "this kernel does not have it: %s", strerror(errno));
		return;
	}
	s->landlock_abi = (int)abi;
	layer(s, LANDLOCK, true, "ABI %ld: files%s%s", abi, abi >= 4 ? ", TCP" : "",
	      abi >= 6 ? ", signals and abstract sockets" : "");
}

static int create_ruleset(int abi)
{
	struct ruleset_attr attr = { .handled_access_fs = FS_ABI_1 };
	size_t size = 8;
	if (abi >= 2)
		attr.handled_access_fs |= FS_REFER;
	if (abi >= 3)
		attr.handled_access_fs |= FS_TRUNCATE;
	if (abi >= 5)
		attr.handled_access_fs |= FS_IOCTL_DEV;
	if (abi >= 4) {
		attr.handled_access_net = NET_TCP;
		size = 16;
	}
	if (abi >= 6) {
		attr.scoped = SCOPE_ALL;
		size = sizeof(attr);
	}
	return (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
}

/* A path that does not exist needs no permission. */
static int allow(int ruleset, const char *path, uint64_t access)
{
	CLEANUP(close_fdp) int fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		access &= ~(uint64_t)LANDLOCK_ACCESS_FS_READ_DIR;
	struct landlock_path_beneath_attr rule = { .allowed_access = access, .parent_fd = fd };
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		return -errno;
	return 0;
}

int sandbox_ruleset(const struct sandbox *s, const char *directory, int *out)
{
	static const char *const libraries[] = { "/lib", "/lib64", "/usr/lib", "/usr/lib64" };
	static const char *const files[] = { "/etc/ld.so.cache", "/etc/ld.so.preload" };
	*out = -1;
	if (s->landlock_abi == 0)
		return 0;
	CLEANUP(close_fdp) int fd = create_ruleset(s->landlock_abi);
	if (fd < 0)
		return -errno;
	int ret = allow(fd, directory, READ_EXECUTE);
	if (ret == 0)
		ret = allow(fd, s->library_dir, READ_EXECUTE);
	for (size_t i = 0; i < sizeof(libraries) / sizeof(libraries[0]) && ret == 0; i++)
		ret = allow(fd, libraries[i], READ_EXECUTE);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]) && ret == 0; i++)
		ret = allow(fd, files[i], LANDLOCK_ACCESS_FS_READ_FILE);
	/* A sanitizer's runtime reads its own memory map. */
	if (ret == 0 && SANDBOX_SANITIZED)
		ret = allow(fd, "/proc", READ_EXECUTE);
	if (ret == 0)
		*out = steal_fd(&fd);
	return ret;
}

/* --- limits and user --- */

static const struct {
	int resource;
	rlim_t limit;
} limits[] = {
	{ RLIMIT_CORE, 0 },
	{ RLIMIT_NOFILE, 32768 }, // 4096 connections with all their doorbells
	{ RLIMIT_MEMLOCK, 64UL << 20 },
	{ RLIMIT_AS, 4UL << 30 },
};

static int limit_resources(void)
{
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		struct rlimit now;
		if (limits[i].resource == RLIMIT_AS && SANDBOX_SANITIZED)
			continue; // shadow memory takes terabytes of addresses
		if (getrlimit((__rlimit_resource_t)limits[i].resource, &now) < 0)
			return -errno;
		rlim_t limit = limits[i].limit < now.rlim_max ? limits[i].limit : now.rlim_max;
		struct rlimit next = { .rlim_cur = limit, .rlim_max = limit };
		if (setrlimit((__rlimit_resource_t)limits[i].resource, &next) < 0)
			return -errno;
	}
	return 0;
}

static int find_user(struct sandbox *s, const char *user)
{
	s->uid = DEFAULT_UID;
	s->gid = DEFAULT_GID;
	if (user != NULL) {
		char *end;
		unsigned long number = strtoul(user, &end, 10);
		const struct passwd *account = getpwnam(user);
		if (account != NULL) {
			s->uid = account->pw_uid;
			s->gid = account->pw_gid;
		} else if (*end == '\0' && user[0] != '\0' && number < UINT32_MAX) {
			s->uid = (uid_t)number;
			s->gid = (gid_t)number;
		} else {
			(void)refuse(kIOReturnBadArgument, "--dext-user %s: no such user", user);
			return -EINVAL;
		}
	}
	s->change_user = geteuid() == 0 && s->uid != 0;
	if (s->change_user)
		layer(s, USER, true, "uid %u, gid %u, no groups", s->uid, s->gid);
	else
		layer(s, USER, false, "drivers run as uid %u: dextd's own", geteuid());
	return 0;
}

/* --- life --- */

static bool has_library(const char *directory)
{
	char pattern[PATH_MAX + 16];
	glob_t found;
	(void)snprintf(pattern, sizeof(pattern), "%s/libdext.so*", directory);
	int ret = glob(pattern, GLOB_NOSORT, NULL, &found);
	globfree(&found);
	return ret == 0;
}

/* The folder above this program's when libdext lies there (a build tree), or beside it (an
 * installation, wherever it was moved to); else where it installs. */
static char *find_library_dir(void)
{
	char path[PATH_MAX];
	ssize_t n =
		readlink("/proc/self/exe", path, sizeof(path) - sizeof("/" OPENDEXT_LIBDIR_NAME));
	if (n > 0) {
		path[n] = '\0';
		char *directory = dirname(dirname(path));
		if (has_library(directory))
			return strdup(directory);
		strcat(directory, "/" OPENDEXT_LIBDIR_NAME);
		if (has_library(directory))
			return strdup(directory);
	}
	return strdup(OPENDEXT_LIBDIR);
}

int sandbox_open(struct sandbox *s, const char *user)
{
	*s = (struct sandbox){ .namespaces = { -1, -1, -1, -1 } };
	s->library_dir = find_library_dir();
	if (s->library_dir == NULL)
		return -ENOMEM;
	int ret = find_user(s, user);
	if (ret < 0)
		return ret;
	find_namespaces(s);
	find_landlock(s);
	layer(s, RLIMITS, true, "descriptors, locked memory, core dumps%s",
	      SANDBOX_SANITIZED ? "" : ", address space");
	layer(s, SECCOMP, false, "installed by libdext; no driver has reported it yet");
	return 0;
}

void sandbox_close(struct sandbox *s)
{
	close_namespaces(s);
	free(s->library_dir);
	s->library_dir = NULL;
}

/* --- in the child --- */

static int join_namespaces(const struct sandbox *s)
{
	for (unsigned i = 0; i < SANDBOX_N_NAMESPACES; i++) {
		if (s->namespaces[i] >= 0 && setns(s->namespaces[i], namespace_kinds[i].flag) < 0)
			return -errno;
	}
	return 0;
}

static int change_user(const struct sandbox *s)
{
	if (!s->change_user)
		return 0;
	if (setgroups(0, NULL) < 0 || setresgid(s->gid, s->gid, s->gid) < 0 ||
	    setresuid(s->uid, s->uid, s->uid) < 0)
		return -errno;
	return 0;
}

static int drop_privileges(void)
{
	/* The death signal is lost when the user changes: only now. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -errno;
	return 0;
}

static int restrict_files(int ruleset_fd)
{
	if (ruleset_fd >= 0 && syscall(SYS_landlock_restrict_self, ruleset_fd, 0) < 0)
		return -errno;
	return 0;
}

int sandbox_enter(const struct sandbox *s, int ruleset_fd, enum sandbox_step *step)
{
	int ret;
	*step = SANDBOX_STEP_NAMESPACES;
	if ((ret = join_namespaces(s)) < 0)
		return -ret;
	*step = SANDBOX_STEP_RLIMITS;
	if ((ret = limit_resources()) < 0)
		return -ret;
	*step = SANDBOX_STEP_USER;
	if ((ret = change_user(s)) < 0)
		return -ret;
	*step = SANDBOX_STEP_PRIVILEGES;
	if ((ret = drop_privileges()) < 0)
		return -ret;
	*step = SANDBOX_STEP_LANDLOCK;
	return -restrict_files(ruleset_fd);
}

const char *sandbox_step_text(unsigned step)
{
	static const char *const texts[] = {
		[0] = "starting it",
		[SANDBOX_STEP_DESCRIPTORS] = "arranging its descriptors",
		[SANDBOX_STEP_NAMESPACES] = "joining the namespaces",
		[SANDBOX_STEP_RLIMITS] = "setting its limits",
		[SANDBOX_STEP_USER] = "changing the user",
		[SANDBOX_STEP_PRIVILEGES] = "giving up privileges",
		[SANDBOX_STEP_LANDLOCK] = "restricting its files",
		[SANDBOX_STEP_EXEC] = "executing it",
	};
	return texts[step < sizeof(texts) / sizeof(texts[0]) ? step : 0];
}
