// SPDX-License-Identifier: Apache-2.0
/*
 * Requests to a dext have deadlines: Start and NewUserClient the start timeout, Stop the stop
 * timeout. One that passes ends the process, because its driver is stuck. While a request is under
 * way a Ping every second finds a process whose event loop is stuck sooner; an idle dext is never
 * woken.
 */

#include <dextd/process/dext.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/log.h>
#include <base/text.h>
#include <dextd/match/bundle.h>
#include <dextd/daemon.h>
#include <dextd/process/launch.h>
#include <dextd/properties.h>
#include <dextd/process/registrar.h>
#include <dextd/process/service.h>
#include <dextd/process/state_watches.h>
#include <dextd/process/watches.h>
#include <protocol/dextd.h>

enum {
	HEARTBEAT_MS = 1000,
	PING_TIMEOUT_MS = 5000,
	EXIT_TIMEOUT_MS = 2000, // after its channel closed
	TERM_TIMEOUT_MS = 1000, // after SIGTERM
};

/* --- requests --- */

static void on_pong(void *context, kern_return_t status, const char *reason, void *msg)
{
	struct dext *dext = context;
	(void)reason;
	(void)msg;
	dext->ping_sent = false;
	if (status == kIOReturnTimeout)
		dext_kill(dext, "its event loop did not answer a Ping for 5 s");
}

static void on_heartbeat(void *context)
{
	struct dext *dext = context;
	const struct DextHost_Ping_Msg msg = { 0 };
	if (dext->n_requests == 0 || dext->ending)
		return;
	if (!dext->ping_sent && conversation_call(&dext->conversation, &DextHost_Ping_Shape, &msg,
						  PING_TIMEOUT_MS, on_pong, dext) == 0)
		dext->ping_sent = true;
	loop_timer_start(&dext->heartbeat, clock_deadline_ns(HEARTBEAT_MS));
}

int dext_request(struct dext *dext, const struct OSMethodShape *shape, const void *msg,
		 uint32_t timeout_ms, channel_reply_fn on_reply, void *context)
{
	int ret = conversation_call(&dext->conversation, shape, msg, timeout_ms, on_reply, context);
	if (ret == 0 && dext->n_requests++ == 0)
		loop_timer_start(&dext->heartbeat, clock_deadline_ns(HEARTBEAT_MS));
	return ret;
}

bool dext_timed_out(IOReturn status, uint64_t deadline_ns)
{
	return status == kIOReturnTimeout && clock_now_ns() >= deadline_ns;
}

void dext_answered(struct dext *dext)
{
	if (--dext->n_requests == 0)
		loop_timer_stop(&dext->heartbeat);
}

/* --- Start --- */

static void on_started(void *context, kern_return_t status, const char *reason, void *msg)
{
	struct service *service = context;
	struct dext *dext = service->dext;
	(void)msg;
	service->n_requests--;
	dext_answered(dext);
	if (dext->conversation.channel == NULL || dext->killed)
		return; // the process is ending: its exit tells the service
	if (dext_timed_out(status, service->start_deadline_ns)) {
		char text[REASON_MAX];
		text_print(text, sizeof(text), "Start did not return within %u ms",
			   dext->daemon->options.start_timeout_ms);
		dext_kill(dext, text);
		return;
	}
	service_start_answered(service, status, reason);
}

static int send_start(struct dext *dext, struct service *service)
{
	struct DextHost_StartService_Msg msg = {
		.service = service->entry->id,
		.provider = service->device->entry->id,
		.personality = service->personality->keys,
		.device = service->device->entry->properties,
		.descriptorsCount = service->handover.n,
	};
	for (unsigned i = 0; i < DEVICE_FDS_MAX; i++)
		msg.descriptors[i] = service->handover.fds[i];
	service->start_waits = false;
	service->start_deadline_ns = clock_deadline_ns(dext->daemon->options.start_timeout_ms);
	int ret = dext_request(dext, &DextHost_StartService_Shape, &msg,
			       dext->daemon->options.start_timeout_ms, on_started, service);
	device_fds_close(&service->handover);
	service->n_requests += ret == 0 ? 1 : 0;
	return ret;
}

static void on_unconfined(void *context)
{
	dext_kill(context, "--require-layers: it did not report its system call filter");
}

/* With a filter required, no driver code runs before the process has reported it. */
static int start_or_wait(struct dext *dext, struct service *service)
{
	uint32_t required = dext->daemon->options.required_layers & SANDBOX_SECCOMP;
	if ((required & ~dext->layers) == 0)
		return send_start(dext, service);
	service->start_waits = true;
	if (dext->confined_by.deadline_ns == 0)
		loop_timer_start(&dext->confined_by,
				 clock_deadline_ns(dext->daemon->options.start_timeout_ms));
	return 0;
}

