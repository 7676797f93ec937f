/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The vfio-user backend: a PCI function that another process plays, over a socket that dextd
 * connected.
 *
 * Opening greets the device, resets it, and asks once for every region; what it announces is
 * checked there and kept, with the descriptors that came along. A device that contradicts the
 * protocol is refused as a whole. A region whose file is smaller than announced is not: it can
 * still be read and written by message, and only asking for its memory is refused, with both sizes.
 *
 * A descriptor maps whatever its file holds, not only the areas that the device meant, so a region
 * that is mappable in parts has no descriptor to give away.
 */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include <backends/vfio_user/json.h>
#include <backends/vfio_user/peer.h>
#include <base/cleanup.h>
#include <base/list.h>
#include <base/reason.h>
#include <families/pci/pci_backend.h>
#include <runtime/queue.h>

#define REGION_SIZE_MAX  (UINT64_C(1) << 46)
#define DMA_ADDRESS_LAST ((UINT64_C(1) << 52) - 1)

enum {
	REGIONS_MAX = 100,
	IRQS_MAX = 50,
	REGION_INFO_MAX = 4096, // with its capabilities
	DMA_PAGE_SIZE = 4096,
};

struct region {
	struct pci_region info;
	int fd; // owned; -1: none
	uint64_t fd_offset;
	bool in_parts; // has a descriptor, and only areas of it may be mapped
};

struct irq {
	unsigned count;
	bool automasked;
};

struct vfio_user {
	struct pci_backend base;
	struct peer peer;
	struct fd_source *source; // NULL: nobody listens (no queue, or lost)
	bool is_open;
	void (*on_lost)(void *context, const char *reason);
	void *context;
	struct region regions[PCI_N_REGIONS];
	struct irq irqs[PCI_N_IRQS];
};

static const struct pci_backend_ops vfio_user_backend;

static struct vfio_user *from_base(struct pci_backend *backend)
{
	assert(backend->ops == &vfio_user_backend);
	return container_of(backend, struct vfio_user, base);
}

/* The peer is lost: say so once, and leave the reason with the caller. Returns -ENODEV. */
static int lost(struct vfio_user *v)
{
	v->source = v->source != NULL ? fd_source_close(v->source) : NULL;
	if (v->is_open) {
		v->is_open = false;
		v->on_lost(v->context, v->peer.reason);
	}
	refuse(kIOReturnNoDevice, "%s", v->peer.reason);
	return -ENODEV;
}

/* A call whose reply has at least `min` bytes and no descriptor but in a region's info. */
static int call(struct vfio_user *v, enum vfio_user_command command,
		const struct peer_payload *payload, size_t min, struct peer_message *reply)
{
	int ret = peer_call(&v->peer, command, payload, reply);
	if (ret > 0) {
		refuse(kIOReturnDeviceError, "the device refused command %d: %s", command,
		       strerror(ret));
		return -EIO;
	}
	if (ret < 0)
		return lost(v);
	if (reply->size < min)
		ret = peer_lose(&v->peer, "the reply to command %d has %zu bytes, not %zu", command,
				reply->size, min);
	else if (reply->n_fds > 0 && command != VFIO_USER_DEVICE_GET_REGION_INFO)
		ret = peer_lose(&v->peer, "the reply to command %d has descriptors", command);
	if (ret == 0)
		return 0;
	peer_message_deinit(reply);
	return lost(v);
}

/* A call of whose reply it matters only that it came. */
static int call_plainly(struct vfio_user *v, enum vfio_user_command command,
			const struct peer_payload *payload)
{
	struct peer_message reply;
	int ret = call(v, command, payload, 0, &reply);
	if (ret == 0)
		peer_message_deinit(&reply);
	return ret;
}

/* --- opening --- */

