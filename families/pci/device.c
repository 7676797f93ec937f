/* SPDX-License-Identifier: Apache-2.0 */

/*
 * IOPCIDevice: the provider of a PCI driver, and the PCI family.
 *
 * A session belongs to one service. Without one, and after the device is lost, every read gives all
 * ones and every write is dropped; each such access is logged with its reason, at most LOG_MAX
 * times per device, so that a driver in a loop cannot flood the log.
 *
 * Device memory whose region has a descriptor is mapped on first use, through the same memory
 * descriptor that CopyDeviceMemoryWithIndex hands out (there is one per memory index, so a client
 * that asks twice gets the same). Regions without one are reached through the backend. A mapping
 * once published is kept until the object is freed: readers take no lock.
 *
 * No lock is held while the backend is visited: what is made there is published after, and who
 * comes second throws its own away.
 */

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <PCIDriverKit/PCIDriverKit.h>
#include <base/log.h>
#include <base/reason.h>
#include <families/pci/dma.h>
#include <families/pci/function.h>
#include <families/pci/identity.h>
#include <families/pci/interrupts.h>
#include <families/service/service.h>
#include <runtime/memory.h>

enum { LOG_MAX = 16 };

enum mapping_state { MAPPING_UNTRIED, MAPPING_PRESENT, MAPPING_ABSENT };

/* One memory index in this process. */
struct pci_mapping {
	_Atomic int state; // enum mapping_state; `map` and `address` are constant once it is set
	IOMemoryMap *map;  // owned; NULL: absent
	uint64_t address;
	IOMemoryDescriptor *memory; // owned; guarded by `lock`; NULL: not asked for yet
};

struct IOPCIDevice_IVars {
	struct pci_function function;
	bool is_open; // the function is: there is something to close
	struct pci_interrupts interrupts;
	struct pci_dma dma;
	_Atomic(IOService *) session; // borrowed from whoever opened; NULL: closed
	_Atomic unsigned n_logged;
	pthread_mutex_t lock;
	struct pci_mapping mappings[PCI_N_MEMORIES];
};

/* --- object life --- */

bool IMPL(IOPCIDevice, init)
{
	if (!IOPCIDevice_super_init(self))
		return false;
	self->ivars = calloc(1, sizeof(*self->ivars));
	if (self->ivars == NULL)
		return false;
	pthread_mutex_init(&self->ivars->lock, NULL);
	return true;
}

void IMPL(IOPCIDevice, free)
{
	struct IOPCIDevice_IVars *device = self->ivars;
	if (device != NULL) {
		for (unsigned i = 0; i < PCI_N_MEMORIES; i++) {
			OSSafeReleaseNULL(device->mappings[i].map);
			OSSafeReleaseNULL(device->mappings[i].memory);
		}
		pci_interrupts_close(&device->interrupts);
		pci_dma_close(&device->dma);
		if (device->is_open)
			pci_function_close(&device->function);
		pthread_mutex_destroy(&device->lock);
		free(device);
		self->ivars = NULL;
	}
	IOPCIDevice_super_free(self);
}

/* --- sessions --- */

static const char *name_of(const IOService *service)
{
	return service->super.meta->name;
}

/* Memory decoding and bus mastering off: whatever the driver left running, the device is quiet. */
static void quiesce(struct pci_function *function)
{
	uint64_t command;
	const uint64_t off = kIOPCICommandMemorySpace | kIOPCICommandBusLead;
	kern_return_t ret = pci_function_read(function, PCI_REGION_CONFIG,
					      kIOPCIConfigurationOffsetCommand, 2, &command);
	if (ret == kIOReturnSuccess)
		ret = pci_function_write(function, PCI_REGION_CONFIG,
					 kIOPCIConfigurationOffsetCommand, 2, command & ~off);
	if (ret != kIOReturnSuccess && !atomic_load(&function->lost))
		log_warn("closing the PCI device: %s", reason_last());
}

/* The device is quiet before another service can open it. */
static bool end_session(IOPCIDevice *self, IOService *client)
{
	struct IOPCIDevice_IVars *device = self->ivars;
	if (client == NULL || atomic_load(&device->session) != client)
		return false;
	pci_interrupts_end(&device->interrupts);
	quiesce(&device->function);
	return atomic_compare_exchange_strong(&device->session, &client, NULL);
}

