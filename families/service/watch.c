// SPDX-License-Identifier: Apache-2.0
#include <families/service/watch.h>

#include <pthread.h>

#include <families/service/host.h>
#include <protocol/dextd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; // held while one is told
static struct list watches = { &watches, &watches };     // lock
static uint64_t last_cookie;                             // lock

void watch_begin(struct watch *watch, void (*changed)(void *context), void *context)
{
	watch->changed = changed;
	watch->context = context;
	pthread_mutex_lock(&lock);
	watch->cookie = ++last_cookie;
	list_append(&watches, &watch->link);
	pthread_mutex_unlock(&lock);
}

void watch_end(struct watch *watch)
{
	const struct DextRegistrar_Unwatch_Msg msg = { .cookie = watch->cookie };

	pthread_mutex_lock(&lock);
	list_remove(&watch->link);
	pthread_mutex_unlock(&lock);
	host_send(&DextRegistrar_Unwatch_Shape, &msg);
}

void watch_tell(uint64_t cookie)
{
	struct watch *watch;

	pthread_mutex_lock(&lock);
	list_for_each(watch, &watches, link)
		if (watch->cookie == cookie)
			watch->changed(watch->context);
	pthread_mutex_unlock(&lock);
}