static int check_greeting(struct peer *peer, const struct peer_message *reply)
{
	struct vfio_user_version version;
	memcpy(&version, reply->payload, sizeof(version));
	if (version.major != 0 || version.minor != 0)
		return peer_lose(peer, "the device speaks vfio-user %u.%u, not 0.0", version.major,
				 version.minor);
	size_t size = reply->size - sizeof(version);
	if (size == 0)
		return 0;
	const char *text = (const char *)reply->payload + sizeof(version);
	if (strnlen(text, size) != size - 1)
		return peer_lose(peer, "the device's greeting is not one terminated text");
	struct json_number wanted[] = { { .object = "capabilities", .name = "max_data_xfer_size" },
					{ .object = "capabilities", .name = "max_msg_fds" } };
	const char *problem;
	if (json_scan(text, size - 1, wanted, 2, &problem) < 0)
		return peer_lose(peer, "the device's greeting is not acceptable JSON: %s", problem);
	if (wanted[0].found && wanted[0].value < sizeof(uint64_t))
		return peer_lose(peer, "the device transfers at most %" PRIu64 " bytes at once",
				 wanted[0].value);
	return 0;
}

static int greet(struct vfio_user *v)
{
	static const char capabilities[] =
		"{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":65536}}";
	const struct vfio_user_version version = { .major = 0, .minor = 0 };
	const struct peer_payload payload = { .head = &version,
					      .tail = capabilities,
					      .head_size = sizeof(version),
					      .tail_size = sizeof(capabilities) };
	struct peer_message reply;
	int ret = call(v, VFIO_USER_VERSION, &payload, sizeof(version), &reply);
	if (ret < 0)
		return ret;
	ret = check_greeting(&v->peer, &reply);
	peer_message_deinit(&reply);
	return ret < 0 ? lost(v) : 0;
}

static int get_info(struct vfio_user *v, struct vfio_user_device_info *info)
{
	const struct vfio_user_device_info question = { .argsz = sizeof(question) };
	const struct peer_payload payload = { .head = &question, .head_size = sizeof(question) };
	struct peer_message reply;
	int ret = call(v, VFIO_USER_DEVICE_GET_INFO, &payload, sizeof(*info), &reply);
	if (ret < 0)
		return ret;
	memcpy(info, reply.payload, sizeof(*info));
	peer_message_deinit(&reply);
	if ((info->flags & VFIO_USER_DEVICE_PCI) == 0)
		ret = peer_lose(&v->peer, "the device is not a PCI function");
	else if (info->num_regions <= PCI_REGION_CONFIG || info->num_regions > REGIONS_MAX)
		ret = peer_lose(&v->peer, "the device announces %u regions; 8 to %d are possible",
				info->num_regions, REGIONS_MAX);
	else if (info->num_irqs > IRQS_MAX)
		ret = peer_lose(&v->peer, "the device announces %u interrupt kinds, over %d",
				info->num_irqs, IRQS_MAX);
	return ret < 0 ? lost(v) : 0;
}

static int reset(struct vfio_user *v)
{
	const struct peer_payload nothing = { .fd = NULL };
	return call_plainly(v, VFIO_USER_DEVICE_RESET, &nothing);
}

/* The areas of a sparse-mmap capability at `at`: do they cover the whole region? */
static int check_areas(struct peer *peer, const struct peer_message *reply, uint32_t at,
		       const struct vfio_user_region_info *info, struct region *region)
{
	struct vfio_user_sparse_mmap sparse;
	if (sizeof(sparse) > reply->size - at)
		return peer_lose(peer, "region %u: a capability ends beyond the reply",
				 info->index);
	memcpy(&sparse, reply->payload + at, sizeof(sparse));
	size_t room = (reply->size - at - sizeof(sparse)) / sizeof(struct vfio_user_sparse_area);
	if (sparse.n_areas > room)
		return peer_lose(peer, "region %u: %u mappable areas are announced, %zu sent",
				 info->index, sparse.n_areas, room);
	region->in_parts = true;
	for (uint32_t i = 0; i < sparse.n_areas; i++) {
		struct vfio_user_sparse_area area;
		memcpy(&area, reply->payload + at + sizeof(sparse) + i * sizeof(area),
		       sizeof(area));
		if (area.size > info->size || area.offset > info->size - area.size)
			return peer_lose(peer,
					 "region %u: a mappable area of 0x%" PRIx64
					 " bytes at 0x%" PRIx64 " is beyond its 0x%" PRIx64,
					 info->index, area.size, area.offset, info->size);
		if (area.size == info->size)
			region->in_parts = false;
	}
	return 0;
}

