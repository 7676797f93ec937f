/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The VFIO backend: a real PCI function, through the container and the device descriptor that dextd
 * opened, and the sysfs resource descriptors of the BARs that the driver declared as client-mapped.
 *
 * The driver's own accesses to a BAR go through a mapping of the device descriptor, made on first
 * use and guarded: with memory decoding off, or after a reset, a touch is an error and no death.
 * Configuration space, and what cannot be mapped, goes through pread and pwrite.
 *
 * A client-mapped BAR is never touched through VFIO: the kernel would take it away from everybody
 * who mapped its resource file (that is how dextd revokes it). It is reached through its memory
 * alone, by the driver too.
 */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <base/cleanup.h>
#include <base/fault.h>
#include <base/list.h>
#include <base/reason.h>
#include <families/pci/pci_backend.h>

enum { N_REGIONS = VFIO_PCI_CONFIG_REGION_INDEX + 1, N_RESOURCES = VFIO_PCI_ROM_REGION_INDEX };

struct region {
	struct pci_region info;
	off_t offset;    // in the device descriptor
	bool has_mmap;   // the kernel lets it be mapped: its pages hold nothing else
	int resource_fd; // owned; -1: not client-mapped
	bool is_guarded; // mapped here: guard.address
	struct fault_guard guard;
};

struct vfio {
	struct pci_backend base;
	unsigned n_irqs[PCI_N_IRQS];
	unsigned n_heard; // interrupts with an eventfd, all of one kind
	int container_fd; // owned: with it goes all DMA that was mapped
	int device_fd;    // owned
	bool is_lost;
	void (*on_lost)(void *context, const char *reason);
	void *context;
	struct region regions[N_REGIONS];
};

static const struct pci_backend_ops vfio_backend;

static struct vfio *from_base(struct pci_backend *backend)
{
	assert(backend->ops == &vfio_backend);
	return container_of(backend, struct vfio, base);
}

/* The error of a system call, with what failed. A vanished device is told once. */
static int failed(struct vfio *v, const char *what, int error)
{
	refuse(return_from_errno(-error), "%s: %s", what, strerror(error));
	if (error == ENODEV && !v->is_lost && v->on_lost != NULL) {
		v->is_lost = true;
		v->on_lost(v->context, "the kernel says that the device is gone");
	}
	return -error;
}

/* --- opening --- */

static int get_region(struct vfio *v, unsigned index)
{
	struct region *region = &v->regions[index];
	struct vfio_region_info info = { .argsz = sizeof(info), .index = index };
	if (ioctl(v->device_fd, VFIO_DEVICE_GET_REGION_INFO, &info) < 0)
		return failed(v, "VFIO_DEVICE_GET_REGION_INFO", errno);
	region->info = (struct pci_region){
		.size = info.size,
		.readable = (info.flags & VFIO_REGION_INFO_FLAG_READ) != 0,
		.writable = (info.flags & VFIO_REGION_INFO_FLAG_WRITE) != 0,
	};
	region->offset = (off_t)info.offset;
	region->has_mmap = (info.flags & VFIO_REGION_INFO_FLAG_MMAP) != 0;
	region->info.mappable = region->resource_fd >= 0 && region->has_mmap;
	return 0;
}

static int get_irq(struct vfio *v, unsigned index)
{
	const uint32_t needed = index == PCI_IRQ_INTX
					? VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_AUTOMASKED
					: VFIO_IRQ_INFO_EVENTFD;
	struct vfio_irq_info info = { .argsz = sizeof(info), .index = index };
	if (ioctl(v->device_fd, VFIO_DEVICE_GET_IRQ_INFO, &info) < 0)
		return failed(v, "VFIO_DEVICE_GET_IRQ_INFO", errno);
	if ((info.flags & needed) == needed)
		v->n_irqs[index] = info.count;
	return 0;
}

