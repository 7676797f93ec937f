/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One message in, one message out. A row of `commands` says what a command is called for, how much
 * payload it needs at least, and who answers it. A handler writes its reply's payload, or returns
 * an errno that becomes the refusal; it takes the descriptors that it keeps, and the rest are
 * closed with the message.
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
#include <devices/vfio_user/server.h>

enum { RECEIVE_MS = 1000, DATA_MAX = 64 * 1024, FDS_MAX = 8, N_IRQS = 5 };

struct message {
	struct vfio_user_header header;
	uint8_t payload[DATA_MAX + 256];
	size_t size;      // of the payload
	int fds[FDS_MAX]; // of a received one: owned; -1: none, or taken
	unsigned n_fds;
	int fd; // borrowed: sent with a reply; -1: none
};

static void forget_kind(struct server *server, unsigned kind)
{
	for (unsigned i = 0; i < SERVER_VECTORS_MAX; i++)
		close_fdp(&server->event_fds[kind][i]);
	if (kind == SERVER_INTX)
		server->is_masked = false;
}

void server_init(struct server *server, const struct server_ops *ops, void *function)
{
	*server = (struct server){ .ops = ops, .function = function, .connection_fd = -1 };
	memset(server->event_fds, -1, sizeof(server->event_fds));
	dma_init(&server->dma);
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
	for (unsigned kind = 0; kind < SERVER_N_IRQ_KINDS; kind++)
		forget_kind(server, kind);
	server->wire = false;
	dma_deinit(&server->dma);
	server->ops->reset(server->function);
	if (server->ops->detached != NULL)
		server->ops->detached(server->function);
}

/* --- interrupts --- */

bool server_is_heard(const struct server *server, enum server_irq kind)
{
	for (unsigned i = 0; i < SERVER_VECTORS_MAX; i++)
		if (server->event_fds[kind][i] >= 0)
			return true;
	return false;
}

void server_raise(struct server *server, enum server_irq kind, unsigned vector)
{
	const uint64_t one = 1;
	int fd = server->event_fds[kind][vector];
	if (fd >= 0 && write(fd, &one, sizeof(one)) < 0)
		fprintf(stderr, "raising an interrupt: %s\n", strerror(errno));
}

static void look_at_wire(struct server *server)
{
	if (!server->wire || server->is_masked || server->event_fds[SERVER_INTX][0] < 0)
		return;
	server->is_masked = true;
	server_raise(server, SERVER_INTX, 0);
}

void server_set_wire(struct server *server, bool asserted)
{
	server->wire = asserted;
	look_at_wire(server);
}

/* --- what the commands do --- */

static int get_version(struct server *server, struct message *in, struct message *out)
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

static int get_info(struct server *server, struct message *in, struct message *out)
{
	const struct vfio_user_device_info info = {
		.argsz = sizeof(info),
		.flags = VFIO_USER_DEVICE_RESETS | VFIO_USER_DEVICE_PCI,
		.num_regions = SERVER_N_REGIONS,
		.num_irqs = N_IRQS,
	};
	(void)server;
	(void)in;
	memcpy(out->payload, &info, sizeof(info));
	out->size = sizeof(info);
	return 0;
}

static int get_region_info(struct server *server, struct message *in, struct message *out)
{
	struct vfio_user_region_info info;
	memcpy(&info, in->payload, sizeof(info));
	if (info.argsz < sizeof(info) || info.index >= SERVER_N_REGIONS)
		return EINVAL;
	info = (struct vfio_user_region_info){
		.argsz = sizeof(info),
		.index = info.index,
		.size = server->ops->region_size(server->function, info.index),
	};
	if (info.size != 0)
		info.flags = VFIO_USER_REGION_READABLE | VFIO_USER_REGION_WRITABLE;
	if (server->ops->region_fd != NULL)
		out->fd = server->ops->region_fd(server->function, info.index);
	if (out->fd >= 0)
		info.flags |= VFIO_USER_REGION_MAPPABLE;
	memcpy(out->payload, &info, sizeof(info));
	out->size = sizeof(info);
	return 0;
}

static unsigned n_irqs(const struct server *server, uint32_t kind)
{
	return kind < SERVER_N_IRQ_KINDS ? server->ops->n_irqs(server->function, kind) : 0;
}

