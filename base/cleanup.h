/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Scope cleanup and explicit hand-over. "No descriptor" is -1. */

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))

/* Close *fd if there is one, set it to -1, keep errno. */
static inline void close_fdp(int *fd)
{
	if (*fd < 0)
		return;
	int saved = errno;
	close(*fd);
	errno = saved;
	*fd = -1;
}

static inline int steal_fd(int *fd)
{
	int stolen = *fd;
	*fd = -1;
	return stolen;
}

static inline void freep(void *p)
{
	free(*(void **)p);
}
