/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Both sides of a ring in one process: what the ring's tests begin with.
 */

#include <sys/eventfd.h>
#include <unistd.h>

#include <base/unit_test.h>
#include <wire/ring.h>

enum { PATIENCE_MS = 20000 };

struct pair {
	int memory_fd, doorbell_fd;
	struct ring_server *server;
	struct ring_client *client;
};

static inline void pair_init(struct pair *p)
{
	ck_assert_int_eq(ring_create(&p->memory_fd), 0);
	p->doorbell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ck_assert_int_ge(p->doorbell_fd, 0);
	ck_assert_int_eq(ring_server_open(&p->server, p->memory_fd), 0);
	ck_assert_int_eq(ring_client_open(&p->client, p->memory_fd, p->doorbell_fd), 0);
}

static inline void pair_deinit(struct pair *p)
{
	p->client = ring_client_close(p->client);
	p->server = ring_server_close(p->server);
	close(p->memory_fd);
	close(p->doorbell_fd);
}