static int learn(struct vfio *v)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };
	if (ioctl(v->device_fd, VFIO_DEVICE_GET_INFO, &info) < 0)
		return failed(v, "VFIO_DEVICE_GET_INFO", errno);
	if ((info.flags & VFIO_DEVICE_FLAGS_PCI) == 0 || info.num_regions < N_REGIONS) {
		refuse(kIOReturnUnsupported, "the VFIO device is not a PCI function");
		return -EOPNOTSUPP;
	}
	int ret = 0;
	for (unsigned i = 0; ret == 0 && i < N_REGIONS; i++)
		ret = get_region(v, i);
	for (unsigned i = 0; ret == 0 && i < PCI_N_IRQS; i++)
		ret = get_irq(v, i);
	return ret;
}

static void unmap_region(struct region *region)
{
	if (!region->is_guarded)
		return;
	fault_guard_remove(&region->guard);
	munmap(region->guard.address, region->guard.length);
	region->is_guarded = false;
}

static void close_backend(struct pci_backend *backend)
{
	struct vfio *v = from_base(backend);
	for (unsigned i = 0; i < N_REGIONS; i++) {
		unmap_region(&v->regions[i]);
		close_fdp(&v->regions[i].resource_fd);
	}
	close_fdp(&v->device_fd);
	close_fdp(&v->container_fd);
	free(v);
}

static int open_backend(struct pci_backend **out, struct device_handover *handover,
			void (*on_lost)(void *context, const char *reason), void *context)
{
	struct vfio *v = calloc(1, sizeof(*v));
	if (v == NULL) {
		refuse(kIOReturnNoMemory, "out of memory for the VFIO device");
		return -ENOMEM;
	}
	v->base.ops = &vfio_backend;
	v->container_fd = handover_take_fd(handover, 0);
	v->device_fd = handover_take_fd(handover, 1);
	for (unsigned i = 0; i < N_REGIONS; i++)
		v->regions[i].resource_fd =
			i < N_RESOURCES ? handover_take_fd(handover, 2 + i) : -1;
	int ret = -EBADF;
	if (v->container_fd < 0 || v->device_fd < 0)
		refuse(kIOReturnBadArgument, "the VFIO container or device was not handed over");
	else
		ret = learn(v);
	if (ret < 0) {
		close_backend(&v->base);
		return ret;
	}
	v->on_lost = on_lost;
	v->context = context;
	*out = &v->base;
	return 0;
}

/* --- the driver's own accesses --- */

static int region_info(struct pci_backend *backend, unsigned region, struct pci_region *info)
{
	*info = from_base(backend)->regions[region].info;
	return 0;
}

static size_t whole_pages(uint64_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	return ((size_t)size + page - 1) / page * page;
}

/* Map the region here if the kernel lets us; else pread and pwrite serve it. */
static bool map_region(struct vfio *v, struct region *region)
{
	if (region->is_guarded || !region->has_mmap || !region->info.readable)
		return region->is_guarded;
	size_t length = whole_pages(region->info.size);
	int protection = PROT_READ | (region->info.writable ? PROT_WRITE : 0);
	void *address = mmap(NULL, length, protection, MAP_SHARED, v->device_fd, region->offset);
	if (address == MAP_FAILED)
		return false;
	region->guard = (struct fault_guard){ .address = address, .length = length };
	if (fault_guard_add(&region->guard) < 0) {
		munmap(address, length);
		return false;
	}
	region->is_guarded = true;
	return true;
}

static void load(const volatile void *from, void *to, size_t size)
{
	switch (size) {
	case 1:
		*(uint8_t *)to = *(const volatile uint8_t *)from;
		break;
	case 2:
		memcpy(to, &(uint16_t){ *(const volatile uint16_t *)from }, size);
		break;
	case 4:
		memcpy(to, &(uint32_t){ *(const volatile uint32_t *)from }, size);
		break;
	default:
		memcpy(to, &(uint64_t){ *(const volatile uint64_t *)from }, size);
		break;
	}
}

