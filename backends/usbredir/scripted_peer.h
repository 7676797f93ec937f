/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The other end of a usbredir connection, for tests: a thread that has a bulk device and speaks the
 * protocol in raw bytes. It answers as it should, but for the one answer that a test spoils.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum peer_step {
	STEP_HELLO,
	STEP_CONNECT,
	STEP_DEVICE,
	STEP_GET_CONFIGURATION,
	STEP_CONFIGURATION_HEAD,
	STEP_CONFIGURATION,
	STEP_SET_CONFIGURATION,
	STEP_BULK,
	STEP_NONE,
};

enum peer_spoil {
	SPOIL_HANG_UP,  // instead of the answer
	SPOIL_TRUNCATE, // half of it, then hang up
	SPOIL_GARBAGE,  // bytes that mean nothing
	SPOIL_HUGE,     // a header that announces 4 GiB
	SPOIL_BIG,      // a header that announces a little over 1 MiB
	SPOIL_TYPE,     // a packet type that does not exist
	SPOIL_ID,       // the id of a request nobody made
	SPOIL_OVERLONG, // more data than was asked for
	SPOIL_HELLO,    // a second hello before it
	SPOIL_CONNECT,  // a second device before it
	SPOIL_UNPLUG,   // the device goes
	SPOIL_SILENCE,  // no answer, ever
	SPOILS,
};

/* What the peer does with a request to read. */
enum peer_bulk {
	BULK_ANSWER, // the pattern: byte i is i % 63
	BULK_HOLD,   // wait for the cancel, and give 512 bytes with it
	BULK_DEAF,   // do not even hear the cancel
	BULK_STALL,  // stall until the halt is cleared
	BULK_BABBLE, // report that the device sent too much
	BULK_CHANCE, // answer or hold, by the seed
};

struct peer_script {
	enum peer_step step; // which answer to spoil; STEP_NONE: none
	enum peer_spoil spoil;
	enum peer_bulk bulk;
	uint64_t seed;
	unsigned hang_up_after; // requests to read; 0: never
	bool unconfigured;      // until it is configured
	uint8_t protocol;       // of the interface
};

struct scripted_peer {
	struct peer_script script;
	pthread_t thread;
	int fd; // the peer's; closed by its thread
	_Atomic unsigned n_bulk, n_cancels, n_clears, n_set_configurations;
};

/* Returns the tested side's socket. */
int scripted_peer_start(struct scripted_peer *peer, const struct peer_script *script);
void scripted_peer_join(struct scripted_peer *peer); // when the tested side has hung up
