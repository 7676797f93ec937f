/* SPDX-License-Identifier: Apache-2.0 */

#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <client/fake.h>
#include <protocol/dextd.h>
#include <wire/channel.h>

static _Thread_local bool hung_up; // the client has, or dextd is to

/* --- dextd's methods --- */

static void on_interest_answer(void *context, kern_return_t status, const char *reason, void *msg)
{
	struct fake *fake = context;
	(void)reason;
	(void)msg;
	if (status == kIOReturnSuccess)
		atomic_fetch_add(&fake->n_interest_answered, 1);
}

static void tell(struct fake *fake)
{
	struct DextWatcher_ServiceChanged_Msg msg = {
		.cookie = atomic_exchange(&fake->tell_cookie, 0),
		.entry = atomic_load(&fake->tell_entry),
	};
	struct DextWatcher_EntryChanged_Msg changed = {
		.cookie = atomic_load(&fake->interest),
		.what = atomic_exchange(&fake->tell_what, 0),
		.busy = atomic_load(&fake->tell_busy),
	};
	if (msg.cookie != 0)
		channel_call(fake->channel, &DextWatcher_ServiceChanged_Shape, &msg, 0, NULL, NULL);
	if (changed.what != 0)
		channel_call(fake->channel, &DextWatcher_EntryChanged_Shape, &changed, 0,
			     on_interest_answer, fake);
}

static void serve_entries(struct fake *fake, struct channel_call *call, OSArray **entries)
{
	OSArray *answer = OSArray_withCapacity(1);
	if (fake->entries != NULL) {
		OSObjectRelease(answer);
		OSObjectRetain(fake->entries);
		answer = (OSArray *)(void *)fake->entries; // of whatever class: the client checks
	}
	*entries = answer;
	tell(fake);
	channel_reply(call, kIOReturnSuccess, "");
}

static void on_matching(void *context, struct channel_call *call, void *message)
{
	struct DextDirectory_CopyMatchingServices_Msg *msg = message;
	serve_entries(context, call, &msg->entries);
}

static void on_watch(void *context, struct channel_call *call, void *message)
{
	struct DextDirectory_Watch_Msg *msg = message;
	serve_entries(context, call, &msg->entries);
}

static void on_watch_entry(void *context, struct channel_call *call, void *message)
{
	const struct DextDirectory_WatchEntry_Msg *msg = message;
	struct fake *fake = context;
	atomic_store(&fake->interest, msg->cookie);
	if (fake->entry_unknown)
		channel_reply(call, kIOReturnNotFound, "no such entry");
	else
		channel_reply(call, kIOReturnSuccess, "");
}

static void on_unwatch(void *context, struct channel_call *call, void *message)
{
	(void)message;
	struct fake *fake = context;
	atomic_fetch_add(&fake->n_unwatched, 1);
	channel_reply(call, kIOReturnSuccess, "");
}

static void on_entry(void *context, struct channel_call *call, void *message)
{
	struct fake *fake = context;
	struct DextDirectory_CopyEntry_Msg *msg = message;
	if (fake->entry_unknown) {
		channel_reply(call, kIOReturnNotFound, "no such entry");
		return;
	}
	msg->properties = OSDictionary_withCapacity(1);
	channel_reply(call, kIOReturnSuccess, "");
}

static void on_close(void *context, struct channel_call *call, void *message)
{
	(void)message;
	struct fake *fake = context;
	atomic_fetch_add(&fake->n_closed, 1);
	channel_reply(call, kIOReturnSuccess, "");
}