static void store(volatile void *to, const void *from, size_t size)
{
	union {
		uint8_t u8;
		uint16_t u16;
		uint32_t u32;
		uint64_t u64;
	} value;
	memcpy(&value, from, size);
	switch (size) {
	case 1:
		*(volatile uint8_t *)to = value.u8;
		break;
	case 2:
		*(volatile uint16_t *)to = value.u16;
		break;
	case 4:
		*(volatile uint32_t *)to = value.u32;
		break;
	default:
		*(volatile uint64_t *)to = value.u64;
		break;
	}
}

/* A lost mapping is given up: the next access maps anew, for decoding may be on again by then. */
static int check_guard(struct region *region, unsigned index)
{
	if (atomic_load(&region->guard.lost) == 0)
		return 0;
	unmap_region(region);
	refuse(kIOReturnVMError,
	       "the mapping of BAR%u was taken away: memory decoding went off, or the device was "
	       "reset",
	       index);
	return -EFAULT;
}

static int check_own(const struct region *region, unsigned index)
{
	if (region->resource_fd < 0)
		return 0;
	refuse(kIOReturnUnsupported,
	       "BAR%u is declared as client-mapped (OpenDextClientMappedBARs), so it is reached "
	       "through its memory alone, and that cannot be mapped here",
	       index);
	return -EOPNOTSUPP;
}

static int read_region(struct pci_backend *backend, unsigned index, uint64_t offset, void *data,
		       size_t size)
{
	struct vfio *v = from_base(backend);
	struct region *region = &v->regions[index];
	int ret = check_own(region, index);
	if (ret < 0)
		return ret;
	if (map_region(v, region)) {
		load((const char *)region->guard.address + offset, data, size);
		return check_guard(region, index);
	}
	ssize_t n = pread(v->device_fd, data, size, region->offset + (off_t)offset);
	if (n == (ssize_t)size)
		return 0;
	return failed(v, "reading through VFIO", n < 0 ? errno : EIO);
}

static int write_region(struct pci_backend *backend, unsigned index, uint64_t offset,
			const void *data, size_t size)
{
	struct vfio *v = from_base(backend);
	struct region *region = &v->regions[index];
	int ret = check_own(region, index);
	if (ret < 0)
		return ret;
	if (map_region(v, region)) {
		store((char *)region->guard.address + offset, data, size);
		return check_guard(region, index);
	}
	ssize_t n = pwrite(v->device_fd, data, size, region->offset + (off_t)offset);
	if (n == (ssize_t)size)
		return 0;
	return failed(v, "writing through VFIO", n < 0 ? errno : EIO);
}

/* --- a descriptor for others --- */

/* Some kernels refuse the resource file once VFIO has the device: try, before anyone relies on it.
 */
static int check_resource(const struct region *region, unsigned index)
{
	struct stat st;
	if (fstat(region->resource_fd, &st) < 0 || (uint64_t)st.st_size < region->info.size) {
		refuse(kIOReturnUnsupported,
		       "the resource file of BAR%u is smaller than its %" PRIu64 " bytes", index,
		       region->info.size);
		return -EOPNOTSUPP;
	}
	size_t length = whole_pages(region->info.size);
	void *address = mmap(NULL, length, PROT_READ, MAP_SHARED, region->resource_fd, 0);
	if (address == MAP_FAILED) {
		refuse(kIOReturnUnsupported,
		       "this kernel does not let BAR%u be mapped from its resource file while VFIO "
		       "holds the device (%s); 6.12 and older do, without lockdown",
		       index, strerror(errno));
		return -EOPNOTSUPP;
	}
	munmap(address, length);
	return 0;
}