static int check_capabilities(struct peer *peer, const struct peer_message *reply,
			      const struct vfio_user_region_info *info, struct region *region)
{
	uint32_t at = info->cap_offset, before = sizeof(*info) - 1;
	while (at != 0) {
		struct vfio_user_capability capability;
		if (at <= before) // each lies behind the one before, so that no list is a loop
			return peer_lose(peer, "region %u: its capabilities go back to %u",
					 info->index, at);
		if (at > reply->size || sizeof(capability) > reply->size - at)
			return peer_lose(peer, "region %u: a capability begins beyond the reply",
					 info->index);
		memcpy(&capability, reply->payload + at, sizeof(capability));
		if (capability.id == VFIO_USER_CAPABILITY_SPARSE_MMAP) {
			int ret = check_areas(peer, reply, at, info, region);
			if (ret < 0)
				return ret;
		}
		before = at;
		at = capability.next;
	}
	return 0;
}

static int check_region(struct peer *peer, unsigned index, const struct peer_message *reply,
			struct vfio_user_region_info *info, struct region *region)
{
	memcpy(info, reply->payload, sizeof(*info));
	bool is_mappable = (info->flags & VFIO_USER_REGION_MAPPABLE) != 0;
	if (info->index != index)
		return peer_lose(peer, "asked for region %u, the device describes %u", index,
				 info->index);
	if (info->argsz > REGION_INFO_MAX)
		return peer_lose(peer, "region %u: %u bytes of description, over %d", index,
				 info->argsz, REGION_INFO_MAX);
	if (info->size > REGION_SIZE_MAX || info->offset > REGION_SIZE_MAX)
		return peer_lose(peer,
				 "region %u: 0x%" PRIx64 " bytes at 0x%" PRIx64 " of its file",
				 index, info->size, info->offset);
	if (is_mappable && (reply->n_fds == 0 || info->size == 0))
		return peer_lose(peer, "region %u is announced as mappable without %s", index,
				 info->size == 0 ? "memory" : "a descriptor");
	if (!is_mappable && reply->n_fds > 0)
		return peer_lose(peer, "region %u is not mappable and has %u descriptors", index,
				 reply->n_fds);
	if ((info->flags & VFIO_USER_REGION_CAPABILITIES) == 0)
		return 0;
	return check_capabilities(peer, reply, info, region);
}

/* Why a region cannot be mapped through its descriptor: 0, or -EOPNOTSUPP with the reason. */
static int check_fd(unsigned index, const struct region *region)
{
	struct stat st;
	if (region->fd < 0)
		refuse(kIOReturnUnsupported,
		       "the device offers no descriptor for region %u, only reads and writes",
		       index);
	else if (region->in_parts)
		refuse(kIOReturnUnsupported,
		       "the device lets only parts of region %u be mapped, and a descriptor cannot be "
		       "limited to them",
		       index);
	else if (fstat(region->fd, &st) < 0 || !S_ISREG(st.st_mode))
		refuse(kIOReturnUnsupported,
		       "the descriptor of region %u is not a file, so its size is unknown", index);
	else if (st.st_size < 0 || (uint64_t)st.st_size < region->fd_offset + region->info.size)
		refuse(kIOReturnUnsupported,
		       "region %u is announced with %" PRIu64 " bytes at %" PRIu64
		       " of its file, which has %" PRIu64,
		       index, region->info.size, region->fd_offset, (uint64_t)st.st_size);
	else if (region->fd_offset % (uint64_t)sysconf(_SC_PAGESIZE) != 0)
		refuse(kIOReturnUnsupported,
		       "region %u begins at %" PRIu64 " of its file, which is no page's beginning",
		       index, region->fd_offset);
	else
		return 0;
	return -EOPNOTSUPP;
}

