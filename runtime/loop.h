/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * An event loop from the inside, for loop.c, which fills and polls it, and worker.c, whose threads
 * run it.
 */

#include <pthread.h>

#include <runtime/pool.h>

struct loop {
	pthread_mutex_t lock;         // guards all below but what is constant
	pthread_cond_t called, ended; // constant
	int epoll_fd, event_fd;       // constant once open
	bool open;
	bool started;        // it is to have a thread whenever the pool runs
	struct list ready;   // turn.link
	struct list retired; // watch.link
	unsigned threads;    // in all states
	unsigned active;     // neither waiting nor parked
	unsigned parked;
	unsigned calls; // parked ones that were called and are not yet awake
	bool polling;   // one is in epoll, or at its events
	bool asleep;    // it needs event_fd to notice a new turn
	bool stopping;
};

extern struct loop loops[WORKERS_MAX];

/* Make its epoll set, once. 0 or negative errno. */
int loop_open(struct loop *loop);

/* Locked; unlocks meanwhile. Makes turns of events and alarms. */
void loop_poll(struct loop *loop);
/* Locked; unlocks meanwhile. Runs the first turn. */
void loop_take_turn(struct loop *loop);
/* Locked. */
void loop_wake(struct loop *loop);
/* Is anything there to be run, or to become so by polling? */
bool loop_is_wanted(struct loop *loop);
/* Locked; unlocks meanwhile. */
void loop_destroy_retired(struct loop *loop);