kern_return_t IOPCIDevice_Open(IOPCIDevice *self, IOService *forClient, IOOptionBits options)
{
	if (self == NULL || forClient == NULL || options != 0)
		return refuse(kIOReturnBadArgument,
			      "Open takes the service that will use the device, and options 0");
	struct IOPCIDevice_IVars *device = self->ivars;
	if (atomic_load(&device->function.lost))
		return refuse(kIOReturnNoDevice, "the device is gone");
	IOService *holder = NULL;
	if (!atomic_compare_exchange_strong(&device->session, &holder, forClient))
		return refuse(kIOReturnExclusiveAccess, "%s has the device open",
			      holder == forClient ? "this service already" : "another service");
	pci_interrupts_begin(&device->interrupts);
	/* Asked now: if it ends from here on, that finds the session. */
	if (service_may_open(forClient) == kIOReturnSuccess)
		return kIOReturnSuccess;
	(void)end_session(self, forClient);
	return service_may_open(forClient); // the reason, after all that closing may have said
}

void IOPCIDevice_Close(IOPCIDevice *self, IOService *forClient, IOOptionBits options)
{
	if (self == NULL || forClient == NULL || options != 0)
		log_warn("IOPCIDevice_Close takes the service that opened it, and options 0");
	else if (!end_session(self, forClient))
		log_warn("IOPCIDevice_Close: %s does not have the device open", name_of(forClient));
}

/* --- accesses --- */

static bool has_session(IOPCIDevice *self)
{
	if (atomic_load_explicit(&self->ivars->session, memory_order_acquire) != NULL)
		return true;
	refuse(kIOReturnNotOpen, "the device is not open: call IOPCIDevice_Open first");
	return false;
}

static void log_failure(IOPCIDevice *self, const char *what)
{
	unsigned n = atomic_fetch_add(&self->ivars->n_logged, 1);
	if (n < LOG_MAX)
		log_warn("%s: %s%s", what, reason_last(),
			 n + 1 == LOG_MAX ? " (further failures are not logged)" : "");
}

/* What a bus answers when nobody does. */
static uint64_t all_ones(size_t size)
{
	return UINT64_MAX >> (64 - 8 * size);
}

static uint64_t config_read(IOPCIDevice *self, uint64_t offset, size_t size)
{
	uint64_t value;
	if (self == NULL)
		return all_ones(size);
	if (has_session(self) && pci_function_read(&self->ivars->function, PCI_REGION_CONFIG,
						   offset, size, &value) == kIOReturnSuccess)
		return value;
	log_failure(self, "ConfigurationRead");
	return all_ones(size);
}

static void config_write(IOPCIDevice *self, uint64_t offset, size_t size, uint64_t value)
{
	if (self == NULL)
		return;
	if (!has_session(self) || pci_function_write(&self->ivars->function, PCI_REGION_CONFIG,
						     offset, size, value) != kIOReturnSuccess)
		log_failure(self, "ConfigurationWrite");
}

void IOPCIDevice_ConfigurationRead8(IOPCIDevice *self, uint64_t offset, uint8_t *readData)
{
	*readData = (uint8_t)config_read(self, offset, sizeof(*readData));
}

void IOPCIDevice_ConfigurationRead16(IOPCIDevice *self, uint64_t offset, uint16_t *readData)
{
	*readData = (uint16_t)config_read(self, offset, sizeof(*readData));
}

void IOPCIDevice_ConfigurationRead32(IOPCIDevice *self, uint64_t offset, uint32_t *readData)
{
	*readData = (uint32_t)config_read(self, offset, sizeof(*readData));
}

void IOPCIDevice_ConfigurationWrite8(IOPCIDevice *self, uint64_t offset, uint8_t data)
{
	config_write(self, offset, sizeof(data), data);
}

void IOPCIDevice_ConfigurationWrite16(IOPCIDevice *self, uint64_t offset, uint16_t data)
{
	config_write(self, offset, sizeof(data), data);
}

void IOPCIDevice_ConfigurationWrite32(IOPCIDevice *self, uint64_t offset, uint32_t data)
{
	config_write(self, offset, sizeof(data), data);
}

static kern_return_t make_memory(struct IOPCIDevice_IVars *device, unsigned index,
				 IOMemoryDescriptor **memory)
{
	const struct pci_memory *range = &device->function.memories[index];
	bool writable = device->function.regions[range->region].writable;
	int fd;
	uint64_t offset;
	kern_return_t ret = pci_function_region_fd(&device->function, range->region, &fd, &offset);
	if (ret != kIOReturnSuccess)
		return ret;
	return memory_descriptor_create(fd, offset, range->size,
					writable ? kIOMemoryDirectionInOut : kIOMemoryDirectionOut,
					memory);
}

