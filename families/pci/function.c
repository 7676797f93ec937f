/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A function is opened once: the backend takes its descriptors, and then the layout is read from
 * it, region sizes first, then the BAR registers, which alone say what kind of memory a region is
 * and which two registers are one 64-bit BAR. A BAR that contradicts itself is left out and
 * logged; a function without a usable configuration space is refused.
 *
 * Calls into the backend run on its queue. A reason is thread-local, so what the backend refused
 * there is carried back to the caller's thread.
 */

#include <stdlib.h>
#include <string.h>

#include <DriverKit/OSCollections.h>
#include <PCIDriverKit/PCIDefinitions.h>
#include <base/list.h>
#include <base/log.h>
#include <base/reason.h>
#include <families/pci/function.h>
#include <runtime/queue.h>
#include <runtime/strand.h>

enum { CONFIG_SIZE_MIN = 64, CONFIG_SIZE_MAX = 4096 };

static void backend_lost(void *context, const char *reason)
{
	struct pci_function *function = context;
	if (!atomic_exchange(&function->lost, true) && atomic_load(&function->is_ready))
		function->on_lost(function->context, reason);
}

/* One visit to the backend. */
struct visit {
	struct pci_function *function;
	int (*make)(struct visit *visit);
	unsigned region;
	uint64_t offset;
	uint8_t bytes[8]; // as the device orders them: the lowest first
	size_t size;
	const struct pci_vector *vector;
	int fd;
	int result;
	char reason[REASON_MAX];
};

static void run_visit(void *context)
{
	struct visit *visit = context;
	reason_clear();
	visit->result = visit->make(visit);
	if (visit->result < 0)
		strncpy(visit->reason, reason_last(), sizeof(visit->reason) - 1);
}

static kern_return_t pay_visit(struct visit *visit)
{
	struct pci_function *function = visit->function;
	if (atomic_load(&function->lost))
		return refuse(kIOReturnNoDevice, "the device is gone");
	int ret = 0;
	if (function->queue != NULL)
		ret = queue_sync(function->queue, run_visit, visit);
	else
		run_visit(visit);
	if (ret < 0)
		return queue_refusal(function->queue, ret);
	if (visit->result >= 0)
		return kIOReturnSuccess;
	reason_set(visit->reason);
	return return_from_errno(visit->result);
}

static kern_return_t check_access(const struct pci_function *function, unsigned region,
				  uint64_t offset, size_t size)
{
	if (region >= PCI_N_REGIONS || function->regions[region].size == 0)
		return refuse(kIOReturnBadArgument, "the device has no region %u", region);
	if (size != 1 && size != 2 && size != 4 && size != 8)
		return refuse(kIOReturnBadArgument, "an access is of 1, 2, 4 or 8 bytes, not %zu",
			      size);
	if (offset % size != 0)
		return refuse(kIOReturnNotAligned, "offset 0x%llx is not a multiple of %zu",
			      (unsigned long long)offset, size);
	uint64_t limit = function->regions[region].size;
	if (size > limit || offset > limit - size)
		return refuse(kIOReturnOverrun,
			      "%zu bytes at 0x%llx are beyond region %u, which has 0x%llx", size,
			      (unsigned long long)offset, region, (unsigned long long)limit);
	return kIOReturnSuccess;
}

static int make_read(struct visit *visit)
{
	return visit->function->ops->read(visit->function->backend, visit->region, visit->offset,
					  visit->bytes, visit->size);
}

static int make_write(struct visit *visit)
{
	return visit->function->ops->write(visit->function->backend, visit->region, visit->offset,
					   visit->bytes, visit->size);
}

static kern_return_t read_bytes(struct pci_function *function, unsigned region, uint64_t offset,
				size_t size, uint64_t *value)
{
	kern_return_t ret = check_access(function, region, offset, size);
	if (ret != kIOReturnSuccess)
		return ret;
	if (!function->regions[region].readable)
		return refuse(kIOReturnNotReadable, "region %u cannot be read", region);
	struct visit visit = { .function = function,
			       .make = make_read,
			       .region = region,
			       .offset = offset,
			       .size = size };
	ret = pay_visit(&visit);
	if (ret != kIOReturnSuccess)
		return ret;
	uint64_t result = 0;
	for (size_t i = 0; i < size; i++)
		result |= (uint64_t)visit.bytes[i] << (8 * i);
	*value = result;
	return kIOReturnSuccess;
}

