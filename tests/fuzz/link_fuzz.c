/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a driver says to its provider, which is a Gauge (tests/stack). The input is a row of frames:
 *
 *	1 byte    the method: of the Gauge, of its Needle, of a service's life, of DextPeer, or none
 *	1 byte    the object: 0 the protocol, 1 the Gauge, others what it may have passed
 *	1 byte    flags: 1 oneway, 2 a reply, 4 with a descriptor
 *	1 byte    words of the body
 *	words     8 bytes each
 *
 * The conversation runs on the queues of this process, whose worker is another thread; each input
 *has a conversation of its own. Afterwards nobody but us holds the Gauge, and no Needle is left.
 */

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <families/remote/link.h>
#include <protocol/peer.h>
#include <runtime/loop.h>
#include <runtime/worker.h>
#include <wire/frame.h>

#include "Gauge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct OSMethodShape *const shapes[] = {
	&Gauge_Read_Shape,       &Gauge_Describe_Shape,       &Gauge_Watch_Shape,
	&Gauge_Reading_Shape,    &Gauge_Complement_Shape,     &Gauge_CopyPage_Shape,
	&Gauge_CopyNeedle_Shape, &Gauge_CopyLastNeedle_Shape, &Gauge_Look_Shape,
	&Gauge_Count_Shape,      &Gauge_Attach_Shape,         &Gauge_Private_Shape,
	&Needle_Move_Shape,      &IOService_Start_Shape,      &IOService_RegisterService_Shape,
	&DextPeer_Release_Shape, &Gauge_Forget_Shape,
};

#define N_SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static void *run(void *unused)
{
	(void)unused;
	worker_run();
	return NULL;
}

/* Before main, with all loops open: they stay open as long as the process. */
__attribute__((constructor)) static void start_worker(void)
{
	pthread_t thread;

	for (unsigned i = 0; i < worker_limit(); i++)
		assert(loop_open(&loops[i]) == 0);
	assert(pthread_create(&thread, NULL, run, NULL) == 0);
	pthread_detach(thread);
}

static size_t send_one(int fd, const uint8_t *data, size_t size)
{
	uint64_t words[255];
	size_t n = data[3];
	struct frame frame = {
		.method = data[0] < N_SHAPES ? shapes[data[0]]->id : data[0],
		.object = data[1],
		.transaction = (data[2] & 1) != 0 ? 0 : 7,
		.flags = (data[2] & 2) != 0 ? FRAME_REPLY : 0,
		.body = words,
		.body_size = n * sizeof(words[0]),
	};

	if (n * sizeof(words[0]) > size - 4)
		return size;
	memcpy(words, data + 4, n * sizeof(words[0]));
	if ((data[2] & 4) != 0)
		frame.fds[frame.n_fds++] = STDIN_FILENO;
	if (frame_send(fd, &frame) < 0)
		return size; // it hung up, or does not read
	return 4 + n * sizeof(words[0]);
}

/* What it answers, until it has hung up. */
static void hear_all(int fd)
{
	static uint8_t buffer[FRAME_MAX];
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct frame frame;
	int ret;

	do {
		ret = frame_receive(fd, buffer, &frame);
		for (unsigned i = 0; ret > 0 && i < frame.n_fds; i++)
			close_fdp(&frame.fds[i]);
		assert(ret != -EAGAIN || poll(&p, 1, 20000) == 1);
	} while (ret > 0 || ret == -EAGAIN);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct remote_link *link = NULL;
	Gauge *gauge = OSTypeAlloc(Gauge);
	int pair[2];

	assert(gauge != NULL && Gauge_init(gauge));
	assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	assert(remote_link_open(&link, pair[0], Gauge_as_OSObject(gauge), NULL, NULL) == 0);
	while (size >= 4) {
		size_t used = send_one(pair[1], data, size);
		data += used;
		size -= used;
	}
	assert(shutdown(pair[1], SHUT_WR) == 0);
	hear_all(pair[1]);
	close(pair[1]);
	remote_link_close(link);
	OSObjectRelease(gauge);
	return 0;
}