/* The one descriptor of a memory index, made on first use. Returned. */
static kern_return_t copy_memory(struct IOPCIDevice_IVars *device, unsigned index,
				 IOMemoryDescriptor **memory)
{
	struct pci_mapping *mapping = &device->mappings[index];
	pthread_mutex_lock(&device->lock);
	IOMemoryDescriptor *found = mapping->memory;
	OSObjectRetain(found);
	pthread_mutex_unlock(&device->lock);
	if (found == NULL) {
		IOMemoryDescriptor *made;
		kern_return_t ret = make_memory(device, index, &made);
		if (ret != kIOReturnSuccess)
			return ret;
		pthread_mutex_lock(&device->lock);
		if (mapping->memory == NULL) {
			mapping->memory = made;
			made = NULL;
		}
		found = mapping->memory;
		OSObjectRetain(found);
		pthread_mutex_unlock(&device->lock);
		OSObjectRelease(made);
	}
	*memory = found;
	return kIOReturnSuccess;
}

/* Map a memory index here, or learn that it cannot be. */
static void try_mapping(struct IOPCIDevice_IVars *device, unsigned index)
{
	struct pci_mapping *mapping = &device->mappings[index];
	IOMemoryDescriptor *memory = NULL;
	IOMemoryMap *map = NULL;
	if (device->function.regions[device->function.memories[index].region].mappable &&
	    copy_memory(device, index, &memory) == kIOReturnSuccess)
		IOMemoryDescriptor_CreateMapping(memory, 0, 0, 0, 0, 0, &map);
	OSObjectRelease(memory);

	pthread_mutex_lock(&device->lock);
	if (atomic_load(&mapping->state) == MAPPING_UNTRIED) {
		mapping->map = map;
		mapping->address = map != NULL ? IOMemoryMap_GetAddress(map) : 0;
		atomic_store(&mapping->state, map != NULL ? MAPPING_PRESENT : MAPPING_ABSENT);
		map = NULL;
	}
	pthread_mutex_unlock(&device->lock);
	OSObjectRelease(map);
}

/* A checked access to device memory: where it is. Refused with a reason. */
static kern_return_t find_memory(IOPCIDevice *self, uint8_t index, uint64_t offset, size_t size,
				 const struct pci_memory **range, struct pci_mapping **mapping)
{
	struct IOPCIDevice_IVars *device = self->ivars;
	if (!has_session(self))
		return kIOReturnNotOpen;
	if (atomic_load_explicit(&device->function.lost, memory_order_relaxed))
		return refuse(kIOReturnNoDevice, "the device is gone");
	if (index >= device->function.n_memories)
		return refuse(kIOReturnBadArgument, "memory index %u: the device has %u", index,
			      device->function.n_memories);
	*range = &device->function.memories[index];
	if (size > (*range)->size || offset > (*range)->size - size)
		return refuse(kIOReturnOverrun,
			      "%zu bytes at 0x%" PRIx64 " are beyond memory index %u, which has "
			      "0x%" PRIx64,
			      size, offset, index, (*range)->size);
	if (offset % size != 0)
		return refuse(kIOReturnNotAligned, "offset 0x%" PRIx64 " is not a multiple of %zu",
			      offset, size);
	*mapping = &device->mappings[index];
	if (atomic_load_explicit(&(*mapping)->state, memory_order_acquire) == MAPPING_UNTRIED)
		try_mapping(device, index);
	return kIOReturnSuccess;
}

static uint64_t load(uint64_t address, size_t size)
{
	switch (size) {
	case 1:
		return *(const volatile uint8_t *)(uintptr_t)address;
	case 2:
		return *(const volatile uint16_t *)(uintptr_t)address;
	case 4:
		return *(const volatile uint32_t *)(uintptr_t)address;
	default:
		return *(const volatile uint64_t *)(uintptr_t)address;
	}
}

static void store(uint64_t address, size_t size, uint64_t value)
{
	switch (size) {
	case 1:
		*(volatile uint8_t *)(uintptr_t)address = (uint8_t)value;
		break;
	case 2:
		*(volatile uint16_t *)(uintptr_t)address = (uint16_t)value;
		break;
	case 4:
		*(volatile uint32_t *)(uintptr_t)address = (uint32_t)value;
		break;
	default:
		*(volatile uint64_t *)(uintptr_t)address = value;
		break;
	}
}

static kern_return_t check_mapping(struct pci_mapping *mapping)
{
	if (IOMemoryMap_IsLost(mapping->map))
		return refuse(kIOReturnVMError, "the memory behind the mapping has vanished");
	return kIOReturnSuccess;
}

