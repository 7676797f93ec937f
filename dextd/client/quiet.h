/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Applications that wait until an entry, with all below it, is not busy any more. Each is answered
 * when that is so, or when its time is over, and is then told who is busy.
 */

#include <stdint.h>

struct channel_call;
struct client;
struct daemon;

#define QUIET_WAITS_MAX  16U          // of one client
#define QUIET_TIMEOUT_MS (60U * 1000) // the longest that one may wait

/* Answers `call`, now or later. */
void quiet_wait(struct client *client, struct channel_call *call, uint64_t entry,
		uint32_t timeout_ms);
void quiet_client_left(struct client *client);
/* Somebody has become busy or quiet. */
void quiet_changed(struct daemon *daemon);
