/* SPDX-License-Identifier: Apache-2.0 */

#include <base/log.h>
#include <base/reason.h>
#include <families/pci/dma.h>

static int visit_limits(const struct pci_backend_ops *ops, struct pci_backend *backend,
			void *context)
{
	return ops->dma_limits(backend, context);
}

static int visit_map(const struct pci_backend_ops *ops, struct pci_backend *backend, void *context)
{
	return ops->dma_map(backend, context);
}

static int visit_unmap(const struct pci_backend_ops *ops, struct pci_backend *backend,
		       void *context)
{
	const struct iommu_mapping *mapping = context;
	return ops->dma_unmap(backend, mapping->address, mapping->length);
}

static kern_return_t map(void *context, const struct iommu_mapping *mapping)
{
	struct pci_dma *dma = context;
	struct iommu_mapping copy = *mapping;
	return pci_function_visit(dma->function, visit_map, &copy);
}

/* With a lost device, its mappings are lost. */
static void unmap(void *context, uint64_t address, uint64_t length)
{
	struct pci_dma *dma = context;
	struct iommu_mapping mapping = { .fd = -1, .address = address, .length = length };
	if (pci_function_visit(dma->function, visit_unmap, &mapping) != kIOReturnSuccess &&
	    !atomic_load(&dma->function->lost))
		log_error("the PCI device may still reach %#llx, %llu bytes: %s",
			  (unsigned long long)address, (unsigned long long)length, reason_last());
}

static const struct iommu_ops iommu_of_a_function = { .map = map, .unmap = unmap };

void pci_dma_open(struct pci_dma *dma, struct pci_function *function)
{
	struct iommu_limits limits = { .n_ranges = 0 };
	*dma = (struct pci_dma){ .function = function };
	if (function->ops->dma_limits == NULL)
		return;
	kern_return_t ret = pci_function_visit(function, visit_limits, &limits);
	if (ret == kIOReturnSuccess)
		ret = iommu_open(&dma->iommu, &iommu_of_a_function, dma, &limits);
	if (ret != kIOReturnSuccess)
		log_warn("the PCI device does no DMA: %s", reason_last());
}

void pci_dma_close(struct pci_dma *dma)
{
	if (dma->iommu != NULL)
		iommu_close(dma->iommu);
	dma->iommu = iommu_unref(dma->iommu);
}