static int get_region(struct vfio_user *v, unsigned index)
{
	const struct vfio_user_region_info question = { .argsz = REGION_INFO_MAX, .index = index };
	const struct peer_payload payload = { .head = &question, .head_size = sizeof(question) };
	struct region *region = &v->regions[index];
	struct vfio_user_region_info info;
	struct peer_message reply;
	int ret = call(v, VFIO_USER_DEVICE_GET_REGION_INFO, &payload, sizeof(info), &reply);
	if (ret == -EIO)
		return 0; // the device has no such region
	if (ret < 0)
		return ret;
	ret = check_region(&v->peer, index, &reply, &info, region);
	if (ret == 0) {
		region->info = (struct pci_region){
			.size = info.size,
			.readable = (info.flags & VFIO_USER_REGION_READABLE) != 0,
			.writable = (info.flags & VFIO_USER_REGION_WRITABLE) != 0,
		};
		region->fd_offset = info.offset;
		region->fd = reply.n_fds > 0 ? steal_fd(&reply.fds[0]) : -1;
		region->info.mappable = region->fd >= 0 && check_fd(index, region) == 0;
	}
	peer_message_deinit(&reply);
	return ret < 0 ? lost(v) : 0;
}

static int check_irq(struct peer *peer, unsigned index, const struct vfio_user_irq_info *info)
{
	static const uint32_t limits[PCI_N_IRQS] = { PCI_INTX_MAX, PCI_MSI_MAX, PCI_MSIX_MAX };
	if (info->index != index)
		return peer_lose(peer, "asked for interrupts of kind %u, the device describes %u",
				 index, info->index);
	if (info->count > limits[index])
		return peer_lose(peer,
				 "the device announces %u interrupts of kind %u, at most %u can be",
				 info->count, index, limits[index]);
	if (info->count > 0 && (info->flags & VFIO_USER_IRQ_EVENTFD) == 0)
		return peer_lose(peer, "interrupts of kind %u take no eventfd", index);
	return 0;
}

static int get_irq(struct vfio_user *v, unsigned index)
{
	const struct vfio_user_irq_info question = { .argsz = sizeof(question), .index = index };
	const struct peer_payload payload = { .head = &question, .head_size = sizeof(question) };
	struct vfio_user_irq_info info;
	struct peer_message reply;
	int ret = call(v, VFIO_USER_DEVICE_GET_IRQ_INFO, &payload, sizeof(info), &reply);
	if (ret == -EIO)
		return 0; // the device has no such interrupts
	if (ret < 0)
		return ret;
	memcpy(&info, reply.payload, sizeof(info));
	peer_message_deinit(&reply);
	if (check_irq(&v->peer, index, &info) < 0)
		return lost(v);
	v->irqs[index].count = info.count;
	v->irqs[index].automasked = (info.flags & VFIO_USER_IRQ_AUTOMASKED) != 0;
	return 0;
}

static int learn(struct vfio_user *v)
{
	struct vfio_user_device_info info;
	int ret = greet(v);
	if (ret == 0)
		ret = get_info(v, &info);
	if (ret == 0 && (info.flags & VFIO_USER_DEVICE_RESETS) != 0)
		ret = reset(v);
	for (unsigned i = 0; ret == 0 && i < info.num_regions && i < PCI_N_REGIONS; i++)
		ret = get_region(v, i);
	for (unsigned i = 0; ret == 0 && i < info.num_irqs && i < PCI_N_IRQS; i++)
		ret = get_irq(v, i);
	return ret;
}

