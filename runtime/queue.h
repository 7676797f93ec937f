/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Work, as families and backends use it: queues, descriptors in the event loop, timers, waiting.
 *
 * A worker's thread runs its event loop; a thread that must block hands the loop to another first
 * (worker_wait), so a driver that waits in one queue never stops the others. IODispatchQueue is
 * the public face of struct queue_item and of the functions here.
 */

#include <stdbool.h>
#include <stdint.h>

#include <DriverKit/IODispatchQueue.h>
#include <runtime/alarm.h>

/* Intrusive: embedded in what is queued, so that posting allocates nothing. */
struct queue_item {
	struct queue_item *next;          // queue.c
	void (*run)(struct queue_item *); // on the queue; may free the item
};

/* Post. The item belongs to the queue until `run`. False: the queue is cancelled and the item was
 * not taken. Runs inline when the caller is a worker between two pieces of work and the queue is
 * idle; never inline inside other work. */
bool queue_post(IODispatchQueue *queue, struct queue_item *item);

/* The queue the calling thread is running on; borrowed; NULL: none. */
IODispatchQueue *queue_current(void);

/* On the queue: when the present item returns, other queues have their turn before the next one. */
void queue_yield(IODispatchQueue *queue);

/* On the queue: does a further item, or a thread, wait for it? */
bool queue_is_wanted(IODispatchQueue *queue);

/* Run fn on the queue, held, and wait: inline when idle or already on it; also on a cancelled one.
 * fn ran if 0 is returned. -EDEADLK: the queue's holder waits for one that this thread holds;
 * -EAGAIN: it is busy, and no further thread can be had to run the event loop meanwhile. */
int queue_sync(IODispatchQueue *queue, void (*fn)(void *context), void *context);

/* --- a descriptor in the event loop --- */
struct fd_source;
/* Call fn on `queue` when fd is ready for `events` (EPOLLIN, EPOLLOUT); level-triggered: it is
 * disarmed while fn is queued or running and armed again after. With EPOLLET it is edge-triggered.
 * fd is borrowed and must outlive the source. */
int fd_source_open(struct fd_source **out, int fd, uint32_t events, IODispatchQueue *queue,
		   void (*fn)(void *context, uint32_t ready), void *context);
/* The same, watched by the worker of that number, modulo their limit, which is started for it if
 * need be: it runs the queue itself if it finds it idle. fd_source_open: the first worker. */
int fd_source_open_on(struct fd_source **out, unsigned worker, int fd, uint32_t events,
		      IODispatchQueue *queue, void (*fn)(void *context, uint32_t ready),
		      void *context);
/* On its queue. 0 pauses the source: not even a hang-up is reported. */
int fd_source_set_events(struct fd_source *source, uint32_t events);
/* fn never runs after. Meant for its queue; off it, waits until fn has returned. */
struct fd_source *fd_source_close(struct fd_source *source);
/* Close without waiting, on any thread: `ended` is called, there or elsewhere, under no lock, when
 * fn does not run any more and will not again, and the descriptor may be closed. */
void fd_source_end(struct fd_source *source, void (*ended)(void *context));

/* --- a one-shot timer --- */
struct timer_source;
int timer_source_open(struct timer_source **out, IODispatchQueue *queue, void (*fn)(void *context),
		      void *context);
int timer_source_set(struct timer_source *timer,
		     uint64_t deadline_ns); // CLOCK_MONOTONIC; 0: disarm
/* The same, by another clock, and up to leeway_ns later if the process need not wake up for it. */
int timer_source_set_on(struct timer_source *timer, enum alarm_clock clock, uint64_t deadline_ns,
			uint64_t leeway_ns);
/* fn never runs after. Meant for its queue; off it, waits until fn has returned. */
struct timer_source *timer_source_close(struct timer_source *timer);
/* Close without waiting, on any thread: `ended` is called, there or elsewhere, under no lock, when
 * fn does not run any more and will not again. */
void timer_source_end(struct timer_source *timer, void (*ended)(void *context));

/* --- waiting --- */
/* Wait until *word != value, or deadline_ns (CLOCK_MONOTONIC; 0: for ever, internal use only), with
 * the event loop handed to another thread. 0 or -ETIMEDOUT. Wake with worker_wake after changing
 * it. */
int worker_wait(_Atomic uint32_t *word, uint32_t value, uint64_t deadline_ns);
void worker_wake(_Atomic uint32_t *word);
/* Does anything else wait for the worker whose thread calls: a queue, an alarm, a descriptor? One
 * system call. For whoever looks at memory instead of sleeping. */
bool worker_is_wanted(void);
/* Wait until fd is ready for `events` (POLLIN, POLLOUT), likewise: what an exchange with a device
 * process uses instead of poll(). What comes within a millisecond costs no hand-over. The ready
 * events; 0: deadline_ns has passed; or a negative errno (-EAGAIN: no thread for the event loop).
 */
int worker_poll(int fd, short events, uint64_t deadline_ns);
