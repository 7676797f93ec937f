/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * This process's conversation with dextd: one channel, made when it is first needed and again when
 * dextd has come back. Any thread may call; one call is under way at a time. Nobody waits longer
 * than the call time limit.
 *
 * dextd's ServiceChanged reaches notification.c from whatever thread reads the channel.
 */

#include <stdbool.h>
#include <stdint.h>

#include <protocol/dextd.h>

/* Where dextd listens, instead of OPENDEXT_SOCKET. Before the first call; the text is borrowed for
 * good. */
void directory_set_path(const char *path);

/* Call a DextDirectory method. On success the caller owns the out objects and descriptors in `msg`;
 * else there is a reason. */
kern_return_t directory_call(const struct OSMethodShape *shape, void *msg);

/* Call, and let a failure be: the reason of an earlier one stays. */
void directory_tell(const struct OSMethodShape *shape, void *msg);

/* Read what has come, if no call does so anyway. Never blocks. */
void directory_dispatch(void);

/* Have `epoll_fd` tell, as `id`, when there is something to read. */
kern_return_t directory_attach(int epoll_fd, uint64_t id);

/* A connection was opened, or was not: news that waited for that goes where it belongs. */
void directory_settle(void);

/* Which conversation this is: it changes when dextd hangs up. */
uint64_t directory_epoch(void);