/* What reads as all ones may be a register, or a bus on which nobody answers any more. */
static kern_return_t check_presence(struct pci_function *function)
{
	uint64_t vendor;
	kern_return_t ret = read_bytes(function, PCI_REGION_CONFIG,
				       kIOPCIConfigurationOffsetVendorID, 2, &vendor);
	if (ret != kIOReturnSuccess || vendor != 0xffff)
		return ret;
	static const char reason[] =
		"the configuration space reads all ones: the device is not there";
	backend_lost(function, reason);
	return refuse(kIOReturnNoDevice, "%s", reason);
}

kern_return_t pci_function_read(struct pci_function *function, unsigned region, uint64_t offset,
				size_t size, uint64_t *value)
{
	uint64_t result;
	kern_return_t ret = read_bytes(function, region, offset, size, &result);
	if (ret == kIOReturnSuccess && region == PCI_REGION_CONFIG && (uint16_t)result == 0xffff)
		ret = check_presence(function);
	if (ret == kIOReturnSuccess)
		*value = result;
	return ret;
}

kern_return_t pci_function_write(struct pci_function *function, unsigned region, uint64_t offset,
				 size_t size, uint64_t value)
{
	kern_return_t ret = check_access(function, region, offset, size);
	if (ret != kIOReturnSuccess)
		return ret;
	if (!function->regions[region].writable)
		return refuse(kIOReturnNotWritable, "region %u cannot be written", region);
	struct visit visit = { .function = function,
			       .make = make_write,
			       .region = region,
			       .offset = offset,
			       .size = size };
	for (size_t i = 0; i < size; i++)
		visit.bytes[i] = (uint8_t)(value >> (8 * i));
	return pay_visit(&visit);
}

static int make_region_fd(struct visit *visit)
{
	return visit->function->ops->region_fd(visit->function->backend, visit->region, &visit->fd,
					       &visit->offset);
}

kern_return_t pci_function_region_fd(struct pci_function *function, unsigned region, int *fd,
				     uint64_t *offset)
{
	struct visit visit = {
		.function = function, .make = make_region_fd, .region = region, .fd = -1
	};
	kern_return_t ret = pay_visit(&visit);
	if (ret != kIOReturnSuccess)
		return ret;
	*fd = visit.fd;
	*offset = visit.offset;
	return kIOReturnSuccess;
}

static int make_set_irq(struct visit *visit)
{
	return visit->function->ops->set_irq(visit->function->backend, visit->vector, visit->fd);
}

kern_return_t pci_function_set_irq(struct pci_function *function, const struct pci_vector *vector,
				   int event_fd)
{
	struct visit visit = {
		.function = function, .make = make_set_irq, .vector = vector, .fd = event_fd
	};
	return pay_visit(&visit);
}

static int make_unmask(struct visit *visit)
{
	return visit->function->ops->unmask_intx(visit->function->backend);
}

kern_return_t pci_function_unmask_intx(struct pci_function *function)
{
	struct visit visit = { .function = function, .make = make_unmask };
	return pay_visit(&visit);
}

/* A visit that its caller makes. */
struct free_visit {
	struct visit visit;
	int (*make)(const struct pci_backend_ops *ops, struct pci_backend *backend, void *context);
	void *context;
};

static int make_free(struct visit *visit)
{
	struct free_visit *own = container_of(visit, struct free_visit, visit);
	return own->make(visit->function->ops, visit->function->backend, own->context);
}

kern_return_t pci_function_visit(struct pci_function *function,
				 int (*make)(const struct pci_backend_ops *ops,
					     struct pci_backend *backend, void *context),
				 void *context)
{
	struct free_visit own = { .visit = { .function = function, .make = make_free },
				  .make = make,
				  .context = context };
	return pay_visit(&own.visit);
}

