// SPDX-License-Identifier: Apache-2.0
/* A structure each way over a stream socket: four copies by the kernel, and the server's own. */

#include <bench/caller.h>

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <bench/server.h>

static int sockets[2];

static bool receive_all(int fd, void *bytes, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = recv(fd, (char *)bytes + done, size - done, MSG_WAITALL);
		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

static bool send_all(int fd, const void *bytes, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = send(fd, (const char *)bytes + done, size - done, MSG_NOSIGNAL);
		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

static void serve(void *context)
{
	int fd = *(const int *)context;
	char *in = malloc(CALLER_LARGE_MAX), *out = malloc(CALLER_LARGE_MAX);
	uint64_t size;
	if (in == NULL || out == NULL)
		server_die("memory");
	server_confine();
	while (receive_all(fd, &size, sizeof(size)) && size <= CALLER_LARGE_MAX &&
	       receive_all(fd, in, size)) {
		memcpy(out, in, size);
		if (!send_all(fd, out, size))
			return;
	}
}

static void open_sockets(struct caller *caller)
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
		server_die("socketpair");
	caller->server = server_fork(serve, &sockets[1]);
}

static bool call_large(struct caller *caller, const uint64_t *in, uint64_t *out, size_t bytes)
{
	uint64_t size = bytes;
	(void)caller;
	return send_all(sockets[0], &size, sizeof(size)) && send_all(sockets[0], in, bytes) &&
	       receive_all(sockets[0], out, bytes);
}

struct caller caller_stream = {
	.name = "stream",
	.open = open_sockets,
	.call_large = call_large,
};
