// SPDX-License-Identifier: Apache-2.0
/* What a driver in the kernel costs: an ioctl that reaches a handler. It carries no numbers. */

#include <bench/caller.h>

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <bench/server.h>

static int pipe_fds[2];

static void open_pipe(struct caller *caller)
{
	(void)caller;
	if (pipe(pipe_fds) < 0)
		server_die("pipe");
}

static bool call(struct caller *caller, const uint64_t *in, uint64_t *out)
{
	int waiting;
	(void)caller;
	memcpy(out, in, CALLER_SCALARS * sizeof(*out));
	if (ioctl(pipe_fds[0], FIONREAD, &waiting) < 0 || waiting != 0)
		return false;
	caller_serve(out);
	return true;
}

struct caller caller_ioctl = { .name = "ioctl", .open = open_pipe, .call = call };
