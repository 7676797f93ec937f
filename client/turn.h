/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Taking turns at something that takes long: a lock that is held while a peer is asked, for which
 * others therefore wait at most the call time limit. Any thread.
 */

#include <pthread.h>
#include <stdbool.h>

#include <DriverKit/IOReturn.h>

struct turn {
	pthread_mutex_t lock;
	pthread_cond_t given;
	bool taken; // lock
};

#define TURN_INITIALIZER                                                   \
	{                                                                  \
		PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false \
	}

void turn_init(struct turn *turn);
void turn_deinit(struct turn *turn);

/* kIOReturnTimeout: another thread had it for all that time; `what` says at what, for the reason.
 */
kern_return_t turn_take(struct turn *turn, const char *what);
bool turn_try(struct turn *turn); // never blocks
void turn_give(struct turn *turn);
