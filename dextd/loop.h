/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * dextd's one event loop: descriptors (epoll), timers, signals (signalfd), ends of children
 * (pidfd), and hooks that run before every wait. One thread.
 *
 * Sources live inside their owners. A callback runs to completion and may remove any source, its
 * own included, and free its owner: an event that was already fetched for a removed source is
 * forgotten.
 */

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <base/list.h>

struct loop;

struct loop_fd {
	struct loop *loop; // NULL: not added
	int fd;            // borrowed
	uint32_t events;   // EPOLLIN …
	void (*on_ready)(void *context, uint32_t events);
	void *context;
};

struct loop_timer {
	struct list link; // loop.timers, ascending
	struct loop *loop;
	uint64_t deadline_ns; // CLOCK_MONOTONIC; 0: not started
	void (*on_expired)(void *context);
	void *context;
};

struct loop_hook {
	struct list link;               // loop.hooks
	void (*prepare)(void *context); // may not add or remove hooks
	void *context;
};

/* A child process. `status` is as wait() gives it. The child is reaped before on_exit. */
struct loop_child {
	struct loop_fd exit;
	pid_t pid; // 0: none
	int pidfd; // owned
	void (*on_exit)(void *context, int status);
	void *context;
};

int loop_new(struct loop **out);
struct loop *loop_free(struct loop *loop); // returns NULL

int loop_fd_add(struct loop *loop, struct loop_fd *source, int fd, uint32_t events,
		void (*on_ready)(void *context, uint32_t events), void *context);
int loop_fd_set_events(struct loop_fd *source, uint32_t events);
void loop_fd_remove(struct loop_fd *source); // harmless when not added

void loop_timer_init(struct loop_timer *timer, struct loop *loop, void (*on_expired)(void *context),
		     void *context);
void loop_timer_start(struct loop_timer *timer, uint64_t deadline_ns); // again: moves it
void loop_timer_stop(struct loop_timer *timer);                        // harmless when stopped

void loop_hook_add(struct loop *loop, struct loop_hook *hook, void (*prepare)(void *context),
		   void *context);
void loop_hook_remove(struct loop_hook *hook);

/* `pidfd` is consumed, also on failure. */
int loop_child_add(struct loop *loop, struct loop_child *child, pid_t pid, int pidfd,
		   void (*on_exit)(void *context, int status), void *context);
void loop_child_remove(struct loop_child *child); // forgets it, does not reap it
void loop_child_kill(struct loop_child *child, int signal);

/* Block `signals` and have them delivered to on_signal. Once per loop. */
int loop_signals(struct loop *loop, const sigset_t *signals,
		 void (*on_signal)(void *context, int signal), void *context);

/* Serve until loop_quit. */
int loop_run(struct loop *loop);
void loop_quit(struct loop *loop);
/* One pass: wait at most `timeout_ms` (-1: for ever), then serve what is ready. */
int loop_step(struct loop *loop, int timeout_ms);
