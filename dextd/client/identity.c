// SPDX-License-Identifier: Apache-2.0
/*
 * A folder of /proc that is open stays that of its process: when that has ended, reading fails, and
 * whoever gets the number next has another folder. So: open the folder, see by the pidfd that the
 * process has not ended, and everything read through the folder is of that process.
 */

#include <dextd/client/identity.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/text.h>

/* Linux 6.5; the C library of 2022 has no name for it. The number of all architectures but sparc
 * and parisc, where asking for it fails. */
enum { PEER_PIDFD = 77 };

enum { GROUPS_MAX = 65536 };

static bool is_alive(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	return poll(&p, 1, 0) == 0;
}

static int open_folder(pid_t pid, int pidfd)
{
	char path[32];
	text_print(path, sizeof(path), "/proc/%d", (int)pid);
	CLEANUP(close_fdp) int folder = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return folder >= 0 && is_alive(pidfd) ? steal_fd(&folder) : -1;
}

/* The whole file as text; false: it cannot be read, or is longer. */
static bool read_text(int folder, const char *name, char *text, size_t room)
{
	CLEANUP(close_fdp) int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t n = fd < 0 ? -1 : 1;
	while (n > 0 && used < room - 1) {
		n = read(fd, text + used, room - 1 - used);
		used += n > 0 ? (size_t)n : 0;
	}
	text[used] = '\0';
	return n == 0 && strlen(text) == used;
}

/* --- at the connection --- */

/* Before SO_PEERPIDFD: the number may be another's by now, but not that of another user. */
static int pidfd_of_number(pid_t pid, uid_t uid)
{
	char text[4096];
	unsigned effective;
	CLEANUP(close_fdp) int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0)
		return -1;
	CLEANUP(close_fdp) int folder = open_folder(pid, pidfd);
	if (folder < 0 || !read_text(folder, "status", text, sizeof(text)))
		return -1;
	const char *line = strstr(text, "\nUid:");
	if (line == NULL || sscanf(line, "\nUid: %*u %u", &effective) != 1 || effective != uid)
		return -1;
	return steal_fd(&pidfd);
}

int identity_pidfd(int socket_fd, pid_t pid, uid_t uid)
{
	int pidfd = -1;
	socklen_t size = sizeof(pidfd);
	if (pid <= 0) // of a namespace that dextd cannot look into
		return -1;
	if (getsockopt(socket_fd, SOL_SOCKET, PEER_PIDFD, &pidfd, &size) < 0)
		return pidfd_of_number(pid, uid);
	(void)fcntl(pidfd, F_SETFD, FD_CLOEXEC);
	return pidfd;
}

int identity_groups(int socket_fd, gid_t **groups, unsigned *n_groups)
{
	socklen_t size = 0;
	*groups = NULL;
	*n_groups = 0;
	if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) == 0)
		return 0; // none
	if (errno != ERANGE || size > GROUPS_MAX * sizeof(gid_t))
		return -errno;
	CLEANUP(freep) gid_t *room = malloc(size);
	if (room == NULL)
		return -ENOMEM;
	if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERGROUPS, room, &size) < 0)
		return -errno;
	*n_groups = (unsigned)(size / sizeof(gid_t));
	*groups = room;
	room = NULL;
	return 0;
}

/* --- the unit --- */

static bool ends_with(const char *text, size_t length, const char *end)
{
	size_t n = strlen(end);
	return length > n && memcmp(text + length - n, end, n) == 0;
}

void identity_unit_of(const char *cgroup, char unit[IDENTITY_UNIT_MAX])
{
	unit[0] = '\0';
	for (const char *part = cgroup; *part == '/';) {
		part++;
		size_t length = strcspn(part, "/");
		const char *end = part + length;
		if (*part == '_') { // systemd's escape of what the kernel would take for its own
			part++;
			length--;
		}
		if (ends_with(part, length, ".slice")) {
			part = end;
			continue;
		}
		if ((ends_with(part, length, ".service") || ends_with(part, length, ".scope")) &&
		    length < IDENTITY_UNIT_MAX) {
			memcpy(unit, part, length);
			unit[length] = '\0';
		}
		return;
	}
}

/* "N:CONTROLLERS:PATH" a line: the hierarchy that systemd keeps its units in. */
static bool find_cgroup(char *text, char **path)
{
	char *rest = text, *line;
	*path = NULL;
	while ((line = strsep(&rest, "\n")) != NULL) {
		if (strncmp(line, "0::", 3) == 0 && *path == NULL)
			*path = line + 3;
		char *named = strstr(line, ":name=systemd:");
		if (named != NULL)
			*path = named + strlen(":name=systemd:");
	}
	return *path != NULL;
}

static void read_unit(struct identity *identity, int folder)
{
	char text[8192], *path;
	identity->unit_known =
		read_text(folder, "cgroup", text, sizeof(text)) && find_cgroup(text, &path);
	if (identity->unit_known)
		identity_unit_of(path, identity->unit);
}

/* --- the executable --- */

static bool read_link(int folder, char path[PATH_MAX])
{
	ssize_t n = readlinkat(folder, "exe", path, PATH_MAX);
	path[n > 0 && n < PATH_MAX ? n : 0] = '\0';
	return path[0] == '/';
}

/* What runs is what the path names here, and nobody else could have put it there. */
static bool is_that_file(int folder, const char *path)
{
	struct stat running, named;
	if (fstatat(folder, "exe", &running, 0) < 0 || stat(path, &named) < 0)
		return false;
	return running.st_dev == named.st_dev && running.st_ino == named.st_ino &&
	       (running.st_uid == 0 || running.st_uid == geteuid()) &&
	       (running.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

static void read_executable(struct identity *identity, int folder)
{
	char again[PATH_MAX];
	if (!read_link(folder, identity->executable) ||
	    !is_that_file(folder, identity->executable) || !read_link(folder, again) ||
	    strcmp(identity->executable, again) != 0)
		identity->executable[0] = '\0';
}

void identity_read(struct identity *identity, int pidfd, pid_t pid)
{
	*identity = (struct identity){ .unit_known = false };
	if (pidfd < 0)
		return;
	CLEANUP(close_fdp) int folder = open_folder(pid, pidfd);
	if (folder < 0)
		return;
	read_unit(identity, folder);
	read_executable(identity, folder);
	if (!is_alive(pidfd))
		*identity = (struct identity){ .unit_known = false };
}