kern_return_t pci_function_identify(struct pci_function *function, struct pci_identity *identity)
{
	uint64_t ids, class_and_revision, subsystem;
	kern_return_t ret = pci_function_read(function, PCI_REGION_CONFIG,
					      kIOPCIConfigurationOffsetVendorID, 4, &ids);
	if (ret == kIOReturnSuccess)
		ret = pci_function_read(function, PCI_REGION_CONFIG,
					kIOPCIConfigurationOffsetRevisionID, 4,
					&class_and_revision);
	if (ret == kIOReturnSuccess)
		ret = pci_function_read(function, PCI_REGION_CONFIG,
					kIOPCIConfigurationOffsetSubSystemVendorID, 4, &subsystem);
	if (ret != kIOReturnSuccess)
		return ret;
	*identity = (struct pci_identity){ .vendor = (uint16_t)ids,
					   .device = (uint16_t)(ids >> 16),
					   .subsystem_vendor = (uint16_t)subsystem,
					   .subsystem = (uint16_t)(subsystem >> 16),
					   .class_code = (uint32_t)(class_and_revision >> 8),
					   .revision = (uint8_t)class_and_revision };
	return kIOReturnSuccess;
}

/* The BARs in order; `bar` advances by two over one of 64 bits. */
static kern_return_t read_bars(struct pci_function *function)
{
	for (unsigned bar = 0; bar < PCI_REGION_ROM; bar++) {
		uint64_t value;
		kern_return_t ret = pci_function_read(
			function, PCI_REGION_CONFIG,
			kIOPCIConfigurationOffsetBaseAddress0 + 4 * bar, 4, &value);
		if (ret != kIOReturnSuccess)
			return ret;
		bool is_io = (value & kPCIBARTypeIO) != 0;
		uint8_t type = is_io ? kPCIBARTypeIO : (uint8_t)(value & kPCIBARTypeM64PF);
		bool is_wide = !is_io && (type & kPCIBARTypeM64) != 0;
		uint64_t size = function->regions[bar].size;
		if (is_wide && bar == 5) {
			log_warn("BAR5 claims 64 bits and has no second register: left out");
		} else if (size != 0) {
			function->memory_of_bar[bar] = (uint8_t)function->n_memories;
			function->memories[function->n_memories++] = (struct pci_memory){
				.region = (uint8_t)bar, .type = type, .size = size
			};
		}
		if (is_wide)
			bar++;
	}
	uint64_t rom_size = function->regions[PCI_REGION_ROM].size;
	if (rom_size == 0)
		return kIOReturnSuccess;
	function->memory_of_bar[PCI_REGION_ROM] = (uint8_t)function->n_memories;
	function->memories[function->n_memories++] = (struct pci_memory){ .region = PCI_REGION_ROM,
									  .type = kPCIBARTypeM32,
									  .size = rom_size };
	return kIOReturnSuccess;
}

/* Which BAR holds the MSI-X table: the one that no client may be given. */
static kern_return_t find_msix(struct pci_function *function)
{
	uint64_t capability, table;
	kern_return_t ret =
		pci_function_find_capability(function, kIOPCICapabilityIDMSIX, 0, &capability);
	if (ret == kIOReturnNotFound)
		return kIOReturnSuccess;
	if (ret == kIOReturnSuccess)
		ret = pci_function_read(function, PCI_REGION_CONFIG, capability + 4, 4, &table);
	if (ret != kIOReturnSuccess)
		return ret;
	unsigned bar = table & 7;
	if (bar >= PCI_REGION_ROM || function->regions[bar].size == 0)
		log_warn("the MSI-X capability names BAR%u, which the device does not have", bar);
	else
		function->msix_region = (int)bar;
	return kIOReturnSuccess;
}

