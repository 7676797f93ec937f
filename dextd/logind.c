// SPDX-License-Identifier: Apache-2.0
/*
 * A delay inhibitor is a descriptor: as long as it is open, logind puts the sleep off. It is taken
 * in advance, given back when the drivers have settled, and taken anew after each sleep.
 *
 * The bus is one more descriptor in the loop. Nothing waits for an answer of it; when it ends, the
 * machine's sleep is not followed any more, and a machine that seems to sleep has woken.
 */

#include <dextd/logind.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include <systemd/sd-bus.h>

#include <base/cleanup.h>
#include <base/log.h>
#include <dextd/daemon.h>

static const char destination[] = "org.freedesktop.login1", path[] = "/org/freedesktop/login1",
		  interface[] = "org.freedesktop.login1.Manager";

struct logind {
	struct daemon *daemon;
	sd_bus *bus; // owned; NULL: it has ended
	struct loop_fd source;
	struct loop_hook hook;
	struct loop_timer timer;
	struct power_waiter waiter;
	bool waiting;     // the waiter does
	int inhibitor_fd; // owned; -1: none
};

/* --- the loop --- */

static void close_bus(struct logind *l)
{
	loop_hook_remove(&l->hook);
	loop_fd_remove(&l->source);
	loop_timer_stop(&l->timer);
	l->bus = sd_bus_close_unref(l->bus);
	close_fdp(&l->inhibitor_fd);
}

static void process(struct logind *l)
{
	int ret;
	do
		ret = sd_bus_process(l->bus, NULL);
	while (ret > 0);
	if (ret == 0)
		return;
	log_warn("the machine's sleep is not followed any more: the system bus: %s",
		 strerror(-ret));
	close_bus(l);
	power_set_asleep(l->daemon, false, NULL);
}

static void on_ready(void *context, uint32_t events)
{
	(void)events;
	process(context);
}

static void on_time(void *context)
{
	process(context);
}

/* What the bus waits for, in terms of the loop. */
static void prepare(void *context)
{
	struct logind *l = context;
	int events = sd_bus_get_events(l->bus);
	uint64_t until_us = UINT64_MAX;
	if (events >= 0)
		(void)loop_fd_set_events(&l->source, (events & POLLIN ? EPOLLIN : 0U) |
							     (events & POLLOUT ? EPOLLOUT : 0U));
	if (sd_bus_get_timeout(l->bus, &until_us) < 0 || until_us == UINT64_MAX)
		loop_timer_stop(&l->timer);
	else
		loop_timer_start(&l->timer, until_us == 0 ? 1 : until_us * 1000);
}

/* --- the inhibitor --- */

static int on_inhibited(sd_bus_message *reply, void *context, sd_bus_error *error)
{
	struct logind *l = context;
	const sd_bus_error *refused = sd_bus_message_get_error(reply);
	int fd = -1;
	(void)error;
	int ret = refused != NULL ? -EACCES : sd_bus_message_read(reply, "h", &fd);
	if (ret >= 0) {
		close_fdp(&l->inhibitor_fd);
		l->inhibitor_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0); // the message's own goes with it
		ret = l->inhibitor_fd < 0 ? -errno : 0;
	}
	if (ret < 0)
		log_warn("the machine's sleep will not wait for the drivers: %s",
			 refused != NULL ? refused->message : strerror(-ret));
	return 0;
}

static void inhibit(struct logind *l)
{
	int ret = sd_bus_call_method_async(l->bus, NULL, destination, path, interface, "Inhibit",
					   on_inhibited, l, "ssss", "sleep", "dextd",
					   "drivers save what their devices forget", "delay");
	if (ret < 0)
		log_warn("the machine's sleep will not wait for the drivers: %s", strerror(-ret));
}

static void on_settled(struct power_waiter *waiter, IOReturn status)
{
	struct logind *l = container_of(waiter, struct logind, waiter);
	(void)status;
	l->waiting = false;
	close_fdp(&l->inhibitor_fd);
}

static int on_signal(sd_bus_message *signal, void *context, sd_bus_error *error)
{
	struct logind *l = context;
	int asleep = 0;
	(void)error;
	int ret = sd_bus_message_read(signal, "b", &asleep);
	if (ret < 0) {
		log_warn("logind's PrepareForSleep cannot be read: %s", strerror(-ret));
		return 0;
	}
	struct power_waiter *waiter = asleep != 0 && !l->waiting ? &l->waiter : NULL;
	l->waiting = l->waiting || waiter != NULL;
	power_set_asleep(l->daemon, asleep != 0, waiter);
	if (asleep == 0)
		inhibit(l);
	return 0;
}

/* --- life --- */

static int start(struct logind *l)
{
	int ret = sd_bus_open_system(&l->bus);
	if (ret >= 0)
		ret = sd_bus_match_signal_async(l->bus, NULL, destination, path, interface,
						"PrepareForSleep", on_signal, NULL, l);
	int fd = ret >= 0 ? sd_bus_get_fd(l->bus) : ret;
	ret = fd < 0 ? fd : loop_fd_add(l->daemon->loop, &l->source, fd, 0, on_ready, l);
	if (ret < 0)
		return ret;
	loop_hook_add(l->daemon->loop, &l->hook, prepare, l);
	inhibit(l);
	return 0;
}

void logind_start(struct logind **out, struct daemon *daemon)
{
	struct logind *l = calloc(1, sizeof(*l));
	*out = l;
	if (l == NULL) {
		log_error("no memory to follow the machine's sleep");
		return;
	}
	l->daemon = daemon;
	l->inhibitor_fd = -1;
	l->waiter.settled = on_settled;
	list_init(&l->waiter.link);
	loop_timer_init(&l->timer, daemon->loop, on_time, l);
	int ret = start(l);
	if (ret >= 0)
		return;
	log_warn("the machine's sleep is not followed: no system bus: %s", strerror(-ret));
	l->bus = sd_bus_close_unref(l->bus);
	free(l);
	*out = NULL;
}

struct logind *logind_stop(struct logind *l)
{
	if (l == NULL)
		return NULL;
	if (l->bus != NULL)
		close_bus(l);
	list_remove(&l->waiter.link);
	free(l);
	return NULL;
}
