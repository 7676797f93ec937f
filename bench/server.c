// SPDX-License-Identifier: Apache-2.0
/* A case's other process. */

#include <bench/server.h>

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <runtime/confine.h>

void server_die(const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	_exit(EXIT_FAILURE);
}

pid_t server_fork(void (*serve)(void *context), void *context)
{
	pid_t parent = getpid();
	fflush(NULL);
	pid_t pid = fork();
	if (pid < 0)
		server_die("fork");
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)setsid(); // the scheduler shares time among sessions, and dextd gives a dext its own
	if (getppid() == parent)
		serve(context);
	_exit(EXIT_SUCCESS);
}

void server_confine(void)
{
	int ret = confine_install();
	if (ret == 0)
		return;
	errno = -ret;
	server_die("a server cannot be confined");
}

void *server_shared_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		server_die("mmap");
	return memory;
}

void server_place(pid_t pid, const cpu_set_t *set)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	DIR *threads = opendir(path);
	if (threads == NULL)
		return;
	for (const struct dirent *e; (e = readdir(threads)) != NULL;) {
		pid_t thread = atoi(e->d_name);
		if (thread > 0)
			sched_setaffinity(thread, sizeof(*set), set);
	}
	closedir(threads);
}
