/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Everything that decodes what a peer sent. The first byte of the input chooses:
 *
 *	0  the rest is the binary form of a collection
 *	1  a byte that chooses a method of the protocol and request or reply, a byte with a number
 *	   of descriptors, and a body
 *	2  a byte with a number of descriptors, and a packet for a channel that serves the whole
 *	   protocol and waits for a reply
 *
 * What decodes must encode to the same bytes again: each value has one form.
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <objects/binary.h>
#include <protocol/dextd.h>
#include <protocol/peer.h>
#include <wire/channel.h>
#include <wire/codec.h>

#include "message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In a table, beside a oneway method, too: its call is NULL. */
static void refuse_all(void *context, struct channel_call *call, void *msg)
{
	(void)context, (void)msg;
	channel_reply(call, kIOReturnUnsupported, "a fuzz target serves nothing");
}

static const struct channel_method methods[] = {
	{ &DextHost_StartService_Shape, refuse_all },
	{ &DextHost_StopService_Shape, refuse_all },
	{ &DextHost_OpenConnection_Shape, refuse_all },
	{ &DextHost_CloseConnection_Shape, refuse_all },
	{ &DextHost_Ping_Shape, refuse_all },
	{ &DextRegistrar_RegisterService_Shape, refuse_all },
	{ &DextRegistrar_SetProperties_Shape, refuse_all },
	{ &DextRegistrar_CopyProperties_Shape, refuse_all },
	{ &DextRegistrar_SetName_Shape, refuse_all },
	{ &DextRegistrar_AddService_Shape, refuse_all },
	{ &DextRegistrar_RemoveService_Shape, refuse_all },
	{ &DextRegistrar_Confined_Shape, refuse_all },
	{ &DextRegistrar_DeviceLost_Shape, refuse_all },
	{ &DextDirectory_CopyMatchingServices_Shape, refuse_all },
	{ &DextDirectory_CopyEntry_Shape, refuse_all },
	{ &DextDirectory_CopyChildren_Shape, refuse_all },
	{ &DextDirectory_Open_Shape, refuse_all },
	{ &DextDirectory_Close_Shape, refuse_all },
	{ &DextDirectory_Watch_Shape, refuse_all },
	{ &DextDirectory_Unwatch_Shape, refuse_all },
	{ &DextDirectory_CopyExplanation_Shape, refuse_all },
	{ &DextDirectory_Control_Shape, refuse_all },
	{ &DextDirectory_CopyStatus_Shape, refuse_all },
	{ &DextWatcher_ServiceChanged_Shape, refuse_all },
	{ &DextWatcher_ConnectionRestarted_Shape, refuse_all },
	{ &DextWatcher_ConnectionEnded_Shape, refuse_all },
	{ &DextDirectory_KeepAwake_Shape, refuse_all },
	{ &DextHost_ServeDriver_Shape, refuse_all },
	{ &DextPeer_Release_Shape, refuse_all },
	{ &DextHost_WatchChanged_Shape, refuse_all },
	{ &DextRegistrar_WatchServices_Shape, refuse_all },
	{ &DextRegistrar_CopyServiceChanges_Shape, refuse_all },
	{ &DextRegistrar_OpenWatched_Shape, refuse_all },
	{ &DextRegistrar_Unwatch_Shape, refuse_all },
	{ &DextRegistrar_CreateStateItem_Shape, refuse_all },
	{ &DextRegistrar_SetStateItem_Shape, refuse_all },
	{ &DextRegistrar_CopyStateItem_Shape, refuse_all },
	{ &DextRegistrar_WatchState_Shape, refuse_all },
	{ &DextRegistrar_BeginStateWatch_Shape, refuse_all },
	{ &DextDirectory_WatchEntry_Shape, refuse_all },
	{ &DextDirectory_UnwatchEntry_Shape, refuse_all },
	{ &DextWatcher_EntryChanged_Shape, refuse_all },
	{ NULL, NULL },
};

#define N_METHODS (sizeof(methods) / sizeof(methods[0]) - 1)

static void decode_binary(const uint8_t *data, size_t size)
{
	struct binary_buffer again = { .limit = SIZE_MAX / 2 };
	OSObject *object;
	size_t used;

	if (binary_get(data, size, &used, &object) < 0)
		return;
	assert(used <= size && binary_put(&again, object) == 0);
	assert(again.size == used && memcmp(again.data, data, used) == 0);
	binary_buffer_deinit(&again);
	OSObjectRelease(object);
}

static void decode_message(const uint8_t *data, size_t size)
{
	message_decode(methods[(data[0] >> 1) % N_METHODS].shape, data, size);
}

static void on_hangup(void *context, struct channel *channel, int error)
{
	(void)channel, (void)error;
	++*(unsigned *)context;
}

static void on_reply(void *context, kern_return_t status, const char *reason, void *msg)
{
	(void)context;
	assert(reason != NULL && (msg != NULL) == (status == kIOReturnSuccess));
}

static void send_packet(int socket_fd, const uint8_t *data, size_t size, unsigned n_fds)
{
	char control[CMSG_SPACE(sizeof(int) * 32)] = "";
	struct iovec part = { .iov_base = (void *)(uintptr_t)data, .iov_len = size };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

	if (n_fds != 0) { // all of them descriptor 0
		struct cmsghdr *rights = (struct cmsghdr *)(void *)control;

		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
	}
	if (sendmsg(socket_fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return; // larger than the socket takes: nothing was sent
}

static void hear_packet(const uint8_t *data, size_t size)
{
	static const struct channel_events events = { .on_hangup = on_hangup };
	struct DextDirectory_Open_Msg msg = { .entry = 1 };
	struct channel *channel;
	unsigned n_hangups = 0;
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0 ||
	    channel_open(&channel, ends[0], methods, &events, &n_hangups) < 0)
		abort();
	channel_call(channel, &DextDirectory_Open_Shape, &msg, 0, on_reply, NULL);
	send_packet(ends[1], data + 1, size - 1, data[0] % 33);
	channel_dispatch(channel);
	channel_close(channel);
	assert(n_hangups <= 1);
	close_fdp(&ends[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size >= 1 && data[0] == 0)
		decode_binary(data + 1, size - 1);
	else if (size >= 3 && data[0] == 1)
		decode_message(data + 1, size - 1);
	else if (size >= 2 && data[0] == 2)
		hear_packet(data + 1, size - 1);
	return 0;
}
