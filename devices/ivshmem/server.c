/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One message in, one message out. A row of `commands` says what a command is called for, how much
 * payload it needs at least, and who answers it. A handler writes its reply's payload, or returns
 * an errno that becomes the refusal.
 *
 * A client that has begun a message gets RECEIVE_MS to finish it.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <backends/vfio_user/protocol.h>
#include <base/cleanup.h>
#include <devices/ivshmem/server.h>

enum { RECEIVE_MS = 1000, DATA_MAX = 64 * 1024, FDS_MAX = 8, N_IRQS = 5 };

struct message {
	struct vfio_user_header header;
	uint8_t payload[DATA_MAX + 256];
	size_t size; // of the payload
	int fd;      // borrowed: sent with a reply; -1: none
};

static const struct {
	const char *name;
	enum misbehaviour misbehaviour;
	bool on_doorbell;
} misbehaviours[] = {
	{ "bar-larger-than-file", BAR_LARGER_THAN_FILE, false },
	{ "truncate-after-map", TRUNCATE_AFTER_MAP, true },
	{ "hangup", HANG_UP, false },
	{ "garbage", GARBAGE, false },
	{ "silent", SILENT, false },
	{ "hangup-on-doorbell", HANG_UP, true },
	{ "garbage-on-doorbell", GARBAGE, true },
	{ "silent-on-doorbell", SILENT, true },
};

bool server_misbehave(struct server *server, const char *name)
{
	for (size_t i = 0; i < sizeof(misbehaviours) / sizeof(misbehaviours[0]); i++) {
		if (strcmp(name, misbehaviours[i].name) != 0)
			continue;
		server->misbehaviour = misbehaviours[i].misbehaviour;
		server->on_doorbell = misbehaviours[i].on_doorbell;
		return true;
	}
	return false;
}

const char *server_misbehaviour_name(unsigned index)
{
	return index < sizeof(misbehaviours) / sizeof(misbehaviours[0]) ? misbehaviours[index].name
									: NULL;
}

void server_init(struct server *server, int memory_fd, uint64_t memory_size)
{
	*server = (struct server){ .connection_fd = -1 };
	card_init(&server->card, memory_fd, memory_size);
}

void server_attach(struct server *server, int fd)
{
	const struct timeval limit = { .tv_sec = RECEIVE_MS / 1000 };
	server_detach(server);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	server->connection_fd = fd;
}

void server_detach(struct server *server)
{
	close_fdp(&server->connection_fd);
	card_reset(&server->card);
	server->card.n_doorbells = 0;
}

/* --- what the commands do --- */

static int get_version(struct server *server, const struct message *in, struct message *out)
{
	static const char capabilities[] =
		"{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":65536}}";
	struct vfio_user_version version;
	(void)server;
	memcpy(&version, in->payload, sizeof(version));
	if (version.major != 0)
		return EINVAL;
	version.minor = 0;
	memcpy(out->payload, &version, sizeof(version));
	memcpy(out->payload + sizeof(version), capabilities, sizeof(capabilities));
	out->size = sizeof(version) + sizeof(capabilities);
	return 0;
}

static int get_info(struct server *server, const struct message *in, struct message *out)
{
	const struct vfio_user_device_info info = {
		.argsz = sizeof(info),
		.flags = VFIO_USER_DEVICE_RESETS | VFIO_USER_DEVICE_PCI,
		.num_regions = CARD_N_REGIONS,
		.num_irqs = N_IRQS,
	};
	(void)server;
	(void)in;
	memcpy(out->payload, &info, sizeof(info));
	out->size = sizeof(info);
	return 0;
}

