/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The channel is opened, used and closed by who has the turn. A hang-up is only noted while a
 * channel function runs, and acted on when it has returned.
 *
 * dextd tells news of connections one at a time. News of one that is being opened here, and is not
 * known yet, stays unanswered until that open is over.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <base/cleanup.h>
#include <base/log.h>
#include <base/reason.h>
#include <client/directory.h>
#include <client/interest.h>
#include <client/notification.h>
#include <client/restart.h>
#include <client/turn.h>
#include <opendext/client.h>
#include <wire/channel.h>

#define DEFAULT_PATH "/run/opendext/socket"

static struct turn turn = TURN_INITIALIZER;
static struct channel *channel; // turn; NULL: not connected
static bool hung_up;            // turn
static const char *given_path;
static _Atomic uint64_t epoch = 1;

static void on_service_changed(void *context, struct channel_call *call, void *message)
{
	(void)context;
	(void)call;
	const struct DextWatcher_ServiceChanged_Msg *msg = message;
	notification_service_changed(msg->cookie, msg->entry);
}

static void on_entry_changed(void *context, struct channel_call *call, void *message)
{
	(void)context;
	const struct DextWatcher_EntryChanged_Msg *msg = message;
	interest_told(msg->cookie, msg->what, msg->busy);
	channel_reply(call, kIOReturnSuccess, NULL);
}

/* News that is not answered yet. */
static struct {
	struct channel_call *call;                             // turn; NULL: none
	struct DextWatcher_ConnectionRestarted_Msg *restarted; // the call's, or:
	struct DextWatcher_ConnectionEnded_Msg *ended;
} news;
static _Atomic bool news_waits;

/* Hand it on, and answer. */
static void settle_news(void)
{
	if (news.call == NULL)
		return;
	bool taken;
	if (news.restarted != NULL) {
		taken = restart_told(news.restarted->connection, news.restarted->generation,
				     news.restarted->socket);
		news.restarted->socket = taken ? -1 : news.restarted->socket;
	} else {
		taken = restart_told_end(news.ended->connection);
	}
	atomic_store(&news_waits, !taken);
	if (!taken)
		return;
	channel_reply(news.call, kIOReturnSuccess, NULL);
	news.call = NULL;
}

static void on_connection_restarted(void *context, struct channel_call *call, void *message)
{
	(void)context;
	if (news.call != NULL) {
		channel_reply(call, kIOReturnBusy, "one after the other");
		return;
	}
	news.call = call;
	news.restarted = message;
	news.ended = NULL;
	settle_news();
}

static void on_connection_ended(void *context, struct channel_call *call, void *message)
{
	(void)context;
	if (news.call != NULL) {
		channel_reply(call, kIOReturnBusy, "one after the other");
		return;
	}
	news.call = call;
	news.restarted = NULL;
	news.ended = message;
	settle_news();
}

static const struct channel_method methods[] = {
	{ &DextWatcher_ConnectionRestarted_Shape, on_connection_restarted },
	{ &DextWatcher_ConnectionEnded_Shape, on_connection_ended },
	{ &DextWatcher_ServiceChanged_Shape, on_service_changed },
	{ &DextWatcher_EntryChanged_Shape, on_entry_changed },
	{ NULL, NULL },
};

static void on_hangup(void *context, struct channel *from, int error)
{
	(void)context;
	(void)from;
	if (error < 0)
		log_warn("dextd sent a malformed message (%s): disconnected", strerror(-error));
	hung_up = true;
}

static const struct channel_events events = { .on_hangup = on_hangup };

void directory_set_path(const char *path)
{
	given_path = path;
}

static const char *socket_path(void)
{
	const char *path = given_path;
	if (path == NULL)
		path = getenv("OPENDEXT_SOCKET");
	return path != NULL && path[0] != '\0' ? path : DEFAULT_PATH;
}

static kern_return_t refuse_connect(const char *path, int error)
{
	if (error == EACCES || error == EPERM)
		return refuse(kIOReturnNotPrivileged, "%s: this user may not talk to dextd", path);
	if (error == EAGAIN)
		return refuse(kIOReturnTimeout, "dextd at %s does not accept connections", path);
	return refuse(kIOReturnOffline,
		      "no dextd at %s (%s): start it, or name its socket in OPENDEXT_SOCKET", path,
		      strerror(error));
}

