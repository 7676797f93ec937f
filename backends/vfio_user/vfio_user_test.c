/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The backend against a scripted device on the other end of a socket pair. The device answers as it
 * should, but for one answer that a test spoils; every case says which answer, how, and what the
 * reason must name.
 */

#include <backends/vfio_user/peer.h>
#include <backends/vfio_user/protocol.h>
#include <base/cleanup.h>
#include <base/clock.h>
#include <base/list.h>
#include <base/reason.h>
#include <base/unit_test.h>
#include <families/pci/pci_backend.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BAR2_SIZE = 65536, PAYLOAD_MAX = 80 * 1024, FDS_MAX = 64 };

struct answer {
	struct vfio_user_header header; // size is filled in at the end, unless `keep_size`
	uint8_t payload[PAYLOAD_MAX];
	size_t size;
	int fds[FDS_MAX];
	unsigned n_fds;
	bool keep_size, silent, hang_up;
	unsigned n_commands; // DMA_READs that the device sends first
};

typedef void (*spoil_fn)(struct answer *answer);

struct device {
	pthread_t thread;
	int fd;        // owned by the thread
	int memory_fd; // BAR2; owned
	/* The answer to spoil: `command`, for region info of `region`. */
	uint16_t command;
	uint32_t region;
	spoil_fn spoil;
	bool waits;                       // a deadline passes
	unsigned n_refusals;              // of the commands that the device sent
	struct vfio_user_irq_set irq_set; // the last
	int irq_fd;                       // that came with it; owned; 0: none
	uint8_t config[256];
};

static void put(struct answer *answer, const void *data, size_t size)
{
	memcpy(answer->payload + answer->size, data, size);
	answer->size += size;
}

static void answer_region_info(struct device *device, const uint8_t *in, struct answer *answer)
{
	struct vfio_user_region_info info;
	memcpy(&info, in, sizeof(info));
	static const uint64_t sizes[] = { [0] = 256, [2] = BAR2_SIZE, [7] = 256, [8] = 0 };
	info = (struct vfio_user_region_info){ .argsz = sizeof(info),
					       .index = info.index,
					       .size = sizes[info.index] };
	if (info.size != 0)
		info.flags = VFIO_USER_REGION_READABLE | VFIO_USER_REGION_WRITABLE;
	if (info.index == 2) {
		info.flags |= VFIO_USER_REGION_MAPPABLE;
		answer->fds[answer->n_fds++] = dup(device->memory_fd);
	}
	put(answer, &info, sizeof(info));
}

static void answer_access(struct device *device, const uint8_t *in, struct answer *answer)
{
	struct vfio_user_region_access access;
	memcpy(&access, in, sizeof(access));
	put(answer, &access, sizeof(access));
	if (answer->header.command == VFIO_USER_REGION_READ)
		put(answer, device->config + access.offset, access.count);
	else
		memcpy(device->config + access.offset, in + sizeof(access), access.count);
}

static void answer_irq_info(const uint8_t *in, struct answer *answer)
{
	struct vfio_user_irq_info info;
	memcpy(&info, in, sizeof(info));
	static const uint32_t counts[] = { 1, 4, 3, 0, 0 };
	info = (struct vfio_user_irq_info){ .argsz = sizeof(info),
					    .flags = VFIO_USER_IRQ_EVENTFD,
					    .index = info.index,
					    .count = counts[info.index] };
	if (info.index == 0)
		info.flags |= VFIO_USER_IRQ_AUTOMASKED;
	put(answer, &info, sizeof(info));
}

static void answer_properly(struct device *device, const uint8_t *in, struct answer *answer)
{
	static const char greeting[] = "\0\0\0\0{\"capabilities\":{\"max_msg_fds\":8}}";
	static const struct vfio_user_device_info info = {
		.argsz = sizeof(info),
		.flags = VFIO_USER_DEVICE_PCI | VFIO_USER_DEVICE_RESETS,
		.num_regions = 9,
		.num_irqs = 5,
	};
	switch (answer->header.command) {
	case VFIO_USER_VERSION:
		put(answer, greeting, sizeof(greeting));
		break;
	case VFIO_USER_DEVICE_GET_INFO:
		put(answer, &info, sizeof(info));
		break;
	case VFIO_USER_DEVICE_GET_REGION_INFO:
		answer_region_info(device, in, answer);
		break;
	case VFIO_USER_DEVICE_GET_IRQ_INFO:
		answer_irq_info(in, answer);
		break;
	case VFIO_USER_DEVICE_SET_IRQS:
		memcpy(&device->irq_set, in, sizeof(device->irq_set));
		break;
	case VFIO_USER_REGION_READ:
	case VFIO_USER_REGION_WRITE:
		answer_access(device, in, answer);
		break;
	default:
		break;
	}
}

