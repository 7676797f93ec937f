/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Applications that want to know what becomes of one entry: that it ended, is busy or not any more,
 * has other properties, was closed by somebody. A client is told one thing at a time, and the next
 * once it has answered; what happens meanwhile is a bit each. So one that does not read costs one
 * message and its interests, however much happens.
 */

#include <stdint.h>

#include <protocol/dextd.h>

struct client;
struct daemon;
struct entry;

#define INTERESTS_PER_CLIENT_MAX 256U

/* Negative errno with a reason. */
int interest_add(struct client *client, uint64_t cookie, struct entry *entry);
int interest_end(struct client *client, uint64_t cookie); // -ENOENT
void interest_end_all(struct client *client);

/* What happened to the entry: kDextEntry… (protocol/dextd.h). After kDextEntryEnded nothing. */
void interest_changed(struct daemon *daemon, const struct entry *entry, uint32_t what);
