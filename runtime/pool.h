/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The worker pool from the inside, for the other files of this folder: who takes turns, what epoll
 * watches, which alarms are set, and how a thread says that it is about to wait.
 *
 * "Locked" means the pool's one lock, which is held for a few instructions and never while foreign
 * code runs.
 */

#include <stdbool.h>
#include <stdint.h>

#include <DriverKit/IODispatchQueue.h>
#include <base/list.h>

/* What every thread knows of itself. */
struct thread_self {
	uint32_t id;              // never 0 once asked for; never used again
	bool is_worker;           // it is inside worker_run's loop
	IODispatchQueue *current; // borrowed: the queue it runs on; NULL: none
};

extern _Thread_local struct thread_self self_thread __attribute__((tls_model("initial-exec")));

uint32_t self_id_make(void);

static inline uint32_t self_id(void)
{
	return self_thread.id != 0 ? self_thread.id : self_id_make();
}

/* --- turns --- */

/* The right to run one queue for a while. Whoever schedules it holds the queue; a worker calls run,
 * which gives the queue up or schedules the turn again. */
struct turn {
	struct list link;       // pool.ready
	IODispatchQueue *queue; // borrowed: the one it is embedded in
	void (*run)(struct turn *turn);
};

void pool_schedule(struct turn *turn);
void pool_schedule_locked(struct turn *turn);

/* --- what epoll reports --- */

/* `fire` is called locked: it notes the event and schedules, nothing more. */
struct watch {
	struct list link; // pool.retired
	void (*fire)(struct watch *watch, uint32_t events);
	void (*destroy)(struct watch *watch);
};

/* epoll_ctl. 0 or negative errno. */
int pool_watch(int operation, int fd, uint32_t events, struct watch *watch);

/* Destroy a watch whose descriptor was removed, as soon as no thread can hold an event of it. */
void pool_retire(struct watch *watch);

/* --- alarms --- */

/* `fire` as above, once, with the alarm unset. */
struct alarm {
	struct list link; // pool.alarms
	uint64_t deadline_ns;
	void (*fire)(struct alarm *alarm);
};

void alarm_init(struct alarm *alarm, void (*fire)(struct alarm *alarm));
void pool_set_alarm_locked(struct alarm *alarm, uint64_t deadline_ns); // 0: unset

void pool_lock(void);
void pool_unlock(void);

/* --- waiting --- */

/* A worker that is about to wait makes sure that another one runs the loop, and says when it has
 * ended. Not nested. On other threads both do nothing. -EAGAIN: no further thread can be had. */
int pool_begin_wait(void);
void pool_end_wait(void);

/* Wait in the kernel while *word == value. 0, or -ETIMEDOUT after deadline_ns (0: none). */
int futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t deadline_ns);