static int get_region_info(struct server *server, const struct message *in, struct message *out)
{
	struct vfio_user_region_info info;
	memcpy(&info, in->payload, sizeof(info));
	if (info.argsz < sizeof(info) || info.index >= CARD_N_REGIONS)
		return EINVAL;
	info = (struct vfio_user_region_info){
		.argsz = sizeof(info),
		.index = info.index,
		.size = card_region_size(&server->card, info.index),
	};
	if (info.size != 0)
		info.flags = VFIO_USER_REGION_READABLE | VFIO_USER_REGION_WRITABLE;
	if (info.index == CARD_BAR2) {
		info.flags |= VFIO_USER_REGION_MAPPABLE;
		out->fd = server->card.memory_fd;
		if (server->misbehaviour == BAR_LARGER_THAN_FILE)
			info.size *= 2;
	}
	memcpy(out->payload, &info, sizeof(info));
	out->size = sizeof(info);
	return 0;
}

static int get_irq_info(struct server *server, const struct message *in, struct message *out)
{
	struct vfio_user_irq_info info;
	(void)server;
	memcpy(&info, in->payload, sizeof(info));
	if (info.index >= N_IRQS)
		return EINVAL;
	info = (struct vfio_user_irq_info){ .argsz = sizeof(info), .index = info.index };
	memcpy(out->payload, &info, sizeof(info));
	out->size = sizeof(info);
	return 0;
}

/* There are no interrupts: only switching them off succeeds. */
static int set_irqs(struct server *server, const struct message *in, struct message *out)
{
	struct vfio_user_irq_set set;
	(void)server;
	(void)out;
	memcpy(&set, in->payload, sizeof(set));
	return set.index < N_IRQS && set.count == 0 ? 0 : EINVAL;
}

static int read_region(struct server *server, const struct message *in, struct message *out)
{
	struct vfio_user_region_access access;
	memcpy(&access, in->payload, sizeof(access));
	if (access.count > DATA_MAX)
		return EINVAL;
	memcpy(out->payload, &access, sizeof(access));
	out->size = sizeof(access) + access.count;
	return card_read(&server->card, access.region, access.offset, out->payload + sizeof(access),
			 access.count);
}

static int write_region(struct server *server, const struct message *in, struct message *out)
{
	struct vfio_user_region_access access;
	memcpy(&access, in->payload, sizeof(access));
	if (in->size - sizeof(access) != access.count)
		return EINVAL;
	memcpy(out->payload, &access, sizeof(access));
	out->size = sizeof(access);
	return card_write(&server->card, access.region, access.offset, in->payload + sizeof(access),
			  access.count);
}

static int reset(struct server *server, const struct message *in, struct message *out)
{
	(void)in;
	(void)out;
	card_reset(&server->card);
	return 0;
}

/* The card does no DMA, so it has nothing to remember. */
static int accept_dma(struct server *server, const struct message *in, struct message *out)
{
	(void)server;
	memcpy(out->payload, in->payload, in->size);
	out->size = in->header.command == VFIO_USER_DMA_UNMAP ? in->size : 0;
	return 0;
}

static const struct {
	enum vfio_user_command command;
	size_t min_size;
	int (*answer)(struct server *server, const struct message *in, struct message *out);
} commands[] = {
	{ VFIO_USER_VERSION, sizeof(struct vfio_user_version), get_version },
	{ VFIO_USER_DMA_MAP, sizeof(struct vfio_user_dma_map), accept_dma },
	{ VFIO_USER_DMA_UNMAP, sizeof(struct vfio_user_dma_unmap), accept_dma },
	{ VFIO_USER_DEVICE_GET_INFO, sizeof(struct vfio_user_device_info), get_info },
	{ VFIO_USER_DEVICE_GET_REGION_INFO, sizeof(struct vfio_user_region_info), get_region_info },
	{ VFIO_USER_DEVICE_GET_IRQ_INFO, sizeof(struct vfio_user_irq_info), get_irq_info },
	{ VFIO_USER_DEVICE_SET_IRQS, sizeof(struct vfio_user_irq_set), set_irqs },
	{ VFIO_USER_REGION_READ, sizeof(struct vfio_user_region_access), read_region },
	{ VFIO_USER_REGION_WRITE, sizeof(struct vfio_user_region_access), write_region },
	{ VFIO_USER_DEVICE_RESET, 0, reset },
};

