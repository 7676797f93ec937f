// SPDX-License-Identifier: Apache-2.0
/*
 * Opening, in order: policy, limits, the shared memory and both ends of everything, then the dext;
 * the application is answered when the dext has answered. Either side may die at any step: an
 * opening that lost its application is closed again as soon as the dext has answered.
 *
 * A connection whose dext has died waits, an orphan of its service, for the next one. When that has
 * started, it is asked to go on: with the memory, whose generation is raised first, and the
 * doorbell that there were, and one end of a new socket; the application is told, and given the
 * other end (news.c). One that is not wanted any more, by the new dext or because there is none,
 * has ended: it stays, without an entry, until its application closes it.
 */

#include <dextd/client/connection.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/log.h>
#include <base/text.h>
#include <base/reason.h>
#include <dextd/client/awake.h>
#include <dextd/client/client.h>
#include <dextd/client/interest.h>
#include <dextd/client/news.h>
#include <dextd/daemon.h>
#include <dextd/process/dext.h>
#include <dextd/client/policy.h>
#include <dextd/properties.h>
#include <dextd/process/service.h>
#include <protocol/dextd.h>
#include <wire/ring.h>

static void connection_free(struct connection *c)
{
	awake_release(c->daemon, c);
	if (c->entry != NULL) {
		interest_changed(c->daemon, c->entry->parent, kDextEntryClosed);
		registry_remove(&c->daemon->registry, c->entry);
	}
	list_remove(&c->client_link);
	list_remove(&c->dext_link);
	list_remove(&c->news_link);
	if (c->client != NULL)
		c->client->n_connections--;
	c->daemon->n_connections--;
	close_fdp(&c->memory_fd);
	close_fdp(&c->socket_fd);
	close_fdp(&c->doorbell_fd);
	OSObjectRelease(c->entitlements);
	free(c);
}

static int add_entry(struct connection *c, struct entry *service)
{
	char text[64];
	CLEANUP(properties_releasep) OSDictionary *properties = OSDictionary_withCapacity(2);
	text_print(text, sizeof(text), "pid %d, %s", (int)c->client->pid, c->client->name);
	if (properties == NULL || !properties_set_string(properties, "IOUserClientCreator", text))
		return -ENOMEM;
	int ret = registry_add(&c->daemon->registry, service, ENTRY_CLIENT, "IOUserUserClient",
			       properties, &c->entry);
	if (ret < 0)
		return ret;
	c->entry->service = service->service;
	c->id = c->entry->id;
	return 0;
}

/* `entitlements` is consumed, also on failure. */
static int connection_new(struct connection **out, struct client *client, struct entry *service,
			  uint32_t type, OSDictionary *entitlements)
{
	struct connection *c = calloc(1, sizeof(*c));
	if (c == NULL) {
		OSObjectRelease(entitlements);
		return -ENOMEM;
	}
	c->entitlements = entitlements;
	c->daemon = client->daemon;
	c->client = client;
	c->dext = service->service->dext;
	c->type = type;
	c->generation = 1;
	list_init(&c->news_link);
	c->memory_fd = c->socket_fd = c->doorbell_fd = -1;
	list_append(&client->connections, &c->client_link);
	list_append(&c->dext->connections, &c->dext_link);
	client->n_connections++;
	c->daemon->n_connections++;

	int ret = add_entry(c, service);
	if (ret == 0)
		ret = ring_create(&c->memory_fd);
	if (ret == 0) {
		c->doorbell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		ret = c->doorbell_fd < 0 ? -errno : 0;
	}
	if (ret < 0) {
		connection_free(c);
		return ret;
	}
	*out = c;
	return 0;
}

/* --- closing --- */

static void on_closed(void *context, kern_return_t status, const char *reason, void *msg)
{
	struct connection *c = context;
	struct dext *dext = c->dext;
	(void)reason;
	(void)msg;
	dext_answered(dext);
	if (dext_timed_out(status, c->deadline_ns))
		dext_kill(dext, "the Stop of a user client did not return in time");
	(void)ring_abort(c->memory_fd, kIOReturnAborted, "the connection was closed");
	connection_free(c);
}

static void forget_client(struct connection *c)
{
	if (c->client == NULL)
		return;
	list_remove(&c->client_link);
	list_remove(&c->news_link);
	c->client->n_connections--;
	c->client = NULL;
}

void connection_close(struct connection *c)
{
	forget_client(c);
	if (c->call != NULL || c->closing || c->resuming)
		return; // the dext's answer decides
	c->deadline_ns = clock_deadline_ns(c->daemon->options.stop_timeout_ms);
	const struct DextHost_CloseConnection_Msg msg = { .connection = c->id };
	c->closing = c->dext != NULL &&
		     dext_request(c->dext, &DextHost_CloseConnection_Shape, &msg,
				  c->daemon->options.stop_timeout_ms, on_closed, c) == 0;
	if (!c->closing)
		connection_free(c);
}

struct connection *connection_find(struct client *client, uint64_t id)
{
	struct connection *c;
	list_for_each(c, &client->connections, client_link) {
		if (c->id == id)
			return c;
	}
	return NULL;
}