static uint64_t memory_read(IOPCIDevice *self, uint8_t index, uint64_t offset, size_t size)
{
	const struct pci_memory *range;
	struct pci_mapping *mapping;
	uint64_t value = 0;
	if (self == NULL)
		return all_ones(size);
	kern_return_t ret = find_memory(self, index, offset, size, &range, &mapping);
	if (ret == kIOReturnSuccess &&
	    atomic_load_explicit(&mapping->state, memory_order_acquire) == MAPPING_PRESENT) {
		value = load(mapping->address + offset, size);
		ret = check_mapping(mapping);
	} else if (ret == kIOReturnSuccess) {
		ret = pci_function_read(&self->ivars->function, range->region, offset, size,
					&value);
	}
	if (ret == kIOReturnSuccess)
		return value;
	log_failure(self, "MemoryRead");
	return all_ones(size);
}

static void memory_write(IOPCIDevice *self, uint8_t index, uint64_t offset, size_t size,
			 uint64_t value)
{
	const struct pci_memory *range;
	struct pci_mapping *mapping;
	if (self == NULL)
		return;
	kern_return_t ret = find_memory(self, index, offset, size, &range, &mapping);
	if (ret == kIOReturnSuccess &&
	    atomic_load_explicit(&mapping->state, memory_order_acquire) == MAPPING_PRESENT &&
	    self->ivars->function.regions[range->region].writable) {
		store(mapping->address + offset, size, value);
		ret = check_mapping(mapping);
	} else if (ret == kIOReturnSuccess) {
		ret = pci_function_write(&self->ivars->function, range->region, offset, size,
					 value);
	}
	if (ret != kIOReturnSuccess)
		log_failure(self, "MemoryWrite");
}

void IOPCIDevice_MemoryRead8(IOPCIDevice *self, uint8_t memoryIndex, uint64_t offset,
			     uint8_t *readData)
{
	*readData = (uint8_t)memory_read(self, memoryIndex, offset, sizeof(*readData));
}

void IOPCIDevice_MemoryRead16(IOPCIDevice *self, uint8_t memoryIndex, uint64_t offset,
			      uint16_t *readData)
{
	*readData = (uint16_t)memory_read(self, memoryIndex, offset, sizeof(*readData));
}

void IOPCIDevice_MemoryRead32(IOPCIDevice *self, uint8_t memoryIndex, uint64_t offset,
			      uint32_t *readData)
{
	*readData = (uint32_t)memory_read(self, memoryIndex, offset, sizeof(*readData));
}

void IOPCIDevice_MemoryRead64(IOPCIDevice *self, uint8_t memoryIndex, uint64_t offset,
			      uint64_t *readData)
{
	*readData = memory_read(self, memoryIndex, offset, sizeof(*readData));
}

void IOPCIDevice_MemoryWrite8(IOPCIDevice *self, uint8_t memoryIndex, uint64_t offset, uint8_t data)
{
	memory_write(self, memoryIndex, offset, sizeof(data), data);
}

void IOPCIDevice_MemoryWrite16(IOPCIDevice *self, uint8_t memoryIndex, uint64_t offset,
			       uint16_t data)
{
	memory_write(self, memoryIndex, offset, sizeof(data), data);
}

void IOPCIDevice_MemoryWrite32(IOPCIDevice *self, uint8_t memoryIndex, uint64_t offset,
			       uint32_t data)
{
	memory_write(self, memoryIndex, offset, sizeof(data), data);
}

void IOPCIDevice_MemoryWrite64(IOPCIDevice *self, uint8_t memoryIndex, uint64_t offset,
			       uint64_t data)
{
	memory_write(self, memoryIndex, offset, sizeof(data), data);
}

/* --- layout --- */

kern_return_t IOPCIDevice_GetBARInfo(IOPCIDevice *self, uint8_t barIndex, uint8_t *memoryIndex,
				     uint64_t *barSize, uint8_t *barType)
{
	if (self == NULL || barIndex >= PCI_N_MEMORIES)
		return refuse(kIOReturnBadArgument, "BAR %u: they are 0 to 5, and 6 for the ROM",
			      barIndex);
	const struct pci_function *function = &self->ivars->function;
	uint8_t index = function->memory_of_bar[barIndex];
	if (index == PCI_NO_MEMORY)
		return refuse(kIOReturnNotFound, "the device has no BAR%u", barIndex);
	if (memoryIndex != NULL)
		*memoryIndex = index;
	if (barSize != NULL)
		*barSize = function->memories[index].size;
	if (barType != NULL)
		*barType = function->memories[index].type;
	return kIOReturnSuccess;
}