static void give_sound(struct fake *fake, struct DextDirectory_Open_Msg *msg)
{
	int pair[2];
	fake_drop_connection(fake);
	ck_assert_int_eq(ring_create(&fake->memory_fd), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	fake->socket_fd = pair[0];
	fake->doorbell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fake->generation = 1;
	ck_assert_int_eq(ring_server_open(&fake->ring, fake->memory_fd), 0);
	msg->memory = fcntl(fake->memory_fd, F_DUPFD_CLOEXEC, 0);
	msg->socket = pair[1];
	msg->doorbell = fcntl(fake->doorbell_fd, F_DUPFD_CLOEXEC, 0);
}

static void on_open(void *context, struct channel_call *call, void *message)
{
	struct fake *fake = context;
	struct DextDirectory_Open_Msg *msg = message;
	msg->connection = 77;
	msg->memory = msg->socket = msg->doorbell = -1;
	switch (fake->gift) {
	case GIFT_SOUND:
		give_sound(fake, msg);
		break;
	case GIFT_NOTHING:
		break;
	case GIFT_NO_RING:
	case GIFT_SHRINKABLE:
		msg->memory = memfd_create("no-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		ck_assert_int_eq(ftruncate(msg->memory, 1 << 20), 0);
		if (fake->gift == GIFT_NO_RING)
			fcntl(msg->memory, F_ADD_SEALS, F_SEAL_SHRINK);
		msg->socket = eventfd(0, EFD_CLOEXEC);
		msg->doorbell = eventfd(0, EFD_CLOEXEC);
		break;
	}
	channel_reply(call, kIOReturnSuccess, "");
}

static void on_keep_awake(void *context, struct channel_call *call, void *message)
{
	struct fake *fake = context;
	const struct DextDirectory_KeepAwake_Msg *msg = message;
	atomic_store(&fake->awake, msg->keep);
	if (fake->no_awake)
		channel_reply(call, kIOReturnNotPermitted, "let them sleep");
	else
		channel_reply(call, kIOReturnSuccess, "");
}

static const struct channel_method methods[] = {
	{ &DextDirectory_CopyMatchingServices_Shape, on_matching },
	{ &DextDirectory_CopyEntry_Shape, on_entry },
	{ &DextDirectory_Open_Shape, on_open },
	{ &DextDirectory_Close_Shape, on_close },
	{ &DextDirectory_KeepAwake_Shape, on_keep_awake },
	{ &DextDirectory_Watch_Shape, on_watch },
	{ &DextDirectory_Unwatch_Shape, on_unwatch },
	{ &DextDirectory_WatchEntry_Shape, on_watch_entry },
	{ &DextDirectory_UnwatchEntry_Shape, on_unwatch },
	{ NULL, NULL },
};

/* --- dextd --- */

static void on_hangup(void *context, struct channel *channel, int error)
{
	(void)context;
	(void)channel;
	(void)error;
	hung_up = true;
}

static const struct channel_events events = { .on_hangup = on_hangup };

/* True: readable, or there is news; false: time to stop. */
static bool wait_for(struct fake *fake, int fd, short what)
{
	struct pollfd fds[3] = { { .fd = fd, .events = what },
				 { .fd = fake->stop_fd, .events = POLLIN },
				 { .fd = fake->news_fd, .events = POLLIN } };
	while (poll(fds, 3, -1) < 0)
		continue;
	return fds[1].revents == 0;
}

static void on_news_answer(void *context, kern_return_t status, const char *reason, void *msg)
{
	struct fake *fake = context;
	(void)reason;
	(void)msg;
	if (status == kIOReturnSuccess)
		atomic_fetch_add(&fake->n_news_answered, 1);
}

static void tell_news(struct fake *fake)
{
	uint64_t count;
	if (read(fake->news_fd, &count, sizeof(count)) < 0)
		return;
	/* Taken out before it is told: whoever hears of it may have the next one ready. */
	enum fake_news news = atomic_exchange(&fake->news, NEWS_NONE);
	CLEANUP(close_fdp)
	int socket_fd = news == NEWS_RESTARTED ? atomic_exchange(&fake->news_socket, -1) : -1;
	struct DextWatcher_ConnectionRestarted_Msg restarted = { .connection = 77,
								 .generation = fake->generation,
								 .socket = socket_fd };
	struct DextWatcher_ConnectionEnded_Msg ended = { .connection = 77 };
	switch (news) {
	case NEWS_RESTARTED:
		channel_call(fake->channel, &DextWatcher_ConnectionRestarted_Shape, &restarted, 0,
			     on_news_answer, fake);
		break;
	case NEWS_ENDED:
		channel_call(fake->channel, &DextWatcher_ConnectionEnded_Shape, &ended, 0,
			     on_news_answer, fake);
		break;
	case NEWS_HANGUP:
		hung_up = true;
		break;
	case NEWS_NONE:
		break;
	}
}

static void serve(struct fake *fake, int fd)
{
	struct channel *channel;
	ck_assert_int_eq(fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK), 0);
	ck_assert_int_eq(channel_open(&channel, fd, methods, &events, fake), 0);
	fake->channel = channel;
	hung_up = false;
	while (!hung_up && atomic_load(&fake->manner) == FAKE_SERVES &&
	       wait_for(fake, fd, channel_poll_events(channel))) {
		channel_dispatch(channel);
		tell_news(fake);
	}
	channel_close(channel);
}

static void misbehave(struct fake *fake, enum fake_manner manner, int accepted)
{
	CLEANUP(close_fdp) int fd = accepted;
	char garbage[100];
	memset(garbage, 0x5a, sizeof(garbage));
	if (manner == FAKE_HANGS_UP)
		return;
	if (manner == FAKE_SILENT) { // until the test is over, or the client gives up
		wait_for(fake, fd, 0);
		return;
	}
	if (wait_for(fake, fd, POLLIN) && manner == FAKE_SENDS_GARBAGE)
		send(fd, garbage, sizeof(garbage), MSG_NOSIGNAL);
}

static void *run(void *context)
{
	struct fake *fake = context;
	while (wait_for(fake, fake->listen_fd, POLLIN)) {
		int fd = accept4(fake->listen_fd, NULL, NULL, SOCK_CLOEXEC);
		enum fake_manner manner = atomic_load(&fake->manner);
		if (fd >= 0 && manner == FAKE_SERVES)
			serve(fake, fd);
		else if (fd >= 0)
			misbehave(fake, manner, fd);
	}
	return NULL;
}

void fake_init(struct fake *fake)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	*fake = (struct fake){
		.memory_fd = -1, .socket_fd = -1, .doorbell_fd = -1, .news_socket = -1
	};
	strcpy(fake->folder, "/tmp/dext-client-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(fake->folder));
	snprintf(fake->path, sizeof(fake->path), "%s/socket", fake->folder);
	strcpy(address.sun_path, fake->path);
	fake->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(fake->listen_fd, (const struct sockaddr *)&address, sizeof(address)),
			 0);
	ck_assert_int_eq(listen(fake->listen_fd, 0), 0);
	fake->stop_fd = eventfd(0, EFD_CLOEXEC);
	fake->news_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	setenv("OPENDEXT_SOCKET", fake->path, 1);
	pthread_create(&fake->thread, NULL, run, fake);
}