static int region_fd(struct pci_backend *backend, unsigned index, int *fd, uint64_t *offset)
{
	struct region *region = &from_base(backend)->regions[index];
	if (region->resource_fd < 0) {
		refuse(kIOReturnUnsupported,
		       "BAR%u cannot be given away: VFIO has no dma-buf of it that can be mapped, "
		       "and dextd handed over no resource file: either %u is not in the "
		       "personality's OpenDextClientMappedBARs, or the kernel does not let that file "
		       "be mapped (dextd's log says so)",
		       index, index);
		return -EOPNOTSUPP;
	}
	if (!region->has_mmap) {
		refuse(kIOReturnUnsupported,
		       "BAR%u shares its page with something else, so it cannot be mapped", index);
		return -EOPNOTSUPP;
	}
	int ret = check_resource(region, index);
	if (ret < 0)
		return ret;
	int copy = fcntl(region->resource_fd, F_DUPFD_CLOEXEC, 0);
	if (copy < 0) {
		ret = -errno;
		refuse(kIOReturnNoResources, "no descriptor is left for BAR%u", index);
		return ret;
	}
	*fd = copy;
	*offset = 0;
	return 0;
}

/* --- interrupts --- */

_Static_assert((int)PCI_IRQ_INTX == VFIO_PCI_INTX_IRQ_INDEX &&
		       (int)PCI_IRQ_MSI == VFIO_PCI_MSI_IRQ_INDEX &&
		       (int)PCI_IRQ_MSIX == VFIO_PCI_MSIX_IRQ_INDEX,
	       "the kinds have VFIO's numbers");

static int irq_count(struct pci_backend *backend, enum pci_irq kind, unsigned *count)
{
	*count = from_base(backend)->n_irqs[kind];
	return 0;
}

static int set_irqs(struct vfio *v, struct vfio_irq_set *set)
{
	if (ioctl(v->device_fd, VFIO_DEVICE_SET_IRQS, set) < 0)
		return failed(v, "VFIO_DEVICE_SET_IRQS", errno);
	return 0;
}

/* Eventfds for `n` vectors from `start` on; -1: none. */
static int set_eventfds(struct vfio *v, enum pci_irq kind, unsigned start, const int *fds,
			unsigned n)
{
	size_t size = sizeof(struct vfio_irq_set) + n * sizeof(*fds);
	struct vfio_irq_set *set = calloc(1, size);
	if (set == NULL) {
		refuse(kIOReturnNoMemory, "out of memory for %u interrupts", n);
		return -ENOMEM;
	}
	*set = (struct vfio_irq_set){
		.argsz = (uint32_t)size,
		.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
		.index = kind,
		.start = start,
		.count = n,
	};
	memcpy(set->data, fds, n * sizeof(*fds));
	int ret = set_irqs(v, set);
	free(set);
	return ret;
}

/* The kernel switches a kind on with all its vectors, and may not add one later. */
static int switch_on(struct vfio *v, const struct pci_vector *vector, int event_fd)
{
	int fds[PCI_MSIX_MAX];
	for (unsigned i = 0; i < vector->n_vectors; i++)
		fds[i] = i == vector->number ? event_fd : -1;
	return set_eventfds(v, vector->kind, 0, fds, vector->n_vectors);
}

static int switch_off(struct vfio *v, enum pci_irq kind)
{
	struct vfio_irq_set set = {
		.argsz = sizeof(set),
		.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
		.index = kind,
	};
	return set_irqs(v, &set);
}

static int set_irq(struct pci_backend *backend, const struct pci_vector *vector, int event_fd)
{
	struct vfio *v = from_base(backend);
	if (event_fd < 0 && --v->n_heard == 0)
		return switch_off(v, vector->kind);
	int ret = event_fd >= 0 && v->n_heard == 0
			  ? switch_on(v, vector, event_fd)
			  : set_eventfds(v, vector->kind, vector->number, &event_fd, 1);
	if (ret == 0 && event_fd >= 0)
		v->n_heard++;
	return ret;
}

static int unmask_intx(struct pci_backend *backend)
{
	struct vfio_irq_set set = {
		.argsz = sizeof(set),
		.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK,
		.index = VFIO_PCI_INTX_IRQ_INDEX,
		.count = 1,
	};
	return set_irqs(from_base(backend), &set);
}

/* --- DMA --- */

/* Room for the container's description with its capabilities. */
union iommu_info {
	struct vfio_iommu_type1_info info;
	uint8_t bytes[4096];
};

