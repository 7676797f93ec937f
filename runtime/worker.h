/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The threads that do the process's work. main() lends its own and gets it back at worker_stop();
 * others are made when a worker has to wait and nobody is left to run the event loop.
 */

/* Run the calling thread as a worker until worker_stop(). 0; -EBUSY: stopped, but other workers are
 * still inside driver code; another negative errno: there is no event loop. */
int worker_run(void);

/* Make worker_run return, when the pieces of work that run now have ended. Any thread. */
void worker_stop(void);