void dext_confined(struct dext *dext, uint32_t layer)
{
	dext->layers |= layer;
	uint32_t required = dext->daemon->options.required_layers & SANDBOX_SECCOMP;
	if ((required & ~dext->layers) != 0)
		return;
	loop_timer_stop(&dext->confined_by);
	struct service *service;
	list_for_each(service, &dext->services, dext_link) {
		if (service->start_waits && send_start(dext, service) < 0)
			dext_kill(dext, "StartService cannot be sent to it");
	}
}

/* --- the end --- */

static void on_patience(void *context)
{
	struct dext *dext = context;
	if (dext->impatience++ == 0) {
		loop_child_kill(&dext->child, SIGTERM);
		loop_timer_start(&dext->patience, clock_deadline_ns(TERM_TIMEOUT_MS));
		return;
	}
	log_warn("dext %d: it does not exit: SIGKILL", (int)dext->child.pid);
	loop_child_kill(&dext->child, SIGKILL);
}

void dext_end(struct dext *dext)
{
	if (dext->ending)
		return;
	dext->ending = true;
	loop_timer_stop(&dext->heartbeat);
	loop_timer_start(&dext->patience, clock_deadline_ns(EXIT_TIMEOUT_MS));
	conversation_close(&dext->conversation);
}

void dext_kill(struct dext *dext, const char *reason)
{
	if (dext->killed)
		return;
	dext->killed = dext->ending = true;
	loop_timer_stop(&dext->heartbeat);
	if (dext->reason[0] == '\0')
		text_print(dext->reason, sizeof(dext->reason), "%s", reason);
	loop_child_kill(&dext->child, SIGKILL);
}

static void describe_end(struct dext *dext, int status, char *text, size_t room)
{
	if (dext->reason[0] != '\0') {
		text_print(text, room, "%s", dext->reason);
		return;
	}
	if (launch_failure(dext->report_fd, text, room))
		return;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
		text_print(text, room,
			   "killed by SIGSYS: it made a system call that no driver may make");
	else if (WIFSIGNALED(status))
		text_print(text, room, "killed by signal %d (%s)", WTERMSIG(status),
			   strsignal(WTERMSIG(status)));
	else
		text_print(text, room, "exited with status %d", WEXITSTATUS(status));
}

static void dext_free(struct dext *dext)
{
	list_remove(&dext->link);
	watches_end_all(dext);
	state_watches_end_all(dext);
	loop_timer_stop(&dext->heartbeat);
	loop_timer_stop(&dext->patience);
	loop_timer_stop(&dext->confined_by);
	loop_child_remove(&dext->child);
	conversation_close(&dext->conversation);
	close_fdp(&dext->report_fd);
	bundle_unref(dext->bundle);
	free(dext->server_name);
	free(dext);
}

static void on_process_exit(void *context, int status)
{
	struct dext *dext = context;
	struct daemon *daemon = dext->daemon;
	char reason[REASON_MAX];

	/* What it said before it died still counts: DeviceLost, an answer. */
	dext->killed = true;
	if (dext->conversation.channel != NULL)
		channel_dispatch(dext->conversation.channel);
	describe_end(dext, status, reason, sizeof(reason));
	log_debug("dext: %s: %s", dext->server_name, reason);
	conversation_close(&dext->conversation); // ends the calls under way
	while (!list_empty(&dext->services))
		service_process_ended(container_of(dext->services.next, struct service, dext_link),
				      reason);
	dext_free(dext);
	daemon_check_stopped(daemon);
}

static const char *hangup_text(int error)
{
	switch (error) {
	case -ENOBUFS:
		return "it does not read its messages";
	case -ETIMEDOUT:
		return "it does not answer";
	default:
		return "it sent a malformed message";
	}
}

static void on_hangup(void *context, struct channel *channel, int error)
{
	struct dext *dext = context;
	(void)channel;
	if (error < 0 && !dext->killed) {
		log_error("dext %d: %s: %s", (int)dext->child.pid, dext->server_name,
			  hangup_text(error));
		dext_kill(dext, hangup_text(error));
	}
	dext_end(dext); // it closed its channel: it exits now, or is made to
	conversation_close(&dext->conversation);
}

static const struct channel_events events = { .on_hangup = on_hangup };

/* --- launch --- */

static int launch_process(struct dext *dext, int channel_fd)
{
	struct launch_request request = {
		.executable = dext->bundle->executable,
		.directory = dext->bundle->path,
		.fds = { channel_fd, -1 },
		.n_fds = 1,
		.log_level = dext->daemon->options.log_level,
	};
	struct launched launched;
	int ret = launch(&dext->daemon->sandbox, &request, &launched);
	if (ret < 0)
		return ret;
	dext->report_fd = launched.report_fd;
	ret = loop_child_add(dext->daemon->loop, &dext->child, launched.pid, launched.pidfd,
			     on_process_exit, dext);
	if (ret < 0) {
		(void)kill(launched.pid, SIGKILL);
		(void)waitpid(launched.pid, NULL, 0);
	}
	return ret;
}

