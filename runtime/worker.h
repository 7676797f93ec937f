/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The workers, which do the process's work: event loops, each run by one thread at a time. main()
 * lends its thread to the first and gets it back at worker_stop(); others are made when a thread
 * has to wait and nobody is left to run its loop, and for a further worker.
 */

enum { WORKERS_MAX = 4 };

/* How many workers this process may have: one for each CPU, WORKERS_MAX at most. It begins with
 * one; fd_source_open_on starts the others. */
unsigned worker_limit(void);

/* Run the calling thread as a worker until worker_stop(). 0; -EBUSY: stopped, but other workers are
 * still inside driver code; another negative errno: there is no event loop. */
int worker_run(void);

/* Make worker_run return, when the pieces of work that run now have ended. Any thread. */
void worker_stop(void);
