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

enum { PCI_REGION_BAR0 = 0, PCI_REGION_ROM = 6, PCI_REGION_CONFIG = 7, PCI_N_REGIONS = 9 };

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
};

void pci_backend_register(const struct pci_backend_ops *ops); // asserts the required entries
const struct pci_backend_ops *pci_backend_find(const char *name);