static int get_irq_info(struct server *server, struct message *in, struct message *out)
{
	struct vfio_user_irq_info info;
	memcpy(&info, in->payload, sizeof(info));
	if (info.index >= N_IRQS)
		return EINVAL;
	info = (struct vfio_user_irq_info){ .argsz = sizeof(info),
					    .index = info.index,
					    .count = n_irqs(server, info.index) };
	if (info.count > 0)
		info.flags = VFIO_USER_IRQ_EVENTFD;
	if (info.count > 0 && info.index == SERVER_INTX)
		info.flags |= VFIO_USER_IRQ_MASKABLE | VFIO_USER_IRQ_AUTOMASKED;
	memcpy(out->payload, &info, sizeof(info));
	out->size = sizeof(info);
	return 0;
}

/* An eventfd for each vector, or none: then those that there were are forgotten. */
static int set_event_fds(struct server *server, const struct vfio_user_irq_set *set,
			 struct message *in)
{
	if (in->n_fds != 0 && in->n_fds != set->count)
		return EINVAL;
	for (uint32_t i = 0; i < set->count; i++) {
		int *fd = &server->event_fds[set->index][set->start + i];
		close_fdp(fd);
		if (in->n_fds != 0)
			*fd = steal_fd(&in->fds[i]);
	}
	if (set->index == SERVER_INTX) {
		server->is_masked = false;
		look_at_wire(server);
	}
	return 0;
}

static int set_mask(struct server *server, const struct vfio_user_irq_set *set, bool masked)
{
	if (set->index != SERVER_INTX || set->count != 1)
		return EINVAL;
	server->is_masked = masked;
	look_at_wire(server);
	return 0;
}

static int trigger(struct server *server, const struct vfio_user_irq_set *set)
{
	if (set->count == 0)
		forget_kind(server, set->index);
	for (uint32_t i = 0; i < set->count; i++)
		server_raise(server, set->index, set->start + i);
	return 0;
}

static int set_irqs(struct server *server, struct message *in, struct message *out)
{
	struct vfio_user_irq_set set;
	(void)out;
	memcpy(&set, in->payload, sizeof(set));
	if (set.index >= SERVER_N_IRQ_KINDS) // errors and requests, of which there are none
		return set.index < N_IRQS && set.count == 0 ? 0 : EINVAL;
	uint32_t limit = n_irqs(server, set.index);
	if (set.start > limit || set.count > limit - set.start)
		return EINVAL;
	switch (set.flags) {
	case VFIO_USER_IRQ_DATA_EVENTFD | VFIO_USER_IRQ_ACTION_TRIGGER:
		return set_event_fds(server, &set, in);
	case VFIO_USER_IRQ_DATA_NONE | VFIO_USER_IRQ_ACTION_TRIGGER:
		return trigger(server, &set);
	case VFIO_USER_IRQ_DATA_NONE | VFIO_USER_IRQ_ACTION_MASK:
	case VFIO_USER_IRQ_DATA_NONE | VFIO_USER_IRQ_ACTION_UNMASK:
		return set_mask(server, &set, (set.flags & VFIO_USER_IRQ_ACTION_MASK) != 0);
	default:
		return EINVAL;
	}
}

static int read_region(struct server *server, struct message *in, struct message *out)
{
	struct vfio_user_region_access access;
	memcpy(&access, in->payload, sizeof(access));
	if (access.count > DATA_MAX)
		return EINVAL;
	memcpy(out->payload, &access, sizeof(access));
	out->size = sizeof(access) + access.count;
	return server->ops->read(server->function, access.region, access.offset,
				 out->payload + sizeof(access), access.count);
}

static int write_region(struct server *server, struct message *in, struct message *out)
{
	struct vfio_user_region_access access;
	memcpy(&access, in->payload, sizeof(access));
	if (in->size - sizeof(access) != access.count)
		return EINVAL;
	memcpy(out->payload, &access, sizeof(access));
	out->size = sizeof(access);
	return server->ops->write(server->function, access.region, access.offset,
				  in->payload + sizeof(access), access.count);
}

static int reset(struct server *server, struct message *in, struct message *out)
{
	(void)in;
	(void)out;
	server->ops->reset(server->function);
	return 0;
}