/* The capability with the usable addresses; NULL: there is none. */
static const struct vfio_iommu_type1_info_cap_iova_range *find_ranges(const union iommu_info *u)
{
	uint32_t at = (u->info.flags & VFIO_IOMMU_INFO_CAPS) != 0 ? u->info.cap_offset : 0;
	while (at >= sizeof(u->info) &&
	       at <= sizeof(u->bytes) - sizeof(struct vfio_info_cap_header)) {
		const struct vfio_info_cap_header *header = (const void *)&u->bytes[at];
		if (header->id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)
			return (const void *)header;
		at = header->next > at ? header->next : 0;
	}
	return NULL;
}

static int dma_limits(struct pci_backend *backend, struct iommu_limits *limits)
{
	struct vfio *v = from_base(backend);
	_Alignas(uint64_t) union iommu_info u = { .info = { .argsz = sizeof(u) } };
	if (ioctl(v->container_fd, VFIO_IOMMU_GET_INFO, &u) < 0)
		return failed(v, "VFIO_IOMMU_GET_INFO", errno);
	const struct vfio_iommu_type1_info_cap_iova_range *found =
		u.info.argsz <= sizeof(u) ? find_ranges(&u) : NULL;
	if ((u.info.flags & VFIO_IOMMU_INFO_PGSIZES) == 0 || found == NULL) {
		refuse(kIOReturnUnsupported,
		       "the kernel does not say which addresses the IOMMU has");
		return -EOPNOTSUPP;
	}
	*limits = (struct iommu_limits){ .page_size = u.info.iova_pgsizes & -u.info.iova_pgsizes };
	for (unsigned i = 0; i < found->nr_iovas && i < IOMMU_RANGES_MAX; i++)
		limits->ranges[limits->n_ranges++] =
			(struct iommu_range){ found->iova_ranges[i].start,
					      found->iova_ranges[i].end };
	return 0;
}

/* The kernel pins the pages, which stay the device's when they are not mapped here any more. */
static int dma_map(struct pci_backend *backend, const struct iommu_mapping *mapping)
{
	struct vfio *v = from_base(backend);
	int protection = PROT_READ | (mapping->writable ? PROT_WRITE : 0);
	void *memory = mmap(NULL, mapping->length, protection, MAP_SHARED, mapping->fd,
			    (off_t)mapping->offset);
	if (memory == MAP_FAILED)
		return failed(v, "mapping memory for DMA", errno);
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = (mapping->readable ? VFIO_DMA_MAP_FLAG_READ : 0) |
			 (mapping->writable ? VFIO_DMA_MAP_FLAG_WRITE : 0),
		.vaddr = (uintptr_t)memory,
		.iova = mapping->address,
		.size = mapping->length,
	};
	int ret = 0;
	if (ioctl(v->container_fd, VFIO_IOMMU_MAP_DMA, &map) < 0)
		ret = failed(v, "VFIO_IOMMU_MAP_DMA (ENOMEM: see RLIMIT_MEMLOCK)", errno);
	munmap(memory, mapping->length);
	return ret;
}

static int dma_unmap(struct pci_backend *backend, uint64_t address, uint64_t length)
{
	struct vfio *v = from_base(backend);
	struct vfio_iommu_type1_dma_unmap unmap = { .argsz = sizeof(unmap),
						    .iova = address,
						    .size = length };
	if (ioctl(v->container_fd, VFIO_IOMMU_UNMAP_DMA, &unmap) < 0)
		return failed(v, "VFIO_IOMMU_UNMAP_DMA", errno);
	if (unmap.size == length)
		return 0;
	refuse(kIOReturnInternalError, "the kernel unmapped %llu bytes of %llu",
	       (unsigned long long)unmap.size, (unsigned long long)length);
	return -EIO;
}

static const struct pci_backend_ops vfio_backend = {
	.name = "vfio",
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

__attribute__((constructor)) static void register_vfio(void)
{
	pci_backend_register(&vfio_backend);
}