static int dext_open(struct dext *dext)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	CLEANUP(close_fdp) int theirs = pair[1];
	int ret = conversation_open(&dext->conversation, dext->daemon->loop, pair[0],
				    registrar_methods, &events, dext);
	return ret < 0 ? ret : launch_process(dext, theirs);
}

static int dext_new(struct dext **out, struct daemon *daemon, const struct service *service)
{
	const struct personality *p = service->personality;
	struct dext *dext = calloc(1, sizeof(*dext));
	if (dext == NULL)
		return -ENOMEM;
	dext->daemon = daemon;
	dext->bundle = bundle_ref(p->bundle);
	dext->shared = properties_boolean(p->keys, "IOUserServerOneProcess");
	dext->report_fd = -1;
	list_init(&dext->services);
	list_init(&dext->connections);
	list_init(&dext->watches);
	list_init(&dext->state_watches);
	list_append(&daemon->dexts, &dext->link);
	loop_timer_init(&dext->heartbeat, daemon->loop, on_heartbeat, dext);
	loop_timer_init(&dext->patience, daemon->loop, on_patience, dext);
	loop_timer_init(&dext->confined_by, daemon->loop, on_unconfined, dext);
	dext->layers = daemon->sandbox.layers;
	dext->server_name =
		strdup(personality_string(p, "IOUserServerName", p->bundle->identifier));
	int ret = dext->server_name != NULL ? dext_open(dext) : -ENOMEM;
	if (ret < 0) {
		dext_free(dext);
		return ret;
	}
	*out = dext;
	return 0;
}

static unsigned count_services(const struct dext *dext)
{
	unsigned n = 0;
	const struct service *service;
	list_for_each(service, &dext->services, dext_link)
		n++;
	return n;
}

/* A running process that this service may join. */
static struct dext *find_shared(struct daemon *daemon, const struct service *service)
{
	const struct personality *p = service->personality;
	const char *name = personality_string(p, "IOUserServerName", p->bundle->identifier);
	if (!properties_boolean(p->keys, "IOUserServerOneProcess"))
		return NULL;
	struct dext *dext;
	list_for_each(dext, &daemon->dexts, link) {
		if (dext->shared && !dext->ending && strcmp(dext->server_name, name) == 0 &&
		    strcmp(dext->bundle->path, p->bundle->path) == 0 &&
		    count_services(dext) < DEXT_SERVICES_MAX)
			return dext;
	}
	return NULL;
}

int dext_start_service(struct daemon *daemon, struct service *service)
{
	struct dext *dext = find_shared(daemon, service);
	if (dext == NULL) {
		int ret = dext_new(&dext, daemon, service);
		if (ret < 0)
			return ret;
	}
	service->dext = dext;
	list_append(&dext->services, &service->dext_link);
	if (start_or_wait(dext, service) < 0)
		dext_kill(dext, "StartService cannot be sent to it");
	return 0;
}

/* --- Stop --- */

void dext_release_service(struct dext *dext, struct service *service)
{
	if (count_services(dext) == 1)
		dext_end(dext);
	else if (service->n_requests > 0)
		dext_kill(dext, "it answered StopService before StartService");
	else
		service_process_ended(service, service->reason);
}

static void on_stopped(void *context, kern_return_t status, const char *reason, void *msg)
{
	struct service *service = context;
	struct dext *dext = service->dext;
	(void)reason;
	(void)msg;
	service->n_requests--;
	dext_answered(dext);
	if (dext->conversation.channel == NULL || dext->killed)
		return;
	if (status == kIOReturnTimeout) {
		char text[REASON_MAX];
		text_print(text, sizeof(text), "Stop did not return within %u ms",
			   dext->daemon->options.stop_timeout_ms);
		log_warn("service %llu: %s: %s: it must call the super's Stop",
			 (unsigned long long)service->entry->id, service->entry->name, text);
		dext_kill(dext, text);
		return;
	}
	dext_release_service(dext, service);
}

void dext_stop_service(struct dext *dext, struct service *service)
{
	if (service->stop_sent || dext->ending)
		return; // its end is under way
	if (service->start_waits) {
		dext_release_service(dext, service);
		return;
	}
	const struct DextHost_StopService_Msg msg = {
		.service = service->entry->id,
		.keep = service->goal == SERVICE_RESTART,
	};
	service->stop_sent = true;
	if (dext_request(dext, &DextHost_StopService_Shape, &msg,
			 dext->daemon->options.stop_timeout_ms, on_stopped, service) == 0)
		service->n_requests++;
	else
		dext_kill(dext, "StopService cannot be sent to it");
}
