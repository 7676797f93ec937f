// SPDX-License-Identifier: Apache-2.0
/*
 * The socket and those who come to it. A client that does not read what it watches loses its
 * conversation (wire/channel.h bounds the queue), and with it all that it held.
 */

#include <dextd/client/client.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/log.h>
#include <base/reason.h>
#include <dextd/client/connection.h>
#include <dextd/daemon.h>
#include <dextd/client/directory.h>
#include <dextd/client/identity.h>
#include <dextd/client/interest.h>
#include <dextd/client/quiet.h>
#include <dextd/match/match.h>
#include <dextd/properties.h>
#include <protocol/dextd.h>

enum { ACCEPT_PAUSE_MS = 100 };

/* --- watches --- */

static void watch_free(struct watch *watch)
{
	list_remove(&watch->link);
	OSObjectRelease(watch->matching);
	free(watch);
}

int client_watch(struct client *client, enum watch_type type, OSDictionary *matching,
		 uint64_t cookie)
{
	if (client->n_watches >= WATCHES_PER_CLIENT_MAX) {
		(void)refuse(kIOReturnNoResources, "one process may watch %u times",
			     WATCHES_PER_CLIENT_MAX);
		return -ENOSPC;
	}
	if (properties_size(matching) > WATCH_MATCHING_MAX) {
		(void)refuse(kIOReturnOverrun, "a matching dictionary is limited to %u KiB",
			     WATCH_MATCHING_MAX / 1024);
		return -EOVERFLOW;
	}
	struct watch *watch = calloc(1, sizeof(*watch));
	if (watch == NULL)
		return -ENOMEM;
	OSObjectRetain(matching);
	watch->matching = matching;
	watch->type = type;
	watch->cookie = cookie;
	list_append(&client->watches, &watch->link);
	client->n_watches++;
	return 0;
}

int client_unwatch(struct client *client, uint64_t cookie)
{
	int ret = -ENOENT;
	struct watch *watch, *tmp;
	list_for_each_safe(watch, tmp, &client->watches, link) {
		if (watch->cookie != cookie)
			continue;
		watch_free(watch);
		client->n_watches--;
		ret = 0;
	}
	return ret;
}

static void tell(struct client *client, const struct entry *entry, enum watch_type type)
{
	const struct watch *watch;
	list_for_each(watch, &client->watches, link) {
		if (watch->type != type || match_service(entry, watch->matching) != 1)
			continue;
		const struct DextWatcher_ServiceChanged_Msg msg = {
			.cookie = watch->cookie,
			.entry = entry->id,
		};
		if (conversation_call(&client->conversation, &DextWatcher_ServiceChanged_Shape,
				      &msg, 0, NULL, NULL) < 0)
			return; // its end is noticed by the conversation
	}
}

void client_service_changed(struct daemon *daemon, const struct entry *entry, enum watch_type type)
{
	struct client *client;
	list_for_each(client, &daemon->clients, link)
		tell(client, entry, type);
}

/* --- life --- */

static void client_deinit(struct client *client)
{
	close_fdp(&client->pidfd);
	free(client->groups);
	free(client);
}

void client_free(struct client *client)
{
	conversation_close(&client->conversation);
	quiet_client_left(client);
	interest_end_all(client);
	struct connection *c, *tmp;
	list_for_each_safe(c, tmp, &client->connections, client_link)
		connection_close(c);
	while (!list_empty(&client->watches))
		watch_free(container_of(client->watches.next, struct watch, link));
	list_remove(&client->link);
	client->daemon->n_clients--;
	client_deinit(client);
}

OSDictionary *client_describe(const struct client *client)
{
	OSDictionary *who = OSDictionary_withCapacity(4);
	if (who != NULL && properties_set_number(who, "pid", (uint64_t)client->pid) &&
	    properties_set_number(who, "uid", client->uid) &&
	    properties_set_number(who, "gid", client->gid) &&
	    properties_set_string(who, "name", client->name))
		return who;
	OSObjectRelease(who);
	return NULL;
}

static void on_hangup(void *context, struct channel *channel, int error)
{
	struct client *client = context;
	(void)channel;
	if (error < 0)
		log_warn("client %d (%s) broke the protocol: %s", (int)client->pid, client->name,
			 strerror(-error));
	client_free(client);
}

static const struct channel_events events = { .on_hangup = on_hangup };

static void read_name(struct client *client)
{
	char path[32];
	(void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)client->pid);
	CLEANUP(close_fdp) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, client->name, sizeof(client->name) - 1);
	client->name[n > 0 ? n : 0] = '\0';
	client->name[strcspn(client->name, "\n")] = '\0';
	if (!text_is_utf8(client->name, strlen(client->name)))
		client->name[0] = '\0';
}

