/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * For client_test.c: a dextd and a driver that break the rules on request. dextd runs on a thread
 * and speaks the real protocol, or garbage; the driver's side of a connection is in the test's
 * hands: its ring, its socket, and a thread that answers calls if the test wants one.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <DriverKit/OSCollections.h>
#include <wire/channel.h>
#include <wire/ring.h>

enum fake_manner {
	FAKE_SERVES,
	FAKE_SILENT,           // accepts, and says nothing
	FAKE_HANGS_UP,         // accepts and closes
	FAKE_HANGS_UP_IN_CALL, // waits for a request, and closes
	FAKE_SENDS_GARBAGE,    // waits for a request, and sends what is no frame
};

/* What an Open hands out, when not a sound connection. */
enum fake_gift { GIFT_SOUND, GIFT_NOTHING, GIFT_NO_RING, GIFT_SHRINKABLE };

enum fake_news { NEWS_NONE, NEWS_RESTARTED, NEWS_ENDED, NEWS_HANGUP };

struct fake {
	char folder[32], path[64];
	int listen_fd, stop_fd, news_fd;
	pthread_t thread;
	_Atomic enum fake_manner manner;
	struct channel *channel;                // of the thread
	_Atomic uint32_t n_closed, n_unwatched; // requests seen

	_Atomic uint32_t awake; // as asked last

	/* Set by the test before the call that uses it. */
	enum fake_gift gift;
	OSObject *entries;  // CopyMatchingServices and Watch answer it; NULL: an empty array
	bool entry_unknown; // CopyEntry and WatchEntry answer kIOReturnNotFound
	bool no_awake;      // KeepAwake is refused
	_Atomic uint64_t tell_cookie,
		tell_entry; // FAKE_SERVES: sent as ServiceChanged after the next reply
	/* The same with EntryChanged, to who was interested last. */
	_Atomic uint64_t interest;
	_Atomic uint32_t tell_what, tell_busy;
	_Atomic uint32_t n_interest_answered;

	/* What news_fd says is to be told. */
	_Atomic enum fake_news news;
	_Atomic int news_socket; // owned, by who takes it out
	_Atomic uint32_t n_news_answered;

	/* The driver's side of the last connection. */
	int memory_fd, socket_fd, doorbell_fd;
	uint32_t generation;
	struct ring_server *ring;
};

void fake_init(struct fake *fake); // and OPENDEXT_SOCKET
void fake_deinit(struct fake *fake);
void fake_drop_connection(struct fake *fake);
void fake_hang_up(struct fake *fake); // dextd does

/* The driver dies: its socket closes. What it had in its hands stays in the ring. */
void fake_die(struct fake *fake);
/* A further driver has the ring; and dextd tells so. */
void fake_succeed(struct fake *fake);
void fake_tell_restart(struct fake *fake);
/* There is none: dextd ends the ring and tells. */
void fake_tell_end(struct fake *fake, const char *reason);

/* --- a driver that answers: `serve` fills the reply; false: no answer --- */

typedef bool (*fake_serve_fn)(struct fake *fake, const struct ring_request *request,
			      struct ring_reply *reply);

struct fake_driver {
	struct fake *fake;
	fake_serve_fn serve;
	pthread_t thread;
	_Atomic bool stop;
};

void fake_driver_start(struct fake_driver *driver, struct fake *fake, fake_serve_fn serve);
void fake_driver_stop(struct fake_driver *driver);

/* On the connection's socket. */
void fake_send(struct fake *fake, const void *bytes, size_t size, int fd);
void fake_send_descriptor(struct fake *fake, uint64_t sequence, int fd);
/* Complete an asynchronous call, with a wake if one is due. */
void fake_complete(struct fake *fake, uint64_t async, IOReturn status, uint32_t n_scalars);