void fake_deinit(struct fake *fake)
{
	uint64_t one = 1;
	ck_assert_int_eq(write(fake->stop_fd, &one, sizeof(one)), sizeof(one));
	pthread_join(fake->thread, NULL);
	fake_drop_connection(fake);
	close(fake->listen_fd);
	close(fake->stop_fd);
	close(fake->news_fd);
	int news_socket = atomic_load(&fake->news_socket);
	close_fdp(&news_socket);
	unlink(fake->path);
	rmdir(fake->folder);
	OSObjectRelease(fake->entries);
}

/* --- the driver --- */

void fake_drop_connection(struct fake *fake)
{
	fake->ring = ring_server_close(fake->ring);
	close_fdp(&fake->memory_fd);
	close_fdp(&fake->socket_fd);
	close_fdp(&fake->doorbell_fd);
}

static void tell_soon(struct fake *fake, enum fake_news news)
{
	uint64_t one = 1;
	atomic_store(&fake->news, news);
	ck_assert_int_eq(write(fake->news_fd, &one, sizeof(one)), sizeof(one));
}

void fake_hang_up(struct fake *fake)
{
	tell_soon(fake, NEWS_HANGUP);
}

void fake_die(struct fake *fake)
{
	fake->ring = ring_server_close(fake->ring);
	close_fdp(&fake->socket_fd);
}