static void send_answer(int fd, const struct answer *answer)
{
	union {
		char room[CMSG_SPACE(FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct answer copy = *answer;
	struct iovec iov[] = { { &copy.header, sizeof(copy.header) }, { copy.payload, copy.size } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	if (answer->n_fds > 0) {
		msg.msg_control = control.room;
		msg.msg_controllen = CMSG_SPACE(answer->n_fds * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(answer->n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), answer->fds, answer->n_fds * sizeof(int));
	}
	sendmsg(fd, &msg, MSG_NOSIGNAL);
}

static bool receive_all(int fd, void *data, size_t size)
{
	return size == 0 || recv(fd, data, size, MSG_WAITALL) == (ssize_t)size;
}

/* A command's header, and the descriptor that came along. */
static bool receive_header(struct device *device, struct vfio_user_header *header)
{
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { header, sizeof(*header) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.room,
			      .msg_controllen = sizeof(control.room) };
	if (recvmsg(device->fd, &msg, MSG_WAITALL | MSG_CMSG_CLOEXEC) != (ssize_t)sizeof(*header))
		return false;
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	if (device->irq_fd > 0)
		close(device->irq_fd);
	device->irq_fd = 0;
	if (c != NULL)
		memcpy(&device->irq_fd, CMSG_DATA(c), sizeof(int));
	return true;
}

/* Ask for DMA, and count the refusals. */
static void send_commands(struct device *device, unsigned n)
{
	struct vfio_user_header command = { .id = 77,
					    .command = VFIO_USER_DMA_READ,
					    .size = sizeof(command) };
	for (unsigned i = 0; i < n; i++) {
		struct vfio_user_header refusal;
		if (send(device->fd, &command, sizeof(command), MSG_NOSIGNAL) < 0 ||
		    !receive_all(device->fd, &refusal, sizeof(refusal)))
			return;
		if (refusal.id == 77 && refusal.error == EINVAL &&
		    refusal.flags == (VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR))
			device->n_refusals++;
	}
}

static void *run_device(void *context)
{
	struct device *device = context;
	static struct answer answer;
	static uint8_t in[PAYLOAD_MAX];
	struct vfio_user_header header;
	while (receive_header(device, &header) &&
	       receive_all(device->fd, in, header.size - sizeof(header))) {
		memset(&answer, 0, offsetof(struct answer, payload));
		memset(&answer.size, 0, sizeof(answer) - offsetof(struct answer, size));
		answer.header = header;
		answer.header.flags = VFIO_USER_TYPE_REPLY;
		answer_properly(device, in, &answer);
		uint32_t region;
		memcpy(&region, in + offsetof(struct vfio_user_region_info, index), sizeof(region));
		if (device->spoil != NULL && header.command == device->command &&
		    (header.command != VFIO_USER_DEVICE_GET_REGION_INFO ||
		     region == device->region))
			device->spoil(&answer);
		if (!answer.keep_size)
			answer.header.size = (uint32_t)(sizeof(header) + answer.size);
		send_commands(device, answer.n_commands);
		if (!answer.silent)
			send_answer(device->fd, &answer);
		for (unsigned i = 0; i < answer.n_fds; i++)
			close(answer.fds[i]);
		if (answer.hang_up)
			break;
	}
	close_fdp(&device->fd);
	if (device->irq_fd > 0)
		close(device->irq_fd);
	return NULL;
}

static int make_memory(off_t size)
{
	int fd = memfd_create("bar2", MFD_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, size), 0);
	return fd;
}

/* Start the device; the returned socket is the backend's. */
static int device_start(struct device *device)
{
	int sockets[2];
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
	device->fd = sockets[0];
	if (device->memory_fd == 0)
		device->memory_fd = make_memory(BAR2_SIZE);
	ck_assert_int_eq(pthread_create(&device->thread, NULL, run_device, device), 0);
	return sockets[1];
}

/* After the backend has closed its end. */
static void device_stop(struct device *device)
{
	pthread_join(device->thread, NULL);
	close_fdp(&device->memory_fd);
}

static void note_loss(void *context, const char *reason)
{
	char *text = context;
	snprintf(text, REASON_MAX, "%s", reason);
}

static const struct pci_backend_ops *ops(void)
{
	const struct pci_backend_ops *found = pci_backend_find("vfio-user");
	ck_assert_ptr_nonnull(found);
	return found;
}

/* Time at a tenth of its speed, for devices that answer: this machine may be busy. Only what waits
 * for a deadline has the real one, and takes its second. */
static uint64_t slow_clock(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return ((uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec) / 10;
}

static bool is_wait(const char *reason)
{
	return reason != NULL && strstr(reason, "did not answer") != NULL;
}

static char loss[REASON_MAX]; // what on_lost was told

static int open_device(struct device *device, struct pci_backend **backend)
{
	struct device_handover handover = { .n_fds = 1 };
	handover.fds[0] = device_start(device);
	loss[0] = '\0';
	clock_set_source(device->waits ? NULL : slow_clock);
	int ret = ops()->open(backend, &handover, note_loss, loss);
	ck_assert_int_eq(handover.fds[0], -1);
	return ret;
}

/* --- a good device --- */

START_TEST(good_device_is_learnt)
{
	struct device device = { .spoil = NULL };
	struct pci_backend *backend;
	struct pci_region region;
	ck_assert_msg(open_device(&device, &backend) == 0, "%s", reason_last());
	static const uint64_t sizes[PCI_N_REGIONS] = { [0] = 256, [2] = BAR2_SIZE, [7] = 256 };
	for (unsigned i = 0; i < PCI_N_REGIONS; i++) {
		ck_assert_int_eq(ops()->region_info(backend, i, &region), 0);
		ck_assert_uint_eq(region.size, sizes[i]);
		ck_assert_int_eq(region.readable, sizes[i] != 0);
		ck_assert_int_eq(region.writable, sizes[i] != 0);
		ck_assert_int_eq(region.mappable, i == 2);
	}
	ops()->close(backend);
	device_stop(&device);
	ck_assert_str_eq(loss, "");
}
END_TEST

START_TEST(registers_are_read_and_written)
{
	struct device device = { .spoil = NULL };
	struct pci_backend *backend;
	uint32_t value = 0x12345678;
	ck_assert_int_eq(open_device(&device, &backend), 0);
	ck_assert_int_eq(ops()->write(backend, 7, 0x40, &value, 4), 0);
	value = 0;
	ck_assert_int_eq(ops()->read(backend, 7, 0x40, &value, 4), 0);
	ck_assert_uint_eq(value, 0x12345678);
	ops()->close(backend);
	device_stop(&device);
}
END_TEST

START_TEST(region_descriptor_is_the_devices_file)
{
	struct device device = { .spoil = NULL };
	struct pci_backend *backend;
	struct stat ours, theirs;
	int fd;
	uint64_t offset = 1;
	ck_assert_int_eq(open_device(&device, &backend), 0);
	ck_assert_int_eq(fstat(device.memory_fd, &theirs), 0);
	ck_assert_int_eq(ops()->region_fd(backend, 2, &fd, &offset), 0);
	ck_assert_int_eq(fstat(fd, &ours), 0);
	ck_assert(ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev);
	ck_assert_uint_eq(offset, 0);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
	ck_assert_int_eq(ops()->region_fd(backend, 0, &fd, &offset), -EOPNOTSUPP);
	ck_assert_ptr_nonnull(strstr(reason_last(), "no descriptor for region 0"));
	ops()->close(backend);
	device_stop(&device);
}
END_TEST

static void only_version(struct answer *a)
{
	a->size = sizeof(struct vfio_user_version);
}

static void no_such_region(struct answer *a)
{
	a->header.flags |= VFIO_USER_ERROR;
	a->header.error = EINVAL;
	a->size = 0;
}

static void whole_sparse(struct answer *a)
{
	struct vfio_user_region_info *info = (void *)a->payload;
	const struct vfio_user_sparse_mmap sparse = {
		.header = { .id = VFIO_USER_CAPABILITY_SPARSE_MMAP, .version = 1 }, .n_areas = 1
	};
	const struct vfio_user_sparse_area area = { .size = BAR2_SIZE };
	info->flags |= VFIO_USER_REGION_CAPABILITIES;
	info->cap_offset = sizeof(*info);
	put(a, &sparse, sizeof(sparse));
	put(a, &area, sizeof(area));
	info->argsz = (uint32_t)a->size;
}

static void asks_for_dma(struct answer *a)
{
	a->n_commands = 3;
}

/* Unusual, and within the protocol. */
START_TEST(lawful_oddities_are_accepted)
{
	static const struct {
		uint16_t command;
		uint32_t region;
		spoil_fn spoil;
	} cases[] = {
		{ VFIO_USER_VERSION, 0, only_version },
		{ VFIO_USER_DEVICE_GET_REGION_INFO, 8, no_such_region },
		{ VFIO_USER_DEVICE_GET_REGION_INFO, 2, whole_sparse },
		{ VFIO_USER_DEVICE_GET_INFO, 0, asks_for_dma },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct device device = { .command = cases[i].command,
					 .region = cases[i].region,
					 .spoil = cases[i].spoil };
		struct pci_backend *backend;
		struct pci_region region;
		ck_assert_msg(open_device(&device, &backend) == 0, "case %zu: %s", i,
			      reason_last());
		ck_assert_int_eq(ops()->region_info(backend, 2, &region), 0);
		ck_assert(region.mappable);
		ops()->close(backend);
		device_stop(&device);
		ck_assert_uint_eq(device.n_refusals, cases[i].spoil == asks_for_dma ? 3 : 0);
	}
}
END_TEST

/* --- spoilt answers: any command --- */

static void wrong_id(struct answer *a)
{
	a->header.id++;
}

static void wrong_command(struct answer *a)
{
	a->header.command = VFIO_USER_DEVICE_SET_IRQS;
}

static void wrong_type(struct answer *a)
{
	a->header.flags = 2;
}

static void refuses(struct answer *a)
{
	a->header.flags |= VFIO_USER_ERROR;
	a->header.error = EPERM;
	a->size = 0;
}

static void refuses_with_zero(struct answer *a)
{
	refuses(a);
	a->header.error = 0;
}

static void refuses_with_nonsense(struct answer *a)
{
	refuses(a);
	a->header.error = 4096;
}

static void tiny_size(struct answer *a)
{
	a->keep_size = true;
	a->header.size = 8;
}

static void huge_size(struct answer *a)
{
	a->keep_size = true;
	a->header.size = UINT32_MAX;
}

static void cut_off(struct answer *a)
{
	a->keep_size = true;
	a->header.size = (uint32_t)(sizeof(a->header) + a->size + 100);
	a->hang_up = true;
}

static void unfinished(struct answer *a)
{
	a->keep_size = true;
	a->header.size = (uint32_t)(sizeof(a->header) + a->size + 100);
}

static void short_by_one(struct answer *a)
{
	a->size--;
}

static void empty(struct answer *a)
{
	a->size = 0;
}

static void hang_up(struct answer *a)
{
	a->silent = a->hang_up = true;
}

static void silent(struct answer *a)
{
	a->silent = true;
}

static void add_fds(struct answer *a, unsigned n)
{
	while (a->n_fds < n)
		a->fds[a->n_fds++] = dup(STDERR_FILENO);
}

static void one_fd(struct answer *a)
{
	add_fds(a, 1);
}

static void nine_fds(struct answer *a)
{
	add_fds(a, 9);
}

static void sixty_fds(struct answer *a)
{
	add_fds(a, 60);
}

static void endless_commands(struct answer *a)
{
	a->n_commands = UINT32_MAX;
}

/* --- spoilt greetings --- */

static void greet(struct answer *a, const char *json, size_t size)
{
	a->size = sizeof(struct vfio_user_version);
	put(a, json, size);
}

static void other_major(struct answer *a)
{
	a->payload[0] = 1;
}

static void newer_minor(struct answer *a)
{
	a->payload[2] = 7;
}

static void unterminated(struct answer *a)
{
	greet(a, "{}", 2);
}

static void terminated_early(struct answer *a)
{
	greet(a, "{}\0{}", 6);
}

static void not_json(struct answer *a)
{
	greet(a, "hello", 6);
}

static void too_deep(struct answer *a)
{
	char text[10001];
	memset(text, '[', 10000);
	text[10000] = '\0';
	greet(a, text, sizeof(text));
}

static void negative_capability(struct answer *a)
{
	static const char text[] = "{\"capabilities\":{\"max_msg_fds\":-8}}";
	greet(a, text, sizeof(text));
}

static void tiny_transfers(struct answer *a)
{
	static const char text[] = "{\"capabilities\":{\"max_data_xfer_size\":4}}";
	greet(a, text, sizeof(text));
}

static void long_greeting(struct answer *a)
{
	static char text[70000];
	memset(text, ' ', sizeof(text));
	greet(a, text, sizeof(text));
}

/* --- spoilt device infos --- */

static struct vfio_user_device_info *device_info(struct answer *a)
{
	return (void *)a->payload;
}

static void not_pci(struct answer *a)
{
	device_info(a)->flags = VFIO_USER_DEVICE_RESETS;
}

static void few_regions(struct answer *a)
{
	device_info(a)->num_regions = 7;
}

static void many_regions(struct answer *a)
{
	device_info(a)->num_regions = 4000000000U;
}

static void many_irqs(struct answer *a)
{
	device_info(a)->num_irqs = 4000000000U;
}

/* --- spoilt region infos: all of region 2, which is mappable --- */

static struct vfio_user_region_info *region_info(struct answer *a)
{
	return (void *)a->payload;
}

static void other_region(struct answer *a)
{
	region_info(a)->index = 3;
}

static void huge_region(struct answer *a)
{
	region_info(a)->size = UINT64_C(1) << 63;
}

static void far_region(struct answer *a)
{
	region_info(a)->offset = UINT64_MAX - 10;
}

static void mappable_without_fd(struct answer *a)
{
	close(a->fds[--a->n_fds]);
}

static void mappable_without_size(struct answer *a)
{
	region_info(a)->size = 0;
}

static void fd_without_mappable(struct answer *a)
{
	region_info(a)->flags &= ~(uint32_t)VFIO_USER_REGION_MAPPABLE;
}

static void long_capabilities(struct answer *a)
{
	region_info(a)->argsz = 1 << 20;
}

/* One capability at the end of the info, with `next` and then whatever the case adds. */
static void add_capability(struct answer *a, uint16_t id, uint32_t next)
{
	const struct vfio_user_capability capability = { .id = id, .version = 1, .next = next };
	region_info(a)->flags |= VFIO_USER_REGION_CAPABILITIES;
	region_info(a)->cap_offset = sizeof(struct vfio_user_region_info);
	put(a, &capability, sizeof(capability));
	region_info(a)->argsz = (uint32_t)a->size;
}

static void capability_loop(struct answer *a)
{
	add_capability(a, 99, sizeof(struct vfio_user_region_info));
}

static void capability_back(struct answer *a)
{
	add_capability(a, 99, 8);
}

static void capability_far(struct answer *a)
{
	add_capability(a, 99, 5000);
}

static void capability_at_end(struct answer *a)
{
	add_capability(a, 99, sizeof(struct vfio_user_region_info) + 4);
}

static void capability_in_info(struct answer *a)
{
	add_capability(a, 99, 0);
	region_info(a)->cap_offset = 4;
}

static void sparse_cut(struct answer *a)
{
	add_capability(a, VFIO_USER_CAPABILITY_SPARSE_MMAP, 0);
}

static void add_sparse(struct answer *a, uint32_t n_areas, uint64_t offset, uint64_t size)
{
	const uint32_t counts[2] = { n_areas, 0 };
	const struct vfio_user_sparse_area area = { offset, size };
	add_capability(a, VFIO_USER_CAPABILITY_SPARSE_MMAP, 0);
	put(a, counts, sizeof(counts));
	put(a, &area, sizeof(area));
}

static void sparse_count(struct answer *a)
{
	add_sparse(a, UINT32_MAX, 0, 4096);
}

static void sparse_beyond(struct answer *a)
{
	add_sparse(a, 1, BAR2_SIZE - 4096, 8192);
}

static void sparse_wrapping(struct answer *a)
{
	add_sparse(a, 1, UINT64_MAX - 100, 4096);
}

static struct vfio_user_irq_info *irq_info(struct answer *a)
{
	return (void *)a->payload;
}

static void other_irq(struct answer *a)
{
	irq_info(a)->index++;
}

static void too_many_vectors(struct answer *a)
{
	irq_info(a)->count = UINT32_MAX;
}

static void one_wire_too_many(struct answer *a)
{
	irq_info(a)->count = 2;
}

static void deaf(struct answer *a)
{
	irq_info(a)->flags = 0;
}

enum {
	ANY = VFIO_USER_DEVICE_GET_INFO,
	REGION = VFIO_USER_DEVICE_GET_REGION_INFO,
	IRQ = VFIO_USER_DEVICE_GET_IRQ_INFO,
};

static const struct {
	uint16_t command;
	spoil_fn spoil;
	const char *reason; // part of it
} hostile[] = {
	{ ANY, wrong_id, "answered command 4" },
	{ ANY, wrong_command, "answered command 8" },
	{ ANY, wrong_type, "message of type 2" },
	{ ANY, refuses, "refused command 4" },
	{ ANY, refuses_with_zero, "malformed refusal" },
	{ ANY, refuses_with_nonsense, "malformed refusal (errno 4096)" },
	{ ANY, tiny_size, "a message of 8 bytes" },
	{ ANY, huge_size, "a message of 4294967295 bytes" },
	{ ANY, cut_off, "hung up inside a message" },
	{ ANY, unfinished, "did not answer within" },
	{ ANY, short_by_one, "has 15 bytes, not 16" },
	{ ANY, empty, "has 0 bytes" },
	{ ANY, hang_up, "hung up" },
	{ ANY, silent, "did not answer within" },
	{ ANY, one_fd, "has descriptors" },
	{ ANY, nine_fds, "over 8 descriptors" },
	{ ANY, sixty_fds, "over 8 descriptors" },
	{ ANY, endless_commands, "did not answer within" },
	{ VFIO_USER_VERSION, refuses, "refused command 1" },
	{ VFIO_USER_VERSION, empty, "has 0 bytes" },
	{ VFIO_USER_VERSION, other_major, "speaks vfio-user 1.0" },
	{ VFIO_USER_VERSION, newer_minor, "speaks vfio-user 0.7" },
	{ VFIO_USER_VERSION, unterminated, "not one terminated text" },
	{ VFIO_USER_VERSION, terminated_early, "not one terminated text" },
	{ VFIO_USER_VERSION, not_json, "JSON" },
	{ VFIO_USER_VERSION, too_deep, "nested too deep" },
	{ VFIO_USER_VERSION, negative_capability, "JSON" },
	{ VFIO_USER_VERSION, tiny_transfers, "transfers at most 4 bytes" },
	{ VFIO_USER_VERSION, long_greeting, "a message of 70020 bytes" },
	{ VFIO_USER_DEVICE_GET_INFO, not_pci, "not a PCI function" },
	{ VFIO_USER_DEVICE_GET_INFO, few_regions, "announces 7 regions" },
	{ VFIO_USER_DEVICE_GET_INFO, many_regions, "announces 4000000000 regions" },
	{ VFIO_USER_DEVICE_GET_INFO, many_irqs, "announces 4000000000 interrupt" },
	{ VFIO_USER_DEVICE_RESET, silent, "did not answer within" },
	{ VFIO_USER_DEVICE_RESET, refuses, "refused command 13" },
	{ REGION, short_by_one, "has 31 bytes" },
	{ REGION, other_region, "asked for region 2" },
	{ REGION, huge_region, "region 2: 0x8000000000000000 bytes" },
	{ REGION, far_region, "at 0xfffffffffffffff5" },
	{ REGION, mappable_without_fd, "without a descriptor" },
	{ REGION, mappable_without_size, "without memory" },
	{ REGION, fd_without_mappable, "not mappable and has 1 descriptors" },
	{ REGION, long_capabilities, "1048576 bytes of description" },
	{ REGION, nine_fds, "over 8 descriptors" },
	{ REGION, capability_loop, "go back to 32" },
	{ REGION, capability_back, "go back to 8" },
	{ REGION, capability_far, "begins beyond the reply" },
	{ REGION, capability_at_end, "begins beyond the reply" },
	{ REGION, capability_in_info, "go back to 4" },
	{ REGION, sparse_cut, "ends beyond the reply" },
	{ REGION, sparse_count, "4294967295 mappable areas" },
	{ REGION, sparse_beyond, "beyond its 0x10000" },
	{ REGION, sparse_wrapping, "beyond its 0x10000" },
	{ IRQ, short_by_one, "has 15 bytes, not 16" },
	{ IRQ, other_irq, "asked for interrupts of kind 0, the device describes 1" },
	{ IRQ, too_many_vectors, "announces 4294967295 interrupts of kind 0, at most 1" },
	{ IRQ, one_wire_too_many, "announces 2 interrupts of kind 0, at most 1" },
	{ IRQ, deaf, "interrupts of kind 0 take no eventfd" },
	{ IRQ, one_fd, "has descriptors" },
	{ IRQ, hang_up, "hung up" },
};

/* Each is an error with its reason, nobody is told of a loss (there was no device yet), and every
 * descriptor that came along is closed: the fixture looks. */
START_TEST(hostile_devices_are_refused)
{
	for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
		struct device device = { .command = hostile[i].command,
					 .region = 2,
					 .spoil = hostile[i].spoil,
					 .waits = is_wait(hostile[i].reason) };
		struct pci_backend *backend;
		reason_clear();
		int ret = open_device(&device, &backend);
		ck_assert_msg(ret < 0, "case %zu (%s) was accepted", i, hostile[i].reason);
		ck_assert_msg(strstr(reason_last(), hostile[i].reason) != NULL,
			      "case %zu: \"%s\" does not say \"%s\"", i, reason_last(),
			      hostile[i].reason);
		ck_assert_str_eq(loss, "");
		device_stop(&device);
	}
}
END_TEST

START_TEST(no_socket_is_refused)
{
	struct device_handover handover = { .n_fds = 1, .fds = { -1 } };
	struct pci_backend *backend;
	ck_assert_int_lt(ops()->open(&backend, &handover, note_loss, loss), 0);
	ck_assert_ptr_nonnull(strstr(reason_last(), "socket"));
}
END_TEST

/* --- memory that is not what was announced --- */

static void expect_no_memory(struct device *device, const char *reason)
{
	struct pci_backend *backend;
	struct pci_region region;
	int fd;
	uint64_t offset;
	ck_assert_msg(open_device(device, &backend) == 0, "%s", reason_last());
	ck_assert_int_eq(ops()->region_info(backend, 2, &region), 0);
	ck_assert_uint_eq(region.size, BAR2_SIZE);
	ck_assert(!region.mappable);
	ck_assert_int_eq(ops()->region_fd(backend, 2, &fd, &offset), -EOPNOTSUPP);
	ck_assert_msg(strstr(reason_last(), reason) != NULL, "%s", reason_last());
	ops()->close(backend);
	device_stop(device);
}

START_TEST(memory_smaller_than_announced)
{
	struct device device = { .memory_fd = make_memory(BAR2_SIZE - 1) };
	expect_no_memory(&device, "announced with 65536 bytes at 0 of its file, which has 65535");
}
END_TEST

static void begins_inside(struct answer *a)
{
	region_info(a)->offset = 4096;
}

START_TEST(memory_beyond_the_end)
{
	struct device device = { .command = REGION, .region = 2, .spoil = begins_inside };
	expect_no_memory(&device, "65536 bytes at 4096 of its file, which has 65536");
}
END_TEST

static void begins_askew(struct answer *a)
{
	region_info(a)->offset = 100;
}

START_TEST(memory_across_pages)
{
	struct device device = { .memory_fd = make_memory(2 * BAR2_SIZE),
				 .command = REGION,
				 .region = 2,
				 .spoil = begins_askew };
	expect_no_memory(&device, "no page's beginning");
}
END_TEST

START_TEST(memory_that_is_no_file)
{
	int pipe_fds[2];
	ck_assert_int_eq(pipe(pipe_fds), 0);
	struct device device = { .memory_fd = pipe_fds[0] };
	expect_no_memory(&device, "not a file");
	close(pipe_fds[1]);
}
END_TEST

static void partly_mappable(struct answer *a)
{
	add_sparse(a, 1, 4096, 4096);
}

START_TEST(memory_in_parts)
{
	struct device device = { .command = REGION, .region = 2, .spoil = partly_mappable };
	expect_no_memory(&device, "only parts of region 2");
}
END_TEST

/* The file was large enough when the device was opened. */
START_TEST(memory_cut_later)
{
	struct device device = { .spoil = NULL };
	struct pci_backend *backend;
	int fd;
	uint64_t offset;
	ck_assert_int_eq(open_device(&device, &backend), 0);
	ck_assert_int_eq(ftruncate(device.memory_fd, 0), 0);
	ck_assert_int_eq(ops()->region_fd(backend, 2, &fd, &offset), -EOPNOTSUPP);
	ck_assert_ptr_nonnull(strstr(reason_last(), "which has 0"));
	ops()->close(backend);
	device_stop(&device);
}
END_TEST

/* --- accesses that are answered badly --- */

static struct vfio_user_region_access *done_access(struct answer *a)
{
	return (void *)a->payload;
}

static void other_offset(struct answer *a)
{
	done_access(a)->offset += 4;
}

static void other_count(struct answer *a)
{
	done_access(a)->count = UINT32_MAX;
}

static void too_much_data(struct answer *a)
{
	put(a, "data", 4);
}

static const struct {
	uint16_t command;
	spoil_fn spoil;
	const char *reason;
	bool survives;
} accesses[] = {
	{ VFIO_USER_REGION_READ, refuses, "refused command 9", true },
	{ VFIO_USER_REGION_WRITE, refuses, "refused command 10", true },
	{ VFIO_USER_REGION_READ, asks_for_dma, NULL, true },
	{ VFIO_USER_REGION_READ, other_offset, "another access", false },
	{ VFIO_USER_REGION_READ, other_count, "another access", false },
	{ VFIO_USER_REGION_READ, too_much_data, "another access", false },
	{ VFIO_USER_REGION_READ, short_by_one, "has 19 bytes", false },
	{ VFIO_USER_REGION_READ, one_fd, "has descriptors", false },
	{ VFIO_USER_REGION_READ, silent, "did not answer", false },
	{ VFIO_USER_REGION_READ, hang_up, "hung up", false },
	{ VFIO_USER_REGION_WRITE, other_count, "another access", false },
	{ VFIO_USER_REGION_WRITE, too_much_data, "another access", false },
	{ VFIO_USER_REGION_WRITE, hang_up, "hung up", false },
};

/* A refusal is only that; a lie loses the device, once, and every access after it fails too. */
START_TEST(bad_accesses)
{
	for (size_t i = 0; i < sizeof(accesses) / sizeof(accesses[0]); i++) {
		struct device device = { .command = accesses[i].command,
					 .spoil = accesses[i].spoil,
					 .waits = is_wait(accesses[i].reason) };
		bool is_read = accesses[i].command == VFIO_USER_REGION_READ;
		struct pci_backend *backend;
		uint32_t value = 0;
		ck_assert_int_eq(open_device(&device, &backend), 0);
		int ret = is_read ? ops()->read(backend, 7, 0, &value, 4)
				  : ops()->write(backend, 7, 0, &value, 4);
		ck_assert_msg((ret == 0) == (accesses[i].reason == NULL), "case %zu: %d", i, ret);
		if (ret < 0)
			ck_assert_msg(strstr(reason_last(), accesses[i].reason) != NULL,
				      "case %zu: %s", i, reason_last());
		ck_assert_int_eq(loss[0] == '\0', accesses[i].survives);
		loss[0] = '\0';
		ret = is_read ? ops()->write(backend, 7, 0, &value, 4)
			      : ops()->read(backend, 7, 0, &value, 4);
		ck_assert_int_eq(ret, accesses[i].survives ? 0 : -ENODEV);
		ck_assert_str_eq(loss, "");
		ops()->close(backend);
		device_stop(&device);
	}
}
END_TEST

/* --- interrupts --- */

START_TEST(interrupts_are_counted_by_kind)
{
	static const unsigned proper[] = { 1, 4, 3 }, none[] = { 0, 0, 0 };
	for (int refused = 0; refused < 2; refused++) {
		struct device device = { .command = VFIO_USER_DEVICE_GET_IRQ_INFO,
					 .spoil = refused ? refuses : NULL };
		struct pci_backend *backend;
		unsigned count = 99;
		ck_assert_msg(open_device(&device, &backend) == 0, "%s", reason_last());
		for (unsigned kind = 0; kind < PCI_N_IRQS; kind++) {
			ck_assert_int_eq(ops()->irq_count(backend, kind, &count), 0);
			ck_assert_uint_eq(count, (refused ? none : proper)[kind]);
		}
		ops()->close(backend);
		device_stop(&device);
	}
}
END_TEST

/* The eventfd is the device's to add to, until it is told to forget it. */
START_TEST(an_eventfd_goes_to_the_device)
{
	struct device device = { .spoil = NULL };
	struct pci_backend *backend;
	const struct pci_vector vector = { PCI_IRQ_MSIX, 2, 3 };
	uint64_t value = 5;
	int event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ck_assert_int_eq(open_device(&device, &backend), 0);
	ck_assert_msg(ops()->set_irq(backend, &vector, event_fd) == 0, "%s", reason_last());
	const struct vfio_user_irq_set *set = &device.irq_set;
	ck_assert_uint_eq(set->argsz, 20);
	ck_assert_uint_eq(set->flags, 0x24);
	ck_assert(set->index == 2 && set->start == 2 && set->count == 1);
	ck_assert_int_gt(device.irq_fd, 0);
	ck_assert_int_eq(write(device.irq_fd, &value, sizeof(value)), sizeof(value));
	ck_assert_int_eq(read(event_fd, &value, sizeof(value)), sizeof(value));
	ck_assert_uint_eq(value, 5);

	ck_assert_int_eq(ops()->set_irq(backend, &vector, -1), 0);
	ck_assert_int_eq(device.irq_fd, 0);
	ck_assert_uint_eq(set->flags, 0x24);
	ck_assert(set->index == 2 && set->start == 2 && set->count == 1);
	ck_assert_int_eq(ops()->unmask_intx(backend), 0);
	ck_assert_uint_eq(set->flags, 0x11);
	ck_assert(set->index == 0 && set->start == 0 && set->count == 1);
	ops()->close(backend);
	device_stop(&device);
	close(event_fd);
}
END_TEST

/* A refusal is only that; who hangs up instead of answering is lost. */
START_TEST(interrupts_that_are_answered_badly)
{
	static const struct {
		spoil_fn spoil;
		const char *reason;
		bool survives;
	} cases[] = {
		{ refuses, "refused command 8", true },
		{ hang_up, "hung up", false },
		{ one_fd, "has descriptors", false },
		{ wrong_id, "answered command 8", false },
	};
	const struct pci_vector vector = { PCI_IRQ_INTX, 0, 1 };
	int event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct device device = { .command = VFIO_USER_DEVICE_SET_IRQS,
					 .spoil = cases[i].spoil };
		struct pci_backend *backend;
		ck_assert_int_eq(open_device(&device, &backend), 0);
		ck_assert_int_lt(ops()->set_irq(backend, &vector, event_fd), 0);
		ck_assert_msg(strstr(reason_last(), cases[i].reason) != NULL, "case %zu: %s", i,
			      reason_last());
		ck_assert_int_eq(loss[0] == '\0', cases[i].survives);
		ops()->close(backend);
		device_stop(&device);
	}
	close(event_fd);
}
END_TEST

/* --- what comes unasked --- */

static void send_header(int fd, uint16_t command, uint32_t flags)
{
	const struct vfio_user_header header = {
		.id = 5, .command = command, .size = sizeof(header), .flags = flags
	};
	ck_assert_int_eq(send(fd, &header, sizeof(header), 0), sizeof(header));
}

START_TEST(commands_of_an_idle_device_are_refused)
{
	int sockets[2];
	struct vfio_user_header refusal;
	struct peer peer;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	peer_init(&peer, sockets[0]);
	ck_assert_int_eq(peer_dispatch(&peer), 0); // nothing there
	send_header(sockets[1], VFIO_USER_DMA_WRITE, VFIO_USER_TYPE_COMMAND);
	ck_assert_int_eq(peer_dispatch(&peer), 0);
	ck_assert_int_eq(recv(sockets[1], &refusal, sizeof(refusal), 0), sizeof(refusal));
	ck_assert_uint_eq(refusal.error, EINVAL);
	ck_assert_uint_eq(refusal.id, 5);
	send_header(sockets[1], VFIO_USER_DMA_WRITE, VFIO_USER_NO_REPLY);
	ck_assert_int_eq(peer_dispatch(&peer), 0);
	ck_assert_int_eq(recv(sockets[1], &refusal, sizeof(refusal), MSG_DONTWAIT), -1);
	send_header(sockets[1], VFIO_USER_REGION_READ, VFIO_USER_TYPE_REPLY);
	ck_assert_int_eq(peer_dispatch(&peer), -ENODEV);
	ck_assert_str_eq(peer.reason, "the device sent a reply that nobody asked for");
	peer_deinit(&peer);
	close(sockets[1]);
}
END_TEST

START_TEST(hang_up_of_an_idle_device_is_noticed)
{
	int sockets[2];
	struct peer peer;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	peer_init(&peer, sockets[0]);
	close(sockets[1]);
	ck_assert_int_eq(peer_dispatch(&peer), -ENODEV);
	ck_assert_str_eq(peer.reason, "the device hung up");
	peer_deinit(&peer);
}
END_TEST

/* A device that reads nothing fills the socket; sending to it ends at the deadline. */
START_TEST(device_that_does_not_read)
{
	int sockets[2];
	struct peer peer;
	struct peer_message reply;
	static const uint8_t data[PEER_PAYLOAD_MAX];
	const struct peer_payload payload = { data, data, sizeof(data), sizeof(data), NULL };
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	int small = 1;
	ck_assert_int_eq(setsockopt(sockets[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	peer_init(&peer, sockets[0]);
	ck_assert_int_eq(peer_call(&peer, VFIO_USER_REGION_WRITE, &payload, &reply), -ENODEV);
	ck_assert_ptr_nonnull(strstr(peer.reason, "did not answer within"));
	ck_assert_int_eq(peer_call(&peer, VFIO_USER_REGION_WRITE, &payload, &reply), -ENODEV);
	peer_deinit(&peer);
	close(sockets[1]);
}
END_TEST

UNIT_TESTS("vfio-user", good_device_is_learnt, registers_are_read_and_written,
	   region_descriptor_is_the_devices_file, lawful_oddities_are_accepted,
	   hostile_devices_are_refused, no_socket_is_refused, memory_smaller_than_announced,
	   memory_beyond_the_end, memory_across_pages, memory_that_is_no_file, memory_in_parts,
	   memory_cut_later, bad_accesses, interrupts_are_counted_by_kind,
	   an_eventfd_goes_to_the_device, interrupts_that_are_answered_badly,
	   commands_of_an_idle_device_are_refused, hang_up_of_an_idle_device_is_noticed,
	   device_that_does_not_read)