static int map_dma(struct server *server, struct message *in, struct message *out)
{
	struct vfio_user_dma_map map;
	int none = -1;
	(void)out;
	memcpy(&map, in->payload, sizeof(map));
	const struct dma_area area = { .address = map.address,
				       .size = map.size,
				       .offset = map.offset,
				       .readable = (map.flags & VFIO_USER_DMA_READABLE) != 0,
				       .writable = (map.flags & VFIO_USER_DMA_WRITABLE) != 0 };
	return dma_map(&server->dma, &area, in->n_fds == 1 ? &in->fds[0] : &none);
}

static int unmap_dma(struct server *server, struct message *in, struct message *out)
{
	struct vfio_user_dma_unmap unmap;
	memcpy(&unmap, in->payload, sizeof(unmap));
	memcpy(out->payload, &unmap, sizeof(unmap));
	out->size = sizeof(unmap);
	return dma_unmap(&server->dma, unmap.address, unmap.size);
}

static const struct {
	enum vfio_user_command command;
	size_t min_size;
	int (*answer)(struct server *server, struct message *in, struct message *out);
} commands[] = {
	{ VFIO_USER_VERSION, sizeof(struct vfio_user_version), get_version },
	{ VFIO_USER_DMA_MAP, sizeof(struct vfio_user_dma_map), map_dma },
	{ VFIO_USER_DMA_UNMAP, sizeof(struct vfio_user_dma_unmap), unmap_dma },
	{ VFIO_USER_DEVICE_GET_INFO, sizeof(struct vfio_user_device_info), get_info },
	{ VFIO_USER_DEVICE_GET_REGION_INFO, sizeof(struct vfio_user_region_info), get_region_info },
	{ VFIO_USER_DEVICE_GET_IRQ_INFO, sizeof(struct vfio_user_irq_info), get_irq_info },
	{ VFIO_USER_DEVICE_SET_IRQS, sizeof(struct vfio_user_irq_set), set_irqs },
	{ VFIO_USER_REGION_READ, sizeof(struct vfio_user_region_access), read_region },
	{ VFIO_USER_REGION_WRITE, sizeof(struct vfio_user_region_access), write_region },
	{ VFIO_USER_DEVICE_RESET, 0, reset },
};

static int answer(struct server *server, struct message *in, struct message *out)
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

/* Those beyond the message's room are closed: nobody asks for as many. */
static void keep_fds(struct message *in, struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n_fds; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (in->n_fds < FDS_MAX)
				in->fds[in->n_fds++] = fd;
			else
				close_fdp(&fd);
		}
	}
}

static bool receive_exact(int fd, struct message *in, void *data, size_t size)
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
		keep_fds(in, &msg);
		done += (size_t)n;
	}
	return true;
}

static bool receive(int fd, struct message *in)
{
	if (!receive_exact(fd, in, &in->header, sizeof(in->header)))
		return false;
	uint32_t total = in->header.size;
	if (total < sizeof(in->header) || total - sizeof(in->header) > sizeof(in->payload) ||
	    (in->header.flags & VFIO_USER_TYPE_MASK) != VFIO_USER_TYPE_COMMAND)
		return false;
	in->size = total - sizeof(in->header);
	return receive_exact(fd, in, in->payload, in->size);
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

static bool reply(struct server *server, const struct message *in, struct message *out, int error)
{
	const struct server_ops *ops = server->ops;
	switch (ops->before_reply != NULL ? ops->before_reply(server->function) : SERVER_ANSWER) {
	case SERVER_HANG_UP:
		return false;
	case SERVER_GARBAGE:
		return send_garbage(server->connection_fd);
	case SERVER_SILENCE:
		return true;
	case SERVER_ANSWER:
		break;
	}
	return send_reply(server, in, out, error);
}

void server_dispatch(struct server *server)
{
	static struct message in, out; // large, and one message at a time
	in.n_fds = 0;
	out.size = 0;
	out.fd = -1;
	bool alive = receive(server->connection_fd, &in);
	if (alive)
		alive = reply(server, &in, &out, answer(server, &in, &out));
	for (unsigned i = 0; i < in.n_fds; i++)
		close_fdp(&in.fds[i]);
	if (!alive)
		server_detach(server);
}
