/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a PCI backend does: configuration space, regions and interrupts of one function. vfio (the
 * kernel's) and vfio_user (a peer's socket) implement it. Entries run on the backend's queue; they
 * may block, each with a bound (1 s).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <families/family.h>
#include <families/service/iommu.h>

enum { PCI_REGION_BAR0 = 0, PCI_REGION_ROM = 6, PCI_REGION_CONFIG = 7, PCI_N_REGIONS = 9 };

/* How a function interrupts: by a wire, which is a level, or by messages. VFIO's numbers. */
enum pci_irq { PCI_IRQ_INTX, PCI_IRQ_MSI, PCI_IRQ_MSIX, PCI_N_IRQS };

/* The most there can be (PCI Local Bus 3.0, 6.8). */
enum { PCI_INTX_MAX = 1, PCI_MSI_MAX = 32, PCI_MSIX_MAX = 2048 };

/* One interrupt among those of its kind that are in use. */
struct pci_vector {
	enum pci_irq kind;
	unsigned number; // below n_vectors
	unsigned n_vectors;
};

struct pci_region {
	uint64_t size; // 0: absent
	bool readable, writable;
	bool mappable; // a descriptor can be had that maps it
};

/* Embedded in a backend's own state. */
struct pci_backend {
	const struct pci_backend_ops *ops;
};

struct pci_backend_ops {
	const char *name; // "vfio", "vfio-user": the device's OpenDextBackend property
	/* Required. Consumes the descriptors it takes; checks everything the peer announces. Every
	 * entry that fails returns a negative errno and leaves the reason with refuse(). on_lost:
	 * at most once, on the backend's queue, not from open. */
	int (*open)(struct pci_backend **out, struct device_handover *handover,
		    void (*on_lost)(void *context, const char *reason), void *context);
	void (*close)(struct pci_backend *backend);
	int (*region_info)(struct pci_backend *backend, unsigned region, struct pci_region *info);
	/* Required. 1 to 8 bytes, inside the region. */
	int (*read)(struct pci_backend *backend, unsigned region, uint64_t offset, void *data,
		    size_t size);
	int (*write)(struct pci_backend *backend, unsigned region, uint64_t offset,
		     const void *data, size_t size);
	/* Required. A descriptor through which [0, size) of the region can be mapped by any holder,
	 * and only that; returned. `offset` is where the region begins in it. -EOPNOTSUPP with a
	 * reason: this machine has no such descriptor. */
	int (*region_fd)(struct pci_backend *backend, unsigned region, int *fd, uint64_t *offset);
	/* Required. How many interrupts of a kind there can be, 0 to its maximum. */
	int (*irq_count)(struct pci_backend *backend, enum pci_irq kind, unsigned *count);
	/* Required. From now on the interrupt adds to event_fd, which is borrowed for the call;
	 * -1: it is not heard any more. At any time only one kind is heard, with one n_vectors.
	 * INTx is masked from when it comes until unmask_intx. */
	int (*set_irq)(struct pci_backend *backend, const struct pci_vector *vector, int event_fd);
	/* Required. INTx may come again. */
	int (*unmask_intx)(struct pci_backend *backend);
	/* Optional, all three or none: the function's DMA reaches what is mapped here and nothing
	 * else. Limits are checked by their taker; map and unmap are those of struct iommu_ops. */
	int (*dma_limits)(struct pci_backend *backend, struct iommu_limits *limits);
	int (*dma_map)(struct pci_backend *backend, const struct iommu_mapping *mapping);
	int (*dma_unmap)(struct pci_backend *backend, uint64_t address, uint64_t length);
};

void pci_backend_register(const struct pci_backend_ops *ops); // asserts the required entries
const struct pci_backend_ops *pci_backend_find(const char *name);