static int answer(struct server *server, const struct message *in, struct message *out)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (commands[i].command != in->header.command)
			continue;
		return in->size < commands[i].min_size ? EINVAL
						       : commands[i].answer(server, in, out);
	}
	return EINVAL;
}

/* --- messages --- */

/* The client's memory is of no use to the card: what it sends is closed at once. */
static void close_fds(struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n_fds; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			close_fdp(&fd);
		}
	}
}

static bool receive_exact(int fd, void *data, size_t size)
{
	for (size_t done = 0; done < size;) {
		union {
			char room[CMSG_SPACE(FDS_MAX * sizeof(int))];
			struct cmsghdr align;
		} control;
		struct iovec iov = { (char *)data + done, size - done };
		struct msghdr msg = {
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = control.room,
			.msg_controllen = sizeof(control.room),
		};
		ssize_t n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		close_fds(&msg);
		done += (size_t)n;
	}
	return true;
}

static bool receive(int fd, struct message *in)
{
	if (!receive_exact(fd, &in->header, sizeof(in->header)))
		return false;
	uint32_t total = in->header.size;
	if (total < sizeof(in->header) || total - sizeof(in->header) > sizeof(in->payload) ||
	    (in->header.flags & VFIO_USER_TYPE_MASK) != VFIO_USER_TYPE_COMMAND)
		return false;
	in->size = total - sizeof(in->header);
	return receive_exact(fd, in->payload, in->size);
}

static bool send_message(int fd, struct message *out)
{
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov[] = { { &out->header, sizeof(out->header) }, { out->payload, out->size } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	if (out->fd >= 0) {
		memset(&control, 0, sizeof(control));
		msg.msg_control = control.room;
		msg.msg_controllen = sizeof(control.room);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &out->fd, sizeof(int));
	}
	/* The socket's buffer holds more than one message; less sent is a client that is stuck. */
	return sendmsg(fd, &msg, MSG_NOSIGNAL) == (ssize_t)(sizeof(out->header) + out->size);
}

static bool send_reply(struct server *server, const struct message *in, struct message *out,
		       int error)
{
	if ((in->header.flags & VFIO_USER_NO_REPLY) != 0)
		return true;
	if (error != 0) {
		out->size = 0;
		out->fd = -1;
	}
	out->header = (struct vfio_user_header){
		.id = in->header.id,
		.command = in->header.command,
		.size = (uint32_t)(sizeof(out->header) + out->size),
		.flags = VFIO_USER_TYPE_REPLY | (error != 0 ? VFIO_USER_ERROR : 0),
		.error = (uint32_t)error,
	};
	return send_message(server->connection_fd, out);
}

static bool send_garbage(int fd)
{
	uint8_t garbage[64];
	memset(garbage, 0xa5, sizeof(garbage));
	return send(fd, garbage, sizeof(garbage), MSG_NOSIGNAL) == (ssize_t)sizeof(garbage);
}

static bool reply_or_misbehave(struct server *server, const struct message *in, struct message *out,
			       int error)
{
	enum misbehaviour now = server->misbehaviour;
	if (server->on_doorbell && server->card.n_doorbells == 0)
		now = BEHAVE;
	switch (now) {
	case HANG_UP:
		return false;
	case GARBAGE:
		return send_garbage(server->connection_fd);
	case SILENT:
		return true;
	case TRUNCATE_AFTER_MAP:
		if (ftruncate(server->card.memory_fd, 0) < 0)
			fprintf(stderr, "cutting the memory file: %s\n", strerror(errno));
		break;
	case BAR_LARGER_THAN_FILE:
	case BEHAVE:
		break;
	}
	return send_reply(server, in, out, error);
}

void server_dispatch(struct server *server)
{
	static struct message in, out; // large, and one message at a time
	out.size = 0;
	out.fd = -1;
	bool alive = receive(server->connection_fd, &in);
	if (alive)
		alive = reply_or_misbehave(server, &in, &out, answer(server, &in, &out));
	if (!alive)
		server_detach(server);
}