static void on_readable(void *context, uint32_t ready)
{
	struct vfio_user *v = context;
	(void)ready;
	if (peer_dispatch(&v->peer) < 0)
		lost(v);
}

static void close_backend(struct pci_backend *backend)
{
	struct vfio_user *v = from_base(backend);
	v->source = v->source != NULL ? fd_source_close(v->source) : NULL;
	for (unsigned i = 0; i < PCI_N_REGIONS; i++)
		close_fdp(&v->regions[i].fd);
	peer_deinit(&v->peer);
	free(v);
}

static int open_backend(struct pci_backend **out, struct device_handover *handover,
			void (*on_lost)(void *context, const char *reason), void *context)
{
	CLEANUP(close_fdp) int fd = handover_take_fd(handover, 0);
	struct vfio_user *v = fd >= 0 ? calloc(1, sizeof(*v)) : NULL;
	if (v == NULL) {
		refuse(kIOReturnNoResources, "no memory, or no socket to the vfio-user device");
		return fd >= 0 ? -ENOMEM : -EBADF;
	}
	v->base.ops = &vfio_user_backend;
	v->on_lost = on_lost;
	v->context = context;
	for (unsigned i = 0; i < PCI_N_REGIONS; i++)
		v->regions[i].fd = -1;
	peer_init(&v->peer, steal_fd(&fd));

	int ret = learn(v);
	if (ret == 0 && handover->queue != NULL) {
		ret = fd_source_open(&v->source, v->peer.fd, EPOLLIN, handover->queue, on_readable,
				     v);
		if (ret < 0)
			refuse(kIOReturnNoResources, "no event source for the device's socket");
	}
	if (ret < 0) {
		close_backend(&v->base);
		return ret;
	}
	v->is_open = true;
	*out = &v->base;
	return 0;
}

/* --- use --- */

static int region_info(struct pci_backend *backend, unsigned region, struct pci_region *info)
{
	*info = from_base(backend)->regions[region].info;
	return 0;
}

static int access_region(struct vfio_user *v, enum vfio_user_command command,
			 const struct vfio_user_region_access *access, const void *out, void *in)
{
	size_t out_size = out != NULL ? access->count : 0, in_size = in != NULL ? access->count : 0;
	const struct peer_payload payload = {
		.head = access, .tail = out, .head_size = sizeof(*access), .tail_size = out_size
	};
	struct vfio_user_region_access done;
	struct peer_message reply;
	int ret = call(v, command, &payload, sizeof(done) + in_size, &reply);
	if (ret < 0)
		return ret;
	memcpy(&done, reply.payload, sizeof(done));
	if (done.offset != access->offset || done.region != access->region ||
	    done.count != access->count || reply.size != sizeof(done) + in_size)
		ret = peer_lose(&v->peer, "the device answered for another access than was asked");
	else if (in != NULL)
		memcpy(in, reply.payload + sizeof(done), in_size);
	peer_message_deinit(&reply);
	return ret < 0 ? lost(v) : 0;
}

static int read_region(struct pci_backend *backend, unsigned region, uint64_t offset, void *data,
		       size_t size)
{
	const struct vfio_user_region_access access = { offset, region, (uint32_t)size };
	return access_region(from_base(backend), VFIO_USER_REGION_READ, &access, NULL, data);
}

static int write_region(struct pci_backend *backend, unsigned region, uint64_t offset,
			const void *data, size_t size)
{
	const struct vfio_user_region_access access = { offset, region, (uint32_t)size };
	return access_region(from_base(backend), VFIO_USER_REGION_WRITE, &access, data, NULL);
}

static int region_fd(struct pci_backend *backend, unsigned index, int *fd, uint64_t *offset)
{
	struct region *region = &from_base(backend)->regions[index];
	int ret = check_fd(index, region);
	if (ret < 0)
		return ret;
	int copy = fcntl(region->fd, F_DUPFD_CLOEXEC, 0);
	if (copy < 0) {
		ret = -errno;
		refuse(kIOReturnNoResources, "no descriptor is left for region %u", index);
		return ret;
	}
	*fd = copy;
	*offset = region->fd_offset;
	return 0;
}

