/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The calls to the peer of a channel whose replies have not come. One whose time is over stays, as
 * expired, so that its late reply is recognised and dropped. Part of a channel, and of its thread.
 *
 * What tells a caller may close the channel, and so end all others: nothing here looks at the list
 * after that.
 */

#include <stdbool.h>
#include <stdint.h>

#include <base/list.h>
#include <wire/channel.h>

struct pendings {
	struct list list;   // pending.link
	unsigned n_expired; // of them
	uint64_t last_transaction;
};

struct pending {
	struct list link; // pendings.list
	const struct OSMethodShape *shape;
	uint64_t object; // 0: the protocol itself
	uint64_t transaction;
	uint64_t deadline_ns; // 0: none
	uint32_t timeout_ms;
	bool expired;              // the caller was told; nothing below is valid
	channel_reply_fn on_reply; // may be NULL
	void *context;
	void *out; // borrowed: where the caller wants the out fields; NULL: for the callback only
};

void pendings_init(struct pendings *pendings);

/* A call like `template`, with a transaction and a deadline of its own. To be added, or freed with
 * free(). -ENOMEM. */
int pending_new(struct pending **out, struct pendings *pendings, const struct pending *template);
void pendings_add(struct pendings *pendings, struct pending *pending);                // consumed
struct pending *pendings_find(const struct pendings *pendings, uint64_t transaction); // or NULL

/* Take it out, tell its caller unless it expired before, and free it. */
void pendings_end(struct pendings *pendings, struct pending *pending, kern_return_t status,
		  const char *reason, void *msg);
void pendings_end_all(struct pendings *pendings, kern_return_t status, const char *reason);

uint64_t pendings_next_deadline(const struct pendings *pendings); // 0: none
/* The time of one is over: its caller is told. False: of none. */
bool pendings_expire_one(struct pendings *pendings, uint64_t now_ns);