static kern_return_t check_shareable(const struct pci_function *function, uint64_t index)
{
	if (index >= function->n_memories)
		return refuse(kIOReturnBadArgument, "memory index %" PRIu64 ": the device has %u",
			      index, function->n_memories);
	const struct pci_memory *range = &function->memories[index];
	if (range->type == kPCIBARTypeIO)
		return refuse(kIOReturnUnsupported, "BAR%u is I/O space, which cannot be mapped",
			      range->region);
	if (range->region == function->msix_region)
		return refuse(kIOReturnUnsupported,
			      "BAR%u holds the MSI-X table: whoever maps it can redirect "
			      "interrupts, so it is never given away",
			      range->region);
	return kIOReturnSuccess;
}

kern_return_t IOPCIDevice_CopyDeviceMemoryWithIndex(IOPCIDevice *self, uint64_t memoryIndex,
						    IOMemoryDescriptor **memory,
						    IOService *forClient)
{
	if (self == NULL || memory == NULL || forClient == NULL)
		return refuse(kIOReturnBadArgument,
			      "CopyDeviceMemoryWithIndex takes a place for the memory and the "
			      "service that has the device open");
	struct IOPCIDevice_IVars *device = self->ivars;
	if (atomic_load(&device->session) != forClient)
		return refuse(kIOReturnNotOpen,
			      "forClient (%s) does not have the device open: call "
			      "IOPCIDevice_Open with it first",
			      name_of(forClient));
	kern_return_t ret = check_shareable(&device->function, memoryIndex);
	if (ret != kIOReturnSuccess)
		return ret;
	return copy_memory(device, (unsigned)memoryIndex, memory);
}

kern_return_t IOPCIDevice_FindPCICapability(IOPCIDevice *self, uint32_t capabilityID,
					    uint64_t searchOffset, uint64_t *foundCapabilityOffset)
{
	if (self == NULL || foundCapabilityOffset == NULL)
		return refuse(kIOReturnBadArgument,
			      "FindPCICapability takes a place for the offset");
	if (!has_session(self))
		return kIOReturnNotOpen;
	return pci_function_find_capability(&self->ivars->function, capabilityID, searchOffset,
					    foundCapabilityOffset);
}

kern_return_t IOPCIDevice_ConfigureInterrupts(IOPCIDevice *self, uint32_t interruptType,
					      uint32_t numRequired, uint32_t numRequested,
					      IOOptionBits options)
{
	if (self == NULL || options != 0)
		return refuse(kIOReturnBadArgument, "ConfigureInterrupts takes options 0");
	if (!has_session(self))
		return kIOReturnNotOpen;
	return pci_interrupts_configure(&self->ivars->interrupts, interruptType, numRequired,
					numRequested);
}

/* --- the family --- */

static void device_lost(void *context, const char *reason)
{
	IOPCIDevice *self = context;
	provider_lost(IOPCIDevice_as_IOService(self), "%s", reason);
}

static kern_return_t create_provider(struct device_handover *handover, IOService **provider)
{
	IOPCIDevice *self = OSTypeAlloc(IOPCIDevice);
	if (self == NULL || !IOPCIDevice_init(self)) {
		OSObjectRelease(self);
		return refuse(kIOReturnNoMemory, "out of memory for the PCI device");
	}
	provider_identify(IOPCIDevice_as_IOService(self), handover);
	struct pci_function *function = &self->ivars->function;
	kern_return_t ret = pci_function_open(function, handover, device_lost, self);
	if (ret == kIOReturnSuccess) {
		self->ivars->is_open = true;
		ret = pci_check_identity(function, handover->properties);
	}
	if (ret == kIOReturnSuccess)
		ret = pci_interrupts_open(&self->ivars->interrupts, function);
	if (ret != kIOReturnSuccess) {
		OSObjectRelease(self);
		return ret;
	}
	pci_dma_open(&self->ivars->dma, function);
	*provider = IOPCIDevice_as_IOService(self);
	if (self->ivars->dma.iommu != NULL)
		service_set_iommu(*provider, self->ivars->dma.iommu);
	service_set_interrupts(*provider, self->ivars->interrupts.interrupts);
	return kIOReturnSuccess;
}

static void client_stopped(IOService *provider, IOService *client)
{
	IOPCIDevice *self = OSDynamicCast(IOPCIDevice, provider);
	if (self != NULL && end_session(self, client))
		log_info("%s stopped with the PCI device open: closed", name_of(client));
}

static const struct family_ops pci_family = {
	.provider_class = "IOPCIDevice",
	.create_provider = create_provider,
	.copy_identity = pci_copy_identity,
	.client_stopped = client_stopped,
};

__attribute__((constructor)) static void register_pci_family(void)
{
	family_register(&pci_family);
}
