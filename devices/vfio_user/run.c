/* SPDX-License-Identifier: Apache-2.0 */

/* A virtual device's main loop: its socket, one client at a time, and the signals that end it. */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <devices/vfio_user/server.h>

static int listen_at(const char *program, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(address.sun_path)) {
		fprintf(stderr, "%s: %s: longer than a socket's path can be (%zu)\n", program, path,
			sizeof(address.sun_path) - 1);
		return -1;
	}
	strcpy(address.sun_path, path);
	unlink(path); // of a device that was killed
	CLEANUP(close_fdp) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, 8) < 0) {
		fprintf(stderr, "%s: %s: %s\n", program, path, strerror(errno));
		return -1;
	}
	return steal_fd(&fd);
}

static int open_signals(void)
{
	sigset_t signals;
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	return signalfd(-1, &signals, SFD_CLOEXEC);
}

/* Until a signal asks for the end. A waiting client is accepted when the one before has gone. */
static void serve(struct server *server, int listen_fd, int signal_fd)
{
	for (;;) {
		bool attached = server->connection_fd >= 0;
		struct pollfd fds[] = {
			{ .fd = signal_fd, .events = POLLIN },
			{ .fd = attached ? server->connection_fd : listen_fd, .events = POLLIN },
		};
		if (poll(fds, 2, -1) < 0 || fds[0].revents != 0)
			return;
		if (attached) {
			server_dispatch(server);
			continue;
		}
		int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			server_attach(server, fd);
	}
}

int server_run(struct server *server, const char *program, const char *path)
{
	CLEANUP(close_fdp) int signal_fd = open_signals();
	CLEANUP(close_fdp) int listen_fd = listen_at(program, path);
	if (signal_fd < 0 || listen_fd < 0)
		return EXIT_FAILURE;
	printf("ready\n");
	fflush(stdout);

	serve(server, listen_fd, signal_fd);
	server_detach(server);
	unlink(path);
	return EXIT_SUCCESS;
}
