// SPDX-License-Identifier: Apache-2.0
/* CPUs are kept awake for the first who asks (latency.h) until after the last; a driver's priority
 * is raised for its first connection that asks and taken back after the last. */

#include <dextd/client/awake.h>

#include <errno.h>

#include <base/log.h>
#include <base/reason.h>
#include <base/text.h>
#include <dextd/client/connection.h>
#include <dextd/daemon.h>
#include <dextd/latency.h>
#include <dextd/process/dext.h>

static int keep_cpus_awake(struct daemon *daemon, struct connection *c)
{
	if (c->awake)
		return 0;
	daemon->n_awake++;
	int ret = latency_update(daemon);
	c->awake = ret == 0;
	daemon->n_awake -= c->awake ? 0U : 1U;
	return ret;
}

/* One that is about to die is left alone: its number may soon be another's. */
static int raise_priority(struct connection *c)
{
	c->urgent = true;
	return c->dext != NULL && !c->dext->killed ? priority_raise(c->dext) : 0;
}

int awake_hold(struct daemon *daemon, struct connection *c)
{
	char reason[REASON_MAX] = "";
	if (daemon->options.latency_path == NULL) {
		(void)refuse(kIOReturnNotPermitted, "idle CPUs are not kept awake: dextd runs "
						    "without --allow-low-latency");
		return -EPERM;
	}
	int cpus = keep_cpus_awake(daemon, c);
	if (cpus < 0)
		text_print(reason, sizeof(reason), "%s", reason_last());
	int priority = raise_priority(c);
	if (cpus < 0 && priority < 0)
		(void)refuse(kIOReturnNotPermitted,
			     "%s; and the driver keeps its ordinary priority", reason);
	else if (cpus < 0)
		(void)refuse(kIOReturnNotPermitted, "%s", reason);
	return cpus < 0 ? cpus : priority;
}

static bool is_urgent(const struct dext *dext)
{
	const struct connection *c;
	bool urgent = false;
	list_for_each(c, &dext->connections, dext_link)
		urgent = urgent || c->urgent;
	return urgent;
}

void awake_release(struct daemon *daemon, struct connection *c)
{
	bool was_urgent = c->urgent;
	c->urgent = false;
	if (was_urgent && c->dext != NULL && !c->dext->killed && !is_urgent(c->dext))
		priority_restore(c->dext);
	if (!c->awake)
		return;
	c->awake = false;
	daemon->n_awake--;
	if (latency_update(daemon) < 0)
		log_warn("%s", reason_last());
}