void fake_succeed(struct fake *fake)
{
	int pair[2];
	ck_assert_int_eq(ring_raise_generation(fake->memory_fd, ++fake->generation, "it died"), 0);
	ck_assert_int_eq(ring_server_open(&fake->ring, fake->memory_fd), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	fake->socket_fd = pair[0];
	atomic_store(&fake->news_socket, pair[1]);
}

void fake_tell_restart(struct fake *fake)
{
	tell_soon(fake, NEWS_RESTARTED);
}

void fake_tell_end(struct fake *fake, const char *reason)
{
	ck_assert_int_eq(ring_abort(fake->memory_fd, kIOReturnAborted, reason), 0);
	tell_soon(fake, NEWS_ENDED);
}

static void *run_driver(void *context)
{
	struct fake_driver *driver = context;
	struct fake *fake = driver->fake;
	struct ring_request request;
	struct ring_reply reply;
	struct pollfd bell = { .fd = fake->doorbell_fd, .events = POLLIN };
	uint64_t count;
	while (!atomic_load(&driver->stop)) {
		if (ring_server_next(fake->ring, &request) == 1) {
			memset(&reply, 0, sizeof(reply));
			if (driver->serve(fake, &request, &reply))
				ring_server_reply(fake->ring, request.slot, &reply);
		} else if (ring_server_sleep(fake->ring) && poll(&bell, 1, -1) > 0) {
			ck_assert_int_ge(read(bell.fd, &count, sizeof(count)), 0);
		}
	}
	return NULL;
}

void fake_driver_start(struct fake_driver *driver, struct fake *fake, fake_serve_fn serve_fn)
{
	*driver = (struct fake_driver){ .fake = fake, .serve = serve_fn };
	pthread_create(&driver->thread, NULL, run_driver, driver);
}

void fake_driver_stop(struct fake_driver *driver)
{
	uint64_t one = 1;
	atomic_store(&driver->stop, true);
	ck_assert_int_eq(write(driver->fake->doorbell_fd, &one, sizeof(one)), sizeof(one));
	pthread_join(driver->thread, NULL);
}

void fake_send(struct fake *fake, const void *bytes, size_t size, int fd)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = size };
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (fd >= 0) {
		msg.msg_control = control.room;
		msg.msg_controllen = sizeof(control.room);
		struct cmsghdr *head = CMSG_FIRSTHDR(&msg);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(head), &fd, sizeof(fd));
	}
	ck_assert_int_eq(sendmsg(fake->socket_fd, &msg, MSG_NOSIGNAL), (ssize_t)size);
}

void fake_send_descriptor(struct fake *fake, uint64_t sequence, int fd)
{
	struct ring_socket_message message = { .kind = RING_SOCKET_DESCRIPTOR,
					       .sequence = sequence };
	fake_send(fake, &message, sizeof(message), fd);
}

void fake_complete(struct fake *fake, uint64_t async, IOReturn status, uint32_t n_scalars)
{
	struct ring_socket_message wake = { .kind = RING_SOCKET_WAKE };
	struct ring_event event = { .async = async, .status = status, .n_scalars = n_scalars };
	for (uint32_t i = 0; i < n_scalars; i++)
		event.scalars[i] = 100 + i;
	int ret = ring_server_event(fake->ring, &event);
	ck_assert_int_ge(ret, 0);
	if (ret == 1)
		fake_send(fake, &wake, sizeof(wake), -1);
}
