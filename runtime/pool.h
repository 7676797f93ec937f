/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The workers from the inside, for the other files of this folder: who takes turns, what epoll
 * watches, and how a thread says that it is about to wait.
 *
 * Each worker is an event loop with a lock of its own, which is held for a few instructions and
 * never while foreign code runs, and never two at once. "Locked" names the loop that is meant.
 */

#include <stdbool.h>
#include <stdint.h>

#include <DriverKit/IODispatchQueue.h>
#include <base/list.h>
#include <runtime/worker.h>

struct loop;

/* What every thread knows of itself. */
struct thread_self {
	uint32_t id;              // never 0 once asked for; never used again
	struct loop *loop;        // the one it runs; NULL: it is no worker's thread
	IODispatchQueue *current; // borrowed: the queue it runs on; NULL: none
};

extern _Thread_local struct thread_self self_thread __attribute__((tls_model("initial-exec")));

uint32_t self_id_make(void);

static inline uint32_t self_id(void)
{
	return self_thread.id != 0 ? self_thread.id : self_id_make();
}

/* --- turns --- */

/* The loop of main's thread, which also has the alarms (alarm.h); and starting that of another
 * worker, by number, modulo their limit: 0, or negative errno. */
struct loop *loop_first(void);
int pool_start(unsigned worker, struct loop **loop);

void loop_lock(struct loop *loop);
void loop_unlock(struct loop *loop);

/* The right to run one queue for a while. Whoever schedules it holds the queue; a worker calls run,
 * which gives the queue up or schedules the turn again. */
struct turn {
	struct list link;       // loop.ready
	IODispatchQueue *queue; // borrowed: the one it is embedded in
	void (*run)(struct turn *turn);
};

/* On the loop that the calling thread runs, or the first. */
void pool_schedule(struct turn *turn);
void pool_schedule_locked(struct loop *loop, struct turn *turn);

/* --- what epoll reports --- */

/* `fire` is called with the loop locked: it notes the event and schedules, nothing more. */
struct watch {
	struct list link; // loop.retired
	struct loop *loop;
	void (*fire)(struct watch *watch, uint32_t events);
	void (*destroy)(struct watch *watch);
};

/* epoll_ctl in the watch's loop. 0 or negative errno. */
int pool_watch(int operation, int fd, uint32_t events, struct watch *watch);

/* Destroy a watch whose descriptor was removed, as soon as no thread can hold an event of it. */
void pool_retire(struct watch *watch);

/* --- waiting --- */

/* A thread that is about to wait makes sure that another one runs its loop, and says when that has
 * ended. Not nested. On other threads both do nothing. -EAGAIN: no further thread can be had. */
int pool_begin_wait(void);
void pool_end_wait(void);

/* Leave the worker to another thread, for as long as driver code runs that is to be beside all
 * others: the thread is no worker's until it steps in again. NULL: it was none, or no further
 * thread can be had, and it stays. */
struct loop *pool_step_out(void);
void pool_step_in(struct loop *loop);

/* Wait in the kernel while *word == value. 0, or -ETIMEDOUT after deadline_ns (0: none). */
int futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t deadline_ns);