/* --- the end --- */

/* No dext has it. */
static void leave_dext(struct connection *c)
{
	list_remove(&c->dext_link);
	c->dext = NULL;
	if (c->client == NULL)
		connection_free(c);
}

/* No dext will serve it any more. One that a dext is asked about is freed by the answer, which the
 * end of the channel brings. */
static void end(struct connection *c, const char *reason)
{
	(void)ring_abort(c->memory_fd, kIOReturnAborted, reason);
	awake_release(c->daemon, c);
	close_fdp(&c->socket_fd);
	if (c->entry != NULL)
		registry_remove(&c->daemon->registry, c->entry);
	c->entry = NULL;
	if (c->call == NULL)
		news_of(c);
	if (!c->closing && !c->resuming && c->call == NULL)
		leave_dext(c);
}

static void orphan(struct connection *c, struct service *service)
{
	list_remove(&c->dext_link);
	list_remove(&c->news_link);
	close_fdp(&c->socket_fd);
	list_append(&service->orphans, &c->dext_link);
	c->dext = NULL;
}

void connection_end_below(struct dext *dext, const struct entry *entry, const char *reason)
{
	struct connection *c, *tmp;
	list_for_each_safe(c, tmp, &dext->connections, dext_link) {
		if (c->entry != NULL && registry_is_below(c->entry, entry))
			end(c, reason);
	}
}

void connection_service_left(struct dext *dext, struct service *service, bool keep,
			     const char *reason)
{
	struct connection *c, *tmp;
	list_for_each_safe(c, tmp, &dext->connections, dext_link) {
		if (c->entry == NULL || !registry_is_below(c->entry, service->entry))
			continue;
		if (keep && c->call == NULL && !c->closing && !c->resuming)
			orphan(c, service);
		else
			end(c, reason);
	}
}

void connection_end_orphans(struct service *service, const char *reason)
{
	while (!list_empty(&service->orphans))
		end(container_of(service->orphans.next, struct connection, dext_link), reason);
}

/* --- opening --- */

static int hand_out(struct connection *c)
{
	struct DextDirectory_Open_Msg *msg = c->msg;
	CLEANUP(close_fdp) int memory_fd = fcntl(c->memory_fd, F_DUPFD_CLOEXEC, 0);
	CLEANUP(close_fdp) int doorbell_fd = fcntl(c->doorbell_fd, F_DUPFD_CLOEXEC, 0);
	if (memory_fd < 0 || doorbell_fd < 0)
		return -errno;
	msg->connection = c->id;
	msg->memory = steal_fd(&memory_fd);
	msg->socket = steal_fd(&c->socket_fd);
	msg->doorbell = steal_fd(&doorbell_fd);
	return 0;
}

static void on_opened(void *context, kern_return_t status, const char *reason, void *message)
{
	struct connection *c = context;
	struct dext *dext = c->dext;
	struct channel_call *call = c->call;
	(void)message;
	c->call = NULL;
	dext_answered(dext);
	if (dext_timed_out(status, c->deadline_ns))
		dext_kill(dext, "NewUserClient did not return in time");
	if (status == kIOReturnSuccess && c->entry == NULL) {
		status = kIOReturnOffline;
		reason = "the service has stopped";
	}
	bool opened = status == kIOReturnSuccess;
	if (opened && c->client != NULL && hand_out(c) < 0) {
		status = kIOReturnNoResources;
		reason = "dextd has no descriptor left";
		forget_client(c);
	}
	channel_reply(call, status, reason); // legal for a client that has gone
	if (!opened)
		connection_free(c);
	else if (c->client == NULL)
		connection_close(c); // nobody took it
}

/* With this process's end of a new socket in socket_fd. */
static int ask_dext(struct connection *c, const struct entry *service, channel_reply_fn on_reply)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	CLEANUP(close_fdp) int theirs = pair[1];
	c->socket_fd = pair[0];
	CLEANUP(properties_releasep) OSDictionary *who = client_describe(c->client);
	if (who == NULL ||
	    !OSDictionary_setObject(who, "entitlements", OSDictionary_as_OSObject(c->entitlements)))
		return -ENOMEM;
	const struct DextHost_OpenConnection_Msg msg = {
		.service = service->id,
		.connection = c->id,
		.type = c->type,
		.generation = c->generation,
		.client = who,
		.memory = c->memory_fd,
		.socket = theirs,
		.doorbell = c->doorbell_fd,
	};
	c->deadline_ns = clock_deadline_ns(c->daemon->options.start_timeout_ms);
	return dext_request(c->dext, &DextHost_OpenConnection_Shape, &msg,
			    c->daemon->options.start_timeout_ms, on_reply, c);
}

/* People hear of it where it happened (the log, once in a row) and where they ask (dextctl why). */
static void note_refused(struct service *service, const struct client *client)
{
	char text[REASON_MAX];
	text_print(text, sizeof(text), "%s was refused to pid %d (%s): %s", service->entry->name,
		   (int)client->pid, client->name, reason_last());
	if (strcmp(text, service->refused_open) != 0)
		log_warn("%s", text);
	memcpy(service->refused_open, text, sizeof(text));
}