/* --- interrupts --- */

static int irq_count(struct pci_backend *backend, enum pci_irq kind, unsigned *count)
{
	*count = from_base(backend)->irqs[kind].count;
	return 0;
}

static int set_irqs(struct vfio_user *v, struct vfio_user_irq_set *set, const int *fd)
{
	set->argsz = sizeof(*set);
	const struct peer_payload payload = { .head = set, .head_size = sizeof(*set), .fd = fd };
	return call_plainly(v, VFIO_USER_DEVICE_SET_IRQS, &payload);
}

/* A device needs no warning of how many vectors there will be. */
static int set_irq(struct pci_backend *backend, const struct pci_vector *vector, int event_fd)
{
	struct vfio_user_irq_set set = {
		.flags = VFIO_USER_IRQ_DATA_EVENTFD | VFIO_USER_IRQ_ACTION_TRIGGER,
		.index = vector->kind,
		.start = vector->number,
		.count = 1,
	};
	return set_irqs(from_base(backend), &set, event_fd >= 0 ? &event_fd : NULL);
}

static int unmask_intx(struct pci_backend *backend)
{
	struct vfio_user *v = from_base(backend);
	struct vfio_user_irq_set set = {
		.flags = VFIO_USER_IRQ_DATA_NONE | VFIO_USER_IRQ_ACTION_UNMASK,
		.index = PCI_IRQ_INTX,
		.count = 1,
	};
	return v->irqs[PCI_IRQ_INTX].automasked ? set_irqs(v, &set, NULL) : 0;
}

/* --- DMA --- */

/* Pages are what every device has to accept; of addresses, any is as good as another. */
static int dma_limits(struct pci_backend *backend, struct iommu_limits *limits)
{
	(void)backend;
	*limits = (struct iommu_limits){ .page_size = DMA_PAGE_SIZE,
					 .ranges = { { 0, DMA_ADDRESS_LAST } },
					 .n_ranges = 1 };
	return 0;
}

/* The device's process gets the file, and could look at all of it: it is trusted with a memory as
 * the device is that it plays. */
static int dma_map(struct pci_backend *backend, const struct iommu_mapping *mapping)
{
	const struct vfio_user_dma_map map = {
		.argsz = sizeof(map),
		.flags = (mapping->readable ? VFIO_USER_DMA_READABLE : 0) |
			 (mapping->writable ? VFIO_USER_DMA_WRITABLE : 0),
		.offset = mapping->offset,
		.address = mapping->address,
		.size = mapping->length,
	};
	const struct peer_payload payload = { .head = &map,
					      .head_size = sizeof(map),
					      .fd = &mapping->fd };
	return call_plainly(from_base(backend), VFIO_USER_DMA_MAP, &payload);
}

static int dma_unmap(struct pci_backend *backend, uint64_t address, uint64_t length)
{
	const struct vfio_user_dma_unmap unmap = { .argsz = sizeof(unmap),
						   .address = address,
						   .size = length };
	const struct peer_payload payload = { .head = &unmap, .head_size = sizeof(unmap) };
	return call_plainly(from_base(backend), VFIO_USER_DMA_UNMAP, &payload);
}

static const struct pci_backend_ops vfio_user_backend = {
	.name = "vfio-user",
	.open = open_backend,
	.close = close_backend,
	.region_info = region_info,
	.read = read_region,
	.write = write_region,
	.region_fd = region_fd,
	.irq_count = irq_count,
	.set_irq = set_irq,
	.unmask_intx = unmask_intx,
	.dma_limits = dma_limits,
	.dma_map = dma_map,
	.dma_unmap = dma_unmap,
};

__attribute__((constructor)) static void register_vfio_user(void)
{
	pci_backend_register(&vfio_user_backend);
}