static int make_layout(struct visit *visit)
{
	struct pci_function *function = visit->function;
	for (unsigned region = 0; region <= PCI_REGION_CONFIG; region++) {
		int error = function->ops->region_info(function->backend, region,
						       &function->regions[region]);
		if (error < 0)
			return error;
	}
	for (unsigned kind = 0; kind < PCI_N_IRQS; kind++) {
		int error =
			function->ops->irq_count(function->backend, kind, &function->n_irqs[kind]);
		if (error < 0)
			return error;
	}
	return 0;
}

static kern_return_t read_layout(struct pci_function *function)
{
	struct visit visit = { .function = function, .make = make_layout };
	kern_return_t ret = pay_visit(&visit);
	if (ret != kIOReturnSuccess)
		return ret;
	struct pci_region *config = &function->regions[PCI_REGION_CONFIG];
	if (config->size < CONFIG_SIZE_MIN || config->size > CONFIG_SIZE_MAX)
		return refuse(kIOReturnDeviceError,
			      "a configuration space has 64 to 4096 bytes, this one %llu",
			      (unsigned long long)config->size);
	uint64_t header_type;
	ret = check_presence(function);
	if (ret == kIOReturnSuccess)
		ret = pci_function_read(function, PCI_REGION_CONFIG,
					kIOPCIConfigurationOffsetHeaderType, 1, &header_type);
	if (ret != kIOReturnSuccess)
		return ret;
	if ((header_type & 0x7f) != 0)
		return refuse(kIOReturnUnsupported,
			      "header type %llu: only ordinary functions (0) are supported",
			      (unsigned long long)header_type & 0x7f);
	ret = read_bars(function);
	return ret == kIOReturnSuccess ? find_msix(function) : ret;
}

/* What opening on the backend's queue needs. */
struct opening {
	struct visit visit;
	struct device_handover *handover;
};

static int make_open(struct visit *visit)
{
	struct opening *opening = container_of(visit, struct opening, visit);
	struct pci_function *function = visit->function;
	return function->ops->open(&function->backend, opening->handover, backend_lost, function);
}

static const struct pci_backend_ops *find_backend(struct device_handover *handover)
{
	OSString *name = OSDynamicCast(
		OSString, OSDictionary_getObject(handover->properties, "OpenDextBackend"));
	if (name == NULL) {
		refuse(kIOReturnBadArgument, "the device's properties name no OpenDextBackend");
		return NULL;
	}
	const struct pci_backend_ops *ops = pci_backend_find(OSString_getCStringNoCopy(name));
	if (ops == NULL)
		refuse(kIOReturnUnsupported, "no PCI backend is called \"%s\"",
		       OSString_getCStringNoCopy(name));
	return ops;
}

kern_return_t pci_function_open(struct pci_function *function, struct device_handover *handover,
				void (*on_lost)(void *context, const char *reason), void *context)
{
	*function =
		(struct pci_function){ .msix_region = -1, .on_lost = on_lost, .context = context };
	memset(function->memory_of_bar, PCI_NO_MEMORY, sizeof(function->memory_of_bar));
	function->ops = find_backend(handover);
	if (function->ops == NULL)
		return kIOReturnUnsupported;
	function->queue = handover->queue;
	OSObjectRetain(function->queue);

	struct opening opening = { .visit = { .function = function, .make = make_open },
				   .handover = handover };
	kern_return_t ret = pay_visit(&opening.visit);
	if (ret == kIOReturnSuccess)
		ret = read_layout(function);
	atomic_store(&function->is_ready, true);
	if (ret == kIOReturnSuccess && atomic_load(&function->lost))
		ret = refuse(kIOReturnNoDevice, "the device went away while it was opened");
	if (ret != kIOReturnSuccess)
		pci_function_close(function);
	return ret;
}

static void run_close(void *context)
{
	struct pci_function *function = context;
	function->ops->close(function->backend);
	function->backend = NULL;
}

void pci_function_close(struct pci_function *function)
{
	if (function->backend != NULL && function->queue != NULL)
		queue_sync(function->queue, run_close, function);
	else if (function->backend != NULL)
		run_close(function);
	OSSafeReleaseNULL(function->queue);
	atomic_store(&function->lost, true);
}