static IOReturn may_open(struct client *client, const struct entry *entry, uint32_t type,
			 OSDictionary **entitlements)
{
	if (entry == NULL || entry->kind != ENTRY_SERVICE || entry->service == NULL)
		return refuse(kIOReturnNotFound, "no such service");
	struct service *service = entry->service;
	const struct policy_request request = {
		.rules = client->daemon->rules,
		.client = client,
		.personality = service->personality,
		.class_name = entry->user_class,
		.type = type,
	};
	IOReturn ret = policy_may_open(&request, entitlements);
	if (ret != kIOReturnSuccess) {
		note_refused(service, client);
		return ret;
	}
	if (!entry->registered || service->dext == NULL || service->dext->ending)
		return refuse(kIOReturnNotReady, "%s is %s: it cannot be opened now", entry->name,
			      registry_state_name(service->entry->state));
	if (power_is_off(client->daemon, entry))
		return refuse(kIOReturnNotReady, "%s is off: it can be opened when it is on again",
			      entry->name);
	if (client->n_connections >= CONNECTIONS_PER_CLIENT_MAX)
		return refuse(kIOReturnNoResources, "one process may hold %u connections",
			      CONNECTIONS_PER_CLIENT_MAX);
	return kIOReturnSuccess;
}

static unsigned count_opening(const struct client *client)
{
	unsigned n = 0;
	const struct connection *c;
	list_for_each(c, &client->connections, client_link)
		n += c->call != NULL ? 1 : 0;
	return n;
}

void connection_open(struct client *client, struct entry *service, struct channel_call *call,
		     struct DextDirectory_Open_Msg *msg)
{
	msg->memory = msg->socket = msg->doorbell = -1;
	reason_clear();
	CLEANUP(properties_releasep) OSDictionary *entitlements = NULL;
	IOReturn status = may_open(client, service, msg->type, &entitlements);
	if (status == kIOReturnSuccess && count_opening(client) >= CONNECTIONS_OPENING_MAX)
		status = refuse(kIOReturnBusy, "%u opens of this process wait for their answers",
				CONNECTIONS_OPENING_MAX);
	if (status != kIOReturnSuccess) {
		channel_reply(call, status, reason_last());
		return;
	}
	struct connection *c = NULL;
	OSDictionary *held = entitlements;
	entitlements = NULL;
	int ret = connection_new(&c, client, service, msg->type, held);
	if (ret == 0) {
		c->call = call;
		c->msg = msg;
		ret = ask_dext(c, service, on_opened);
		if (ret < 0)
			connection_free(c);
	}
	if (ret < 0)
		channel_reply(call, return_from_errno(ret), reason_last());
}

/* --- going on --- */

/* Has the service left this dext, or is it about to? */
static bool is_leaving(const struct dext *dext, const struct connection *c)
{
	return dext->ending || dext->killed || c->entry->service->stop_sent ||
	       dext->conversation.channel == NULL || !channel_is_open(dext->conversation.channel);
}

static void on_resumed(void *context, kern_return_t status, const char *reason, void *message)
{
	struct connection *c = context;
	struct dext *dext = c->dext;
	char text[REASON_MAX];
	(void)message;
	c->resuming = false;
	dext->n_resuming--;
	dext_answered(dext);
	if (dext_timed_out(status, c->deadline_ns))
		dext_kill(dext, "NewUserClient did not return in time");
	if (c->entry == NULL) {
		leave_dext(c);
	} else if (status != kIOReturnSuccess && !is_leaving(dext, c)) {
		text_print(text, sizeof(text), "the driver died, and the new one refuses: %s%s%s",
			   IOReturnString(status), reason[0] != '\0' ? ": " : "", reason);
		end(c, text);
	} else if (c->client == NULL) {
		connection_close(c);
	} else if (status == kIOReturnSuccess) {
		news_of(c);
	}
	connection_resume_all(dext);
}

static void resume(struct connection *c, struct dext *dext)
{
	list_remove(&c->dext_link);
	list_append(&dext->connections, &c->dext_link);
	c->dext = dext;
	c->generation++;
	int ret = ring_raise_generation(c->memory_fd, c->generation, c->entry->service->last_end);
	if (ret == 0)
		ret = ask_dext(c, c->entry->service->entry, on_resumed);
	if (ret < 0) {
		end(c, "the driver died, and the new one cannot be asked to go on");
		return;
	}
	c->resuming = true;
	dext->n_resuming++;
}

void connection_resume_all(struct dext *dext)
{
	struct service *service;
	list_for_each(service, &dext->services, dext_link) {
		while (service->started && !service->stop_sent && !dext->ending &&
		       dext->n_resuming < CONNECTIONS_RESUMING_MAX &&
		       !list_empty(&service->orphans))
			resume(container_of(service->orphans.next, struct connection, dext_link),
			       dext);
	}
}