/* A blocking connect waits while dextd's backlog is full: at most SO_SNDTIMEO. */
static kern_return_t connect_to(const char *path, int *out)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	uint32_t timeout_ms = dext_call_timeout_get();
	struct timeval limit = {
		.tv_sec = timeout_ms / 1000,
		.tv_usec = (suseconds_t)(timeout_ms % 1000) * 1000,
	};
	if (strlen(path) >= sizeof(address.sun_path))
		return refuse(kIOReturnBadArgument, "%s: a socket's path has at most %zu bytes",
			      path, sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, strlen(path) + 1);

	CLEANUP(close_fdp) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return refuse(return_from_errno(-errno), "no socket: %s", strerror(errno));
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
	    connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return refuse_connect(path, errno);
	if (fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
		return refuse(return_from_errno(-errno), "fcntl: %s", strerror(errno));
	*out = steal_fd(&fd);
	return kIOReturnSuccess;
}

/* With the turn taken. */
static kern_return_t connect_channel(void)
{
	int fd = -1;
	if (channel != NULL)
		return kIOReturnSuccess;
	kern_return_t status = connect_to(socket_path(), &fd);
	if (status != kIOReturnSuccess)
		return status;
	int ret = channel_open(&channel, fd, methods, &events, NULL);
	if (ret < 0)
		return refuse(return_from_errno(ret), "no channel: %s", strerror(-ret));
	return kIOReturnSuccess;
}

/* With the turn taken, after every use. */
static void settle(void)
{
	settle_news();
	if (!hung_up)
		return;
	hung_up = false;
	channel = channel_close(channel);
	atomic_fetch_add(&epoch, 1);
	if (news.call != NULL)
		channel_reply(news.call, kIOReturnOffline, NULL);
	news.call = NULL;
	atomic_store(&news_waits, false);
	restart_lost_directory();
}

static kern_return_t call(const struct OSMethodShape *shape, void *msg)
{
	char reason[CHANNEL_REASON_MAX] = "";
	uint32_t timeout_ms = dext_call_timeout_get();
	kern_return_t status = connect_channel();
	if (status != kIOReturnSuccess)
		return status;
	status = channel_call_sync(channel, shape, msg, timeout_ms, reason);
	settle();
	if (status == kIOReturnSuccess)
		return status;
	if (reason[0] != '\0')
		reason_set(reason);
	else if (status == kIOReturnTimeout)
		refuse(status, "dextd did not answer %s within %u ms", shape->name, timeout_ms);
	else if (status == kIOReturnOffline)
		refuse(status, "dextd hung up during %s", shape->name);
	else
		refuse(status, "dextd refused %s", shape->name);
	return status;
}

kern_return_t directory_call(const struct OSMethodShape *shape, void *msg)
{
	kern_return_t status = turn_take(&turn, "call to dextd");
	if (status != kIOReturnSuccess)
		return status;
	status = call(shape, msg);
	turn_give(&turn);
	return status;
}

void directory_tell(const struct OSMethodShape *shape, void *msg)
{
	char reason[REASON_MAX];
	memcpy(reason, reason_last(), strlen(reason_last()) + 1);
	if (directory_call(shape, msg) != kIOReturnSuccess)
		log_info("%s: %s", shape->name, reason_last());
	reason_set(reason);
}

void directory_dispatch(void)
{
	if (!turn_try(&turn))
		return;
	if (channel != NULL) {
		channel_dispatch(channel);
		settle();
	}
	turn_give(&turn);
}

/* Whoever waits for the turn comes after who may have looked too early. */
void directory_settle(void)
{
	if (!atomic_load(&news_waits))
		return;
	if (turn_take(&turn, "call to dextd") != kIOReturnSuccess)
		return; // who has it settles at its end
	settle();
	turn_give(&turn);
}

kern_return_t directory_attach(int epoll_fd, uint64_t id)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = id };
	kern_return_t status = turn_take(&turn, "call to dextd");
	if (status != kIOReturnSuccess)
		return status;
	status = connect_channel();
	if (status == kIOReturnSuccess &&
	    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, channel_fd(channel), &event) < 0 && errno != EEXIST)
		status = refuse(return_from_errno(-errno), "epoll: %s", strerror(errno));
	turn_give(&turn);
	return status;
}

uint64_t directory_epoch(void)
{
	return atomic_load(&epoch);
}
