/* SPDX-License-Identifier: Apache-2.0 */

#include <time.h>

#include <base/clock.h>
#include <base/reason.h>
#include <client/turn.h>
#include <opendext/client.h>

void turn_init(struct turn *turn)
{
	pthread_mutex_init(&turn->lock, NULL);
	pthread_cond_init(&turn->given, NULL);
	turn->taken = false;
}

void turn_deinit(struct turn *turn)
{
	pthread_cond_destroy(&turn->given);
	pthread_mutex_destroy(&turn->lock);
}

kern_return_t turn_take(struct turn *turn, const char *what)
{
	uint64_t deadline = clock_deadline_ns(dext_call_timeout_get());
	struct timespec until = {
		.tv_sec = (time_t)(deadline / 1000000000U),
		.tv_nsec = (long)(deadline % 1000000000U),
	};
	int error = 0;
	pthread_mutex_lock(&turn->lock);
	while (turn->taken && error == 0)
		error = pthread_cond_clockwait(&turn->given, &turn->lock, CLOCK_MONOTONIC, &until);
	bool mine = !turn->taken;
	turn->taken = true;
	pthread_mutex_unlock(&turn->lock);
	if (!mine)
		return refuse(kIOReturnTimeout, "another thread's %s did not come back in time",
			      what);
	return kIOReturnSuccess;
}

bool turn_try(struct turn *turn)
{
	pthread_mutex_lock(&turn->lock);
	bool mine = !turn->taken;
	turn->taken = true;
	pthread_mutex_unlock(&turn->lock);
	return mine;
}

void turn_give(struct turn *turn)
{
	pthread_mutex_lock(&turn->lock);
	turn->taken = false;
	pthread_mutex_unlock(&turn->lock);
	pthread_cond_signal(&turn->given);
}