static unsigned count_of_user(const struct daemon *daemon, uid_t uid)
{
	unsigned n = 0;
	const struct client *client;
	list_for_each(client, &daemon->clients, link)
		n += client->uid == uid ? 1 : 0;
	return n;
}

/* `fd` is consumed. */
static int client_new(struct daemon *daemon, int accepted)
{
	CLEANUP(close_fdp) int fd = accepted;
	struct ucred peer;
	socklen_t size = sizeof(peer);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return -errno;
	if (daemon->n_clients >= CLIENTS_MAX ||
	    count_of_user(daemon, peer.uid) >= CLIENTS_PER_USER_MAX)
		return -EUSERS;

	struct client *client = calloc(1, sizeof(*client));
	if (client == NULL)
		return -ENOMEM;
	client->daemon = daemon;
	client->pid = peer.pid;
	client->uid = peer.uid;
	client->gid = peer.gid;
	client->pidfd = identity_pidfd(fd, peer.pid, peer.uid);
	list_init(&client->connections);
	list_init(&client->watches);
	list_init(&client->waiters);
	list_init(&client->news);
	list_init(&client->interests);
	list_init(&client->due);
	read_name(client);
	int ret = identity_groups(fd, &client->groups, &client->n_groups);
	if (ret == 0)
		ret = conversation_open(&client->conversation, daemon->loop, steal_fd(&fd),
					directory_methods, &events, client);
	if (ret < 0) {
		client_deinit(client);
		return ret;
	}
	list_append(&daemon->clients, &client->link);
	daemon->n_clients++;
	return 0;
}

/* --- the socket --- */

/* Out of descriptors: the next try is later, instead of at once and for ever. */
static void pause_listening(struct daemon *daemon, int error)
{
	log_error("a client cannot be accepted: %s", strerror(error));
	if (loop_fd_set_events(&daemon->listener, 0) == 0)
		loop_timer_start(&daemon->accept_again, clock_deadline_ns(ACCEPT_PAUSE_MS));
}

static void on_accept_again(void *context)
{
	struct daemon *daemon = context;
	(void)loop_fd_set_events(&daemon->listener, EPOLLIN);
}

static void on_connect(void *context, uint32_t ready)
{
	struct daemon *daemon = context;
	(void)ready;
	int fd = accept4(daemon->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0) {
		if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
			pause_listening(daemon, errno);
		return;
	}
	int ret = client_new(daemon, fd);
	if (ret < 0)
		log_warn("a client was turned away: %s", strerror(-ret));
}

/* A socket file that nobody listens on is left over from a death. */
static int remove_stale(const struct sockaddr_un *address)
{
	CLEANUP(close_fdp) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
		return -EADDRINUSE;
	struct stat st;
	if (errno == ECONNREFUSED && lstat(address->sun_path, &st) == 0 && S_ISSOCK(st.st_mode))
		(void)unlink(address->sun_path);
	return 0;
}

/* The folder of the default socket is dextd's own. */
static void make_folder(const char *path)
{
	CLEANUP(freep) char *folder = strdup(path);
	char *slash = folder != NULL ? strrchr(folder, '/') : NULL;
	if (slash == NULL || slash == folder)
		return;
	*slash = '\0';
	(void)mkdir(folder, 0755);
}

static int open_socket(const char *path, int *out)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t length = strlen(path);
	if (length >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, length);
	make_folder(path);
	int ret = remove_stale(&address);
	if (ret < 0)
		return ret;
	CLEANUP(close_fdp)
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* Root's socket is for everybody: who may do what is policy.c's to say. */
	mode_t mask = umask(geteuid() == 0 ? 0111 : 0177);
	ret = bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	(void)umask(mask);
	if (ret == 0 && listen(fd, 128) < 0)
		ret = -errno;
	if (ret == 0)
		*out = steal_fd(&fd);
	return ret;
}

int client_listen(struct daemon *daemon)
{
	const char *path = daemon->options.socket_path;
	loop_timer_init(&daemon->accept_again, daemon->loop, on_accept_again, daemon);
	int ret = open_socket(path, &daemon->listen_fd);
	if (ret == 0)
		ret = loop_fd_add(daemon->loop, &daemon->listener, daemon->listen_fd, EPOLLIN,
				  on_connect, daemon);
	if (ret < 0)
		(void)refuse(return_from_errno(ret), "--socket %s: %s", path,
			     ret == -EADDRINUSE ? "another dextd listens there" : strerror(-ret));
	return ret;
}

void client_unlisten(struct daemon *daemon)
{
	if (daemon->listen_fd < 0)
		return;
	loop_timer_stop(&daemon->accept_again);
	loop_fd_remove(&daemon->listener);
	close_fdp(&daemon->listen_fd);
	(void)unlink(daemon->options.socket_path);
}
