// SPDX-License-Identifier: Apache-2.0
/*
 * A dext without libdext: it speaks to dextd by hand, on descriptor 3, and misbehaves as its own
 * file name says. So a test makes a bundle with the behaviour's name as its executable.
 */

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <DriverKit/OSCollections.h>
#include <base/clock.h>
#include <protocol/dextd.h>
#include <wire/channel.h>

enum { CHANNEL = 3, TIMEOUT_MS = 5000 };

static struct channel *channel;
static const char *behaviour;

static bool is(const char *name)
{
	return strcmp(behaviour, name) == 0;
}

static void on_hangup(void *context, struct channel *gone, int error)
{
	(void)context;
	(void)gone;
	if (!is("stays"))
		_exit(error < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

static const struct channel_events events = { .on_hangup = on_hangup };

static kern_return_t ask(const struct OSMethodShape *shape, void *msg)
{
	return channel_call_sync(channel, shape, msg, TIMEOUT_MS, NULL);
}

static kern_return_t set_number(uint64_t service, const char *key, uint64_t value)
{
	struct DextRegistrar_SetProperties_Msg msg = { .service = service };
	OSNumber *number = OSNumber_withNumber(value, 64);
	msg.properties = OSDictionary_withCapacity(1);
	OSDictionary_setObject(msg.properties, key, OSNumber_as_OSObject(number));
	kern_return_t ret = ask(&DextRegistrar_SetProperties_Shape, &msg);
	OSObjectRelease(number);
	OSObjectRelease(msg.properties);
	return ret;
}

/* What is not its own: each must be refused. The count of refusals becomes a property. */
static void steal(uint64_t service, uint64_t provider)
{
	unsigned refused = 0;
	struct DextRegistrar_RegisterService_Msg reg = { .service = provider };
	struct DextRegistrar_RemoveService_Msg remove_own = { .service = service };
	struct DextRegistrar_RemoveService_Msg remove_root = { .service = 0 };
	struct DextRegistrar_SetName_Msg name = { .service = provider, .name = "mine" };
	struct DextRegistrar_AddService_Msg add = { .parent = provider, .userClass = "X" };
	struct DextRegistrar_CopyProperties_Msg copy = { .service = 0 };
	struct DextRegistrar_SearchProperty_Msg search = { .service = 0, .name = "x" };
	struct DextRegistrar_RemoveProperty_Msg remove = { .service = provider,
							   .name = "IOResourceMatch" };
	struct DextRegistrar_CopyProviderProperties_Msg above = { .service = 0 };

	refused += ask(&DextRegistrar_RegisterService_Shape, &reg) == kIOReturnNotFound;
	refused += ask(&DextRegistrar_RemoveService_Shape, &remove_own) == kIOReturnNotFound;
	refused += ask(&DextRegistrar_RemoveService_Shape, &remove_root) == kIOReturnNotFound;
	refused += ask(&DextRegistrar_SetName_Shape, &name) == kIOReturnNotFound;
	refused += ask(&DextRegistrar_AddService_Shape, &add) == kIOReturnNotFound;
	refused += ask(&DextRegistrar_CopyProperties_Shape, &copy) == kIOReturnNotFound;
	refused += ask(&DextRegistrar_SearchProperty_Shape, &search) == kIOReturnNotFound;
	refused += ask(&DextRegistrar_RemoveProperty_Shape, &remove) == kIOReturnNotFound;
	refused += ask(&DextRegistrar_CopyProviderProperties_Shape, &above) == kIOReturnNotFound;
	refused += set_number(provider, "x", 1) == kIOReturnNotFound;
	set_number(service, "refused", refused);
}

/* More than a dext may have. */
static void grow(uint64_t service)
{
	static char text[40000];
	unsigned added = 0, too_large = 0;
	struct DextRegistrar_AddService_Msg add = { .parent = service, .userClass = "Child" };
	while (added < 1000 && ask(&DextRegistrar_AddService_Shape, &add) == kIOReturnSuccess)
		added++;
	memset(text, 'x', sizeof(text) - 1);
	for (unsigned i = 0; i < 4; i++) {
		char key[2] = { (char)('a' + i), '\0' };
		struct DextRegistrar_SetProperties_Msg msg = { .service = service };
		OSString *string = OSString_withCString(text);
		msg.properties = OSDictionary_withCapacity(1);
		OSDictionary_setObject(msg.properties, key, OSString_as_OSObject(string));
		too_large += ask(&DextRegistrar_SetProperties_Shape, &msg) != kIOReturnSuccess;
		OSObjectRelease(string);
		OSObjectRelease(msg.properties);
	}
	set_number(service, "added", added);
	set_number(service, "tooLarge", too_large);
}

/* What it can reach, as properties. No filter is installed here: this is what dextd itself does. */
static void look_around(uint64_t service)
{
	static const struct {
		const char *key, *path;
	} paths[] = {
		{ "passwd", "/etc/passwd" },   { "folder", "/" },
		{ "temporary", "/tmp" },       { "devices", "/dev" },
		{ "proc", "/proc/self/maps" },
	};
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		int fd = open(paths[i].path, O_RDONLY);
		set_number(service, paths[i].key, fd < 0 ? (uint64_t)errno : 0);
		if (fd >= 0)
			close(fd);
	}
	int fds = 0;
	for (int fd = 0; fd < 1024; fd++)
		fds += fcntl(fd, F_GETFD) >= 0;
	struct rlimit core, memlock;
	getrlimit(RLIMIT_CORE, &core);
	getrlimit(RLIMIT_MEMLOCK, &memlock);
	sigset_t blocked;
	sigprocmask(SIG_SETMASK, NULL, &blocked);
	set_number(service, "descriptors", (uint64_t)fds);
	set_number(service, "core", core.rlim_max);
	set_number(service, "privileges", (uint64_t)prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	set_number(service, "uid", geteuid());
	set_number(service, "blocked", (uint64_t)sigismember(&blocked, SIGTERM));
	set_number(service, "environment", getenv("HOME") != NULL || getenv("PATH") != NULL);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	const struct sockaddr_in address = { .sin_family = AF_INET,
					     .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
					     .sin_port = htons(9) };
	int ret = connect(fd, (const struct sockaddr *)&address, sizeof(address));
	set_number(service, "network", ret < 0 ? (uint64_t)errno : 0);
	close(fd);
}

/* A service on a service, of which the upper is registered; and one beside them. */
static uint64_t branch, leaf, twig;

static void branch_out(uint64_t service)
{
	struct DextRegistrar_AddService_Msg add = { .parent = service, .userClass = "Branch" };
	(void)ask(&DextRegistrar_AddService_Shape, &add);
	branch = add.service;
	add = (struct DextRegistrar_AddService_Msg){ .parent = branch, .userClass = "Leaf" };
	(void)ask(&DextRegistrar_AddService_Shape, &add);
	leaf = add.service;
	add = (struct DextRegistrar_AddService_Msg){ .parent = service, .userClass = "Twig" };
	(void)ask(&DextRegistrar_AddService_Shape, &add);
	twig = add.service;
	struct DextRegistrar_RegisterService_Msg reg = { .service = leaf };
	(void)ask(&DextRegistrar_RegisterService_Shape, &reg);
}

static void count_refusal(void *context, kern_return_t status, const char *reason, void *msg)
{
	static unsigned refused;
	const uint64_t *service = context;
	(void)reason;
	(void)msg;
	refused += status == kIOReturnBadArgument || status == kIOReturnOffline ? 1 : 0;
	if (refused == 3)
		set_number(*service, "refused", refused);
}

/* The end of the twig is announced; the branch goes without, and with it the leaf. */
static void prune(uint64_t service)
{
	static uint64_t self;
	const struct DextRegistrar_EndService_Msg end = { .service = twig };
	const struct DextRegistrar_RegisterService_Msg reg = { .service = twig };
	const struct DextRegistrar_AddService_Msg add = { .parent = twig, .userClass = "Late" };
	struct DextRegistrar_RemoveService_Msg remove = { .service = branch };
	self = service;
	channel_call(channel, &DextRegistrar_EndService_Shape, &end, 0, NULL, NULL);
	channel_call(channel, &DextRegistrar_EndService_Shape, &end, 0, count_refusal, &self);
	channel_call(channel, &DextRegistrar_RegisterService_Shape, &reg, 0, count_refusal, &self);
	channel_call(channel, &DextRegistrar_AddService_Shape, &add, 0, count_refusal, &self);
	channel_call(channel, &DextRegistrar_RemoveService_Shape, &remove, 0, NULL, NULL);
	remove.service = twig;
	channel_call(channel, &DextRegistrar_RemoveService_Shape, &remove, 0, NULL, NULL);
}

static void flood(uint64_t service)
{
	struct DextRegistrar_CopyProperties_Msg msg = { .service = service };
	for (;;)
		channel_call(channel, &DextRegistrar_CopyProperties_Shape, &msg, 0, NULL, NULL);
}

/* Services come and go, and its properties change, much faster than anybody reads of it. */
static void churn(uint64_t service)
{
	for (unsigned i = 1; i <= 1500; i++) {
		struct DextRegistrar_AddService_Msg add = { .parent = service,
							    .userClass = "Child" };
		if (ask(&DextRegistrar_AddService_Shape, &add) != kIOReturnSuccess)
			return;
		struct DextRegistrar_RegisterService_Msg reg = { .service = add.service };
		struct DextRegistrar_RemoveService_Msg rem = { .service = add.service };
		ask(&DextRegistrar_RegisterService_Shape, &reg);
		ask(&DextRegistrar_RemoveService_Shape, &rem);
		set_number(service, "churned", i);
	}
}

static void send_raw(const void *data, size_t size)
{
	(void)!send(CHANNEL, data, size, MSG_NOSIGNAL);
	pause(); // to be killed
}

static void start(void *context, struct channel_call *call, void *message)
{
	static const uint8_t unknown[96] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	const struct DextHost_StartService_Msg *msg = message;
	(void)context;
	if (is("silent"))
		return;
	if (is("dies"))
		abort();
	if (is("garbage"))
		send_raw("garbage", 7);
	if (is("unknown"))
		send_raw(unknown, sizeof(unknown));
	if (is("floods"))
		flood(msg->service);
	if (is("refuses")) {
		channel_reply(call, kIOReturnNotResponding, "the dongle is missing");
		return;
	}
	if (is("steals"))
		steal(msg->service, msg->provider);
	if (is("looks"))
		look_around(msg->service);
	if (is("grows"))
		grow(msg->service);
	if (is("prunes"))
		branch_out(msg->service);
	if (is("confined")) {
		const struct DextRegistrar_Confined_Msg confined = { .layer = "seccomp" };
		channel_call(channel, &DextRegistrar_Confined_Shape, &confined, 0, NULL, NULL);
	}
	/* Before Start has returned: deferred by dextd. */
	struct DextRegistrar_RegisterService_Msg reg = { .service = msg->service };
	channel_call(channel, &DextRegistrar_RegisterService_Shape, &reg, TIMEOUT_MS, NULL, NULL);
	channel_reply(call, kIOReturnSuccess, NULL);
}

static void stop(void *context, struct channel_call *call, void *message)
{
	(void)context;
	(void)message;
	if (!is("never-stops"))
		channel_reply(call, kIOReturnSuccess, NULL);
}

static void open_connection(void *context, struct channel_call *call, void *message)
{
	const struct DextHost_OpenConnection_Msg *msg = message;
	(void)context;
	if (is("churns"))
		churn(msg->service);
	if (is("prunes"))
		prune(msg->service);
	if (is("hangs-in-open"))
		return;
	if (is("dies-in-open"))
		_exit(3);
	if (is("refuses-open"))
		channel_reply(call, kIOReturnUnsupported, "no clients today");
	else
		channel_reply(call, kIOReturnSuccess, NULL);
}

static void answer(void *context, struct channel_call *call, void *message)
{
	(void)context;
	(void)message;
	channel_reply(call, kIOReturnSuccess, NULL);
}

static const struct channel_method methods[] = {
	{ &DextHost_StartService_Shape, start },
	{ &DextHost_StopService_Shape, stop },
	{ &DextHost_OpenConnection_Shape, open_connection },
	{ &DextHost_CloseConnection_Shape, answer },
	{ &DextHost_ServeDriver_Shape, answer },
	{ &DextHost_SetPowerState_Shape, answer },
	{ &DextHost_Ping_Shape, answer },
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	behaviour = slash != NULL ? slash + 1 : "";
	if (is("exits"))
		return 5;
	if (channel_open(&channel, CHANNEL, methods, &events, NULL) < 0)
		return EXIT_FAILURE;
	if (is("announces")) { // the filter, before anything is asked
		const struct DextRegistrar_Confined_Msg confined = { .layer = "seccomp" };
		channel_call(channel, &DextRegistrar_Confined_Shape, &confined, 0, NULL, NULL);
	}
	for (;;) {
		struct pollfd p = { .fd = channel_fd(channel),
				    .events = channel_poll_events(channel) };
		(void)poll(&p, 1, -1);
		channel_dispatch(channel);
		channel_expire(channel, clock_now_ns());
	}
}
